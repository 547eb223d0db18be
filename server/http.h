/* http.h - requests and replies over libmicrohttpd, with every limit in one place.
 *
 *     socket -> libmicrohttpd's thread: head, body -> checks (host, origin, key, type, size)
 *            -> route's handler, on that thread (ROUTE_QUICK) or on a worker
 *            -> reply(), or stream_write() ... stream_end(), from any thread at any later time
 *
 * While a handler works, its connection is suspended: nobody polls, and an idle stream costs a few
 * kilobytes. A thread of its own ("watch") looks after what libmicrohttpd does not: total deadlines
 * against slow clients, clients that went away or stopped reading, a sign of life on quiet streams.
 */
#ifndef RWKV_SERVER_HTTP_H
#define RWKV_SERVER_HTTP_H

#include "auth.h"

#include <pthread.h>
#include <stdio.h>
#include <stdatomic.h>

/* The limits of docs/SERVER.md. Seconds, bytes, counts. */
enum {
    LIMIT_HEADER = 16 * 1024,
    LIMIT_HEADER_LINE = 8 * 1024,
    LIMIT_HEADER_LINES = 100,
    LIMIT_HEADER_SECONDS = 10,
    LIMIT_BODY = 8 * 1024 * 1024,
    LIMIT_BODY_BEFORE_AUTH = 16 * 1024, /* read and dropped, so that the client sees the refusal */
    LIMIT_BODIES = 256 * 1024 * 1024,   /* of all requests together, beyond one body */
    LIMIT_BODY_SECONDS = 30,            /* and one more for every LIMIT_RATE bytes */
    LIMIT_RATE = 32 * 1024,
    LIMIT_WRITER_SECONDS = 30, /* a client that does not read */
    LIMIT_STREAM = 256 * 1024, /* unread bytes of a stream */
    LIMIT_KEEP_SECONDS = 60,   /* an unused connection */
    LIMIT_SIGN_SECONDS = 5,    /* silence on a stream before a sign of life */
};

typedef struct http http;
typedef struct request request;
struct server; /* server.h; http.c only hands it on */

enum route_flags {
    ROUTE_OPEN = 1,   /* needs no key */
    ROUTE_QUICK = 2,  /* never blocks: runs on the I/O thread */
    ROUTE_JSON = 4,   /* the body is application/json */
    ROUTE_BYTES = 8,  /* the body is application/octet-stream */
    ROUTE_STATE = 16, /* the body may carry a state blob */
    ROUTE_ALIVE = 32, /* also answers while the server is being stopped */
};

typedef struct route {
    const char *method, *path; /* "/v1/sessions/{name}/fork" */
    void (*handle)(request *r);
    unsigned flags;
} route;

struct request {
    struct server *server;
    http *owner;
    const route *route;
    const char *name; /* what {name} stands for */
    char id[65];      /* X-Request-Id */
    char tenant[AUTH_TENANT];
    rw_buf body;
    struct connection *peer;
    const char *origin; /* configured origin that asks, or NULL */
    uint64_t begun;     /* ns */
    bool close, discard, oversized;
    size_t n_counted, n_dropped; /* bytes of the body: in the sum of all bodies; not kept */

    /* for the log: set by handlers, read when the request has ended */
    atomic_uint_fast64_t n_prompt, n_cached, n_generated;

    atomic_uint references;
    void *user; /* of the handler; released with the request */
    void (*free_user)(void *user);

    pthread_mutex_t lock;              /* what follows */
    struct MHD_Connection *connection; /* NULL once the client is gone */
    void (*on_gone)(void *user);       /* once, when there is nobody to answer any more */
    void (*on_quiet)(void *user);      /* when nothing was sent for LIMIT_SIGN_SECONDS */
    bool suspended, ready, streaming, ended, gone, told;
    int status;
    const char *type;   /* of the reply: a constant */
    const char *header; /* one more header: its name, a constant, */
    char value[64];     /* and its value */
    void *data;
    size_t n_data;
    rw_buf out; /* of the stream, from out_pos on not sent yet */
    size_t out_pos;
    uint64_t last_write, last_drain;
};

typedef struct http_options {
    const char *host, *port; /* or */
    const char *socket;      /* path */
    const auth *auth;
    const route *routes; /* ends with a row without method */
    size_t n_workers;
    size_t max_state_body; /* bytes for ROUTE_STATE */
    FILE *log;             /* one JSON line for each request, or NULL */
    struct server *server;
    /* When a request has ended; any thread. */
    void (*on_end)(struct server *s, const request *r, int status, double seconds);
} http_options;

rwkv_status http_start(http **out, const http_options *options, rwkv_error *err);
/* From now on only ROUTE_ALIVE is served. */
void http_drain(http *h);
/* After the last job has ended: waits for workers, then closes all connections. */
void http_stop(http *h);
uint16_t http_port(const http *h);
size_t http_connections(http *h);

/* ---- for handlers. Exactly one of reply and stream_begin .. stream_end for every request. */

/* Takes data, which is malloc'd; type is a constant. */
void reply(request *r, int status, const char *type, void *data, size_t n);
void reply_text(request *r, int status, const char *type, const char *text);
/* From a buffer, which is emptied; 500 if it is empty or `ok` is false (memory was out). */
void reply_buf(request *r, int status, const char *type, rw_buf *b, bool ok);
/* One more header of the reply that follows, or of the stream. */
void reply_header(request *r, const char *name, const char *value);
/* {"error":{message,type,param,code}}; the type follows from the status. */
void reply_error(request *r, int status, const char *param, const char *code, const char *fmt, ...)
    RW_PRINTF(5, 6);
bool buf_error(rw_buf *b, int status, const char *param, const char *code, const char *message);

/* text/event-stream. After begin reply must not be called. write returns false when the client is
 * gone or does not read. */
void stream_begin(request *r);
bool stream_write(request *r, const void *data, size_t n);
void stream_end(request *r);

/* The handler has read the body. */
void request_drop_body(request *r);
/* Keeps r after the handler has returned; every hold needs its release. */
void request_hold(request *r);
void request_release(request *r);
/* Hooks are called on any thread without locks, as long as r lives; user is r->user. */
void request_watch(request *r, void (*on_gone)(void *), void (*on_quiet)(void *));
bool request_gone(request *r);
/* Runs fn(r) on a worker. */
void request_later(request *r, void (*fn)(request *r));
/* A header of the request; only until the handler returns. NULL: absent. */
const char *request_header(request *r, const char *name);

#endif
