"""The sounds that the demo's caller makes."""

from __future__ import annotations

import struct

import pytest

from fastcall._codec import mulaw_decode
from fastcall.demo.run import HESITATES, HESITATES_FOR_MS, SOUNDS, load_sentences, render_turns
from fastcall.demo.sounds import cough, murmur, with_pause


@pytest.mark.parametrize(("sound", "ms"), [(cough(), 220), (murmur(), 440)])
def test_they_are_as_loud_as_the_caller(sound: bytes, ms: int) -> None:
    assert len(sound) == 8 * ms
    pcm = struct.unpack(f"<{len(sound)}h", mulaw_decode(sound))
    power = sum(each * each for each in pcm) / len(pcm)
    assert power**0.5 / 32768 == pytest.approx(10 ** (-22 / 20), rel=0.1)


def test_they_are_the_same_in_each_call() -> None:
    assert (cough(), murmur()) == (cough(), murmur())


def test_a_pause_is_put_into_a_sentence() -> None:
    assert with_pause(b"\x01" * 16 + b"\x02" * 8, 2, 1) == b"\x01" * 16 + b"\xff" * 8 + b"\x02" * 8


def test_the_conversation_has_them() -> None:
    sentences = load_sentences("pocketsphinx")
    assert {number: each.sounds for number, each in enumerate(sentences) if each.sounds} == SOUNDS
    assert b"\xff" * 8 * HESITATES_FOR_MS in sentences[HESITATES].mulaw
    assert "four people" in sentences[HESITATES].text


def test_the_report_says_what_the_agent_made_of_them() -> None:
    turn = {"event": "utterance_end", "text": "yes"}
    (line,) = render_turns([turn, {"event": "utterance_end", "text": ""}])
    assert line == (
        "turns: at a cough and an 'mhm' the agent did not stop; with a pause of 500 ms in a sentence, "
        "the caller took 1 turns"
    )
    (line,) = render_turns([turn, {"event": "barge_in"}, {"event": "agent_audio", "state": "resumed"}])
    assert "was stopped once, and went on in the same word" in line
