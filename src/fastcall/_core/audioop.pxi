# The names of the standard library's audioop, for fastcall.g711. Included by _codec.pyx.
# https://docs.python.org/3.12/library/audioop.html

from cpython.number cimport PyNumber_Index
from libc.limits cimport INT_MAX, INT_MIN


class ErrorBase(Exception):
    """In the place of ``audioop.error``, which fastcall.audioop puts here if there is one. A class whose base is
    ``Exception`` itself could not be given another."""


class error(ErrorBase):
    """A width that is none, or a fragment that is not a whole number of samples."""

    __module__ = "fastcall.g711"


cdef int hold_fragment(Py_buffer* view, object fragment) except -1:
    """Takes the buffer of ``fragment``; its owner's error is the caller's, as with audioop."""
    PyObject_GetBuffer(fragment, view, PyBUF_SIMPLE)
    return 0


cdef Py_ssize_t read_width(object width) except -1:
    """A width as audioop reads it, which holds it to be a C int, and looks at it after the fragment."""
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

    :raises error: a width that is none
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous; of a numpy array it is a ValueError
    :raises OverflowError: a width beyond a C int

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return decode_to(fragment, kernels.mulaw_decode, width)


def lin2ulaw(fragment, width, /):
    """mu-law codes, one for each linear sample of ``width`` bytes (1 to 4, signed, little-endian) of ``fragment``.

    ``fragment`` is any C-contiguous buffer. Bit for bit ``audioop.lin2ulaw``: only the 14 highest bits count.

    :raises error: a width that is none, or not a whole number of samples
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous; of a numpy array it is a ValueError
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
