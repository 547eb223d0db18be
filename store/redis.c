/* redis.c - the store that several servers share: one Redis 5 or newer, by hiredis.
 *
 * Everything is a Lua script, so that comparing a generation, writing the item and keeping the
 * index is one step:
 *
 *     rwkv:{SPACE}:i:NAME  hash    key (its own), generation, ttl, writer, n_data, note, data
 *     rwkv:{SPACE}:used    zset    names by last use, microseconds
 *     rwkv:{SPACE}:ends    zset    names that expire, by when
 *     rwkv:{SPACE}:sizes   hash    name -> bytes of note and data
 *     rwkv:{SPACE}:total   hash    bytes, generation (the counter)
 *     rwkv:spaces          set     all spaces
 *
 * Every request carries a number that its reply repeats; a reply with another one, or an item with
 * another key, closes the connection, and so does every error. A request over a pooled connection
 * that turns out to be closed is sent once more: a put recognises by `writer` what it has already
 * done. The clock is Redis's. */
#include "backend.h"

#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    POOL = 8,
    WAIT_S = 2,   /* for a connection, and for the next bytes */
    TOTAL_S = 10, /* for a whole reply */
    MAX_ELEMENTS = 1 << 20,
    LIST_AT_ONCE = 64,
    TRIM_AT_ONCE = 64,
    MAX_ARGS = 16 + LIST_AT_ONCE,
};
static const size_t max_value = 512u << 20, max_reply = (512u << 20) + (1u << 20);

/* ------------------------------------------------------------------ scripts */

/* KEYS: item (or the prefix of items), used, ends, sizes, total, spaces.
 * ARGV: number of the request, name, ... */
/* clang-format off */
#define PRELUDE                                                                                   \
    "local item, used, ends, sizes, total = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]\n"        \
    "local nonce, name = ARGV[1], ARGV[2]\n"                                                      \
    "local t = redis.call('TIME')\n"                                                              \
    "local now = t[1] * 1000000 + t[2]\n"                                                         \
    "local function text(n) return string.format('%.0f', n) end\n"                                \
    "local function drop(name, key)\n"                                                            \
    "  local size = redis.call('HGET', sizes, name)\n"                                            \
    "  if size then\n"                                                                            \
    "    redis.call('HINCRBY', total, 'bytes', -size)\n"                                          \
    "    redis.call('HDEL', sizes, name)\n"                                                       \
    "  end\n"                                                                                     \
    "  redis.call('ZREM', used, name)\n"                                                          \
    "  redis.call('ZREM', ends, name)\n"                                                          \
    "  redis.call('DEL', key)\n"                                                                  \
    "end\n"                                                                                       \
    "local function mark(call, ttl)\n"                                                            \
    "  call('ZADD', used, text(now), name)\n"                                                     \
    "  if ttl > 0 then call('ZADD', ends, text(now + ttl * 1000000), name)\n"                     \
    "  else call('ZREM', ends, name) end\n"                                                       \
    "end\n"                                                                                       \
    "local function stale(at, ttl)\n"                                                             \
    "  return now - at > (ttl > 0 and ttl < 600 and ttl * 100000 or 60000000)\n"                  \
    "end\n"                                                                                       \
    "local function there()\n" /* generation (0: none), last use, ttl */                          \
    "  local v = redis.call('HMGET', item, 'generation', 'ttl')\n"                                \
    "  local at = redis.call('ZSCORE', used, name)\n"                                             \
    "  if v[1] and at and (v[2] == '0' or now < at + v[2] * 1000000) then\n"                      \
    "    return tonumber(v[1]), tonumber(at), tonumber(v[2])\n"                                   \
    "  end\n"                                                                                     \
    "  if v[1] or at then drop(name, item) end\n"                                                 \
    "  return 0, 0, 0\n"                                                                          \
    "end\n"

/* ... with_data -> generation, used, key, n_data, note, data */
static const char get_script[] = PRELUDE
    "local g, at, ttl = there()\n"
    "if g == 0 then return {nonce, 'none'} end\n"
    "if stale(at, ttl) then mark(redis.pcall, ttl) end\n"
    "local last = ARGV[3] == '1' and 'data' or 'key'\n"
    "local v = redis.call('HMGET', item, 'key', 'n_data', 'note', last)\n"
    "return {nonce, 'ok', text(g), text(at), v[1], v[2], v[3], v[4]}\n";

/* ... expected, ttl, note, keep_data, data -> generation */
static const char put_script[] = PRELUDE
    "local g, at, ttl = there()\n"
    "local note, size = ARGV[5], #ARGV[7]\n"
    "if g ~= 0 and redis.call('HGET', item, 'writer') == nonce then\n"
    "  return {nonce, 'ok', text(g)}\n"
    "end\n"
    "if ARGV[3] ~= '*' and ARGV[3] ~= text(g) then return {nonce, 'conflict', text(g)} end\n"
    "if ARGV[6] == '1' and g == 0 then return {nonce, 'none'} end\n"
    "local n = math.max(tonumber(redis.call('HGET', total, 'generation') or '0'), g) + 1\n"
    "if ARGV[6] == '1' then\n"
    "  redis.call('HSET', item, 'note', note)\n"
    "  size = tonumber(redis.call('HGET', item, 'n_data'))\n"
    "else\n"
    "  ttl = tonumber(ARGV[4])\n"
    "  redis.call('HMSET', item, 'data', ARGV[7], 'note', note, 'key', item,\n"
    "             'n_data', text(size), 'ttl', ARGV[4])\n"
    "end\n"
    "redis.call('HMSET', item, 'generation', text(n), 'writer', nonce)\n"
    "size = size + #note\n"
    "local before = redis.call('HGET', sizes, name) or '0'\n"
    "redis.call('HSET', total, 'generation', text(n))\n"
    "redis.call('HINCRBY', total, 'bytes', text(size - before))\n"
    "redis.call('HSET', sizes, name, text(size))\n"
    "redis.call('SADD', KEYS[6], ARGV[8])\n"
    "mark(redis.call, ttl)\n"
    "return {nonce, 'ok', text(n)}\n";

/* ... expected */
static const char remove_script[] = PRELUDE
    "local g = there()\n"
    "if g == 0 then return {nonce, 'none'} end\n"
    "if ARGV[3] ~= '*' and ARGV[3] ~= text(g) then return {nonce, 'conflict', text(g)} end\n"
    "drop(name, item)\n"
    "return {nonce, 'ok'}\n";

static const char touch_script[] = PRELUDE
    "local g, at, ttl = there()\n"
    "if g == 0 then return {nonce, 'none'} end\n"
    "if stale(at, ttl) then mark(redis.call, ttl) end\n"
    "return {nonce, 'ok'}\n";

/* -> all names, most recently used first */
static const char names_script[] = PRELUDE
    "local r = redis.call('ZREVRANGE', used, 0, -1)\n"
    "table.insert(r, 1, 'ok')\n"
    "table.insert(r, 1, nonce)\n"
    "return r\n";

/* ... names -> for each that is there: name, generation, used, n_data, note */
static const char describe_script[] = PRELUDE
    "local r = {nonce, 'ok'}\n"
    "for i = 3, #ARGV do\n"
    "  local v = redis.call('HMGET', item .. ARGV[i], 'generation', 'ttl', 'n_data', 'note')\n"
    "  local at = redis.call('ZSCORE', used, ARGV[i])\n"
    "  if v[1] and at and (v[2] == '0' or now < at + v[2] * 1000000) then\n"
    "    local k = #r\n"
    "    r[k + 1], r[k + 2], r[k + 3], r[k + 4], r[k + 5] = ARGV[i], v[1], text(at), v[3], v[4]\n"
    "  end\n"
    "end\n"
    "return r\n";

/* -> items, bytes */
static const char usage_script[] = PRELUDE
    "local bytes = redis.call('HGET', total, 'bytes') or '0'\n"
    "return {nonce, 'ok', text(redis.call('ZCARD', used)), bytes}\n";

/* ... max bytes or '*', limit -> how many were removed */
static const char trim_script[] = PRELUDE
    "local n, limit = 0, tonumber(ARGV[4])\n"
    "local over = redis.call('ZRANGEBYSCORE', ends, '-inf', text(now), 'LIMIT', 0, limit)\n"
    "for _, k in ipairs(over) do\n"
    "  drop(k, item .. k)\n"
    "  n = n + 1\n"
    "end\n"
    "local function bytes() return tonumber(redis.call('HGET', total, 'bytes') or '0') end\n"
    "while ARGV[3] ~= '*' and n < limit and bytes() > tonumber(ARGV[3]) do\n"
    "  local k = redis.call('ZRANGE', used, 0, 0)[1]\n"
    "  if not k then break end\n"
    "  drop(k, item .. k)\n"
    "  n = n + 1\n"
    "end\n"
    "return {nonce, 'ok', text(n)}\n";

static const char spaces_script[] = PRELUDE
    "local r = redis.call('SMEMBERS', KEYS[6])\n"
    "table.insert(r, 1, 'ok')\n"
    "table.insert(r, 1, nonce)\n"
    "return r\n";
/* clang-format on */

/* ------------------------------------------------------------------ connections */

typedef struct redis {
    store base;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    redisContext *idle[POOL];
    int n_idle, n_open;
    uint64_t salt, n_requests;
    char *buffer; /* the url, cut into the parts below */
    const char *host, *socket, *user, *password;
    int port, db;
} redis;

/* A reply cannot ask for more elements than a script may return. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif
static redisReplyObjectFunctions object_functions;
static void *(*create_array)(const redisReadTask *, element_count);
static pthread_once_t object_functions_once = PTHREAD_ONCE_INIT;

static void *create_bounded_array(const redisReadTask *task, element_count n) {
    return n > MAX_ELEMENTS ? NULL : create_array(task, n);
}

static void make_object_functions(void) {
    redisReader *r = redisReaderCreate();
    if (!r) return;
    object_functions = *r->fn;
    create_array = object_functions.createArray;
    object_functions.createArray = create_bounded_array;
    redisReaderFree(r);
}

static store_result unreachable(redis *d, redisContext *c, rwkv_error *err) {
    bool late = c && (c->err == REDIS_ERR_IO || c->err == REDIS_ERR_OTHER) &&
                (errno == EAGAIN || errno == EWOULDBLOCK);
    rw_fail(err, RWKV_E_IO, "%s: %s", store_url(&d->base),
            late              ? "no answer in time"
            : c && *c->errstr ? c->errstr
                              : "out of memory");
    return STORE_FAILED;
}

/* One reply, within the limits of time and size. */
static redisReply *read_reply(redis *d, redisContext *c, rwkv_error *err) {
    uint64_t until = rw_os_now_ns() + (uint64_t)TOTAL_S * 1000000000u;
    void *reply = NULL;
    int written = 0;
    errno = 0;
    while (!written) {
        if (redisBufferWrite(c, &written) != REDIS_OK || rw_os_now_ns() > until)
            return unreachable(d, c, err), NULL;
    }
    for (;;) {
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK) {
            rw_fail(err, RWKV_E_FORMAT, "%s: %s", store_url(&d->base), c->reader->errstr);
            return NULL;
        }
        if (reply) return reply;
        if (c->reader->len > max_reply) {
            rw_fail(err, RWKV_E_FORMAT, "%s: a reply of more than %zu bytes", store_url(&d->base),
                    max_reply);
            return NULL;
        }
        if (rw_os_now_ns() > until) {
            rw_fail(err, RWKV_E_IO, "%s: no whole answer in %d s", store_url(&d->base), TOTAL_S);
            return NULL;
        }
        if (redisBufferRead(c) != REDIS_OK) return unreachable(d, c, err), NULL;
    }
}

/* A command of the handshake; any answer but an error will do. */
static bool greet(redis *d, redisContext *c, int n, const char **argv, rwkv_error *err) {
    if (redisAppendCommandArgv(c, n, argv, NULL) != REDIS_OK) return unreachable(d, c, err), false;
    redisReply *r = read_reply(d, c, err);
    bool good = r && r->type != REDIS_REPLY_ERROR;
    if (r && !good) rw_fail(err, RWKV_E_IO, "%s: %s: %s", store_url(&d->base), argv[0], r->str);
    if (r) freeReplyObject(r);
    return good;
}

static redisContext *reach(redis *d, rwkv_error *err) {
    struct timeval wait = {WAIT_S, 0};
    const char *auth[] = {"AUTH", d->user ? d->user : d->password, d->password}, *ping[] = {"PING"};
    char db[16];
    const char *choose[] = {"SELECT", db};
    errno = 0;
    redisContext *c = d->socket ? redisConnectUnixWithTimeout(d->socket, wait)
                                : redisConnectWithTimeout(d->host, d->port, wait);
    snprintf(db, sizeof db, "%d", d->db);
    if (!c || c->err || redisSetTimeout(c, wait) != REDIS_OK) {
        unreachable(d, c, err);
    } else {
        c->reader->fn = &object_functions;
        if ((!d->password || greet(d, c, d->user ? 3 : 2, auth, err)) &&
            (!d->db || greet(d, c, 2, choose, err)) && greet(d, c, 1, ping, err))
            return c;
    }
    if (c) redisFree(c);
    return NULL;
}

/* A connection for one request; *reused: it was open before. */
static redisContext *take(redis *d, bool *reused, rwkv_error *err) {
    redisContext *c = NULL;
    pthread_mutex_lock(&d->lock);
    while (!d->n_idle && d->n_open == POOL) pthread_cond_wait(&d->freed, &d->lock);
    *reused = d->n_idle > 0;
    if (*reused)
        c = d->idle[--d->n_idle];
    else
        d->n_open++;
    pthread_mutex_unlock(&d->lock);
    if (c || (c = reach(d, err))) return c;
    pthread_mutex_lock(&d->lock);
    d->n_open--;
    pthread_cond_signal(&d->freed);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* Back to the pool, or closed; after a failure the idle ones are closed as well, they are no
 * better. */
static void give_back(redis *d, redisContext *c, bool good) {
    redisContext *closed[POOL + 1];
    int n = 0;
    pthread_mutex_lock(&d->lock);
    if (good) {
        d->idle[d->n_idle++] = c;
    } else {
        closed[n++] = c;
        while (d->n_idle) closed[n++] = d->idle[--d->n_idle];
        d->n_open -= n;
    }
    pthread_cond_broadcast(&d->freed);
    pthread_mutex_unlock(&d->lock);
    while (n) redisFree(closed[--n]);
}

/* ------------------------------------------------------------------ one request */

typedef struct request {
    const char *argv[MAX_ARGS];
    size_t len[MAX_ARGS];
    int n;
    bool repeated; /* it may have been carried out once before */
    char nonce[32], keys[6][2 * STORE_NAME_MAX + 32], numbers[3][24];
    int n_numbers;
} request;

static void arg(request *q, const void *p, size_t n) {
    q->argv[q->n] = p ? p : "";
    q->len[q->n++] = n;
}

static void arg_text(request *q, const char *text) {
    arg(q, text, strlen(text));
}

static void arg_number(request *q, uint64_t n, bool any) {
    char *to = q->numbers[q->n_numbers++];
    snprintf(to, sizeof *q->numbers, any ? "*" : "%llu", (unsigned long long)n);
    arg_text(q, to);
}

/* name NULL: the scripts that work on a space get the prefix of its items. */
static void begin(redis *d, request *q, const char *script, const char *space, const char *name) {
    static const char *const indexes[] = {"used", "ends", "sizes", "total"};
    q->n = q->n_numbers = 0;
    q->repeated = false;
    pthread_mutex_lock(&d->lock);
    snprintf(q->nonce, sizeof q->nonce, "%016llx%08llx", (unsigned long long)d->salt,
             (unsigned long long)d->n_requests++);
    pthread_mutex_unlock(&d->lock);
    snprintf(q->keys[0], sizeof *q->keys, "rwkv:{%s}:i:%s", space, name ? name : "");
    for (int i = 0; i < 4; i++)
        snprintf(q->keys[i + 1], sizeof *q->keys, "rwkv:{%s}:%s", space, indexes[i]);
    snprintf(q->keys[5], sizeof *q->keys, "rwkv:spaces");
    arg_text(q, "EVAL");
    arg_text(q, script);
    arg_text(q, "6");
    for (int i = 0; i < 6; i++) arg_text(q, q->keys[i]);
    arg_text(q, q->nonce);
    arg_text(q, name ? name : "");
}

/* What the script said, if it is the answer to this request. */
static store_result judge(redis *d, const request *q, const redisReply *r, rwkv_error *err) {
    static const struct {
        const char *word;
        store_result result;
    } words[] = {{"ok", STORE_OK}, {"none", STORE_NONE}, {"conflict", STORE_CONFLICT}};
    if (r->type == REDIS_REPLY_ERROR) {
        bool full = strstr(r->str, "OOM command") != NULL;
        rw_fail(err, RWKV_E_IO, "%s: %s", store_url(&d->base),
                full ? "Redis is at its memory limit; nothing was changed" : r->str);
        return full ? STORE_FULL : STORE_FAILED;
    }
    if (r->type == REDIS_REPLY_ARRAY && r->elements >= 2 &&
        r->element[0]->type == REDIS_REPLY_STRING && r->element[1]->type == REDIS_REPLY_STRING &&
        strcmp(r->element[0]->str, q->nonce) == 0) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            if (strcmp(r->element[1]->str, words[i].word) == 0) return words[i].result;
        }
    }
    rw_fail(err, RWKV_E_FORMAT, "%s: a reply to another request; the connection was closed",
            store_url(&d->base));
    return STORE_FAILED;
}

/* check: what the caller still demands of a good reply before its connection is used again; may be
 * NULL. *reply is the caller's to free; NULL after a failure. */
static store_result send_request(redis *d, request *q,
                                 bool (*check)(const request *q, const redisReply *r),
                                 redisReply **reply, rwkv_error *err) {
    for (;;) {
        bool reused;
        *reply = NULL;
        redisContext *c = take(d, &reused, err);
        if (!c) return STORE_FAILED;
        if (redisAppendCommandArgv(c, q->n, q->argv, q->len) == REDIS_OK)
            *reply = read_reply(d, c, err);
        else
            unreachable(d, c, err);
        store_result r = *reply ? judge(d, q, *reply, err) : STORE_FAILED;
        if (r == STORE_OK && check && !check(q, *reply)) {
            rw_fail(err, RWKV_E_FORMAT, "%s: %s holds something else", store_url(&d->base),
                    q->keys[0]);
            r = STORE_FAILED;
        }
        bool good = r != STORE_FAILED && r != STORE_FULL;
        bool again = !*reply && reused && !q->repeated && c->err == REDIS_ERR_EOF;
        again = again || (!*reply && reused && !q->repeated && c->err == REDIS_ERR_IO &&
                          (errno == EPIPE || errno == ECONNRESET));
        give_back(d, c, good);
        if (good || !again) {
            if (!good && *reply) {
                freeReplyObject(*reply);
                *reply = NULL;
            }
            return r;
        }
        q->repeated = true;
    }
}

/* The i-th value of a reply as a number; scripts send digits. */
static uint64_t value(const redisReply *r, size_t i) {
    return i < r->elements && r->element[i]->type == REDIS_REPLY_STRING
               ? strtoull(r->element[i]->str, NULL, 10)
               : 0;
}

static bool all_strings(const redisReply *r, size_t n) {
    for (size_t i = 0; i < r->elements; i++) {
        if (r->element[i]->type != REDIS_REPLY_STRING) return false;
    }
    return r->elements >= n;
}

/* ------------------------------------------------------------------ the interface */

static bool check_item(const request *q, const redisReply *r) {
    return all_strings(r, 8) && strcmp(r->element[4]->str, q->keys[0]) == 0 &&
           (q->argv[q->n - 1][0] == '0' || value(r, 5) == r->element[7]->len);
}

static store_result redis_get(store *s, const char *space, const char *name, bool data,
                              store_item *item, rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *reply;
    begin(d, &q, get_script, space, name);
    arg_text(&q, data ? "1" : "0");
    store_result r = send_request(d, &q, check_item, &reply, err);
    if (r == STORE_OK) {
        redisReply **e = reply->element;
        if (!store_item_fill(item, name, e[6]->str, e[6]->len, data ? e[7]->str : NULL, e[7]->len))
            r = store_nomem(err, e[7]->len);
        else
            item->n_data = value(reply, 5);
        item->generation = value(reply, 2);
        item->used = (int64_t)(value(reply, 3) / 1000000);
    }
    if (reply) freeReplyObject(reply);
    return r;
}

static store_result redis_put(store *s, const store_write *w, uint64_t *generation,
                              rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *reply;
    if (w->n_data > max_value) {
        rw_fail(err, RWKV_E_ARG, "%s: an item of %zu bytes; Redis takes at most %zu", store_url(s),
                w->n_data, max_value);
        return STORE_FAILED;
    }
    begin(d, &q, put_script, w->space, w->name);
    arg_number(&q, w->expected, w->expected == STORE_ANY);
    arg_number(&q, w->ttl, false);
    arg(&q, w->note, w->n_note);
    arg_text(&q, w->keep_data ? "1" : "0");
    arg(&q, w->data, w->n_data);
    arg_text(&q, w->space);
    store_result r = send_request(d, &q, NULL, &reply, err);
    if (r == STORE_OK || r == STORE_CONFLICT) *generation = value(reply, 2);
    if (reply) freeReplyObject(reply);
    return r;
}

static store_result redis_remove(store *s, const char *space, const char *name, uint64_t expected,
                                 rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *reply;
    begin(d, &q, remove_script, space, name);
    arg_number(&q, expected, expected == STORE_ANY);
    store_result r = send_request(d, &q, NULL, &reply, err);
    if (reply) freeReplyObject(reply);
    return r == STORE_NONE && q.repeated ? STORE_OK : r;
}

static store_result redis_touch(store *s, const char *space, const char *name, rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *reply;
    begin(d, &q, touch_script, space, name);
    store_result r = send_request(d, &q, NULL, &reply, err);
    if (reply) freeReplyObject(reply);
    return r;
}

static bool check_strings(const request *q, const redisReply *r) {
    (void)q;
    return all_strings(r, 2);
}

static bool check_described(const request *q, const redisReply *r) {
    (void)q;
    return all_strings(r, 2) && (r->elements - 2) % 5 == 0;
}

static store_result add_items(const redisReply *r, store_items *out, rwkv_error *err) {
    for (size_t i = 2; i + 5 <= r->elements; i += 5) {
        redisReply **e = r->element + i;
        store_item *item = store_items_add(out);
        if (!item || !store_item_fill(item, e[0]->str, e[4]->str, e[4]->len, NULL, 0))
            return store_nomem(err, e[4]->len);
        item->generation = value(r, i + 1);
        item->used = (int64_t)(value(r, i + 2) / 1000000);
        item->n_data = value(r, i + 3);
    }
    return STORE_OK;
}

static store_result redis_list(store *s, const char *space, store_items *out, rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *names, *reply;
    begin(d, &q, names_script, space, NULL);
    store_result r = send_request(d, &q, check_strings, &names, err);
    for (size_t i = 2; !r && i < names->elements; i += LIST_AT_ONCE) {
        begin(d, &q, describe_script, space, NULL);
        for (size_t k = i; k < names->elements && k < i + LIST_AT_ONCE; k++)
            arg(&q, names->element[k]->str, names->element[k]->len);
        r = send_request(d, &q, check_described, &reply, err);
        if (!r) r = add_items(reply, out, err);
        if (reply) freeReplyObject(reply);
    }
    if (names) freeReplyObject(names);
    return r;
}

static store_result redis_usage(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes,
                                rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *reply;
    begin(d, &q, usage_script, space, NULL);
    store_result r = send_request(d, &q, check_strings, &reply, err);
    if (!r) *n_items = value(reply, 2), *n_bytes = value(reply, 3);
    if (reply) freeReplyObject(reply);
    return r;
}

static store_result trim_space(redis *d, const char *space, uint64_t max_bytes, bool any,
                               rwkv_error *err) {
    for (;;) {
        request q;
        redisReply *reply;
        begin(d, &q, trim_script, space, NULL);
        arg_number(&q, max_bytes, any);
        arg_number(&q, TRIM_AT_ONCE, false);
        store_result r = send_request(d, &q, check_strings, &reply, err);
        bool more = !r && value(reply, 2) == TRIM_AT_ONCE;
        if (reply) freeReplyObject(reply);
        if (!more) return r;
    }
}

static store_result redis_trim(store *s, const char *space, uint64_t max_bytes, rwkv_error *err) {
    redis *d = (redis *)s;
    request q;
    redisReply *spaces;
    begin(d, &q, spaces_script, "", NULL);
    store_result r = send_request(d, &q, check_strings, &spaces, err);
    for (size_t i = 2; !r && i < spaces->elements; i++) {
        if (strlen(spaces->element[i]->str) <= STORE_NAME_MAX)
            r = trim_space(d, spaces->element[i]->str, 0, true, err);
    }
    if (spaces) freeReplyObject(spaces);
    return !r && space ? trim_space(d, space, max_bytes, false, err) : r;
}

/* ------------------------------------------------------------------ opening */

static void redis_close(store *s) {
    redis *d = (redis *)s;
    while (d->n_idle) redisFree(d->idle[--d->n_idle]);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->freed);
    if (d->buffer) rw_wipe(d->buffer, strlen(d->buffer));
    free(d->buffer);
    free(d->base.url);
    free(d);
}

/* %41 -> A, in place. */
static bool percent_decode(char *p) {
    char *to = p;
    for (; *p; p++) {
        unsigned c;
        if (*p == '%' && (sscanf(p + 1, "%2x", &c) != 1 || !c || !p[1] || !p[2])) return false;
        if (*p == '%')
            p += 2;
        else
            c = (unsigned char)*p;
        *to++ = (char)c;
    }
    *to = 0;
    return true;
}

static bool parse_number(const char *p, int max, int *out) {
    char *end;
    long n = strtol(p, &end, 10);
    *out = (int)n;
    return *p >= '0' && *p <= '9' && !*end && n <= max;
}

/* redis://[[user]:password@]host[:port][/db], unix:[[user]:password@]path[?db=N]; cuts d->buffer
 * up. */
static bool parse_url(redis *d, char *p) {
    bool local = strncmp(p, "unix:", 5) == 0;
    p += local ? 5 : strlen("redis://");
    char *at = strrchr(p, '@'), *colon, *db;
    d->port = 6379;
    if (at) {
        *at = 0;
        if (!(colon = strchr(p, ':'))) return false;
        *colon = 0;
        if (!percent_decode(colon + 1) || !percent_decode(p)) return false;
        d->user = *p ? p : NULL;
        d->password = colon + 1;
        p = at + 1;
    }
    if ((db = local ? strstr(p, "?db=") : strchr(p, '/'))) {
        *db = 0;
        db += local ? 4 : 1;
        if (*db && !parse_number(db, 1 << 20, &d->db)) return false;
    }
    if (local) {
        d->socket = p;
        return *p != 0;
    }
    char *after = p; /* of the host, where its port may stand */
    if (*p == '[') {
        if (!(after = strchr(++p, ']'))) return false;
        *after++ = 0;
    }
    if ((colon = strchr(after, ':'))) {
        *colon = 0;
        if (!parse_number(colon + 1, 65535, &d->port)) return false;
    }
    d->host = p;
    return *p != 0;
}

rwkv_status store_open_redis(store **out, const char *url, rwkv_error *err) {
    static const store_backend backend = {redis_close, redis_get,  redis_put,   redis_remove,
                                          redis_touch, redis_list, redis_usage, redis_trim};
    redis *d = calloc(1, sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL) || pthread_cond_init(&d->freed, NULL)) {
        free(d);
        return rw_nomem(err, sizeof *d);
    }
    d->base.backend = &backend;
    pthread_once(&object_functions_once, make_object_functions);
    size_t n = strlen(url) + 64;
    d->buffer = strdup(url);
    d->base.url = malloc(n);
    if (!d->buffer || !d->base.url || !create_array || getentropy(&d->salt, sizeof d->salt)) {
        redis_close(&d->base);
        return rw_nomem(err, n);
    }
    if (!parse_url(d, d->buffer)) {
        redis_close(&d->base);
        return rw_fail(
            err, RWKV_E_ARG,
            "address of Redis: expected redis://[[user]:password@]host[:port][/db] or unix:PATH");
    }
    if (d->socket)
        snprintf(d->base.url, n, "unix:%s", d->socket);
    else
        snprintf(d->base.url, n, "redis://%s:%d/%d", d->host, d->port, d->db);
    bool reused;
    redisContext *c = take(d, &reused, err);
    if (!c) {
        redis_close(&d->base);
        return RWKV_E_IO;
    }
    give_back(d, c, true);
    *out = &d->base;
    return RWKV_OK;
}
