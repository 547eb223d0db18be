/* error.c - one line of text for each failure, safe to print anywhere: control bytes and invalid
 * UTF-8 come out as \xNN, whatever the file or request put into names. */
#include "base.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *rwkv_version(void) {
    return RWKV_VERSION;
}

const char *rwkv_status_name(rwkv_status status) {
    static const char *const names[] = {
        "RWKV_OK",          "RWKV_E_ARG",         "RWKV_E_NOMEM",   "RWKV_E_IO",
        "RWKV_E_FORMAT",    "RWKV_E_UNSUPPORTED", "RWKV_E_MODEL",   "RWKV_E_VOCAB",
        "RWKV_E_TEXT",      "RWKV_E_STATE",       "RWKV_E_NUMERIC", "RWKV_E_SPACE",
        "RWKV_E_CANCELLED",
    };
    size_t i = (size_t)status;
    return i < sizeof names / sizeof *names ? names[i] : "RWKV_E_UNKNOWN";
}

/* Copies with control bytes and broken UTF-8 escaped; cuts at a character's boundary, which returns
 * false. */
static bool copy_escaped(char *out, size_t cap, const char *in) {
    size_t used = 0, n = strlen(in);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = rw_utf8_next(in + i, n - i, &cp);
        bool plain = len > 0 && cp >= 0x20 && cp != 0x7f && !(cp >= 0x80 && cp < 0xa0);
        size_t step = len > 0 ? (size_t)len : 1, need = plain ? step : 4 * step;
        if (used + need + 1 > cap) {
            out[used] = 0;
            return false;
        }
        if (plain)
            memcpy(out + used, in + i, step);
        else
            for (size_t k = 0; k < step; k++)
                snprintf(out + used + 4 * k, 5, "\\x%02x", (unsigned char)in[i + k]);
        used += need;
        i += step;
    }
    out[used] = 0;
    return true;
}

/* Of a long path the end tells more than the beginning. */
static void copy_path(char *out, size_t cap, const char *path) {
    if (copy_escaped(out, cap, path)) return;
    const char *tail = path, *end = path + strlen(path);
    memcpy(out, "...", 3);
    if ((size_t)(end - path) > cap) tail = end - cap;
    do tail++;
    while (((unsigned char)*tail & 0xc0) == 0x80 || !copy_escaped(out + 3, cap - 3, tail));
}

static rwkv_status fill(rwkv_error *err, rwkv_status code, const char *path, uint64_t offset,
                        const char *text) {
    if (!err) return code;
    char escaped[sizeof err->message];
    err->code = code;
    err->offset = offset;
    copy_path(err->file, sizeof err->file, path);
    int n = 0;
    if (*path) n = snprintf(err->message, sizeof err->message, "%s:", err->file);
    if (*path && offset != RWKV_NO_OFFSET)
        n += snprintf(err->message + n, sizeof err->message - (size_t)n,
                      "%llu:", (unsigned long long)offset);
    copy_escaped(escaped, sizeof escaped - (size_t)n - 1, text);
    snprintf(err->message + n, sizeof err->message - (size_t)n, "%s%s", n ? " " : "", escaped);
    return code;
}

rwkv_status (rw_fail)(rwkv_error *err, rwkv_status code, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fill(err, code, "", RWKV_NO_OFFSET, text);
}

rwkv_status (rw_fail_at)(rwkv_error *err, rwkv_status code, const char *path, uint64_t offset,
                        const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return fill(err, code, path, offset, text);
}

rwkv_status (rw_fail_errno)(rwkv_error *err, rwkv_status code, const char *path, int errno_value,
                           const char *what) {
    char reason[128] = "";
#if defined(__GLIBC__) && defined(_GNU_SOURCE)
    const char *s = strerror_r(errno_value, reason, sizeof reason);
#else
    const char *s = strerror_r(errno_value, reason, sizeof reason) == 0 ? reason : "unknown error";
#endif
    return rw_fail_at(err, code, path, RWKV_NO_OFFSET, "%s: %s", what, s);
}

rwkv_status (rw_nomem)(rwkv_error *err, size_t bytes) {
    return rw_fail(err, RWKV_E_NOMEM, "out of memory (asked for %zu bytes)", bytes);
}

void rw_log_line(const rw_log *log, int level, const char *fmt, ...) {
    if (!log || !log->fn) return;
    char text[1024], line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    copy_escaped(line, sizeof line, text);
    log->fn(log->user, level, line);
}
