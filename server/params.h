/* params.h - typed values out of a request's JSON. Every refusal names the parameter. */
#ifndef RWKV_SERVER_PARAMS_H
#define RWKV_SERVER_PARAMS_H

#include "http.h"

#include <jansson.h>

enum { LIMIT_JSON_DEPTH = 64 };

/* Bytes to a JSON object: no duplicate keys, no depth beyond the limit, no trailing bytes. NULL:
 * why says what is wrong and where. */
json_t *params_parse(const void *data, size_t n, char why[300]);
/* The same of a request's body, which is released; NULL after a reply. */
json_t *params_read(request *r);

/* Each leaves *out as it is and returns true where the value is absent or null; false after a reply
 * of 400. */
bool param_float(request *r, const json_t *o, const char *name, double min, double max, float *out);
bool param_integer(request *r, const json_t *o, const char *name, json_int_t min, json_int_t max,
                   json_int_t *out);
bool param_bool(request *r, const json_t *o, const char *name, bool *out);
/* Without NUL bytes, at most max bytes. */
bool param_string(request *r, const json_t *o, const char *name, size_t max, const char **out);
/* 400 "expected ...; found ..." */
bool param_wrong(request *r, const char *name, const json_t *found, const char *expected);
/* The value if it is there and not null. */
json_t *param_get(const json_t *o, const char *name);

/* A name of a session or state: 1 to 64 of [A-Za-z0-9._-]. */
bool is_name(const char *s);

/* A value as a reply; takes it. NULL: out of memory. */
void reply_json(request *r, int status, json_t *value);

#endif
