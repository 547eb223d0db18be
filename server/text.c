/* text.c - see text.h. */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool buf_puts(rw_buf *b, const char *s) {
    return rw_buf_add(b, s, strlen(s));
}

bool buf_printf(rw_buf *b, const char *fmt, ...) {
    char small[512];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (n < 0) return false;
    if ((size_t)n < sizeof small) return rw_buf_add(b, small, (size_t)n);
    if (!rw_buf_reserve(b, (size_t)n + 1)) return false;
    va_start(args, fmt);
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
    return true;
}

static bool put_escape(rw_buf *b, unsigned char c) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *known = c ? strchr(from, c) : NULL;
    char out[8] = {'\\', known ? to[known - from] : 'u', 0};
    if (!known) snprintf(out + 2, 5, "%04x", c);
    return buf_puts(b, out);
}

bool buf_json(rw_buf *b, const char *s, size_t n) {
    size_t plain = 0, i = 0; /* s[plain..i) needs no escape */
    bool ok = buf_puts(b, "\"");
    while (i < n && ok) {
        uint32_t cp = 0;
        int len = rw_utf8_next(s + i, n - i, &cp);
        if (len > 0 && cp >= 0x20 && cp != '"' && cp != '\\' && cp != 0x7f) {
            i += (size_t)len;
            continue;
        }
        ok = rw_buf_add(b, s + plain, i - plain);
        ok = ok && (len > 0 ? put_escape(b, (unsigned char)cp) : buf_puts(b, "\xEF\xBF\xBD"));
        i += len > 0 ? (size_t)len : 1;
        plain = i;
    }
    return ok && rw_buf_add(b, s + plain, i - plain) && buf_puts(b, "\"");
}

/* ------------------------------------------------------------------ base64 */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *buf_base64(const void *data, size_t n, size_t *len) {
    const uint8_t *p = data;
    char *out = n < SIZE_MAX / 2 ? malloc((n + 2) / 3 * 4 + 1) : NULL, *o = out;
    if (!out) return NULL;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t left = n - i < 3 ? (uint32_t)(n - i) : 3;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
                     (left > 2 ? p[i + 2] : 0u);
        *o++ = alphabet[v >> 18];
        *o++ = alphabet[v >> 12 & 63];
        *o++ = left > 1 ? alphabet[v >> 6 & 63] : '=';
        *o++ = left > 2 ? alphabet[v & 63] : '=';
    }
    *o = '\0';
    *len = (size_t)(o - out);
    return out;
}

static int digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}

void *buf_from_base64(const char *s, size_t len, size_t *n) {
    while (len && s[len - 1] == '=') len--;
    if (len % 4 == 1) return NULL;
    uint8_t *out = malloc(len / 4 * 3 + 3), *o = out;
    uint32_t v = 0, bits = 0;
    if (!out) return NULL;
    for (size_t i = 0; i < len; i++) {
        int d = digit(s[i]);
        if (d < 0) {
            free(out);
            return NULL;
        }
        v = v << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *o++ = (uint8_t)(v >> bits);
        }
    }
    *n = (size_t)(o - out);
    return out;
}
