# The messages of paced calls: what to send on each socket, and when. Included by _load.pyx.

cdef enum:
    PAYLOAD_CHARS = 216  # the base64 of 160 bytes
    STAMP_CODES = 21
    STAMP_AT = 184  # in the base64: byte 138 of the frame
    SUFFIX_ROOM = 128
    MASKED_HEAD_BYTES = 8  # of a frame with 126 to 65,535 bytes
    MESSAGE_ROOM = MASKED_HEAD_BYTES + 160 + PAYLOAD_CHARS + SUFFIX_ROOM
    BURST = 64  # messages of one call in one `send`
    LATE_STEPS = 10_001

cdef double FRAME_S = 0.02
# Longer turns would save nothing; shorter ones would cost a wake-up per frame.
cdef double TURN_S = 0.0005
# Interval for checking blocked calls.
cdef double BLOCKED_S = 0.001

cdef struct Step:
    int32_t due_us
    int32_t frame

cdef struct PacedCallState:
    int fd
    int blocked
    int over
    int broken
    double first_at
    const char* payloads
    int64_t payload_count
    int64_t spoken  # frames of the payloads, including repeats; -1: no end
    int64_t total  # including the silence after them; -1: no end
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
    char* unsent
    size_t unsent_bytes
    Playback* playback  # NULL: the owner reads the socket

cdef struct Schedule:
    double* due
    PacedCallState** calls
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


cdef size_t mask_message(char* frame, const char* end, const uint8_t* mask) noexcept nogil:
    """Makes a frame of the message from ``frame + MASKED_HEAD_BYTES`` to ``end``; returns its size."""
    cdef size_t size = end - frame - MASKED_HEAD_BYTES, head = 6 if size < 126 else MASKED_HEAD_BYTES, at
    if size < 126:
        memmove(frame + head, frame + MASKED_HEAD_BYTES, size)
        frame[1] = <char>(0x80 | size)
    else:
        frame[1] = <char>(0x80 | 126)
        frame[2] = <char>(size >> 8)
        frame[3] = <char>(size & 255)
    frame[0] = <char>0x81
    memcpy(frame + head - 4, mask, 4)
    for at in range(size):
        frame[head + at] ^= mask[at & 3]
    return head + size


cdef size_t put_message(char* frame, PacedCallState* call, int64_t number) noexcept nogil:
    """A masked WebSocket text frame with frame ``number`` of the call; returns its size."""
    cdef char* to = frame + MASKED_HEAD_BYTES
    cdef int64_t timestamp = call.first_ms + 20 * number + DRIFT[number >> 5 & 15] - 2
    call.sequence += 1
    call.chunk += 1
    to = put_text(to, SEQUENCE, 35)
    to = put_number(to, call.sequence)
    to = put_text(to, CHUNK, 38)
    to = put_number(to, call.chunk)
    to = put_text(to, TIMESTAMP, 15)
    to = put_number(to, timestamp)
    to = put_text(to, PAYLOAD, 13)
    if call.spoken >= 0 and number >= call.spoken:
        memcpy(to, SILENCE, PAYLOAD_CHARS)
    else:
        memcpy(to, call.payloads + number % call.payload_count * PAYLOAD_CHARS, PAYLOAD_CHARS)
    if call.call_number >= 0:
        put_stamp(to + STAMP_AT, load_microseconds(), <uint32_t>call.sent, <uint32_t>call.call_number)
    to += PAYLOAD_CHARS
    to = put_text(to, call.suffix, call.suffix_bytes)
    call.sent += 1
    return mask_message(frame, to, call.mask)


cdef double due_of(PacedCallState* call) noexcept nogil:
    """When the call's next step is due; steps past the audio's end are skipped. Infinite after the end."""
    cdef int64_t first_frame
    while True:
        first_frame = call.cycle * call.cycle_frames
        if call.total >= 0 and first_frame >= call.total:
            call.over = 1
            return INFINITY
        if call.step == call.step_count:
            call.step = 0
            call.cycle += 1
        elif call.total >= 0 and first_frame + call.steps[call.step].frame >= call.total:
            call.step += 1
        else:
            return call.first_at + first_frame * FRAME_S + call.steps[call.step].due_us * 1e-6


cdef void keep_unsent(PacedCallState* call, const char* data, size_t size) noexcept nogil:
    call.blocked = 1
    call.unsent = <char*>malloc(size)
    if call.unsent == NULL:
        call.broken = 1  # without memory the rest of a frame cannot be sent: the call is lost
        return
    memcpy(call.unsent, data, size)
    call.unsent_bytes = size


cdef double run_call(PacedCallState* call, double now, const Schedule* schedule) noexcept nogil:
    """Reads what came for one call, sends what is due, or discards what is too late; returns when it is due again."""
    cdef double due = due_of(call), echo = INFINITY
    cdef size_t size = 0
    cdef int count = 0
    cdef ssize_t taken
    cdef int64_t step
    if call.playback != NULL:
        if not call.broken and not receive(call.playback, call.fd, now):
            call.broken = 1
        echo = next_echo(call.playback)
        while echo <= now and not call.blocked and count < BURST:
            size += put_echo(schedule.scratch + size, call)
            count += 1
            echo = next_echo(call.playback)
    if call.broken:
        return INFINITY
    while due <= now:
        if call.blocked:
            if now < due + schedule.discard_after_s:
                return now + BLOCKED_S
            call.discarded += 1
        else:
            if count == BURST:
                break
            call.frame = call.cycle * call.cycle_frames + call.steps[call.step].frame
            size += put_message(schedule.scratch + size, call, call.frame)
            count += 1
            step = <int64_t>((now - due) * 10_000)
            schedule.late[step if step < LATE_STEPS - 1 else LATE_STEPS - 1] += 1
        call.step += 1
        due = due_of(call)
    if size:
        taken = load_send(call.fd, schedule.scratch, size) if call.fd >= 0 else 0
        if taken < 0:
            call.broken = 1
            return INFINITY
        if <size_t>taken < size:
            keep_unsent(call, schedule.scratch + taken, size - taken)
    return due if due < echo else echo


cdef bint wants_owner(const PacedCallState* call) noexcept nogil:
    return call.unsent_bytes or call.over or call.broken or (call.playback != NULL and call.playback.passed_bytes)


cdef int run_calls(Schedule* schedule, double now) noexcept nogil:
    """One turn over all calls; returns how many need their owner."""
    cdef int at, wanting = 0
    for at in range(schedule.count):
        if schedule.due[at] <= now:
            schedule.due[at] = run_call(schedule.calls[at], now, schedule)
            wanting += wants_owner(schedule.calls[at])
    return wanting


cdef double first_due(Schedule* schedule) noexcept nogil:
    cdef double first = INFINITY
    cdef int at
    for at in range(schedule.count):
        if schedule.due[at] < first:
            first = schedule.due[at]
    return first


cdef int find_call(Schedule* schedule, PacedCallState* call) noexcept nogil:
    cdef int at
    for at in range(schedule.count):
        if schedule.calls[at] == call:
            return at
    return -1
