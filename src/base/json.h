/* json.h - a bounded, non-recursive JSON reader over bytes in memory (safetensors headers,
 * config.json, tokenizer.json). A pull parser: the caller asks for the next event. Strict RFC 8259:
 * no invalid UTF-8, no lone surrogates, depth <= 64. Duplicates are the caller's concern. */
#ifndef RW_JSON_H
#define RW_JSON_H

#include "base.h"

typedef enum rw_json_kind {
    RW_JSON_END,    /* the document is complete */
    RW_JSON_OBJECT, /* { */
    RW_JSON_ARRAY,  /* [ */
    RW_JSON_CLOSE,  /* } or ] */
    RW_JSON_KEY,
    RW_JSON_STRING,
    RW_JSON_NUMBER,
    RW_JSON_TRUE,
    RW_JSON_FALSE,
    RW_JSON_NULL
} rw_json_kind;

typedef struct rw_json {
    const char *path;      /* for messages */
    const uint8_t *data;
    size_t len, pos;
    uint64_t base;         /* added to positions in messages: where data begins in the file */
    uint8_t stack[64];
    uint32_t depth;
    int expect;            /* internal */
    rw_buf text;           /* unescaped bytes of the current key or string */
} rw_json;

typedef struct rw_json_event {
    rw_json_kind kind;
    size_t pos;            /* where the event begins in data */
    const char *text;      /* KEY, STRING: unescaped, valid until the next call; NUMBER: as is */
    size_t len;
} rw_json_event;

void rw_json_init(rw_json *j, const char *path, const void *data, size_t len, uint64_t base);
void rw_json_free(rw_json *j);
rwkv_status rw_json_next(rw_json *j, rw_json_event *ev, rwkv_error *err);
/* After a KEY, or inside an array: reads and drops one whole value. */
rwkv_status rw_json_skip(rw_json *j, rwkv_error *err);
/* After OBJECT or ARRAY: drops what is left of it, with its end. After others: does nothing. */
rwkv_status rw_json_drop(rw_json *j, const rw_json_event *ev, rwkv_error *err);
/* An event's number as an unsigned integer; fails for fractions, signs, exponents, overflow. */
rwkv_status rw_json_u64(rw_json *j, const rw_json_event *ev, uint64_t *out, rwkv_error *err);
/* An event's number, whatever the locale, to about 14 digits. Fails beyond double's range. */
rwkv_status rw_json_f64(rw_json *j, const rw_json_event *ev, double *out, rwkv_error *err);
/* RWKV_E_FORMAT "path:pos: <what>; found <event>; expected <expected>" */
rwkv_status rw_json_fail(rw_json *j, const rw_json_event *ev, const char *what,
                         const char *expected, rwkv_error *err);

#endif
