# The audio sink, as both of its sides declare it. Included by _codec.pyx and _http2.pyx.

cdef extern from "audio_sink.h" nogil:
    const char* AUDIO_SINK "FASTCALL_AUDIO_SINK"
    ctypedef struct AudioSink "fastcall_audio_sink":
        void* stream
        uint8_t* (*reserve)(void* stream, size_t bytes) noexcept nogil
        int (*commit)(void* stream, size_t bytes) noexcept nogil
