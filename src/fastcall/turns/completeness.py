"""How whole a text is: whether its words show that the speaker goes on, or has said all.

The evidence is mostly in the last words: an article or a filler needs more, "please" ends a turn, a run of digits may
have another group. Interims have no punctuation, and finals always end in a full stop, which is therefore ignored.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, takewhile
from typing import Literal, get_args

from fastcall.recognition.alignment import normalized
from fastcall.turns.lexicon import Lexicon, Phrase

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "LIKELY",
    "SERIES",
    "UNDECIDED",
    "Expectation",
    "Kind",
    "completeness",
    "expected",
    "is_backchannel",
    "says_voicemail",
    "words_of",
]

INCOMPLETE = 0.0
"""The speaker goes on."""
SERIES = 0.35
"""A number is being dictated, or a word spelled: complete after any group."""
UNDECIDED = 0.65
"""The words show nothing."""
LIKELY = 0.8
"""A list that has its "and"."""
COMPLETE = 1.0
"""Nothing is missing."""

Kind = Literal["digits", "spelling", "yes_no", "address", "choice", "anything"]

MAX_BACKCHANNEL_WORDS = 4
# Of a phrase that ends a text.
MAX_PHRASE_WORDS = 4

# In words, as in the sentences that they were tuned on.
_MAX_ANSWER = 3
_MIN_QUESTION = 4
_QUESTION_WINDOW = 9
_LIST_WINDOW = 5
_MIN_SPELLED = 3
_MIN_DICTATED_DIGITS = 3

# What is longer is no word, as in scripts without spaces; thousands of them would be kept for nothing.
_MAX_KNOWN_LETTERS = 40

_QUESTION_MARKS = ("?", "？", "؟")
_CONTINUATION_MARKS = (",", "،", "，", "-", "–", "—", "־", "...", "…")
_CLOSING_QUOTES = "\"'”’״)"

# An amount, a time, a date: a number that is not dictated digit by digit. 1.2.3 is: people read dots of such numbers.
_AMOUNT = re.compile(r"[$€£₪¥].*|\d.*[%€₪]|\d+[:/].*|\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+")
_EDGES = "\"'“”‘’״׳.,;:!?…()[]<>#+*-–—"
_SEPARATORS = re.compile(r"[-–—־/_,;!?…&]+")
_APOSTROPHE = re.compile(r"(?<=[a-z])['’](?=[a-z])", re.IGNORECASE)
_REFERENCE = re.compile(r"[a-z]{1,2}(\d+)")


def words_of(text: str) -> list[str]:
    """The words of a text as the lists of a lexicon have them.

    Apostrophes within Latin words are kept, since "we're" is not "were". An amount or a time is one word with its
    signs; groups of digits are words.

    >>> words_of("No—it’s 415-662, at 8:30 p.m. for $40.")
    ['no', "it's", '415', '662', 'at', '8:30', 'pm', 'for', '$40']
    """
    return list(
        chain.from_iterable(
            _known_words_in(chunk) if len(chunk) <= _MAX_KNOWN_LETTERS else _words_in(chunk) for chunk in text.split()
        )
    )


@lru_cache(maxsize=4096)  # each interim repeats the words of the one before
def _known_words_in(chunk: str) -> tuple[str, ...]:
    return _words_in(chunk)


def _words_in(chunk: str) -> tuple[str, ...]:
    core = chunk.strip(_EDGES)
    if _AMOUNT.fullmatch(core):
        return (core,)
    parts = _SEPARATORS.split(core)
    if core.count(".") > 1:
        parts = [piece for part in parts for piece in (part.split(".") if part[:1].isdecimal() else [part])]
    return tuple(_normalized(part) for part in parts if any(map(str.isalnum, part)))


def _normalized(word: str) -> str:
    return "'".join(normalized(part) for part in _APOSTROPHE.split(word))


def completeness(text: str, lexicon: Lexicon) -> float:
    """From ``INCOMPLETE``, the speaker goes on, to ``COMPLETE``.

    :param text: all that the speaker has said in this turn
    :param lexicon: with an empty one, each text is ``UNDECIDED``
    """
    words = words_of(text)
    if lexicon.is_empty or not words:
        return UNDECIDED
    ending = text.rstrip().rstrip(_CLOSING_QUOTES)
    if ending.endswith(_QUESTION_MARKS):
        return COMPLETE
    if ending.endswith(_CONTINUATION_MARKS):
        return INCOMPLETE
    if _ends_with(words, lexicon.closings):
        return COMPLETE
    if len(words) >= _MIN_SPELLED and all(map(_is_letter, words[-_MIN_SPELLED:])):
        return SERIES  # before the words that go on: "J O A" does not end in an article
    if _goes_on(words, lexicon):
        return UNDECIDED if _is_short_answer(_content(words, lexicon), lexicon) else INCOMPLETE
    if _is_series(words, lexicon):
        return SERIES
    return _completeness_of_sentence(_content(words, lexicon), lexicon)


def _completeness_of_sentence(words: Sequence[str], lexicon: Lexicon) -> float:
    """The same, of a text whose end shows nothing, without fillers and openers."""
    if not words:
        return UNDECIDED
    if len(words) <= _MAX_ANSWER and words[0] in lexicon.yes_no:
        return COMPLETE
    if _is_question(words, lexicon):
        return COMPLETE
    if words[0] in lexicon.subordinators and sum(word in lexicon.clause_subjects for word in words) < 2:
        return INCOMPLETE
    return LIKELY if _has_last_item(words, lexicon) else UNDECIDED


def _ends_with(words: Sequence[str], phrases: Set[Phrase]) -> bool:
    return any(tuple(words[-length:]) in phrases for length in range(1, MAX_PHRASE_WORDS + 1))


def _goes_on(words: Sequence[str], lexicon: Lexicon) -> bool:
    last = words[-1]
    if last in lexicon.going_on or last in lexicon.fillers or _ends_with(words, lexicon.going_on_phrases):
        return True
    if last not in lexicon.corrections:
        return False
    # "no" corrects what precedes it, but "no" and "no, no, no" are answers.
    is_answer = len(words) <= 2 or all(word in lexicon.yes_no for word in words)
    return last not in lexicon.yes_no or not is_answer


def _is_short_answer(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Whether it may be all: "yes, it is", but also the beginning of "yes, it is in the kitchen"."""
    if len(words) != _MAX_ANSWER:
        return False
    answer, subject, auxiliary = words
    return answer in lexicon.yes_no and subject in lexicon.clause_subjects and auxiliary in lexicon.auxiliaries


def _is_series(words: Sequence[str], lexicon: Lexicon) -> bool:
    """Whether it ends in letters or digits one by one, a group of digits, or the example for a letter."""
    last = words[-1]
    if _is_letter(last) or _digits_in(last) >= _MIN_DICTATED_DIGITS:
        return True
    if len(list(takewhile(lambda word: _is_dictated(word, lexicon), reversed(words)))) >= 2:
        return True
    links = (link for link in lexicon.spelling_links if tuple(words[-len(link) - 1 : -1]) == link)
    return any(len(link) > 1 or _is_letter(words[-3]) for link in links if len(words) > len(link) + 1)


def _is_letter(word: str) -> bool:
    return len(word) == 1 and word.isalpha()


def _digits_in(word: str) -> int:
    """Digits of a word that has nothing else, or a letter or two before them: "B661"."""
    reference = _REFERENCE.fullmatch(word)
    return len(reference[1] if reference else word) if reference or word.isdecimal() else 0


def _is_dictated(word: str, lexicon: Lexicon) -> bool:
    return len(word) == 1 or word.isdecimal() or _is_digit_word(word, lexicon)


def _is_digit_word(word: str, lexicon: Lexicon) -> bool:
    return word in lexicon.digits or word in lexicon.doubles or word in lexicon.triples


def _content(words: Sequence[str], lexicon: Lexicon) -> list[str]:
    """The words without fillers, and without what only opens a sentence."""
    content = [word for word in words if word not in lexicon.fillers]
    return content[len(list(takewhile(lexicon.openers.__contains__, content))) :]


def _is_question(words: Sequence[str], lexicon: Lexicon) -> bool:
    if len(words) >= _MIN_QUESTION and words[0] in lexicon.question_words:
        return True
    return any(
        words[at] in lexicon.auxiliaries
        and words[at + 1] in lexicon.inverted_subjects
        and (at == 0 or not _has_subject_before(words[at - 1], lexicon))
        for at in range(max(0, len(words) - _QUESTION_WINDOW), len(words) - _MIN_QUESTION + 1)
    )


def _has_subject_before(word: str, lexicon: Lexicon) -> bool:
    return word in lexicon.clause_subjects or word in lexicon.determiners


def _has_last_item(words: Sequence[str], lexicon: Lexicon) -> bool:
    prefixes = tuple(lexicon.list_prefixes)
    return any(
        word in lexicon.list_conjunctions or (len(word) > 2 and word.startswith(prefixes))
        for word in words[max(1, len(words) - _LIST_WINDOW) :]
    )


def is_backchannel(text: str, lexicon: Lexicon) -> bool:
    """Whether a listener says this without taking the turn: at most four words, all of them such."""
    words = tuple(words_of(text))
    return 0 < len(words) <= MAX_BACKCHANNEL_WORDS and _is_all_backchannel(words, lexicon)


def _is_all_backchannel(words: Phrase, lexicon: Lexicon) -> bool:
    if not words or (words[0] in lexicon.fillers and _is_all_backchannel(words[1:], lexicon)):
        return True
    ends = range(1, len(words) + 1)
    return any(words[:end] in lexicon.backchannels and _is_all_backchannel(words[end:], lexicon) for end in ends)


def says_voicemail(text: str, lexicon: Lexicon) -> bool:
    """Whether the text has a phrase of a voicemail greeting."""
    spoken = f" {' '.join(words_of(text))} "
    return any(f" {' '.join(phrase)} " in spoken for phrase in lexicon.voicemail)


@dataclass(slots=True, frozen=True)
class Expectation:
    """What an agent has asked for.

    :param kind: what the answer consists of
    :param length: digits or characters of it, where that is known
    :param choices: the answers to choose from
    :raises ValueError: the parameters contradict each other
    """

    kind: Kind = "anything"
    length: int | None = None
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r} is unknown: use one of {', '.join(get_args(Kind))}")
        if self.length is not None and self.kind not in ("digits", "spelling"):
            raise ValueError(f"leave length out for kind={self.kind!r}: only digits and spelling have one")
        if self.length is not None and (not isinstance(self.length, int) or self.length < 1):
            raise ValueError(f"length={self.length!r}: give a whole number, at least 1, or None if it is unknown")
        if self.kind == "choice" and not self.choices:
            raise ValueError("give the choices for kind='choice', for example choices=('small', 'large')")
        if self.kind != "choice" and self.choices:
            raise ValueError(f"leave choices out for kind={self.kind!r}, or use kind='choice'")
        if isinstance(self.choices, str) or not all(isinstance(each, str) and words_of(each) for each in self.choices):
            raise ValueError(f"choices={self.choices!r}: give a tuple of texts with at least one word each")


def expected(text: str, lexicon: Lexicon, expectation: Expectation) -> float:
    """``completeness``, of an answer to a question that asked for ``expectation``."""
    words = words_of(text)
    plain = completeness(text, lexicon)
    match expectation.kind:
        case "digits" | "spelling" if expectation.length is not None:
            count = _count(words, lexicon, letters=expectation.kind == "spelling")
            return COMPLETE if count >= expectation.length else INCOMPLETE
        case "digits":
            return SERIES if words and _is_digits(words[-1], lexicon) else plain
        case "spelling":
            return plain if plain == INCOMPLETE else SERIES
        case "yes_no":
            return COMPLETE if any(word in lexicon.yes_no for word in words) else plain
        case "choice":
            choices = map(words_of, expectation.choices)
            return COMPLETE if any(words[-len(choice) :] == choice for choice in choices) else plain
        case "address":
            return SERIES if plain in (UNDECIDED, LIKELY) else plain
        case _:
            return plain


def _is_digits(word: str, lexicon: Lexicon) -> bool:
    return _digits_in(word) > 0 or _is_digit_word(word, lexicon)


def _count(words: Sequence[str], lexicon: Lexicon, *, letters: bool) -> int:
    """Digits in the words, with ``letters`` also single letters; "double five" has two."""
    count, times = 0, 1
    for word in words:
        if word in lexicon.doubles or word in lexicon.triples:
            times = 2 if word in lexicon.doubles else 3
            continue
        size = 1 if word in lexicon.digits or (letters and _is_letter(word)) else _digits_in(word)
        count += size + (times - 1 if size else 0)
        times = 1
    return count
