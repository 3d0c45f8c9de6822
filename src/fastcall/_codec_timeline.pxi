# Where an inbound frame stands in the call. Included by _codec.pyx; the rule is told in rules/timeline.py.

cdef enum:
    SAMPLES_A_MS = 8
    TOLERANCE_SAMPLES = 10 * SAMPLES_A_MS
    MAX_GAP_SAMPLES = 5000 * SAMPLES_A_MS
    TIMESTAMP_LIMIT_MS = 1_000_000_000_000_000  # 10**15; keeps the arithmetic far from its ends

cdef enum Verdict:
    APPEND, FILL, DROP, REBASE


cdef Verdict judge_gap(int64_t gap, Py_ssize_t samples) noexcept nogil:
    """What becomes of a frame of ``samples`` that begins ``gap`` samples after the end of the one before."""
    if gap > MAX_GAP_SAMPLES or gap < -MAX_GAP_SAMPLES:
        return REBASE
    if gap <= -samples and gap < -TOLERANCE_SAMPLES:
        return DROP
    return FILL if gap > TOLERANCE_SAMPLES else APPEND


@cython.final
cdef class InboundTimeline:
    """Compares each frame's timestamp with the end of the frame before. Pure; one per call, one thread; keeps the GIL.

    Within 10 ms of what was expected a frame is appended. A larger gap becomes silence; an overlap of a whole frame
    or more means that the frame was sent before and is dropped. A jump of more than 5 s either way is a new clock, not
    audio: the frame is appended and the clock rebased.
    """

    cdef bint begun
    cdef int64_t expected  # where the frame before ended, in samples of the telephone's clock; holds if begun
    cdef int64_t frame_count, gap_count, silence, duplicates, jumps

    @property
    def frames(self):
        """Frames that were placed, dropped ones included."""
        return self.frame_count

    @property
    def gaps(self):
        """Gaps that were filled with silence."""
        return self.gap_count

    @property
    def gap_samples(self):
        """Samples of silence that fill them."""
        return self.silence

    @property
    def duplicate_frames(self):
        """Frames that were dropped because their time had come before."""
        return self.duplicates

    @property
    def rebases(self):
        """Jumps of over 5 s, forward or back, after which the new timestamp was believed."""
        return self.jumps

    def place(self, int64_t timestamp_ms, Py_ssize_t samples, /):
        """Where a frame of ``samples`` samples that bears ``timestamp_ms`` goes.

        Returns how many samples of silence come before it, or None if it is dropped.

        :raises ValueError: ``timestamp_ms`` is not from 0 to 10**15, or ``samples`` is negative
        """
        if not 0 <= timestamp_ms <= <int64_t>TIMESTAMP_LIMIT_MS:
            raise ValueError(f"timestamp_ms={timestamp_ms}: must be from 0 to 10**15")
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        cdef int64_t gap = timestamp_ms * SAMPLES_A_MS - self.expected if self.begun else 0
        cdef Verdict verdict = judge_gap(gap, samples)
        if verdict == DROP:
            self.frame_count += 1
            self.duplicates += 1
            return None
        self.advance(timestamp_ms, samples)
        if verdict == REBASE:
            self.jumps += 1
        elif verdict == FILL:
            gap -= gap % SAMPLES_A_MS
            self.gap_count += 1
            self.silence += gap
            return gap
        return 0

    cdef bint follows(self, int64_t timestamp_ms, Py_ssize_t samples) noexcept nogil:
        """Whether the frame is simply the next, so that placing it is no more than :meth:`advance`."""
        return self.begun and judge_gap(timestamp_ms * SAMPLES_A_MS - self.expected, samples) == APPEND

    cdef void advance(self, int64_t timestamp_ms, Py_ssize_t samples) noexcept nogil:
        self.begun = True
        self.expected = timestamp_ms * SAMPLES_A_MS + samples
        self.frame_count += 1
