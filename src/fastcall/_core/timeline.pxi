# Places inbound frames in call time. Included by _codec.pyx; audio/timeline.py describes the rule.

cdef enum:
    SAMPLES_A_MS = 8
    TIMESTAMP_LIMIT_MS = 1_000_000_000_000_000  # 10**15; avoids overflow
    JITTER_SAMPLES = 50 * SAMPLES_A_MS  # timestamps deviate from their mean by up to half of this
    COARSE_SAMPLES = 1500 * SAMPLES_A_MS  # the same for a clock with a resolution of seconds
    BACK_MS = 1000  # a timestamp this far back belongs to another clock
    MAX_GAP_SAMPLES = 3_600_000 * SAMPLES_A_MS  # and so does one that skips an hour
    MAX_COUNTED_SAMPLES = 30_000 * SAMPLES_A_MS  # limit for a gap whose length is known only from counts
    STILL_SAMPLES = 40 * SAMPLES_A_MS  # after this much audio with one timestamp, the clock is stuck or coarse
    STEADY_FRAMES = 64  # this many timestamps must advance before the clock is trusted again
    SEEN_FRAMES = 64
    STALE_FRAMES = 50
    OFFSET_UNITS = 256  # of a sample: the estimate moves by less than one sample a frame
    OFFSET_GAIN = 64
    OFFSET_SLEW = 100  # a drift of less than 1 % is followed

cdef inline int64_t the_count(int64_t chunk, int64_t sequence, bint has_two_tracks) noexcept nogil:
    """The number that orders a message: its chunk, else its sequence number; with two tracks, the other way round.
    Missing ones are negative."""
    if has_two_tracks:
        return sequence if sequence >= 0 else chunk
    return chunk if chunk >= 0 else sequence


cdef enum Placing:
    APPEND, LATE, REPEATED, STALE, RESTARTED


@cython.final
cdef class InboundTimeline:
    """Places each frame by its number and timestamp. Pure; one per call, one thread; keeps the GIL."""

    cdef public bint has_two_tracks  # may be numbered together: then numbers do not give the count of missing messages
    cdef int64_t end  # of the call so far, in samples
    cdef int64_t offset  # estimate of the phone's clock relative to it, in units; valid if has_clock
    cdef bint has_clock
    cdef int64_t newest_ms, last_ms  # the highest and the previous timestamp; valid if has_clock
    cdef int64_t still  # samples received with the last timestamp
    cdef int steady  # timestamps that advanced since the clock was stuck, at most STEADY_FRAMES
    cdef bint numbered
    cdef int64_t next_number
    cdef uint64_t seen  # bit n: whether next_number - 1 - n was received
    cdef int stale
    cdef int64_t frame_count, gap_count, silence, duplicates, jumps, unclocked

    def __cinit__(self):
        self.steady = STEADY_FRAMES

    @property
    def end_sample(self):
        """Call time at the end of the newest frame."""
        return self.end

    @property
    def frames(self):
        """Frames placed, including dropped ones."""
        return self.frame_count

    @property
    def gaps(self):
        """Gaps filled with silence."""
        return self.gap_count

    @property
    def gap_samples(self):
        """Samples of silence in these gaps."""
        return self.silence

    @property
    def duplicate_frames(self):
        """Frames dropped as duplicates."""
        return self.duplicates

    @property
    def rebases(self):
        """Detected restarts of the phone's clock."""
        return self.jumps

    @property
    def unclocked_frames(self):
        """Frames whose timestamp was missing, or had not changed for 40 ms of audio."""
        return self.unclocked

    def restart(self, int64_t gap=0, /):
        """The next frame follows after ``gap`` samples of silence, whatever its timestamp and number: it belongs to
        another stream."""
        self.end += gap
        self.silence += gap
        self.gap_count += gap > 0
        self.has_clock = self.numbered = False
        self.still = self.stale = 0
        self.steady = STEADY_FRAMES

    def place(self, int64_t timestamp_ms, Py_ssize_t samples, int64_t chunk=-1, int64_t sequence=-1, /):
        """Places a frame of ``samples`` samples; -1 for a missing number or timestamp.

        Returns how many samples of silence precede it, or None if it is dropped.

        :raises ValueError: ``timestamp_ms`` is not from -1 to 10**15, or ``samples`` is negative
        """
        if not -1 <= timestamp_ms <= <int64_t>TIMESTAMP_LIMIT_MS:
            raise ValueError(f"timestamp_ms={timestamp_ms}: must be from 0 to 10**15, or -1")
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        cdef int64_t number = the_count(chunk, sequence, self.has_two_tracks)
        cdef Placing placing = self.judge(timestamp_ms, number)
        self.stale = self.stale + 1 if placing == STALE else 0
        if placing == STALE and self.stale > STALE_FRAMES:
            placing = RESTARTED
        if placing == REPEATED or placing == STALE:
            self.frame_count += 1
            self.duplicates += 1
            return None
        if placing == LATE:
            self.seen |= <uint64_t>1 << (self.next_number - 1 - number)
            # It may have the highest timestamp, because of jitter; one far ahead belongs to another clock.
            if self.has_clock and self.newest_ms < timestamp_ms < self.newest_ms + BACK_MS:
                self.newest_ms = timestamp_ms
            self.frame_count += 1
            self.end += samples
            return 0
        if placing == RESTARTED:
            self.numbered = False
        cdef int64_t gap = self.gap_before(timestamp_ms, samples, number, chunk >= 0 and not self.has_two_tracks)
        gap -= gap % SAMPLES_A_MS
        if gap > 0:
            self.gap_count += 1
            self.silence += gap
        self.advance(timestamp_ms, samples, number, gap)
        return gap

    cdef Placing judge(self, int64_t timestamp_ms, int64_t number) noexcept nogil:
        """Whether a frame is new, according to its number."""
        cdef int64_t back
        if not self.numbered or number < 0 or number >= self.next_number:
            return APPEND
        back = self.next_number - 1 - number
        if back < SEEN_FRAMES and self.seen >> back & 1 == 0:
            return LATE
        # A count that is stuck or restarted gives no information; the clock does.
        if self.has_clock and timestamp_ms > self.newest_ms:
            return RESTARTED
        if back < SEEN_FRAMES:
            return REPEATED
        return RESTARTED if number <= 1 else STALE

    cdef int64_t gap_before(
        self, int64_t timestamp_ms, Py_ssize_t samples, int64_t number, bint counts_frames
    ) noexcept nogil:
        """Samples missing before a new frame."""
        cdef int64_t missing = 0
        if counts_frames and self.numbered:
            missing = min(number - self.next_number, <int64_t>MAX_COUNTED_SAMPLES) * samples
        if not self.has_clock or timestamp_ms < 0:
            return min(missing, <int64_t>MAX_COUNTED_SAMPLES)
        cdef int64_t gap = self.deviation(timestamp_ms)
        if gap > MAX_GAP_SAMPLES or timestamp_ms < self.newest_ms - BACK_MS:
            return 0
        if self.steady < STEADY_FRAMES or self.stands_still(timestamp_ms):
            return min(missing, <int64_t>MAX_COUNTED_SAMPLES) if missing else gap if gap > COARSE_SAMPLES else 0
        if missing and -<int64_t>JITTER_SAMPLES <= gap - missing <= JITTER_SAMPLES:
            return missing
        return gap if gap > JITTER_SAMPLES else 0

    cdef int64_t deviation(self, int64_t timestamp_ms) noexcept nogil:
        """How much later than the end of the call the timestamp lies, by the estimate of the clock's offset."""
        return timestamp_ms * SAMPLES_A_MS - self.end - self.offset // OFFSET_UNITS

    cdef bint stands_still(self, int64_t timestamp_ms) noexcept nogil:
        return timestamp_ms == self.last_ms and self.still >= STILL_SAMPLES

    cdef bint follows(self, int64_t timestamp_ms, int64_t number) noexcept nogil:
        """Whether the frame is simply the next one, so that :meth:`advance` places it."""
        if not self.has_clock or timestamp_ms < self.newest_ms - BACK_MS or self.stands_still(timestamp_ms):
            return False
        if self.steady < STEADY_FRAMES or (self.numbered and not self.is_next(number)):
            return False
        return self.deviation(timestamp_ms) <= JITTER_SAMPLES

    cdef bint is_next(self, int64_t number) noexcept nogil:
        return number >= self.next_number if self.has_two_tracks else number == self.next_number

    cdef void advance(self, int64_t timestamp_ms, Py_ssize_t samples, int64_t number, int64_t gap) noexcept nogil:
        self.stale = 0
        self.frame_count += 1
        self.end += gap
        if timestamp_ms < 0 or (self.has_clock and self.stands_still(timestamp_ms)):
            self.unclocked += 1
            self.steady = 0
        else:
            self.follow_clock(timestamp_ms, samples)
        self.end += samples
        if number >= 0:
            self.count(number)

    cdef void follow_clock(self, int64_t timestamp_ms, Py_ssize_t samples) noexcept nogil:
        cdef int64_t offset = (timestamp_ms * SAMPLES_A_MS - self.end) * OFFSET_UNITS
        cdef int64_t most = samples * OFFSET_UNITS // OFFSET_SLEW
        if not self.has_clock:
            self.has_clock = True
            self.offset, self.newest_ms = offset, timestamp_ms
        elif (
            timestamp_ms < self.newest_ms - BACK_MS
            or offset - self.offset > <int64_t>MAX_GAP_SAMPLES * <int64_t>OFFSET_UNITS
        ):
            self.jumps += 1
            self.offset, self.newest_ms = offset, timestamp_ms
        elif self.steady == STEADY_FRAMES:
            self.offset += max(-most, min(most, (offset - self.offset) // OFFSET_GAIN))
        self.still = self.still + samples if timestamp_ms == self.last_ms else samples
        self.newest_ms = max(self.newest_ms, timestamp_ms)
        self.last_ms = timestamp_ms
        if self.steady < STEADY_FRAMES:
            self.steady += 1

    cdef void count(self, int64_t number) noexcept nogil:
        cdef int64_t ahead = number - self.next_number if self.numbered else SEEN_FRAMES
        self.seen = self.seen << (ahead + 1) | 1 if ahead + 1 < SEEN_FRAMES else 1
        self.numbered = True
        self.next_number = number + 1
