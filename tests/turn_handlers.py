"""Handlers that show what a caller's turn does to the agent's speech."""

from __future__ import annotations

from fastcall.agent.call import BargeIn, Call, Partial, Utterance

# Ten seconds that nobody takes for silence.
SPEECH = bytes(0x20 + (index // 40) % 8 for index in range(80_000))
NUMBERS = "one two three four five six seven eight nine ten"


async def speak_and_listen(call: Call) -> None:
    """Says ten seconds at once; a mark for each interruption and each utterance."""
    call.say(SPEECH, text=NUMBERS)
    async for event in call.events():
        if isinstance(event, BargeIn):
            call.mark("barge-in")
        elif isinstance(event, Utterance):
            call.mark(f"heard {event.text}, {'backchannel' if event.is_backchannel else 'turn'}")


async def say_a_notice(call: Call) -> None:
    """Says ten seconds that must be heard."""
    await call.say(SPEECH, text=NUMBERS, interruptible=False)


async def speak_too_early(call: Call) -> None:
    """Answers at the first word, while the caller still speaks."""
    answered = set[int]()
    async for event in call.events():
        if isinstance(event, Partial) and event.id not in answered:
            answered.add(event.id)
            call.say(SPEECH[:8000], text=f"answer {event.id}")


async def expect_digits(call: Call) -> None:
    """Has asked for four digits."""
    call.expect("digits", length=4)
    async for utterance in call.utterances():
        call.say(SPEECH[:1600], text=utterance.text)


def never_whole(text: str) -> float:
    """A judgement of texts: all of them break off."""
    return 0.0


class SoundModel:
    """An end-of-turn model to which every pause sounds like an end."""

    def __call__(self, pcm: bytes, text: str) -> float:
        return 1.0 if len(pcm) > 8000 else 0.0
