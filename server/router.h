/* router.h - a request's path to its route. Parsed once: routes, keys and log see the same. */
#ifndef RWKV_SERVER_ROUTER_H
#define RWKV_SERVER_ROUTER_H

#include "http.h"

/* NULL with *status 400 (no path), 404 or 405; then allow lists the methods that exist. name gets
 * what {name} stands for, percent-decoded. */
const route *router_find(const route *routes, const char *method, const char *path, char name[257],
                         int *status, char allow[64]);

#endif
