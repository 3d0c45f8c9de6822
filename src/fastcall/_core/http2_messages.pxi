# gRPC's length-prefixed messages: queueing for a stream, and parsing of a stream's bytes. Included by _http2.pyx.
# https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#length-prefixed-message

cdef enum:
    PREFIX_BYTES = 5
    # A field's tag and its length as a varint of at most 32 bits.
    FIELD_BYTES = 6
    MAX_QUEUED_BYTES = 1024 * 1024
    FIRST_QUEUE_BYTES = 4096

ctypedef struct outgoing_t:
    uint8_t* data  # owned by the stream
    size_t start
    size_t end
    size_t capacity
    bint half_closed
    bint begun
    bint deferred  # the library found the queue empty, and must be notified of more data
    bint told_full
    size_t writable_bytes  # below this the stream is writable
    bint closed  # it has ended, or was reset
    # For an audio sink; none of them is used once it is closed.
    nghttp2_session* session
    int32_t stream_id
    uint8_t audio_field
    bint* flush_due  # of the connection

ctypedef struct incoming_t:
    uint8_t prefix[PREFIX_BYTES]
    size_t prefix_bytes  # how much of the prefix was received; 0 between messages
    uint8_t* data  # of an incomplete message; owned by the stream
    size_t length
    size_t have
    const char* fault  # the peer's violation, or NULL

ctypedef struct flush_t:
    uint8_t* data
    size_t length
    size_t capacity

ctypedef void (*message_sink)(void* stream, const uint8_t* message, size_t length) noexcept nogil


cdef int queue_message(outgoing_t* queue, const uint8_t* data, size_t length, int field) noexcept nogil:
    """-1: the queue is full, or there is no memory."""
    cdef uint8_t* target
    if length > MAX_QUEUED_BYTES or make_room(queue, head_bytes(length, field) + length) < 0:
        return -1
    target = queue.data + queue.end
    write_head(target, length, field)
    if length:  # memcpy from NULL is undefined, even for 0 bytes
        memcpy(target + head_bytes(length, field), data, length)
    queue.end += head_bytes(length, field) + length
    return 0


cdef size_t head_bytes(size_t length, int field) noexcept nogil:
    """The bytes before a message's ``length``: the prefix and, with ``field``, its tag and length."""
    cdef size_t count = PREFIX_BYTES
    if field:
        count += 2
        while length > 0x7F:
            length >>= 7
            count += 1
    return count


cdef void write_head(uint8_t* target, size_t length, int field) noexcept nogil:
    cdef size_t total = head_bytes(length, field) + length - PREFIX_BYTES
    cdef size_t at = PREFIX_BYTES
    target[0] = 0  # not compressed
    target[1] = <uint8_t>(total >> 24)
    target[2] = <uint8_t>(total >> 16)
    target[3] = <uint8_t>(total >> 8)
    target[4] = <uint8_t>total
    if field:
        target[at] = <uint8_t>field
        at += 1
        while length > 0x7F:
            target[at] = <uint8_t>(length & 0x7F | 0x80)
            length >>= 7
            at += 1
        target[at] = <uint8_t>length


cdef uint8_t* reserve_audio(void* stream, size_t length) noexcept nogil:
    """See audio_sink.h. NULL where ``Http2Connection.write`` would return false, or raise."""
    cdef outgoing_t* queue = <outgoing_t*>stream
    cdef size_t head = head_bytes(length, queue.audio_field)
    if queue.closed or queue.half_closed or queue.told_full:
        return NULL
    if queue.end - queue.start + head + length >= queue.writable_bytes or make_room(queue, head + length) < 0:
        return NULL
    if <size_t>(queue.data + queue.end + head) & 1:
        return NULL  # samples are written as 16-bit integers
    return queue.data + queue.end + head


cdef int commit_audio(void* stream, size_t length) noexcept nogil:
    """See audio_sink.h."""
    cdef outgoing_t* queue = <outgoing_t*>stream
    write_head(queue.data + queue.end, length, queue.audio_field)
    queue.end += head_bytes(length, queue.audio_field) + length
    if queue.deferred and nghttp2_session_resume_data(queue.session, queue.stream_id) == 0:
        queue.deferred = False
    return not queue.flush_due[0]


cdef int make_room(outgoing_t* queue, size_t wanted) noexcept nogil:
    cdef size_t used = queue.end - queue.start
    cdef size_t capacity = queue.capacity if queue.capacity else FIRST_QUEUE_BYTES
    cdef uint8_t* moved
    if used + wanted > MAX_QUEUED_BYTES + PREFIX_BYTES + FIELD_BYTES:
        return -1
    if queue.end + wanted <= queue.capacity:
        return 0
    if queue.start:
        memmove(queue.data, queue.data + queue.start, used)
        queue.start, queue.end = 0, used
    while capacity < used + wanted:
        capacity *= 2
    if capacity != queue.capacity:
        moved = <uint8_t*>realloc(queue.data, capacity)
        if moved == NULL:
            return -1
        queue.data, queue.capacity = moved, capacity
    return 0


cdef size_t take_outgoing(outgoing_t* queue, uint8_t* target, size_t length) noexcept nogil:
    cdef size_t count = min(length, queue.end - queue.start)
    if not count:
        return 0  # nothing may be allocated yet
    memcpy(target, queue.data + queue.start, count)
    queue.start += count
    if queue.start == queue.end:
        queue.start = queue.end = 0
    return count


cdef void cut_messages(
    incoming_t* part, const uint8_t* data, size_t length, size_t limit, message_sink tell, void* stream
) noexcept nogil:
    """Passes each message that ``data`` completes to ``tell``; keeps the rest. Stops at a fault."""
    cdef size_t at = 0
    cdef size_t count
    while at < length and part.fault == NULL:
        if part.prefix_bytes < PREFIX_BYTES:
            count = min(<size_t>PREFIX_BYTES - part.prefix_bytes, length - at)
            memcpy(part.prefix + part.prefix_bytes, data + at, count)
            part.prefix_bytes += count
            at += count
            if part.prefix_bytes < PREFIX_BYTES:
                return
            begin_message(part, limit)
        if part.fault == NULL:
            at += take_message(part, data + at, length - at, tell, stream)


cdef void begin_message(incoming_t* part, size_t limit) noexcept nogil:
    cdef const uint8_t* prefix = part.prefix
    part.length = <size_t>prefix[1] << 24 | <size_t>prefix[2] << 16 | <size_t>prefix[3] << 8 | prefix[4]
    part.have = 0
    if prefix[0] == 1:
        part.fault = "a compressed message, but no compression was offered"
    elif prefix[0]:
        part.fault = "a message with an unknown compression flag"
    elif part.length > limit:
        part.fault = "a message longer than allowed"


cdef size_t take_message(
    incoming_t* part, const uint8_t* data, size_t length, message_sink tell, void* stream
) noexcept nogil:
    """Takes the next part of the message whose prefix was received; returns how much of ``data`` it was."""
    cdef size_t count = min(part.length - part.have, length)
    cdef uint8_t* grown
    if part.have == 0 and count == part.length:
        part.prefix_bytes = 0
        tell(stream, data, count)
        return count
    # Memory is allocated as bytes arrive, not for the length in the prefix.
    grown = <uint8_t*>realloc(part.data, part.have + count if part.have + count else 1)
    if grown == NULL:
        part.fault = "no memory for a message"
        return count
    part.data = grown
    memcpy(part.data + part.have, data, count)
    part.have += count
    if part.have == part.length:
        part.prefix_bytes = 0
        tell(stream, part.data, part.length)
        free(part.data)
        part.data = NULL
    return count


cdef int split_headers(uint8_t* block, size_t length, nghttp2_nv* fields, int limit) noexcept nogil:
    """Points ``fields`` into ``block``; returns how many, or -1."""
    cdef size_t at = 0
    cdef int count = 0
    if not length or block[length - 1]:
        return -1
    while at < length:
        if count == limit:
            return -1
        fields[count].name = block + at
        fields[count].namelen = strlen(<char*>block + at)
        at += fields[count].namelen + 1
        if at >= length or not fields[count].namelen:
            return -1
        fields[count].value = block + at
        fields[count].valuelen = strlen(<char*>block + at)
        fields[count].flags = 0
        at += fields[count].valuelen + 1
        count += 1
    return count


cdef Py_ssize_t drain(nghttp2_session* session, flush_t* out, size_t limit) noexcept nogil:
    """The data that the library wants to send, until ``limit`` is exceeded; negative: its error."""
    cdef const uint8_t* data = NULL
    cdef Py_ssize_t count
    cdef uint8_t* grown
    cdef size_t capacity
    while out.length < limit:
        count = nghttp2_session_mem_send(session, &data)
        if count <= 0:
            return count
        if out.length + count > out.capacity:
            capacity = max(2 * out.capacity, out.length + <size_t>count)
            grown = <uint8_t*>realloc(out.data, capacity)
            if grown == NULL:
                return ERR_CALLBACK_FAILURE
            out.data, out.capacity = grown, capacity
        memcpy(out.data + out.length, data, count)
        out.length += count
    return out.length
