# The rate limit of partial transcripts. Included by _codec.pyx.

cdef extern from "rate_limiter.h" nogil:
    ctypedef struct RateLimiter "fastcall_rate_limiter":
        double interval_s
    void rate_limiter_begin "fastcall_rate_limiter_begin"(RateLimiter* rate_limiter, double interval_s) noexcept
    double rate_limiter_last "fastcall_rate_limiter_last"(RateLimiter* rate_limiter) noexcept
    bint rate_limiter_is_due "fastcall_rate_limiter_is_due"(RateLimiter* rate_limiter, double now, bint claim) noexcept


@cython.final
cdef class Debouncer:
    """Emits a new text at once, but never two within ``interval_s`` seconds; the last one is always emitted.

    :param interval_s: seconds, 0 or more
    :raises ValueError: ``interval_s`` is negative or not finite

    Time is an argument: seconds of a monotonic clock. A text that must wait is returned by :meth:`fire` at
    ``deadline``, unless a newer one has replaced it. A ``now`` more than ``interval_s`` before the last emission means
    that the clock went back: the interval starts again.

    Two threads may call at the same time (one with results, one with a timer): if both find an emission due, only one
    gets the text. Keeps the GIL, which guards the texts; the rate limiter needs no lock.
    """

    cdef RateLimiter rate_limiter
    cdef object last  # the text emitted last, or None
    cdef object held  # the waiting text, or None

    def __cinit__(self, double interval_s):
        if not (isfinite(interval_s) and interval_s >= 0):
            raise ValueError(f"interval_s={interval_s}: must be 0 or more seconds")
        rate_limiter_begin(&self.rate_limiter, interval_s)

    @property
    def deadline(self):
        """When :meth:`fire` is due, in seconds of the caller's clock; None if no text waits."""
        return None if self.held is None else rate_limiter_last(&self.rate_limiter) + self.rate_limiter.interval_s

    def offer(self, text, /, *, double now):
        """Returns ``text`` if it is to be emitted at once.

        Otherwise None: it is the text emitted last, or it has to wait. It replaces a text that waited.

        :raises TypeError: ``text`` is not a str
        :raises ValueError: ``now`` is not finite
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        check_now(now)
        self.held = None if text == self.last else text
        return self.emit(now)

    def fire(self, *, double now):
        """Returns the waiting text if it is due, else None.

        :raises ValueError: ``now`` is not finite
        """
        check_now(now)
        return self.emit(now)

    def reset(self):
        """Forgets the waiting text and the one emitted last (a final was received), but not the time of emission."""
        self.last = self.held = None

    cdef object emit(self, double now):
        # No Python code runs between the claim and the exchange, so under the GIL no other thread does.
        if not rate_limiter_is_due(&self.rate_limiter, now, self.held is not None) or self.held is None:
            return None
        self.last, self.held = self.held, None
        return self.last


cdef int check_now(double now) except -1:
    if not isfinite(now):
        raise ValueError(f"now={now}: must be a finite number of seconds")
    return 0
