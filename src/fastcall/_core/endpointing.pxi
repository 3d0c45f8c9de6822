# The part of endpointing that runs for every frame. Included by _codec.pyx; audio/endpointing.py describes the rule.

cdef enum:
    VOICE_FRAME_SAMPLES = 160  # 20 ms
    WINDOW_LIMIT_FRAMES = 256  # a power of two
    # So long without a frame of the caller's voice, and what was heard before it counts for no interruption.
    RUN_GAP_FRAMES = 8

# What a frame is.
cdef enum Voice:
    NO_VOICE, VOICE, BACKGROUND

cdef enum Change:
    NOTHING, BEGAN, ENDED, TOO_LONG, BACKGROUND_ONLY, LOUD, PAUSED
    TONE  # from the gate, not from the rule

# The newest frames, voiced or not.
cdef struct Window:
    uint8_t voiced[WINDOW_LIMIT_FRAMES]
    int limit
    int frames
    int next
    int voiced_frames  # among the newest ``limit``


cdef void window_add(Window* window, bint voiced) noexcept nogil:
    if window.frames >= window.limit:
        window.voiced_frames -= window.voiced[(window.next - window.limit) & (WINDOW_LIMIT_FRAMES - 1)]
    if window.frames < WINDOW_LIMIT_FRAMES:
        window.frames += 1
    window.voiced[window.next] = voiced
    window.voiced_frames += voiced
    window.next = (window.next + 1) & (WINDOW_LIMIT_FRAMES - 1)


cdef void window_resize(Window* window, int limit) noexcept nogil:
    cdef int index
    window.limit = limit
    window.voiced_frames = 0
    for index in range(min(limit, window.frames)):
        window.voiced_frames += window.voiced[(window.next - 1 - index) & (WINDOW_LIMIT_FRAMES - 1)]


cdef void window_clear(Window* window) noexcept nogil:
    window.frames = window.next = window.voiced_frames = 0


cdef int window_since_first_voiced(const Window* window) noexcept nogil:
    """Frames from the oldest voiced one to the newest."""
    cdef int left = min(window.limit, window.frames)
    while left > 0 and not window.voiced[(window.next - left) & (WINDOW_LIMIT_FRAMES - 1)]:
        left -= 1
    return left


cdef bint window_is_silent(const Window* window, int allowed) noexcept nogil:
    return window.frames >= window.limit and window.voiced_frames <= allowed


@cython.final
cdef class EndpointRule:
    """Detects utterances from frames of 20 ms: the caller's voice, voice in the background, or none. Pure; one thread;
    keeps the GIL.

    The caller's voice begins an utterance. It ends by silence; and later, by ``background_frames``, if only background
    voice goes on.

    :param onset_frames: how many frames of the caller's voice begin an utterance ...
    :param onset_window_frames: ... among this many of the newest
    :param hangover_frames: the window at the end of an utterance, which ends when in it ...
    :param hangover_voiced_frames: ... at most this many are voiced
    :param settle_samples: frames that end at or before this count as unvoiced
    :param preroll_samples: audio before the onset that belongs to the utterance
    :param max_samples: an utterance of this length is ended
    :param background_frames: how much longer the window is in which background voice does not count
    :raises ValueError: a window is not of 1 to 256 frames
    """

    cdef Window onset
    cdef Window hangover  # any voice
    cdef Window foreground  # the caller's
    cdef int needed, allowed, more
    cdef int default_frames, default_allowed
    cdef int64_t until  # the caller's voice after it brings the default window back
    cdef int64_t settle, preroll, longest
    cdef bint speaking
    cdef int64_t start, voice, last_voiced, last_caller, floor
    cdef int quiet, pause  # frames since the caller's voice, and how many are reported
    cdef int run, gap, loud  # the caller's voice: frames without a gap, frames since then, and how many are reported
    cdef int64_t newest, run_start
    cdef bint heard
    cdef double last_audio

    def __cinit__(
        self,
        *,
        int onset_frames,
        int onset_window_frames,
        int hangover_frames,
        int hangover_voiced_frames,
        int64_t settle_samples,
        int64_t preroll_samples,
        int64_t max_samples,
        int background_frames=0,
    ):
        if not 1 <= onset_window_frames <= WINDOW_LIMIT_FRAMES:
            raise ValueError(f"a window must be of 1 to {WINDOW_LIMIT_FRAMES} frames")
        self.onset.limit, self.needed = onset_window_frames, onset_frames
        self.more = background_frames
        self.set_hangover(hangover_frames, hangover_voiced_frames)
        self.default_frames, self.default_allowed = hangover_frames, hangover_voiced_frames
        self.settle, self.preroll, self.longest = settle_samples, preroll_samples, max_samples

    @property
    def in_speech(self):
        """Whether an utterance is open."""
        return self.speaking

    @property
    def start_sample(self):
        """Where the newest utterance begins, including its pre-roll."""
        return self.start

    @property
    def voice_sample(self):
        """Where its voice begins."""
        return self.voice

    @property
    def last_voiced_sample(self):
        """End of its newest voiced frame."""
        return self.last_voiced

    @property
    def last_caller_sample(self):
        """End of the newest frame of the caller's voice in it."""
        return self.last_caller

    @property
    def last_audio_s(self):
        """When the newest frame arrived, by the caller's clock; None before the first."""
        return self.last_audio if self.heard else None

    @property
    def voice_run_frames(self):
        """How many frames of the caller's voice the newest run of it has; gaps below 160 ms do not end one."""
        return self.run

    @property
    def quiet_frames(self):
        """Frames since the newest one of the caller's voice, in an utterance."""
        return self.quiet

    @property
    def run_sample(self):
        """Where that run begins."""
        return self.run_start

    @property
    def heard_samples(self):
        """Where the newest frame ends."""
        return self.newest

    def set_hangover(self, int frames, int voiced_frames, /, int64_t until_sample=-1):
        """Changes the window at the end of the open utterance; the newest frames are in it already.

        :param voiced_frames: how many in it may be voiced
        :param until_sample: if the caller's voice goes on after this, the utterance gets its first window back; -1: it
            keeps this one
        :raises ValueError: the window is not of 1 to 256 frames
        """
        if not (1 <= frames <= WINDOW_LIMIT_FRAMES and 1 <= frames + self.more <= WINDOW_LIMIT_FRAMES):
            raise ValueError(f"a window must be of 1 to {WINDOW_LIMIT_FRAMES} frames")
        self.until = until_sample
        self.resize(frames, voiced_frames)

    def report_run(self, int frames, /):
        """Report when a run of the caller's voice in an utterance has ``frames``; 0: never."""
        self.loud = frames

    def report_pause(self, int frames, /):
        """Report when the caller's voice has paused for ``frames`` in an utterance; 0: never."""
        self.pause = frames

    def feed(self, int voice, int64_t end_sample, double now, /):
        """One frame that ends at ``end_sample``; frames come in order.

        :param voice: 0: none; 1 (or True): the caller's; 2: background voice
        :return: 0: nothing changed; 1: an utterance began; 2: it ended by its hangover; 3: because it is too long; 4:
            by its hangover, but background voice goes on; 5: a run of the caller's voice is as long as ``report_run``
            asks; 6: a pause is as long as ``report_pause`` asks
        """
        return <int>self.step(<Voice>voice, end_sample, now)

    def end(self):
        """Ends the utterance, where its voice ended."""
        self.stop()

    cdef Change step(self, Voice voice, int64_t end_sample, double now) noexcept nogil:
        self.heard = True
        self.last_audio = now
        self.newest = end_sample
        if end_sample <= self.settle:
            voice = NO_VOICE
        self.count_run(voice, end_sample)
        if not self.speaking:
            window_add(&self.onset, voice == VOICE)
            if voice != VOICE or self.onset.voiced_frames < self.needed:
                return NOTHING
            self.begin(end_sample)
            return BEGAN
        window_add(&self.hangover, voice != NO_VOICE)
        window_add(&self.foreground, voice == VOICE)
        if voice != NO_VOICE:
            self.last_voiced = end_sample
        self.quiet = 0 if voice == VOICE else self.quiet + 1
        if voice == VOICE:
            self.last_caller = end_sample
            if 0 <= self.until < end_sample:
                self.reset_hangover()
        if end_sample - self.start >= self.longest:
            self.stop()
            return TOO_LONG
        if window_is_silent(&self.hangover, self.allowed):
            self.stop()
            return ENDED
        if self.more and window_is_silent(&self.foreground, self.allowed):
            self.last_voiced = self.last_caller
            self.stop()
            return BACKGROUND_ONLY
        if self.quiet == self.pause and self.pause:
            return PAUSED
        return LOUD if voice == VOICE and self.run == self.loud else NOTHING

    cdef void resize(self, int frames, int allowed) noexcept nogil:
        self.allowed = allowed
        window_resize(&self.hangover, frames)
        window_resize(&self.foreground, frames + self.more)

    cdef void reset_hangover(self) noexcept nogil:
        self.until = -1
        self.resize(self.default_frames, self.default_allowed)

    cdef void count_run(self, Voice voice, int64_t end_sample) noexcept nogil:
        if voice == VOICE:
            if self.run == 0:
                self.run_start = end_sample - VOICE_FRAME_SAMPLES
            self.run += 1
            self.gap = 0
        elif self.run:
            self.gap += 1
            if self.gap == RUN_GAP_FRAMES:
                self.run = self.gap = 0

    cdef void begin(self, int64_t end_sample) noexcept nogil:
        cdef int64_t voice = end_sample - window_since_first_voiced(&self.onset) * VOICE_FRAME_SAMPLES
        self.start = max(self.floor, voice - self.preroll, 0)
        self.voice = max(voice, self.start)
        self.last_voiced = self.last_caller = end_sample
        self.speaking = True
        self.quiet = 0
        window_clear(&self.hangover)
        window_clear(&self.foreground)
        window_clear(&self.onset)
        self.reset_hangover()

    cdef void stop(self) noexcept nogil:
        self.speaking = False
        self.floor = self.last_voiced
        window_clear(&self.onset)
