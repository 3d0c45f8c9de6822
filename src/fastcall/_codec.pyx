"""The core: G.711, the audio ring, the debouncer, the scan of Twilio's messages, the frames sent to it, the fast path.

Every loop is a ``noexcept nogil`` function over plain pointers, or C in the headers in ``_core``. Every public function
acquires the buffer, calls the loop and releases the buffer. It holds the buffer while the loop runs, because an
exporter may move or free its memory once it is released. Buffers are acquired explicitly: typed memoryviews would
double the generated C.

LINEAR16 is signed 16-bit PCM in the byte order of the machine; the supported machines are little-endian.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT,
    PyBUF_ND,
    PyBUF_SIMPLE,
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.math cimport isfinite
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy, memset, strcmp

cdef extern from *:
    const Py_ssize_t PY_SSIZE_T_MAX
    const char* _BUILD "FASTCALL_BUILD"

BUILD = _BUILD.decode("ascii")

cdef enum:
    # Below this the GIL is kept. Releasing it costs as much as decoding a few frames, and reacquiring it
    # can take another thread's whole switch interval (5 ms); benchmarks/bench_codec.py measures both.
    RELEASE_SAMPLES = 65_536

include "_core/g711.pxi"


cdef int run(Kernel loop, const void* source, void* target, Py_ssize_t samples) except -1:
    if samples >= RELEASE_SAMPLES:
        with nogil:
            loop(source, target, samples)
    else:
        loop(source, target, samples)
    return 0


cdef int hold_any(Py_buffer* view, object data, int flags) except -1:
    """Acquires the buffer of ``data``, C-contiguous bytes. The caller releases it."""
    try:
        PyObject_GetBuffer(data, view, flags)
    except ValueError as error:  # numpy raises it where others raise BufferError
        raise BufferError(str(error)) from None
    return 0


cdef int hold(Py_buffer* view, object data, int flags, bint linear16) except -1:
    """As :func:`hold_any`, but only for bytes; with ``linear16`` also for 16-bit integers."""
    hold_any(view, data, PyBUF_ND | PyBUF_FORMAT | flags)
    if view.itemsize == 1:
        return 0
    cdef bytes form = view.format if view.format != NULL else b"?"
    if linear16 and form.lstrip(b"@=<") == b"h":
        return 0
    PyBuffer_Release(view)
    wanted = "bytes or 16-bit integers" if linear16 else "bytes"
    raise TypeError(f"a buffer of {wanted} is needed, not of items of the format {form.decode('latin-1')!r}")


cdef Py_ssize_t count_samples(Py_buffer* view, Py_ssize_t width) except -1:
    if view.len % width:
        raise ValueError(f"{view.len} bytes are not a whole number of {width}-byte samples")
    return view.len // width


cdef bytes convert(object data, Kernel loop, Py_ssize_t width, Py_ssize_t new_width):
    cdef Py_buffer source
    cdef Py_ssize_t samples
    cdef bytes result
    hold(&source, data, PyBUF_SIMPLE, width == 2)
    try:
        samples = count_samples(&source, width)
        result = PyBytes_FromStringAndSize(NULL, samples * new_width)
        run(loop, source.buf, PyBytes_AS_STRING(result), samples)
    finally:
        PyBuffer_Release(&source)
    return result


cdef Py_ssize_t convert_into(object data, object out, Kernel loop, Py_ssize_t width, Py_ssize_t new_width) except -1:
    cdef Py_buffer source, target
    cdef Py_ssize_t samples
    hold(&source, data, PyBUF_SIMPLE, width == 2)
    try:
        samples = count_samples(&source, width)
        hold(&target, out, PyBUF_WRITABLE, new_width == 2)
        try:
            if target.len < samples * new_width:
                raise ValueError(f"out has {target.len} bytes, but {samples} samples take {samples * new_width}")
            if source.buf < target.buf + samples * new_width and target.buf < source.buf + source.len:
                raise ValueError("data and out overlap")
            run(loop, source.buf, target.buf, samples)
        finally:
            PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)
    return samples * new_width


def mulaw_decode(data, /):
    """Decode mu-law (G.711) to LINEAR16: 2 bytes for each byte of ``data``.

    ``data`` is any C-contiguous buffer of bytes. Bit for bit ``audioop.ulaw2lin(data, 2)``.

    :raises TypeError: not a buffer of bytes
    :raises BufferError: not contiguous

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return convert(data, kernels.mulaw_decode, 1, 2)


def mulaw_encode(pcm, /):
    """Encode LINEAR16 to mu-law (G.711): one byte for each sample of ``pcm``.

    ``pcm`` is any C-contiguous buffer of bytes or of 16-bit integers.
    Bit for bit ``audioop.lin2ulaw(pcm, 2)``.

    :raises TypeError: not a buffer of bytes or 16-bit integers
    :raises ValueError: an odd number of bytes
    :raises BufferError: not contiguous

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return convert(pcm, kernels.mulaw_encode, 2, 1)


def mulaw_decode_into(data, out, /):
    """As :func:`mulaw_decode`, into the writable buffer ``out``. Returns the bytes written, 2 per sample.

    The rest of ``out`` is unchanged.

    :raises ValueError: ``out`` is too small, or overlaps ``data``
    :raises BufferError: ``out`` is read-only
    """
    return convert_into(data, out, kernels.mulaw_decode, 1, 2)


def mulaw_encode_into(pcm, out, /):
    """As :func:`mulaw_encode`, into the writable buffer ``out``. Returns the bytes written, 1 per sample.

    Raises as :func:`mulaw_decode_into`.
    """
    return convert_into(pcm, out, kernels.mulaw_encode, 2, 1)


def alaw_decode(data, /):
    """Decode A-law to LINEAR16; otherwise as :func:`mulaw_decode`. Bit for bit ``audioop.alaw2lin(data, 2)``."""
    return convert(data, kernels.alaw_decode, 1, 2)


def alaw_encode(pcm, /):
    """Encode LINEAR16 to A-law; otherwise as :func:`mulaw_encode`. Bit for bit ``audioop.lin2alaw(pcm, 2)``."""
    return convert(pcm, kernels.alaw_encode, 2, 1)


def alaw_decode_into(data, out, /):
    """As :func:`alaw_decode`, into ``out``; see :func:`mulaw_decode_into`."""
    return convert_into(data, out, kernels.alaw_decode, 1, 2)


def alaw_encode_into(pcm, out, /):
    """As :func:`alaw_encode`, into ``out``; see :func:`mulaw_encode_into`."""
    return convert_into(pcm, out, kernels.alaw_encode, 2, 1)


include "_core/audioop.pxi"
include "_core/ring.pxi"
include "_core/track.pxi"
include "_core/debouncer.pxi"
include "_core/media.pxi"
include "_core/outbound.pxi"
include "_core/timeline.pxi"
include "_core/endpointing.pxi"
include "_core/foreground.pxi"
include "_core/vad_framer.pxi"
include "_core/audio_sink.pxi"
include "_core/live_audio.pxi"
include "_core/fast_path.pxi"
include "_core/mark_filter.pxi"
