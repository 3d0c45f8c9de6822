# libnghttp2's callbacks: each appends an event to its Http2Connection. Included by _http2.pyx.
#
# Each acquires the GIL, which its caller holds, and must not raise: exceptions are stored, and raised by the caller of
# the library. `connection` is the Http2Connection, `stream` the one that `open` passed; NULL for unknown streams.

cdef int header_received(
    nghttp2_session* session, const nghttp2_frame* frame, const uint8_t* name, size_t name_bytes,
    const uint8_t* value, size_t value_bytes, uint8_t flags, void* connection,
) noexcept with gil:
    cdef Http2Stream stream
    cdef void* found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
    if found == NULL:
        return 0
    stream = <Http2Stream>found
    try:
        if stream.ended:
            return 0
        stream.header_bytes += name_bytes + value_bytes + 32
        if stream.header_bytes > MAX_HEADER_BYTES:
            (<Http2Connection>connection).refuse(stream, "headers of over 64 KiB")
            return 0
        stream.headers.append((
            PyBytes_FromStringAndSize(<const char*>name, name_bytes),
            PyBytes_FromStringAndSize(<const char*>value, value_bytes),
        ))
    except BaseException as error:
        (<Http2Connection>connection).failure = error
        return ERR_CALLBACK_FAILURE
    return 0


cdef int frame_received(nghttp2_session* session, const nghttp2_frame* frame, void* connection) noexcept with gil:
    cdef Http2Connection self = <Http2Connection>connection
    cdef void* found
    try:
        if frame.hd.type == FRAME_HEADERS or frame.hd.type == FRAME_DATA:
            found = nghttp2_session_get_stream_user_data(session, frame.hd.stream_id)
            if found != NULL:
                stream_advanced(self, <Http2Stream>found, frame)
        elif frame.hd.type == FRAME_SETTINGS and not frame.hd.flags & FLAG_ACK:
            self.events.append((EVENT_SETTINGS, None, None))
        elif frame.hd.type == FRAME_PING and frame.hd.flags & FLAG_ACK:
            self.events.append((EVENT_PONG, None, None))
        elif frame.hd.type == FRAME_GOAWAY:
            words = PyBytes_FromStringAndSize(
                <const char*>frame.goaway.opaque_data, min(<size_t>256, frame.goaway.opaque_data_len)
            )
            self.events.append((EVENT_GOAWAY, None, (frame.goaway.last_stream_id, frame.goaway.error_code, words)))
    except BaseException as error:
        self.failure = error
        return ERR_CALLBACK_FAILURE
    return 0


cdef int stream_advanced(Http2Connection self, Http2Stream stream, const nghttp2_frame* frame) except -1:
    if stream.ended:
        return 0
    if frame.hd.flags & FLAG_END_STREAM:
        if stream.incoming.prefix_bytes:
            stream.fault = "the stream ended in the middle of a message"
        self.end(stream, HTTP2_NO_ERROR)
        # The peer has ended it and needs no more data; without this it would stay half open until all is sent.
        check(nghttp2_submit_rst_stream(self.session, FLAG_NONE, stream.id, HTTP2_NO_ERROR))
    elif frame.hd.type == FRAME_HEADERS:
        self.events.append((EVENT_HEADERS, stream, None))
    return 0


cdef int chunk_received(
    nghttp2_session* session, uint8_t flags, int32_t stream_id, const uint8_t* data, size_t length, void* connection
) noexcept with gil:
    cdef Http2Connection self = <Http2Connection>connection
    cdef void* found = nghttp2_session_get_stream_user_data(session, stream_id)
    cdef Http2Stream stream
    if found == NULL:
        return 0
    stream = <Http2Stream>found
    try:
        if not stream.ended:
            cut_messages(&stream.incoming, data, length, self.max_message_bytes, tell_message, <void*>stream)
            self.raise_failure()
            if stream.incoming.fault != NULL:
                self.refuse(stream, stream.incoming.fault.decode())
    except BaseException as error:
        self.failure = error
        return ERR_CALLBACK_FAILURE
    return 0


cdef void tell_message(void* stream, const uint8_t* message, size_t length) noexcept with gil:
    cdef Http2Connection self = (<Http2Stream>stream).connection
    try:
        self.events.append(
            (EVENT_MESSAGE, <Http2Stream>stream, PyBytes_FromStringAndSize(<const char*>message, length))
        )
    except BaseException as error:
        self.failure = error


cdef int stream_closed(nghttp2_session* session, int32_t stream_id, uint32_t code, void* connection) noexcept with gil:
    cdef Http2Connection self = <Http2Connection>connection
    cdef void* found = nghttp2_session_get_stream_user_data(session, stream_id)
    cdef Http2Stream stream
    if found == NULL:
        return 0
    stream = <Http2Stream>found
    try:
        stream.gone = True
        self.end(stream, code)
        stream.connection = None
        self.streams.discard(stream)
    except BaseException as error:
        self.failure = error
        return ERR_CALLBACK_FAILURE
    return 0


cdef Py_ssize_t read_outgoing(
    nghttp2_session* session, int32_t stream_id, uint8_t* buffer, size_t length, uint32_t* flags,
    nghttp2_data_source* source, void* connection,
) noexcept nogil:
    cdef outgoing_t* queue = <outgoing_t*>source.ptr
    cdef size_t copied = take_outgoing(queue, buffer, length)
    if not queue.begun:  # the library asks for data once the headers are sent
        queue.begun = True
        tell_of_queue(connection, nghttp2_session_get_stream_user_data(session, stream_id), EVENT_BEGUN)
    if queue.start == queue.end:
        if queue.half_closed:
            flags[0] |= DATA_FLAG_EOF
        elif not copied:
            queue.deferred = True
            return ERR_DEFERRED
    if queue.told_full and queue.end - queue.start < queue.writable_bytes:
        queue.told_full = False
        tell_of_queue(connection, nghttp2_session_get_stream_user_data(session, stream_id), EVENT_WRITABLE)
    return copied


cdef void tell_of_queue(void* connection, void* stream, int event) noexcept with gil:
    try:
        if stream != NULL and not (<Http2Stream>stream).ended:
            (<Http2Connection>connection).events.append((event, <Http2Stream>stream, None))
    except BaseException as error:
        (<Http2Connection>connection).failure = error
