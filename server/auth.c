/* auth.c - see auth.h. */
#include "auth.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

void auth_free(auth *a) {
    if (a->digests) rw_wipe(a->digests, a->n_keys * AUTH_DIGEST);
    rw_free(a->digests);
    a->digests = NULL;
    a->n_keys = 0;
}

static void digest_of(const char *key, size_t len, uint8_t out[AUTH_DIGEST]) {
    rw_sha256 s;
    rw_sha256_init(&s);
    rw_sha256_add(&s, key, len);
    rw_sha256_end(&s, out);
    rw_wipe(&s, sizeof s);
}

rwkv_status auth_add_key(auth *a, const char *key, size_t len, rwkv_error *err) {
    if (len < 8 || len > 512) {
        return rw_fail(err, RWKV_E_ARG, "API key %zu: found %zu characters; expected 8 to 512",
                       a->n_keys + 1, len);
    }
    for (size_t i = 0; i < len; i++) {
        if (key[i] > 0x20 && key[i] < 0x7f) continue;
        return rw_fail(err, RWKV_E_ARG, "API key %zu: character %zu is not printable ASCII",
                       a->n_keys + 1, i + 1);
    }
    if (a->n_keys == AUTH_MAX_KEYS) {
        return rw_fail(err, RWKV_E_ARG, "API keys: more than %d", AUTH_MAX_KEYS);
    }
    void *p = rw_realloc(a->digests, a->n_keys + 1, AUTH_DIGEST);
    if (!p) return rw_nomem(err, (a->n_keys + 1) * AUTH_DIGEST);
    a->digests = p;
    digest_of(key, len, a->digests[a->n_keys++]);
    return RWKV_OK;
}

/* Pieces of text between any of `ends`; skips empty ones and, with comments, those that begin with
 * #. */
static rwkv_status add_pieces(auth *a, const char *text, size_t len, const char *ends,
                              bool comments, rwkv_error *err) {
    size_t i = 0;
    while (i < len) {
        size_t k = i;
        while (k < len && text[k] && !strchr(ends, text[k])) k++;
        if (k > i && !(comments && text[i] == '#')) {
            RW_TRY(auth_add_key(a, text + i, k - i, err));
        }
        i = k + 1;
    }
    return RWKV_OK;
}

rwkv_status auth_read_file(auth *a, const char *path, rwkv_error *err) {
    void *data = NULL;
    size_t n = 0, before = a->n_keys;
    RW_TRY(rwkv_file_read(path, 8 << 20, &data, &n, err));
    rwkv_status st = add_pieces(a, data, n, "\r\n", true, err);
    rw_wipe(data, n);
    rwkv_free(data);
    if (st == RWKV_OK && a->n_keys == before) {
        st = rw_fail(err, RWKV_E_ARG, "%s: no API key in it; expected one a line", path);
    }
    return st;
}

rwkv_status auth_read_list(auth *a, const char *list, rwkv_error *err) {
    return add_pieces(a, list, strlen(list), ", \t\r\n", false, err);
}

bool auth_known(const auth *a, const uint8_t digest[AUTH_DIGEST], size_t *steps) {
    uint32_t found = 0;
    size_t n = 0;
    for (size_t k = 0; k < a->n_keys; k++) {
        uint32_t differs = 0;
        for (size_t i = 0; i < AUTH_DIGEST; i++, n++) differs |= a->digests[k][i] ^ digest[i];
        found |= (differs - 1) >> 31; /* 1 where nothing differs */
    }
    if (steps) *steps = n;
    return found != 0;
}

bool auth_check(const auth *a, const char *key, char tenant[AUTH_TENANT]) {
    static const char hex[] = "0123456789abcdef";
    uint8_t digest[AUTH_DIGEST];
    memcpy(tenant, "local", 6);
    if (a->n_keys == 0) return true;
    digest_of(key ? key : "", key ? strlen(key) : 0, digest);
    bool known = auth_known(a, digest, NULL);
    /* The tenant names data at rest, so it is not the digest itself but one of the digest. */
    digest_of((const char *)digest, AUTH_DIGEST, digest);
    for (size_t i = 0; i < (AUTH_TENANT - 1) / 2; i++) {
        tenant[2 * i] = hex[digest[i] >> 4];
        tenant[2 * i + 1] = hex[digest[i] & 15];
    }
    tenant[AUTH_TENANT - 1] = '\0';
    return known;
}

/* ------------------------------------------------------------------ hosts and origins */

/* The name in a Host header without its port and brackets; false if it is no host. */
static bool host_name(const char *host, char name[256]) {
    const char *end = host + strlen(host), *colon = strrchr(host, ':');
    bool bracket = host[0] == '[';
    if (bracket) {
        const char *close = strchr(host, ']');
        if (!close) return false;
        colon = close[1] == ':' ? close + 1 : NULL;
        if (!colon && close[1]) return false;
        end = close;
        host++;
    } else if (colon) {
        end = colon;
    }
    for (const char *p = colon ? colon + 1 : ""; *p; p++) {
        if (*p < '0' || *p > '9') return false;
    }
    size_t n = (size_t)(end - host);
    if (n == 0 || n > 255) return false;
    memcpy(name, host, n);
    name[n] = '\0';
    if (!bracket && name[n - 1] == '.') name[n - 1] = '\0';
    return bracket || !strchr(name, ':');
}

static bool is_address(const char *name) {
    struct in6_addr any;
    return inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1;
}

static bool is_loopback(const char *name) {
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(name, "localhost") == 0) return true;
    if (inet_pton(AF_INET, name, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool auth_host_allowed(const auth *a, const char *host) {
    char name[256];
    if (!host_name(host, name)) return false;
    if (is_loopback(name) || (a->any_address && is_address(name))) return true;
    for (size_t i = 0; i < a->n_hosts; i++) {
        if (strcmp(a->hosts[i], "*") == 0 || strcasecmp(a->hosts[i], name) == 0) return true;
    }
    return false;
}

const char *auth_origin(const auth *a, const char *origin) {
    for (size_t i = 0; i < a->n_origins; i++) {
        if (strcmp(a->origins[i], origin) == 0) return a->origins[i];
    }
    return NULL;
}

bool auth_same_origin(const char *origin, const char *host) {
    const char *rest = strncmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncmp(origin, "https://", 8) == 0 ? origin + 8
                                                             : NULL;
    return rest && strcasecmp(rest, host) == 0;
}
