/* G.711 (ITU-T Recommendation G.711, 11/1988): one sample in plain C, and the loops over many.

   A G.711 code is a small floating-point number: sign, 3 bits of exponent, 4 bits of mantissa. In plain C, converting
   an integer to an IEEE 754 float and back finds segment and step without a table or a branch, and compilers
   vectorise it. The vector loops look up exponents in tables of 16 entries, held in registers. */
#ifndef FASTCALL_G711_H
#define FASTCALL_G711_H

#include "simd.h"

typedef union {
    float value;
    uint32_t bits;
} fastcall_float;

static inline int16_t fastcall_mulaw_to_linear(uint8_t code) {
    uint32_t inverted = code ^ 0xFFu;
    fastcall_float scaled = {.bits = ((inverted & 0x7F) << 19) + ((127u + 7) << 23) + (1u << 18)};
    int32_t magnitude = (int32_t)scaled.value - 132;
    int32_t sign = -(int32_t)(inverted >> 7);
    return (int16_t)((magnitude ^ sign) - sign);
}

static inline uint8_t fastcall_linear_to_mulaw(int16_t sample) {
    int32_t step = sample >> 2;
    int32_t sign = step >> 31;
    step = (step ^ sign) - sign;
    step = step > 8158 ? 8158 : step;
    fastcall_float scaled = {.value = (float)(step + 33)};
    return (uint8_t)(((scaled.bits >> 19) - ((127u + 5) << 4)) ^ (0xFFu ^ ((uint32_t)sign & 0x80)));
}

static inline int16_t fastcall_alaw_to_linear(uint8_t code) {
    uint32_t inverted = code ^ 0x55u;
    /* The lowest segment has the step of the second one, without its leading bit. */
    uint32_t lowest = (inverted & 0x70) == 0;
    fastcall_float scaled = {.bits = ((inverted & 0x7F) << 19) + ((127u + 7 + lowest) << 23) + (1u << 18)};
    int32_t magnitude = (int32_t)scaled.value - (int32_t)(lowest << 8);
    int32_t sign = (int32_t)(inverted >> 7) - 1;
    return (int16_t)((magnitude ^ sign) - sign);
}

static inline uint8_t fastcall_linear_to_alaw(int16_t sample) {
    int32_t step = sample >> 3;
    int32_t sign = step >> 31;
    step = step ^ sign;
    fastcall_float scaled = {.value = (float)step};
    uint32_t code = (scaled.bits >> 19) - ((127u + 4) << 4);
    code = step < 32 ? (uint32_t)step >> 1 : code;
    return (uint8_t)(code ^ (0xD5u ^ ((uint32_t)sign & 0x80)));
}

#define FASTCALL_DECODE_LOOP(law)                                                                                     \
    static void fastcall_##law##_decode_plain(const void* source, void* target, ptrdiff_t samples) {                  \
        for (ptrdiff_t i = 0; i < samples; i++)                                                                       \
            ((fastcall_sample*)target)[i] = fastcall_##law##_to_linear(((const uint8_t*)source)[i]);                  \
    }
#define FASTCALL_ENCODE_LOOP(law)                                                                                     \
    static void fastcall_##law##_encode_plain(const void* source, void* target, ptrdiff_t samples) {                  \
        for (ptrdiff_t i = 0; i < samples; i++)                                                                       \
            ((uint8_t*)target)[i] = fastcall_linear_to_##law(((const fastcall_sample*)source)[i]);                    \
    }
FASTCALL_DECODE_LOOP(mulaw)
FASTCALL_ENCODE_LOOP(mulaw)
FASTCALL_DECODE_LOOP(alaw)
FASTCALL_ENCODE_LOOP(alaw)

#if FASTCALL_X86

/* Decoding: sample = (sign * mantissa * scale + bias) << shift. The low four bits of the code select the mantissa,
   the high four the rest. */
typedef struct {
    uint8_t mantissa[16], scale[16];
    int8_t sign[16], bias[16];
    int shift;
} fastcall_decoder;

static const fastcall_decoder FASTCALL_MULAW_DECODER = {
    .mantissa = {63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33},
    .scale = {128, 64, 32, 16, 8, 4, 2, 1, 128, 64, 32, 16, 8, 4, 2, 1},
    .sign = {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1},
    .bias = {33, 33, 33, 33, 33, 33, 33, 33, -33, -33, -33, -33, -33, -33, -33, -33},
    .shift = 2,
};

/* The even bits of an A-law code are inverted: entry i is for the bits i ^ 5. */
static const fastcall_decoder FASTCALL_ALAW_DECODER = {
    .mantissa = {43, 41, 47, 45, 35, 33, 39, 37, 59, 57, 63, 61, 51, 49, 55, 53},
    .scale = {16, 8, 64, 32, 1, 1, 4, 2, 16, 8, 64, 32, 1, 1, 4, 2},
    .sign = {-1, -1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1},
    .bias = {0, 0, 0, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0, -32, 0, 0},
    .shift = 3,
};

/* Encoding: the magnitude's bits 5 to 12 form a byte, whose nibbles select the exponent (the larger one counts) and
   the factor that shifts the mantissa to the low bits (the smaller one counts). */
typedef struct {
    uint8_t exponent_high[16], exponent_low[16], factor_high[16], factor_low[16];
    int shift;
    int16_t negative, largest, bias; /* magnitude = min(|sample >> shift| + negative, largest) + bias */
    uint8_t inverted;
} fastcall_encoder;

static const fastcall_encoder FASTCALL_MULAW_ENCODER = {
    .exponent_high = {0, 64, 80, 80, 96, 96, 96, 96, 112, 112, 112, 112, 112, 112, 112, 112},
    .exponent_low = {0, 0, 16, 16, 32, 32, 32, 32, 48, 48, 48, 48, 48, 48, 48, 48},
    .factor_high = {255, 8, 4, 4, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1},
    .factor_low = {128, 128, 64, 64, 32, 32, 32, 32, 16, 16, 16, 16, 16, 16, 16, 16},
    .shift = 2,
    .negative = 0,
    .largest = 8158,
    .bias = 33,
    .inverted = 0xFF,
};

static const fastcall_encoder FASTCALL_ALAW_ENCODER = {
    .exponent_high = {0, 80, 96, 96, 112, 112, 112, 112},
    .exponent_low = {0, 16, 32, 32, 48, 48, 48, 48, 64, 64, 64, 64, 64, 64, 64, 64},
    .factor_high = {255, 8, 4, 4, 2, 2, 2, 2},
    .factor_low = {128, 128, 64, 64, 32, 32, 32, 32, 16, 16, 16, 16, 16, 16, 16, 16},
    .shift = 3,
    .negative = -1, /* the complement of a negative sample, not the absolute value */
    .largest = 4095,
    .bias = 0,
    .inverted = 0xD5,
};

#define FASTCALL_WIDTH 16
#define FASTCALL_SET ssse3
#define FASTCALL_TARGET FASTCALL_SSSE3
#define FASTCALL_VECTOR __m128i
#define FASTCALL_OP(operation) _mm_##operation
#define FASTCALL_ALL(operation) _mm_##operation##_si128
#define FASTCALL_TABLE(table) (table)
#define FASTCALL_SPREAD(vector) (vector)
#define FASTCALL_GATHER(vector) (vector)
#include "g711_x86.h"

#define FASTCALL_WIDTH 32
#define FASTCALL_SET avx2
#define FASTCALL_TARGET FASTCALL_AVX2
#define FASTCALL_VECTOR __m256i
#define FASTCALL_OP(operation) _mm256_##operation
#define FASTCALL_ALL(operation) _mm256_##operation##_si256
#define FASTCALL_TABLE(table) _mm256_broadcastsi128_si256(table)
#define FASTCALL_SPREAD(vector) _mm256_permute4x64_epi64(vector, 0xD8)
#define FASTCALL_GATHER(vector) _mm256_permute4x64_epi64(vector, 0xD8)
#include "g711_x86.h"

#elif FASTCALL_NEON
#include "g711_neon.h"
#endif

#endif
