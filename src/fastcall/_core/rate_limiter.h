/* Limits emissions to one per interval. Any number of threads, no locks.

   The time of the last emission is one atomic word: of two threads that find an emission due at the same moment, one
   exchanges the word and emits, and the other sees the new value. Acquire and release order, so that the next emitter
   has seen what was emitted before. */
#ifndef FASTCALL_RATE_LIMITER_H
#define FASTCALL_RATE_LIMITER_H

#include <math.h>
#include <stdatomic.h>

#include "simd.h"

typedef struct {
    double interval_s;
    _Atomic(uint64_t) last; /* the bits of a double: seconds; NaN before the first emission */
} fastcall_rate_limiter;

static inline uint64_t fastcall_rate_limiter_bits(double seconds) {
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    return bits;
}

static inline double fastcall_rate_limiter_seconds(uint64_t bits) {
    double seconds;
    memcpy(&seconds, &bits, sizeof seconds);
    return seconds;
}

static inline void fastcall_rate_limiter_begin(fastcall_rate_limiter* rate_limiter, double interval_s) {
    rate_limiter->interval_s = interval_s;
    atomic_init(&rate_limiter->last, fastcall_rate_limiter_bits(NAN));
}

/* The time of the last emission, in seconds; NaN before the first. */
static inline double fastcall_rate_limiter_last(fastcall_rate_limiter* rate_limiter) {
    return fastcall_rate_limiter_seconds(atomic_load_explicit(&rate_limiter->last, memory_order_acquire));
}

/* Whether an emission is due at `now`; with `claim`, the caller also claims it, and none is due for an interval. A
   `now` before the last emission comes from a delayed thread, and is not due; but if it is more than an interval
   before, the clock went back, and the interval starts again. */
static inline int fastcall_rate_limiter_is_due(fastcall_rate_limiter* rate_limiter, double now, int claim) {
    uint64_t seen = atomic_load_explicit(&rate_limiter->last, memory_order_acquire);
    for (;;) {
        double last = fastcall_rate_limiter_seconds(seen);
        int went_back = last - now > rate_limiter->interval_s; /* false for NaN */
        int due = isnan(last) || now >= (went_back ? now : last) + rate_limiter->interval_s;
        if (!went_back && !(due && claim))
            return due;
        if (atomic_compare_exchange_weak_explicit(
                &rate_limiter->last, &seen, fastcall_rate_limiter_bits(now), memory_order_acq_rel, memory_order_acquire
            ))
            return due;
    }
}

#endif
