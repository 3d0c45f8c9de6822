# The scan of Twilio's media and mark messages. Included by _codec.pyx.
# https://www.twilio.com/docs/voice/media-streams/websocket-messages

cdef enum:
    PAYLOAD_LIMIT_BYTES = 16_384  # 2 s of audio in one message, where Twilio sends 20 ms
    STREAM_SID_LIMIT_CHARS = 64
    TIMESTAMP_LIMIT_DIGITS = 10
    MARK_NAME_LIMIT_CHARS = 1024

# The keys of the message, then those of its object "media", then that of "mark".
cdef enum:
    EVENT, SEQUENCE_NUMBER, STREAM_SID, MEDIA, MARK, TRACK, CHUNK, TIMESTAMP, PAYLOAD, NAME, KEYS

cdef enum:
    NEEDED = 1 << EVENT | 1 << MEDIA | 1 << TRACK | 1 << TIMESTAMP | 1 << PAYLOAD
    NEEDED_FOR_MARK = 1 << EVENT | 1 << MARK | 1 << NAME
    NO_COUNT = -1  # the message has none
    ODD_COUNT = -2  # it has one that is not a plain number

cdef struct Text:
    const char* start
    Py_ssize_t chars

cdef Text* KEY_NAMES = [
    Text(b"event", 5),
    Text(b"sequenceNumber", 14),
    Text(b"streamSid", 9),
    Text(b"media", 5),
    Text(b"mark", 4),
    Text(b"track", 5),
    Text(b"chunk", 5),
    Text(b"timestamp", 9),
    Text(b"payload", 7),
    Text(b"name", 4),
]

cdef struct Message:
    Text values[KEYS]
    unsigned int seen  # bit set of keys


cdef extern from "find.h" nogil:
    const char* find_char "fastcall_find"(const char* at, const char* end, char mark) noexcept


cdef const char* skip_space(const char* at, const char* end) noexcept nogil:
    while at < end and at[0] <= b" " and (at[0] == b" " or at[0] == b"\t" or at[0] == b"\n" or at[0] == b"\r"):
        at += 1
    return at


cdef const char* read_mark(const char* at, const char* end, char mark) noexcept nogil:
    """The position after ``mark`` and white space before it; NULL if something else follows, or for NULL."""
    if at == NULL:
        return NULL
    at = skip_space(at, end)
    return at + 1 if at < end and at[0] == mark else NULL


cdef const char* read_string(const char* at, const char* end, Text* text) noexcept nogil:
    """The position after a JSON string. Its characters are checked later; backslashes are always rejected."""
    at = read_mark(at, end, b'"')
    if at == NULL:
        return NULL
    cdef const char* quote = find_char(at, end, b'"')
    if quote == NULL:
        return NULL
    text.start = at
    text.chars = quote - at
    return quote + 1


cdef bint text_is(const Text* text, const char* wanted, Py_ssize_t chars) noexcept nogil:
    # The first characters usually differ: compare them before calling anything.
    return text.chars == chars and text.start[0] == wanted[0] and memcmp(text.start, wanted, chars) == 0


cdef bint is_plain(const Text* text) noexcept nogil:
    """Whether it is printable ASCII without a backslash: a JSON string without escapes."""
    cdef uint8_t wrong = 0
    cdef Py_ssize_t i
    for i in range(text.chars):  # without an early exit, so that compilers vectorise it
        wrong |= <uint8_t>(<uint8_t>(text.start[i] - 0x20) > 0x5E) | <uint8_t>(text.start[i] == b"\\")
    return wrong == 0


cdef const char* read_object(
    const char* at, const char* end, int first, int last, Message* message
) noexcept nogil:
    """The position after a JSON object with only keys from ``first`` to ``last``, each at most once; else NULL."""
    cdef Text name
    cdef int key
    at = read_mark(at, end, b"{")
    while at != NULL:
        at = read_mark(read_string(at, end, &name), end, b":")
        if at == NULL:
            return NULL
        key = first
        while key <= last and not text_is(&name, KEY_NAMES[key].start, KEY_NAMES[key].chars):
            key += 1
        if key > last or message.seen & (1 << key):
            return NULL
        message.seen |= 1 << key
        if key == MEDIA:
            at = read_object(at, end, TRACK, PAYLOAD, message)
        elif key == MARK:
            at = read_object(at, end, NAME, NAME, message)
        else:
            at = read_string(at, end, &message.values[key])
        if at == NULL:
            return NULL
        at = skip_space(at, end)
        if at < end and at[0] == b"}":
            return at + 1
        at = read_mark(at, end, b",")
    return NULL


cdef bint read_message(const char* at, const char* end, Message* message) noexcept nogil:
    """Whether this is one inbound media message of the known form. Timestamp, payload and counts are not checked;
    ``streamSid`` may be missing."""
    message.seen = 0
    at = read_object(at, end, EVENT, MARK, message)
    if at == NULL or skip_space(at, end) != end or message.seen & (NEEDED | 1 << MARK) != NEEDED:
        return False
    if message.seen & (1 << STREAM_SID) and not (
        1 <= message.values[STREAM_SID].chars <= STREAM_SID_LIMIT_CHARS and is_plain(&message.values[STREAM_SID])
    ):
        return False
    return text_is(&message.values[EVENT], b"media", 5) and text_is(&message.values[TRACK], b"inbound", 7)


cdef bint read_mark_message(const char* at, const char* end, Message* message) noexcept nogil:
    """Whether this is one inbound mark message of the known form, whose name needs no decoding."""
    cdef int key
    message.seen = 0
    at = read_object(at, end, EVENT, MARK, message)
    if at == NULL or skip_space(at, end) != end or message.seen & (NEEDED_FOR_MARK | 1 << MEDIA) != NEEDED_FOR_MARK:
        return False
    for key in range(KEYS):
        if key != MARK and message.seen & (1 << key) and not is_plain(&message.values[key]):
            return False
    return text_is(&message.values[EVENT], b"mark", 4) and 1 <= message.values[NAME].chars <= MARK_NAME_LIMIT_CHARS


cdef int64_t read_number(const Text* text) noexcept nogil:
    """The number of 1 to 10 decimal digits; -1 if it is anything else."""
    cdef int64_t number = 0
    cdef Py_ssize_t i
    if not 1 <= text.chars <= TIMESTAMP_LIMIT_DIGITS:
        return -1
    for i in range(text.chars):
        if not b"0" <= text.start[i] <= b"9":
            return -1
        number = number * 10 + (text.start[i] - c'0')
    return number


cdef int64_t read_optional(const Message* message, int key) noexcept nogil:
    """The number under a key that may be missing: ``NO_COUNT``, or ``ODD_COUNT``."""
    if message.seen & (1 << key) == 0:
        return NO_COUNT
    cdef int64_t number = read_number(&message.values[key])
    return number if number >= 0 else ODD_COUNT


cdef int64_t read_count(const Message* message, bint has_two_tracks) noexcept nogil:
    """The number by which the message follows others, see ``the_count``; or ``ODD_COUNT``."""
    cdef int64_t chunk = read_optional(message, CHUNK)
    cdef int64_t sequence = read_optional(message, SEQUENCE_NUMBER)
    if chunk == ODD_COUNT or sequence == ODD_COUNT:
        return ODD_COUNT
    return the_count(chunk, sequence, has_two_tracks)


cdef extern from "base64.h" nogil:
    const uint8_t* SEXTETS "FASTCALL_SEXTETS"  # the 6 bits of each base64 character; 0x80 for all others


cdef Py_ssize_t base64_bytes(const Text* text) noexcept nogil:
    """The decoded size of a base64 text, from its length and padding; -1 if these are invalid."""
    if text.chars < 4 or text.chars % 4:
        return -1
    cdef Py_ssize_t padding = 0
    if text.start[text.chars - 1] == b"=":
        padding = 2 if text.start[text.chars - 2] == b"=" else 1
    return text.chars // 4 * 3 - padding


cdef bint decode_base64(const Text* text, uint8_t* target, Py_ssize_t count) noexcept nogil:
    """RFC 4648 section 4, canonical only: no other characters, and zero in the bits unused because of padding."""
    cdef Py_ssize_t whole = count // 3 * 3
    cdef const uint8_t* at = <const uint8_t*>text.start + whole // 3 * 4
    cdef uint8_t a, b, c
    if kernels.base64(<const uint8_t*>text.start, target, whole) != 0:
        return False
    if count == whole:
        return True
    a, b, c = SEXTETS[at[0]], SEXTETS[at[1]], SEXTETS[at[2]]
    target[whole] = <uint8_t>(a << 2 | b >> 4)
    if count - whole == 1:
        return (a | b) & 0x80 == 0 and b & 0x0F == 0
    target[whole + 1] = <uint8_t>(b << 4 | c >> 2)
    return (a | b | c) & 0x80 == 0 and c & 0x03 == 0


def scan_media(message, /):
    """Parses an inbound Twilio media message: stream SID (empty if it has none), timestamp in ms, payload, chunk and
    sequence number (-1 if it has none); else None.

    ``message`` is the JSON text as bytes (any C-contiguous buffer). None does not mean invalid: the message may be
    of another kind, unusual or malformed, and the caller then parses it with ``json``. The results are the same as
    with ``json`` and ``base64``. Accepted are: printable ASCII without escapes; the documented keys in any
    order, each at most once; track "inbound"; numbers of 1 to 10 digits; canonical base64 of 1 to 16,384
    bytes; nothing after the object.

    :raises TypeError: not a buffer of bytes
    :raises BufferError: not contiguous

    Safe in any thread. Keeps the GIL.
    """
    cdef Py_buffer source
    cdef Message found
    cdef Text* payload = &found.values[PAYLOAD]
    cdef Text* stream_sid = &found.values[STREAM_SID]
    cdef int64_t timestamp_ms, chunk, sequence
    cdef Py_ssize_t count
    cdef bytes audio
    hold(&source, message, PyBUF_SIMPLE, False)
    try:
        if not read_message(<const char*>source.buf, <const char*>source.buf + source.len, &found):
            return None
        timestamp_ms = read_number(&found.values[TIMESTAMP])
        count = base64_bytes(payload)
        chunk = read_optional(&found, CHUNK)
        sequence = read_optional(&found, SEQUENCE_NUMBER)
        if timestamp_ms < 0 or not 1 <= count <= PAYLOAD_LIMIT_BYTES or chunk == ODD_COUNT or sequence == ODD_COUNT:
            return None
        audio = PyBytes_FromStringAndSize(NULL, count)
        if not decode_base64(payload, <uint8_t*>PyBytes_AS_STRING(audio), count):
            return None
        sid = PyUnicode_DecodeASCII(stream_sid.start, stream_sid.chars, NULL) if found.seen & (1 << STREAM_SID) else ""
        return sid, timestamp_ms, audio, chunk, sequence
    finally:
        PyBuffer_Release(&source)


def scan_mark(message, /):
    """Parses an inbound Twilio mark message: the mark's name; else None.

    ``message`` is the JSON text as bytes (any C-contiguous buffer). None does not mean invalid, as with ``scan_media``.
    Accepted are: a name of 1 to 1024 printable ASCII characters without escapes; the documented keys in any order, each
    at most once; nothing after the object.

    :raises TypeError: not a buffer of bytes
    :raises BufferError: not contiguous

    Safe in any thread. Keeps the GIL.
    """
    cdef Py_buffer source
    cdef Message found
    cdef const char* start
    hold(&source, message, PyBUF_SIMPLE, False)
    try:
        start = <const char*>source.buf
        if not read_mark_message(start, start + source.len, &found):
            return None
        return PyUnicode_DecodeASCII(found.values[NAME].start, found.values[NAME].chars, NULL)
    finally:
        PyBuffer_Release(&source)
