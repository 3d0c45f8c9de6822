"""The booking agent's dialogue: text in, a new state and prompts out. Pure.

States are immutable, so a speculative reply to interim words can be discarded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from fastcall.wer import words

__all__ = ["DAYS", "HOURS", "NAMES", "NUMBERS", "PARTS", "SENTENCES", "Booking", "answer", "endings_of_answer"]

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
DAYS = ("today", "tomorrow", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = ("six", "seven", "eight", "nine", "ten")
PARTS = ("morning", "afternoon", "evening")
NAMES = ("john", "mary", "david", "sarah", "peter", "anna", "michael", "susan", "robert", "linda")

SENTENCES = {
    "greeting": "riverside restaurant, good evening.",
    "help": "how can i help you?",
    "people": "with pleasure. how many people?",
    "when": "for which day, and at what time? we are open every evening of the week, from six until ten.",
    "name": "and your name, please?",
    "table": "a table for",
    "right": "is that right?",
    "booked": "it is booked. anything else?",
    "again": "then let us begin again. how many people?",
    "sorry": "i am sorry?",
    "goodbye": "goodbye.",
}

_PEOPLE = re.compile(rf"\b(?:there will be|we are|table for) ({'|'.join(NUMBERS)})\b")
_GUESTS = re.compile(rf"\b({'|'.join(NUMBERS)}) (?:people|persons|guests)\b")
_DAY = re.compile(rf"\b({'|'.join(DAYS)})\b")
_HOUR = re.compile(rf"\bat ({'|'.join(HOURS)})\b")
_PART = re.compile(rf"\bin the ({'|'.join(PARTS)})\b")
_NAME = re.compile(rf"\b(?:name is|this is) ({'|'.join(NAMES)})\b")


@dataclass(frozen=True, slots=True)
class Booking:
    """What is known about the booking."""

    is_asked_for: bool = False
    people: str | None = None
    day: str | None = None
    hour: str | None = None
    part: str | None = None
    name: str | None = None
    is_confirmed: bool = False
    is_over: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to ask."""
        return None not in (self.people, self.day, self.hour, self.name)


def answer(booking: Booking, text: str) -> tuple[Booking, tuple[str, ...]]:
    """The booking updated from the caller's words, and the names of the prompts to answer with."""
    said = words(text)
    line = " ".join(said)
    if booking.is_confirmed or "goodbye" in said:
        return replace(booking, is_over=True), ("goodbye",)
    if booking.is_complete and said[:1] == ["yes"]:
        return replace(booking, is_confirmed=True), ("booked",)
    if booking.is_complete and said[:1] == ["no"]:
        return Booking(is_asked_for=True), ("again",)
    after = replace(
        booking,
        is_asked_for=booking.is_asked_for or bool({"book", "reserve", "table"} & set(said)),
        people=_found(_PEOPLE, line) or _found(_GUESTS, line) or booking.people,
        day=_found(_DAY, line) or booking.day,
        hour=_found(_HOUR, line) or booking.hour,
        part=_found(_PART, line) or booking.part,
        name=_found(_NAME, line) or booking.name,
    )
    return after, (("sorry",) if after == booking else ()) + _question(after)


def endings_of_answer(booking: Booking) -> tuple[str, ...]:
    """How the answer to the booking's next question is likely to end; nothing: anyhow."""
    if booking == Booking():
        return ()
    if booking.people is None:
        return (*NUMBERS, *(f"{number} {noun}" for number in NUMBERS for noun in ("people", "persons", "guests")))
    if booking.day is None:
        return ()  # "at eight" may come before "on friday", or after it
    if booking.hour is None:
        return tuple(f"at {hour}" for hour in HOURS)
    if booking.name is None:
        return NAMES
    return ()


def _question(booking: Booking) -> tuple[str, ...]:
    if booking == Booking():
        return ("help",)
    if booking.people is None:
        return ("people",)
    if booking.day is None or booking.hour is None:
        return ("when",)
    if booking.name is None:
        return ("name",)
    parts = ("table", booking.people, booking.day, f"at {booking.hour}", booking.part, booking.name, "right")
    return tuple(part for part in parts if part is not None)


def _found(pattern: re.Pattern[str], line: str) -> str | None:
    match = pattern.search(line)
    return match[1] if match else None
