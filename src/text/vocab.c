/* vocab.c - reads World vocabularies: lines "ID LITERAL LENGTH" with a Python literal, or a JSON
 * object
 * {"ID": "text" or [bytes]}. Hands a JSON object that is a tokenizer.json to neox.c.
 *
 * The file is hostile: every id once and without gaps, every length right, no token empty,
 * over-long or given twice. Errors are "path:line:column: what". */
#include "vocab.h"
#include "../base/json.h"
#include <stdio.h>
#include <string.h>

rwkv_status rw_source_fail(const rw_source *src, size_t pos, rwkv_error *err, const char *fmt,
                           ...) {
    size_t line = 1, begin = 0;
    char text[512];
    rwkv_error place = {0};
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    for (size_t i = 0; i < pos && i < src->len; i++) {
        if (src->data[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    if (!err) return RWKV_E_VOCAB;
    rw_fail_at(&place, RWKV_E_VOCAB, src->path, pos, "%s", text);
    rw_fail(err, RWKV_E_VOCAB, "%s:%zu:%zu: %s", src->path, line, pos - begin + 1, text);
    err->offset = place.offset;
    memcpy(err->file, place.file, sizeof err->file);
    return RWKV_E_VOCAB;
}

typedef struct reader {
    rw_source src;
    size_t pos;
    rwkv_tokenizer *t;
    size_t *where;               /* [cap_ids] position of each id's line */
    uint8_t token[RW_MAX_TOKEN]; /* the literal being decoded */
    size_t len;
} reader;

static int peek(const reader *r) {
    return r->pos < r->src.len ? r->src.data[r->pos] : -1;
}

static rwkv_status fail_here(const reader *r, const char *expected, rwkv_error *err) {
    int c = peek(r);
    if (c < 0) return rw_source_fail(&r->src, r->pos, err, "found the end; expected %s", expected);
    if (c == '\n' || c == '\r') {
        return rw_source_fail(&r->src, r->pos, err, "found the end of the line; expected %s",
                              expected);
    }
    return c > 0x20 && c < 0x7F
               ? rw_source_fail(&r->src, r->pos, err, "found '%c'; expected %s", c, expected)
               : rw_source_fail(&r->src, r->pos, err, "found byte 0x%02x; expected %s", (unsigned)c,
                                expected);
}

static rwkv_status read_number(reader *r, const char *what, size_t *out, rwkv_error *err) {
    size_t value = 0, begin = r->pos;
    for (int c; (c = peek(r)) >= '0' && c <= '9'; r->pos++) {
        value = value * 10 + (size_t)(c - '0');
        if (r->pos - begin >= 9) {
            return rw_source_fail(&r->src, begin, err, "%s has too many digits", what);
        }
    }
    if (r->pos == begin) return fail_here(r, what, err);
    *out = value;
    return RWKV_OK;
}

static rwkv_status read_blank(reader *r, const char *expected, rwkv_error *err) {
    if (peek(r) != ' ') return fail_here(r, expected, err);
    r->pos++;
    return RWKV_OK;
}

static rwkv_status add_bytes(reader *r, const void *bytes, size_t n, size_t begin,
                             rwkv_error *err) {
    if (n > RW_MAX_TOKEN - r->len) {
        return rw_source_fail(&r->src, begin, err, "token is longer than %u bytes", RW_MAX_TOKEN);
    }
    memcpy(r->token + r->len, bytes, n);
    r->len += n;
    return RWKV_OK;
}

static rwkv_status add_point(reader *r, uint32_t cp, size_t begin, size_t at, rwkv_error *err) {
    char utf8[4];
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp <= 0xDFFF)) {
        return rw_source_fail(&r->src, at, err, "U+%04X is no character", (unsigned)cp);
    }
    return add_bytes(r, utf8, rw_utf8_put(cp, utf8), begin, err);
}

static int hex_digit(int c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* At a backslash. Numeric escapes are code points in '...' and bytes in b'...', where \u and \U
 * mean nothing. Escapes that Python keeps with their backslash are refused: none is in use. */
static rwkv_status read_escape(reader *r, bool raw, size_t begin, rwkv_error *err) {
    static const char letters[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    size_t at = r->pos++;
    int c = peek(r);
    const char *simple = c > 0 ? strchr(letters, c) : NULL;
    int digits = c == 'x' ? 2 : raw ? 0 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t cp = 0;
    if (simple) {
        r->pos++;
        return add_bytes(r, &values[simple - letters], 1, begin, err);
    }
    if (!digits) return rw_source_fail(&r->src, at, err, "unknown escape in a token");
    r->pos++;
    for (int i = 0; i < digits; i++, r->pos++) {
        int digit = hex_digit(peek(r));
        if (digit < 0) return fail_here(r, "a hexadecimal digit", err);
        cp = cp << 4 | (uint32_t)digit;
    }
    uint8_t byte = (uint8_t)cp;
    return raw ? add_bytes(r, &byte, 1, begin, err) : add_point(r, cp, begin, at, err);
}

/* '...', "..." or b'...' into r->token. */
static rwkv_status read_literal(reader *r, rwkv_error *err) {
    size_t begin = r->pos;
    bool raw = peek(r) == 'b';
    r->pos += raw;
    int quote = peek(r);
    if (quote != '\'' && quote != '"') return fail_here(r, "a quoted token", err);
    r->pos++;
    r->len = 0;
    for (int c; (c = peek(r)) != quote;) {
        uint32_t cp;
        int len = 1;
        if (c == '\\') {
            RW_TRY(read_escape(r, raw, begin, err));
            continue;
        }
        if (c < 0x20 || (raw && c > 0x7E)) return fail_here(r, "the closing quote", err);
        if (c > 0x7E)
            len = rw_utf8_next((const char *)r->src.data + r->pos, r->src.len - r->pos, &cp);
        if (len < 1) return fail_here(r, "UTF-8", err);
        RW_TRY(add_bytes(r, r->src.data + r->pos, (size_t)len, begin, err));
        r->pos += (size_t)len;
    }
    r->pos++;
    return r->len ? RWKV_OK : rw_source_fail(&r->src, begin, err, "token is empty");
}

static rwkv_status put_token(reader *r, size_t id, size_t at, rwkv_error *err) {
    if (id >= RW_MAX_WORLD_IDS) {
        return rw_source_fail(&r->src, at, err, "id out of range; found %zu; expected at most %u",
                              id, RW_MAX_WORLD_IDS - 1);
    }
    if (r->t->tokens[id].len) {
        return rw_source_fail(&r->src, at, err, "id %zu occurs twice; first at byte %zu", id,
                              r->where[id]);
    }
    r->where[id] = at;
    return rw_tokenizer_put(r->t, id, r->token, r->len, err);
}

static rwkv_status read_line(reader *r, rwkv_error *err) {
    size_t at = r->pos, id = 0, length = 0, length_at;
    RW_TRY(read_number(r, "a token id", &id, err));
    RW_TRY(read_blank(r, "a blank after the id", err));
    RW_TRY(read_literal(r, err));
    RW_TRY(read_blank(r, "a blank after the token", err));
    length_at = r->pos;
    RW_TRY(read_number(r, "the token's length", &length, err));
    if (length != r->len) {
        return rw_source_fail(&r->src, length_at, err,
                              "token's length is wrong; found %zu; expected %zu", length, r->len);
    }
    if (peek(r) == '\r') r->pos++;
    if (peek(r) >= 0 && peek(r) != '\n') return fail_here(r, "the end of the line", err);
    return put_token(r, id, at, err);
}

static rwkv_status read_lines(reader *r, rwkv_error *err) {
    while (r->pos < r->src.len) {
        int c = peek(r);
        if (c == '\n' || c == '\r') {
            r->pos++;
        } else {
            RW_TRY(read_line(r, err));
        }
    }
    return RWKV_OK;
}

/* [228, 189] after the opening bracket */
static rwkv_status read_byte_list(reader *r, rw_json *j, size_t begin, rwkv_error *err) {
    for (;;) {
        rw_json_event ev;
        uint64_t value;
        RW_TRY(rw_json_next(j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) return RWKV_OK;
        if (ev.kind != RW_JSON_NUMBER) return rw_json_fail(j, &ev, "token", "a byte", err);
        RW_TRY(rw_json_u64(j, &ev, &value, err));
        if (value > 255) return rw_json_fail(j, &ev, "token", "a byte, 0 to 255", err);
        uint8_t byte = (uint8_t)value;
        RW_TRY(add_bytes(r, &byte, 1, begin, err));
    }
}

/* The key's event is already taken; j is before its value. */
static rwkv_status read_json_token(reader *r, rw_json *j, rw_json_event key, rwkv_error *err) {
    rw_json_event ev;
    size_t id = 0;
    if (key.len == 0 || key.len > 5) return rw_json_fail(j, &key, "vocabulary", "a token id", err);
    for (size_t i = 0; i < key.len; i++) {
        if (key.text[i] < '0' || key.text[i] > '9') {
            return rw_json_fail(j, &key, "vocabulary", "a token id", err);
        }
        id = id * 10 + (size_t)(key.text[i] - '0');
    }
    RW_TRY(rw_json_next(j, &ev, err));
    r->len = 0;
    if (ev.kind == RW_JSON_STRING) {
        RW_TRY(add_bytes(r, ev.text, ev.len, ev.pos, err));
    } else if (ev.kind == RW_JSON_ARRAY) {
        RW_TRY(read_byte_list(r, j, ev.pos, err));
    } else {
        return rw_json_fail(j, &ev, "token", "a string or a list of bytes", err);
    }
    if (!r->len) return rw_source_fail(&r->src, ev.pos, err, "token is empty");
    return put_token(r, id, key.pos, err);
}

static rwkv_status read_json(reader *r, rwkv_error *err) {
    rw_json j;
    rw_json_event ev;
    rwkv_status st;
    rw_json_init(&j, r->src.path, r->src.data, r->src.len, 0);
    RW_GOTO(rw_json_next(&j, &ev, err));
    for (;;) {
        RW_GOTO(rw_json_next(&j, &ev, err));
        if (ev.kind != RW_JSON_KEY) break;
        RW_GOTO(read_json_token(r, &j, ev, err));
    }
    st = rw_json_next(&j, &ev, err);
out:
    rw_json_free(&j);
    return st;
}

/* Ids count from 0 or 1 without a gap, and no text has two ids. */
static rwkv_status check_ids(reader *r, rwkv_error *err) {
    rwkv_tokenizer *t = r->t;
    int32_t twins[2] = {-1, -1};
    if (t->n_ids == 0) return rw_source_fail(&r->src, 0, err, "the vocabulary has no tokens");
    for (size_t id = 1; id < t->n_ids; id++) {
        if (t->tokens[id].len) continue;
        size_t next = id + 1;
        while (!t->tokens[next].len) next++;
        return rw_source_fail(&r->src, r->where[next], err, "id %zu is missing; found %zu", id,
                              next);
    }
    rwkv_status st = rw_tokenizer_index(t, twins, err);
    if (twins[0] < 0) return st;
    return rw_source_fail(&r->src, r->where[twins[1]], err,
                          "token %d has the same text as token %d", (int)twins[1], (int)twins[0]);
}

/* True if the first key of a JSON object is no number: then it is a tokenizer.json. */
static bool looks_neox(const rw_source *src, size_t pos) {
    while (pos < src->len && strchr(" \t\r\n{", src->data[pos])) pos++;
    return pos + 1 < src->len && src->data[pos] == '"' &&
           (src->data[pos + 1] < '0' || src->data[pos + 1] > '9');
}

rwkv_status rw_vocab_read(rwkv_tokenizer **out, const rw_source *src, rwkv_error *err) {
    size_t first = 0;
    while (first < src->len && strchr(" \t\r\n", src->data[first])) first++;
    bool json = first < src->len && src->data[first] == '{';
    if (json && looks_neox(src, first)) return rw_neox_read(out, src, err);

    rwkv_status st = RWKV_E_NOMEM;
    reader *r = rw_calloc(1, sizeof *r);
    if (!r) return rw_nomem(err, sizeof *r);
    r->src = *src;
    r->t = rw_tokenizer_new(RW_MAX_WORLD_IDS, err);
    r->where = rw_calloc(RW_MAX_WORLD_IDS, sizeof *r->where);
    if (!r->t) goto out;
    if (!r->where) {
        st = rw_nomem(err, RW_MAX_WORLD_IDS * sizeof *r->where);
        goto out;
    }
    RW_GOTO(json ? read_json(r, err) : read_lines(r, err));
    RW_GOTO(check_ids(r, err));
    *out = r->t;
    r->t = NULL;
out:
    rwkv_tokenizer_free(r->t);
    rw_free(r->where);
    rw_free(r);
    return st;
}
