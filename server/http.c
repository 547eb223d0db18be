/* http.c - the daemon: from libmicrohttpd's callbacks to a request, and from replies to its queue.
 * request.c has what handlers call. */
#include "http.h"
#include "peers.h"
#include "router.h"
#include "text.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    POOL = 12 *
           1024, /* of one connection: head and what is written; libmicrohttpd touches all of it */
    MAX_CONNECTIONS = 20000,
    SEND_BUFFER = 128 * 1024,
    SPARE_FILES = 64,
};

/* ------------------------------------------------------------------ heads */

typedef struct head {
    size_t n_lines, n_hosts, n_lengths, n_encodings;
    bool too_long, malformed;
} head;

static bool is_name_of(const char *key, size_t n, const char *name) {
    return n == strlen(name) && strncasecmp(key, name, n) == 0;
}

/* libmicrohttpd lets pass what a proxy in front may read differently: blanks in names ("Host :"),
 * zero bytes. */
static enum MHD_Result count_header(void *cls, enum MHD_ValueKind kind, const char *key,
                                    size_t n_key, const char *value, size_t n_value) {
    static const char tokens[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    head *h = cls;
    (void)kind;
    h->n_lines++;
    h->n_hosts += is_name_of(key, n_key, "Host");
    h->n_lengths += is_name_of(key, n_key, "Content-Length");
    h->n_encodings += is_name_of(key, n_key, "Transfer-Encoding");
    h->too_long |= n_key + n_value + 4 > LIMIT_HEADER_LINE;
    h->malformed |= strspn(key, tokens) != n_key || (n_value && memchr(value, 0, n_value));
    return MHD_YES;
}

/* The length that the head announces: SIZE_MAX for chunks of unknown length. False: no number. */
static bool announced_length(request *r, const head *h, size_t *out) {
    const char *s = request_header(r, "Content-Length");
    *out = h->n_encodings ? SIZE_MAX : 0;
    if (!s) return true;
    size_t n = 0;
    for (const char *p = s; *p; p++) {
        if (*p < '0' || *p > '9' || n > SIZE_MAX / 16) return false;
        n = n * 10 + (size_t)(*p - '0');
    }
    *out = n;
    return *s != '\0';
}

static size_t body_limit(const request *r) {
    bool state = r->route && r->route->flags & ROUTE_STATE;
    size_t more = r->owner->options.max_state_body;
    return state && more > LIMIT_BODY ? more : LIMIT_BODY;
}

static bool check_framing(request *r, const char *url, const char *version, size_t *length) {
    head h = {0};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    MHD_get_connection_values_n(r->connection, MHD_HEADER_KIND, count_header, &h);
    const char *encoding = request_header(r, "Transfer-Encoding");
    r->close = true; /* whatever is wrong here: what follows may be no request */
    if (strlen(url) > LIMIT_HEADER_LINE) {
        reply_error(r, 414, NULL, "uri_too_long", "the address is longer than %d bytes",
                    LIMIT_HEADER_LINE);
    } else if ((info && info->header_size > LIMIT_HEADER) || h.too_long ||
               h.n_lines > LIMIT_HEADER_LINES) {
        reply_error(r, 431, NULL, "header_too_large",
                    "headers: the limits are %d bytes, %d lines, %d bytes in one line",
                    LIMIT_HEADER, LIMIT_HEADER_LINES, LIMIT_HEADER_LINE);
    } else if (h.malformed) {
        reply_error(r, 400, NULL, "bad_header",
                    "a header's name or value has bytes it must not have");
    } else if (h.n_lengths + h.n_encodings > 1 ||
               (encoding && strcasecmp(encoding, "chunked") != 0) ||
               !announced_length(r, &h, length)) {
        reply_error(r, 400, NULL, "bad_framing",
                    "the length of the body must be given once: Content-Length or chunked");
    } else if (h.n_hosts != 1 && strcmp(version, "HTTP/1.0") != 0) {
        reply_error(r, 400, NULL, "bad_host", "expected one Host header; found %zu", h.n_hosts);
    } else {
        r->close = false;
    }
    return !r->close;
}

static bool check_browser(request *r) {
    const http_options *o = &r->owner->options;
    const char *host = request_header(r, "Host"), *origin = request_header(r, "Origin");
    if (!o->socket && host && !auth_host_allowed(o->auth, host)) {
        reply_error(r, 403, NULL, "host_not_allowed",
                    "this host name is not allowed; start the server with --allowed-host NAME");
        return false;
    }
    if (!origin) return true;
    r->origin = auth_origin(o->auth, origin);
    bool reads = strcmp(r->route->method, "GET") == 0;
    if (r->origin || reads || (host && auth_same_origin(origin, host))) return true;
    reply_error(r, 403, NULL, "origin_not_allowed",
                "pages of this origin are not allowed; start the server with --cors-origin ORIGIN");
    return false;
}

static bool check_key(request *r) {
    const char *key = request_header(r, "Authorization");
    if (key && strncasecmp(key, "Bearer ", 7) == 0) {
        key += 7;
        while (*key == ' ') key++;
    } else {
        key = request_header(r, "x-api-key");
    }
    if (auth_check(r->owner->options.auth, key, r->tenant)) return true;
    memcpy(r->tenant, "", 1);
    if (r->route->flags & ROUTE_OPEN) return true;
    reply_header(r, "WWW-Authenticate", "Bearer");
    reply_error(r, 401, NULL, "invalid_api_key", "%s",
                key ? "this API key is not known"
                    : "an API key is needed: Authorization: Bearer KEY");
    return false;
}

static bool has_type(request *r, const char *type) {
    const char *found = request_header(r, "Content-Type");
    size_t n = strlen(type);
    return found && strncasecmp(found, type, n) == 0 && (!found[n] || strchr("; \t", found[n]));
}

static bool check_body(request *r, size_t length) {
    unsigned flags = r->route->flags;
    bool json = flags & ROUTE_JSON && has_type(r, "application/json");
    bool bytes = flags & ROUTE_BYTES && has_type(r, "application/octet-stream");
    if (flags & (ROUTE_JSON | ROUTE_BYTES) && !json && !bytes) {
        reply_error(r, 415, NULL, "unsupported_media_type", "Content-Type: expected %s",
                    flags & ROUTE_JSON ? "application/json" : "application/octet-stream");
        return false;
    }
    if (length != SIZE_MAX && length > body_limit(r)) {
        reply_error(r, 413, NULL, "body_too_large", "the body has %zu bytes; the limit is %zu",
                    length, body_limit(r));
        return false;
    }
    return true;
}

static bool find_route(request *r, const char *method, const char *url) {
    char allow[64], name[257];
    int status;
    r->route = router_find(r->owner->options.routes, method, url, name, &status, allow);
    if (r->route && name[0]) r->name = strdup(name);
    if (r->route && (r->name || !name[0])) return true;
    if (r->route) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
        return false;
    }
    if (status == 405) reply_header(r, "Allow", allow);
    reply_error(r, status, NULL, status == 405 ? "method_not_allowed" : "unknown_path", "%s",
                status == 405   ? "this path knows other methods (see Allow)"
                : status == 404 ? "there is no such path; GET /openapi.json lists them"
                                : "the path must begin with a slash");
    return false;
}

/* A browser asks before a page of another origin may ask. */
static bool preflight(request *r, const char *method) {
    const char *origin = request_header(r, "Origin");
    if (strcmp(method, "OPTIONS") != 0) return false;
    r->origin = origin ? auth_origin(r->owner->options.auth, origin) : NULL;
    reply(r, r->origin ? 204 : 403, "text/plain", NULL, 0);
    return true;
}

/* Everything that can be known from the head. Replies if it is refused. */
static void begin(request *r, const char *method, const char *url, const char *version,
                  size_t *length) {
    static const route options = {"OPTIONS", "*", NULL, ROUTE_QUICK};
    const char *id = request_header(r, "X-Request-Id");
    size_t n = id ? strspn(id, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "abcdefghijklmnopqrstuvwxyz._-")
                  : 0;
    if (n && n < sizeof r->id && !id[n]) memcpy(r->id, id, n + 1);
    if (!check_framing(r, url, version, length)) return;
    if (preflight(r, method)) {
        r->route = &options;
        return;
    }
    if (!find_route(r, method, url) || !check_browser(r) || !check_key(r)) return;
    if (!check_body(r, *length)) return;
    if (atomic_load(&r->owner->draining) && !(r->route->flags & ROUTE_ALIVE)) {
        r->close = true;
        reply_header(r, "Retry-After", "5");
        reply_error(r, 503, NULL, "server_stopping", "the server is being stopped");
    }
}

/* ------------------------------------------------------------------ replies */

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max) {
    request *r = cls;
    ssize_t n = 0;
    (void)pos;
    pthread_mutex_lock(&r->lock);
    size_t have = r->out.len - r->out_pos;
    if (r->gone) {
        n = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (have) {
        n = (ssize_t)(have < max ? have : max);
        memcpy(buf, r->out.data + r->out_pos, (size_t)n);
        r->out_pos += (size_t)n;
        r->last_drain = rw_os_now_ns();
        if (r->out_pos == r->out.len) { /* an idle stream keeps no buffer */
            rw_buf_free(&r->out);
            r->out_pos = 0;
        }
    } else if (r->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        r->suspended = true;
        MHD_suspend_connection(r->connection);
    }
    pthread_mutex_unlock(&r->lock);
    return n;
}

static void add_headers(request *r, struct MHD_Response *m) {
    if (r->type) MHD_add_response_header(m, "Content-Type", r->type);
    MHD_add_response_header(m, "X-Request-Id", r->id);
    MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(m, "Cache-Control", "no-store");
    if (r->type && strncmp(r->type, "text/html", 9) == 0) {
        MHD_add_response_header(m, "Content-Security-Policy",
                                "default-src 'self'; frame-ancestors 'none'");
    }
    if (r->header) MHD_add_response_header(m, r->header, r->value);
    if (r->streaming) MHD_add_response_header(m, "X-Accel-Buffering", "no");
    if (r->close) MHD_add_response_header(m, "Connection", "close");
    if (r->owner->options.auth->n_origins) MHD_add_response_header(m, "Vary", "Origin");
    if (!r->origin) return;
    MHD_add_response_header(m, "Access-Control-Allow-Origin", r->origin);
    MHD_add_response_header(m, "Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    if (r->status != 204) return;
    MHD_add_response_header(m, "Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    MHD_add_response_header(m, "Access-Control-Allow-Headers",
                            "Authorization, Content-Type, X-Api-Key, X-Request-Id");
    MHD_add_response_header(m, "Access-Control-Max-Age", "600");
}

static void free_data(void *data) {
    free(data);
}

/* The reply is there: hands it to libmicrohttpd. */
static enum MHD_Result queue_reply(request *r) {
    struct MHD_Response *m;
    pthread_mutex_lock(&r->lock);
    if (r->streaming) {
        m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, read_stream, r, NULL);
    } else {
        m = MHD_create_response_from_buffer_with_free_callback(r->n_data, r->data ? r->data : "",
                                                               r->data ? free_data : NULL);
    }
    if (m && !r->streaming) r->data = NULL;
    int status = r->status;
    uint64_t size = r->n_data;
    bool streaming = r->streaming;
    if (m) add_headers(r, m);
    pthread_mutex_unlock(&r->lock);
    if (!m) return MHD_NO;
    if (!streaming) {
        peer_deadline(r->owner, r->peer,
                      SECONDS(LIMIT_WRITER_SECONDS) + SECONDS(size / LIMIT_RATE));
    }
    enum MHD_Result ok = MHD_queue_response(r->connection, (unsigned)status, m);
    MHD_destroy_response(m);
    return ok;
}

/* ------------------------------------------------------------------ libmicrohttpd's callbacks */

static request *request_new(http *h, struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    request *r = rw_calloc(1, sizeof *r);
    if (!r) return NULL;
    uint64_t now = rw_os_now_ns();
    static atomic_uint_fast64_t counter;
    static uint64_t first; /* differs between runs; only the I/O thread is here */
    if (!first) first = now ^ (uint64_t)getpid() << 40;
    snprintf(r->id, sizeof r->id, "req_%08x%08x", (unsigned)(first >> 20),
             (unsigned)atomic_fetch_add(&counter, 1));
    pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->references, 1);
    r->owner = h;
    r->server = h->options.server;
    r->connection = c;
    r->peer = info ? info->socket_context : NULL;
    r->begun = r->last_write = r->last_drain = now;
    return r;
}

/* A refused body is read on for a while, so that the client sees the reply; not for ever. */
static enum MHD_Result drop_body(request *r, size_t size) {
    r->n_dropped += size;
    return r->n_dropped > (r->oversized ? LIMIT_BODY : LIMIT_BODY_BEFORE_AUTH) ? MHD_NO : MHD_YES;
}

static enum MHD_Result take_body(request *r, const char *data, size_t *n) {
    size_t size = *n;
    *n = 0;
    if (r->discard || r->oversized) return drop_body(r, size);
    if (r->body.len + size > body_limit(r)) {
        rw_buf_free(&r->body);
        r->oversized = true;
        return drop_body(r, size);
    }
    size_t all = atomic_fetch_add(&r->owner->body_bytes, size) + size;
    r->n_counted += size;
    bool room = all < LIMIT_BODIES || r->body.len == 0;
    if (room && rw_buf_add(&r->body, data, size)) return MHD_YES;
    rw_buf_free(&r->body);
    r->discard = true;
    reply_header(r, "Retry-After", "2");
    reply_error(r, 503, NULL, "out_of_memory", "too many large requests at once; try again");
    return MHD_YES;
}

static void run_handler(request *r) {
    if (!request_gone(r)) r->route->handle(r);
}

/* The whole request is here. */
static enum MHD_Result dispatch(request *r) {
    http *h = r->owner;
    peer_deadline(h, r->peer, 0);
    if (r->oversized) {
        reply_error(r, 413, NULL, "body_too_large",
                    "the body is longer than the limit of %zu bytes", body_limit(r));
        return queue_reply(r);
    }
    if (r->route->flags & ROUTE_QUICK) {
        r->route->handle(r);
        return queue_reply(r);
    }
    peer_serve(h, r->peer, r);
    pthread_mutex_lock(&r->lock);
    bool gone = r->gone; /* who is lost already is not woken again */
    r->suspended = !gone;
    if (!gone) MHD_suspend_connection(r->connection);
    pthread_mutex_unlock(&r->lock);
    if (gone) return MHD_NO;
    if (!workers_add(h->workers, r, run_handler)) {
        reply_error(r, 503, NULL, "out_of_memory", "out of memory");
    }
    return MHD_YES;
}

static enum MHD_Result on_head(http *h, request *r, const char *method, const char *url,
                               const char *version) {
    size_t length = 0;
    if (!r->peer) return MHD_NO;
    begin(r, method, url, version, &length);
    uint64_t seconds = LIMIT_BODY_SECONDS;
    seconds += (length == SIZE_MAX ? LIMIT_BODY : length) / LIMIT_RATE;
    peer_deadline(h, r->peer, SECONDS(seconds));
    if (!r->ready) return MHD_YES;
    /* Refused. A small body is read and dropped, else the connection ends. */
    r->discard = true;
    if (length <= LIMIT_BODY_BEFORE_AUTH && !r->close) return MHD_YES;
    if (length > 0) {
        r->close = true;
        return queue_reply(r);
    }
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *n, void **context) {
    request *r = *context;
    if (!r) {
        r = request_new(cls, c);
        *context = r;
        return r ? on_head(cls, r, method, url, version) : MHD_NO;
    }
    if (*n) return take_body(r, data, n);
    pthread_mutex_lock(&r->lock);
    bool ready = r->ready, waiting = r->suspended;
    pthread_mutex_unlock(&r->lock);
    if (ready) return queue_reply(r);
    return waiting ? MHD_YES : dispatch(r);
}

static void log_request(const http *h, const request *r, int status, double seconds) {
    rw_buf b = {0};
    struct timespec now;
    if (!h->options.log) return;
    clock_gettime(CLOCK_REALTIME, &now);
    bool ok = buf_printf(&b, "{\"time\":%.3f,\"request_id\":\"%s\",\"route\":\"%s %s\",",
                         (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, r->id,
                         r->route ? r->route->method : "-", r->route ? r->route->path : "-");
    ok = ok && buf_printf(&b,
                          "\"status\":%d,\"ms\":%.1f,\"prompt_tokens\":%llu,\"cached_tokens\":%llu,"
                          "\"completion_tokens\":%llu}\n",
                          status, 1e3 * seconds, (unsigned long long)r->n_prompt,
                          (unsigned long long)r->n_cached, (unsigned long long)r->n_generated);
    if (ok) {
        fwrite(b.data, 1, b.len, h->options.log);
        fflush(h->options.log);
    }
    rw_buf_free(&b);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **context,
                         enum MHD_RequestTerminationCode why) {
    http *h = cls;
    request *r = *context;
    (void)c;
    if (!r) return;
    *context = NULL;
    request_lost(r);
    pthread_mutex_lock(&r->lock);
    r->connection = NULL;
    bool whole = why == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    int status = !r->ready ? 499 : whole ? r->status : r->status >= 400 ? r->status : 499;
    pthread_mutex_unlock(&r->lock);
    double seconds = 1e-9 * (double)(rw_os_now_ns() - r->begun);
    if (h->options.on_end) h->options.on_end(h->options.server, r, status, seconds);
    log_request(h, r, status, seconds);
    if (r->peer) {
        peer_serve(h, r->peer, NULL);
        peer_idle(h, r->peer);
    }
    request_release(r);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode what) {
    http *h = cls;
    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*context) peer_close(h, *context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    int size = SEND_BUFFER; /* else the system would buffer megabytes for who does not read */
    setsockopt(info->connect_fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    *context = peer_open(h, info->connect_fd);
}

/* Paths stay as they came; the router decodes them. */
static size_t keep_escapes(void *cls, struct MHD_Connection *c, char *s) {
    (void)cls, (void)c;
    return strlen(s);
}

/* libmicrohttpd's own messages are about clients that went away. */
static void drop_message(void *cls, const char *fmt, va_list args) {
    (void)cls, (void)fmt, (void)args;
}

/* ------------------------------------------------------------------ sockets */

static rwkv_status listen_unix(const char *path, int *out, rwkv_error *err) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        return rw_fail(err, RWKV_E_ARG, "--socket: the path is longer than %zu bytes",
                       sizeof a.sun_path - 1);
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), probe = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || probe < 0) {
        if (fd >= 0) close(fd);
        return rw_fail_errno(err, RWKV_E_IO, path, errno, "socket");
    }
    bool alive = connect(probe, (struct sockaddr *)&a, sizeof a) == 0;
    struct stat st;
    close(probe);
    if (!alive && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) unlink(path);
    mode_t before = umask(0177); /* 0600 from the first instant */
    bool ok = !alive && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1024) == 0;
    int problem = alive ? EADDRINUSE : errno;
    umask(before);
    if (!ok) {
        close(fd);
        return rw_fail_errno(err, RWKV_E_IO, path, problem, "cannot listen");
    }
    *out = fd;
    return RWKV_OK;
}

static rwkv_status listen_tcp(http *h, int *out, rwkv_error *err) {
    const http_options *o = &h->options;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    char where[300];
    snprintf(where, sizeof where, "%s:%s", o->host, o->port);
    int problem = getaddrinfo(o->host, o->port, &hints, &found);
    if (problem) return rw_fail(err, RWKV_E_ARG, "%s: %s", where, gai_strerror(problem));
    int fd = socket(found->ai_family, SOCK_STREAM, 0), on = 1;
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
              bind(fd, found->ai_addr, found->ai_addrlen) == 0 && listen(fd, 1024) == 0 &&
              getsockname(fd, (struct sockaddr *)&bound, &len) == 0;
    problem = errno;
    freeaddrinfo(found);
    if (!ok) {
        if (fd >= 0) close(fd);
        return rw_fail_errno(err, RWKV_E_IO, where, problem, "cannot listen");
    }
    h->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                : ((struct sockaddr_in *)&bound)->sin_port);
    *out = fd;
    return RWKV_OK;
}

/* As many connections as the system lets us have. */
static unsigned connection_limit(void) {
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_NOFILE, &files);
    rlim_t n = files.rlim_cur > 2 * SPARE_FILES ? files.rlim_cur - SPARE_FILES : SPARE_FILES / 2;
    return n > MAX_CONNECTIONS ? MAX_CONNECTIONS : (unsigned)n;
}

/* ------------------------------------------------------------------ life */

static rwkv_status start_daemon(http *h, rwkv_error *err) {
    int fd = -1;
    RW_TRY(h->options.socket ? listen_unix(h->options.socket, &fd, err) : listen_tcp(h, &fd, err));
    h->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_EXTERNAL_LOGGER,
        drop_message, NULL, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL,
        MHD_OPTION_CONNECTION_LIMIT, connection_limit(), MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION, on_connection,
        h, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
    if (h->daemon) return RWKV_OK;
    close(fd);
    return rw_fail(err, RWKV_E_IO, "libmicrohttpd cannot start: %s", strerror(errno));
}

rwkv_status http_start(http **out, const http_options *options, rwkv_error *err) {
    http *h = rw_calloc(1, sizeof *h);
    if (!h) return rw_nomem(err, sizeof *h);
    h->options = *options;
    pthread_mutex_init(&h->lock, NULL);
    rwkv_status st;
    RW_GOTO(workers_start(&h->workers, options->n_workers, err));
    RW_GOTO(watch_start(h, err));
    RW_GOTO(start_daemon(h, err));
    *out = h;
    return RWKV_OK;
out:
    http_stop(h);
    return st;
}

void http_drain(http *h) {
    atomic_store(&h->draining, true);
}

/* Replies that are there may still be on their way. */
static void wait_for_replies(http *h) {
    const struct timespec pause = {.tv_nsec = 5000000};
    for (int i = 0; i < 400 && peers_busy(h); i++) nanosleep(&pause, NULL);
}

void http_stop(http *h) {
    if (!h) return;
    workers_stop(h->workers);
    wait_for_replies(h);
    watch_stop(h);
    if (h->daemon) MHD_stop_daemon(h->daemon);
    if (h->daemon && h->options.socket) unlink(h->options.socket);
    pthread_mutex_destroy(&h->lock);
    rw_free(h);
}

uint16_t http_port(const http *h) {
    return h->port;
}

size_t http_connections(http *h) {
    pthread_mutex_lock(&h->lock);
    size_t n = h->n_connections;
    pthread_mutex_unlock(&h->lock);
    return n;
}
