/* A call's audio by sample position: a queue from one thread to another, and the audio that the consumer keeps.

   Positions count samples since the audio began; they never wrap. The samples [kept_from, pushed) lie in a chain of
   blocks, oldest first; those before `taken` belong to the consumer alone, the others wait. Memory is allocated and
   freed in blocks of a quarter of a second; long silence is a block without memory.

   One thread at a time is the producer (push, push_silence), one the consumer (all other changes).
   Neither ever waits for the other:
   - The producer writes samples, and links the blocks that hold them, before it stores `pushed` with release order.
     The consumer loads `pushed` with acquire order, and so sees all samples before it and the links that lead to them.
   - `next` is stored with release and loaded with acquire order, because the consumer may follow a link to samples that
     `pushed` does not count yet: the new block's `start` must be visible, since it is where the previous block ends.
   - The producer accesses only the last block, the consumer frees only blocks that have a next one.
   - The producer uses `taken` only for the number of waiting samples. No memory is reused because of it, so its order
     is relaxed, as is that of the counts for statistics. */
#ifndef FASTCALL_AUDIO_H
#define FASTCALL_AUDIO_H

#include <stdatomic.h>
#include <stdlib.h>

#include "simd.h"

enum { FASTCALL_BLOCK_BYTES = 2016 }; /* 2040 with its head, which malloc rounds up to 2048 */

typedef struct fastcall_block {
    _Atomic(struct fastcall_block*) next;
    uint64_t start;   /* the position of its first sample */
    ptrdiff_t memory; /* capacity in bytes; 0: silence up to the start of the next block */
    uint8_t samples[];
} fastcall_block;

/* Only the head of a block: for silence, and for the empty silence at the start of each chain. */
typedef struct {
    _Atomic(struct fastcall_block*) next;
    uint64_t start;
    ptrdiff_t memory;
} fastcall_root;

typedef struct {
    int sample_bytes; /* 1: mu-law, 2: LINEAR16 */
    fastcall_root root;
    /* the producer's; others may load the counts */
    fastcall_block* last;
    _Atomic(uint64_t) pushed;
    _Atomic(uint64_t) dropped;
    /* the consumer's; others may load the count */
    fastcall_block* first;
    fastcall_block* read_last; /* where the last read ended: the next one usually begins there */
    uint64_t kept_from;
    _Atomic(uint64_t) taken;
    /* changed by both sides */
    _Atomic(ptrdiff_t) memory_bytes;
} fastcall_audio;

static inline void fastcall_audio_begin(fastcall_audio* audio, int sample_bytes) {
    memset(audio, 0, sizeof *audio);
    audio->sample_bytes = sample_bytes;
    audio->first = audio->last = audio->read_last = (fastcall_block*)&audio->root;
}

static inline uint64_t fastcall_count(const _Atomic(uint64_t)* count) {
    return atomic_load_explicit(count, memory_order_relaxed);
}

/* For any thread: samples pushed, taken and dropped since the beginning, and bytes of memory. */
static inline uint64_t fastcall_audio_pushed(const fastcall_audio* audio) { return fastcall_count(&audio->pushed); }
static inline uint64_t fastcall_audio_taken(const fastcall_audio* audio) { return fastcall_count(&audio->taken); }
static inline uint64_t fastcall_audio_dropped(const fastcall_audio* audio) { return fastcall_count(&audio->dropped); }
static inline ptrdiff_t fastcall_audio_memory(const fastcall_audio* audio) {
    return atomic_load_explicit(&audio->memory_bytes, memory_order_relaxed);
}

/* Frees everything. Neither side may use it any more. */
static inline void fastcall_audio_end(fastcall_audio* audio) {
    fastcall_block* block = audio->first;
    while (block != NULL) {
        fastcall_block* next = atomic_load_explicit(&block->next, memory_order_relaxed);
        if (block != (fastcall_block*)&audio->root)
            free(block);
        block = next;
    }
}

/* --- the producer ------------------------------------------------------------------------------------------------ */

/* Links a block that begins at `position`; 0 if there is no memory for it. */
static inline int fastcall_audio_extend(fastcall_audio* audio, uint64_t position, ptrdiff_t memory) {
    ptrdiff_t bytes = (ptrdiff_t)sizeof(fastcall_block) + memory;
    fastcall_block* block = malloc((size_t)bytes);
    if (block == NULL)
        return 0;
    atomic_init(&block->next, NULL);
    block->start = position;
    block->memory = memory;
    atomic_fetch_add_explicit(&audio->memory_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&audio->last->next, block, memory_order_release);
    audio->last = block;
    return 1;
}

/* How many of `samples` fit if at most `limit` may wait; 64-bit, so that nothing wraps. */
static inline ptrdiff_t fastcall_audio_fitting(fastcall_audio* audio, ptrdiff_t samples, ptrdiff_t limit) {
    uint64_t waiting = fastcall_count(&audio->pushed) - fastcall_count(&audio->taken);
    if (waiting >= (uint64_t)limit)
        return 0;
    return (uint64_t)samples < (uint64_t)limit - waiting ? samples : (ptrdiff_t)((uint64_t)limit - waiting);
}

static inline void fastcall_audio_drop(fastcall_audio* audio, ptrdiff_t samples) {
    if (samples > 0)
        atomic_store_explicit(&audio->dropped, fastcall_count(&audio->dropped) + (uint64_t)samples, memory_order_relaxed);
}

/* Appends `samples` samples, silence if `source` is NULL; returns how many; fewer only if memory ran out. */
static inline ptrdiff_t fastcall_audio_push(fastcall_audio* audio, const uint8_t* source, ptrdiff_t samples) {
    uint64_t pushed = fastcall_count(&audio->pushed);
    ptrdiff_t width = audio->sample_bytes, done = 0;
    while (done < samples) {
        uint64_t position = pushed + (uint64_t)done;
        ptrdiff_t used = audio->last->memory ? (ptrdiff_t)(position - audio->last->start) * width : 0;
        if (used == audio->last->memory) {
            if (!fastcall_audio_extend(audio, position, FASTCALL_BLOCK_BYTES))
                break;
            used = 0;
        }
        ptrdiff_t room = (audio->last->memory - used) / width;
        ptrdiff_t piece = samples - done < room ? samples - done : room;
        if (source != NULL)
            memcpy(audio->last->samples + used, source + done * width, (size_t)(piece * width));
        else
            memset(audio->last->samples + used, width == 1 ? 0xFF : 0, (size_t)(piece * width));
        done += piece;
    }
    atomic_store_explicit(&audio->pushed, pushed + (uint64_t)done, memory_order_release);
    return done;
}

/* Appends `samples` samples of silence; returns as above. Silence shorter than a block is written like audio:
   otherwise, a peer that alternates samples and gaps would use a block for each. */
static inline ptrdiff_t fastcall_audio_push_silence(fastcall_audio* audio, ptrdiff_t samples) {
    uint64_t pushed = fastcall_count(&audio->pushed);
    if (audio->last->memory != 0) {
        if (samples <= FASTCALL_BLOCK_BYTES / audio->sample_bytes)
            return fastcall_audio_push(audio, NULL, samples);
        if (!fastcall_audio_extend(audio, pushed, 0))
            return 0;
    }
    atomic_store_explicit(&audio->pushed, pushed + (uint64_t)samples, memory_order_release);
    return samples;
}

/* --- the consumer ------------------------------------------------------------------------------------------------ */

/* The number of waiting samples. It can only grow, unless the consumer itself takes some. */
static inline ptrdiff_t fastcall_audio_waiting(fastcall_audio* audio) {
    uint64_t taken = fastcall_count(&audio->taken);
    return (ptrdiff_t)(atomic_load_explicit(&audio->pushed, memory_order_acquire) - taken);
}

/* The oldest `samples` waiting samples, of which there must be as many, become the consumer's. */
static inline void fastcall_audio_take(fastcall_audio* audio, ptrdiff_t samples) {
    atomic_store_explicit(&audio->taken, fastcall_count(&audio->taken) + (uint64_t)samples, memory_order_relaxed);
}

/* The samples [position, position + samples), all of them kept or waiting, to `target`: decoded from mu-law to
   LINEAR16 by `decode` unless that is NULL. */
static inline void fastcall_audio_read(
    fastcall_audio* audio, uint64_t position, ptrdiff_t samples, uint8_t* target, fastcall_kernel decode
) {
    ptrdiff_t width = audio->sample_bytes, new_width = decode ? 2 : width;
    int silence = width == 1 && !decode ? 0xFF : 0; /* mu-law 0xFF is LINEAR16 0 */
    fastcall_block* block = audio->read_last->start <= position ? audio->read_last : audio->first;
    uint64_t end = position + (uint64_t)samples;
    while (position < end) {
        fastcall_block* next = atomic_load_explicit(&block->next, memory_order_acquire);
        uint64_t stop = next != NULL && next->start < end ? next->start : end;
        ptrdiff_t piece = stop > position ? (ptrdiff_t)(stop - position) : 0;
        const uint8_t* source = block->samples + (piece && block->memory ? (ptrdiff_t)(position - block->start) * width : 0);
        if (block->memory == 0)
            memset(target, silence, (size_t)(piece * new_width));
        else if (decode)
            decode(source, target, piece);
        else
            memcpy(target, source, (size_t)(piece * width));
        target += piece * new_width;
        position += (uint64_t)piece;
        audio->read_last = block;
        block = next;
    }
}

/* Frees samples before `position`, which must not be beyond `taken`. */
static inline void fastcall_audio_forget(fastcall_audio* audio, uint64_t position) {
    if (position <= audio->kept_from)
        return;
    audio->kept_from = position;
    fastcall_block* block = audio->first;
    fastcall_block* next = atomic_load_explicit(&block->next, memory_order_acquire);
    while (next != NULL && next->start <= position) {
        if (audio->read_last == block)
            audio->read_last = next;
        if (block != (fastcall_block*)&audio->root) {
            atomic_fetch_sub_explicit(
                &audio->memory_bytes, (ptrdiff_t)sizeof(fastcall_block) + block->memory, memory_order_relaxed
            );
            free(block);
        }
        block = next;
        next = atomic_load_explicit(&block->next, memory_order_acquire);
    }
    audio->first = block;
}

#endif
