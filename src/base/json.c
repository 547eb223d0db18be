/* json.c - a strict pull parser without recursion: one byte of stack per open bracket. */
#include "json.h"
#include <float.h>
#include <stdlib.h>
#include <string.h>

/* What may come next. */
enum { WANT_VALUE, WANT_KEY, WANT_END };
enum { WANT_VALUE_OR_CLOSE = WANT_END + 1, WANT_KEY_OR_CLOSE, WANT_COMMA_OR_CLOSE };

void rw_json_init(rw_json *j, const char *path, const void *data, size_t len, uint64_t base) {
    *j = (rw_json){.path = path, .data = data, .len = len, .base = base, .expect = WANT_VALUE};
}

void rw_json_free(rw_json *j) {
    rw_buf_free(&j->text);
}

static rwkv_status fail(rw_json *j, size_t pos, const char *found, const char *expected,
                        rwkv_error *err) {
    return rw_fail_at(err, RWKV_E_FORMAT, j->path, j->base + pos, "JSON: found %s; expected %s",
                      found, expected);
}

static rwkv_status fail_byte(rw_json *j, const char *expected, rwkv_error *err) {
    if (j->pos >= j->len) return fail(j, j->pos, "the end", expected, err);
    char found[8] = {'\'', (char)j->data[j->pos], '\'', 0};
    return fail(j, j->pos, found, expected, err);
}

static void skip_blanks(rw_json *j) {
    while (j->pos < j->len && memchr(" \t\r\n", j->data[j->pos], 4)) j->pos++;
}

static bool in_object(const rw_json *j) {
    return j->depth > 0 && j->stack[j->depth - 1] == '{';
}

static void after_value(rw_json *j) {
    j->expect = j->depth ? WANT_COMMA_OR_CLOSE : WANT_END;
}

static bool hex4(const uint8_t *p, uint32_t *out) {
    uint32_t x = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t c = p[i];
        uint32_t digit = c >= '0' && c <= '9'   ? c - (uint32_t)'0'
                         : c >= 'a' && c <= 'f' ? c - (uint32_t)'a' + 10
                         : c >= 'A' && c <= 'F' ? c - (uint32_t)'A' + 10
                                                : 16;
        if (digit == 16) return false;
        x = x << 4 | digit;
    }
    *out = x;
    return true;
}

/* pos is behind "\u". Joins surrogate pairs; a lone one is an error. */
static rwkv_status unicode_escape(rw_json *j, rwkv_error *err) {
    uint32_t cp, low;
    size_t at = j->pos - 2;
    if (j->len - j->pos < 4 || !hex4(j->data + j->pos, &cp))
        return fail(j, at, "a bad \\u escape", "four hex digits", err);
    j->pos += 4;
    if (cp >= 0xdc00 && cp <= 0xdfff) return fail(j, at, "a lone surrogate", "a character", err);
    if (cp >= 0xd800 && cp <= 0xdbff) {
        if (j->len - j->pos < 6 || memcmp(j->data + j->pos, "\\u", 2) != 0 ||
            !hex4(j->data + j->pos + 2, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(j, at, "a lone surrogate", "a character", err);
        j->pos += 6;
        cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
    }
    char utf8[4];
    return rw_buf_add(&j->text, utf8, rw_utf8_put(cp, utf8)) ? RWKV_OK
                                                             : rw_nomem(err, j->text.cap * 2);
}

/* At an opening quote. Leaves the unescaped text in j->text. */
static rwkv_status read_string(rw_json *j, rwkv_error *err) {
    size_t start = j->pos++;
    j->text.len = 0;
    for (;;) {
        size_t run = j->pos;
        while (j->pos < j->len && j->data[j->pos] >= 0x20 && j->data[j->pos] < 0x80 &&
               j->data[j->pos] != '"' && j->data[j->pos] != '\\')
            j->pos++;
        if (!rw_buf_add(&j->text, j->data + run, j->pos - run))
            return rw_nomem(err, j->text.cap * 2);
        if (j->pos >= j->len) return fail(j, start, "a string without end", "a closing quote", err);
        uint8_t c = j->data[j->pos];
        if (c == '"') {
            j->pos++;
            return RWKV_OK;
        }
        if (c < 0x20) return fail(j, j->pos, "a control byte in a string", "an escape", err);
        if (c >= 0x80) {
            uint32_t cp;
            int n = rw_utf8_next((const char *)j->data + j->pos, j->len - j->pos, &cp);
            if (n <= 0) return fail(j, j->pos, "invalid UTF-8", "a character", err);
            if (!rw_buf_add(&j->text, j->data + j->pos, (size_t)n))
                return rw_nomem(err, j->text.cap * 2);
            j->pos += (size_t)n;
            continue;
        }
        static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
        uint8_t e = j->len - j->pos > 1 ? j->data[j->pos + 1] : 0;
        const char *which = e ? strchr(letters, e) : NULL;
        j->pos += 2;
        if (which) {
            if (!rw_buf_add(&j->text, bytes + (which - letters), 1))
                return rw_nomem(err, j->text.cap * 2);
        } else if (e == 'u') {
            RW_TRY(unicode_escape(j, err));
        } else {
            return fail(j, j->pos - 2, "an unknown escape",
                        "one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u", err);
        }
    }
}

static rw_json_event text_event(const rw_json *j, rw_json_kind kind, size_t pos) {
    return (rw_json_event){kind, pos, j->text.len ? (const char *)j->text.data : "", j->text.len};
}

static size_t digits(rw_json *j) {
    size_t from = j->pos;
    while (j->pos < j->len && j->data[j->pos] >= '0' && j->data[j->pos] <= '9') j->pos++;
    return j->pos - from;
}

static bool at_byte(const rw_json *j, const char *set) {
    return j->pos < j->len && j->data[j->pos] && strchr(set, j->data[j->pos]);
}

static rwkv_status read_number(rw_json *j, rwkv_error *err) {
    if (at_byte(j, "-")) j->pos++;
    if (at_byte(j, "0"))
        j->pos++;
    else if (digits(j) == 0)
        return fail_byte(j, "a digit", err);
    if (at_byte(j, ".")) {
        j->pos++;
        if (digits(j) == 0) return fail_byte(j, "a digit", err);
    }
    if (at_byte(j, "eE")) {
        j->pos++;
        if (at_byte(j, "+-")) j->pos++;
        if (digits(j) == 0) return fail_byte(j, "a digit", err);
    }
    return RWKV_OK;
}

static rwkv_status open_bracket(rw_json *j, uint8_t c, rwkv_error *err) {
    if (j->depth == sizeof j->stack)
        return fail(j, j->pos, "more than 64 open brackets", "less nesting", err);
    j->stack[j->depth++] = c;
    j->pos++;
    j->expect = c == '{' ? WANT_KEY_OR_CLOSE : WANT_VALUE_OR_CLOSE;
    return RWKV_OK;
}

static rwkv_status read_value(rw_json *j, rw_json_event *ev, rwkv_error *err) {
    static const struct {
        const char *text;
        rw_json_kind kind;
    } words[] = {{"true", RW_JSON_TRUE}, {"false", RW_JSON_FALSE}, {"null", RW_JSON_NULL}};
    uint8_t c = j->pos < j->len ? j->data[j->pos] : 0;
    if (c == '{' || c == '[') {
        ev->kind = c == '{' ? RW_JSON_OBJECT : RW_JSON_ARRAY;
        return open_bracket(j, c, err);
    }
    if (c == '"') {
        RW_TRY(read_string(j, err));
        *ev = text_event(j, RW_JSON_STRING, ev->pos);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        RW_TRY(read_number(j, err));
        *ev = (rw_json_event){RW_JSON_NUMBER, ev->pos, (const char *)j->data + ev->pos,
                              j->pos - ev->pos};
    } else {
        size_t i = 0;
        while (i < 3 && (j->len - j->pos < strlen(words[i].text) ||
                         memcmp(j->data + j->pos, words[i].text, strlen(words[i].text)) != 0))
            i++;
        if (i == 3) return fail_byte(j, "a value", err);
        ev->kind = words[i].kind;
        j->pos += strlen(words[i].text);
    }
    after_value(j);
    return RWKV_OK;
}

static rwkv_status read_key(rw_json *j, rw_json_event *ev, rwkv_error *err) {
    if (!at_byte(j, "\"")) return fail_byte(j, "a key in quotes", err);
    RW_TRY(read_string(j, err));
    skip_blanks(j);
    if (!at_byte(j, ":")) return fail_byte(j, "':'", err);
    j->pos++;
    *ev = text_event(j, RW_JSON_KEY, ev->pos);
    j->expect = WANT_VALUE;
    return RWKV_OK;
}

rwkv_status rw_json_next(rw_json *j, rw_json_event *ev, rwkv_error *err) {
    skip_blanks(j);
    if (j->expect == WANT_COMMA_OR_CLOSE && at_byte(j, ",")) {
        j->pos++;
        skip_blanks(j);
        j->expect = in_object(j) ? WANT_KEY : WANT_VALUE;
    }
    *ev = (rw_json_event){.kind = RW_JSON_END, .pos = j->pos};
    if (j->expect == WANT_END) return j->pos == j->len ? RWKV_OK : fail_byte(j, "the end", err);
    bool may_close = j->expect == WANT_COMMA_OR_CLOSE || j->expect == WANT_KEY_OR_CLOSE ||
                     j->expect == WANT_VALUE_OR_CLOSE;
    if (may_close && at_byte(j, in_object(j) ? "}" : "]")) {
        j->pos++;
        j->depth--;
        ev->kind = RW_JSON_CLOSE;
        after_value(j);
        return RWKV_OK;
    }
    if (j->expect == WANT_COMMA_OR_CLOSE)
        return fail_byte(j, in_object(j) ? "',' or '}'" : "',' or ']'", err);
    if (j->expect == WANT_KEY || j->expect == WANT_KEY_OR_CLOSE) return read_key(j, ev, err);
    return read_value(j, ev, err);
}

static double power_of_ten(int64_t n) { /* n <= 22: exact */
    double x = 1;
    while (n-- > 0) x *= 10;
    return x;
}

rwkv_status rw_json_skip(rw_json *j, rwkv_error *err) {
    uint32_t depth = j->depth;
    do {
        rw_json_event ev;
        RW_TRY(rw_json_next(j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE && j->depth < depth)
            return rw_json_fail(j, &ev, "value", "a value", err);
    } while (j->depth > depth);
    return RWKV_OK;
}

rwkv_status rw_json_drop(rw_json *j, const rw_json_event *ev, rwkv_error *err) {
    if (ev->kind != RW_JSON_OBJECT && ev->kind != RW_JSON_ARRAY) return RWKV_OK;
    for (uint32_t depth = j->depth; j->depth >= depth;) {
        rw_json_event inner;
        RW_TRY(rw_json_next(j, &inner, err));
    }
    return RWKV_OK;
}

rwkv_status rw_json_u64(rw_json *j, const rw_json_event *ev, uint64_t *out, rwkv_error *err) {
    if (ev->kind != RW_JSON_NUMBER)
        return rw_json_fail(j, ev, "number", "an unsigned integer", err);
    uint64_t x = 0;
    for (size_t i = 0; i < ev->len; i++) {
        uint8_t c = (uint8_t)ev->text[i];
        if (c < '0' || c > '9' || !rw_mul(x, 10, &x) || !rw_add(x, (uint64_t)(c - '0'), &x))
            return rw_json_fail(j, ev, "number", "an unsigned 64-bit integer", err);
    }
    *out = x;
    return RWKV_OK;
}

/* The text is a number as RFC 8259 has it: the first 18 digits count, the rest only move the point.
 * Up to 2^53 and 10^22 both factors are exact, and so is the rounding of the one operation. */
rwkv_status rw_json_f64(rw_json *j, const rw_json_event *ev, double *out, rwkv_error *err) {
    if (ev->kind != RW_JSON_NUMBER) return rw_json_fail(j, ev, "number", "a number", err);
    const char *p = ev->text, *end = p + ev->len;
    bool negative = *p == '-', behind_point = false;
    uint64_t digits = 0;
    int64_t scale = 0, exponent = 0;
    for (p += negative; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            behind_point = true;
            continue;
        }
        if (digits < 100000000000000000u)
            digits = digits * 10 + (uint64_t)(*p - '0');
        else
            scale++;
        scale -= behind_point;
    }
    if (p < end) {
        bool minus = p[1] == '-';
        for (p += 1 + (minus || p[1] == '+'); p < end; p++)
            if (exponent < 100000) exponent = exponent * 10 + (*p - '0');
        scale += minus ? -exponent : exponent;
    }
    double value = (double)digits;
    while (scale != 0 && value > 0 && value <= DBL_MAX) {
        int64_t step = scale > 22 ? 22 : scale < -22 ? -22 : scale;
        value = step > 0 ? value * power_of_ten(step) : value / power_of_ten(-step);
        scale -= step;
    }
    if (value > DBL_MAX) return rw_json_fail(j, ev, "number", "at most 1.8e308", err);
    *out = negative ? -value : value;
    return RWKV_OK;
}

rwkv_status rw_json_fail(rw_json *j, const rw_json_event *ev, const char *what,
                         const char *expected, rwkv_error *err) {
    static const char *const kinds[] = {"the end", "an object", "an array", "a closing bracket",
                                        "a key",   "a string",  "number",   "true",
                                        "false",   "null"};
    if (ev->kind == RW_JSON_NUMBER || ev->kind == RW_JSON_STRING || ev->kind == RW_JSON_KEY)
        return rw_fail_at(err, RWKV_E_FORMAT, j->path, j->base + ev->pos,
                          "%s: found %s %.*s; expected %s", what, kinds[ev->kind],
                          (int)(ev->len < 64 ? ev->len : 64), ev->text, expected);
    return rw_fail_at(err, RWKV_E_FORMAT, j->path, j->base + ev->pos, "%s: found %s; expected %s",
                      what, kinds[ev->kind], expected);
}
