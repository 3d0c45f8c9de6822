# G.711 (ITU-T Recommendation G.711, 11/1988): one sample, and the loops over many. Included by _codec.pyx.
#
# A G.711 code is a small floating-point number: sign, 3 bits of exponent, 4 bits of mantissa. So converting
# an integer to an IEEE 754 float and back finds segment and step without a table or a branch, and compilers
# turn these loops into vector instructions.

cdef extern from *:
    """
    /* A sample at any address: slices of bytes begin at odd addresses too. */
    typedef int16_t sample_t __attribute__((aligned(1), may_alias));

    /* Release builds on x86-64 with glibc hold each loop twice, and the loader takes the one for the processor
       (GNU indirect functions). These declarations only add the attribute to the functions below. */
    #if defined(FASTCALL_RELEASE) && defined(__x86_64__) && defined(__GLIBC__) && defined(__has_attribute)
    #if __has_attribute(target_clones)
    #define FASTCALL_LOOP(name) \\
        __attribute__((target_clones("avx2", "default"))) static void name(const void*, void*, Py_ssize_t)
    FASTCALL_LOOP(fastcall_mulaw_decode);
    FASTCALL_LOOP(fastcall_mulaw_encode);
    FASTCALL_LOOP(fastcall_alaw_decode);
    FASTCALL_LOOP(fastcall_alaw_encode);
    #endif
    #endif
    """
    ctypedef short sample_t

cdef union Float:
    float value
    uint32_t bits


cdef inline int16_t mulaw_to_linear(uint8_t code) noexcept nogil:
    cdef Float scaled
    cdef uint32_t inverted = code ^ 0xFF
    scaled.bits = ((inverted & 0x7F) << 19) + ((127 + 7) << 23) + (1 << 18)
    cdef int32_t magnitude = <int32_t>scaled.value - 132
    cdef int32_t sign = -<int32_t>(inverted >> 7)
    return <int16_t>((magnitude ^ sign) - sign)


cdef inline uint8_t linear_to_mulaw(int16_t sample) noexcept nogil:
    cdef Float scaled
    cdef int32_t step = sample >> 2
    cdef int32_t sign = step >> 31
    step = (step ^ sign) - sign
    step = 8158 if step > 8158 else step
    scaled.value = <float>(step + 33)
    return <uint8_t>(((scaled.bits >> 19) - ((127 + 5) << 4)) ^ (0xFF ^ (sign & 0x80)))


cdef inline int16_t alaw_to_linear(uint8_t code) noexcept nogil:
    cdef Float scaled
    cdef uint32_t inverted = code ^ 0x55
    # The lowest segment has the step of the second one, without its leading bit.
    cdef uint32_t lowest = 1 if (inverted & 0x70) == 0 else 0
    scaled.bits = ((inverted & 0x7F) << 19) + ((127 + 7 + lowest) << 23) + (1 << 18)
    cdef int32_t magnitude = <int32_t>scaled.value - (lowest << 8)
    cdef int32_t sign = <int32_t>(inverted >> 7) - 1
    return <int16_t>((magnitude ^ sign) - sign)


cdef inline uint8_t linear_to_alaw(int16_t sample) noexcept nogil:
    cdef Float scaled
    cdef int32_t step = sample >> 3
    cdef int32_t sign = step >> 31
    step = step ^ sign
    scaled.value = <float>step
    cdef uint32_t code = (scaled.bits >> 19) - ((127 + 4) << 4)
    code = <uint32_t>step >> 1 if step < 32 else code
    return <uint8_t>(code ^ (0xD5 ^ (sign & 0x80)))


ctypedef void (*Loop)(const void* source, void* target, Py_ssize_t samples) noexcept nogil


cdef void mulaw_decode_loop "fastcall_mulaw_decode"(
    const void* source, void* target, Py_ssize_t samples
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(samples):
        (<sample_t*>target)[i] = mulaw_to_linear((<const uint8_t*>source)[i])


cdef void mulaw_encode_loop "fastcall_mulaw_encode"(
    const void* source, void* target, Py_ssize_t samples
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(samples):
        (<uint8_t*>target)[i] = linear_to_mulaw((<const sample_t*>source)[i])


cdef void alaw_decode_loop "fastcall_alaw_decode"(
    const void* source, void* target, Py_ssize_t samples
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(samples):
        (<sample_t*>target)[i] = alaw_to_linear((<const uint8_t*>source)[i])


cdef void alaw_encode_loop "fastcall_alaw_encode"(
    const void* source, void* target, Py_ssize_t samples
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(samples):
        (<uint8_t*>target)[i] = linear_to_alaw((<const sample_t*>source)[i])


cdef void resize_loop(
    const char* source, Py_ssize_t width, char* target, Py_ssize_t new_width, Py_ssize_t samples
) noexcept nogil:
    """PCM of ``width`` bytes a sample to ``new_width``. The bytes that both share are the high, the last ones."""
    cdef Py_ssize_t shared = min(width, new_width)
    cdef Py_ssize_t i
    for i in range(samples):
        memset(target, 0, new_width)
        memcpy(target + new_width - shared, source + width - shared, shared)
        source += width
        target += new_width
