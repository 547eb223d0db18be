/* stream.c - tokens' bytes -> text that may be shown: whole UTF-8 characters, and nothing that may
 * turn out to be the beginning of a stop string.
 *
 * Works byte by byte, so the text does not depend on how it is cut into tokens. The stop that is
 * complete first wins; of several that end with the same byte, the longest. Bytes that are no UTF-8
 * become U+FFFD, one for each maximal beginning of a character, as soon as that is certain. */
#include "text.h"
#include <string.h>

#define MAX_STOPS 64u
#define MAX_STOP_LEN 256u
#define ROOM 128u /* pushes up to this size allocate nothing */

typedef struct stop {
    uint8_t bytes[MAX_STOP_LEN + 1]; /* NUL-terminated */
    uint16_t border[MAX_STOP_LEN + 1]; /* [k]: longest proper border of the first k bytes */
    size_t len, matched;
} stop;

struct rwkv_stream {
    stop *stops;
    size_t n_stops;
    rw_buf held; /* bytes not shown yet */
    rw_buf text; /* what the last call returned */
    size_t matched;    /* pushed bytes, at the end, that a stop claims */
    const char *found; /* the stop that ended it */
    bool over;
};

static rwkv_status set_stop(stop *s, const char *text, rwkv_error *err) {
    s->len = text ? strlen(text) : 0;
    if (s->len == 0 || s->len > MAX_STOP_LEN) {
        return rw_fail(err, RWKV_E_ARG, "stop string: found %zu bytes; expected 1 to %u", s->len,
                       MAX_STOP_LEN);
    }
    memcpy(s->bytes, text, s->len);
    size_t k = 0;
    for (size_t i = 1; i < s->len; i++) {
        while (k > 0 && s->bytes[i] != s->bytes[k]) k = s->border[k];
        if (s->bytes[i] == s->bytes[k]) k++;
        s->border[i + 1] = (uint16_t)k;
    }
    return RWKV_OK;
}

rwkv_status rwkv_stream_new(rwkv_stream **out, const char *const *stops, size_t n_stops,
                            rwkv_error *err) {
    if (!out || (!stops && n_stops) || n_stops > MAX_STOPS) {
        return rw_fail(err, RWKV_E_ARG, "stop strings: found %zu; expected at most %u", n_stops,
                       MAX_STOPS);
    }
    rwkv_status st = RWKV_OK;
    rwkv_stream *s = rw_calloc(1, sizeof *s);
    if (!s) return rw_nomem(err, sizeof *s);
    s->stops = rw_calloc(n_stops + 1, sizeof *s->stops);
    s->n_stops = n_stops;
    if (!s->stops || !rw_buf_reserve(&s->held, ROOM + MAX_STOP_LEN + 4) ||
        !rw_buf_reserve(&s->text, 3 * (ROOM + MAX_STOP_LEN + 4))) {
        st = rw_nomem(err, n_stops * sizeof *s->stops);
        goto out;
    }
    for (size_t i = 0; i < n_stops; i++) RW_GOTO(set_stop(&s->stops[i], stops[i], err));
    *out = s;
out:
    if (st != RWKV_OK) rwkv_stream_free(s);
    return st;
}

void rwkv_stream_free(rwkv_stream *s) {
    if (!s) return;
    rw_free(s->stops);
    rw_buf_free(&s->held);
    rw_buf_free(&s->text);
    rw_free(s);
}

void rwkv_stream_reset(rwkv_stream *s) {
    for (size_t i = 0; i < s->n_stops; i++) s->stops[i].matched = 0;
    s->held.len = s->text.len = s->matched = 0;
    s->found = NULL;
    s->over = false;
}

/* Knuth-Morris-Pratt for every stop. The length of the stop that this byte completes (then in
 * `found`), or 0. */
static size_t advance(rwkv_stream *s, uint8_t byte) {
    size_t complete = 0;
    for (size_t i = 0; i < s->n_stops; i++) {
        stop *p = &s->stops[i];
        while (p->matched > 0 && p->bytes[p->matched] != byte) p->matched = p->border[p->matched];
        if (p->bytes[p->matched] == byte) p->matched++;
        if (p->matched < p->len || p->len <= complete) continue;
        complete = p->len;
        s->found = (const char *)p->bytes;
    }
    return complete;
}

/* Length of the longest beginning of a character at s, at least 1: what one U+FFFD stands for. */
static size_t broken_len(const char *s, size_t n) {
    size_t len = 1;
    uint32_t cp;
    while (len < 3 && len < n && rw_utf8_next(s, len + 1, &cp) < 0) len++;
    return len;
}

/* Moves the first n held bytes to the text; with `last`, also a character that they cut off. */
static bool show(rwkv_stream *s, size_t n, bool last) {
    const char *held = (const char *)s->held.data;
    size_t pos = 0;
    while (pos < n) {
        uint32_t cp;
        int len = rw_utf8_next(held + pos, n - pos, &cp);
        if (len < 0 && !last) break;
        if (len > 0 ? !rw_buf_add(&s->text, held + pos, (size_t)len)
                    : !rw_buf_add(&s->text, "\xEF\xBF\xBD", 3)) {
            return false;
        }
        pos += len > 0 ? (size_t)len : broken_len(held + pos, n - pos);
    }
    s->held.len -= pos;
    if (pos && s->held.len) memmove(s->held.data, s->held.data + pos, s->held.len);
    return true;
}

/* Without memory for a long push the stream ends there: there is no error to return. */
bool rwkv_stream_push(rwkv_stream *s, const char *bytes, size_t len, const char **text, size_t *n) {
    size_t hold = 0;
    s->text.len = 0;
    for (size_t i = 0; i < len && !s->over; i++) {
        uint8_t byte = (uint8_t)bytes[i];
        size_t complete;
        if (!rw_buf_add(&s->held, &byte, 1)) {
            s->over = true;
        } else if ((complete = advance(s, byte)) > 0) {
            s->over = true;
            show(s, s->held.len - complete, true);
            s->matched = complete + (len - i - 1);
        }
    }
    for (size_t i = 0; i < s->n_stops; i++) {
        if (s->stops[i].matched > hold) hold = s->stops[i].matched;
    }
    if (!s->found) s->matched = hold;
    if (!s->over && !show(s, s->held.len - hold, false)) s->over = true;
    if (s->over) s->held.len = 0;
    *text = (const char *)s->text.data;
    *n = s->text.len;
    return s->over;
}

void rwkv_stream_finish(rwkv_stream *s, const char **text, size_t *n) {
    s->text.len = 0;
    if (!s->over) show(s, s->held.len, true);
    s->over = true;
    s->held.len = 0;
    *text = (const char *)s->text.data;
    *n = s->text.len;
}

size_t rwkv_stream_matched(const rwkv_stream *s) {
    return s->matched;
}

const char *rwkv_stream_stop(const rwkv_stream *s) {
    return s->found;
}
