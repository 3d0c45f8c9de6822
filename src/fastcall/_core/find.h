/* Finds a character. memchr is fastest over long distances; names and numbers of a message end within 16 characters. */
#ifndef FASTCALL_FIND_H
#define FASTCALL_FIND_H

#include "simd.h"

/* The first `mark` in [at, end), or NULL. */
static inline const char* fastcall_find(const char* at, const char* end, char mark) {
#if FASTCALL_X86
    if (end - at >= 16) { /* SSE2, of the baseline */
        __m128i found = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i*)at), _mm_set1_epi8(mark));
        int places = _mm_movemask_epi8(found);
        if (places)
            return at + __builtin_ctz((unsigned)places);
        at += 16;
    }
#endif
    return memchr(at, mark, (size_t)(end - at));
}

#endif
