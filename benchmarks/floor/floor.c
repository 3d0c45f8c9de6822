/* The least that a server of these calls can do: what `density.py` measures fastcall against.

   Telephone messages in (WebSocket, JSON, base64), voice detection for every 20 ms, LINEAR16 out in gRPC messages on
   HTTP/2 streams, 80 to a connection. Whatever costs more than that is left out: JSON is searched and not parsed,
   audio is taken in the order in which it comes, what the recognizer returns is dropped, nothing is logged or counted,
   nothing survives a failure. With audio to say it sends that to every call without end: chunks with their marks in
   WebSocket frames, two at a time, two seconds ahead, as fastcall does. One thread, epoll. Connections are accepted and upgraded by `serve.py`; voice detection
   is webrtcvad's own C, HTTP/2 is libnghttp2, both found at run time. Trusts whoever talks to it: for benchmarks only.

   RFC 6455 section 5.2; https://www.twilio.com/docs/voice/media-streams/websocket-messages;
   https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; https://nghttp2.org/documentation/apiref.html */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    STREAMS = 80,          /* of a connection */
    FRAME_SAMPLES = 160,   /* 20 ms */
    BATCH_SAMPLES = 1200,  /* 150 ms */
    IN_ROOM = 1 << 16,
    CHUNK_BYTES = 1600,    /* 200 ms */
    CHUNKS_AT_FIRST = 10,
    CHUNKS_A_TURN = 2,
    SID_ROOM = 64,
    CHUNK_ROOM = 4 + 128 + SID_ROOM + (CHUNK_BYTES + 2) / 3 * 4 + 4 + 128 + SID_ROOM,
    EVENTS = 256,
    DATA_FLAG_EOF = 1,
    ERR_DEFERRED = -508,
    SETTINGS_INITIAL_WINDOW = 4,
};

/* --- libraries -------------------------------------------------------------------------------------------- */

typedef struct nghttp2_session nghttp2_session;
typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
typedef struct { uint8_t *name, *value; size_t name_bytes, value_bytes; uint8_t flags; } nghttp2_nv;
typedef struct { int32_t id; uint32_t value; } nghttp2_settings_entry;
typedef union { int fd; void* ptr; } nghttp2_data_source;
typedef ssize_t (*nghttp2_read)(
    nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*, nghttp2_data_source*, void*
);
typedef struct { nghttp2_data_source source; nghttp2_read read; } nghttp2_data_provider;
typedef int (*nghttp2_on_close)(nghttp2_session*, int32_t, uint32_t, void*);

static struct {
    int (*session_callbacks_new)(nghttp2_session_callbacks**);
    void (*session_callbacks_set_on_stream_close_callback)(nghttp2_session_callbacks*, nghttp2_on_close);
    int (*session_client_new)(nghttp2_session**, const nghttp2_session_callbacks*, void*);
    ssize_t (*session_mem_recv)(nghttp2_session*, const uint8_t*, size_t);
    ssize_t (*session_mem_send)(nghttp2_session*, const uint8_t**);
    int (*session_resume_data)(nghttp2_session*, int32_t);
    void* (*session_get_stream_user_data)(nghttp2_session*, int32_t);
    int32_t (*submit_request)(
        nghttp2_session*, const void*, const nghttp2_nv*, size_t, const nghttp2_data_provider*, void*
    );
    int (*submit_settings)(nghttp2_session*, uint8_t, const nghttp2_settings_entry*, size_t);
} http2;

static struct {
    int (*create)(void**);
    int (*init)(void*);
    int (*set_mode)(void*, int);
    int (*process)(void*, int, const int16_t*, size_t);
} vad;

#define RESOLVE(library, table, prefix, name) (*(void**)&table.name = dlsym(library, prefix #name))

/* --- calls and connections -------------------------------------------------------------------------------- */

typedef struct {
    int fd, is_upstream; /* first in both structs: what epoll knows */
    nghttp2_session* session;
    uint8_t* out;
    size_t out_bytes, out_room;
    int streams, is_dirty, waits_to_write;
} upstream;

typedef struct call {
    int fd, is_upstream;
    struct call* speaks_next;
    double speaks_at;
    size_t said_bytes;
    unsigned marks;
    char sid[SID_ROOM];
    upstream* up;
    void* vad;
    int32_t stream;
    int is_deferred, is_half_closed;
    uint8_t* queue; /* gRPC messages on their way */
    size_t queue_start, queue_end, queue_room;
    size_t in_bytes, waiting;
    int16_t pcm[BATCH_SAMPLES + 2 * FRAME_SAMPLES];
    uint8_t in[IN_ROOM];
} call;

static struct {
    int epoll;
    struct sockaddr_in recognizer;
    upstream* newest;
    upstream* dirty[1024];
    int dirty_count, voiced;
    call *first_speaker, *last_speaker; /* all have the same period, so they are in order */
    const uint8_t* answer;
    size_t answer_bytes;
    int16_t linear[256];
    int8_t base64[256];
} state;

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void watch(int operation, int fd, uint32_t events, void* what) {
    struct epoll_event event = {.events = events, .data.ptr = what};
    epoll_ctl(state.epoll, operation, fd, &event);
}

static void mark_dirty(upstream* up) {
    if (up->is_dirty || state.dirty_count == 1024)
        return;
    up->is_dirty = 1;
    state.dirty[state.dirty_count++] = up;
}

static void flush(upstream* up) {
    const uint8_t* data;
    ssize_t bytes, sent;
    while ((bytes = http2.session_mem_send(up->session, &data)) > 0) {
        if (up->out_bytes + (size_t)bytes > up->out_room) {
            up->out_room = 2 * (up->out_bytes + (size_t)bytes);
            up->out = realloc(up->out, up->out_room);
        }
        memcpy(up->out + up->out_bytes, data, (size_t)bytes);
        up->out_bytes += (size_t)bytes;
    }
    if (!up->out_bytes)
        return;
    sent = send(up->fd, up->out, up->out_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
        up->out_bytes -= (size_t)sent;
        memmove(up->out, up->out + sent, up->out_bytes);
    }
    if ((up->out_bytes != 0) != up->waits_to_write) {
        up->waits_to_write = up->out_bytes != 0;
        watch(EPOLL_CTL_MOD, up->fd, EPOLLIN | (up->waits_to_write ? EPOLLOUT : 0u), up);
    }
}

static ssize_t read_queue(
    nghttp2_session* session, int32_t stream, uint8_t* to, size_t room, uint32_t* flags, nghttp2_data_source* source,
    void* user
) {
    call* c = source->ptr;
    size_t bytes = c->queue_end - c->queue_start;
    (void)session, (void)stream, (void)user;
    if (!bytes && !c->is_half_closed) {
        c->is_deferred = 1;
        return ERR_DEFERRED;
    }
    bytes = bytes < room ? bytes : room;
    memcpy(to, c->queue + c->queue_start, bytes);
    c->queue_start += bytes;
    if (c->queue_start == c->queue_end) {
        c->queue_start = c->queue_end = 0;
        if (c->is_half_closed)
            *flags |= DATA_FLAG_EOF;
    }
    return (ssize_t)bytes;
}

/* A gRPC message: prefix, one field, its bytes. */
static uint8_t* put_message(call* c, uint8_t tag, size_t bytes) {
    size_t length = 1 + (bytes > 127 ? 2 : 1) + bytes;
    uint8_t* to;
    if (c->queue_end + length + 5 > c->queue_room) {
        c->queue_room = 2 * (c->queue_end + length + 5);
        c->queue = realloc(c->queue, c->queue_room);
    }
    to = c->queue + c->queue_end;
    c->queue_end += length + 5;
    *to++ = 0;
    *to++ = 0;
    *to++ = (uint8_t)(length >> 16);
    *to++ = (uint8_t)(length >> 8);
    *to++ = (uint8_t)length;
    *to++ = tag;
    if (bytes > 127)
        *to++ = (uint8_t)(bytes & 127) | 128;
    *to++ = (uint8_t)(bytes > 127 ? bytes >> 7 : bytes);
    return to;
}

static void resume(call* c) {
    if (c->is_deferred) {
        c->is_deferred = 0;
        http2.session_resume_data(c->up->session, c->stream);
    }
    mark_dirty(c->up);
}

static void send_batch(call* c) {
    if (c->waiting) {
        memcpy(put_message(c, 0x12, 2 * c->waiting), c->pcm, 2 * c->waiting);
        c->waiting = 0;
    }
    resume(c);
}

static int on_stream_close(nghttp2_session* session, int32_t stream, uint32_t code, void* user) {
    static const uint8_t close_frame[] = {0x88, 2, 3, 0xE8};
    call* c = http2.session_get_stream_user_data(session, stream);
    (void)code, (void)user;
    if (c) {
        c->up->streams--;
        c->up = NULL;
        if (send(c->fd, close_frame, sizeof close_frame, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return 0; /* the caller has gone */
    }
    return 0;
}

static upstream* connect_upstream(void) {
    static const nghttp2_settings_entry settings = {SETTINGS_INITIAL_WINDOW, 1 << 24};
    nghttp2_session_callbacks* callbacks;
    int one = 1;
    upstream* up = calloc(1, sizeof *up);
    up->is_upstream = 1;
    up->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(up->fd, (struct sockaddr*)&state.recognizer, sizeof state.recognizer) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(up->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    http2.session_callbacks_new(&callbacks);
    http2.session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    http2.session_client_new(&up->session, callbacks, up);
    http2.submit_settings(up->session, 0, &settings, 1);
    watch(EPOLL_CTL_ADD, up->fd, EPOLLIN, up);
    return up;
}

static void open_stream(call* c) {
#define HEADER(name, value) {(uint8_t*)(name), (uint8_t*)(value), sizeof(name) - 1, sizeof(value) - 1, 0}
    static const nghttp2_nv headers[] = {
        HEADER(":method", "POST"),
        HEADER(":scheme", "http"),
        HEADER(":path", "/google.cloud.speech.v1p1beta1.Speech/StreamingRecognize"),
        HEADER(":authority", "127.0.0.1"),
        HEADER("te", "trailers"),
        HEADER("content-type", "application/grpc"),
    };
    nghttp2_data_provider provider = {{.ptr = c}, read_queue};
    if (!state.newest || state.newest->streams == STREAMS)
        state.newest = connect_upstream();
    c->up = state.newest;
    c->up->streams++;
    memset(put_message(c, 0x0a, 2), 0, 2); /* the recognizer of the benchmark reads no configuration */
    c->stream = http2.submit_request(c->up->session, NULL, headers, sizeof headers / sizeof *headers, &provider, c);
    mark_dirty(c->up);
}

/* --- what is said ----------------------------------------------------------------------------------------- */

static uint8_t* put_frame(uint8_t* to, const char* text, size_t bytes) {
    *to++ = 0x81;
    if (bytes > 125) {
        *to++ = 126;
        *to++ = (uint8_t)(bytes >> 8);
    }
    *to++ = (uint8_t)bytes;
    memcpy(to, text, bytes);
    return to + bytes;
}

static size_t put_base64(char* to, const uint8_t* from, size_t bytes) {
    char* start = to;
    for (; bytes >= 3; bytes -= 3, from += 3) {
        uint32_t word = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        *to++ = ALPHABET[word >> 18];
        *to++ = ALPHABET[word >> 12 & 63];
        *to++ = ALPHABET[word >> 6 & 63];
        *to++ = ALPHABET[word & 63];
    }
    if (bytes) {
        uint32_t word = (uint32_t)from[0] << 16 | (bytes > 1 ? (uint32_t)from[1] << 8 : 0u);
        *to++ = ALPHABET[word >> 18];
        *to++ = ALPHABET[word >> 12 & 63];
        *to++ = bytes > 1 ? ALPHABET[word >> 6 & 63] : '=';
        *to++ = '=';
    }
    return (size_t)(to - start);
}

static void hang_up(call* c) {
    epoll_ctl(state.epoll, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    c->fd = -1; /* its stream may still know it: a benchmark keeps it */
}

static void say(call* c, int chunks) {
    uint8_t out[CHUNKS_AT_FIRST * CHUNK_ROOM], *to = out;
    char text[CHUNK_ROOM];
    for (; chunks; chunks--) {
        int bytes = sprintf(text, "{\"event\": \"media\", \"streamSid\": \"%s\", \"media\": {\"payload\": \"", c->sid);
        size_t end = (size_t)bytes + put_base64(text + bytes, state.answer + c->said_bytes, CHUNK_BYTES);
        memcpy(text + end, "\"}}", 3);
        to = put_frame(to, text, end + 3);
        c->said_bytes += CHUNK_BYTES;
        if (c->said_bytes + CHUNK_BYTES > state.answer_bytes)
            c->said_bytes = 0;
        bytes = sprintf(
            text, "{\"event\": \"mark\", \"streamSid\": \"%s\", \"mark\": {\"name\": \"fastcall:%u\"}}", c->sid, ++c->marks
        );
        to = put_frame(to, text, (size_t)bytes);
    }
    if (send(c->fd, out, (size_t)(to - out), MSG_DONTWAIT | MSG_NOSIGNAL) != to - out)
        hang_up(c);
}

static void speak_at(call* c, double at) {
    c->speaks_at = at;
    c->speaks_next = NULL;
    if (state.first_speaker)
        state.last_speaker->speaks_next = c;
    else
        state.first_speaker = c;
    state.last_speaker = c;
}

static void begin_to_speak(call* c, const uint8_t* text, size_t bytes) {
    static const char key[] = "\"streamSid\":\"";
    const uint8_t *sid = memmem(text, bytes, key, sizeof key - 1), *end;
    if (!sid)
        return;
    sid += sizeof key - 1;
    end = memchr(sid, '"', (size_t)(text + bytes - sid));
    if (!end || end - sid >= SID_ROOM)
        return;
    memcpy(c->sid, sid, (size_t)(end - sid));
    say(c, CHUNKS_AT_FIRST);
    speak_at(c, now_s() + CHUNKS_A_TURN * CHUNK_BYTES / 8000.0);
}

static void speak_on(double now) {
    while (state.first_speaker && state.first_speaker->speaks_at <= now) {
        call* c = state.first_speaker;
        state.first_speaker = c->speaks_next;
        if (c->fd < 0 || c->is_half_closed)
            continue;
        say(c, CHUNKS_A_TURN);
        speak_at(c, c->speaks_at + CHUNKS_A_TURN * CHUNK_BYTES / 8000.0);
    }
}

/* How long to wait for events, at most 50 ms. */
static int patience_ms(void) {
    double left_s = state.first_speaker ? state.first_speaker->speaks_at - now_s() : 1.0;
    return left_s <= 0 ? 0 : left_s >= 0.049 ? 50 : (int)(left_s * 1000) + 1;
}

/* --- a telephone's messages ------------------------------------------------------------------------------- */

static void take_payload(call* c, const uint8_t* text, const uint8_t* end) {
    uint8_t codes[4096];
    size_t count = 0;
    const uint8_t* close = memchr(text, '"', (size_t)(end - text));
    if (!close || close - text > 4096)
        return;
    for (; text + 4 <= close; text += 4) {
        uint32_t word = (uint32_t)state.base64[text[0]] << 18 | (uint32_t)state.base64[text[1]] << 12 |
                        (uint32_t)(state.base64[text[2]] & 63) << 6 | (uint32_t)(state.base64[text[3]] & 63);
        codes[count++] = (uint8_t)(word >> 16);
        codes[count++] = (uint8_t)(word >> 8);
        codes[count++] = (uint8_t)word;
    }
    count -= (size_t)(close[-1] == '=') + (size_t)(close[-2] == '=');
    for (size_t at = 0; at + FRAME_SAMPLES <= count; at += FRAME_SAMPLES) {
        int16_t* pcm = c->pcm + c->waiting;
        for (int i = 0; i < FRAME_SAMPLES; i++)
            pcm[i] = state.linear[codes[at + (size_t)i]];
        state.voiced += vad.process(c->vad, 8000, pcm, FRAME_SAMPLES);
        c->waiting += FRAME_SAMPLES;
        if (c->waiting >= BATCH_SAMPLES)
            send_batch(c);
    }
}

static void take_text(call* c, const uint8_t* text, size_t bytes) {
    static const char payload[] = "\"payload\":\"", start[] = "\"event\":\"start\"", stop[] = "\"event\":\"stop\"";
    const uint8_t* found = memmem(text, bytes, payload, sizeof payload - 1);
    if (found) {
        if (c->up)
            take_payload(c, found + sizeof payload - 1, text + bytes);
    } else if (memmem(text, bytes, start, sizeof start - 1)) {
        open_stream(c);
        if (state.answer_bytes)
            begin_to_speak(c, text, bytes);
    } else if (c->up && memmem(text, bytes, stop, sizeof stop - 1)) {
        c->is_half_closed = 1;
        send_batch(c);
    }
}

static void take_frames(call* c) {
    uint8_t *at = c->in, *end = at + c->in_bytes;
    while (end - at >= 6) {
        size_t bytes = at[1] & 127, head = 6;
        if (bytes == 126) {
            bytes = (size_t)at[2] << 8 | at[3];
            head = 8;
        }
        if ((size_t)(end - at) < head + bytes)
            break;
        for (size_t i = 0; i < bytes; i++)
            at[head + i] ^= at[head - 4 + (i & 3)];
        if ((at[0] & 15) == 1)
            take_text(c, at + head, bytes);
        at += head + bytes;
    }
    c->in_bytes = (size_t)(end - at);
    memmove(c->in, at, c->in_bytes);
}

static void read_call(call* c) {
    ssize_t got = recv(c->fd, c->in + c->in_bytes, IN_ROOM - c->in_bytes, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        hang_up(c);
    } else if (got > 0) {
        c->in_bytes += (size_t)got;
        take_frames(c);
    }
}

static void read_upstream(upstream* up) {
    uint8_t data[1 << 16];
    ssize_t got = recv(up->fd, data, sizeof data, MSG_DONTWAIT);
    if (got > 0)
        http2.session_mem_recv(up->session, data, (size_t)got);
    mark_dirty(up);
}

/* --- for serve.py ----------------------------------------------------------------------------------------- */

/* What is missing; NULL if all is there. */
const char* floor_begin(int recognizer_port, const char* vad_module) {
    void* h2 = dlopen("libnghttp2.so.14", RTLD_NOW | RTLD_LOCAL);
    void* detector = dlopen(vad_module, RTLD_NOW | RTLD_LOCAL);
    if (!h2)
        return "libnghttp2.so.14 is not here";
    if (!detector)
        return "webrtcvad's module cannot be loaded";
    if (!RESOLVE(h2, http2, "nghttp2_", session_callbacks_new) ||
        !RESOLVE(h2, http2, "nghttp2_", session_callbacks_set_on_stream_close_callback) ||
        !RESOLVE(h2, http2, "nghttp2_", session_client_new) || !RESOLVE(h2, http2, "nghttp2_", session_mem_recv) ||
        !RESOLVE(h2, http2, "nghttp2_", session_mem_send) || !RESOLVE(h2, http2, "nghttp2_", session_resume_data) ||
        !RESOLVE(h2, http2, "nghttp2_", session_get_stream_user_data) ||
        !RESOLVE(h2, http2, "nghttp2_", submit_request) || !RESOLVE(h2, http2, "nghttp2_", submit_settings))
        return "libnghttp2 lacks a function";
    *(void**)&vad.create = dlsym(detector, "WebRtcVad_Create");
    *(void**)&vad.init = dlsym(detector, "WebRtcVad_Init");
    *(void**)&vad.set_mode = dlsym(detector, "WebRtcVad_set_mode");
    *(void**)&vad.process = dlsym(detector, "WebRtcVad_Process");
    if (!vad.create || !vad.init || !vad.set_mode || !vad.process)
        return "webrtcvad's module lacks a function";
    for (int code = 0; code < 256; code++) { /* ITU-T G.711, mu-law */
        int inverted = ~code & 255, magnitude = (((inverted & 15) << 3) + 132) << (inverted >> 4 & 7);
        state.linear[code] = (int16_t)(inverted & 128 ? 132 - magnitude : magnitude - 132);
    }
    memset(state.base64, 0, sizeof state.base64);
    for (int i = 0; i < 64; i++)
        state.base64[(uint8_t)ALPHABET[i]] = (int8_t)i;
    state.epoll = epoll_create1(EPOLL_CLOEXEC);
    state.recognizer = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)recognizer_port)};
    state.recognizer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return NULL;
}

/* Say this mu-law to every call, again and again; the caller keeps it. */
void floor_speak(const uint8_t* mulaw, size_t bytes) {
    state.answer = mulaw;
    state.answer_bytes = bytes;
}

/* A socket whose upgrade was answered, and what was received after the request. */
void floor_add(int fd, const uint8_t* early, size_t bytes) {
    call* c = calloc(1, sizeof *c);
    c->fd = fd;
    vad.create(&c->vad);
    vad.init(c->vad);
    vad.set_mode(c->vad, 2);
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
    memcpy(c->in, early, bytes);
    c->in_bytes = bytes;
    take_frames(c);
}

/* Serve for so long, or until `listener` has a connection. */
void floor_run(int listener, int turns) {
    struct epoll_event events[EVENTS];
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (int has_caller = 0; turns > 0 && !has_caller; turns--) {
        int count = epoll_wait(state.epoll, events, EVENTS, patience_ms());
        for (int at = 0; at < count; at++) {
            upstream* what = events[at].data.ptr;
            if (!what)
                has_caller = 1;
            else if (what->is_upstream)
                read_upstream((upstream*)what);
            else
                read_call((call*)(void*)what);
        }
        if (state.first_speaker)
            speak_on(now_s());
        for (int at = 0; at < state.dirty_count; at++) {
            state.dirty[at]->is_dirty = 0;
            flush(state.dirty[at]);
        }
        state.dirty_count = 0;
    }
    epoll_ctl(state.epoll, EPOLL_CTL_DEL, listener, NULL);
}
