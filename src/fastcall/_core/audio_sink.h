/* How compiled code hands audio to a recognizer's stream, from one extension module to another: a capsule of this name
   holds an audio sink, and the object that it belongs to. Loop thread only, with the GIL. */
#ifndef FASTCALL_AUDIO_SINK_H
#define FASTCALL_AUDIO_SINK_H

#include <stddef.h>
#include <stdint.h>

#define FASTCALL_AUDIO_SINK "fastcall.audio_sink"

typedef struct {
    void* stream;
    /* Room for `bytes` bytes of LINEAR16, valid until the next call; NULL: write it the ordinary way. */
    uint8_t* (*reserve)(void* stream, size_t bytes);
    /* The room was filled. 1: the connection must be flushed, and nobody has arranged that yet. */
    int (*commit)(void* stream, size_t bytes);
} fastcall_audio_sink;

#endif
