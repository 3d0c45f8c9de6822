# The fast path: from a socket's received bytes to the call's track. Included by _codec.pyx.
# RFC 6455 section 5.2 (frames); https://www.twilio.com/docs/voice/media-streams/websocket-messages

cdef enum:
    MESSAGE_LIMIT_BYTES = 1023  # of a message, which then counts as one (server/rate_limit.py); Twilio's have about 400
    HEAD_LIMIT_BYTES = 14
    CLOSE_OPCODE = 8
    # Bytes scanned in one turn of the loop: a read may return 256 KB, and other calls wait meanwhile.
    TURN_BYTES = 16 * 1024
    # Frames handed over in one turn: per frame, the implementation's cost is a thousand times that of its bytes.
    TURN_FRAMES = 16

cdef enum Outcome:
    REFUSED, TAKEN, DISPATCH  # DISPATCH: taken, and the call must act before the next message

cdef enum Step:
    DONE, HAND_OVER, CALL, LATER, HOLD


@cython.final
cdef class MediaFastPath:
    """Processes a live call's ordinary media messages, in one function without Python objects. Loop thread only.

    It takes messages in the form that ``scan_media`` knows, of this stream, whose audio is the next in time, fits the
    track, and completes at most one frame of 20 ms; and only as many as ``allow`` permits. Everything else is refused
    without side effects: gaps, repeats, overflow, floods, all that must be counted or reported, is for the slow path.
    Both share the timeline, the track, the VAD framer and the endpointing, so a message may use either.

    :param stream_sid: of the call's messages; if it is not at most 64 ASCII characters, none is taken
    :param track: of mu-law; the fast path is its producer
    :param limit_samples: limit of samples waiting in the track
    :param batch_samples: waiting samples that make a batch due
    :param live: sends batches that are due, of the same track; None: all are left to ``on_batch``
    :param on_batch: called without arguments when a batch is due that ``live`` cannot send
    :param on_speech: called with what ``EndpointRule.feed`` returned, if that was not 0, as ``VadFramer.process`` does
    :raises ValueError: the track is not mu-law, or ``limit_samples`` is negative
    """

    cdef char stream_sid[STREAM_SID_LIMIT_CHARS]
    cdef Py_ssize_t stream_sid_chars
    cdef InboundTimeline timeline
    cdef AudioTrack track
    cdef VadFramer vad
    cdef EndpointRule endpoint
    cdef Py_ssize_t limit_samples, batch_samples
    cdef LiveAudio live
    cdef object on_batch, on_speech
    cdef bint is_open
    cdef bint due, flush, failed, starved, tone_ended  # pending for dispatch
    cdef Change change
    cdef int64_t taken
    cdef int64_t allowed
    cdef double taken_at  # holds if taken

    def __cinit__(
        self,
        str stream_sid not None,
        InboundTimeline timeline not None,
        AudioTrack track not None,
        VadFramer vad not None,
        EndpointRule endpoint not None,
        *,
        Py_ssize_t limit_samples,
        Py_ssize_t batch_samples,
        LiveAudio live=None,
        on_batch,
        on_speech,
    ):
        if track.audio.sample_bytes != 1:
            raise ValueError("the track must be of mu-law")
        if limit_samples < 0:
            raise ValueError(f"limit_samples={limit_samples}: must not be negative")
        cdef bytes sid
        if stream_sid.isascii() and len(stream_sid) <= STREAM_SID_LIMIT_CHARS:
            sid = stream_sid.encode("ascii")
            self.stream_sid_chars = len(sid)
            memcpy(self.stream_sid, PyBytes_AS_STRING(sid), len(sid))
            self.is_open = True
        self.timeline, self.track, self.vad, self.endpoint = timeline, track, vad, endpoint
        self.limit_samples, self.batch_samples = limit_samples, batch_samples
        self.live, self.on_batch, self.on_speech = live, on_batch, on_speech

    @property
    def messages(self):
        """Messages taken."""
        return self.taken

    @property
    def taken_s(self):
        """When the newest of them arrived, by the fast path's clock; None before the first."""
        return self.taken_at if self.taken else None

    def allow(self, int64_t messages, /):
        """Sets how many messages it may take until the next call; initially 0."""
        self.allowed = messages

    def close(self):
        """Takes no more messages: the call is no longer live."""
        self.is_open = False

    cdef Outcome take(self, const char* message, Py_ssize_t length, double now) noexcept nogil:
        cdef Message found
        cdef uint8_t audio[2 * VOICE_FRAME_SAMPLES]
        cdef Text* payload = &found.values[PAYLOAD]
        cdef int64_t timestamp_ms, number
        cdef Py_ssize_t samples, accepted
        if not self.is_open or self.allowed <= 0 or not read_message(message, message + length, &found):
            return REFUSED
        if found.seen & (1 << STREAM_SID) and not text_is(
            &found.values[STREAM_SID], self.stream_sid, self.stream_sid_chars
        ):
            return REFUSED
        timestamp_ms = read_number(&found.values[TIMESTAMP])
        number = read_count(&found, self.timeline.has_two_tracks)
        samples = base64_bytes(payload)
        if timestamp_ms < 0 or number < NO_COUNT or samples < 1 or not self.vad.has_room(samples):
            return REFUSED
        if not self.timeline.follows(timestamp_ms, number):
            return REFUSED
        accepted = audio_fitting(&self.track.audio, samples, self.limit_samples)
        if accepted < samples or not decode_base64(payload, audio, samples):
            return REFUSED
        self.timeline.advance(timestamp_ms, samples, number, 0)
        self.taken += 1
        self.taken_at = now
        self.allowed -= 1
        self.starved = not self.track.put(audio, &accepted, samples)
        return self.process(audio, samples, now)

    cdef Outcome process(self, const uint8_t* audio, Py_ssize_t samples, double now) noexcept nogil:
        cdef int voice = self.vad.take(audio, samples)
        cdef LiveStep step = OTHERWISE if self.live is None else self.live.step(now)
        self.due = step == OTHERWISE and audio_waiting(&self.track.audio) >= self.batch_samples
        self.flush = step == FLUSH
        self.failed = voice == FAILED
        self.change, self.tone_ended = NOTHING, False
        if voice >= 0:
            self.change = self.endpoint.step(<Voice>voice, self.vad.processed, now)
            self.tone_ended = self.vad.hears_tone_end()
        if self.due or self.flush or self.failed or self.starved or self.change != NOTHING or self.tone_ended:
            return DISPATCH
        return TAKEN

    cdef int dispatch(self) except -1:
        """Calls the callbacks for the message just taken, in the order of the slow path: batch, then speech."""
        if self.starved:
            raise MemoryError("no memory even for silence in place of a frame")
        if self.due:
            self.on_batch()
        if self.flush:
            self.live.flush()
        if self.failed:
            self.vad.raise_error()
        if self.change != NOTHING:
            self.on_speech(<int>self.change)
        if self.tone_ended:
            self.on_speech(<int>TONE)
        return 0


cdef Py_ssize_t head_bytes(const uint8_t* at, Py_ssize_t count) noexcept nogil:
    """The length of a frame's head, from its first ``count`` bytes; 2 if they are too few."""
    if count < 2:
        return 2
    cdef Py_ssize_t length_bytes = 8 if at[1] & 0x7F == 127 else 2 if at[1] & 0x7F == 126 else 0
    return 2 + length_bytes + (4 if at[1] & 0x80 else 0)


cdef uint64_t payload_bytes(const uint8_t* head) noexcept nogil:
    """The payload length in a complete head. Whether it is in shortest form is checked by the frame's reader."""
    cdef int i
    cdef uint64_t length = head[1] & 0x7F
    if length < 126:
        return length
    cdef int length_bytes = 8 if length == 127 else 2
    length = 0
    for i in range(length_bytes):
        length = length << 8 | head[2 + i]
    return length


cdef bint may_be_media(const uint8_t* at, Py_ssize_t count) noexcept nogil:
    """Whether the first ``count`` bytes, at least one, can begin an unfragmented masked text frame without extensions,
    with its length in shortest form and at most 1023 bytes."""
    if at[0] != 0x81:
        return False
    if count < 2:
        return True
    if at[1] & 0x80 == 0 or at[1] == 0xFF:
        return False
    if at[1] != 0xFE or count < 4:
        return True
    return 126 <= (at[2] << 8 | at[3]) <= MESSAGE_LIMIT_BYTES


cdef void unmask(const uint8_t* source, const uint8_t* key, uint8_t* target, Py_ssize_t count) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef uint64_t word, key_word
    memcpy(&key_word, key, 4)
    memcpy(<uint8_t*>&key_word + 4, key, 4)
    while at + 8 <= count:
        memcpy(&word, source + at, 8)
        word ^= key_word
        memcpy(target + at, &word, 8)
        at += 8
    while at < count:
        target[at] = source[at] ^ key[at & 3]
        at += 1


@cython.final
cdef class WebSocketFastPath:
    """Scans the frames that a WebSocket received, and passes a call's media to its ``MediaFastPath``.

    Loop thread only.

    :param clock: seconds, the ``now`` of the call's events
    :param on_step: called with the first step that received bytes require; its exceptions propagate

    The bytes must start at the beginning of a frame. A transport calls ``data_received(data)``: no Python code runs for
    a message that is taken and requires no action. Steps are 1, when ``handed()`` is to be given to the WebSocket
    implementation, and 2, when ``attend()`` is to be called; ``go_on()`` gives the next, until it is 0. It is 3 when
    this turn's share is used up, 16 KiB or 16 frames handed over: the rest waits for ``next_turn()``, and data received
    meanwhile is appended to it.

    Everything not taken is handed over unchanged, in order, as soon as it can no longer be the beginning of media.
    At most 1030 bytes are held back; ``held()`` gives them
    at the end of the data. Nothing is validated here: after a protocol error or a close frame, call
    ``expect_close()``.
    """

    cdef object clock, on_step
    cdef MediaFastPath call
    cdef double now
    cdef bytes data  # being scanned
    cdef Py_ssize_t at, handed_to  # in data: end of what was scanned; of what was taken or handed over
    cdef Py_ssize_t turn_end  # in data: how far this turn goes
    cdef int frames_left  # that may be handed over in this turn
    cdef bint waits  # the rest is for the next turn
    cdef bytes kept  # the beginning of a frame that may be media
    cdef uint8_t head[HEAD_LIMIT_BYTES]  # of the frame being handed over, until complete
    cdef Py_ssize_t head_count
    cdef uint64_t left  # missing payload bytes of the frame being handed over
    cdef bint in_fragments
    cdef bint closing, skips  # whether only close frames are handed over; whether this frame is skipped

    def __cinit__(self, clock, on_step):
        self.clock, self.on_step = clock, on_step
        self.data = self.kept = b""

    def bind(self, MediaFastPath call):
        """Sets whose media is taken from now on; None: everything is handed over."""
        if self.call is None and call is not None:
            self.now = self.clock()  # in the middle of a turn, which has not read the clock
        self.call = call

    def expect_close(self):
        """Takes nothing more, and from the next frame on hands over only close frames; others are dropped, at the cost
        of reading their heads."""
        self.call = None
        self.closing = True

    def data_received(self, bytes data not None):
        """Processes data from the transport. Calls ``on_step`` if the first step is not 0."""
        if self.waits:
            self.data += data
            return
        self.data = self.kept + data if self.kept else data
        self.kept = b""
        self.at = self.handed_to = 0
        cdef Step step = self.begin_turn()
        if step != DONE:
            self.on_step(<int>step)

    def next_turn(self):
        """Continues with waiting data, in another turn of the loop; returns the next step."""
        return <int>self.begin_turn()

    cdef Step begin_turn(self):
        self.waits = False
        self.turn_end = self.at + TURN_BYTES
        self.frames_left = TURN_FRAMES
        if self.call is not None:
            self.now = self.clock()
        return self.next_step()

    def resume(self):
        """Returns the next step: 0 to 3."""
        return <int>self.next_step()

    cdef Step next_step(self):
        cdef Step step = self.walk(<const uint8_t*>PyBytes_AS_STRING(self.data), len(self.data))
        if step == HOLD:
            self.kept = self.data[self.at:]
            step = DONE
        if step == DONE:
            self.data = b""
        self.waits = step == LATER
        return step

    def take_passthrough(self):
        """The bytes to hand over."""
        cdef Py_ssize_t start = self.handed_to
        self.handed_to = self.at
        return self.data if start == 0 and self.at == len(self.data) else self.data[start:self.at]

    def take_partial(self):
        """Returns and forgets the held-back bytes, which precede those received next."""
        kept, self.kept = self.kept, b""
        return kept

    def dispatch(self):
        """Calls the callbacks that the message just taken requires; their exceptions propagate."""
        if self.call is not None:
            self.call.dispatch()

    cdef Step walk(self, const uint8_t* data, Py_ssize_t size) noexcept nogil:
        cdef const uint8_t* frame
        cdef Py_ssize_t rest, head
        cdef Outcome outcome
        while self.at < size and self.at < self.turn_end:
            frame, rest = data + self.at, size - self.at
            if self.closing and self.left == 0 and self.head_count == 0:
                if self.handed_to < self.at:
                    return HAND_OVER
                self.skips = frame[0] & 0x0F != CLOSE_OPCODE
            if self.left or self.head_count or self.call is None or self.in_fragments or not may_be_media(frame, rest):
                self.skip_frame(frame, rest if rest < self.turn_end - self.at else self.turn_end - self.at)
                if self.skips:
                    self.handed_to = self.at
                elif self.left == 0 and self.head_count == 0:
                    return HAND_OVER  # by itself: it may change how the next one is handled
                continue
            head = head_bytes(frame, rest)
            if rest < head or rest - head < <Py_ssize_t>payload_bytes(frame):
                return HOLD
            outcome = self.take(frame, head)
            self.at += head + <Py_ssize_t>payload_bytes(frame)
            if outcome == REFUSED:
                self.count_frame()
                return HAND_OVER
            self.handed_to = self.at
            if outcome == DISPATCH:
                return CALL
        if self.handed_to < self.at:
            return HAND_OVER
        return LATER if self.at < size else DONE

    cdef Outcome take(self, const uint8_t* frame, Py_ssize_t head) noexcept nogil:
        cdef uint8_t message[MESSAGE_LIMIT_BYTES]
        cdef Py_ssize_t length = <Py_ssize_t>payload_bytes(frame)
        unmask(frame + head, frame + head - 4, message, length)
        return self.call.take(<const char*>message, length, self.now)

    cdef void skip_frame(self, const uint8_t* at, Py_ssize_t count) noexcept nogil:
        """Skips over the frame being handed over, to its end or the end of the data."""
        cdef Py_ssize_t taken = 0
        if self.left == 0:
            while taken < count and (self.head_count < 2 or self.head_count < head_bytes(self.head, self.head_count)):
                self.head[self.head_count] = at[taken]
                self.head_count += 1
                taken += 1
            if self.head_count < 2 or self.head_count < head_bytes(self.head, self.head_count):
                self.at += taken
                return
            self.head_count = 0
            self.left = payload_bytes(self.head)
            # Text and binary frames open a message and continuations end it; control frames (8 and above) do neither.
            if self.head[0] & 0x0F < 8:
                self.in_fragments = self.head[0] & 0x80 == 0
        cdef Py_ssize_t payload = count - taken if <uint64_t>(count - taken) < self.left else <Py_ssize_t>self.left
        self.left -= payload
        self.at += taken + payload
        if self.left == 0 and not self.skips:
            self.count_frame()

    cdef void count_frame(self) noexcept nogil:
        """The end of a frame being handed over."""
        self.frames_left -= 1
        if self.frames_left == 0:
            self.turn_end = self.at
