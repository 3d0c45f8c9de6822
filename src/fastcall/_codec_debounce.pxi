# The pace of partial transcripts. Included by _codec.pyx.

cdef struct Pace:
    double interval_s
    double last_s  # when the last text was emitted; holds only if emitted
    bint emitted


cdef bint pace_is_due(Pace* pace, double now) noexcept nogil:
    """Whether a text may go out at ``now``. If the clock went back, the interval begins anew."""
    if not pace.emitted:
        return True
    if now < pace.last_s:
        pace.last_s = now
    return now >= pace.last_s + pace.interval_s


@cython.final
cdef class Debouncer:
    """Lets a new text out at once, but never two within ``interval_s`` seconds, and the last one always.

    :param interval_s: seconds, 0 or more
    :raises ValueError: ``interval_s`` is negative or not finite

    Time is an argument: seconds of any one monotonic clock. A text that must wait is given by :meth:`fire`
    once ``deadline`` has come, unless a newer one has taken its place. Of one thread only. Keeps the GIL.
    """

    cdef Pace pace
    cdef object last  # the text emitted last, or None
    cdef object held  # the text that waits, or None

    def __cinit__(self, double interval_s):
        if not (isfinite(interval_s) and interval_s >= 0):
            raise ValueError(f"interval_s={interval_s}: must be 0 or more seconds")
        self.pace = Pace(interval_s, 0, False)

    @property
    def deadline(self):
        """When :meth:`fire` is due, in seconds of the caller's clock; None while no text waits."""
        return None if self.held is None else self.pace.last_s + self.pace.interval_s

    def offer(self, text, /, *, double now):
        """Returns ``text`` if it is to be emitted at once.

        Else None: it is the text emitted last, or it has to wait. A text that waited is forgotten: this one is
        newer.

        :raises TypeError: ``text`` is not a str
        :raises ValueError: ``now`` is not finite
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        check_now(now)
        self.held = None if text == self.last else text
        return self.emit(now)

    def fire(self, *, double now):
        """Returns the text that waits if it is due, else None.

        :raises ValueError: ``now`` is not finite
        """
        check_now(now)
        return self.emit(now)

    def reset(self):
        """Forgets the text that waits and the one emitted last (a final has come), but not when that was."""
        self.last = self.held = None

    cdef object emit(self, double now):
        if not pace_is_due(&self.pace, now) or self.held is None:
            return None
        self.pace.last_s = now
        self.pace.emitted = True
        self.last, self.held = self.held, None
        return self.last


cdef int check_now(double now) except -1:
    if not isfinite(now):
        raise ValueError(f"now={now}: must be a finite number of seconds")
    return 0
