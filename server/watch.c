/* watch.c - the thread that looks after all connections, four times a second and whenever a client
 * goes away.
 *
 * libmicrohttpd counts the time since the last byte, so a client that sends one byte every nine
 * seconds could stay for ever; and of a suspended connection it does not see the end. Here every
 * connection has one deadline for the whole of what it is doing. A connection is ended by
 * shutdown(), after which libmicrohttpd finds it closed and cleans up. */
#include "peers.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#ifdef POLLRDHUP /* Linux */
#define CLIENT_CLOSED POLLRDHUP
#else
#define CLIENT_CLOSED 0 /* POLLHUP is always reported */
#endif

enum { TICK_MS = 250 };

connection *peer_open(http *h, int fd) {
    connection *c = rw_calloc(1, sizeof *c);
    if (!c) return NULL;
    c->fd = fd;
    pthread_mutex_lock(&h->lock);
    c->serial = ++h->serials;
    c->deadline = rw_os_now_ns() + SECONDS(LIMIT_HEADER_SECONDS);
    c->next = h->connections;
    c->link = &h->connections;
    if (c->next) c->next->link = &c->next;
    h->connections = c;
    h->n_connections++;
    pthread_mutex_unlock(&h->lock);
    return c;
}

void peer_close(http *h, connection *c) {
    pthread_mutex_lock(&h->lock);
    *c->link = c->next;
    if (c->next) c->next->link = c->link;
    h->n_connections--;
    request *r = c->current;
    pthread_mutex_unlock(&h->lock);
    if (r) request_release(r);
    rw_free(c);
}

void peer_serve(http *h, connection *c, request *r) {
    if (r) request_hold(r);
    pthread_mutex_lock(&h->lock);
    request *before = c->current;
    c->current = r;
    pthread_mutex_unlock(&h->lock);
    if (before) request_release(before);
}

bool peers_busy(http *h) {
    bool busy = false;
    pthread_mutex_lock(&h->lock);
    for (connection *c = h->connections; c && !busy; c = c->next) busy = c->current != NULL;
    pthread_mutex_unlock(&h->lock);
    return busy;
}

void peer_deadline(http *h, connection *c, uint64_t ns_from_now) {
    pthread_mutex_lock(&h->lock);
    c->deadline = ns_from_now ? rw_os_now_ns() + ns_from_now : 0;
    c->idle = 0;
    pthread_mutex_unlock(&h->lock);
}

void peer_idle(http *h, connection *c) {
    pthread_mutex_lock(&h->lock);
    c->idle = rw_os_now_ns();
    c->deadline = c->idle + SECONDS(LIMIT_KEEP_SECONDS);
    pthread_mutex_unlock(&h->lock);
}

/* ------------------------------------------------------------------ the thread */

typedef struct sweep {
    struct pollfd *fds;
    uint64_t *serials;
    size_t n, cap;
    request **lost, **quiet; /* held */
    size_t n_lost, n_quiet;
} sweep;

static bool sweep_room(sweep *s, size_t n) {
    if (n <= s->cap) return true;
    size_t cap = n + n / 2 + 64;
    void *fds = rw_realloc(s->fds, cap, sizeof *s->fds);
    if (fds) s->fds = fds;
    void *serials = rw_realloc(s->serials, cap, sizeof *s->serials);
    if (serials) s->serials = serials;
    void *lost = rw_realloc(s->lost, cap, sizeof *s->lost);
    if (lost) s->lost = lost;
    void *quiet = rw_realloc(s->quiet, cap, sizeof *s->quiet);
    if (quiet) s->quiet = quiet;
    if (!fds || !serials || !lost || !quiet) return false;
    s->cap = cap;
    return true;
}

static void wait_for(sweep *s, const connection *c) {
    s->fds[s->n] = (struct pollfd){.fd = c->fd, .events = CLIENT_CLOSED};
    s->serials[s->n++] = c->serial;
}

/* What a request in progress needs now. */
static void look_at(sweep *s, connection *c, uint64_t now) {
    request *r = c->current;
    pthread_mutex_lock(&r->lock);
    bool unread = r->streaming && r->out.len > r->out_pos;
    bool stalled = unread && now > r->last_drain + SECONDS(LIMIT_WRITER_SECONDS);
    bool over = r->gone && !r->told;
    bool quiet = r->on_quiet && !r->ready && !r->ended && !unread &&
                 now > r->last_write + SECONDS(LIMIT_SIGN_SECONDS);
    bool working = !r->told && !r->ended && (r->streaming || !r->ready);
    pthread_mutex_unlock(&r->lock);
    if (stalled || over) {
        shutdown(c->fd, SHUT_RDWR);
        request_hold(r);
        s->lost[s->n_lost++] = r;
        return;
    }
    if (quiet) {
        request_hold(r);
        s->quiet[s->n_quiet++] = r;
    }
    if (working) wait_for(s, c);
}

static void look_at_all(http *h, sweep *s) {
    uint64_t now = rw_os_now_ns();
    s->n = s->n_lost = s->n_quiet = 0;
    pthread_mutex_lock(&h->lock);
    if (sweep_room(s, h->n_connections)) {
        for (connection *c = h->connections; c; c = c->next) {
            if (c->deadline && now > c->deadline) {
                shutdown(c->fd, SHUT_RDWR);
                c->deadline = 0;
            } else if (c->current) {
                look_at(s, c, now);
            } else if (c->idle && now > c->idle + SECONDS(1)) {
                wait_for(s, c); /* libmicrohttpd misses an end that comes together with data */
            }
        }
    }
    pthread_mutex_unlock(&h->lock);
}

/* The sockets in s may have been closed, and their numbers given to others, while poll waited: only
 * the serial tells. */
static void find_closed(http *h, sweep *s) {
    pthread_mutex_lock(&h->lock);
    s->n_lost = 0;
    for (connection *c = h->connections; c; c = c->next) {
        if (!c->current && !c->idle) continue;
        for (size_t i = 0; i < s->n; i++) {
            if (s->serials[i] != c->serial) continue;
            if (c->current)
                request_hold(s->lost[s->n_lost++] = c->current);
            else
                shutdown(c->fd, SHUT_RDWR);
            break;
        }
    }
    pthread_mutex_unlock(&h->lock);
}

static void tell_lost(sweep *s) {
    for (size_t i = 0; i < s->n_lost; i++) {
        request_lost(s->lost[i]);
        request_release(s->lost[i]);
    }
    s->n_lost = 0;
}

static void *watch(void *arg) {
    http *h = arg;
    sweep s = {0};
    while (!atomic_load(&h->stopping)) {
        look_at_all(h, &s);
        tell_lost(&s);
        for (size_t i = 0; i < s.n_quiet; i++) {
            s.quiet[i]->on_quiet(s.quiet[i]->user);
            request_release(s.quiet[i]);
        }
        if (poll(s.fds, (nfds_t)s.n, TICK_MS) <= 0) continue;
        size_t closed = 0;
        for (size_t i = 0; i < s.n; i++) {
            if (s.fds[i].revents == 0) continue;
            s.serials[closed++] = s.serials[i];
        }
        s.n = closed;
        find_closed(h, &s);
        tell_lost(&s);
    }
    rw_free(s.fds);
    rw_free(s.serials);
    rw_free(s.lost);
    rw_free(s.quiet);
    return NULL;
}

rwkv_status watch_start(http *h, rwkv_error *err) {
    if (pthread_create(&h->watcher, NULL, watch, h) != 0) {
        return rw_fail(err, RWKV_E_NOMEM, "the system refuses another thread");
    }
    h->watching = true;
    return RWKV_OK;
}

void watch_stop(http *h) {
    atomic_store(&h->stopping, true);
    if (h->watching) pthread_join(h->watcher, NULL);
    h->watching = false;
}
