# Splits a call's audio into frames of 20 ms, for the voice detector. Included by _codec.pyx.

# A detector's optional native function: 1 = voice, 0 = none, else it failed. It must not need the GIL.
ctypedef int (*NativeDetector)(void* state, int rate_hz, const int16_t* pcm, size_t samples) noexcept nogil

cdef enum:
    VOICE_RATE_HZ = 8000
    # How much of a silence the detector receives. webrtcvad reports voice for at most 14 frames (280 ms) after voice,
    # and its filters' state does not change after the first frames of digital silence.
    ASKED_SILENCE_SAMPLES = 4000
    MULAW_SILENCE_CODE = 0xFF

# What ``take`` returns besides a ``Voice``.
cdef enum:
    FAILED = -1
    INCOMPLETE = -2


@cython.final
cdef class VadFramer:
    """Decodes mu-law and passes each 20 ms to a call's voice detector. One thread; keeps the GIL.

    :param detector: has ``is_speech(pcm)``, which accepts 320 bytes of LINEAR16; kept alive
    :param native: addresses of a C function ``int f(void *state, int rate_hz, const int16_t *pcm, size_t samples)`` and
        of its ``state``, equivalent to ``is_speech``; then no Python objects are created for frames. They must be
        valid as long as ``detector`` exists
    :param gate: tells the caller's voice from others in the background; None: all voice is the caller's
    """

    cdef object detector
    cdef NativeDetector native
    cdef void* state
    cdef ForegroundGate gate  # or None
    cdef object error  # raised by the detector or a callback, until it is reported
    cdef uint8_t part[VOICE_FRAME_SAMPLES]  # the incomplete next frame
    cdef Py_ssize_t part_samples
    cdef int64_t processed

    def __cinit__(self, detector, native=None, ForegroundGate gate=None):
        cdef size_t function, state
        self.detector = detector
        self.gate = gate
        if native is not None:
            function, state = native
            if function == 0 or state == 0:
                raise ValueError("native: an address must not be 0")
            self.native, self.state = <NativeDetector>function, <void*>state

    @property
    def processed_samples(self):
        """Samples passed to the detector."""
        return self.processed

    @property
    def pending(self):
        """The mu-law codes of the incomplete frame: 0 to 159 bytes."""
        return PyBytes_FromStringAndSize(<const char*>self.part, self.part_samples)

    def process(
        self,
        EndpointRule endpoint not None,
        Py_ssize_t silence_samples,
        bytes codes not None,
        double now,
        on_change,
        /,
    ):
        """Processes ``silence_samples`` of silence and then mu-law ``codes``: each complete frame goes to the detector,
        and its result to ``endpoint``. The detector receives only the first 500 ms of silence; the rest is no voice.

        :param now: time of arrival, for ``endpoint``
        :param on_change: called with what ``EndpointRule.feed`` returned, if that was not 0, before the next frame; and
            with 7 when the gate has heard the end of a steady tone
        :raises ValueError: ``silence_samples`` is negative
        :raises Exception: raised by the detector or ``on_change``; the rest of the audio is not processed
        """
        if silence_samples < 0:
            raise ValueError(f"silence_samples={silence_samples}: must not be negative")
        cdef uint8_t silence[VOICE_FRAME_SAMPLES]
        cdef Py_ssize_t asked = min(silence_samples, <Py_ssize_t>ASKED_SILENCE_SAMPLES)
        memset(silence, MULAW_SILENCE_CODE, VOICE_FRAME_SAMPLES)
        if not (
            self.ask_all(silence, 0, asked, endpoint, now, on_change)
            and self.pass_over(silence_samples - asked, endpoint, now, on_change)
            and self.ask_all(
                <const uint8_t*>PyBytes_AS_STRING(codes), VOICE_FRAME_SAMPLES, len(codes), endpoint, now, on_change
            )
        ):
            self.raise_error()

    cdef bint ask_all(
        self,
        const uint8_t* codes,
        Py_ssize_t stride,
        Py_ssize_t samples,
        EndpointRule endpoint,
        double now,
        object on_change,
    ) noexcept nogil:
        """Passes samples to the detector, ``stride`` codes per frame of 160. Returns whether nothing failed."""
        cdef int voice
        while samples > 0:
            voice = self.take(codes, samples if samples < VOICE_FRAME_SAMPLES else VOICE_FRAME_SAMPLES)
            if voice == FAILED or (voice != INCOMPLETE and not self.step(<Voice>voice, endpoint, now, on_change)):
                return False
            if voice != INCOMPLETE and self.hears_tone_end():
                with gil:
                    if not self.call_back(on_change, <int>TONE):
                        return False
            codes += stride
            samples -= VOICE_FRAME_SAMPLES
        return True

    cdef bint pass_over(
        self, Py_ssize_t silence_samples, EndpointRule endpoint, double now, object on_change
    ) noexcept nogil:
        """Silence after the first 500 ms: no voice, and no effect on the detector's state."""
        if silence_samples == 0:
            return True
        cdef Py_ssize_t left = self.part_samples + silence_samples
        memset(self.part, MULAW_SILENCE_CODE, VOICE_FRAME_SAMPLES)  # its beginning was silence, too
        while left >= VOICE_FRAME_SAMPLES:
            left -= VOICE_FRAME_SAMPLES
            self.part_samples = 0
            self.processed += VOICE_FRAME_SAMPLES
            if not self.step(NO_VOICE, endpoint, now, on_change):
                return False
        self.part_samples = left
        return True

    cdef bint step(self, Voice voice, EndpointRule endpoint, double now, object on_change) noexcept nogil:
        cdef Change change = endpoint.step(voice, self.processed, now)
        if change == NOTHING:
            return True
        with gil:
            return self.call_back(on_change, <int>change)

    cdef bint call_back(self, object on_change, int change) noexcept:
        try:
            on_change(change)
            return True
        except BaseException as error:
            self.error = error
            return False

    cdef bint hears_tone_end(self) noexcept nogil:
        """Whether a steady tone was over with the newest frame."""
        return self.gate is not None and self.gate.is_tone_over

    cdef bint has_room(self, Py_ssize_t samples) noexcept nogil:
        """Whether ``samples`` more complete at most one frame."""
        return self.part_samples + samples < 2 * VOICE_FRAME_SAMPLES

    cdef int take(self, const uint8_t* codes, Py_ssize_t samples) noexcept nogil:
        """Adds codes that fit. Returns what kind of ``Voice`` the frame is that they complete, ``INCOMPLETE`` if they
        complete none, ``FAILED`` if the detector did."""
        cdef Py_ssize_t missing = VOICE_FRAME_SAMPLES - self.part_samples
        cdef int voice
        if samples < missing:
            memcpy(self.part + self.part_samples, codes, samples)
            self.part_samples += samples
            return INCOMPLETE
        if self.part_samples:
            memcpy(self.part + self.part_samples, codes, missing)
            voice = self.ask(self.part)
        else:
            voice = self.ask(codes)
        self.part_samples = samples - missing
        memcpy(self.part, codes + missing, self.part_samples)
        return voice

    cdef int ask(self, const uint8_t* codes) noexcept nogil:
        cdef int16_t pcm[VOICE_FRAME_SAMPLES]
        cdef int voiced
        kernels.mulaw_decode(codes, pcm, VOICE_FRAME_SAMPLES)
        self.processed += VOICE_FRAME_SAMPLES
        if self.native != NULL:
            voiced = self.native(self.state, VOICE_RATE_HZ, pcm, VOICE_FRAME_SAMPLES)
        else:
            with gil:
                voiced = self.ask_python(<const char*>pcm)
        if voiced != 0 and voiced != 1:
            return FAILED
        return voiced if self.gate is None else self.gate.judge(pcm, voiced)

    cdef int ask_python(self, const char* pcm) noexcept:
        try:
            return 1 if self.detector.is_speech(PyBytes_FromStringAndSize(pcm, 2 * VOICE_FRAME_SAMPLES)) else 0
        except Exception as error:
            self.error = error
            return FAILED

    cdef int raise_error(self) except -1:
        """Raises the stored error."""
        error, self.error = self.error, None
        raise error if error is not None else RuntimeError("the voice detector failed on a frame")
