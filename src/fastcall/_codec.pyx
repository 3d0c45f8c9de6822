"""The core of fastcall."""

cdef extern from *:
    const char* _BUILD "FASTCALL_BUILD"

BUILD = _BUILD.decode("ascii")
