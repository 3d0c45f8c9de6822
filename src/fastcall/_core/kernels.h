/* The fastest loops for this processor, chosen once, when the module is loaded. */
#ifndef FASTCALL_KERNELS_H
#define FASTCALL_KERNELS_H

#include "base64.h"
#include "g711.h"

typedef struct {
    const char* instructions;
    fastcall_kernel mulaw_decode, mulaw_encode, alaw_decode, alaw_encode;
    fastcall_base64_kernel base64;
} fastcall_kernels;

#define FASTCALL_KERNELS(set)                                                                                           \
    {                                                                                                                 \
        #set, fastcall_mulaw_decode_##set, fastcall_mulaw_encode_##set, fastcall_alaw_decode_##set,                   \
            fastcall_alaw_encode_##set, fastcall_base64_##set                                                         \
    }

/* From the portable set to the newest; fastcall_has checks which of them this processor supports. */
static const fastcall_kernels FASTCALL_ALL_KERNELS[] = {
    FASTCALL_KERNELS(plain),
#if FASTCALL_X86
    FASTCALL_KERNELS(ssse3),
    FASTCALL_KERNELS(avx2),
#elif FASTCALL_NEON
    FASTCALL_KERNELS(neon),
#endif
};
enum { FASTCALL_KERNELS_COUNT = sizeof FASTCALL_ALL_KERNELS / sizeof FASTCALL_ALL_KERNELS[0] };

static inline int fastcall_has(int index) {
#if FASTCALL_X86
    __builtin_cpu_init();
    return index == 0 || (index == 1 && __builtin_cpu_supports("ssse3")) ||
           (index == 2 && __builtin_cpu_supports("avx2"));
#else
    return index >= 0 && index < FASTCALL_KERNELS_COUNT;
#endif
}

static inline const fastcall_kernels* fastcall_best_kernels(void) {
    int best = 0;
    for (int index = 1; index < FASTCALL_KERNELS_COUNT; index++)
        best = fastcall_has(index) ? index : best;
    return &FASTCALL_ALL_KERNELS[best];
}

#endif
