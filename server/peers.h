/* peers.h - connections as http.c and watch.c see them. Nobody else includes this. */
#ifndef RWKV_SERVER_PEERS_H
#define RWKV_SERVER_PEERS_H

#include "http.h"
#include "workers.h"

struct MHD_Daemon;

/* One socket. It lives until libmicrohttpd closes it; `current` is the request that it serves. */
typedef struct connection {
    struct connection *next, **link;
    int fd;
    uint64_t serial;
    uint64_t deadline; /* ns; 0: none */
    uint64_t idle;     /* ns since when no request is under way; 0: one is */
    request *current;  /* held; only between the end of its body and its own end */
} connection;

struct http {
    struct MHD_Daemon *daemon;
    http_options options;
    workers *workers;
    uint16_t port;
    pthread_mutex_t lock; /* connections */
    connection *connections;
    size_t n_connections;
    uint64_t serials;
    pthread_t watcher;
    bool watching;
    atomic_bool stopping, draining;
    atomic_size_t body_bytes;
};

connection *peer_open(http *h, int fd);
void peer_close(http *h, connection *c);
bool peers_busy(http *h); /* some connection serves a request */
/* NULL ends it. Holds r. */
void peer_serve(http *h, connection *c, request *r);
void peer_deadline(http *h, connection *c, uint64_t ns_from_now); /* 0: none */
void peer_idle(http *h, connection *c); /* its request has ended; until the next peer_deadline */

rwkv_status watch_start(http *h, rwkv_error *err);
void watch_stop(http *h);

void request_lost(request *r); /* the client is gone */

#define SECONDS(n) ((uint64_t)(n)*1000000000u)

#endif
