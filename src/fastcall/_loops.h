/* The loops that this processor runs fastest, chosen once, when the module is loaded. */
#ifndef FASTCALL_LOOPS_H
#define FASTCALL_LOOPS_H

#include "_base64.h"
#include "_g711.h"

typedef struct {
    const char* instructions;
    fastcall_loop mulaw_decode, mulaw_encode, alaw_decode, alaw_encode;
    fastcall_base64_loop base64;
} fastcall_loops;

#define FASTCALL_LOOPS(set)                                                                                           \
    {                                                                                                                 \
        #set, fastcall_mulaw_decode_##set, fastcall_mulaw_encode_##set, fastcall_alaw_decode_##set,                   \
            fastcall_alaw_encode_##set, fastcall_base64_##set                                                         \
    }

/* From any machine's to the newest; which of them this processor has, fastcall_has says. */
static const fastcall_loops FASTCALL_ALL_LOOPS[] = {
    FASTCALL_LOOPS(plain),
#if FASTCALL_X86
    FASTCALL_LOOPS(ssse3),
    FASTCALL_LOOPS(avx2),
#elif FASTCALL_NEON
    FASTCALL_LOOPS(neon),
#endif
};
enum { FASTCALL_LOOPS_COUNT = sizeof FASTCALL_ALL_LOOPS / sizeof FASTCALL_ALL_LOOPS[0] };

static inline int fastcall_has(int index) {
#if FASTCALL_X86
    __builtin_cpu_init();
    return index == 0 || (index == 1 && __builtin_cpu_supports("ssse3")) ||
           (index == 2 && __builtin_cpu_supports("avx2"));
#else
    return index >= 0 && index < FASTCALL_LOOPS_COUNT;
#endif
}

static inline const fastcall_loops* fastcall_best_loops(void) {
    int best = 0;
    for (int index = 1; index < FASTCALL_LOOPS_COUNT; index++)
        best = fastcall_has(index) ? index : best;
    return &FASTCALL_ALL_LOOPS[best];
}

#endif
