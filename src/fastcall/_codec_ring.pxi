# The audio ring. Included by _codec.pyx.

cdef extern from "<stdatomic.h>" nogil:
    ctypedef unsigned long long counter_t "atomic_ullong"
    ctypedef enum memory_order:
        memory_order_relaxed
        memory_order_acquire
        memory_order_release
    uint64_t atomic_load_explicit(counter_t* counter, memory_order order) noexcept
    void atomic_store_explicit(counter_t* counter, uint64_t value, memory_order order) noexcept
    void atomic_init(counter_t* counter, uint64_t value) noexcept

cdef enum:
    RING_LIMIT_SAMPLES = 1 << 30


@cython.final
cdef class AudioRing:
    """A call's audio between the thread that receives it and the one that sends it on: fixed size, no locks.

    :param capacity_samples: 1 to 2**30
    :param sample_bytes: 1 = mu-law, 2 = LINEAR16
    :raises ValueError: an argument out of its range

    One thread at a time may push (the producer: ``push``, ``push_silence``) while another takes (the
    consumer: ``take``, ``take_batch``, ``clear``). The properties may be read in any thread.
    """

    # Positions in samples since the ring was made; they never wrap. The producer alone stores pushed and
    # dropped, the consumer alone taken. A store with release order hands over the bytes before it (or the
    # room after it) to the other side, which loads with acquire order.
    cdef counter_t pushed
    cdef counter_t taken
    cdef counter_t dropped
    cdef uint8_t* memory  # owned
    cdef readonly Py_ssize_t capacity_samples
    cdef readonly Py_ssize_t sample_bytes

    def __cinit__(self, Py_ssize_t capacity_samples, *, Py_ssize_t sample_bytes=1):
        if not 1 <= capacity_samples <= RING_LIMIT_SAMPLES:
            raise ValueError(f"capacity_samples={capacity_samples}: must be from 1 to {RING_LIMIT_SAMPLES}")
        if not 1 <= sample_bytes <= 2:
            raise ValueError(f"sample_bytes={sample_bytes}: must be 1 (mu-law) or 2 (LINEAR16)")
        self.memory = <uint8_t*>PyMem_Malloc(capacity_samples * sample_bytes)
        if self.memory == NULL:
            raise MemoryError(f"no memory for a ring of {capacity_samples} samples")
        self.capacity_samples = capacity_samples
        self.sample_bytes = sample_bytes
        atomic_init(&self.pushed, 0)
        atomic_init(&self.taken, 0)
        atomic_init(&self.dropped, 0)

    def __dealloc__(self):
        PyMem_Free(self.memory)

    @property
    def waiting_samples(self):
        """Samples that wait to be taken."""
        return self.waiting()

    @property
    def pushed_samples(self):
        """Samples accepted since the ring was made: those taken and those that wait."""
        return atomic_load_explicit(&self.pushed, memory_order_relaxed)

    @property
    def taken_samples(self):
        """Samples taken or cleared since the ring was made."""
        return atomic_load_explicit(&self.taken, memory_order_relaxed)

    @property
    def dropped_samples(self):
        """Samples that did not fit since the ring was made."""
        return atomic_load_explicit(&self.dropped, memory_order_relaxed)

    def push(self, data, /):
        """Appends ``data`` (whole samples, any C-contiguous buffer); returns how many samples were accepted.

        Where not all fit, the newest are dropped and counted; nothing waits, nothing is overwritten.
        Keeps the GIL. Producer only.

        :raises TypeError: not a buffer of bytes (or of 16-bit integers, if the ring holds LINEAR16)
        :raises ValueError: not a whole number of samples
        """
        cdef Py_buffer source
        hold(&source, data, PyBUF_SIMPLE, self.sample_bytes == 2)
        try:
            return self.append(<const uint8_t*>source.buf, count_samples(&source, self.sample_bytes))
        finally:
            PyBuffer_Release(&source)

    def push_silence(self, Py_ssize_t samples, /):
        """Appends that many samples of silence (mu-law 0xFF, LINEAR16 0); otherwise as :meth:`push`."""
        if samples < 0:
            raise ValueError(f"samples={samples}: must not be negative")
        return self.append(NULL, samples)

    def take(self, Py_ssize_t max_samples, /):
        """Takes the oldest samples, ``max_samples`` at most, as they were pushed; ``b""`` if none wait.

        Keeps the GIL. Consumer only.

        :raises ValueError: ``max_samples`` is negative
        """
        if max_samples < 0:
            raise ValueError(f"max_samples={max_samples}: must not be negative")
        return self.remove(min(max_samples, self.waiting()), False)

    def take_batch(self, Py_ssize_t min_samples, Py_ssize_t max_samples, /):
        """Takes the oldest samples as LINEAR16, ``max_samples`` at most; None if fewer than ``min_samples`` wait.

        mu-law is decoded straight into the result, 2 bytes a sample. Keeps the GIL. Consumer only.

        :raises ValueError: not 1 <= ``min_samples`` <= ``max_samples``
        """
        if not 1 <= min_samples <= max_samples:
            raise ValueError(f"not 1 <= min_samples={min_samples} <= max_samples={max_samples}")
        cdef Py_ssize_t waiting = self.waiting()
        if waiting < min_samples:
            return None
        return self.remove(min(max_samples, waiting), self.sample_bytes == 1)

    def clear(self):
        """Throws away all that waits, and returns how many samples that was. Consumer only."""
        cdef Py_ssize_t waiting = self.waiting()
        self.release(waiting)
        return waiting

    cdef Py_ssize_t waiting(self) noexcept nogil:
        # taken first: it may only grow in between, so the difference is never negative.
        cdef uint64_t taken = atomic_load_explicit(&self.taken, memory_order_acquire)
        cdef uint64_t pushed = atomic_load_explicit(&self.pushed, memory_order_acquire)
        return min(<Py_ssize_t>(pushed - taken), self.capacity_samples)

    cdef Py_ssize_t append(self, const uint8_t* source, Py_ssize_t samples) noexcept nogil:
        """Copies what fits (silence, if ``source`` is NULL), in two pieces where the ring comes round."""
        cdef uint64_t pushed = atomic_load_explicit(&self.pushed, memory_order_relaxed)
        cdef Py_ssize_t accepted = min(samples, self.capacity_samples - self.waiting())
        cdef Py_ssize_t start = pushed % <uint64_t>self.capacity_samples
        cdef Py_ssize_t first = min(accepted, self.capacity_samples - start)
        cdef Py_ssize_t width = self.sample_bytes
        if source == NULL:
            memset(self.memory + start * width, 0xFF if width == 1 else 0, first * width)
            memset(self.memory, 0xFF if width == 1 else 0, (accepted - first) * width)
        else:
            memcpy(self.memory + start * width, source, first * width)
            memcpy(self.memory, source + first * width, (accepted - first) * width)
        if accepted < samples:
            atomic_store_explicit(&self.dropped, self.drop_count() + samples - accepted, memory_order_relaxed)
        atomic_store_explicit(&self.pushed, pushed + accepted, memory_order_release)
        return accepted

    cdef uint64_t drop_count(self) noexcept nogil:
        return atomic_load_explicit(&self.dropped, memory_order_relaxed)

    cdef bytes remove(self, Py_ssize_t samples, bint decode):
        """The oldest ``samples``, which must be waiting, decoded from mu-law if ``decode``."""
        cdef bytes result = PyBytes_FromStringAndSize(NULL, samples * (2 if decode else self.sample_bytes))
        self.copy_out(PyBytes_AS_STRING(result), samples, decode)
        self.release(samples)
        return result

    cdef void copy_out(self, char* target, Py_ssize_t samples, bint decode) noexcept nogil:
        cdef uint64_t taken = atomic_load_explicit(&self.taken, memory_order_relaxed)
        cdef Py_ssize_t start = taken % <uint64_t>self.capacity_samples
        cdef Py_ssize_t first = min(samples, self.capacity_samples - start)
        cdef Py_ssize_t width = self.sample_bytes
        if decode:
            loops.mulaw_decode(self.memory + start, target, first)
            loops.mulaw_decode(self.memory, target + 2 * first, samples - first)
        else:
            memcpy(target, self.memory + start * width, first * width)
            memcpy(target + first * width, self.memory, (samples - first) * width)

    cdef void release(self, Py_ssize_t samples) noexcept nogil:
        """Gives the room of the oldest ``samples`` back to the producer."""
        cdef uint64_t taken = atomic_load_explicit(&self.taken, memory_order_relaxed)
        atomic_store_explicit(&self.taken, taken + samples, memory_order_release)
