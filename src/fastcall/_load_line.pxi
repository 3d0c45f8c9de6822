# The messages of a line and its turn: what goes onto the socket, and when.

cdef enum:
    PAYLOAD_CHARS = 216  # the base64 of 160 bytes
    STAMP_CODES = 21
    STAMP_AT = 184  # in the base64: byte 138 of the frame
    SUFFIX_ROOM = 128
    MESSAGE_ROOM = 8 + 160 + PAYLOAD_CHARS + SUFFIX_ROOM
    BURST = 64  # messages of one line in one `send`
    LATE_STEPS = 10_001

cdef double FRAME_S = 0.02
# Fewer turns than this would save nothing; more would cost a wake-up for each frame.
cdef double TURN_S = 0.0005
# How soon a line that was blocked is looked at again.
cdef double BLOCKED_S = 0.001

cdef struct Step:
    int32_t due_us
    int32_t frame

cdef struct LineState:
    int fd
    int blocked
    int over
    int broken
    double first_at
    const char* payloads
    int64_t payload_count
    int64_t spoken  # frames of the payloads, repeats included; -1: no end
    int64_t total  # and with the silence after them; -1: no end
    const Step* steps
    int32_t step_count
    int32_t cycle_frames
    int64_t cycle
    int32_t step
    int first_ms
    uint32_t sequence
    uint32_t chunk
    int64_t frame
    int64_t sent
    int64_t discarded
    int64_t call_number  # -1: no stamps
    uint8_t mask[4]
    int suffix_bytes
    char suffix[SUFFIX_ROOM]
    char* rest
    size_t rest_bytes

cdef struct Book:
    double* due
    LineState** lines
    double discard_after_s
    int count
    int room
    uint64_t* late
    char* scratch

cdef const char* DRIFT = b"\x02\x02\x01\x01\x00\x00\x01\x01\x02\x02\x03\x03\x04\x04\x03\x03"
cdef const char* ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef const char* SEQUENCE = b'{"event":"media","sequenceNumber":"'
cdef const char* CHUNK = b'","media":{"track":"inbound","chunk":"'
cdef const char* TIMESTAMP = b'","timestamp":"'
cdef const char* PAYLOAD = b'","payload":"'
cdef char[PAYLOAD_CHARS] SILENCE

memset(SILENCE, 47, PAYLOAD_CHARS)  # "/": 0xFF throughout
memcpy(SILENCE + PAYLOAD_CHARS - 3, b"w==", 3)


cdef char* put_text(char* to, const char* text, size_t size) noexcept nogil:
    memcpy(to, text, size)
    return to + size


cdef char* put_number(char* to, int64_t number) noexcept nogil:
    cdef char digits[24]
    cdef int count = 0
    if number < 0:
        to[0] = 45
        to += 1
        number = -number
    while True:
        digits[count] = <char>(48 + number % 10)
        count += 1
        number //= 10
        if number == 0:
            break
    while count:
        count -= 1
        to[0] = digits[count]
        to += 1
    return to


cdef void put_stamp(char* to, uint32_t at_us, uint32_t number, uint32_t call_number) noexcept nogil:
    """Overwrites 28 characters of base64 with the 21 codes."""
    cdef uint8_t codes[STAMP_CODES]
    cdef int at
    cdef uint32_t three
    codes[0] = 0xFC
    for at in range(8):
        codes[1 + at] = 0xF0 | (at_us >> (28 - 4 * at) & 15)
        codes[9 + at] = 0xF0 | (number >> (28 - 4 * at) & 15)
    for at in range(4):
        codes[17 + at] = 0xF0 | (call_number >> (12 - 4 * at) & 15)
    for at in range(STAMP_CODES // 3):
        three = codes[3 * at] << 16 | codes[3 * at + 1] << 8 | codes[3 * at + 2]
        to[4 * at] = ALPHABET[three >> 18]
        to[4 * at + 1] = ALPHABET[three >> 12 & 63]
        to[4 * at + 2] = ALPHABET[three >> 6 & 63]
        to[4 * at + 3] = ALPHABET[three & 63]


cdef size_t put_message(char* frame, LineState* line, int64_t number) noexcept nogil:
    """A masked WebSocket text frame with frame ``number`` of the line; returns its size."""
    cdef char* start = frame + 8
    cdef char* to = start
    cdef size_t size, at
    cdef int64_t timestamp = line.first_ms + 20 * number + DRIFT[number >> 5 & 15] - 2
    line.sequence += 1
    line.chunk += 1
    to = put_text(to, SEQUENCE, 35)
    to = put_number(to, line.sequence)
    to = put_text(to, CHUNK, 38)
    to = put_number(to, line.chunk)
    to = put_text(to, TIMESTAMP, 15)
    to = put_number(to, timestamp)
    to = put_text(to, PAYLOAD, 13)
    if line.spoken >= 0 and number >= line.spoken:
        memcpy(to, SILENCE, PAYLOAD_CHARS)
    else:
        memcpy(to, line.payloads + number % line.payload_count * PAYLOAD_CHARS, PAYLOAD_CHARS)
    if line.call_number >= 0:
        put_stamp(to + STAMP_AT, load_microseconds(), <uint32_t>line.sent, <uint32_t>line.call_number)
    to += PAYLOAD_CHARS
    to = put_text(to, line.suffix, line.suffix_bytes)
    size = to - start
    frame[0] = <char>0x81
    frame[1] = <char>(0x80 | 126)
    frame[2] = <char>(size >> 8)
    frame[3] = <char>(size & 255)
    memcpy(frame + 4, line.mask, 4)
    for at in range(size):
        start[at] ^= line.mask[at & 3]
    line.sent += 1
    return size + 8


cdef double due_of(LineState* line) noexcept nogil:
    """When the line's next step is due; steps past the audio's end are skipped. Infinite when it is over."""
    cdef int64_t first_frame
    while True:
        first_frame = line.cycle * line.cycle_frames
        if line.total >= 0 and first_frame >= line.total:
            line.over = 1
            return INFINITY
        if line.step == line.step_count:
            line.step = 0
            line.cycle += 1
        elif line.total >= 0 and first_frame + line.steps[line.step].frame >= line.total:
            line.step += 1
        else:
            return line.first_at + first_frame * FRAME_S + line.steps[line.step].due_us * 1e-6


cdef void keep_rest(LineState* line, const char* data, size_t size) noexcept nogil:
    line.blocked = 1
    line.rest = <char*>malloc(size)
    if line.rest == NULL:
        line.broken = 1  # without memory the rest of a frame cannot be sent: the line is lost
        return
    memcpy(line.rest, data, size)
    line.rest_bytes = size


cdef double run_line(LineState* line, double now, const Book* book) noexcept nogil:
    """Sends what is due of one line, or discards what is too late; returns when it is due again."""
    cdef double due = due_of(line)
    cdef size_t size = 0
    cdef int count = 0
    cdef ssize_t taken
    cdef int64_t step
    while due <= now:
        if line.broken:
            return INFINITY
        if line.blocked:
            if now < due + book.discard_after_s:
                return now + BLOCKED_S
            line.discarded += 1
        else:
            if count == BURST:
                break
            line.frame = line.cycle * line.cycle_frames + line.steps[line.step].frame
            size += put_message(book.scratch + size, line, line.frame)
            count += 1
            step = <int64_t>((now - due) * 10_000)
            book.late[step if step < LATE_STEPS - 1 else LATE_STEPS - 1] += 1
        line.step += 1
        due = due_of(line)
    if size:
        taken = load_send(line.fd, book.scratch, size) if line.fd >= 0 else 0
        if taken < 0:
            line.broken = 1
            return INFINITY
        if <size_t>taken < size:
            keep_rest(line, book.scratch + taken, size - taken)
    return due


cdef int run_lines(Book* book, double now) noexcept nogil:
    """One turn over all lines; returns how many need their owner."""
    cdef int at, wanting = 0
    for at in range(book.count):
        if book.due[at] <= now:
            book.due[at] = run_line(book.lines[at], now, book)
            if book.lines[at].rest_bytes or book.lines[at].over or book.lines[at].broken:
                wanting += 1
    return wanting


cdef double first_due(Book* book) noexcept nogil:
    cdef double first = INFINITY
    cdef int at
    for at in range(book.count):
        if book.due[at] < first:
            first = book.due[at]
    return first


cdef int find_line(Book* book, LineState* line) noexcept nogil:
    cdef int at
    for at in range(book.count):
        if book.lines[at] == line:
            return at
    return -1
