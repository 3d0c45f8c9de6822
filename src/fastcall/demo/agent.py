"""The booking agent as a handler: ``fastcall serve --handler fastcall.demo.agent:agent``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastcall.agent.call import Call
from fastcall.agent.player import Speech
from fastcall.agent.replies import Turn
from fastcall.demo.booking import Booking, answer, endings_of_answer
from fastcall.demo.voice import join, load_prompts

__all__ = ["Say", "agent", "attend", "say_prepared"]

Say = Callable[[Call, Sequence[str]], Speech]
"""Says the named prompts."""

Understand = Callable[[Booking, str], tuple[Booking, tuple[str, ...]]]
"""Updates a booking from the caller's words, and returns the names of the prompts to answer with."""


def say_prepared(call: Call, names: Sequence[str]) -> Speech:
    """With the bundled voice."""
    prompt = join(load_prompts(), names)
    return call.say(prompt.mulaw, text=prompt.text, word_ends_ms=prompt.word_ends_ms)


async def attend(call: Call, say: Say, understand: Understand = answer) -> None:
    """Serve one caller: greet, ask for what is missing, confirm the booking, hang up."""
    booking = Booking()

    async def reply(turn: Turn) -> None:
        nonlocal booking
        after, names = understand(booking, turn.text)
        speech = say(call, names)
        await turn.wait_committed()
        booking = after
        _expect_answer(call, booking)
        await speech
        if booking.is_over:
            call.hangup()

    say(call, ("greeting", "help"))
    await call.answer(reply)


def _expect_answer(call: Call, booking: Booking) -> None:
    """The turn ends as soon as the question is answered."""
    if booking.is_complete:
        call.expect("yes_no")
    elif endings := endings_of_answer(booking):
        call.expect("choice", choices=endings)


async def agent(call: Call) -> None:
    """The handler."""
    await attend(call, say_prepared)
