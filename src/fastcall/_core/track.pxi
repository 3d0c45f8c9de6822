# A call's audio by call time: what waits, and what is kept for replay. Included by _codec.pyx.

@cython.final
cdef class AudioTrack:
    """A call's audio by call time: what one thread pushed, and what another took and keeps. No locks.

    :param sample_bytes: 1 = mu-law, 2 = LINEAR16; audio is kept as it came
    :raises ValueError: an argument out of its range

    Positions are samples since the track began; what did not fit keeps its time as silence. Memory is taken 2 KiB at a
    time, as audio comes, and given back as it is forgotten; silence of over 2 KiB takes 24 bytes, however long it is.

    One thread at a time may push (the producer: ``push``, ``push_silence``) while another does the rest (the
    consumer: ``take``, ``read``, ``forget_before``). The properties may be read in any thread. All keep the GIL.
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
        """The first sample that is kept."""
        return self.audio.kept_from

    @property
    def end(self):
        """One past the newest sample that was taken."""
        return audio_taken(&self.audio)

    @property
    def pushed_samples(self):
        """One past the newest sample that was pushed, what did not fit included."""
        return audio_pushed(&self.audio)

    @property
    def waiting_samples(self):
        """Samples that wait to be taken."""
        return audio_waiting(&self.audio)

    @property
    def dropped_samples(self):
        """Samples that did not fit, and are silence."""
        return audio_dropped(&self.audio)

    @property
    def memory_bytes(self):
        """Memory taken for audio."""
        return audio_memory(&self.audio)

    def __sizeof__(self):
        """The object's own memory and what it took for audio: ``sys.getsizeof`` would not see the blocks."""
        return object.__sizeof__(self) + audio_memory(&self.audio)

    def push(self, data, /, limit_samples=None):
        """Appends ``data`` (whole samples, any C-contiguous buffer); returns how many samples fitted.

        Beyond ``limit_samples`` waiting samples the newest are dropped and counted, and become silence. Producer only.

        :raises TypeError: not a buffer of bytes (or of 16-bit integers, if the track holds LINEAR16)
        :raises ValueError: not a whole number of samples, or a negative limit
        :raises MemoryError: there is no memory even for the silence in its place
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
        """Appends the first ``accepted`` of ``samples`` samples (fewer, and says so, if there is no memory), and
        silence for the rest. Whether there was memory for that."""
        accepted[0] = audio_push(&self.audio, source, accepted[0])
        cdef Py_ssize_t rest = samples - accepted[0]
        audio_drop(&self.audio, rest)
        return rest == 0 or audio_push_silence(&self.audio, rest) == rest

    def push_silence(self, Py_ssize_t samples, /):
        """Appends that many samples of silence, whatever waits. Producer only.

        :raises ValueError: ``samples`` is negative
        :raises MemoryError: there is no memory for it
        """
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        if audio_push_silence(&self.audio, samples) < samples:
            raise MemoryError(f"no memory for {samples} samples of silence")

    def take(self):
        """What waits becomes the newest of what is kept; returns how many samples. Consumer only."""
        cdef Py_ssize_t samples = audio_waiting(&self.audio)
        audio_take(&self.audio, samples)
        return samples

    def read(self, Py_ssize_t start, Py_ssize_t samples, /):
        """At most ``samples`` samples from ``start`` on, as LINEAR16, 2 bytes each; fewer where what is kept ends.

        Consumer only.

        :raises ValueError: ``start`` is not within what is kept, or ``samples`` is negative
        """
        cdef Py_ssize_t first = self.audio.kept_from
        cdef Py_ssize_t end = audio_taken(&self.audio)
        if not first <= start <= end:
            raise ValueError(f"start={start}: the samples from {first} to {end} are kept")
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        return read_audio(&self.audio, start, min(samples, end - start), self.audio.sample_bytes == 1)

    def forget_before(self, Py_ssize_t sample, /):
        """Samples before ``sample`` are kept no longer, as far as they were taken. Consumer only."""
        if sample > 0:
            audio_forget(&self.audio, min(<uint64_t>sample, audio_taken(&self.audio)))
