# What paced calls play: reads the server's messages, counts their audio, echoes their marks. Included by _load.pyx.
# The rules are those of ``fastcall.simulator.playback``, for servers that send what Twilio documents.

cdef enum:
    RECEIVED_ROOM = 32 * 1024  # a frame must fit
    MARK_ROOM = 256  # marks that wait to be echoed
    MARK_CHARS = 64
    TEXT_FRAME = 0x81  # the only text of a message
    MASKED = 0x80

cdef struct PacedCallState

cdef struct PlayedMark:
    double due
    int chars
    char name[MARK_CHARS]

cdef struct Playback:
    double ends_at
    int64_t messages
    int64_t audio_bytes
    int64_t clears
    int64_t marks
    int64_t echoed
    int first_mark
    int waiting_marks
    PlayedMark queue[MARK_ROOM]
    uint8_t* passed  # frames for the owner
    size_t passed_bytes
    size_t received_bytes
    uint8_t received[RECEIVED_ROOM]


cdef const char* find_text(const char* text, size_t size, const char* wanted, size_t wanted_size) noexcept nogil:
    """The position after ``wanted``; NULL if it is not there."""
    cdef const char* found = <const char*>memmem(text, size, wanted, wanted_size)
    if found == NULL:
        return NULL
    return found + wanted_size


cdef const char* find_string(const char* at, const char* end, size_t* chars) noexcept nogil:
    """The next JSON string, which must have no escapes; NULL if there is none."""
    cdef const char* start = <const char*>memchr(at, b'"', end - at)
    cdef const char* close
    if start == NULL:
        return NULL
    close = <const char*>memchr(start + 1, b'"', end - start - 1)
    if close == NULL or memchr(start, b"\\", close - start) != NULL:
        return NULL
    chars[0] = close - start - 1
    return start + 1


cdef bint play(Playback* playback, const char* text, size_t size, double now) noexcept nogil:
    """Whether this is a message that is handled here."""
    cdef const char* end = text + size
    cdef const char* value
    cdef size_t chars
    cdef PlayedMark* mark
    cdef int at
    value = find_text(text, size, b'"payload"', 9)
    if value != NULL:
        value = find_string(value, end, &chars)
        if value == NULL or chars % 4:
            return False
        if chars:
            chars = chars // 4 * 3 - (value[chars - 1] == b"=") - (value[chars - 2] == b"=")
        playback.audio_bytes += chars
        playback.ends_at = (playback.ends_at if playback.ends_at > now else now) + chars / 8000.0
        return True
    value = find_text(text, size, b'"name"', 6)
    if value != NULL:
        value = find_string(value, end, &chars)
        if value == NULL or chars > MARK_CHARS or playback.waiting_marks == MARK_ROOM:
            return False
        mark = &playback.queue[(playback.first_mark + playback.waiting_marks) % MARK_ROOM]
        playback.waiting_marks += 1
        playback.marks += 1
        mark.due = playback.ends_at if playback.ends_at > now else now
        mark.chars = <int>chars
        memcpy(mark.name, value, chars)
        return True
    if find_text(text, size, b'"clear"', 7) == NULL:
        return False
    playback.clears += 1
    playback.ends_at = now
    for at in range(playback.waiting_marks):
        playback.queue[(playback.first_mark + at) % MARK_ROOM].due = now
    return True


cdef bint pass_on(Playback* playback, const uint8_t* frame, size_t size) noexcept nogil:
    """Keeps a frame for the owner. Whether there is memory."""
    cdef void* memory = realloc(playback.passed, playback.passed_bytes + size)
    if memory == NULL:
        return False
    playback.passed = <uint8_t*>memory
    memcpy(playback.passed + playback.passed_bytes, frame, size)
    playback.passed_bytes += size
    return True


cdef bint play_frames(Playback* playback, double now) noexcept nogil:
    """Handles the whole frames received. Whether there can be more."""
    cdef const uint8_t* at = playback.received
    cdef size_t left = playback.received_bytes, head, size
    while left >= 2:
        head, size = 2, at[1] & 0x7F
        if size == 126:
            if left < 4:
                break
            head, size = 4, <size_t>at[2] << 8 | at[3]
        elif size == 127:
            return False
        if at[1] & MASKED or head + size > RECEIVED_ROOM:
            return False
        if left < head + size:
            break
        if at[0] == TEXT_FRAME and play(playback, <const char*>at + head, size, now):
            playback.messages += 1
        elif not pass_on(playback, at, head + size):
            return False
        at += head + size
        left -= head + size
    memmove(playback.received, at, left)
    playback.received_bytes = left
    return True


cdef bint receive(Playback* playback, int fd, double now) noexcept nogil:
    """Reads what the socket has. Whether there can be more."""
    cdef ssize_t got
    while True:
        got = load_receive(fd, playback.received + playback.received_bytes, RECEIVED_ROOM - playback.received_bytes)
        if got <= 0:
            return got == 0
        playback.received_bytes += got
        if not play_frames(playback, now):
            return False


cdef double next_echo(const Playback* playback) noexcept nogil:
    """When the next mark is due; infinite if none waits."""
    return playback.queue[playback.first_mark].due if playback.waiting_marks else INFINITY


cdef size_t put_echo(char* frame, PacedCallState* call) noexcept nogil:
    """A masked WebSocket text frame with the echo of the next mark; returns its size."""
    cdef Playback* playback = call.playback
    cdef const PlayedMark* mark = &playback.queue[playback.first_mark]
    cdef char* to = frame + MASKED_HEAD_BYTES
    call.sequence += 1
    to = put_text(to, b'{"event":"mark","sequenceNumber":"', 34)
    to = put_number(to, call.sequence)
    to = put_text(to, b'"', 1)
    to = put_text(to, call.suffix + 2, call.suffix_bytes - 3)
    to = put_text(to, b',"mark":{"name":"', 17)
    to = put_text(to, mark.name, mark.chars)
    to = put_text(to, b'"}}', 3)
    playback.first_mark = (playback.first_mark + 1) % MARK_ROOM
    playback.waiting_marks -= 1
    playback.echoed += 1
    return mask_message(frame, to, call.mask)
