/* Judges the call's audio and the pace with threads that truly run at the same time. Built with ThreadSanitizer it
   fails on any access that the memory order does not cover. Prints what went through; status 1 on any difference. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>

static int memory_is_out;
static void* scarce_malloc(size_t bytes) { return memory_is_out ? NULL : malloc(bytes); }
#define malloc scarce_malloc
#include "audio.h"
#undef malloc
#include "g711.h"
#include "rate_limiter.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#ifndef SAMPLES
#define SAMPLES 3000000
#endif
enum { LIMIT = 3000, PACE_STEPS = 20000 };

static fastcall_audio audio;
static _Atomic(int) done;
static uint64_t silences;

static uint8_t sample_at(uint64_t position) { return (uint8_t)((position * 2654435761u >> 13) & 0x7F); }

static void fail(const char* what, uint64_t at) {
    fprintf(stderr, "%s at %llu\n", what, (unsigned long long)at);
    exit(1);
}

/* Pieces of all sizes; what does not fit becomes a hole of silence; silence of its own now and then. */
static void* produce(void* unused) {
    (void)unused;
    uint8_t piece[2000];
    uint64_t at = 0;
    unsigned chance = 1;
    while (at < SAMPLES) {
        chance = chance * 1103515245u + 12345u;
        /* A consumer that is abreast most of the time, and not always. */
        while (chance >> 14 & 31 && fastcall_count(&audio.pushed) - fastcall_count(&audio.taken) > LIMIT / 2)
            sched_yield();
        ptrdiff_t samples = 1 + (chance >> 16) % ((chance >> 9) % 50 ? 320 : 2000);
        if (chance >> 20 & 15) {
            for (ptrdiff_t i = 0; i < samples; i++)
                piece[i] = sample_at(at + (uint64_t)i);
            ptrdiff_t fitting = fastcall_audio_fitting(&audio, samples, LIMIT);
            if (fastcall_audio_push(&audio, piece, fitting) != fitting)
                fail("no memory", at);
            fastcall_audio_drop(&audio, samples - fitting);
            fastcall_audio_push_silence(&audio, samples - fitting);
        } else {
            samples *= chance & 1 << 25 ? 1 : 3; /* both what is written and what is not */
            fastcall_audio_push_silence(&audio, samples);
            silences += (uint64_t)samples;
        }
        at += (uint64_t)samples;
        if (fastcall_count(&audio.pushed) != at)
            fail("pushed", at);
    }
    atomic_store_explicit(&done, 1, memory_order_release);
    return NULL;
}

static uint64_t consume(void) {
    static uint8_t got[1000], linear[2000];
    uint64_t at = 0, silent = 0;
    for (;;) {
        int last_round = atomic_load_explicit(&done, memory_order_acquire);
        fastcall_audio_take(&audio, fastcall_audio_waiting(&audio));
        uint64_t end = fastcall_count(&audio.taken);
        while (at < end) {
            ptrdiff_t samples = end - at < 1000 ? (ptrdiff_t)(end - at) : 1000;
            fastcall_audio_read(&audio, at, samples, got, NULL);
            fastcall_audio_read(&audio, at, samples, linear, fastcall_mulaw_decode_plain);
            for (ptrdiff_t i = 0; i < samples; i++, at++) {
                if (got[i] != 0xFF && got[i] != sample_at(at))
                    fail("another sample than was pushed", at);
                if (((int16_t*)linear)[i] != fastcall_mulaw_to_linear(got[i]))
                    fail("decoded wrongly", at);
                silent += got[i] == 0xFF;
            }
            if (at > 30000) /* what a replay keeps */
                fastcall_audio_forget(&audio, at - 30000);
        }
        if (last_round)
            return silent;
    }
}

static fastcall_rate_limiter rate_limiter;
static double claimed[2][PACE_STEPS];
static int claims[2];
static _Atomic(int) steps[2];

static void* keep_pace(void* side) {
    int me = (int)(intptr_t)side;
    for (int step = 0; step < PACE_STEPS; step++) {
        atomic_store(&steps[me], step);
        while (atomic_load(&steps[!me]) < step - 30) /* less than an interval: a clock that both read */
            sched_yield();
        double now = 1e-4 * step;
        if (fastcall_rate_limiter_is_due(&rate_limiter, now, 1))
            claimed[me][claims[me]++] = now;
    }
    atomic_store(&steps[me], PACE_STEPS);
    return NULL;
}

static int by_time(const void* left, const void* right) {
    double a = *(const double*)left, b = *(const double*)right;
    return (a > b) - (a < b);
}

static void judge_pace(void) {
    static double all[2 * PACE_STEPS];
    pthread_t other;
    fastcall_rate_limiter_begin(&rate_limiter, 0.01);
    if (pthread_create(&other, NULL, keep_pace, (void*)1))
        fail("no thread", 0);
    keep_pace((void*)0);
    pthread_join(other, NULL);
    int count = claims[0] + claims[1];
    memcpy(all, claimed[0], (size_t)claims[0] * sizeof *all);
    memcpy(all + claims[0], claimed[1], (size_t)claims[1] * sizeof *all);
    qsort(all, (size_t)count, sizeof *all, by_time);
    for (int i = 1; i < count; i++)
        if (all[i] - all[i - 1] < 0.01 - 1e-9)
            fail("two within an interval", (uint64_t)i);
    if (count < PACE_STEPS / 140) /* which of the two threads claims is chance */
        fail("too few claims", (uint64_t)count);
}

/* What finds no memory is not there, and what was there stays. */
static void judge_no_memory(void) {
    static uint8_t piece[5000], got[3000];
    fastcall_audio scarce;
    fastcall_audio_begin(&scarce, 1);
    if (fastcall_audio_push(&scarce, piece, 100) != 100)
        fail("no memory", 0);
    memory_is_out = 1;
    if (fastcall_audio_push(&scarce, piece, 5000) != FASTCALL_BLOCK_BYTES - 100)
        fail("more was taken than there is memory", 0);
    if (fastcall_audio_push(&scarce, piece, 1) || fastcall_audio_push_silence(&scarce, 5000))
        fail("something was taken without memory", 0);
    memory_is_out = 0;
    if (fastcall_audio_push_silence(&scarce, 5000) != 5000)
        fail("silence was not taken", 0);
    fastcall_audio_take(&scarce, fastcall_audio_waiting(&scarce));
    fastcall_audio_read(&scarce, 1000, 3000, got, NULL);
    for (int i = 0; i < 3000; i++)
        if (got[i] != (1000 + i < FASTCALL_BLOCK_BYTES ? 0 : 0xFF))
            fail("another sample than was pushed", (uint64_t)i);
    fastcall_audio_end(&scarce);
}

int main(void) {
    judge_no_memory();
    pthread_t producer;
    fastcall_audio_begin(&audio, 1);
    if (pthread_create(&producer, NULL, produce, NULL))
        fail("no thread", 0);
    uint64_t silent = consume();
    pthread_join(producer, NULL);
    if (silent != silences + fastcall_count(&audio.dropped))
        fail("silence is not what was dropped or silent", silent);
    if (atomic_load(&audio.memory_bytes) > 30000 + LIMIT + 40 * FASTCALL_BLOCK_BYTES)
        fail("memory is not given back", (uint64_t)atomic_load(&audio.memory_bytes));
    printf("samples %llu dropped %llu\n", (unsigned long long)fastcall_count(&audio.pushed),
           (unsigned long long)fastcall_count(&audio.dropped));
    fastcall_audio_end(&audio);
    judge_pace();
    return 0;
}
