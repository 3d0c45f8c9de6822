/* The vector loops of G.711 for one x86 instruction set. Included by g711.h once per set, with its names defined.

   FASTCALL_WIDTH bytes make a vector of 16-byte lanes. Unpacking and packing work within lanes, so FASTCALL_SPREAD
   orders 8-byte pieces before unpacking, and FASTCALL_GATHER after packing, to keep neighbours together. The last
   vector of an input ends where the input ends and may overlap the previous one: its values are computed twice. */

#define FASTCALL_JOIN2(name, set) fastcall_##name##_##set
#define FASTCALL_JOIN(name, set) FASTCALL_JOIN2(name, set)
#define FASTCALL_NAME(name) FASTCALL_JOIN(name, FASTCALL_SET)
#define FASTCALL_IN_LANES(table) FASTCALL_TABLE(_mm_loadu_si128((const __m128i*)(table)))

FASTCALL_TARGET static inline __attribute__((always_inline)) void FASTCALL_NAME(decode)(
    const uint8_t* codes, uint8_t* pcm, ptrdiff_t samples, const fastcall_decoder* law
) {
    const FASTCALL_VECTOR mantissas = FASTCALL_IN_LANES(law->mantissa), scales = FASTCALL_IN_LANES(law->scale);
    const FASTCALL_VECTOR signs = FASTCALL_IN_LANES(law->sign), biases = FASTCALL_IN_LANES(law->bias);
    const FASTCALL_VECTOR nibble = FASTCALL_OP(set1_epi8)(15), one = FASTCALL_OP(set1_epi8)(1);
    const __m128i shift = _mm_cvtsi32_si128(law->shift);
    for (ptrdiff_t at = 0; at < samples; at += FASTCALL_WIDTH) {
        at = at > samples - FASTCALL_WIDTH ? samples - FASTCALL_WIDTH : at;
        FASTCALL_VECTOR code = FASTCALL_SPREAD(FASTCALL_ALL(loadu)((const FASTCALL_VECTOR*)(codes + at)));
        FASTCALL_VECTOR low = FASTCALL_ALL(and)(code, nibble);
        FASTCALL_VECTOR high = FASTCALL_ALL(and)(FASTCALL_OP(srli_epi16)(code, 4), nibble);
        FASTCALL_VECTOR scale = FASTCALL_OP(shuffle_epi8)(scales, high);
        FASTCALL_VECTOR bias = FASTCALL_OP(shuffle_epi8)(biases, high);
        FASTCALL_VECTOR mantissa = FASTCALL_OP(shuffle_epi8)(mantissas, low);
        mantissa = FASTCALL_OP(sign_epi8)(mantissa, FASTCALL_OP(shuffle_epi8)(signs, high));
        /* For each pair of bytes: scale * mantissa + 1 * bias, in 16 bits. */
        FASTCALL_VECTOR first = FASTCALL_OP(maddubs_epi16)(
            FASTCALL_OP(unpacklo_epi8)(scale, one), FASTCALL_OP(unpacklo_epi8)(mantissa, bias)
        );
        FASTCALL_VECTOR second = FASTCALL_OP(maddubs_epi16)(
            FASTCALL_OP(unpackhi_epi8)(scale, one), FASTCALL_OP(unpackhi_epi8)(mantissa, bias)
        );
        FASTCALL_ALL(storeu)((FASTCALL_VECTOR*)(pcm + 2 * at), FASTCALL_OP(sll_epi16)(first, shift));
        FASTCALL_ALL(storeu)(
            (FASTCALL_VECTOR*)(pcm + 2 * at + FASTCALL_WIDTH), FASTCALL_OP(sll_epi16)(second, shift)
        );
    }
}

FASTCALL_TARGET static inline __attribute__((always_inline)) FASTCALL_VECTOR FASTCALL_NAME(magnitude)(
    FASTCALL_VECTOR sample, const fastcall_encoder* law
) {
    FASTCALL_VECTOR step = FASTCALL_OP(sra_epi16)(sample, _mm_cvtsi32_si128(law->shift));
    FASTCALL_VECTOR lower = FASTCALL_ALL(and)(FASTCALL_OP(srai_epi16)(sample, 15), FASTCALL_OP(set1_epi16)(law->negative));
    step = FASTCALL_OP(add_epi16)(FASTCALL_OP(abs_epi16)(step), lower);
    step = FASTCALL_OP(min_epi16)(step, FASTCALL_OP(set1_epi16)(law->largest));
    return FASTCALL_OP(add_epi16)(step, FASTCALL_OP(set1_epi16)(law->bias));
}

FASTCALL_TARGET static inline __attribute__((always_inline)) void FASTCALL_NAME(encode)(
    const uint8_t* pcm, uint8_t* codes, ptrdiff_t samples, const fastcall_encoder* law
) {
    const FASTCALL_VECTOR exponents_high = FASTCALL_IN_LANES(law->exponent_high);
    const FASTCALL_VECTOR exponents_low = FASTCALL_IN_LANES(law->exponent_low);
    const FASTCALL_VECTOR factors_high = FASTCALL_IN_LANES(law->factor_high);
    const FASTCALL_VECTOR factors_low = FASTCALL_IN_LANES(law->factor_low);
    const FASTCALL_VECTOR nibble = FASTCALL_OP(set1_epi8)(15), zero = FASTCALL_ALL(setzero)();
    const FASTCALL_VECTOR inverted = FASTCALL_OP(set1_epi8)((char)law->inverted);
    const FASTCALL_VECTOR top = FASTCALL_OP(set1_epi8)((char)0x80);
    for (ptrdiff_t at = 0; at < samples; at += FASTCALL_WIDTH) {
        at = at > samples - FASTCALL_WIDTH ? samples - FASTCALL_WIDTH : at;
        FASTCALL_VECTOR first = FASTCALL_ALL(loadu)((const FASTCALL_VECTOR*)(pcm + 2 * at));
        FASTCALL_VECTOR second = FASTCALL_ALL(loadu)((const FASTCALL_VECTOR*)(pcm + 2 * at + FASTCALL_WIDTH));
        FASTCALL_VECTOR sign = FASTCALL_ALL(and)(FASTCALL_OP(packs_epi16)(first, second), top);
        first = FASTCALL_NAME(magnitude)(first, law);
        second = FASTCALL_NAME(magnitude)(second, law);
        FASTCALL_VECTOR bits =
            FASTCALL_OP(packus_epi16)(FASTCALL_OP(srli_epi16)(first, 5), FASTCALL_OP(srli_epi16)(second, 5));
        FASTCALL_VECTOR low = FASTCALL_ALL(and)(bits, nibble);
        FASTCALL_VECTOR high = FASTCALL_ALL(and)(FASTCALL_OP(srli_epi16)(bits, 4), nibble);
        FASTCALL_VECTOR exponent = FASTCALL_OP(max_epu8)(
            FASTCALL_OP(shuffle_epi8)(exponents_high, high), FASTCALL_OP(shuffle_epi8)(exponents_low, low)
        );
        FASTCALL_VECTOR factor = FASTCALL_OP(min_epu8)(
            FASTCALL_OP(shuffle_epi8)(factors_high, high), FASTCALL_OP(shuffle_epi8)(factors_low, low)
        );
        /* The factor in the high byte of 16 bits, and the high half of the product: a shift to the right. */
        first = FASTCALL_OP(mulhi_epu16)(first, FASTCALL_OP(unpacklo_epi8)(zero, factor));
        second = FASTCALL_OP(mulhi_epu16)(second, FASTCALL_OP(unpackhi_epi8)(zero, factor));
        FASTCALL_VECTOR mantissa = FASTCALL_ALL(and)(FASTCALL_OP(packus_epi16)(first, second), nibble);
        FASTCALL_VECTOR code = FASTCALL_ALL(xor)(FASTCALL_ALL(or)(exponent, mantissa), FASTCALL_ALL(xor)(sign, inverted));
        FASTCALL_ALL(storeu)((FASTCALL_VECTOR*)(codes + at), FASTCALL_GATHER(code));
    }
}

#define FASTCALL_VECTOR_LOOP(law, direction, table)                                                                   \
    FASTCALL_TARGET static void FASTCALL_NAME(law##_##direction)(                                                     \
        const void* source, void* target, ptrdiff_t samples                                                           \
    ) {                                                                                                               \
        if (samples < FASTCALL_WIDTH)                                                                                 \
            fastcall_##law##_##direction##_plain(source, target, samples);                                            \
        else                                                                                                          \
            FASTCALL_NAME(direction)(source, target, samples, &table);                                                \
    }
FASTCALL_VECTOR_LOOP(mulaw, decode, FASTCALL_MULAW_DECODER)
FASTCALL_VECTOR_LOOP(mulaw, encode, FASTCALL_MULAW_ENCODER)
FASTCALL_VECTOR_LOOP(alaw, decode, FASTCALL_ALAW_DECODER)
FASTCALL_VECTOR_LOOP(alaw, encode, FASTCALL_ALAW_ENCODER)

#undef FASTCALL_WIDTH
#undef FASTCALL_SET
#undef FASTCALL_TARGET
#undef FASTCALL_VECTOR
#undef FASTCALL_OP
#undef FASTCALL_ALL
#undef FASTCALL_TABLE
#undef FASTCALL_SPREAD
#undef FASTCALL_GATHER
#undef FASTCALL_JOIN2
#undef FASTCALL_JOIN
#undef FASTCALL_NAME
#undef FASTCALL_IN_LANES
#undef FASTCALL_VECTOR_LOOP
