# The audio ring: a queue of samples from one thread to another. Included by _codec.pyx.

cdef extern from "audio.h" nogil:
    ctypedef struct Audio "fastcall_audio":
        int sample_bytes
        uint64_t kept_from
    void audio_begin "fastcall_audio_begin"(Audio* audio, int sample_bytes) noexcept
    void audio_end "fastcall_audio_end"(Audio* audio) noexcept
    Py_ssize_t audio_fitting "fastcall_audio_fitting"(Audio* audio, Py_ssize_t samples, Py_ssize_t limit) noexcept
    Py_ssize_t audio_push "fastcall_audio_push"(Audio* audio, const uint8_t* source, Py_ssize_t samples) noexcept
    Py_ssize_t audio_push_silence "fastcall_audio_push_silence"(Audio* audio, Py_ssize_t samples) noexcept
    void audio_drop "fastcall_audio_drop"(Audio* audio, Py_ssize_t samples) noexcept
    Py_ssize_t audio_waiting "fastcall_audio_waiting"(Audio* audio) noexcept
    void audio_take "fastcall_audio_take"(Audio* audio, Py_ssize_t samples) noexcept
    void audio_read "fastcall_audio_read"(
        Audio* audio, uint64_t position, Py_ssize_t samples, uint8_t* target, Kernel decode
    ) noexcept
    void audio_forget "fastcall_audio_forget"(Audio* audio, uint64_t position) noexcept
    uint64_t audio_pushed "fastcall_audio_pushed"(Audio* audio) noexcept
    uint64_t audio_taken "fastcall_audio_taken"(Audio* audio) noexcept
    uint64_t audio_dropped "fastcall_audio_dropped"(Audio* audio) noexcept
    Py_ssize_t audio_memory "fastcall_audio_memory"(Audio* audio) noexcept

cdef enum:
    RING_LIMIT_SAMPLES = 1 << 30


cdef int check_sample_bytes(int sample_bytes) except -1:
    if not 1 <= sample_bytes <= 2:
        raise ValueError(f"sample_bytes={sample_bytes}: must be 1 (mu-law) or 2 (LINEAR16)")
    return 0


cdef bytes read_audio(Audio* audio, uint64_t position, Py_ssize_t samples, bint decode):
    """``samples`` samples from ``position`` on, which must be there; from mu-law to LINEAR16 if ``decode``."""
    cdef bytes result = PyBytes_FromStringAndSize(NULL, samples * (2 if decode else audio.sample_bytes))
    audio_read(audio, position, samples, <uint8_t*>PyBytes_AS_STRING(result), kernels.mulaw_decode if decode else NULL)
    return result


@cython.final
cdef class AudioRing:
    """A bounded queue of a call's audio, from the thread that receives it to the one that sends it. No locks.

    :param capacity_samples: limit of waiting samples, 1 to 2**30. Memory is allocated and freed as needed
    :param sample_bytes: 1 = mu-law, 2 = LINEAR16
    :raises ValueError: an argument is out of range

    One thread at a time may push (the producer: ``push``, ``push_silence``) while another takes (the
    consumer: ``take``, ``take_batch``, ``clear``). The properties may be read from any thread.
    """

    cdef Audio audio
    cdef readonly Py_ssize_t capacity_samples
    cdef readonly Py_ssize_t sample_bytes

    def __cinit__(self, Py_ssize_t capacity_samples, *, Py_ssize_t sample_bytes=1):
        if not 1 <= capacity_samples <= RING_LIMIT_SAMPLES:
            raise ValueError(f"capacity_samples={capacity_samples}: must be from 1 to {RING_LIMIT_SAMPLES}")
        check_sample_bytes(<int>sample_bytes)
        self.capacity_samples = capacity_samples
        self.sample_bytes = sample_bytes
        audio_begin(&self.audio, <int>sample_bytes)

    def __dealloc__(self):
        audio_end(&self.audio)

    @property
    def waiting_samples(self):
        """Samples waiting to be taken."""
        return audio_waiting(&self.audio)

    @property
    def pushed_samples(self):
        """Samples accepted since creation: those taken and those waiting."""
        return audio_pushed(&self.audio)

    @property
    def taken_samples(self):
        """Samples taken or cleared since creation."""
        return audio_taken(&self.audio)

    @property
    def dropped_samples(self):
        """Samples dropped since creation because they did not fit."""
        return audio_dropped(&self.audio)

    def push(self, data, /):
        """Appends ``data`` (whole samples, any C-contiguous buffer); returns how many samples were accepted.

        If not all fit, the newest are dropped and counted; it never waits or overwrites.
        Keeps the GIL. Producer only.

        :raises TypeError: not a buffer of bytes (or of 16-bit integers, if the ring holds LINEAR16)
        :raises ValueError: not a whole number of samples
        """
        cdef Py_buffer source
        cdef Py_ssize_t samples, accepted
        hold(&source, data, PyBUF_SIMPLE, self.audio.sample_bytes == 2)
        try:
            samples = count_samples(&source, self.audio.sample_bytes)
            accepted = audio_fitting(&self.audio, samples, self.capacity_samples)
            accepted = audio_push(&self.audio, <const uint8_t*>source.buf, accepted)
            audio_drop(&self.audio, samples - accepted)
            return accepted
        finally:
            PyBuffer_Release(&source)

    def push_silence(self, Py_ssize_t samples, /):
        """Appends that many samples of silence (mu-law 0xFF, LINEAR16 0); otherwise as :meth:`push`."""
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        cdef Py_ssize_t accepted = audio_fitting(&self.audio, samples, self.capacity_samples)
        accepted = audio_push_silence(&self.audio, accepted)
        audio_drop(&self.audio, samples - accepted)
        return accepted

    def take(self, Py_ssize_t max_samples, /):
        """Takes the oldest samples, at most ``max_samples``, as they were pushed; ``b""`` if none are waiting.

        Keeps the GIL. Consumer only.

        :raises ValueError: ``max_samples`` is negative
        """
        if max_samples < 0:
            raise ValueError(f"max_samples={max_samples}: must not be negative")
        return self.remove(min(max_samples, audio_waiting(&self.audio)), False)

    def take_batch(self, Py_ssize_t min_samples, Py_ssize_t max_samples, /):
        """Takes the oldest samples as LINEAR16, at most ``max_samples``; None if fewer than ``min_samples`` wait.

        mu-law is decoded directly into the result, 2 bytes per sample. Keeps the GIL. Consumer only.

        :raises ValueError: not 1 <= ``min_samples`` <= ``max_samples``
        """
        if not 1 <= min_samples <= max_samples:
            raise ValueError(f"not 1 <= min_samples={min_samples} <= max_samples={max_samples}")
        cdef Py_ssize_t waiting = audio_waiting(&self.audio)
        if waiting < min_samples:
            return None
        return self.remove(min(max_samples, waiting), self.sample_bytes == 1)

    def clear(self):
        """Discards all waiting samples, and returns how many. Consumer only."""
        cdef Py_ssize_t waiting = audio_waiting(&self.audio)
        self.release(waiting)
        return waiting

    cdef bytes remove(self, Py_ssize_t samples, bint decode):
        """The oldest ``samples``, which must be waiting, decoded from mu-law if ``decode``."""
        cdef bytes result = read_audio(&self.audio, self.audio.kept_from, samples, decode)
        self.release(samples)
        return result

    cdef void release(self, Py_ssize_t samples) noexcept nogil:
        """Frees the oldest ``samples``; taken samples are not kept."""
        audio_take(&self.audio, samples)
        audio_forget(&self.audio, audio_taken(&self.audio))
