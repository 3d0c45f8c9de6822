"""The booking agent: what is understood, what is asked next, and that there is a voice for all of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcall.demo.booking import (
    DAYS,
    HOURS,
    NAMES,
    NUMBERS,
    PARTS,
    SENTENCES,
    Booking,
    answer,
    endings_of_answer,
)
from fastcall.demo.voice import join, load_prompts


def talk(*lines: str) -> tuple[Booking, list[tuple[str, ...]]]:
    booking, said = Booking(), []
    for line in lines:
        booking, names = answer(booking, line)
        said.append(names)
    return booking, said


def test_the_bundled_conversation() -> None:
    booking, said = talk(
        "hello i would like to book a table",
        "there will be four people",
        "on friday at eight in the evening",
        "my name is michael",
        "yes that is right",
        "that is all goodbye",
    )
    confirm = ("table", "four", "friday", "at eight", "evening", "michael", "right")
    assert said == [("people",), ("when",), ("name",), confirm, ("booked",), ("goodbye",)]
    assert booking.is_over


def test_several_things_at_once_are_all_taken() -> None:
    booking, said = talk("a table for two on sunday at nine please")
    assert (booking.people, booking.day, booking.hour, said) == ("two", "sunday", "nine", [("name",)])
    _, said = talk("a table for two on sunday at nine please", "this is anna")
    assert said[-1] == ("table", "two", "sunday", "at nine", "anna", "right")


def test_no_begins_again_and_what_is_not_understood_is_asked_again() -> None:
    _, said = talk("we are six people", "on monday at seven", "this is john", "no that is wrong")
    assert said[-1] == ("again",)
    _, said = talk("what", "i want to book a table", "what")
    assert said == [("sorry", "help"), ("people",), ("sorry", "people")]


@pytest.mark.parametrize(
    ("booking", "line"),
    [
        (Booking(is_asked_for=True), "a table for four"),
        (Booking(is_asked_for=True), "there will be four people"),
        (Booking(people="two", day="friday"), "at eight"),
        (Booking(people="two", day="friday", hour="eight"), "my name is michael"),
    ],
)
def test_how_an_answer_ends_is_known(booking: Booking, line: str) -> None:
    assert line.endswith(endings_of_answer(booking))
    assert answer(booking, line)[0] != booking


@pytest.mark.parametrize("booking", [Booking(), Booking(people="two"), Booking(people="two", hour="eight")])
def test_an_answer_of_several_parts_may_end_anyhow(booking: Booking) -> None:
    assert endings_of_answer(booking) == ()


WORDS = st.lists(
    st.sampled_from(
        [
            *NUMBERS,
            *DAYS,
            *PARTS,
            *NAMES,
            "table",
            "for",
            "people",
            "at",
            "in",
            "the",
            "name",
            "is",
            "yes",
            "no",
            "we are",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_there_is_a_voice_for_whatever_is_said(lines: list[str]) -> None:
    _, said = talk(*lines)
    assert said
    for names in said:
        prompt = join(load_prompts(), names)
        assert prompt.mulaw
        assert len(prompt.word_ends_ms) == len(prompt.text.split())
        assert list(prompt.word_ends_ms) == sorted(prompt.word_ends_ms)
        assert prompt.word_ends_ms[-1] <= len(prompt.mulaw) // 8


def test_every_prompt_is_speech_of_its_length() -> None:
    prompts = load_prompts()
    assert set(prompts) == {*SENTENCES, *NUMBERS, *DAYS, *(f"at {hour}" for hour in HOURS), *PARTS, *NAMES}
    for prompt in prompts.values():
        assert 200 <= len(prompt.mulaw) // 8 <= 6000
        assert prompt.mulaw.count(0xFF) < len(prompt.mulaw) // 2
