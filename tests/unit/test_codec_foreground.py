"""The gate that tells the caller's voice from others by loudness, and hears steady tones."""

from __future__ import annotations

import math
import random
from array import array
from importlib.resources import as_file, files

import pytest

from fastcall._codec import ForegroundGate, mulaw_decode, mulaw_encode
from fastcall.audio.tones import synthesize
from fastcall.audio.wav import read_wav
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


# --- a steady tone ----------------------------------------------------------------------------------------------------


def sound(ms: int, *tones: tuple[float, float], noise_dbfs: float = -66, late: int = 37) -> bytes:
    """Half a second of the line, ``ms`` of sine waves, each (Hz, dBFS), and half a second of the line: through mu-law.

    :param late: samples by which the tones begin after the beginning of a frame
    """
    rand, rms = random.Random(ms), 32768 * 10 ** (noise_dbfs / 20)
    begin, end = 4000 + late, 4000 + late + 8 * ms
    waves = [(2 * math.pi * hz / 8000, 32768 * math.sqrt(2) * 10 ** (dbfs / 20)) for hz, dbfs in tones]
    values = (
        rand.gauss(0, rms) + (sum(peak * math.sin(step * n) for step, peak in waves) if begin <= n < end else 0)
        for n in range(end + 4000)
    )
    pcm = array("h", (max(-32768, min(32767, round(value))) for value in values)).tobytes()
    return mulaw_decode(mulaw_encode(pcm))


def beeps(pcm: bytes, *, voiced: bool = False) -> list[tuple[int, int]]:
    """Where each tone was over, and how long it was, in frames."""
    gate, found = foreground_gate(), []
    for index in range(len(pcm) // 320):
        gate.feed(pcm[320 * index : 320 * index + 320], voiced)
        over = index + 1 - gate.frames_since_tone
        if gate.tone_frames and (over, gate.tone_frames) not in found:
            found.append((over, gate.tone_frames))
    return found


@pytest.mark.parametrize("noise_dbfs", [-66, -45])
@pytest.mark.parametrize("ms", [200, 250, 500, 2000])
@pytest.mark.parametrize("hz", [440, 850, 1000, 1400])
def test_a_beep_is_a_steady_tone_also_on_a_noisy_line(hz: float, ms: int, noise_dbfs: float) -> None:
    for late in (0, 37, 80, 120):
        for dbfs in (-10, -25):
            ((over, frames),) = beeps(sound(ms, (hz, dbfs), noise_dbfs=noise_dbfs, late=late))
            assert ms // 20 - 1 <= frames <= ms // 20
            assert over == pytest.approx((4000 + late) / 160 + ms / 20, abs=1)


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(sound(160, (1000, -15)), id="too short"),
        pytest.param(sound(500, (1000, -41)), id="too weak"),
        pytest.param(sound(500, (1000, -15), noise_dbfs=-28), id="in noise"),
        pytest.param(sound(500, (50, -15)), id="the mains"),
        pytest.param(sound(500, (300, -15)), id="a hum"),
        pytest.param(sound(500, (770, -15), (1336, -15)), id="a key"),
        pytest.param(sound(500, (440, -18), (480, -18)), id="ringing"),
        pytest.param(b"".join(frame(-30, n) for n in range(50)) + bytes(3200), id="noise"),
        pytest.param(synthesize("apple arrow autumn [200] badge [200]"), id="chords"),
        pytest.param(bytes(32_000), id="silence"),
    ],
)
def test_other_sounds_are_no_beep(heard: bytes) -> None:
    assert beeps(heard) == beeps(heard, voiced=True) == []


def test_a_tone_that_other_sound_follows_is_no_beep() -> None:
    melody = b"".join(sound(400, (hz, -15), late=0)[8000:-8000] for hz in (440, 494, 523, 587))
    assert beeps(melody + melody) == []
    assert [frames for _, frames in beeps(melody + bytes(3200))] == [20]  # its last note: the line is quiet after it


def test_a_gliding_tone_is_no_beep() -> None:
    peak, values = 8000, []
    for n in range(8000):
        values.append(round(peak * math.sin(2 * math.pi * (400 + 0.05 * n) * n / 8000)))
    assert beeps(array("h", values).tobytes() + bytes(3200)) == []


def test_a_tone_without_an_end_is_none_yet() -> None:
    assert beeps(sound(5000, (1000, -15))[:-8000]) == []


def test_speech_has_no_beeps() -> None:
    with as_file(files("fastcall") / "data") as folder:
        for name in ("clerk.wav", "booking.wav"):
            speech = mulaw_decode(read_wav((folder / name).read_bytes()))
            for late in range(0, 160, 40):
                assert beeps(speech[2 * late :]) == []
