# The names of the standard library's audioop, for fastcall.g711. Included by _codec.pyx.
# https://docs.python.org/3.12/library/audioop.html

class error(Exception):
    """A width that is none, or a fragment that is not a whole number of samples."""

    __module__ = "fastcall.g711"


cdef int check_width(Py_ssize_t width) except -1:
    if not 1 <= width <= 4:
        raise error("Size should be 1, 2, 3 or 4")
    return 0


cdef bytes decode_to(object fragment, Loop loop, Py_ssize_t width):
    cdef Py_buffer source
    cdef bytes pcm, result
    hold_any(&source, fragment, PyBUF_SIMPLE)
    try:
        check_width(width)
        pcm = result = PyBytes_FromStringAndSize(NULL, source.len * 2)
        run(loop, source.buf, PyBytes_AS_STRING(pcm), source.len)
        if width != 2:
            result = PyBytes_FromStringAndSize(NULL, source.len * width)
            resize_loop(PyBytes_AS_STRING(pcm), 2, PyBytes_AS_STRING(result), width, source.len)
    finally:
        PyBuffer_Release(&source)
    return result


cdef bytes encode_from(object fragment, Loop loop, Py_ssize_t width):
    cdef Py_buffer source
    cdef Py_ssize_t samples
    cdef bytes pcm, result
    cdef const void* linear16
    hold_any(&source, fragment, PyBUF_SIMPLE)
    try:
        check_width(width)
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


def ulaw2lin(fragment, Py_ssize_t width, /):
    """Linear samples of ``width`` bytes (1 to 4, signed, little-endian), one for each mu-law code of ``fragment``.

    ``fragment`` is any C-contiguous buffer. Bit for bit ``audioop.ulaw2lin``.

    :raises error: a width that is none
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return decode_to(fragment, loops.mulaw_decode, width)


def lin2ulaw(fragment, Py_ssize_t width, /):
    """mu-law codes, one for each linear sample of ``width`` bytes (1 to 4, signed, little-endian) of ``fragment``.

    ``fragment`` is any C-contiguous buffer. Bit for bit ``audioop.lin2ulaw``: only the 14 highest bits count.

    :raises error: a width that is none, or not a whole number of samples
    :raises TypeError: not a buffer
    :raises BufferError: not contiguous

    Safe in any thread. Releases the GIL from 65,536 samples on.
    """
    return encode_from(fragment, loops.mulaw_encode, width)


def alaw2lin(fragment, Py_ssize_t width, /):
    """As :func:`ulaw2lin`, for A-law codes. Bit for bit ``audioop.alaw2lin``."""
    return decode_to(fragment, loops.alaw_decode, width)


def lin2alaw(fragment, Py_ssize_t width, /):
    """As :func:`lin2ulaw`, for A-law codes: only the 13 highest bits count. Bit for bit ``audioop.lin2alaw``."""
    return encode_from(fragment, loops.alaw_encode, width)
