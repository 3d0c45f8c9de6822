# A call's audio by call time: a queue, and a buffer for replay. Included by _codec.pyx.

@cython.final
cdef class AudioTrack:
    """A call's audio by call time: a queue from one thread to another, which keeps what it took. No locks.

    :param sample_bytes: 1 = mu-law, 2 = LINEAR16; audio is stored as pushed
    :raises ValueError: an argument is out of range

    Positions are samples since the track's start; audio that did not fit is replaced by silence. Memory is allocated in
    blocks of 2 KiB and freed as audio is forgotten; silence of over 2 KiB takes 24 bytes, whatever its length.

    One thread at a time may push (the producer: ``push``, ``push_silence``) while another does the rest (the
    consumer: ``take``, ``read``, ``forget_before``). The properties may be read from any thread. All keep the GIL.
    """

    cdef Audio audio

    def __cinit__(self, *, int sample_bytes=1):
        check_sample_bytes(sample_bytes)
        audio_begin(&self.audio, sample_bytes)

    def __dealloc__(self):
        audio_end(&self.audio)

    @property
    def sample_bytes(self):
        """1 = mu-law, 2 = LINEAR16."""
        return self.audio.sample_bytes

    @property
    def start(self):
        """The oldest sample kept."""
        return self.audio.kept_from

    @property
    def end(self):
        """One past the newest sample taken."""
        return audio_taken(&self.audio)

    @property
    def pushed_samples(self):
        """One past the newest sample pushed, including what did not fit."""
        return audio_pushed(&self.audio)

    @property
    def waiting_samples(self):
        """Samples waiting to be taken."""
        return audio_waiting(&self.audio)

    @property
    def dropped_samples(self):
        """Samples that did not fit, and were replaced by silence."""
        return audio_dropped(&self.audio)

    @property
    def memory_bytes(self):
        """Bytes of memory allocated for audio."""
        return audio_memory(&self.audio)

    def __sizeof__(self):
        """The object's memory, including the blocks of audio, for ``sys.getsizeof``."""
        return object.__sizeof__(self) + audio_memory(&self.audio)

    def push(self, data, /, limit_samples=None):
        """Appends ``data`` (whole samples, any C-contiguous buffer); returns how many samples fitted.

        Beyond ``limit_samples`` waiting samples, the newest are counted and replaced by silence. Producer only.

        :raises TypeError: not a buffer of bytes (or of 16-bit integers, if the track holds LINEAR16)
        :raises ValueError: not a whole number of samples, or a negative limit
        :raises MemoryError: there is no memory even for silence instead
        """
        cdef Py_ssize_t limit = PY_SSIZE_T_MAX if limit_samples is None else limit_samples
        cdef Py_ssize_t samples, accepted
        cdef bint kept_time
        cdef Py_buffer source
        if limit < 0:
            raise ValueError(f"limit_samples={limit}: must not be negative")
        hold(&source, data, PyBUF_SIMPLE, self.audio.sample_bytes == 2)
        try:
            samples = count_samples(&source, self.audio.sample_bytes)
            accepted = audio_fitting(&self.audio, samples, limit)
            kept_time = self.put(<const uint8_t*>source.buf, &accepted, samples)
        finally:
            PyBuffer_Release(&source)
        if not kept_time:
            raise MemoryError(f"no memory for {samples - accepted} samples of silence")
        return accepted

    cdef bint put(self, const uint8_t* source, Py_ssize_t* accepted, Py_ssize_t samples) noexcept nogil:
        """Appends the first ``accepted`` of ``samples`` samples (fewer without memory; updates ``accepted``), and
        silence for the rest. Returns whether there was memory for that."""
        accepted[0] = audio_push(&self.audio, source, accepted[0])
        cdef Py_ssize_t rest = samples - accepted[0]
        audio_drop(&self.audio, rest)
        return rest == 0 or audio_push_silence(&self.audio, rest) == rest

    def push_silence(self, Py_ssize_t samples, /):
        """Appends that many samples of silence, without a limit. Producer only.

        :raises ValueError: ``samples`` is negative
        :raises MemoryError: there is no memory for it
        """
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        if audio_push_silence(&self.audio, samples) < samples:
            raise MemoryError(f"no memory for {samples} samples of silence")

    def take(self):
        """Moves the waiting samples to those kept; returns how many. Consumer only."""
        cdef Py_ssize_t samples = audio_waiting(&self.audio)
        audio_take(&self.audio, samples)
        return samples

    def read(self, Py_ssize_t start, Py_ssize_t samples, /):
        """At most ``samples`` samples from ``start`` on, as LINEAR16, 2 bytes each; fewer at the end of those kept.

        Consumer only.

        :raises ValueError: ``start`` is not among the samples kept, or ``samples`` is negative
        """
        cdef Py_ssize_t first = self.audio.kept_from
        cdef Py_ssize_t end = audio_taken(&self.audio)
        if not first <= start <= end:
            raise ValueError(f"start={start}: the samples from {first} to {end} are kept")
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        return read_audio(&self.audio, start, min(samples, end - start), self.audio.sample_bytes == 1)

    def forget_before(self, Py_ssize_t sample, /):
        """Frees samples before ``sample`` that were taken. Consumer only."""
        if sample > 0:
            audio_forget(&self.audio, min(<uint64_t>sample, audio_taken(&self.audio)))
