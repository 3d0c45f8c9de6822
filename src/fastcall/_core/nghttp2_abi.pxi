# libnghttp2's interface, and how it is found. Included by _http2.pyx.
#
# The library is loaded at run time and not linked: machines without it (or without its headers, which few have) can
# build and run fastcall, with grpcio. Only the parts used are declared, with the ABI of libnghttp2.so.14, which has
# not changed since 2015: https://nghttp2.org/documentation/apiref.html

cdef extern from * nogil:
    """
    #include <dlfcn.h>
    #include <stddef.h>
    #include <stdint.h>
    #include <sys/types.h>

    typedef struct nghttp2_session nghttp2_session;
    typedef struct nghttp2_session_callbacks nghttp2_session_callbacks;
    typedef struct nghttp2_option nghttp2_option;
    typedef struct { uint8_t *name, *value; size_t namelen, valuelen; uint8_t flags; } nghttp2_nv;
    typedef struct { int32_t settings_id; uint32_t value; } nghttp2_settings_entry;
    typedef struct { size_t length; int32_t stream_id; uint8_t type, flags, reserved; } nghttp2_frame_hd;
    typedef struct {
        nghttp2_frame_hd hd; int32_t last_stream_id; uint32_t error_code; uint8_t *opaque_data; size_t opaque_data_len;
        uint8_t reserved;
    } nghttp2_goaway;
    typedef struct { nghttp2_frame_hd hd; uint8_t opaque_data[8]; } nghttp2_ping;
    /* Only read through the library's pointers, and only the member for hd.type. */
    typedef union { nghttp2_frame_hd hd; nghttp2_goaway goaway; nghttp2_ping ping; } nghttp2_frame;
    typedef union { int fd; void *ptr; } nghttp2_data_source;
    typedef ssize_t (*nghttp2_read)(nghttp2_session *, int32_t, uint8_t *, size_t, uint32_t *, nghttp2_data_source *,
                                    void *);
    typedef struct { nghttp2_data_source source; nghttp2_read read_callback; } nghttp2_data_provider;
    typedef int (*nghttp2_on_frame)(nghttp2_session *, const nghttp2_frame *, void *);
    typedef int (*nghttp2_on_chunk)(nghttp2_session *, uint8_t, int32_t, const uint8_t *, size_t, void *);
    typedef int (*nghttp2_on_close)(nghttp2_session *, int32_t, uint32_t, void *);
    typedef int (*nghttp2_on_header)(nghttp2_session *, const nghttp2_frame *, const uint8_t *, size_t,
                                     const uint8_t *, size_t, uint8_t, void *);

    #define NGHTTP2_FUNCTIONS(F) \\
        F(int, session_callbacks_new, (nghttp2_session_callbacks **)) \\
        F(void, session_callbacks_del, (nghttp2_session_callbacks *)) \\
        F(void, session_callbacks_set_on_frame_recv_callback, (nghttp2_session_callbacks *, nghttp2_on_frame)) \\
        F(void, session_callbacks_set_on_data_chunk_recv_callback, (nghttp2_session_callbacks *, nghttp2_on_chunk)) \\
        F(void, session_callbacks_set_on_stream_close_callback, (nghttp2_session_callbacks *, nghttp2_on_close)) \\
        F(void, session_callbacks_set_on_header_callback, (nghttp2_session_callbacks *, nghttp2_on_header)) \\
        F(int, option_new, (nghttp2_option **)) \\
        F(void, option_del, (nghttp2_option *)) \\
        F(void, option_set_peer_max_concurrent_streams, (nghttp2_option *, uint32_t)) \\
        F(int, session_client_new2, (nghttp2_session **, const nghttp2_session_callbacks *, void *, \\
                                     const nghttp2_option *)) \\
        F(void, session_del, (nghttp2_session *)) \\
        F(ssize_t, session_mem_recv, (nghttp2_session *, const uint8_t *, size_t)) \\
        F(ssize_t, session_mem_send, (nghttp2_session *, const uint8_t **)) \\
        F(int, session_want_read, (nghttp2_session *)) \\
        F(int, session_want_write, (nghttp2_session *)) \\
        F(int, session_resume_data, (nghttp2_session *, int32_t)) \\
        F(int, session_set_local_window_size, (nghttp2_session *, uint8_t, int32_t, int32_t)) \\
        F(uint32_t, session_get_remote_settings, (nghttp2_session *, int)) \\
        F(void *, session_get_stream_user_data, (nghttp2_session *, int32_t)) \\
        F(int32_t, submit_request, (nghttp2_session *, const void *, const nghttp2_nv *, size_t, \\
                                    const nghttp2_data_provider *, void *)) \\
        F(int, submit_settings, (nghttp2_session *, uint8_t, const nghttp2_settings_entry *, size_t)) \\
        F(int, submit_rst_stream, (nghttp2_session *, uint8_t, int32_t, uint32_t)) \\
        F(int, submit_ping, (nghttp2_session *, uint8_t, const uint8_t *)) \\
        F(int, submit_goaway, (nghttp2_session *, uint8_t, int32_t, uint32_t, const uint8_t *, size_t)) \\
        F(const char *, strerror, (int))

    #define NGHTTP2_DECLARE(result, name, arguments) static result (*nghttp2_##name) arguments;
    NGHTTP2_FUNCTIONS(NGHTTP2_DECLARE)

    #if defined(__APPLE__)
    static const char *const nghttp2_names[] = {"libnghttp2.14.dylib", "libnghttp2.dylib", 0};
    #else
    static const char *const nghttp2_names[] = {"libnghttp2.so.14", 0};
    #endif

    /* Once per process; the library stays loaded. `path` may be empty. Returns NULL, or what is missing. */
    static const char *nghttp2_load(const char *path) {
        static void *library = 0;
        const char *const *name;
        if (library) return 0;
        if (*path) library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        for (name = nghttp2_names; !library && !*path && *name; name++) library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
        if (!library) return "the library libnghttp2 (version 1, .so.14) is not on this machine";
    #define NGHTTP2_RESOLVE(result, name, arguments) \\
        if (!(*(void **)&nghttp2_##name = dlsym(library, "nghttp2_" #name))) { \\
            dlclose(library); library = 0; return "libnghttp2 lacks nghttp2_" #name; }
        NGHTTP2_FUNCTIONS(NGHTTP2_RESOLVE)
        return 0;
    }
    """
    ctypedef struct nghttp2_session:
        pass
    ctypedef struct nghttp2_session_callbacks:
        pass
    ctypedef struct nghttp2_option:
        pass
    ctypedef struct nghttp2_nv:
        uint8_t* name
        uint8_t* value
        size_t namelen
        size_t valuelen
        uint8_t flags
    ctypedef struct nghttp2_settings_entry:
        int32_t settings_id
        uint32_t value
    ctypedef struct nghttp2_frame_hd:
        size_t length
        int32_t stream_id
        uint8_t type
        uint8_t flags
    ctypedef struct nghttp2_goaway:
        int32_t last_stream_id
        uint32_t error_code
        uint8_t* opaque_data
        size_t opaque_data_len
    ctypedef struct nghttp2_ping:
        uint8_t* opaque_data
    ctypedef struct nghttp2_frame:
        nghttp2_frame_hd hd
        nghttp2_goaway goaway
        nghttp2_ping ping
    ctypedef struct nghttp2_data_source:
        void* ptr
    ctypedef Py_ssize_t (*nghttp2_read)(
        nghttp2_session*, int32_t, uint8_t*, size_t, uint32_t*, nghttp2_data_source*, void*) noexcept nogil
    ctypedef struct nghttp2_data_provider:
        nghttp2_data_source source
        nghttp2_read read_callback
    ctypedef int (*nghttp2_on_frame)(nghttp2_session*, const nghttp2_frame*, void*) noexcept nogil
    ctypedef int (*nghttp2_on_chunk)(nghttp2_session*, uint8_t, int32_t, const uint8_t*, size_t, void*) noexcept nogil
    ctypedef int (*nghttp2_on_close)(nghttp2_session*, int32_t, uint32_t, void*) noexcept nogil
    ctypedef int (*nghttp2_on_header)(
        nghttp2_session*, const nghttp2_frame*, const uint8_t*, size_t, const uint8_t*, size_t, uint8_t, void*
    ) noexcept nogil

    const char* nghttp2_load(const char* path)
    int nghttp2_session_callbacks_new(nghttp2_session_callbacks**)
    void nghttp2_session_callbacks_del(nghttp2_session_callbacks*)
    void nghttp2_session_callbacks_set_on_frame_recv_callback(nghttp2_session_callbacks*, nghttp2_on_frame)
    void nghttp2_session_callbacks_set_on_data_chunk_recv_callback(nghttp2_session_callbacks*, nghttp2_on_chunk)
    void nghttp2_session_callbacks_set_on_stream_close_callback(nghttp2_session_callbacks*, nghttp2_on_close)
    void nghttp2_session_callbacks_set_on_header_callback(nghttp2_session_callbacks*, nghttp2_on_header)
    int nghttp2_option_new(nghttp2_option**)
    void nghttp2_option_del(nghttp2_option*)
    void nghttp2_option_set_peer_max_concurrent_streams(nghttp2_option*, uint32_t)
    int nghttp2_session_client_new2(
        nghttp2_session**, const nghttp2_session_callbacks*, void*, const nghttp2_option*)
    void nghttp2_session_del(nghttp2_session*)
    Py_ssize_t nghttp2_session_mem_recv(nghttp2_session*, const uint8_t*, size_t)
    Py_ssize_t nghttp2_session_mem_send(nghttp2_session*, const uint8_t**)
    int nghttp2_session_want_read(nghttp2_session*)
    int nghttp2_session_want_write(nghttp2_session*)
    int nghttp2_session_resume_data(nghttp2_session*, int32_t)
    int nghttp2_session_set_local_window_size(nghttp2_session*, uint8_t, int32_t, int32_t)
    uint32_t nghttp2_session_get_remote_settings(nghttp2_session*, int)
    void* nghttp2_session_get_stream_user_data(nghttp2_session*, int32_t)
    int32_t nghttp2_submit_request(
        nghttp2_session*, const void*, const nghttp2_nv*, size_t, const nghttp2_data_provider*, void*)
    int nghttp2_submit_settings(nghttp2_session*, uint8_t, const nghttp2_settings_entry*, size_t)
    int nghttp2_submit_rst_stream(nghttp2_session*, uint8_t, int32_t, uint32_t)
    int nghttp2_submit_ping(nghttp2_session*, uint8_t, const uint8_t*)
    int nghttp2_submit_goaway(nghttp2_session*, uint8_t, int32_t, uint32_t, const uint8_t*, size_t)
    const char* nghttp2_strerror(int)

cdef enum:
    FLAG_NONE = 0
    FLAG_ACK = 1
    FLAG_END_STREAM = 1
    DATA_FLAG_EOF = 1
    FRAME_DATA = 0
    FRAME_HEADERS = 1
    FRAME_SETTINGS = 4
    FRAME_PING = 6
    FRAME_GOAWAY = 7
    SETTINGS_ENABLE_PUSH = 2
    SETTINGS_MAX_CONCURRENT_STREAMS = 3
    SETTINGS_INITIAL_WINDOW_SIZE = 4
    SETTINGS_MAX_HEADER_LIST_SIZE = 6
    ERR_CALLBACK_FAILURE = -902
    ERR_DEFERRED = -508
    HTTP2_NO_ERROR = 0
    HTTP2_CANCEL = 8
