"""The client side of HTTP/2 as gRPC uses it, on libnghttp2: bytes in, bytes and events out, no socket and no clock.

libnghttp2 handles frames, header compression and flow control. This module adds a stream's queue of outgoing gRPC
messages, which the library reads into its DATA frames, and splits incoming data into gRPC messages. It returns lists of
events; no Python code runs inside the library's calls, except to build these lists.

Sources: RFC 9113, https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, https://nghttp2.org/documentation/

One thread, the event loop's; keeps the GIL, because calls of the library take microseconds.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove, strlen

include "_core/nghttp2_abi.pxi"
include "_core/audio_sink.pxi"

include "_core/http2_messages.pxi"

# Events; Http2Connection.receive describes their values.
MESSAGE = 1
HEADERS = 2
ENDED = 3
WRITABLE = 4
SETTINGS = 5
GOAWAY = 6
PONG = 7
BEGUN = 8

cdef enum:
    EVENT_MESSAGE = 1
    EVENT_HEADERS = 2
    EVENT_ENDED = 3
    EVENT_WRITABLE = 4
    EVENT_SETTINGS = 5
    EVENT_GOAWAY = 6
    EVENT_PONG = 7
    EVENT_BEGUN = 8

    MAX_REQUEST_HEADERS = 32
    # RFC 9113 section 10.5.1: our limit for the headers of one stream.
    MAX_HEADER_BYTES = 64 * 1024
    CONNECTION_WINDOW_BYTES = 1024 * 1024
    # Approximate maximum of one flush: the socket's buffer is not larger anyway.
    FLUSH_BYTES = 1024 * 1024


class Http2Error(ConnectionError):
    """The connection cannot continue: the peer violated the protocol, or flooded us."""


def load(path=None, /):
    """Load libnghttp2, once per process.

    :param path: a file, instead of the system's library
    :raises OSError: it is missing or too old; fastcall then uses grpcio
    """
    cdef bytes name = b"" if path is None else path.encode()
    cdef const char* missing = nghttp2_load(PyBytes_AS_STRING(name))
    if missing != NULL:
        raise OSError(missing.decode())


@cython.final
cdef class Http2Stream:
    """One request of a connection. Created by ``Http2Connection.open``. ``owner`` is the caller's object, for dispatch.

    ``id`` is the stream's number on the wire.
    """

    cdef outgoing_t outgoing
    cdef incoming_t incoming
    cdef AudioSink sink
    cdef readonly int32_t id
    cdef public object owner
    cdef list headers
    cdef size_t header_bytes
    cdef str fault
    cdef bint ended  # ENDED was reported
    cdef bint gone  # the library has closed it
    cdef Http2Connection connection  # None once it is gone

    def __dealloc__(self):
        free(self.outgoing.data)
        free(self.incoming.data)

    @property
    def queued_bytes(self):
        """Bytes written but not yet framed, because of the peer's window or its limit of streams."""
        return self.outgoing.end - self.outgoing.start

    def audio_sink(self, uint8_t field, /):
        """A capsule for ``_codec.LiveAudio``: it queues audio as ``Http2Connection.write`` does. It keeps the stream.

        :param field: the tag of the audio in a message, as on the wire
        """
        self.outgoing.audio_field = field
        self.sink.stream, self.sink.reserve, self.sink.commit = &self.outgoing, reserve_audio, commit_audio
        capsule = PyCapsule_New(&self.sink, AUDIO_SINK, release_stream)
        PyCapsule_SetContext(capsule, <void*>self)
        Py_INCREF(self)
        return capsule


cdef void release_stream(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


@cython.final
cdef class Http2Connection:
    """One connection, from its preface on. Sans I/O.

    ``flush_due`` is the caller's: whether it has arranged to call ``data_to_send``. While it is false, an audio sink
    asks for that.

    :param max_message_bytes: a longer message from the peer ends its stream (gRPC's default is 4 MiB)
    :param writable_bytes: a stream with less than this queued counts as writable
    :raises OSError: libnghttp2 is not loaded
    """

    cdef nghttp2_session* session  # owned
    cdef set streams  # keeps streams alive that the library points to
    cdef list events  # the list that callbacks append to, while the library runs
    cdef object failure  # an exception raised in a callback
    cdef flush_t out
    cdef uint32_t max_message_bytes
    cdef size_t writable_bytes
    cdef public bint flush_due

    def __cinit__(self, *, uint32_t max_message_bytes=4 * 1024 * 1024, size_t writable_bytes=16 * 1024):
        cdef nghttp2_session_callbacks* callbacks = NULL
        cdef nghttp2_option* option = NULL
        cdef nghttp2_settings_entry settings[3]
        load()
        self.streams = set()
        self.events = []
        self.max_message_bytes = max_message_bytes
        self.writable_bytes = writable_bytes
        try:
            if nghttp2_session_callbacks_new(&callbacks) or nghttp2_option_new(&option):
                raise MemoryError("no memory for an HTTP/2 connection")
            nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_received)
            nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, chunk_received)
            nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed)
            nghttp2_session_callbacks_set_on_header_callback(callbacks, header_received)
            # Until the peer's settings arrive; RFC 9113 section 5.1.2 recommends a limit of at least 100.
            nghttp2_option_set_peer_max_concurrent_streams(option, 100)
            if nghttp2_session_client_new2(&self.session, callbacks, <void*>self, option):
                raise MemoryError("no memory for an HTTP/2 connection")
        finally:
            nghttp2_session_callbacks_del(callbacks)
            nghttp2_option_del(option)
        settings[0].settings_id, settings[0].value = SETTINGS_ENABLE_PUSH, 0
        settings[1].settings_id, settings[1].value = SETTINGS_INITIAL_WINDOW_SIZE, CONNECTION_WINDOW_BYTES
        settings[2].settings_id, settings[2].value = SETTINGS_MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES
        check(nghttp2_submit_settings(self.session, FLAG_NONE, settings, 3))
        check(nghttp2_session_set_local_window_size(self.session, FLAG_NONE, 0, CONNECTION_WINDOW_BYTES))

    def __dealloc__(self):
        if self.session != NULL:
            nghttp2_session_del(self.session)
        free(self.out.data)

    @property
    def wants_more(self):
        """Whether the connection continues; false once both sides have finished."""
        return bool(nghttp2_session_want_read(self.session) or nghttp2_session_want_write(self.session))

    @property
    def wants_to_send(self):
        """Whether ``data_to_send`` would return data."""
        return bool(nghttp2_session_want_write(self.session))

    @property
    def max_streams(self):
        """The peer's limit of concurrent streams; further ones are queued silently until others end."""
        return nghttp2_session_get_remote_settings(self.session, SETTINGS_MAX_CONCURRENT_STREAMS)

    @property
    def open_streams(self):
        """Streams that the library has not closed."""
        return len(self.streams)

    def open(self, headers, owner, /):
        """Begin a request.

        :param headers: names and values, in order, pseudo-headers first, each ended by a NUL byte; at most 32 pairs
        :raises ValueError: the block is malformed
        :raises Http2Error: the peer has sent GOAWAY, or all stream ids are used up
        """
        cdef nghttp2_nv fields[MAX_REQUEST_HEADERS]
        cdef nghttp2_data_provider provider
        cdef Http2Stream stream = Http2Stream.__new__(Http2Stream)
        cdef bytes block = headers
        cdef int count = split_headers(<uint8_t*>PyBytes_AS_STRING(block), len(block), fields, MAX_REQUEST_HEADERS)
        if count < 0:
            raise ValueError("headers: names and values, each ended by a NUL byte, at most 32 pairs")
        stream.headers = []
        stream.owner = owner
        stream.outgoing.writable_bytes = self.writable_bytes
        provider.source.ptr = &stream.outgoing
        provider.read_callback = read_outgoing
        stream.id = check(nghttp2_submit_request(self.session, NULL, fields, count, &provider, <void*>stream))
        stream.outgoing.session, stream.outgoing.stream_id = self.session, stream.id
        stream.outgoing.flush_due = &self.flush_due
        stream.connection = self
        self.streams.add(stream)
        return stream

    def write(self, Http2Stream stream not None, message, /, int field=0):
        """Queue one gRPC message.

        :param message: any buffer; protobuf, or, with ``field``, the bytes of its only field
        :param field: the field's tag as on the wire (0x12: field 2, bytes); 0: ``message`` is complete
        :return: whether the stream is still writable; if not, WRITABLE is reported when it is again
        :raises BufferError: the queue exceeds 1 MiB, because the caller ignored that

        Ignored once the stream has ended or was half-closed.
        """
        cdef Py_buffer view
        cdef int taken
        if stream.gone or stream.ended or stream.outgoing.half_closed:
            return False
        PyObject_GetBuffer(message, &view, PyBUF_SIMPLE)
        taken = queue_message(&stream.outgoing, <const uint8_t*>view.buf, view.len, field)
        PyBuffer_Release(&view)
        if taken < 0:
            raise BufferError("the stream's queue is full: wait until it is writable")
        self.resume(stream)
        stream.outgoing.told_full = stream.outgoing.end - stream.outgoing.start >= stream.outgoing.writable_bytes
        return not stream.outgoing.told_full

    def half_close(self, Http2Stream stream not None, /):
        """End our side of the stream with its last frame."""
        stream.outgoing.half_closed = True
        self.resume(stream)

    def reset(self, Http2Stream stream not None, uint32_t code=HTTP2_CANCEL, /):
        """Reset the stream: it reports no more events, and its queue is discarded."""
        stream.ended = stream.outgoing.closed = True
        if not stream.gone:
            check(nghttp2_submit_rst_stream(self.session, FLAG_NONE, stream.id, code))

    def ping(self):
        """Send a PING."""
        check(nghttp2_submit_ping(self.session, FLAG_NONE, NULL))

    def goodbye(self):
        """Send GOAWAY: no more streams will be opened, and the connection may be closed."""
        check(nghttp2_submit_goaway(self.session, FLAG_NONE, 0, HTTP2_NO_ERROR, NULL, 0))

    def receive(self, data, /):
        """Process data from the peer.

        :return: a list of (event, stream, value):

            - ``(MESSAGE, stream, bytes)``: one message, protobuf
            - ``(BEGUN, stream, None)``: its request was sent; until then it may have been queued
            - ``(HEADERS, stream, None)``: the peer has responded; messages follow
            - ``(ENDED, stream, (code, headers, fault))``, once per stream and last: the HTTP/2 error code (0: the peer
              ended it regularly), all headers and trailers as pairs of bytes, and the peer's violation, or None
            - ``(WRITABLE, stream, None)``: ``write`` had returned false
            - ``(SETTINGS, None, None)``: ``max_streams`` may have changed
            - ``(GOAWAY, None, (last stream, code, words))``: no new streams here; streams above the last are ENDED
            - ``(PONG, None, None)``
        :raises Http2Error: the connection cannot continue
        """
        cdef Py_buffer view
        cdef Py_ssize_t done
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        done = nghttp2_session_mem_recv(self.session, <const uint8_t*>view.buf, view.len)
        PyBuffer_Release(&view)
        self.raise_failure()
        check(done)
        return self.take_events()

    def data_to_send(self):
        """The data to send now: ``(bytes, events)``, at most about 1 MiB; call it again until the bytes are empty.

        Sending can end streams and shortens queues, hence the events, as in ``receive``.
        """
        cdef Py_ssize_t done
        self.out.length = 0
        done = drain(self.session, &self.out, FLUSH_BYTES)
        self.raise_failure()
        check(done)
        data = PyBytes_FromStringAndSize(<char*>self.out.data, self.out.length) if self.out.length else b""
        return data, self.take_events()

    cdef list take_events(self):
        if not self.events:
            return []  # a new list: ours is still being filled
        events, self.events = self.events, []
        return events

    cdef int raise_failure(self) except -1:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        return 0

    cdef int resume(self, Http2Stream stream) except -1:
        if stream.outgoing.deferred and not stream.gone:
            stream.outgoing.deferred = False
            check(nghttp2_session_resume_data(self.session, stream.id))
        return 0

    cdef int end(self, Http2Stream stream, object code) except -1:
        stream.outgoing.closed = True
        if not stream.ended:
            stream.ended = True
            self.events.append((EVENT_ENDED, stream, (code, stream.headers, stream.fault)))
            stream.headers = None
        return 0

    cdef int refuse(self, Http2Stream stream, str fault) except -1:
        """The peer violated gRPC's protocol on this stream: reset it; the connection continues."""
        stream.fault = fault
        self.end(stream, HTTP2_CANCEL)
        return check(nghttp2_submit_rst_stream(self.session, FLAG_NONE, stream.id, HTTP2_CANCEL))


cdef Py_ssize_t check(Py_ssize_t code) except -1:
    if code < 0:
        raise Http2Error(nghttp2_strerror(<int>code).decode())
    return code


include "_core/http2_callbacks.pxi"
