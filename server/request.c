/* request.c - what handlers may do with a request: reply to it, stream to it, keep it, watch it.
 *
 * Replies may come from any thread. A connection that waits is suspended; whoever has something for
 * it says so under the request's lock and resumes it, so no wake-up is lost. */
#include "peers.h"
#include "text.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

void request_hold(request *r) {
    atomic_fetch_add(&r->references, 1);
}

void request_drop_body(request *r) {
    if (r->n_counted) atomic_fetch_sub(&r->owner->body_bytes, r->n_counted);
    r->n_counted = 0;
    rw_buf_free(&r->body);
}

void request_release(request *r) {
    if (atomic_fetch_sub(&r->references, 1) != 1) return;
    if (r->free_user) r->free_user(r->user);
    request_drop_body(r);
    rw_buf_free(&r->out);
    free(r->data);
    free((char *)r->name);
    pthread_mutex_destroy(&r->lock);
    rw_free(r);
}

bool request_gone(request *r) {
    pthread_mutex_lock(&r->lock);
    bool gone = r->gone;
    pthread_mutex_unlock(&r->lock);
    return gone;
}

void request_watch(request *r, void (*on_gone)(void *), void (*on_quiet)(void *)) {
    pthread_mutex_lock(&r->lock);
    r->on_gone = on_gone;
    r->on_quiet = on_quiet;
    bool gone = r->gone;
    pthread_mutex_unlock(&r->lock);
    if (gone) on_gone(r->user);
}

void request_lost(request *r) {
    pthread_mutex_lock(&r->lock);
    bool first = !r->told;
    r->gone = r->told = true;
    void (*on_gone)(void *) = r->on_gone;
    if (r->suspended && r->connection) { /* so that libmicrohttpd finds the socket closed */
        r->suspended = false;
        if (!r->ready) {
            r->ready = true;
            r->status = 499;
        }
        MHD_resume_connection(r->connection);
    }
    pthread_mutex_unlock(&r->lock);
    if (first && on_gone) on_gone(r->user);
}

void request_later(request *r, void (*fn)(request *r)) {
    if (!workers_add(r->owner->workers, r, fn)) fn(r);
}

const char *request_header(request *r, const char *name) {
    return MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name);
}

/* ------------------------------------------------------------------ replies */

/* With the lock held. */
static void wake(request *r) {
    if (!r->suspended || !r->connection) return;
    r->suspended = false;
    MHD_resume_connection(r->connection);
}

void reply(request *r, int status, const char *type, void *data, size_t n) {
    pthread_mutex_lock(&r->lock);
    if (r->ready) {
        free(data);
    } else {
        r->ready = true;
        r->status = status;
        r->type = type;
        r->data = data;
        r->n_data = n;
        wake(r);
    }
    pthread_mutex_unlock(&r->lock);
}

void reply_text(request *r, int status, const char *type, const char *text) {
    size_t n = strlen(text);
    char *copy = malloc(n + 1);
    if (copy) memcpy(copy, text, n + 1);
    reply(r, copy ? status : 500, type, copy, copy ? n : 0);
}

void reply_buf(request *r, int status, const char *type, rw_buf *b, bool ok) {
    void *copy =
        ok && b->len ? malloc(b->len) : NULL; /* the library's allocator need not be malloc's */
    size_t n = b->len;
    if (copy) memcpy(copy, b->data, n);
    rw_buf_free(b);
    if (!copy) {
        reply_text(r, 500, "application/json",
                   "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
                   "\"param\":null,\"code\":\"out_of_memory\"}}\n");
        return;
    }
    reply(r, status, type, copy, n);
}

void reply_header(request *r, const char *name, const char *value) {
    r->header = name;
    snprintf(r->value, sizeof r->value, "%s", value);
}

static const char *error_type(int status) {
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 404:
        return "not_found_error";
    case 409:
        return "conflict_error";
    case 429:
        return "rate_limit_error";
    }
    return status >= 500 ? "server_error" : "invalid_request_error";
}

bool buf_error(rw_buf *b, int status, const char *param, const char *code, const char *message) {
    bool ok = buf_puts(b, "{\"error\":{\"message\":") && buf_json(b, message, strlen(message)) &&
              buf_printf(b, ",\"type\":\"%s\",\"param\":", error_type(status));
    ok = ok && (param ? buf_json(b, param, strlen(param)) : buf_puts(b, "null"));
    ok = ok && buf_puts(b, ",\"code\":");
    ok = ok && (code ? buf_json(b, code, strlen(code)) : buf_puts(b, "null"));
    return ok && buf_puts(b, "}}");
}

void reply_error(request *r, int status, const char *param, const char *code, const char *fmt,
                 ...) {
    char message[1024];
    rw_buf b = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof message, fmt, args);
    va_end(args);
    bool ok = buf_error(&b, status, param, code, message) && buf_puts(&b, "\n");
    reply_buf(r, status, "application/json", &b, ok);
}

/* ------------------------------------------------------------------ streams */

void stream_begin(request *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->ready) {
        r->ready = r->streaming = true;
        r->status = 200;
        r->type = "text/event-stream; charset=utf-8";
        r->last_write = r->last_drain = rw_os_now_ns();
        wake(r);
    }
    pthread_mutex_unlock(&r->lock);
}

bool stream_write(request *r, const void *data, size_t n) {
    pthread_mutex_lock(&r->lock);
    bool ok = !r->gone && !r->ended;
    if (ok && r->out_pos > LIMIT_STREAM / 2) {
        r->out.len -= r->out_pos;
        memmove(r->out.data, r->out.data + r->out_pos, r->out.len);
        r->out_pos = 0;
    }
    if (ok && r->out.len == r->out_pos) r->last_drain = rw_os_now_ns();
    if (ok && r->out.len - r->out_pos + n > LIMIT_STREAM) ok = false;
    if (ok) ok = rw_buf_add(&r->out, data, n);
    if (ok) {
        r->last_write = rw_os_now_ns();
    } else if (!r->ended) {
        r->gone = true; /* the watcher ends the connection */
    }
    wake(r);
    pthread_mutex_unlock(&r->lock);
    return ok;
}

void stream_end(request *r) {
    pthread_mutex_lock(&r->lock);
    r->ended = true;
    wake(r);
    pthread_mutex_unlock(&r->lock);
}
