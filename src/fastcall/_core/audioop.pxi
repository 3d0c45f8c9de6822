# The names of the standard library's audioop, for fastcall.g711. Included by _codec.pyx.
# https://docs.python.org/3.12/library/audioop.html

from cpython.number cimport PyNumber_Index
from libc.limits cimport INT_MAX, INT_MIN


class ErrorBase(Exception):
    """Placeholder base of ``error``, which fastcall.audioop replaces by ``audioop.error`` if that exists. The base of a
    class that derives directly from ``Exception`` cannot be changed."""


class error(ErrorBase):
    """An invalid width, or a fragment that is not a whole number of samples."""

    __module__ = "fastcall.g711"


cdef int hold_fragment(Py_buffer* view, object fragment) except -1:
    """Acquires the buffer of ``fragment``; the exporter's errors propagate, as with audioop."""
    PyObject_GetBuffer(fragment, view, PyBUF_SIMPLE)
    return 0


cdef Py_ssize_t read_width(object width) except -1:
    """A width as audioop reads it: as a C int, checked after the fragment."""
    cdef object number = PyNumber_Index(width)
    if not INT_MIN <= number <= INT_MAX:
        raise OverflowError("Python int too large to convert to C int")
    if not 1 <= number <= 4:
        raise error("Size should be 1, 2, 3 or 4")
    return number


cdef bytes decode_to(object fragment, Kernel loop, object width_object):
    cdef Py_buffer source
    cdef Py_ssize_t width
    cdef bytes pcm, result
    hold_fragment(&source, fragment)
    try:
        width = read_width(width_object)
        pcm = result = PyBytes_FromStringAndSize(NULL, source.len * 2)
        run(loop, source.buf, PyBytes_AS_STRING(pcm), source.len)
        if width != 2:
            result = PyBytes_FromStringAndSize(NULL, source.len * width)
            resize_loop(PyBytes_AS_STRING(pcm), 2, PyBytes_AS_STRING(result), width, source.len)
    finally:
        PyBuffer_Release(&source)
    return result


cdef bytes encode_from(object fragment, Kernel loop, object width_object):
    cdef Py_buffer source
    cdef Py_ssize_t samples, width
    cdef bytes pcm, result
    cdef const void* linear16
    hold_fragment(&source, fragment)
    try:
        width = read_width(width_object)
        if source.len % width:
            raise error("not a whole number of frames")
        samples = source.len // width
        linear16 = source.buf
        if width != 2:
            pcm = PyBytes_FromStringAndSize(NULL, samples * 2)
            resize_loop(<const char*>source.buf, width, PyBytes_AS_STRING(pcm), 2, samples)
            linear16 = PyBytes_AS_STRING(pcm)
        result = PyBytes_FromStringAndSize(NULL, samples)
        run(loop, linear16, PyBytes_AS_STRING(result), samples)
    finally:
        PyBuffer_Release(&source)
    return result


def ulaw2lin(fragment, width, /):
    """Linear samples of ``width`` bytes (1 to 4, signed, little-endian), one for each mu-law code of ``fragment``.

    ``fragment`` is any C-contiguous buffer. Bit for bit ``audioop.ulaw2lin``.

    :raises error: an invalid width
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous; a ValueError for numpy arrays
    :raises OverflowError: a width beyond a C int

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return decode_to(fragment, kernels.mulaw_decode, width)


def lin2ulaw(fragment, width, /):
    """mu-law codes, one for each linear sample of ``width`` bytes (1 to 4, signed, little-endian) of ``fragment``.

    ``fragment`` is any C-contiguous buffer. Bit for bit ``audioop.lin2ulaw``: only the 14 highest bits count.

    :raises error: an invalid width, or not a whole number of samples
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous; a ValueError for numpy arrays
    :raises OverflowError: a width beyond a C int

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return encode_from(fragment, kernels.mulaw_encode, width)


def alaw2lin(fragment, width, /):
    """As :func:`ulaw2lin`, for A-law codes. Bit for bit ``audioop.alaw2lin``."""
    return decode_to(fragment, kernels.alaw_decode, width)


def lin2alaw(fragment, width, /):
    """As :func:`lin2ulaw`, for A-law codes: only the 13 highest bits count. Bit for bit ``audioop.lin2alaw``."""
    return encode_from(fragment, kernels.alaw_encode, width)
