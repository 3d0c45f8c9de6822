/* The loudness of a frame. */
#ifndef FASTCALL_FOREGROUND_H
#define FASTCALL_FOREGROUND_H

#include <stdint.h>

/* The mean of the squares of ``samples`` values, at most 160. Bits below a square of 64 are dropped: mu-law has no
   finer steps, and 32-bit sums vectorise everywhere. */
static inline float fastcall_power(const int16_t* pcm, int samples) {
    uint32_t sum = 0;
    for (int i = 0; i < samples; i++) sum += (uint32_t)((int32_t)pcm[i] * pcm[i]) >> 6;
    return 64.0f * (float)sum / (float)samples;
}

#endif
