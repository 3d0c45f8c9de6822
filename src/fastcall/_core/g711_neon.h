/* The vector loops of G.711 for 64-bit Arm, which can shift each lane by its own count and count leading zeros,
   so that no tables are needed. Included by g711.h. As on x86, the last vector may overlap the previous one. */

#define FASTCALL_WIDTH 8

/* `high` bits 0 to 2: the segment. magnitude << exponent, by lane. */
static inline int16x8_t fastcall_signed(int16x8_t magnitude, uint16x8_t negative) {
    int16x8_t mask = vreinterpretq_s16_u16(negative);
    return vsubq_s16(veorq_s16(magnitude, mask), mask);
}

static inline int16x8_t fastcall_mulaw_decode_8(uint16x8_t code) {
    uint16x8_t inverted = veorq_u16(code, vdupq_n_u16(0xFF));
    uint16x8_t mantissa = vshlq_n_u16(vandq_u16(inverted, vdupq_n_u16(15)), 3);
    uint16x8_t segment = vandq_u16(vshrq_n_u16(inverted, 4), vdupq_n_u16(7));
    uint16x8_t scaled = vshlq_u16(vaddq_u16(mantissa, vdupq_n_u16(132)), vreinterpretq_s16_u16(segment));
    int16x8_t magnitude = vsubq_s16(vreinterpretq_s16_u16(scaled), vdupq_n_s16(132));
    return fastcall_signed(magnitude, vtstq_u16(inverted, vdupq_n_u16(0x80)));
}

static inline int16x8_t fastcall_alaw_decode_8(uint16x8_t code) {
    uint16x8_t inverted = veorq_u16(code, vdupq_n_u16(0x55));
    uint16x8_t mantissa = vshlq_n_u16(vandq_u16(inverted, vdupq_n_u16(15)), 4);
    uint16x8_t segment = vandq_u16(vshrq_n_u16(inverted, 4), vdupq_n_u16(7));
    uint16x8_t upper = vtstq_u16(segment, segment); /* all but the lowest segment have a leading bit, and shift */
    mantissa = vaddq_u16(mantissa, vaddq_u16(vdupq_n_u16(8), vandq_u16(upper, vdupq_n_u16(256))));
    int16x8_t shift = vaddq_s16(vreinterpretq_s16_u16(segment), vreinterpretq_s16_u16(upper));
    int16x8_t magnitude = vreinterpretq_s16_u16(vshlq_u16(mantissa, shift));
    return fastcall_signed(magnitude, vceqq_u16(vandq_u16(inverted, vdupq_n_u16(0x80)), vdupq_n_u16(0)));
}

/* ((shift - 1) << 4) + (magnitude >> shift), which is exponent and mantissa in one, by lane. */
static inline uint16x8_t fastcall_code_8(uint16x8_t magnitude, int16x8_t shift) {
    uint16x8_t exponent = vreinterpretq_u16_s16(vshlq_n_s16(vsubq_s16(shift, vdupq_n_s16(1)), 4));
    return vaddq_u16(exponent, vshlq_u16(magnitude, vnegq_s16(shift)));
}

static inline uint8x8_t fastcall_mulaw_encode_8(int16x8_t sample) {
    int16x8_t step = vminq_s16(vabsq_s16(vshrq_n_s16(sample, 2)), vdupq_n_s16(8158));
    uint16x8_t magnitude = vreinterpretq_u16_s16(vaddq_s16(step, vdupq_n_s16(33)));
    int16x8_t zeros = vreinterpretq_s16_u16(vclzq_u16(magnitude));
    uint16x8_t code = fastcall_code_8(magnitude, vsubq_s16(vdupq_n_s16(11), zeros));
    code = veorq_u16(vsubq_u16(code, vdupq_n_u16(16)), vdupq_n_u16(0xFF));
    uint16x8_t sign = vandq_u16(vreinterpretq_u16_s16(sample), vdupq_n_u16(0x8000));
    return vmovn_u16(veorq_u16(code, vshrq_n_u16(sign, 8)));
}

static inline uint8x8_t fastcall_alaw_encode_8(int16x8_t sample) {
    int16x8_t step = vshrq_n_s16(sample, 3);
    uint16x8_t magnitude = vreinterpretq_u16_s16(veorq_s16(step, vshrq_n_s16(sample, 15)));
    int16x8_t zeros = vminq_s16(vreinterpretq_s16_u16(vclzq_u16(magnitude)), vdupq_n_s16(10));
    uint16x8_t code = fastcall_code_8(magnitude, vsubq_s16(vdupq_n_s16(11), zeros));
    uint16x8_t sign = vandq_u16(vreinterpretq_u16_s16(sample), vdupq_n_u16(0x8000));
    return vmovn_u16(veorq_u16(veorq_u16(code, vdupq_n_u16(0xD5)), vshrq_n_u16(sign, 8)));
}

#define FASTCALL_VECTOR_LOOP(law, direction, STEP)                                                                    \
    static void fastcall_##law##_##direction##_neon(const void* source, void* target, ptrdiff_t samples) {            \
        if (samples < FASTCALL_WIDTH) {                                                                               \
            fastcall_##law##_##direction##_plain(source, target, samples);                                            \
            return;                                                                                                   \
        }                                                                                                             \
        for (ptrdiff_t at = 0; at < samples; at += FASTCALL_WIDTH) {                                                  \
            at = at > samples - FASTCALL_WIDTH ? samples - FASTCALL_WIDTH : at;                                       \
            STEP(law)                                                                                                 \
        }                                                                                                             \
    }
#define FASTCALL_DECODE_STEP(law)                                                                                     \
    uint16x8_t code = vmovl_u8(vld1_u8((const uint8_t*)source + at));                                                 \
    vst1q_u8((uint8_t*)target + 2 * at, vreinterpretq_u8_s16(fastcall_##law##_decode_8(code)));
#define FASTCALL_ENCODE_STEP(law)                                                                                     \
    int16x8_t sample = vreinterpretq_s16_u8(vld1q_u8((const uint8_t*)source + 2 * at));                               \
    vst1_u8((uint8_t*)target + at, fastcall_##law##_encode_8(sample));
FASTCALL_VECTOR_LOOP(mulaw, decode, FASTCALL_DECODE_STEP)
FASTCALL_VECTOR_LOOP(mulaw, encode, FASTCALL_ENCODE_STEP)
FASTCALL_VECTOR_LOOP(alaw, decode, FASTCALL_DECODE_STEP)
FASTCALL_VECTOR_LOOP(alaw, encode, FASTCALL_ENCODE_STEP)
#undef FASTCALL_WIDTH
