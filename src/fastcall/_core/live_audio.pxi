# A call's live audio, from its track to the recognizer's stream. Included by _codec.pyx.

from cpython.pycapsule cimport PyCapsule_GetPointer

cdef enum:
    HISTOGRAM_BOUNDS = 16
    SAMPLE_RATE = 8000
    # Under 15,000 bytes of LINEAR16: the smallest limit for a request in Google's documentation.
    LIVE_PIECE_SAMPLES = 7200

MAX_PIECE_SAMPLES = LIVE_PIECE_SAMPLES

cdef enum LiveStep:
    IDLE, SENT, FLUSH, OTHERWISE  # FLUSH: sent, and the connection must be flushed


@cython.final
cdef class CallClock:
    """Maps call time to the clock that ``now`` comes from. One a call, one thread.

    The earliest audio sets the mapping: anything later was delayed. So the age of a sample includes the network's
    jitter and every delay since, but not the constant part of the network's latency. Clocks may drift apart by 0.01 %;
    otherwise, the audio of a long call would seem to get older, or younger. Keeps the GIL.
    """

    cdef bint has_begun
    cdef double began_at, looked_at

    def heard(self, int64_t end_sample, /, *, double now):
        """The call's audio up to ``end_sample`` has arrived."""
        self.hear(end_sample, now)

    def skipped(self, int64_t samples, /):
        """Time passed without audio: audio after it is not late."""
        self.began_at += <double>samples / SAMPLE_RATE

    def age_s(self, int64_t sample, /, *, double now):
        """How long ago ``sample`` was spoken, in seconds; 0 before any audio."""
        return self.age(sample, now)

    cdef void hear(self, int64_t end_sample, double now) noexcept nogil:
        cdef double began_at = now - <double>end_sample / SAMPLE_RATE
        cdef double latest = self.began_at + 1e-4 * (now - self.looked_at)
        self.began_at = latest if self.has_begun and latest < began_at else began_at
        self.looked_at = now
        self.has_begun = True

    cdef double age(self, int64_t sample, double now) noexcept nogil:
        cdef double age = now - self.began_at - <double>sample / SAMPLE_RATE
        return age if self.has_begun and age > 0 else 0.0


@cython.final
cdef class Histogram:
    """Counts of values by upper bounds, and their sum. One thread; keeps the GIL.

    :param bounds: a buffer of doubles (``array("d")``), increasing, at most 16
    :raises ValueError: there are more, or they do not increase
    """

    cdef Py_ssize_t count
    cdef double upper[HISTOGRAM_BOUNDS]
    cdef int64_t values[HISTOGRAM_BOUNDS + 1]
    cdef readonly double total

    def __cinit__(self, bounds):
        data = bytes(memoryview(bounds).cast("B"))
        self.count = len(data) // <Py_ssize_t>sizeof(double)
        if self.count <= HISTOGRAM_BOUNDS:
            memcpy(self.upper, PyBytes_AS_STRING(data), self.count * sizeof(double))
        if self.count > HISTOGRAM_BOUNDS or not increases(self.upper, self.count):
            raise ValueError(f"bounds={list(bounds)}: must increase, and be at most {HISTOGRAM_BOUNDS}")

    @property
    def bounds(self):
        """The upper bounds."""
        return tuple(memoryview(PyBytes_FromStringAndSize(<char*>self.upper, self.count * sizeof(double))).cast("d"))

    @property
    def counts(self):
        """For each bound, the values at or below it and above the bound before; last those above all bounds."""
        data = PyBytes_FromStringAndSize(<char*>self.values, (self.count + 1) * sizeof(int64_t))
        return memoryview(data).cast("q").tolist()

    def observe(self, double value, /):
        """Count one value."""
        self.add(value)

    cdef void add(self, double value) noexcept nogil:
        cdef Py_ssize_t index = 0
        while index < self.count and value > self.upper[index]:
            index += 1
        self.values[index] += 1
        self.total += value


cdef bint increases(const double* values, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(1, count):
        if not values[index - 1] < values[index]:
            return False
    return True


@cython.final
cdef class StreamPosition:
    """How far one provider stream was sent a call's audio. One thread.

    :param cursor: the first sample of the call to be sent
    :param now: when the stream was opened
    """

    cdef public int64_t cursor
    cdef public int64_t length_samples
    cdef public int64_t call_end
    cdef public bint is_audio
    cdef public double last_write_at

    def __cinit__(self, int64_t cursor=0, *, double now=0.0):
        self.cursor, self.last_write_at = cursor, now


@cython.final
cdef class LiveAudio:
    """Sends a call's live audio, batch by batch, without Python. Loop thread only; keeps the GIL.

    While bound to a stream that has had everything before, it decodes each batch that is due from the track into the
    stream's send buffer, and advances the stream's position, the call's clock and the histograms. What is out of the
    ordinary (the buffer is full, more waits than one piece, the track keeps too much) is left for the ordinary path,
    with nothing changed.

    :param track: of mu-law or LINEAR16; this is its consumer
    :param age: gets the age of the newest sample of each batch, in seconds
    :param wait: gets that of the oldest
    :param limit_samples: how many samples the track may keep
    :param batch_samples: unsent samples that make a batch due
    """

    cdef AudioTrack track
    cdef CallClock clock
    cdef Histogram ages, waits
    cdef int64_t limit_samples, batch_samples
    cdef StreamPosition position
    cdef AudioSink* sink
    cdef object capsule, on_flush  # the capsule keeps the sink alive

    def __cinit__(
        self,
        AudioTrack track not None,
        CallClock clock not None,
        *,
        Histogram age not None,
        Histogram wait not None,
        int64_t limit_samples,
        int64_t batch_samples,
    ):
        self.track, self.clock, self.ages, self.waits = track, clock, age, wait
        self.limit_samples, self.batch_samples = limit_samples, batch_samples

    def bind(self, StreamPosition position not None, sink, on_flush, /):
        """Send to this stream from now on.

        :param sink: a capsule with an audio sink
        :param on_flush: called without arguments when the stream's connection must be flushed
        :raises ValueError: another capsule
        """
        self.unbind()
        self.sink = <AudioSink*>PyCapsule_GetPointer(sink, AUDIO_SINK)
        self.position, self.capsule, self.on_flush = position, sink, on_flush

    def unbind(self):
        """Send nothing any more."""
        self.sink = NULL
        self.position = None
        self.capsule = self.on_flush = None

    def pump(self, *, double now):
        """Send what is due; whether that is all that there is to do."""
        cdef LiveStep step = self.step(now)
        if step == FLUSH:
            self.flush()
        return step != OTHERWISE

    cdef int flush(self) except -1:
        if self.on_flush is not None:
            self.on_flush()
        return 0

    cdef LiveStep step(self, double now) noexcept nogil:
        cdef Audio* audio = &self.track.audio
        cdef int64_t start, end, samples
        cdef Py_ssize_t waiting
        cdef uint8_t* target
        if self.sink == NULL:
            return OTHERWISE
        waiting = audio_waiting(audio)
        start, end = self.position.cursor, <int64_t>audio_taken(audio) + waiting
        samples = end - start
        if samples < self.batch_samples:
            return IDLE
        if samples > LIVE_PIECE_SAMPLES or start < <int64_t>audio.kept_from:
            return OTHERWISE
        if end - <int64_t>audio.kept_from > self.limit_samples:
            return OTHERWISE
        if not self.position.is_audio or self.position.call_end != start:
            return OTHERWISE
        target = self.sink.reserve(self.sink.stream, <size_t>(2 * samples))
        if target == NULL:
            return OTHERWISE
        audio_take(audio, waiting)
        audio_read(
            audio, <uint64_t>start, <Py_ssize_t>samples, target,
            kernels.mulaw_decode if audio.sample_bytes == 1 else NULL,
        )
        self.clock.hear(end, now)
        self.ages.add(self.clock.age(end, now))
        self.waits.add(self.clock.age(start, now))
        self.position.cursor = self.position.call_end = end
        self.position.length_samples += samples
        self.position.last_write_at = now
        return FLUSH if self.sink.commit(self.sink.stream, <size_t>(2 * samples)) else SENT
