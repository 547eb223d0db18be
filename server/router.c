/* router.c - see router.h. */
#include "router.h"

#include <string.h>

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One segment, percent-decoded. False for control bytes, slashes and dots that would change the
 * path, and broken escapes. */
static bool decode(const char *s, size_t n, char out[257]) {
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)s[i];
        if (c == '%') {
            if (n - i < 3) return false;
            int high = hex(s[i + 1]), low = hex(s[i + 2]);
            if (high < 0 || low < 0) return false;
            c = high << 4 | low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || c == '/' || k == 256) return false;
        out[k++] = (char)c;
    }
    out[k] = '\0';
    return k > 0 && strcmp(out, ".") && strcmp(out, "..");
}

/* Whether a path fits a pattern, both beginning with a slash. */
static bool fits(const char *pattern, const char *path, char name[257]) {
    char part[257];
    if (strcmp(pattern, "/") == 0) return strcmp(path, "/") == 0;
    while (*pattern == '/' && *path == '/') {
        size_t want = strcspn(++pattern, "/"), have = strcspn(++path, "/");
        if (!decode(path, have, part)) return false;
        if (pattern[0] == '{') {
            memcpy(name, part, strlen(part) + 1);
        } else if (strlen(part) != want || memcmp(part, pattern, want) != 0) {
            return false;
        }
        pattern += want;
        path += have;
    }
    return !*pattern && !*path;
}

const route *router_find(const route *routes, const char *method, const char *path, char name[257],
                         int *status, char allow[64]) {
    name[0] = allow[0] = '\0';
    *status = path[0] == '/' ? 404 : 400;
    if (strcmp(method, "HEAD") == 0) method = "GET";
    for (const route *t = routes; t->method && *status != 400; t++) {
        if (!fits(t->path, path, name)) continue;
        if (strcmp(t->method, method) == 0) return t;
        *status = 405;
        size_t used = strlen(allow);
        snprintf(allow + used, 64 - used, "%s%s", used ? ", " : "", t->method);
    }
    return NULL;
}
