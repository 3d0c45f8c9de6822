"""G.711 in the core: every code and every sample, any buffer, and who holds the GIL."""

from __future__ import annotations

import array
import ctypes
import functools
import sys
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from fastcall import _codec

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import audioop

ALL_CODES = bytes(range(256))
ALL_SAMPLES = np.arange(-32768, 32768, dtype=np.int16).tobytes()
RELEASE_SAMPLES = 65_536

DECODERS = [_codec.mulaw_decode, _codec.alaw_decode]
ENCODERS = [_codec.mulaw_encode, _codec.alaw_encode]
INTO = {
    _codec.mulaw_decode: _codec.mulaw_decode_into,
    _codec.mulaw_encode: _codec.mulaw_encode_into,
    _codec.alaw_decode: _codec.alaw_decode_into,
    _codec.alaw_encode: _codec.alaw_encode_into,
}


def twin(function):
    return getattr(reference, function.__name__)


def workload(function, samples: int) -> bytes:
    """That many samples of input, all values among them if there is room."""
    source = ALL_CODES if function in DECODERS else ALL_SAMPLES
    width = 1 if function in DECODERS else 2
    return (source * (samples * width // len(source) + 1))[: samples * width]


@functools.cache
def twin_of_all(function) -> bytes:
    return twin(function)(ALL_CODES if function in DECODERS else ALL_SAMPLES)


@pytest.fixture(params=_codec.instruction_sets())
def _instructions(request):
    """The test runs once with the loops of each instruction set that this processor has."""
    before = _codec.use_instructions(request.param)
    yield
    _codec.use_instructions(before)


each_instruction_set = pytest.mark.usefixtures("_instructions")


def test_build_is_named():
    assert _codec.BUILD in ("release", "debug", "trace", "sanitize")


@pytest.mark.parametrize(
    ("code", "sample"),
    [(0x00, -32124), (0x80, 32124), (0x7F, 0), (0xFF, 0), (0x70, -120), (0xF0, 120), (0xFE, 8), (0x8F, 16764)],
)
def test_mulaw_golden_values(code, sample):
    assert _codec.mulaw_decode(bytes([code])) == sample.to_bytes(2, "little", signed=True)


@pytest.mark.parametrize(
    ("code", "sample"), [(0xD5, 8), (0x55, -8), (0xAA, 32256), (0x2A, -32256), (0xC5, 264), (0xD4, 24)]
)
def test_alaw_golden_values(code, sample):
    assert _codec.alaw_decode(bytes([code])) == sample.to_bytes(2, "little", signed=True)


def test_silence():
    assert _codec.mulaw_encode(b"\0\0") == b"\xff"
    assert _codec.alaw_encode(b"\0\0") == b"\xd5"


def test_the_newest_instructions_are_in_use():
    sets = _codec.instruction_sets()
    assert sets[0] == "plain"
    before = _codec.use_instructions("plain")
    assert before == sets[-1]
    assert _codec.use_instructions(before) == "plain"


@pytest.mark.parametrize("wrong", ["", "Plain", "mmx", "\0"])
def test_instructions_that_are_not_here(wrong):
    with pytest.raises(ValueError, match=r"no loops for .* here; there are plain"):
        _codec.use_instructions(wrong)


@each_instruction_set
def test_every_code_as_audioop_and_as_the_twin():
    assert _codec.mulaw_decode(ALL_CODES) == audioop.ulaw2lin(ALL_CODES, 2) == reference.mulaw_decode(ALL_CODES)
    assert _codec.alaw_decode(ALL_CODES) == audioop.alaw2lin(ALL_CODES, 2) == reference.alaw_decode(ALL_CODES)


@each_instruction_set
def test_every_sample_as_audioop_and_as_the_twin():
    assert _codec.mulaw_encode(ALL_SAMPLES) == audioop.lin2ulaw(ALL_SAMPLES, 2) == reference.mulaw_encode(ALL_SAMPLES)
    assert _codec.alaw_encode(ALL_SAMPLES) == audioop.lin2alaw(ALL_SAMPLES, 2) == reference.alaw_encode(ALL_SAMPLES)


@pytest.mark.parametrize("function", DECODERS + ENCODERS)
@given(data=st.binary(max_size=700))
def test_any_bytes_as_the_twin(function, data):
    data = data[: len(data) // 2 * 2]
    assert function(data) == twin(function)(data)


@each_instruction_set
@pytest.mark.parametrize("function", DECODERS + ENCODERS)
def test_every_length_at_odd_addresses(function):
    """Vector loops have a head and a tail: no length and no alignment may change a value or touch a neighbour."""
    width = 2 if function in DECODERS else 1
    one_round = twin_of_all(function)
    for samples in (*range(70), 159, 160, 161, RELEASE_SAMPLES - 1, RELEASE_SAMPLES + 17):
        data = workload(function, samples)
        expected = (one_round * (samples * width // len(one_round) + 1))[: samples * width]
        moved = memoryview(b"x" + data)[1:]
        assert function(moved) == expected, samples
        out = bytearray(b"\xa5" * (len(expected) + 9))
        assert INTO[function](moved, memoryview(out)[3:-3]) == len(expected), samples
        assert out == b"\xa5" * 3 + expected + b"\xa5" * 6, samples


@pytest.mark.parametrize("function", DECODERS)
@pytest.mark.parametrize(
    "wrap",
    [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8), lambda data: array.array("B", data)],
)
def test_decoders_take_buffers_of_bytes(function, wrap):
    assert function(wrap(ALL_CODES)) == twin(function)(ALL_CODES)


@pytest.mark.parametrize("function", ENCODERS)
@pytest.mark.parametrize(
    "wrap",
    [
        bytes,
        bytearray,
        memoryview,
        lambda pcm: np.frombuffer(pcm, np.int16),
        lambda pcm: np.frombuffer(pcm, np.int16).reshape(-1, 2),
        lambda pcm: array.array("h", pcm),
        lambda pcm: (ctypes.c_int16 * (len(pcm) // 2)).from_buffer_copy(pcm),
    ],
)
def test_encoders_take_buffers_of_bytes_and_of_samples(function, wrap):
    pcm = ALL_SAMPLES[:4096]
    assert function(wrap(pcm)) == twin(function)(pcm)


@pytest.mark.parametrize("function", DECODERS + ENCODERS)
@pytest.mark.parametrize("wrong", ["text", None, 7, [1, 2], 1.5])
def test_what_is_no_buffer(function, wrong):
    with pytest.raises(TypeError, match="bytes-like object is required"):
        function(wrong)


@pytest.mark.parametrize("function", DECODERS + ENCODERS)
@pytest.mark.parametrize("dtype", ["float32", "int32", ">i2", "uint16"])
def test_items_of_another_kind(function, dtype):
    with pytest.raises(TypeError, match="a buffer of bytes"):
        function(np.zeros(8, dtype))


def test_decoders_take_no_samples():
    with pytest.raises(TypeError, match="a buffer of bytes is needed"):
        _codec.mulaw_decode(np.zeros(8, np.int16))


@pytest.mark.parametrize("function", DECODERS + ENCODERS)
@pytest.mark.parametrize("wrap", [memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_a_buffer_with_gaps(function, wrap):
    with pytest.raises(BufferError, match="contiguous"):
        function(wrap(bytes(8))[::2])


@pytest.mark.parametrize("function", ENCODERS)
def test_half_a_sample(function):
    with pytest.raises(ValueError, match="3 bytes are not a whole number of 2-byte samples"):
        function(b"abc")


@pytest.mark.parametrize("into", [_codec.mulaw_decode_into, _codec.alaw_decode_into])
def test_out_is_too_small(into):
    with pytest.raises(ValueError, match="out has 5 bytes, but 3 samples take 6"):
        into(b"abc", bytearray(5))


@pytest.mark.parametrize("into", list(INTO.values()))
def test_out_cannot_be_written(into):
    with pytest.raises(BufferError):
        into(b"abcd", bytes(16))


@pytest.mark.parametrize("into", [_codec.mulaw_decode_into, _codec.alaw_decode_into])
def test_out_may_be_samples(into):
    out = np.zeros(256, np.int16)
    assert into(ALL_CODES, out) == 512
    assert out.tobytes() == (reference.mulaw_decode if into is _codec.mulaw_decode_into else reference.alaw_decode)(
        ALL_CODES
    )


@pytest.mark.parametrize("into", [_codec.mulaw_encode_into, _codec.alaw_encode_into])
def test_out_of_an_encoder_is_bytes(into):
    with pytest.raises(TypeError, match="a buffer of bytes is needed"):
        into(bytes(8), np.zeros(8, np.int16))


@pytest.mark.parametrize("start", [0, 1, 7])
def test_in_and_out_may_not_overlap(start):
    memory = bytearray(64)
    with pytest.raises(ValueError, match="overlap"):
        _codec.mulaw_decode_into(memoryview(memory)[:8], memoryview(memory)[start:])
    with pytest.raises(ValueError, match="overlap"):
        _codec.mulaw_encode_into(memoryview(memory)[start : start + 16], memoryview(memory)[7:])


def test_in_and_out_may_touch():
    """Only the part of ``out`` that is written counts."""
    memory = bytearray(ALL_CODES[:8] + bytes(16))
    assert _codec.mulaw_encode_into(memoryview(memory)[4:12], memoryview(memory)) == 4
    memory = bytearray(ALL_CODES[:8] + bytes(16))
    assert _codec.mulaw_decode_into(memoryview(memory)[:8], memoryview(memory)[8:]) == 16
    assert memory[8:] == reference.mulaw_decode(ALL_CODES[:8])


def test_buffers_are_given_back():
    data, out = bytearray(8), bytearray(8)
    _codec.mulaw_decode(data)
    _codec.mulaw_encode_into(data, out)
    for function in (_codec.mulaw_decode_into, _codec.mulaw_encode_into):
        with pytest.raises(ValueError, match="out has 1 bytes"):
            function(data, memoryview(bytearray(1)))
    with pytest.raises(TypeError):
        _codec.mulaw_encode_into(data, "no buffer")
    data.append(1)  # a bytearray refuses this while anyone holds its buffer
    out.append(1)


@pytest.fixture
def no_involuntary_switch():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(before)


def other_thread_ran_during(work) -> bool:
    """Whether a thread that is ready to run got the GIL while ``work()`` ran."""
    ready, go, ran = threading.Event(), threading.Lock(), []
    go.acquire()

    def run():
        ready.set()
        with go:
            ran.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    go.release()
    work()
    seen = bool(ran)
    thread.join()
    return seen


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this Python has no GIL")
@pytest.mark.usefixtures("no_involuntary_switch")
@pytest.mark.parametrize("function", DECODERS + ENCODERS)
def test_long_inputs_release_the_gil_and_frames_do_not(function):
    frame, long = workload(function, 160), workload(function, 8_000_000)
    assert not any(other_thread_ran_during(lambda: function(frame)) for _ in range(20))
    # One try may fail: the other thread must be woken by the system before the loop is over.
    assert any(other_thread_ran_during(lambda: function(long)) for _ in range(50))
