# A call's audio in frames of 20 ms, for the voice detector. Included by _codec.pyx.

# What a detector may offer beside its method: 1 = voice, 0 = none, else it failed. It must need no GIL.
ctypedef int (*NativeDetector)(void* state, int rate_hz, const int16_t* pcm, size_t samples) noexcept nogil

cdef enum:
    VOICE_RATE_HZ = 8000


@cython.final
cdef class Ear:
    """Asks a call's voice detector about each 20 ms, decoded from mu-law on the way. One thread; keeps the GIL.

    :param detector: has ``is_speech(pcm)``, which takes 320 bytes of LINEAR16; kept alive
    :param native: addresses of a C function ``int f(void *state, int rate_hz, const int16_t *pcm, size_t samples)`` and
        of its ``state``, which say the same as ``is_speech``; then no Python object is made for a frame. They must be
        valid as long as ``detector`` lives
    """

    cdef object detector
    cdef NativeDetector native
    cdef void* state
    cdef object error  # what the detector raised, until it is told
    cdef uint8_t part[VOICE_FRAME_SAMPLES]  # the beginning of the next frame
    cdef Py_ssize_t part_samples
    cdef int64_t heard

    def __cinit__(self, detector, native=None):
        cdef size_t function, state
        self.detector = detector
        if native is not None:
            function, state = native
            if function == 0 or state == 0:
                raise ValueError("native: an address must not be 0")
            self.native, self.state = <NativeDetector>function, <void*>state

    @property
    def heard_samples(self):
        """Samples that the detector was asked about."""
        return self.heard

    @property
    def unheard(self):
        """The mu-law codes that are not yet a whole frame: 0 to 159 bytes. To be set by who calls :meth:`hear`."""
        return PyBytes_FromStringAndSize(<const char*>self.part, self.part_samples)

    @unheard.setter
    def unheard(self, bytes codes not None):
        if len(codes) >= VOICE_FRAME_SAMPLES:
            raise ValueError(f"{len(codes)} codes are a whole frame")
        memcpy(self.part, PyBytes_AS_STRING(codes), len(codes))
        self.part_samples = len(codes)

    def hear(self, bytes codes not None, /):
        """Whether there is voice in this frame: 160 mu-law codes, 20 ms.

        :raises ValueError: not 160 codes
        """
        if len(codes) != VOICE_FRAME_SAMPLES:
            raise ValueError(f"a frame has {VOICE_FRAME_SAMPLES} codes, not {len(codes)}")
        cdef int voiced = self.ask(<const uint8_t*>PyBytes_AS_STRING(codes))
        if voiced < 0:
            self.tell()
        return voiced > 0

    cdef bint has_room(self, Py_ssize_t samples) noexcept nogil:
        """Whether ``samples`` more make one frame whole at most."""
        return self.part_samples + samples < 2 * VOICE_FRAME_SAMPLES

    cdef int take(self, const uint8_t* codes, Py_ssize_t samples) noexcept nogil:
        """Adds codes for which there is room: 1 or 0 = a frame is whole, with voice or without; -1 = it failed;
        2 = no frame is whole."""
        cdef Py_ssize_t missing = VOICE_FRAME_SAMPLES - self.part_samples
        cdef int voiced
        if samples < missing:
            memcpy(self.part + self.part_samples, codes, samples)
            self.part_samples += samples
            return 2
        if self.part_samples:
            memcpy(self.part + self.part_samples, codes, missing)
            voiced = self.ask(self.part)
        else:
            voiced = self.ask(codes)
        self.part_samples = samples - missing
        memcpy(self.part, codes + missing, self.part_samples)
        return voiced

    cdef int ask(self, const uint8_t* codes) noexcept nogil:
        cdef int16_t pcm[VOICE_FRAME_SAMPLES]
        cdef int voiced
        loops.mulaw_decode(codes, pcm, VOICE_FRAME_SAMPLES)
        self.heard += VOICE_FRAME_SAMPLES
        if self.native != NULL:
            voiced = self.native(self.state, VOICE_RATE_HZ, pcm, VOICE_FRAME_SAMPLES)
            return voiced if voiced == 0 or voiced == 1 else -1
        with gil:
            return self.ask_python(<const char*>pcm)

    cdef int ask_python(self, const char* pcm) noexcept:
        try:
            return 1 if self.detector.is_speech(PyBytes_FromStringAndSize(pcm, 2 * VOICE_FRAME_SAMPLES)) else 0
        except Exception as error:
            self.error = error
            return -1

    cdef int tell(self) except -1:
        """Raises what went wrong."""
        error, self.error = self.error, None
        raise error if error is not None else RuntimeError("the voice detector failed on a frame")
