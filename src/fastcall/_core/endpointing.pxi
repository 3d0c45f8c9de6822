# The part of endpointing that runs for every frame. Included by _codec.pyx; audio/endpointing.py describes the rule.

cdef enum:
    VOICE_FRAME_SAMPLES = 160  # 20 ms
    WINDOW_LIMIT_FRAMES = 256

cdef enum Change:
    NOTHING, BEGAN, ENDED, TOO_LONG

# The newest frames, voiced or not.
cdef struct Window:
    uint8_t voiced[WINDOW_LIMIT_FRAMES]
    int limit
    int frames
    int next
    int voiced_frames


cdef void window_add(Window* window, bint voiced) noexcept nogil:
    if window.frames == window.limit:
        window.voiced_frames -= window.voiced[window.next]
    else:
        window.frames += 1
    window.voiced[window.next] = voiced
    window.voiced_frames += voiced
    window.next = window.next + 1 if window.next + 1 < window.limit else 0


cdef void window_clear(Window* window) noexcept nogil:
    window.frames = window.next = window.voiced_frames = 0


cdef int window_since_first_voiced(const Window* window) noexcept nogil:
    """Frames from the oldest voiced one to the newest."""
    cdef int at = window.next - window.frames
    cdef int left = window.frames
    if at < 0:
        at += window.limit
    while left > 0 and not window.voiced[at]:
        at = at + 1 if at + 1 < window.limit else 0
        left -= 1
    return left


@cython.final
cdef class EndpointRule:
    """Detects utterances from voiced and unvoiced frames of 20 ms. Pure; one thread; keeps the GIL.

    :param onset_frames: how many voiced frames begin an utterance ...
    :param onset_window_frames: ... among this many of the newest
    :param hangover_frames: the window at the end of an utterance, which ends when in it ...
    :param hangover_voiced_frames: ... at most this many are voiced
    :param settle_samples: frames that end at or before this count as unvoiced
    :param preroll_samples: audio before the onset that belongs to the utterance
    :param max_samples: an utterance of this length is ended
    :raises ValueError: a window is not of 1 to 256 frames
    """

    cdef Window onset
    cdef Window hangover
    cdef int needed, allowed
    cdef int64_t settle, preroll, longest
    cdef bint speaking
    cdef int64_t start, voice, last_voiced, floor
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
    ):
        if not (1 <= onset_window_frames <= WINDOW_LIMIT_FRAMES and 1 <= hangover_frames <= WINDOW_LIMIT_FRAMES):
            raise ValueError(f"a window must be of 1 to {WINDOW_LIMIT_FRAMES} frames")
        self.onset.limit, self.needed = onset_window_frames, onset_frames
        self.hangover.limit, self.allowed = hangover_frames, hangover_voiced_frames
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
    def last_audio_s(self):
        """When the newest frame arrived, by the caller's clock; None before the first."""
        return self.last_audio if self.heard else None

    def feed(self, bint voiced, int64_t end_sample, double now, /):
        """One frame that ends at ``end_sample``; frames come in order.

        Returns 0: nothing changed; 1: an utterance began; 2: it ended by its hangover; 3: because it is too long.
        """
        return <int>self.step(voiced, end_sample, now)

    def end(self):
        """Ends the utterance."""
        self.stop()

    cdef Change step(self, bint voiced, int64_t end_sample, double now) noexcept nogil:
        self.heard = True
        self.last_audio = now
        if end_sample <= self.settle:
            voiced = False
        if not self.speaking:
            window_add(&self.onset, voiced)
            if not voiced or self.onset.voiced_frames < self.needed:
                return NOTHING
            self.begin(end_sample)
            return BEGAN
        window_add(&self.hangover, voiced)
        if voiced:
            self.last_voiced = end_sample
        if end_sample - self.start >= self.longest:
            self.stop()
            return TOO_LONG
        if self.hangover.frames == self.hangover.limit and self.hangover.voiced_frames <= self.allowed:
            self.stop()
            return ENDED
        return NOTHING

    cdef void begin(self, int64_t end_sample) noexcept nogil:
        cdef int64_t voice = end_sample - window_since_first_voiced(&self.onset) * VOICE_FRAME_SAMPLES
        self.start = max(self.floor, voice - self.preroll, 0)
        self.voice = max(voice, self.start)
        self.last_voiced = end_sample
        self.speaking = True
        window_clear(&self.hangover)
        window_clear(&self.onset)

    cdef void stop(self) noexcept nogil:
        self.speaking = False
        self.floor = self.last_voiced
        window_clear(&self.onset)
