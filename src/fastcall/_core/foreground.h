/* The loudness of a frame, and whether it is a tone. */
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

/* What fastcall_tone returns for other sounds: no cosine. */
#define FASTCALL_NO_TONE 2.0f

/* The cosine of the frequency (in radians a sample) of the one tone that ``samples`` values are, at most 160; for other
   sounds FASTCALL_NO_TONE. In a tone each value is the mean of its neighbours, divided by that cosine; what is left
   over is noise, and must lie ``least_ratio`` below the tone. */
static inline float fastcall_tone(const int16_t* pcm, int samples, float least_ratio) {
    int32_t values = 0, products = 0, means = 0;
    for (int i = 1; i < samples - 1; i++) {
        int16_t value = pcm[i], mean = (int16_t)((pcm[i - 1] + pcm[i + 1]) >> 1); /* 16 bits: products vectorise */
        values += ((int32_t)value * value) >> 8; /* so that the sums fit into 31 bits */
        products += ((int32_t)mean * value) >> 8;
        means += ((int32_t)mean * mean) >> 8;
    }
    if (values == 0) return FASTCALL_NO_TONE;
    float cosine = (float)products / (float)values;
    float noise = 2.0f * ((float)means - cosine * (float)products) / (1.0f + 2.0f * cosine * cosine);
    return noise * least_ratio < (float)values ? cosine : FASTCALL_NO_TONE;
}

#endif
