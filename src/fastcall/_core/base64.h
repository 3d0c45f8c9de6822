/* Base64 (RFC 4648 section 4): decoding of whole groups of four characters (the caller handles the padded group at
   the end), and encoding.

   The vector loops for x86 follow W. Mula and D. Lemire, "Faster Base64 Encoding and Decoding using AVX2 Instructions"
   (ACM Transactions on the Web 12.3, 2018). They store more bytes than they decode, so each stops while its stores are
   within the target, and leaves the rest to the next narrower loop. */
#ifndef FASTCALL_BASE64_H
#define FASTCALL_BASE64_H

#include "simd.h"

#define X 0x80 /* not in the alphabet */
static const uint8_t FASTCALL_SEXTETS[256] = {
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, 62, X, X, X, 63,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, X, X, X, X, X, X,
    X, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X, X, X, X, X,
    X, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
    X, X, X, X, X, X, X, X, X, X, X, X, X, X, X, X,
};
#undef X

static int fastcall_base64_plain(const uint8_t* text, uint8_t* target, ptrdiff_t bytes) {
    unsigned wrong = 0;
    for (ptrdiff_t at = 0; at < bytes; at += 3, text += 4) {
        unsigned a = FASTCALL_SEXTETS[text[0]], b = FASTCALL_SEXTETS[text[1]];
        unsigned c = FASTCALL_SEXTETS[text[2]], d = FASTCALL_SEXTETS[text[3]];
        wrong |= a | b | c | d;
        target[at] = (uint8_t)(a << 2 | b >> 4);
        target[at + 1] = (uint8_t)(b << 4 | c >> 2);
        target[at + 2] = (uint8_t)(c << 6 | d);
    }
    return (wrong & 0x80) != 0;
}

#if FASTCALL_X86

/* Indexed by the nibbles of a character; invalid combinations have a common bit. Then the offset to add. */
static const uint8_t FASTCALL_BASE64_LOW[16] = {
    0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1A, 0x1B, 0x1B, 0x1B, 0x1A,
};
static const uint8_t FASTCALL_BASE64_HIGH[16] = {
    0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10,
};
static const int8_t FASTCALL_BASE64_ROLL[16] = {0, 16, 19, 4, -65, -65, -71, -71};
/* From four lanes of 24 bits, highest byte first. */
static const int8_t FASTCALL_BASE64_ORDER[16] = {2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1};

FASTCALL_SSSE3 static int fastcall_base64_ssse3(const uint8_t* text, uint8_t* target, ptrdiff_t bytes) {
    const __m128i lows = _mm_loadu_si128((const __m128i*)FASTCALL_BASE64_LOW);
    const __m128i highs = _mm_loadu_si128((const __m128i*)FASTCALL_BASE64_HIGH);
    const __m128i rolls = _mm_loadu_si128((const __m128i*)FASTCALL_BASE64_ROLL);
    const __m128i order = _mm_loadu_si128((const __m128i*)FASTCALL_BASE64_ORDER);
    const __m128i slash = _mm_set1_epi8('/');
    __m128i right = _mm_set1_epi8(-1);
    while (bytes >= 16) {
        __m128i in = _mm_loadu_si128((const __m128i*)text);
        __m128i high = _mm_and_si128(_mm_srli_epi32(in, 4), slash), low = _mm_and_si128(in, slash);
        __m128i clash = _mm_and_si128(_mm_shuffle_epi8(lows, low), _mm_shuffle_epi8(highs, high));
        right = _mm_and_si128(right, _mm_cmpeq_epi8(clash, _mm_setzero_si128()));
        __m128i roll = _mm_shuffle_epi8(rolls, _mm_add_epi8(_mm_cmpeq_epi8(in, slash), high));
        __m128i pairs = _mm_maddubs_epi16(_mm_add_epi8(in, roll), _mm_set1_epi32(0x01400140));
        __m128i groups = _mm_madd_epi16(pairs, _mm_set1_epi32(0x00011000));
        _mm_storeu_si128((__m128i*)target, _mm_shuffle_epi8(groups, order));
        text += 16, target += 12, bytes -= 12;
    }
    return _mm_movemask_epi8(right) != 0xFFFF || fastcall_base64_plain(text, target, bytes);
}

FASTCALL_AVX2 static int fastcall_base64_avx2(const uint8_t* text, uint8_t* target, ptrdiff_t bytes) {
    const __m256i lows = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)FASTCALL_BASE64_LOW));
    const __m256i highs = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)FASTCALL_BASE64_HIGH));
    const __m256i rolls = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)FASTCALL_BASE64_ROLL));
    const __m256i order = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)FASTCALL_BASE64_ORDER));
    const __m256i slash = _mm256_set1_epi8('/');
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7);
    __m256i right = _mm256_set1_epi8(-1);
    while (bytes >= 32) {
        __m256i in = _mm256_loadu_si256((const __m256i*)text);
        __m256i high = _mm256_and_si256(_mm256_srli_epi32(in, 4), slash), low = _mm256_and_si256(in, slash);
        __m256i clash = _mm256_and_si256(_mm256_shuffle_epi8(lows, low), _mm256_shuffle_epi8(highs, high));
        right = _mm256_and_si256(right, _mm256_cmpeq_epi8(clash, _mm256_setzero_si256()));
        __m256i roll = _mm256_shuffle_epi8(rolls, _mm256_add_epi8(_mm256_cmpeq_epi8(in, slash), high));
        __m256i pairs = _mm256_maddubs_epi16(_mm256_add_epi8(in, roll), _mm256_set1_epi32(0x01400140));
        __m256i groups = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000));
        groups = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(groups, order), lanes);
        _mm256_storeu_si256((__m256i*)target, groups);
        text += 32, target += 24, bytes -= 24;
    }
    return _mm256_movemask_epi8(right) != -1 || fastcall_base64_ssse3(text, target, bytes);
}

#elif FASTCALL_NEON

/* The 6 bits of each character; sets 0x80 in `wrong` for invalid ones. */
static inline uint8x16_t fastcall_sextets_neon(uint8x16_t text, uint8x16x4_t lower, uint8x16x4_t upper, uint8x16_t* wrong) {
    uint8x16_t bits = vqtbx4q_u8(vqtbl4q_u8(lower, text), upper, vsubq_u8(text, vdupq_n_u8(64)));
    *wrong = vorrq_u8(*wrong, vorrq_u8(bits, text)); /* above 127 neither table has an entry */
    return bits;
}

static int fastcall_base64_neon(const uint8_t* text, uint8_t* target, ptrdiff_t bytes) {
    const uint8x16x4_t lower = vld1q_u8_x4(FASTCALL_SEXTETS), upper = vld1q_u8_x4(FASTCALL_SEXTETS + 64);
    uint8x16_t wrong = vdupq_n_u8(0);
    for (; bytes >= 48; text += 64, target += 48, bytes -= 48) {
        uint8x16x4_t in = vld4q_u8(text);
        uint8x16x3_t out;
        uint8x16_t a = fastcall_sextets_neon(in.val[0], lower, upper, &wrong);
        uint8x16_t b = fastcall_sextets_neon(in.val[1], lower, upper, &wrong);
        uint8x16_t c = fastcall_sextets_neon(in.val[2], lower, upper, &wrong);
        uint8x16_t d = fastcall_sextets_neon(in.val[3], lower, upper, &wrong);
        out.val[0] = vorrq_u8(vshlq_n_u8(a, 2), vshrq_n_u8(b, 4));
        out.val[1] = vorrq_u8(vshlq_n_u8(b, 4), vshrq_n_u8(c, 2));
        out.val[2] = vorrq_u8(vshlq_n_u8(c, 6), d);
        vst3q_u8(target, out);
    }
    return vmaxvq_u8(wrong) >= 0x80 || fastcall_base64_plain(text, target, bytes);
}
#endif

/* All of `bytes` bytes into (bytes + 2) / 3 * 4 characters, padded. Plain: what is sent is a tenth of what is received,
   in messages that are ten times as long. */
static inline void fastcall_base64_encode(const uint8_t* source, uint8_t* text, ptrdiff_t bytes) {
    static const uint8_t alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (; bytes >= 3; bytes -= 3, source += 3, text += 4) {
        unsigned word = (unsigned)source[0] << 16 | (unsigned)source[1] << 8 | source[2];
        text[0] = alphabet[word >> 18];
        text[1] = alphabet[word >> 12 & 63];
        text[2] = alphabet[word >> 6 & 63];
        text[3] = alphabet[word & 63];
    }
    if (bytes > 0) {
        unsigned word = (unsigned)source[0] << 16 | (bytes > 1 ? (unsigned)source[1] << 8 : 0);
        text[0] = alphabet[word >> 18];
        text[1] = alphabet[word >> 12 & 63];
        text[2] = bytes > 1 ? alphabet[word >> 6 & 63] : '=';
        text[3] = '=';
    }
}

#endif
