"""The sending loop of simulated calls: one C loop sends what is due for all calls, with one `send` per call and turn.

Each message is built in C: prefix, numbers, timestamp, prebuilt base64, suffix; then masked, as clients must. That
costs a tenth of the `send`. The messages are identical to those of
``fastcall.simulator.twilio_client.CallerMessages``.

A call writes to its socket directly as long as nothing is queued in its transport, whose messages (marks, keys) are
rare. What the socket does not accept becomes the call's *unsent* bytes, which the owner passes to the transport. Until
the owner calls `unblock`, frames wait, and those that are 5 s late are discarded, as Twilio does.

Stamps: if the call has a number, the last samples of each frame encode the time of sending, its number and the call's,
as 21 quiet mu-law codes (0xF0 to 0xFF: 15 to 0 steps of 8 in LINEAR16) that decoding keeps distinct. One thread.
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc, PyMem_Realloc
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove, memset

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <string.h>
    #include <time.h>
    #include <unistd.h>
    #include <sys/socket.h>
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    #ifdef __linux__
    #include <sys/timerfd.h>
    static int load_timer_open(void) { return timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC); }
    static void load_timer_set(int fd, double at) {
        struct itimerspec when = {{0, 0}, {0, 0}};
        when.it_value.tv_sec = (time_t)at;
        when.it_value.tv_nsec = (long)((at - (double)when.it_value.tv_sec) * 1e9);
        if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0) when.it_value.tv_nsec = 1;
        timerfd_settime(fd, TFD_TIMER_ABSTIME, &when, NULL);
    }
    static void load_timer_clear(int fd) { uint64_t count; if (read(fd, &count, 8) != 8) errno = 0; }
    #else
    static int load_timer_open(void) { return -1; }
    static void load_timer_set(int fd, double at) { (void)fd; (void)at; }
    static void load_timer_clear(int fd) { (void)fd; }
    #endif
    static ssize_t load_send(int fd, const void* data, size_t size) {
        ssize_t done = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
        return done;
    }
    /* 0: nothing is there; -1: nothing will come. */
    static ssize_t load_receive(int fd, void* data, size_t size) {
        ssize_t got = recv(fd, data, size, MSG_DONTWAIT);
        return got > 0 ? got : got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) ? 0 : -1;
    }
    static uint32_t load_microseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint32_t)((uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u);
    }
    """
    int load_timer_open()
    void load_timer_set(int fd, double at)
    void load_timer_clear(int fd)
    ssize_t load_send(int fd, const void* data, size_t size)
    ssize_t load_receive(int fd, void* data, size_t size)
    void* memmem(const void* data, size_t size, const void* wanted, size_t wanted_size)
    uint32_t load_microseconds()
    int close(int fd)


include "_core/playback.pxi"
include "_core/paced_call.pxi"


cdef class PacedCall:
    """One call's outgoing audio. Created by ``CallSender.add``."""

    cdef PacedCallState state
    cdef object owns  # keeps alive what the pointers point into

    def __cinit__(self):
        memset(&self.state, 0, sizeof(PacedCallState))

    def __dealloc__(self):
        free(self.state.unsent)
        if self.state.playback != NULL:
            free(self.state.playback.passed)
            free(self.state.playback)

    @property
    def sequence(self):
        """``sequenceNumber`` of the call's newest message; set it after sending another kind of message."""
        return self.state.sequence

    @sequence.setter
    def sequence(self, unsigned int value):
        self.state.sequence = value

    @property
    def frame(self):
        """The frame that was sent last, counted from 0."""
        return self.state.frame

    @property
    def sent(self):
        """Audio messages sent."""
        return self.state.sent

    @property
    def discarded(self):
        """Audio messages discarded because they were 5 s late: the server did not read."""
        return self.state.discarded

    @property
    def over(self):
        """Whether all was sent."""
        return self.state.over != 0

    @property
    def broken(self):
        """Whether the socket is broken."""
        return self.state.broken != 0

    @property
    def blocked(self):
        """Whether frames wait until ``unblock``."""
        return self.state.blocked != 0

    @property
    def messages_received(self):
        """Messages of the server that were handled here; 0 unless it plays."""
        return self.state.playback.messages if self.state.playback != NULL else 0

    @property
    def audio_received_bytes(self):
        """Bytes of audio in them."""
        return self.state.playback.audio_bytes if self.state.playback != NULL else 0

    @property
    def marks_received(self):
        """Marks in them."""
        return self.state.playback.marks if self.state.playback != NULL else 0

    @property
    def marks_echoed(self):
        """Marks that were sent back."""
        return self.state.playback.echoed if self.state.playback != NULL else 0

    @property
    def clears_received(self):
        """How often the audio that waited was dropped."""
        return self.state.playback.clears if self.state.playback != NULL else 0

    def take_passed(self):
        """Returns, once, the frames that its owner must handle: all that are not Twilio's messages."""
        if self.state.playback == NULL or self.state.playback.passed_bytes == 0:
            return b""
        passed = PyBytes_FromStringAndSize(<char*>self.state.playback.passed, self.state.playback.passed_bytes)
        self.state.playback.passed_bytes = 0
        return passed

    def take_partial(self):
        """Returns, once, the beginning of a frame that was received; the owner then reads the socket itself."""
        if self.state.playback == NULL:
            return b""
        partial = PyBytes_FromStringAndSize(
            <char*>self.state.playback.received, self.state.playback.received_bytes
        )
        self.state.playback.received_bytes = 0
        return partial

    def block(self):
        """Data is queued in the transport: frames must wait, too."""
        self.state.blocked = 1

    def unblock(self):
        """The transport's queue is empty again."""
        self.state.blocked = 0

    def take_unsent(self):
        """Returns, once, the bytes that the socket did not accept; they must be sent before anything else."""
        if self.state.unsent_bytes == 0:
            return b""
        unsent = PyBytes_FromStringAndSize(self.state.unsent, self.state.unsent_bytes)
        free(self.state.unsent)
        self.state.unsent = NULL
        self.state.unsent_bytes = 0
        return unsent


cdef class CallSender:
    """Sends the audio of many calls. One thread; releases the GIL while it sends.

    :param late_counts: a writable buffer of 10,001 unsigned 64-bit counters: messages by how late they were sent, in
        steps of 0.1 ms
    :param discard_after_s: frames that are this late are discarded
    :raises ValueError: the buffer has another size
    """

    cdef Schedule schedule
    cdef Py_buffer late_view
    cdef int timer
    cdef list calls

    def __cinit__(self, late_counts, *, double discard_after_s=5.0):
        self.timer = -1
        memset(&self.schedule, 0, sizeof(Schedule))
        self.schedule.discard_after_s = discard_after_s
        PyObject_GetBuffer(late_counts, &self.late_view, PyBUF_WRITABLE)
        if self.late_view.len != LATE_STEPS * sizeof(uint64_t):
            raise ValueError(f"late_counts must have {LATE_STEPS} counters of 8 bytes")
        self.schedule.late = <uint64_t*>self.late_view.buf
        self.schedule.scratch = <char*>PyMem_Malloc(BURST * MESSAGE_ROOM)
        if self.schedule.scratch == NULL:
            raise MemoryError
        self.calls = []
        self.timer = load_timer_open()

    def __dealloc__(self):
        PyMem_Free(self.schedule.scratch)
        PyMem_Free(self.schedule.due)
        PyMem_Free(self.schedule.calls)
        PyBuffer_Release(&self.late_view)
        if self.timer >= 0:
            close(self.timer)

    def fileno(self):
        """A descriptor that becomes readable when something is due, after ``arm``; -1 if the system has none."""
        return self.timer

    def add(
        self,
        int fd,
        str stream_sid,
        bytes payloads,
        bytes steps,
        *,
        int cycle_frames,
        long long spoken,
        long long total,
        double first_at,
        int first_timestamp_ms,
        unsigned int sequence,
        bytes mask,
        long long call_number=-1,
        bint plays=False,
    ):
        """Begin to send a call's audio.

        :param fd: the socket, non-blocking, owned by the caller. -1: everything becomes the call's unsent bytes
        :param payloads: the base64 of its frames, 216 characters each
        :param steps: the schedule of a cycle, in order of sending, as pairs of 32-bit integers: time (us from the
            cycle's start), and frame (counted from the cycle's first)
        :param cycle_frames: frames of a cycle, 20 ms each
        :param spoken: frames until silence; -1: no end. ``total``: with the silence
        :param first_at: when the first frame is due, monotonic seconds
        :param sequence: ``sequenceNumber`` of the newest message so far
        :param mask: 4 bytes
        :param call_number: the number in stamps; -1: no stamps
        :param plays: the socket is read here, until ``remove``: audio is counted and dropped, marks are echoed when it
            would have been played, and other frames are passed on
        :raises ValueError: sizes do not fit, or it plays without a socket
        """
        cdef PacedCall call = PacedCall()
        cdef PacedCallState* state = &call.state
        cdef bytes suffix = b'"},"streamSid":"' + stream_sid.encode("ascii") + b'"}'
        cdef int step_count = <int>(PyBytes_GET_SIZE(steps) // sizeof(Step))
        if PyBytes_GET_SIZE(payloads) % PAYLOAD_CHARS or (spoken != 0 and not payloads):
            raise ValueError("payloads must be frames of 216 characters")
        if PyBytes_GET_SIZE(steps) % sizeof(Step) or step_count < 1 or cycle_frames < 1:
            raise ValueError("steps must be pairs of 32-bit integers, and a cycle must have frames")
        if PyBytes_GET_SIZE(suffix) > SUFFIX_ROOM or PyBytes_GET_SIZE(mask) != 4:
            raise ValueError("stream_sid is too long, or mask has not 4 bytes")
        if plays:
            if fd < 0:
                raise ValueError("a call that plays needs a socket")
            state.playback = <Playback*>calloc(1, sizeof(Playback))
            if state.playback == NULL:
                raise MemoryError
        call.owns = (payloads, steps)
        state.fd = fd
        state.payloads = PyBytes_AS_STRING(payloads)
        state.payload_count = PyBytes_GET_SIZE(payloads) // PAYLOAD_CHARS
        state.spoken, state.total = spoken, total
        state.steps = <const Step*>PyBytes_AS_STRING(steps)
        state.step_count, state.cycle_frames = step_count, cycle_frames
        state.first_at, state.first_ms, state.sequence = first_at, first_timestamp_ms, sequence
        state.call_number = call_number
        memcpy(state.mask, PyBytes_AS_STRING(mask), 4)
        memcpy(state.suffix, PyBytes_AS_STRING(suffix), PyBytes_GET_SIZE(suffix))
        state.suffix_bytes = <int>PyBytes_GET_SIZE(suffix)
        self.make_room()
        self.calls.append(call)
        self.schedule.calls[self.schedule.count] = state
        self.schedule.due[self.schedule.count] = due_of(state)
        self.schedule.count += 1
        return call

    def remove(self, PacedCall call not None):
        """Stop sending it. Harmless if it was removed before."""
        cdef int at = find_call(&self.schedule, &call.state)
        if at < 0:
            return
        self.schedule.count -= 1
        self.schedule.calls[at] = self.schedule.calls[self.schedule.count]
        self.schedule.due[at] = self.schedule.due[self.schedule.count]
        self.calls[at] = self.calls[self.schedule.count]
        self.calls.pop()

    def send_due(self, double now):
        """Send what is due.

        :param now: monotonic seconds
        :return: the calls that need their owner: with unsent bytes or passed frames, ended, or broken
        """
        cdef int wanting
        with nogil:
            wanting = run_calls(&self.schedule, now)
        if wanting == 0:
            return []
        return [call for call in self.calls if wants_owner(&(<PacedCall>call).state)]

    def arm(self, double now):
        """Set the timer for the next turn.

        :return: when that is, monotonic seconds; infinite without any call
        """
        cdef double at = first_due(&self.schedule)
        if at < now + TURN_S:
            at = now + TURN_S
        if self.timer >= 0:
            load_timer_clear(self.timer)
            if at < INFINITY:
                load_timer_set(self.timer, at)
        return at

    cdef int make_room(self) except -1:
        cdef int room
        cdef void* memory
        if self.schedule.count < self.schedule.room:
            return 0
        room = 2 * self.schedule.room + 16
        memory = PyMem_Realloc(self.schedule.due, room * sizeof(double))
        if memory == NULL:
            raise MemoryError
        self.schedule.due = <double*>memory
        memory = PyMem_Realloc(self.schedule.calls, room * sizeof(void*))
        if memory == NULL:
            raise MemoryError
        self.schedule.calls = <PacedCallState**>memory
        self.schedule.room = room
        return 0
