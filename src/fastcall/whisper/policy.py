"""Whisper's languages, and detection of its hallucinations. Does not need Whisper itself.

Whisper was trained on subtitles. Given silence, noise or music, it writes typical subtitles: thanks for watching, their
authors, a single "you", in any language, or endless repetitions. Callers say some of these as well, so a text is
dropped only with further evidence that nobody spoke: the model's probability of no speech, or a level below speech.
For well-known hallucinations, weaker evidence is enough.
"""

from __future__ import annotations

from fastcall.recognition.alignment import normalized
from fastcall.recognition.tokenization import tokens_of

__all__ = ["INVENTED", "SILENT_LEVEL_DB", "is_invented", "language_of"]

# BCP 47 primary subtags with a different code in Whisper: old codes of ISO 639, and languages that share one code.
# https://github.com/openai/whisper/blob/main/whisper/tokenizer.py
_OTHER_CODES = {
    "cmn": "zh",
    "fil": "tl",
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jv": "jw",
    "nb": "no",
    "arb": "ar",
    "cmn-hant": "zh",
    "yue": "yue",
    "zsm": "ms",
    "swh": "sw",
    "pes": "fa",
    "ekk": "et",
    "lvs": "lv",
    "npi": "ne",
    "khk": "mn",
}

# In all languages of subtitles, because Whisper mixes them. Case and punctuation are ignored.
INVENTED = tuple(
    line.strip()
    for line in """
    You
    Bye.
    Bye bye.
    Thank you.
    Thank you very much.
    Thank you so much.
    Thank you for watching.
    Thank you so much for watching.
    Thank you for watching, please subscribe.
    Thanks.
    Thanks for watching.
    Thanks for watching and see you next time.
    Thanks for listening.
    Please subscribe.
    Please subscribe to my channel.
    Like and subscribe.
    See you next time.
    See you in the next video.
    Subtitles by the Amara.org community
    Transcription by CastingWords
    Transcribed by https://otter.ai
    [Music]
    [Applause]
    [Silence]
    The end.
    תודה
    תודה רבה
    תודה על הצפייה
    תודה רבה על הצפייה
    תודה שצפיתם
    תודה שצפיתם בסרטון
    תודה לצפייה
    כתוביות
    תרגום כתוביות
    מוזיקה
    Untertitel der Amara.org-Community
    Untertitel im Auftrag des ZDF für funk, 2017
    Vielen Dank fürs Zuschauen.
    Vielen Dank.
    Sous-titres réalisés para la communauté d'Amara.org
    Sous-titres réalisés par la communauté d'Amara.org
    Sous-titrage ST' 501
    Merci d'avoir regardé cette vidéo.
    Subtítulos realizados por la comunidad de Amara.org
    Subtítulos por la comunidad de Amara.org
    Gracias por ver el video.
    Gracias.
    Sottotitoli creati dalla comunità Amara.org
    Legendas pela comunidade Amara.org
    Продолжение следует...
    Спасибо за просмотр!
    Субтитры сделал DimaTorzok
    Редактор субтитров А.Семкин Корректор А.Егорова
    ご視聴ありがとうございました
    字幕by索兰娅
    谢谢观看
    شكرا على المشاهدة
    اشتركوا في القناة
    ترجمة نانسي قنقر
    """.strip().splitlines()
)

# Whisper's own threshold for calling a window silent is 0.6, together with a low probability of the text.
NO_SPEECH_PROBABILITY = 0.5
# For repetitive texts; and for texts that are otherwise not suspicious.
NO_SPEECH_REPEATED_PROBABILITY = 0.3
NO_SPEECH_SURE_PROBABILITY = 0.9
# Speech on a telephone is at -30 to -10 dB of full scale, the noise of a quiet line below -55.
NO_SPEECH_LEVEL_DB = -50.0
SILENT_LEVEL_DB = -60.0
"""Audio whose loudest part is not above this certainly has no speech: it is not recognized at all."""
# A phrase repeated at least this often is suspicious; nobody repeats it as often as a decoder in a loop does.
MIN_REPETITIONS = 3
MAX_REPETITIONS = 12


def _plain(text: str) -> list[str]:
    return [word for word in (normalized(token) for token in tokens_of(text)) if any(map(str.isalnum, word))]


_PLAIN = frozenset(" ".join(_plain(text)) for text in INVENTED)


def _repetition(words: list[str]) -> tuple[list[str], int]:
    """The shortest phrase whose repetition is ``words``, and how often it occurs; the last one may be cut off.

    >>> _repetition("thank you thank you thank".split())
    (['thank', 'you'], 2)
    """
    for length in range(1, len(words) // 2 + 1):
        phrase = words[:length]
        if all(word == phrase[index % length] for index, word in enumerate(words)):
            return phrase, len(words) // length
    return words, 1


def language_of(tag: str) -> str:
    """Whisper's code for the language of a BCP 47 tag.

    >>> language_of("iw-IL"), language_of("cmn-Hans-CN"), language_of("yue-Hant-HK"), language_of("en-US")
    ('he', 'zh', 'yue', 'en')
    """
    primary = tag.replace("_", "-").split("-")[0].lower()
    return _OTHER_CODES.get(primary, primary)


def is_invented(text: str, *, no_speech_probability: float, level_db: float) -> bool:
    """Whether ``text`` is a hallucination of Whisper.

    :param no_speech_probability: the model's, 0 to 1
    :param level_db: of the loudest 100 ms, in dB of full scale
    """
    words = _plain(text)
    if not words or level_db <= SILENT_LEVEL_DB or no_speech_probability >= NO_SPEECH_SURE_PROBABILITY:
        return True
    phrase, times = _repetition(words)
    if times >= MAX_REPETITIONS:
        return True
    if times >= MIN_REPETITIONS:
        enough = NO_SPEECH_REPEATED_PROBABILITY
    elif " ".join(phrase) in _PLAIN:
        enough = NO_SPEECH_PROBABILITY
    else:
        return False
    return no_speech_probability >= enough or level_db <= NO_SPEECH_LEVEL_DB
