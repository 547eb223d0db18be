/* auth.h - who may ask: API keys, names of this host, origins of pages.
 *
 *     Authorization header -> SHA-256 -> compared with every key's digest -> tenant
 *
 * Keys are kept as digests only. The comparison takes the same steps whichever key is right. */
#ifndef RWKV_SERVER_AUTH_H
#define RWKV_SERVER_AUTH_H

#include "base/base.h"

enum { AUTH_DIGEST = 32, AUTH_TENANT = 33, AUTH_MAX_KEYS = 10000 };

typedef struct auth {
    uint8_t (*digests)[AUTH_DIGEST];
    size_t n_keys;
    const char *const *hosts; /* allowed beside loopback names; "*": any */
    size_t n_hosts;
    const char *const *origins; /* exact */
    size_t n_origins;
    bool any_address; /* bound beyond loopback: an IP address as Host is no rebinding */
} auth;

void auth_free(auth *a);
rwkv_status auth_add_key(auth *a, const char *key, size_t len, rwkv_error *err);
/* One key a line; blank lines and lines with # are skipped. */
rwkv_status auth_read_file(auth *a, const char *path, rwkv_error *err);
/* Separated by commas or blanks. */
rwkv_status auth_read_list(auth *a, const char *list, rwkv_error *err);

/* Whether one of the digests equals `digest`. *steps (may be NULL) counts the bytes compared. */
bool auth_known(const auth *a, const uint8_t digest[AUTH_DIGEST], size_t *steps);
/* The tenant of a request with this key ("" or NULL: none given). False: refused. Without any keys
 * everybody is "local". */
bool auth_check(const auth *a, const char *key, char tenant[AUTH_TENANT]);

/* Host header (name or address, perhaps with a port). */
bool auth_host_allowed(const auth *a, const char *host);
/* The configured origin that equals this one; NULL: none. */
const char *auth_origin(const auth *a, const char *origin);
/* "http://HOST" or "https://HOST" of the very host that was asked. */
bool auth_same_origin(const char *origin, const char *host);

#endif
