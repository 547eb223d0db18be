/* params.c - see params.h. */
#include "params.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* jansson goes down recursively, so the depth is looked at before. False: *at is where it is too
 * deep. */
static bool shallow(const char *s, size_t n, size_t *at) {
    size_t depth = 0;
    bool string = false;
    for (size_t i = 0; i < n; i++) {
        if (string) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                string = false;
        } else if (s[i] == '"') {
            string = true;
        } else if (s[i] == '[' || s[i] == '{') {
            *at = i;
            if (++depth > LIMIT_JSON_DEPTH) return false;
        } else if ((s[i] == ']' || s[i] == '}') && depth) {
            depth--;
        }
    }
    return true;
}

json_t *params_parse(const void *data, size_t n, char why[300]) {
    json_error_t e;
    size_t at = 0;
    if (!shallow(data, n, &at)) {
        snprintf(why, 300, "JSON, byte %zu: deeper than %d levels", at, LIMIT_JSON_DEPTH);
        return NULL;
    }
    json_t *o = json_loadb(data, n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!o) {
        snprintf(why, 300, "JSON, byte %d: %s", e.position, e.text);
    } else if (!json_is_object(o)) {
        snprintf(why, 300, "JSON: expected an object");
        json_decref(o);
        o = NULL;
    }
    return o;
}

json_t *params_read(request *r) {
    char why[300];
    json_t *o = params_parse(r->body.data ? (const char *)r->body.data : "", r->body.len, why);
    if (!o) reply_error(r, 400, NULL, "invalid_json", "%s", why);
    request_drop_body(r);
    return o;
}

json_t *param_get(const json_t *o, const char *name) {
    json_t *v = json_object_get(o, name);
    return json_is_null(v) ? NULL : v;
}

static const char *kind_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number";
    case JSON_NULL:
        return "null";
    default:
        return "true or false";
    }
}

bool param_wrong(request *r, const char *name, const json_t *found, const char *expected) {
    char value[64] = "";
    if (json_is_number(found)) snprintf(value, sizeof value, " %.9g", json_number_value(found));
    reply_error(r, 400, name, "invalid_value", "%s: found %s%s; expected %s", name,
                found ? kind_of(found) : "nothing", value, expected);
    return false;
}

bool param_float(request *r, const json_t *o, const char *name, double min, double max,
                 float *out) {
    json_t *v = param_get(o, name);
    char expected[96];
    if (!v) return true;
    double x = json_number_value(v);
    if (json_is_number(v) && isfinite(x) && x >= min && x <= max) {
        *out = (float)x;
        return true;
    }
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    return param_wrong(r, name, v, expected);
}

bool param_integer(request *r, const json_t *o, const char *name, json_int_t min, json_int_t max,
                   json_int_t *out) {
    json_t *v = param_get(o, name);
    char expected[96];
    if (!v) return true;
    double real = json_real_value(v);
    bool whole =
        json_is_integer(v) || (json_is_real(v) && real == floor(real) && fabs(real) < 9e15);
    json_int_t x = json_is_integer(v) ? json_integer_value(v) : whole ? (json_int_t)real : 0;
    if (whole && x >= min && x <= max) {
        *out = x;
        return true;
    }
    snprintf(expected, sizeof expected, "a whole number from %lld to %lld", (long long)min,
             (long long)max);
    return param_wrong(r, name, v, expected);
}

bool param_bool(request *r, const json_t *o, const char *name, bool *out) {
    json_t *v = param_get(o, name);
    if (!v) return true;
    if (!json_is_boolean(v)) return param_wrong(r, name, v, "true or false");
    *out = json_is_true(v);
    return true;
}

bool param_string(request *r, const json_t *o, const char *name, size_t max, const char **out) {
    json_t *v = param_get(o, name);
    if (!v) return true;
    if (!json_is_string(v)) return param_wrong(r, name, v, "a string");
    size_t n = json_string_length(v);
    if (n > max || strlen(json_string_value(v)) != n) {
        reply_error(r, 400, name, "invalid_value",
                    "%s: expected at most %zu bytes, none of them zero; found %zu", name, max, n);
        return false;
    }
    *out = json_string_value(v);
    return true;
}

bool is_name(const char *s) {
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return n >= 1 && n <= 64 && !s[n] && strcmp(s, ".") && strcmp(s, "..");
}

void reply_json(request *r, int status, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(value);
    if (!text) {
        reply_error(r, 500, NULL, "out_of_memory", "out of memory");
        return;
    }
    reply(r, status, "application/json", text, strlen(text));
}
