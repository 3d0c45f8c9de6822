# The frames of the messages that are sent to Twilio. Included by _codec.pyx.
# RFC 6455 section 5.2; https://www.twilio.com/docs/voice/media-streams/websocket-messages

cdef enum:
    FRAME_HEAD_BYTES = 10  # at most: a server's frames are not masked

cdef extern from "base64.h" nogil:
    void encode_base64 "fastcall_base64_encode"(const uint8_t* source, uint8_t* text, ptrdiff_t bytes) noexcept


cdef Py_ssize_t put_frame_head(uint8_t* to, uint64_t payload) noexcept nogil:
    """Writes the head of a final text frame with so many bytes of payload; returns its size."""
    cdef int i
    cdef int length_bytes = 0 if payload < 126 else 2 if payload < 65_536 else 8
    to[0] = 0x81
    to[1] = <uint8_t>payload if length_bytes == 0 else 126 if length_bytes == 2 else 127
    for i in range(length_bytes):
        to[2 + i] = <uint8_t>(payload >> 8 * (length_bytes - 1 - i))
    return 2 + length_bytes


cdef char* put_json(char* to, const uint16_t* units, Py_ssize_t count) noexcept nogil:
    """Writes a JSON string of printable ASCII (RFC 8259 section 7): at most 6 characters a UTF-16 unit, and 2."""
    cdef const char* digits = b"0123456789abcdef"
    cdef Py_ssize_t i
    cdef int at
    cdef uint16_t unit
    to[0] = b'"'
    to += 1
    for i in range(count):
        unit = units[i]
        if 0x20 <= unit <= 0x7E and unit != c'"' and unit != c"\\":
            to[0] = <char>unit
            to += 1
            continue
        to[0] = b"\\"
        if unit == c'"' or unit == c"\\":
            to[1] = <char>unit
        elif unit == c"\n":
            to[1] = b"n"
        elif unit == c"\r":
            to[1] = b"r"
        elif unit == c"\t":
            to[1] = b"t"
        elif unit == c"\b":
            to[1] = b"b"
        elif unit == c"\f":
            to[1] = b"f"
        else:
            to[1] = b"u"
            for at in range(4):
                to[2 + at] = digits[unit >> (12 - 4 * at) & 15]
            to += 4
        to += 2
    to[0] = b'"'
    return to + 1


cdef bytes json_string(str text):
    cdef bytes units = text.encode("utf-16-le", "surrogatepass")
    cdef Py_ssize_t count = len(units) // 2
    cdef bytes room = PyBytes_FromStringAndSize(NULL, 6 * count + 2)
    cdef char* start = PyBytes_AS_STRING(room)
    return room[:put_json(start, <const uint16_t*>PyBytes_AS_STRING(units), count) - start]


cdef bytes text_frame(bytes text):
    cdef uint8_t[FRAME_HEAD_BYTES] head
    cdef Py_ssize_t head_size = put_frame_head(head, len(text))
    return PyBytes_FromStringAndSize(<const char*>head, head_size) + text


@cython.final
cdef class OutboundFrames:
    """Builds the messages of one stream to Twilio, each as a WebSocket text frame of a server. Immutable.

    The messages have the fields that Twilio documents and no others (those give its warning 31951), as ``json.dumps``
    writes them; a frame is final, not masked, and has its length in shortest form.

    :param stream_sid: any text

    Safe in any thread. Keeps the GIL.
    """

    cdef bytes media_start, mark_start, clear_frame

    def __cinit__(self, str stream_sid not None):
        cdef bytes sid = json_string(stream_sid)
        self.media_start = b'{"event": "media", "streamSid": ' + sid + b', "media": {"payload": "'
        self.mark_start = b'{"event": "mark", "streamSid": ' + sid + b', "mark": {"name": '
        self.clear_frame = text_frame(b'{"event": "clear", "streamSid": ' + sid + b"}")

    def media(self, audio, /):
        """The frame with this audio to play, in the stream's encoding: any C-contiguous buffer of bytes, of any size.

        :raises TypeError: not a buffer of bytes
        :raises BufferError: not contiguous
        """
        cdef Py_buffer source
        cdef uint8_t[FRAME_HEAD_BYTES] head
        cdef uint8_t* to
        cdef Py_ssize_t head_size, start_size = len(self.media_start), text_size
        cdef bytes frame
        hold(&source, audio, PyBUF_SIMPLE, False)
        try:
            text_size = (source.len + 2) // 3 * 4
            head_size = put_frame_head(head, start_size + text_size + 3)
            frame = PyBytes_FromStringAndSize(NULL, head_size + start_size + text_size + 3)
            to = <uint8_t*>PyBytes_AS_STRING(frame)
            memcpy(to, head, head_size)
            memcpy(to + head_size, PyBytes_AS_STRING(self.media_start), start_size)
            encode_base64(<const uint8_t*>source.buf, to + head_size + start_size, source.len)
            memcpy(to + head_size + start_size + text_size, b'"}}', 3)
        finally:
            PyBuffer_Release(&source)
        return frame

    def mark(self, str name not None, /):
        """The frame that asks for an echo of ``name`` when all audio queued so far was played."""
        return text_frame(self.mark_start + json_string(name) + b"}}")

    def clear(self):
        """The frame that drops all queued audio that was not yet played; outstanding marks come back."""
        return self.clear_frame
