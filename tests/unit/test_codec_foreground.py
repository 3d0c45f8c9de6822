"""The gate that tells the caller's voice from others by loudness."""

from __future__ import annotations

import random
from array import array

import pytest

from fastcall._codec import ForegroundGate, mulaw_encode
from fastcall.turns.turn_policy import foreground_gate

NO_VOICE, VOICE, BACKGROUND = 0, 1, 2


def frame(dbfs: float, seed: int = 1) -> bytes:
    """20 ms of noise whose power is ``dbfs``."""
    rand = random.Random(seed)
    amplitude = 32768 * 10 ** (dbfs / 20)
    return array("h", [round(amplitude * rand.choice((-1, 1))) for _ in range(160)]).tobytes()


def hear(gate: ForegroundGate, dbfs: float, ms: int, *, voiced: bool = True) -> list[int]:
    """Sound of one loudness; what the gate makes of its frames."""
    return [gate.feed(frame(dbfs, index), voiced) for index in range(ms // 20)]


def talk(gate: ForegroundGate, dbfs: float, ms: int) -> list[int]:
    """Speech: after each 300 ms, 100 ms without voice."""
    found = []
    for _ in range(ms // 400):
        found += hear(gate, dbfs, 300)
        hear(gate, -66, 100, voiced=False)
    return found


def call(line_dbfs: float = -66) -> ForegroundGate:
    """One in which nobody has spoken yet."""
    gate = foreground_gate()
    hear(gate, line_dbfs, 1000, voiced=False)
    return gate


@pytest.mark.parametrize("dbfs", [-18, -30, -48])
def test_the_first_voice_is_the_caller_s_even_18_db_weaker_than_usual(dbfs: float) -> None:
    assert set(hear(call(), dbfs, 1000)) == {VOICE}


def test_what_the_detector_does_not_take_for_voice_is_none() -> None:
    assert set(hear(call(), -20, 1000, voiced=False)) == {NO_VOICE}


def test_a_voice_14_db_below_the_caller_is_another() -> None:
    gate = call()
    talk(gate, -20, 2000)
    assert set(talk(gate, -36, 2000)) == {BACKGROUND}
    assert set(talk(gate, -31, 2000)) == {VOICE}


def test_one_that_is_far_weaker_is_none() -> None:
    gate = call()
    hear(gate, -20, 1000)
    assert set(hear(gate, -47, 1000)) == {NO_VOICE}


def test_the_overhang_of_a_detector_is_no_voice() -> None:
    gate = call()
    hear(gate, -20, 1000)
    assert set(hear(gate, -66, 120)) == {NO_VOICE}


def test_the_noise_of_the_line_is_no_voice_though_the_detector_says_so() -> None:
    gate = call(-40)
    assert set(hear(gate, -38, 2000)) == {NO_VOICE}
    assert set(hear(gate, -30, 400)) == {VOICE}


def test_the_caller_s_level_follows_the_caller_and_sinks_slowly() -> None:
    gate = call()
    talk(gate, -20, 2000)
    assert gate.level_dbfs == pytest.approx(-20, abs=1)
    hear(gate, -66, 60_000, voiced=False)
    assert gate.level_dbfs == pytest.approx(-20, abs=1)
    talk(gate, -28, 16_000)
    assert gate.level_dbfs == pytest.approx(-24, abs=1)
    talk(gate, -28, 100_000)
    assert gate.level_dbfs == pytest.approx(-28, abs=1)


def test_while_the_agent_speaks_its_echo_is_not_the_caller() -> None:
    gate = call()
    gate.agent_speaks()
    assert VOICE not in hear(gate, -42, 1000)
    assert set(hear(gate, -25, 200)) == {VOICE}
    gate.agent_silent()
    assert set(hear(call(), -42, 1000)) == {VOICE}


def test_the_agent_is_as_loud_as_what_it_sends() -> None:
    gate = call()
    for index in range(100):
        gate.agent_sends(mulaw_encode(frame(-8, index)) + b"\xff" * 100)
    assert gate.agent_dbfs == pytest.approx(-8, abs=1)
    gate.agent_speaks()
    assert VOICE not in hear(gate, -33, 1000)
    for index in range(10_000):
        gate.agent_sends(mulaw_encode(frame(-20, index)))
    assert gate.agent_dbfs == pytest.approx(-20, abs=1)
    assert VOICE in hear(gate, -33, 1000)


def test_the_floor_is_what_the_line_has_between_words() -> None:
    gate = call(-50)
    for _ in range(10):
        hear(gate, -20, 300)
        hear(gate, -50, 100, voiced=False)
    assert gate.floor_dbfs == pytest.approx(-50, abs=1)
    hear(gate, -40, 2000, voiced=False)
    assert gate.floor_dbfs == pytest.approx(-40, abs=1)


def test_a_sound_that_does_not_change_becomes_the_floor() -> None:
    assert set(hear(call(), -25, 4000)[-50:]) == {NO_VOICE}


def test_the_first_frames_of_a_call_are_no_voice() -> None:
    assert set(hear(foreground_gate(), -20, 120)) == {NO_VOICE}


@pytest.mark.parametrize("silent", [b"\x00" * 320, array("h", [-32768] * 160).tobytes()])
def test_digital_silence_and_full_scale(silent: bytes) -> None:
    gate = call()
    assert [gate.feed(silent, False) for _ in range(200)] == [NO_VOICE] * 200
    assert -100 <= gate.floor_dbfs <= 0.1


def test_a_frame_has_320_bytes() -> None:
    with pytest.raises(ValueError, match="318 bytes: a frame has 320"):
        call().feed(b"\x00" * 318, True)
