# Tells the caller's voice from others in the background, by loudness. Included by _codec.pyx.
#
# Babble, a television, hold music and the echo of the agent lie 14 dB and more below the caller. So a frame in which
# the detector hears voice is the caller's if it is not much weaker than the caller was, and clearly above the line's
# noise.
# All levels are powers (mean squares), so that a frame costs no logarithm.
#
# It also hears a steady tone, the beep of a voicemail: frames of the same loudness that are one tone of the same
# pitch, after which the line is quiet. Loudness alone is not enough: noise is as steady for 400 ms. Only frames as loud
# as the ones before them are looked at for a tone, which are few in speech.

from libc.math cimport pow as c_pow, log10

cdef extern from "foreground.h" nogil:
    float fastcall_power(const int16_t* pcm, int samples) noexcept
    float fastcall_tone(const int16_t* pcm, int samples, float least_ratio) noexcept

cdef enum:
    # The noise floor is the least power within the newest one to two of these.
    FLOOR_WINDOW_FRAMES = 40
    # The detector's own noise floor needs as long to settle.
    GATE_SETTLE_FRAMES = 6
    # A tone of 200 ms has as many after its first whole one.
    TONE_FRAMES = 8
    # So many are only compared in loudness, which is cheaper.
    TONE_UNTESTED_FRAMES = 2
    # So soon after a beep the line is quiet. A melody, and a vowel, go on.
    TONE_FALL_FRAMES = 3

cdef double FULL_SCALE = 32768.0 * 32768.0
cdef float FLOOR_SMOOTHING = 0.5
# How fast the caller's level rises towards louder frames, and sinks while there is voice: 0.3 dB a second.
cdef float LEVEL_ATTACK = 0.3
cdef float LEVEL_DECAY = <float>c_pow(10, -0.3 / 10 / 50)

# The frames of a tone: at most 0.6 dB louder or weaker than the one before, ...
cdef float TONE_STEADY = <float>c_pow(10, 0.6 / 10)
# ... 17 dB above all else in them, ...
cdef float TONE_RATIO = 50
# ... above 350 Hz, where voices hum and mains do, and of one pitch (within 56 Hz at 440 Hz, 21 Hz at 1,400).
cdef float TONE_COSINE = 0.9625
cdef float TONE_SAME_COSINE = 0.015
# How far the loudness falls at its end: 10 dB.
cdef float TONE_FALL = 0.1


cdef float power_of(double dbfs) noexcept:
    return <float>(FULL_SCALE * c_pow(10, dbfs / 10))


cdef double dbfs_of(float power) noexcept:
    return 10 * log10(power / FULL_SCALE) if power > 0 else -100.0


@cython.final
cdef class ForegroundGate:
    """Judges the frames of a call in which a detector hears voice. Pure; one thread; keeps the GIL.

    Levels are in dBFS: 0 is a full-scale square wave.

    :param caller_db: how far below the caller's level the caller's own voice may lie
    :param background_db: how far below it a voice lies that is no voice any more
    :param least_dbfs: what is weaker is no voice
    :param above_floor_db: how far above the noise floor voice is, at least
    :param first_level_dbfs: the caller's level before anything was heard, and the least
    :param echo_db: while the agent is heard, the caller's voice lies at most so far below the agent's loudest
    :param first_agent_dbfs: the agent's level before any of its audio was sent
    :param least_tone_dbfs: a tone that is weaker is none
    """

    cdef float caller_share, background_share, least, above_floor, first_level, echo_share
    cdef float level, agent
    cdef bint is_agent_heard
    cdef float smoothed, minimum, older_minimum
    cdef int frames, window_frames
    cdef float least_tone
    cdef float before  # the power of the frame before
    cdef float cosine  # the pitch of the tone that may be going on
    cdef int steady  # frames of the tone that may be going on, without its first
    cdef int fall  # how many more frames after a tone may be the quiet one
    cdef float ended  # that tone's power ...
    cdef int ended_frames  # ... and length
    cdef bint is_tone_over  # with this frame
    cdef int newest_tone, since_tone

    def __cinit__(
        self,
        *,
        double caller_db,
        double background_db,
        double least_dbfs,
        double above_floor_db,
        double first_level_dbfs,
        double echo_db,
        double first_agent_dbfs,
        double least_tone_dbfs=-40,
    ):
        self.caller_share = <float>c_pow(10, -caller_db / 10)
        self.background_share = <float>c_pow(10, -background_db / 10)
        self.least = power_of(least_dbfs)
        self.above_floor = <float>c_pow(10, above_floor_db / 10)
        self.first_level = self.level = power_of(first_level_dbfs)
        self.agent = power_of(first_agent_dbfs)
        self.echo_share = <float>c_pow(10, -echo_db / 10)
        self.least_tone = power_of(least_tone_dbfs)
        self.minimum = self.older_minimum = <float>FULL_SCALE
        self.smoothed = <float>FULL_SCALE

    @property
    def level_dbfs(self):
        """How loud the caller's voice is."""
        return dbfs_of(self.level)

    @property
    def floor_dbfs(self):
        """How loud the line is when nobody speaks."""
        return dbfs_of(min(self.minimum, self.older_minimum))

    @property
    def agent_dbfs(self):
        """How loud the agent is, by what was sent."""
        return dbfs_of(self.agent)

    @property
    def tone_frames(self):
        """How many frames the newest steady tone had that was followed by quiet; 0: there was none."""
        return self.newest_tone

    @property
    def frames_since_tone(self):
        """How many frames came after it."""
        return self.since_tone

    def agent_sends(self, codes, /):
        """Some of the agent's audio, mu-law; the caller hears it now or soon."""
        cdef Py_buffer source
        hold(&source, codes, PyBUF_SIMPLE, False)
        try:
            with nogil:
                self.note_agent(<const uint8_t*>source.buf, source.len)
        finally:
            PyBuffer_Release(&source)

    def agent_speaks(self):
        """The agent is heard from now on."""
        self.is_agent_heard = True

    def agent_silent(self):
        """The agent is not heard any more."""
        self.is_agent_heard = False

    def feed(self, pcm, bint voiced, /):
        """One frame of 160 samples: 0: no voice, 1: the caller's, 2: background voice.

        :param pcm: 320 bytes of LINEAR16
        :param voiced: whether the detector hears voice in it
        :raises ValueError: another length
        """
        cdef Py_buffer source
        hold(&source, pcm, PyBUF_SIMPLE, False)
        try:
            if source.len != 2 * VOICE_FRAME_SAMPLES:
                raise ValueError(f"{source.len} bytes: a frame has {2 * VOICE_FRAME_SAMPLES}")
            return self.judge(<const int16_t*>source.buf, voiced)
        finally:
            PyBuffer_Release(&source)

    cdef Voice judge(self, const int16_t* pcm, bint voiced) noexcept nogil:
        cdef float power = fastcall_power(pcm, VOICE_FRAME_SAMPLES)
        cdef float weakest, callers
        self.note_tone(pcm, power)
        self.note_floor(power)
        if not voiced or self.frames <= GATE_SETTLE_FRAMES:
            return NO_VOICE
        weakest = max(self.least, self.above_floor * min(self.minimum, self.older_minimum))
        callers = max(weakest, self.level * self.caller_share)
        if self.is_agent_heard:
            callers = max(callers, self.agent * self.echo_share)
        weakest = max(weakest, self.level * self.background_share)
        self.level = max(self.first_level, self.level * LEVEL_DECAY)
        if power <= weakest:
            return NO_VOICE
        if power <= callers:
            return BACKGROUND
        if power > self.level:
            self.level += LEVEL_ATTACK * (power - self.level)
        return VOICE

    cdef void note_agent(self, const uint8_t* codes, Py_ssize_t samples) noexcept nogil:
        cdef int16_t pcm[VOICE_FRAME_SAMPLES]
        cdef float power
        while samples >= VOICE_FRAME_SAMPLES:
            kernels.mulaw_decode(codes, pcm, VOICE_FRAME_SAMPLES)
            power = fastcall_power(pcm, VOICE_FRAME_SAMPLES)
            if power > self.agent:
                self.agent += LEVEL_ATTACK * (power - self.agent)
            else:
                self.agent *= LEVEL_DECAY
            codes += VOICE_FRAME_SAMPLES
            samples -= VOICE_FRAME_SAMPLES

    cdef void note_tone(self, const int16_t* pcm, float power) noexcept nogil:
        cdef int steady = 0
        cdef float cosine
        self.is_tone_over = False
        self.since_tone += 1
        if power > self.least_tone and self.before < power * TONE_STEADY and power < self.before * TONE_STEADY:
            steady = self.steady + 1
            if steady > TONE_UNTESTED_FRAMES:
                cosine = fastcall_tone(pcm, VOICE_FRAME_SAMPLES, TONE_RATIO)
                if cosine > TONE_COSINE or (steady > TONE_UNTESTED_FRAMES + 1 and not self.is_same(cosine)):
                    steady = 0
                if steady <= TONE_UNTESTED_FRAMES + 1:
                    self.cosine = cosine
        if steady == 0 and self.steady >= TONE_FRAMES:
            self.fall, self.ended, self.ended_frames = TONE_FALL_FRAMES, self.before, self.steady + 1
        self.steady, self.before = steady, power
        if self.fall:
            if power < self.ended * TONE_FALL:
                self.is_tone_over = True
                self.newest_tone, self.since_tone = self.ended_frames, 1 + TONE_FALL_FRAMES - self.fall
                self.fall = 0
            else:
                self.fall -= 1

    cdef bint is_same(self, float cosine) noexcept nogil:
        return self.cosine - TONE_SAME_COSINE < cosine and cosine < self.cosine + TONE_SAME_COSINE

    cdef void note_floor(self, float power) noexcept nogil:
        self.smoothed = power if power < self.smoothed else self.smoothed + FLOOR_SMOOTHING * (power - self.smoothed)
        self.minimum = min(self.minimum, self.smoothed)
        self.frames += self.frames <= GATE_SETTLE_FRAMES
        self.window_frames += 1
        if self.window_frames == FLOOR_WINDOW_FRAMES:
            self.older_minimum, self.minimum = self.minimum, <float>FULL_SCALE
            self.window_frames = 0
