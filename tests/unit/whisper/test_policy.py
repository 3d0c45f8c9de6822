"""Whisper's languages, and the sentences that it invents."""

from __future__ import annotations

import pytest

from fastcall.whisper.policy import INVENTED, is_invented, language_of


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("he-IL", "he"),
        ("iw-IL", "he"),
        ("iw", "he"),
        ("en-US", "en"),
        ("EN_gb", "en"),
        ("cmn-Hans-CN", "zh"),
        ("zh-TW", "zh"),
        ("yue-Hant-HK", "yue"),
        ("nb-NO", "no"),
        ("fil-PH", "tl"),
        ("in-ID", "id"),
        ("ar-EG", "ar"),
        ("pt-BR", "pt"),
        ("jv-ID", "jw"),
        ("xx-XX", "xx"),
    ],
)
def test_languages(tag: str, code: str) -> None:
    assert language_of(tag) == code


@pytest.mark.parametrize(
    ("text", "silence", "level_db", "is_dropped"),
    [
        ("Thank you for watching!", 0.8, -20.0, True),
        (" you", 0.1, -70.0, True),
        ("you", 0.9, -20.0, True),
        ("תודה רבה על הצפייה.", 0.7, -30.0, True),
        ("Untertitel der Amara.org-Community", 0.9, -30.0, True),
        ("Sous-titres réalisés para la communauté d'Amara.org", 0.9, -30.0, True),
        # Somebody says it.
        ("Thank you.", 0.05, -20.0, False),
        ("תודה", 0.1, -25.0, False),
        # It is not all that was said.
        ("Thank you for watching the house.", 0.8, -55.0, False),
        ("a table for two, thank you", 0.8, -55.0, False),
        # The same again and again.
        ("Thank you. Thank you.", 0.6, -20.0, True),
        ("Thank you. Thank you.", 0.1, -55.0, True),
        ("you you you you", 0.4, -20.0, True),
        ("Merci de votre attention. Merci de votre attention. Merci de votre attention.", 0.4, -20.0, True),
        ("I'm going to go to the store. " * 12, 0.0, -20.0, True),
        ("ご視聴ありがとうございました。ご視聴ありがとうございました。", 0.6, -20.0, True),
        # People do so, too.
        ("no no no no", 0.05, -20.0, False),
        ("Thank you. Thank you.", 0.1, -20.0, False),
        ("hello, hello", 0.4, -20.0, False),
        # No words.
        ("...", 0.0, -20.0, True),
        (" ♪ ♪", 0.1, -20.0, True),
        ("", 0.9, -120.0, True),
        # In a language that no list has, where the model is sure that nobody spoke, or nobody can have.
        ("Tack för att ni tittade!", 0.95, -20.0, True),
        ("Dziękuję za uwagę.", 0.1, -65.0, True),
        ("Tack för att ni tittade!", 0.2, -20.0, False),
    ],
)
def test_what_is_dropped(text: str, silence: float, level_db: float, is_dropped: bool) -> None:
    assert is_invented(text, no_speech_probability=silence, level_db=level_db) is is_dropped


def test_each_of_the_list_is_found_as_it_is_written() -> None:
    for text in INVENTED:
        assert is_invented(text, no_speech_probability=1.0, level_db=-20.0), text
