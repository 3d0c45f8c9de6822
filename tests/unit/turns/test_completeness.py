"""What the words of a text say about whether the speaker goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.turns.completeness import (
    COMPLETE,
    INCOMPLETE,
    LIKELY,
    SERIES,
    UNDECIDED,
    Expectation,
    completeness,
    expected,
    is_backchannel,
    says_voicemail,
    words_of,
)
from fastcall.turns.lexicon import Lexicon, lexicon_of

EN, HE = lexicon_of("en-US"), lexicon_of("he-IL")

ENGLISH = {
    INCOMPLETE: [
        "I'd like to renew my",
        "my name is",
        "it's at the corner of",
        "I was uh",
        "well let me see",
        "the thing is",
        "what if",
        "I mean",
        "I would prefer",
        "and then we",
        "it's very",
        "I’m",
        "because",
        "when I get there",
        "if it rains",
        "Tuesday at three no",
        "we arrive on the tenth sorry",
        "send it to my office actually",
        "wait",
        "I want to go there, no wait",
        "my number is,",
        "the blue one,",
        "four one five -",
        "I think we could go...",
        "maybe …",
        "okay I have a",
    ],
    SERIES: [
        "seven seven three",
        "my number is two one two",
        "double five",
        "nine nine oh one.",
        "773",
        "3 1 2",
        "415-662",
        "(415) 662",
        "415.662.9901",
        "+1 415",
        "my policy number is B 6",
        "my policy number is B661",
        "B R O O",
        "J O A",
        "it's B-R-O",
        "with an X",
        "F as in Frank",
        "B for Boston",
    ],
    UNDECIDED: [
        "",
        "...",
        "I want to talk to somebody about my last bill",
        "my internet has been going on and off since the storm started on Monday",
        "at 8:30",
        "at 8:30 p.m.",
        "it's $40",
        "about $400",
        "about 1,500",
        "350%",
        "it was 3.14",
        "on 12/25/2026",
        "room 22",
        "it's the 3rd",
        "two",
        "table for two",
        "when I call the number I get a message",
        "yes it is",
        "um no I don't",
        "I like pizza",
        "I have the keys with me",
        "oh",
        "yes there's a problem with my order",
        "and pizza",
    ],
    LIKELY: [
        "small medium and two large ones",
        "a fever a headache and a sore throat",
        "ten eleven thirty or any time",
    ],
    COMPLETE: [
        "the blue one please",
        "Next Friday, if that works.",
        "no thank you",
        "that's all",
        "I'd like a salad as well",
        "yes I think so",
        "yes",
        "No.",
        "um yes",
        "oh yes",
        "no no no",
        "yes go ahead",
        "are you open on Christmas Eve",
        "hello, does that include breakfast",
        "could I pay by check",
        "who should I ask for at the desk",
        "What is it for?",
        "Sorry?",
        'She said "when?"',
    ],
}

HEBREW = {
    INCOMPLETE: [
        "אני רוצה",
        "אני צריכה",
        "הכתובת היא ברחוב של",
        "אני מחפש את",
        "אני רוצה לדבר עם",
        "כי",
        "אבל אני",
        "אה",
        "השם שלי הוא אממ",
        "ביום שלישי לא",
        "ביום שלישי בשלוש סליחה",
        "רגע",
        "מה אם",
        "אם יירד גשם",
        "כשאני אגיע",
        "אֲנִי רוֹצֶה",
        "ארבע חמש,",
    ],
    SERIES: [
        "אפס חמש שתיים",
        "המספר שלי אפס חמש",
        "שלושה שבעה",
        "אֶפֶס חָמֵשׁ",
        "052",
        "052-773",
        "ב כמו בננה",
        "שין כמו במילה שלום",
        "ד׳ ל׳ ת׳",
    ],
    UNDECIDED: [
        "שולחן לשניים",
        "ביום שלישי בערב",
        "בשעה 8:30",
        "אם יש לכם מקום אני אשמח",
        "קומה שנייה",
        "עוד חמש שנים",
        "ורוד בהיר",
        "וגם פיצה",
        "האות וו",
    ],
    LIKELY: ["פיצה קולה וסלט", "ביום שני או ביום שלישי"],
    COMPLETE: [
        "כן",
        "לא",
        "לא לא לא",
        "לא היום",
        "בסדר",
        "שולחן לשניים בבקשה",
        "תודה רבה",
        "זה הכל",
        "האם אתם פתוחים בשבת",
        "כמה עולה חדר זוגי",
        "אפשר להזמין שולחן לארבעה",
        "מה?",
    ],
}


def rows(table: dict[float, list[str]]) -> list[tuple[str, float]]:
    return [(text, value) for value, texts in table.items() for text in texts]


@pytest.mark.parametrize(("text", "value"), rows(ENGLISH))
def test_english(text: str, value: float) -> None:
    assert completeness(text, EN) == value


@pytest.mark.parametrize(("text", "value"), rows(HEBREW))
def test_hebrew(text: str, value: float) -> None:
    assert completeness(text, HE) == value


@pytest.mark.parametrize("text", ["yes please", "the", "773", "What?", "one,", "你好", ""])
def test_in_an_unknown_language_each_text_is_undecided(text: str) -> None:
    assert completeness(text, lexicon_of("tlh")) == UNDECIDED


def test_the_values_are_in_order() -> None:
    assert 0.0 == INCOMPLETE < SERIES < UNDECIDED < LIKELY < COMPLETE == 1.0


@pytest.mark.parametrize("text", [text for text in ENGLISH[SERIES] + ENGLISH[UNDECIDED][2:] if not text.endswith(".")])
def test_a_final_full_stop_and_case_are_no_evidence(text: str) -> None:
    assert completeness(f"{text.upper()}.", EN) == completeness(text, EN)


@given(st.text(alphabet=st.sampled_from("abיו 12.,-?$:'’״־\u05b8"), max_size=20))
def test_no_text_is_too_odd(text: str) -> None:
    for lexicon in (EN, HE, Lexicon()):
        assert completeness(text, lexicon) in (INCOMPLETE, SERIES, UNDECIDED, LIKELY, COMPLETE)
        is_backchannel(text, lexicon)
    assert all(word and not any(map(str.isspace, word)) for word in words_of(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("No—it’s 415-662, at 8:30 p.m.", ["no", "it's", "415", "662", "at", "8:30", "pm"]),
        ("WE'RE 'here'", ["we're", "here"]),
        ("for $1,500.50, 40% or 20₪", ["for", "$1,500.50", "40%", "or", "20₪"]),
        ("+1 (415) 662.99.01", ["1", "415", "662", "99", "01"]),
        ("צה״ל ג׳ שָׁלוֹם בית־ספר", ["צהל", "ג", "שלום", "בית", "ספר"]),
        ('צה"ל', ["צהל"]),
        ("twenty-two ... —", ["twenty", "two"]),
        ("Cafe\u0301", ["café"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    "text", ["Mhm.", "uh-huh", "mm-hmm", "okay, got it", "I see", "um yeah", "Right, right, okay", "hmm"]
)
def test_a_backchannel(text: str) -> None:
    assert is_backchannel(text, EN)


@pytest.mark.parametrize(
    "text", ["", "...", "okay wait", "I see a problem", "got", "no", "yeah yeah yeah yeah yeah", "it"]
)
def test_no_backchannel(text: str) -> None:
    assert not is_backchannel(text, EN)


def test_a_backchannel_in_hebrew() -> None:
    assert [
        text for text in ("אהה", "כן, הבנתי", "אוקיי בסדר גמור", "נָכוֹן", "אני מבינה") if not is_backchannel(text, HE)
    ] == []
    assert [text for text in ("לא", "כן אבל", "אני", "רגע") if is_backchannel(text, HE)] == []
    assert not is_backchannel("okay", lexicon_of(None))


@pytest.mark.parametrize(
    ("text", "lexicon"),
    [
        ("Hi, this is Ann. I can’t take your call right now.", EN),
        ("please leave a message", EN),
        ("leave your name and number after the beep", EN),
        ("The person you are calling is not available", EN),
        ("השאירו הודעה לאחר הצפצוף", HE),
        ("המנוי אינו זמין כעת", HE),
    ],
)
def test_a_voicemail_greeting(text: str, lexicon: Lexicon) -> None:
    assert says_voicemail(text, lexicon)


@pytest.mark.parametrize(
    ("text", "lexicon"),
    [
        ("", EN),
        ("I'd like to leave a message for Miss Carter", EN),
        ("I'm not available on Monday", EN),
        ("after the tones", EN),
        ("אני רוצה להשאיר הודעה", HE),
        ("after the beep", Lexicon()),
    ],
)
def test_no_voicemail_greeting(text: str, lexicon: Lexicon) -> None:
    assert not says_voicemail(text, lexicon)


SEVEN = Expectation("digits", length=7)
SIZES = Expectation("choice", choices=("Small", "extra large"))


@pytest.mark.parametrize(
    ("text", "expectation", "value"),
    [
        ("five five five oh one nine", SEVEN, INCOMPLETE),
        ("five five five oh one nine two", SEVEN, COMPLETE),
        ("five five five, oh one nine two five", SEVEN, COMPLETE),
        ("triple five oh one double two", SEVEN, COMPLETE),
        ("triple five oh one double", SEVEN, INCOMPLETE),
        ("triple 5 01 92", SEVEN, COMPLETE),
        ("555-0192", SEVEN, COMPLETE),
        ("555-019,", SEVEN, INCOMPLETE),
        ("it's $5550192", SEVEN, INCOMPLETE),
        ("yes please", SEVEN, INCOMPLETE),
        ("double five", Expectation("digits", length=3), INCOMPLETE),
        ("triple five", Expectation("digits", length=3), COMPLETE),
        ("B X 5", Expectation("digits", length=2), INCOMPLETE),
        ("", SEVEN, INCOMPLETE),
        ("it's five", Expectation("digits"), SERIES),
        ("it's 22", Expectation("digits"), SERIES),
        ("555 please", Expectation("digits"), COMPLETE),
        ("I have it in my", Expectation("digits"), INCOMPLETE),
        ("I don't know it", Expectation("digits"), UNDECIDED),
        ("Brooks", Expectation("spelling"), SERIES),
        ("it's Brooks please", Expectation("spelling"), SERIES),
        ("it's uh", Expectation("spelling"), INCOMPLETE),
        ("Brooks B R O O K", Expectation("spelling", length=6), INCOMPLETE),
        ("Brooks B R double O K S", Expectation("spelling", length=6), COMPLETE),
        ("B as in Boston, 6 6 1", Expectation("spelling", length=4), COMPLETE),
        ("well I suppose so yes it might", Expectation("yes_no"), COMPLETE),
        ("I'd say", Expectation("yes_no"), INCOMPLETE),
        ("maybe", Expectation("yes_no"), UNDECIDED),
        ("extra large", SIZES, COMPLETE),
        ("I'd like the SMALL.", SIZES, COMPLETE),
        ("large", SIZES, UNDECIDED),
        ("small or", SIZES, INCOMPLETE),
        ("Sixty Park Place", Expectation("address"), SERIES),
        ("Main Street and Fifth Avenue", Expectation("address"), SERIES),
        ("Sixty Park Place please", Expectation("address"), COMPLETE),
        ("it's on the", Expectation("address"), INCOMPLETE),
        ("Main Street and Fifth Avenue", Expectation(), LIKELY),
        ("it's on the", Expectation("anything"), INCOMPLETE),
    ],
)
def test_what_is_expected_decides(text: str, expectation: Expectation, value: float) -> None:
    assert expected(text, EN, expectation) == value


def test_what_is_expected_in_hebrew() -> None:
    ten = Expectation("digits", length=10)
    assert expected("אפס חמש שתיים שבע שבע שלוש אחת אפס ארבע", HE, ten) == INCOMPLETE
    assert expected("אפס חמש שתיים שבע שבע שלוש אחת אפס ארבע תשע", HE, ten) == COMPLETE
    assert expected("אז אפשר לומר שכן, נכון", HE, Expectation("yes_no")) == COMPLETE
    assert expected("הָאָדוֹם", HE, Expectation("choice", choices=("האדום", "הכחול"))) == COMPLETE


def test_digits_and_choices_need_no_lexicon() -> None:
    assert expected("555 0192", Lexicon(), SEVEN) == COMPLETE
    assert expected("555", Lexicon(), Expectation("digits")) == SERIES
    assert expected("small", Lexicon(), SIZES) == COMPLETE
    assert expected("yes", Lexicon(), Expectation("yes_no")) == UNDECIDED


@pytest.mark.parametrize(
    ("parameters", "what_to_do"),
    [
        ({"kind": "number"}, "use one of digits, spelling"),
        ({"kind": "yes_no", "length": 3}, "leave length out"),
        ({"kind": "digits", "length": 0}, "at least 1"),
        ({"kind": "digits", "length": "4"}, "give a whole number"),
        ({"kind": "digits", "length": 2.5}, "give a whole number"),
        ({"kind": "choice", "choices": (5,)}, "give a tuple of texts"),
        ({"kind": "choice"}, "give the choices"),
        ({"kind": "digits", "choices": ("a",)}, "leave choices out"),
        ({"kind": "choice", "choices": ("a", "!")}, "at least one word each"),
        ({"kind": "choice", "choices": "small"}, "give a tuple"),
    ],
)
def test_a_contradictory_expectation_says_what_to_do(parameters: dict[str, Any], what_to_do: str) -> None:
    with pytest.raises(ValueError, match=what_to_do):
        Expectation(**parameters)
