# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A recognizer for measuring servers: Google's StreamingRecognize by gRPC over HTTP/2, as little of it as costs least.

One loop over epoll in C. It hears nothing: it reads the stamps that the simulated callers put into the audio (see
``fastcall._load``), so it knows for each request how old its newest audio is, and whether each frame came once. So that
the server's way back is paid for too, it answers as a recognizer does: while the audio is loud an interim with one
more word to every second request, and a final with word times after 0.64 s of quiet, or when the caller's end comes.

Of HTTP/2 it knows what a gRPC client needs: SETTINGS, PING, WINDOW_UPDATE, HEADERS (not decoded: there is one
method), DATA, RST_STREAM. Not for the internet: what is wrong closes the connection and is counted.
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <time.h>
    #include <unistd.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    static uint64_t monotonic_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
    }
    static int epoll_watch(int epoll, int fd, int op, uint32_t events, void* what) {
        struct epoll_event event;
        event.events = events;
        event.data.ptr = what;
        return epoll_ctl(epoll, op, fd, &event);
    }
    static struct epoll_event epoll_events[256];
    static int next_events(int epoll, int ms) { return epoll_wait(epoll, epoll_events, 256, ms); }
    static void* epoll_what(int at) { return epoll_events[at].data.ptr; }
    static uint32_t epoll_why(int at) { return epoll_events[at].events; }
    static int accept_one(int fd) {
        int one = 1, got = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (got >= 0) setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        return got;
    }
    static ssize_t receive_some(int fd, void* to, size_t size) {
        ssize_t got = recv(fd, to, size, MSG_DONTWAIT);
        if (got < 0) return errno == EAGAIN || errno == EINTR ? -2 : -1;
        return got;
    }
    static ssize_t send_some(int fd, const void* from, size_t size) {
        ssize_t done = send(fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (done < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
        return done;
    }
    """
    uint64_t monotonic_us()
    int epoll_watch(int epoll, int fd, int op, uint32_t events, void* what)
    int next_events(int epoll, int ms)
    void* epoll_what(int at)
    uint32_t epoll_why(int at)
    int accept_one(int fd)
    ssize_t receive_some(int fd, void* to, size_t size)
    ssize_t send_some(int fd, const void* data, size_t size)
    int epoll_create1(int flags)
    int close(int fd)
    int EPOLLIN
    int EPOLLOUT
    int EPOLL_CTL_ADD
    int EPOLL_CTL_MOD

cdef enum:
    AGES = 10_001  # 0.1 ms each
    STREAMS = 256  # of a connection
    IN_ROOM = 1 << 18
    OUT_LIMIT = 1 << 22
    MESSAGE_LIMIT = 1 << 17
    FRAME_SAMPLES = 160
    STAMP_AT = 138
    STAMP_CODES = 21
    MOST_WORDS = 30
    LOUD = 300
    SHORTEST_WORD = 800  # samples; the caller's end can leave a piece in which nobody says a word
    QUIET_REQUESTS = 4
    WINDOW_STEP = 1 << 26
    DATA = 0
    HEADERS = 1
    RST = 3
    SETTINGS = 4
    PING = 6
    WINDOW = 8

cdef struct Stream:
    uint32_t id
    uint8_t prefix[5]
    uint32_t prefix_bytes
    uint32_t message_bytes  # the whole message's
    uint32_t got_bytes
    uint8_t* message
    uint32_t room
    int64_t samples
    int64_t next_number
    int64_t requests
    int64_t window  # what may be sent
    int64_t taken  # since the last WINDOW_UPDATE
    int words
    int quiet
    int64_t loud_from  # sample at which the words begin
    int heard  # something loud since the last final
    int configured

cdef struct Conn:
    int fd
    int dead
    int greeted
    int polls_out
    int count
    uint32_t ids[STREAMS]
    Stream* streams[STREAMS]
    uint8_t* data
    size_t size
    uint8_t* out
    size_t out_size
    size_t out_room
    int64_t window
    int64_t taken
    Conn* next

cdef struct Tally:
    uint64_t ages[AGES]
    uint64_t age_max_us
    uint64_t requests, responses, frames, lost, doubled, again, unstamped, odd, errors, streams, blocked, ended

cdef struct State:
    int epoll
    int listener
    Conn* conns
    int live_streams
    int connections
    int64_t next_of[65536]  # by call: the frame after the newest that any of its streams heard
    Tally tally

cdef const char* PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# SETTINGS: MAX_CONCURRENT_STREAMS 100, INITIAL_WINDOW_SIZE 2^31-1; then the connection's window to the most.
cdef const char* GREETING = (
    b"\x00\x00\x0c\x04\x00\x00\x00\x00\x00" b"\x00\x03\x00\x00\x00\x64" b"\x00\x04\x7f\xff\xff\xff"
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" b"\x7f\xff\x00\x00"
)
# :status 200 (indexed), content-type: application/grpc (literal, indexed name 31).
cdef const char* ANSWER = b"\x88\x0f\x10\x10application/grpc"
# grpc-status: 0 (literal, new name).
cdef const char* TRAILER = b"\x00\x0bgrpc-status\x010"
cdef const char* WORD = b" word"


cdef int room_for(Conn* conn, size_t size) noexcept nogil:
    cdef uint8_t* memory
    cdef size_t room = conn.out_room
    if conn.out_size + size <= room:
        return 1
    if conn.out_size + size > OUT_LIMIT:
        conn.dead = 1
        return 0
    while room < conn.out_size + size:
        room = 2 * room + 4096
    memory = <uint8_t*>realloc(conn.out, room)
    if memory == NULL:
        conn.dead = 1
        return 0
    conn.out, conn.out_room = memory, room
    return 1


cdef void put_frame(Conn* conn, int kind, int flags, uint32_t stream, const void* data, uint32_t size) noexcept nogil:
    cdef uint8_t* to
    if not room_for(conn, size + 9):
        return
    to = conn.out + conn.out_size
    to[0], to[1], to[2] = size >> 16 & 255, size >> 8 & 255, size & 255
    to[3], to[4] = kind, flags
    to[5], to[6], to[7], to[8] = stream >> 24 & 127, stream >> 16 & 255, stream >> 8 & 255, stream & 255
    memcpy(to + 9, data, size)
    conn.out_size += size + 9


cdef void put_window(Conn* conn, uint32_t stream, uint32_t size) noexcept nogil:
    cdef uint8_t data[4]
    data[0], data[1], data[2], data[3] = size >> 24 & 127, size >> 16 & 255, size >> 8 & 255, size & 255
    put_frame(conn, WINDOW, 0, stream, data, 4)


cdef uint8_t* put_varint(uint8_t* to, uint64_t value) noexcept nogil:
    while value > 127:
        to[0] = <uint8_t>(value & 127 | 128)
        value >>= 7
        to += 1
    to[0] = <uint8_t>value
    return to + 1


cdef uint8_t* put_duration(uint8_t* to, int tag, int64_t samples) noexcept nogil:
    """google.protobuf.Duration: seconds = 1, nanos = 2."""
    cdef uint8_t inner[24]
    cdef uint8_t* end = inner
    end[0] = 0x08
    end = put_varint(end + 1, samples // 8000)
    end[0] = 0x10
    end = put_varint(end + 1, samples % 8000 * 125_000)
    to[0], to[1] = tag, <uint8_t>(end - inner)
    memcpy(to + 2, inner, end - inner)
    return to + 2 + (end - inner)


cdef uint8_t* put_word(uint8_t* to, int64_t begin, int64_t end_sample) noexcept nogil:
    """WordInfo: start_time = 1, end_time = 2, word = 3; as ``words`` = 3 of the alternative."""
    cdef uint8_t inner[64]
    cdef uint8_t* end = put_duration(put_duration(inner, 0x0a, begin), 0x12, end_sample)
    end[0], end[1] = 0x1a, 4
    memcpy(end + 2, "word", 4)
    end += 6
    to[0], to[1] = 0x1a, <uint8_t>(end - inner)
    memcpy(to + 2, inner, end - inner)
    return to + 2 + (end - inner)


cdef void respond(State* state, Conn* conn, Stream* stream, int final) noexcept nogil:
    """One result: ``words`` times the same word."""
    cdef uint8_t alternative[2048]
    cdef uint8_t result[2200]
    cdef uint8_t body[2300]
    cdef uint8_t* end = alternative
    cdef uint32_t size
    cdef int at
    cdef int64_t step = (stream.samples - stream.loud_from) // (stream.words + 1)
    end[0] = 0x0a
    end = put_varint(end + 1, 5 * stream.words)
    for at in range(stream.words):
        memcpy(end, WORD, 5)
        end += 5
    if final:
        for at in range(stream.words):
            end = put_word(end, stream.loud_from + at * step, stream.loud_from + (at + 1) * step)
    size = <uint32_t>(end - alternative)
    result[0] = 0x0a
    end = put_varint(result + 1, size)
    memcpy(end, alternative, size)
    end += size
    if final:
        end[0], end[1] = 0x10, 1
        end += 2
    end = put_duration(end, 0x22, stream.samples)
    size = <uint32_t>(end - result)
    body[5] = 0x12
    end = put_varint(body + 6, size)
    memcpy(end, result, size)
    end += size
    size = <uint32_t>(end - body)
    body[0], body[1], body[2], body[3], body[4] = 0, 0, 0, (size - 5) >> 8 & 255, (size - 5) & 255
    if size > stream.window or size > conn.window:
        state.tally.blocked += 1
        return
    stream.window -= size
    conn.window -= size
    state.tally.responses += 1
    put_frame(conn, DATA, 0, stream.id, body, size)


cdef int64_t read_stamp(const int16_t* pcm, int at, int codes) noexcept nogil:
    """``codes`` nibbles from code ``at`` of the frame's stamp; -1: there is none."""
    cdef int64_t value = 0
    cdef int code
    cdef int16_t sample
    for code in range(at, at + codes):
        sample = pcm[STAMP_AT + code]
        if sample < 0 or sample > 120 or sample & 7:
            return -1
        value = value << 4 | (15 - (sample >> 3))
    return value


cdef void hear(State* state, Conn* conn, Stream* stream, const uint8_t* data, uint32_t size) noexcept nogil:
    """A request's audio: its stamps, then an answer."""
    cdef const int16_t* pcm = <const int16_t*>data
    cdef uint32_t frames = size // (2 * FRAME_SAMPLES)
    cdef uint32_t frame
    cdef int at
    cdef int64_t number, call, stamp = -1, level = 0
    cdef uint64_t age
    cdef Tally* tally = &state.tally
    tally.requests += 1
    stream.requests += 1
    if size % (2 * FRAME_SAMPLES):
        tally.odd += 1
    for frame in range(frames):
        if read_stamp(pcm, 0, 1) != 12 or read_stamp(pcm, 9, 8) < 0:
            tally.unstamped += 1
        else:
            number = read_stamp(pcm, 9, 8)
            call = read_stamp(pcm, 17, 4)
            stamp = read_stamp(pcm, 1, 8)
            tally.frames += 1
            if number < stream.next_number:
                tally.doubled += 1
            else:
                tally.lost += number - stream.next_number
                stream.next_number = number + 1
                if call >= 0 and number < state.next_of[call]:
                    tally.again += 1
                elif call >= 0:
                    state.next_of[call] = number + 1
        for at in range(0, STAMP_AT, 16):
            level += pcm[at] if pcm[at] >= 0 else -pcm[at]
        pcm += FRAME_SAMPLES
    if stamp >= 0:
        age = <uint32_t>(<uint32_t>monotonic_us() - <uint32_t>stamp)
        tally.age_max_us = max(tally.age_max_us, age)
        tally.ages[min(age // 100, <uint64_t>(AGES - 1))] += 1
    stream.samples += frames * FRAME_SAMPLES
    if frames:
        answer(state, conn, stream, level // (9 * frames) > LOUD, frames * FRAME_SAMPLES)


cdef void answer(State* state, Conn* conn, Stream* stream, int loud, int64_t samples) noexcept nogil:
    if loud:
        if not stream.heard and samples < SHORTEST_WORD:
            return
        if not stream.heard:
            stream.loud_from = stream.samples - samples
            stream.heard = 1
        stream.quiet = 0
        if stream.requests & 1:
            stream.words += 1
            if stream.words == MOST_WORDS:
                settle(state, conn, stream)
            else:
                respond(state, conn, stream, 0)
    elif stream.heard:
        stream.quiet += 1
        if stream.quiet == QUIET_REQUESTS:
            settle(state, conn, stream)


cdef void settle(State* state, Conn* conn, Stream* stream) noexcept nogil:
    """The final of what was loud: at least a word."""
    stream.words = max(stream.words, 1)
    respond(state, conn, stream, 1)
    stream.words = stream.heard = 0


cdef void take_message(State* state, Conn* conn, Stream* stream) noexcept nogil:
    """A whole StreamingRecognizeRequest: ``streaming_config`` = 1 first, then ``audio_content`` = 2."""
    cdef uint8_t* at = stream.message
    cdef uint8_t* end = at + stream.message_bytes
    cdef uint32_t size = 0
    cdef int shift = 0
    if not stream.configured:
        stream.configured = 1
        return
    if at == end or at[0] != 0x12:
        state.tally.errors += 1
        return
    at += 1
    while at < end and shift < 28:
        size |= (at[0] & 127) << shift
        shift += 7
        at += 1
        if (at - 1)[0] < 128:
            break
    if at + size != end:
        state.tally.errors += 1
        return
    # LINEAR16 must lie on an even address.
    memmove(stream.message, at, size)
    hear(state, conn, stream, stream.message, size)


cdef void take_data(State* state, Conn* conn, Stream* stream, const uint8_t* data, size_t size) noexcept nogil:
    """gRPC's framing: a byte (not compressed), four bytes of length, the message; cut anywhere."""
    cdef size_t part
    while size:
        if stream.prefix_bytes < 5:
            stream.prefix[stream.prefix_bytes] = data[0]
            stream.prefix_bytes += 1
            data += 1
            size -= 1
            if stream.prefix_bytes < 5:
                continue
            stream.message_bytes = (
                <uint32_t>stream.prefix[1] << 24 | stream.prefix[2] << 16 | stream.prefix[3] << 8 | stream.prefix[4]
            )
            stream.got_bytes = 0
            if stream.prefix[0] or stream.message_bytes > MESSAGE_LIMIT:
                conn.dead = 1
                return
            if stream.message_bytes > stream.room:
                free(stream.message)
                stream.room = stream.message_bytes + 512
                stream.message = <uint8_t*>malloc(stream.room)
                if stream.message == NULL:
                    conn.dead = 1
                    return
        part = min(size, <size_t>(stream.message_bytes - stream.got_bytes))
        memcpy(stream.message + stream.got_bytes, data, part)
        stream.got_bytes += part
        data += part
        size -= part
        if stream.got_bytes == stream.message_bytes:
            stream.prefix_bytes = 0
            take_message(state, conn, stream)


cdef Stream* find(Conn* conn, uint32_t id) noexcept nogil:
    cdef int at
    for at in range(conn.count):
        if conn.ids[at] == id:
            return conn.streams[at]
    return NULL


cdef void forget(State* state, Conn* conn, uint32_t id) noexcept nogil:
    cdef int at
    for at in range(conn.count):
        if conn.ids[at] == id:
            free(conn.streams[at].message)
            free(conn.streams[at])
            conn.count -= 1
            conn.ids[at], conn.streams[at] = conn.ids[conn.count], conn.streams[conn.count]
            state.live_streams -= 1
            return


cdef void open_stream(State* state, Conn* conn, uint32_t id) noexcept nogil:
    cdef Stream* stream
    if conn.count == STREAMS:
        conn.dead = 1
        return
    stream = <Stream*>calloc(1, sizeof(Stream))
    if stream == NULL:
        conn.dead = 1
        return
    stream.id, stream.window = id, 65_535
    conn.ids[conn.count], conn.streams[conn.count] = id, stream
    conn.count += 1
    state.live_streams += 1
    state.tally.streams += 1
    put_frame(conn, HEADERS, 4, id, ANSWER, 20)


cdef void end_stream(State* state, Conn* conn, Stream* stream) noexcept nogil:
    if stream.heard:
        settle(state, conn, stream)
    state.tally.ended += 1
    put_frame(conn, HEADERS, 5, stream.id, TRAILER, 15)
    forget(state, conn, stream.id)


cdef void take_frame(State* state, Conn* conn, int kind, int flags, uint32_t id, uint8_t* data, size_t size) noexcept nogil:
    cdef Stream* stream = find(conn, id) if id else NULL
    if kind == DATA:
        conn.taken += size
        if conn.taken > WINDOW_STEP:
            put_window(conn, 0, <uint32_t>conn.taken)
            conn.taken = 0
        if stream == NULL:
            return
        stream.taken += size
        if stream.taken > WINDOW_STEP:
            put_window(conn, id, <uint32_t>stream.taken)
            stream.taken = 0
        if flags & 8:
            if size == 0 or data[0] >= size:
                conn.dead = 1
                return
            size -= 1 + data[0]
            data += 1
        take_data(state, conn, stream, data, size)
        if flags & 1:
            end_stream(state, conn, stream)
    elif kind == HEADERS:
        if stream == NULL:
            open_stream(state, conn, id)
    elif kind == RST:
        forget(state, conn, id)
    elif kind == SETTINGS and not flags & 1:
        put_frame(conn, SETTINGS, 1, 0, NULL, 0)
    elif kind == PING and not flags & 1 and size == 8:
        put_frame(conn, PING, 1, 0, data, 8)
    elif kind == WINDOW and size == 4:
        if id == 0:
            conn.window += <uint32_t>(data[0] & 127) << 24 | data[1] << 16 | data[2] << 8 | data[3]
        elif stream != NULL:
            stream.window += <uint32_t>(data[0] & 127) << 24 | data[1] << 16 | data[2] << 8 | data[3]


cdef void take_bytes(State* state, Conn* conn) noexcept nogil:
    cdef uint8_t* at = conn.data
    cdef uint8_t* end = at + conn.size
    cdef size_t size
    cdef uint32_t id
    if not conn.greeted:
        if conn.size < 24:
            return
        at += 24
        conn.greeted = 1
        if room_for(conn, 34):
            memcpy(conn.out + conn.out_size, GREETING, 34)
            conn.out_size += 34
    while end - at >= 9 and not conn.dead:
        size = <size_t>at[0] << 16 | at[1] << 8 | at[2]
        if size > IN_ROOM // 2:
            conn.dead = 1
            return
        if <size_t>(end - at) < size + 9:
            break
        id = <uint32_t>(at[5] & 127) << 24 | at[6] << 16 | at[7] << 8 | at[8]
        take_frame(state, conn, at[3], at[4], id, at + 9, size)
        at += size + 9
    conn.size = end - at
    memmove(conn.data, at, conn.size)


cdef void flush(State* state, Conn* conn) noexcept nogil:
    cdef ssize_t done
    if conn.out_size and not conn.dead:
        done = send_some(conn.fd, conn.out, conn.out_size)
        if done < 0:
            conn.dead = 1
            return
        conn.out_size -= done
        memmove(conn.out, conn.out + done, conn.out_size)
    if (conn.out_size != 0) != conn.polls_out:
        conn.polls_out = conn.out_size != 0
        epoll_watch(state.epoll, conn.fd, EPOLL_CTL_MOD, EPOLLIN | (EPOLLOUT if conn.polls_out else 0), conn)


cdef void serve(State* state, Conn* conn, uint32_t why) noexcept nogil:
    cdef ssize_t got
    if why & ~<uint32_t>EPOLLOUT:
        got = receive_some(conn.fd, conn.data + conn.size, IN_ROOM - conn.size)
        if got == 0 or got == -1:
            conn.dead = 1
        elif got > 0:
            conn.size += got
            take_bytes(state, conn)
    flush(state, conn)
    if conn.dead:
        drop(state, conn)


cdef void drop(State* state, Conn* conn) noexcept nogil:
    cdef Conn** at = &state.conns
    while at[0] != conn:
        at = &at[0].next
    at[0] = conn.next
    while conn.count:
        forget(state, conn, conn.ids[0])
    state.connections -= 1
    close(conn.fd)
    free(conn.data)
    free(conn.out)
    free(conn)


cdef void accept_all(State* state) noexcept nogil:
    cdef Conn* conn
    cdef int fd
    while True:
        fd = accept_one(state.listener)
        if fd < 0:
            return
        conn = <Conn*>calloc(1, sizeof(Conn))
        if conn == NULL:
            close(fd)
            return
        conn.fd, conn.window = fd, 65_535
        conn.data = <uint8_t*>malloc(IN_ROOM)
        conn.next, state.conns = state.conns, conn
        state.connections += 1
        if conn.data == NULL or epoll_watch(state.epoll, fd, EPOLL_CTL_ADD, EPOLLIN, conn):
            drop(state, conn)


cdef void run_until(State* state, uint64_t until_us) noexcept nogil:
    cdef int count, at
    cdef uint64_t now = monotonic_us()
    while now < until_us:
        count = next_events(state.epoll, <int>((until_us - now) // 1000 + 1))
        for at in range(count):
            if epoll_what(at) == NULL:
                accept_all(state)
            else:
                serve(state, <Conn*>epoll_what(at), epoll_why(at))
        now = monotonic_us()


cdef class CheapRecognizer:
    """The recognizer on a listening socket, which stays the caller's.

    :raises OSError: epoll is not to be had
    """

    cdef State state

    def __cinit__(self, int listener):
        memset(&self.state, 0, sizeof(State))
        self.state.listener = listener
        self.state.epoll = epoll_create1(0)
        if self.state.epoll < 0 or epoll_watch(self.state.epoll, listener, EPOLL_CTL_ADD, EPOLLIN, NULL):
            raise OSError("epoll does not take the socket")

    def __dealloc__(self):
        while self.state.conns != NULL:
            drop(&self.state, self.state.conns)
        close(self.state.epoll)

    def run(self, double seconds):
        """Serve for so long; the GIL is let go."""
        cdef uint64_t until = monotonic_us() + <uint64_t>(1e6 * seconds)
        with nogil:
            run_until(&self.state, until)

    def take_tally(self):
        """What happened since the last call, as a dictionary; ``ages`` counts requests by 0.1 ms of age."""
        cdef Tally* tally = &self.state.tally
        found = {
            "ages": [tally.ages[at] for at in range(AGES)],
            "age_max_ms": tally.age_max_us / 1000.0,
            "requests": tally.requests,
            "responses": tally.responses,
            "frames": tally.frames,
            "lost": tally.lost,
            "doubled": tally.doubled,
            "again": tally.again,
            "unstamped": tally.unstamped,
            "odd": tally.odd,
            "errors": tally.errors,
            "blocked": tally.blocked,
            "streams": tally.streams,
            "ended": tally.ended,
            "live_streams": self.state.live_streams,
            "connections": self.state.connections,
        }
        memset(tally, 0, sizeof(Tally))
        return found
