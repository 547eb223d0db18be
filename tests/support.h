/* support.h - shared by the tests: cmocka's includes in their order, paths, random numbers. */
#ifndef RW_SUPPORT_H
#define RW_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/base.h"

/* ../shared is optional: tests that need a file there call skip() when this returns NULL. */
const char *shared_path(const char *relative); /* NULL: not there. Static buffer, 4 in rotation */

/* A fresh folder for this process, removed at exit. */
const char *temp_path(const char *name);       /* full path inside it. Static buffer, 4 in rotation */

/* Deterministic random numbers (splitmix64). */
uint64_t rng_u64(uint64_t *state);
float rng_normal(uint64_t *state);             /* mean 0, variance 1 */
float rng_uniform(uint64_t *state);            /* [0, 1) */

/* Whole files; the test fails when reading does. Release with free. */
void *slurp(const char *path, size_t *len);
void spill(const char *path, const void *data, size_t len);

float max_abs_diff(const float *a, const float *b, size_t n);

/* Runs the rwkv program: args as for a shell (single quotes allowed). Returns the exit code; stdout and
 * stderr go to *out and *err (malloc'd, NUL-terminated; may be NULL). input may be NULL. */
int run_rwkv(const char *args, const char *input, char **out, char **err);

#endif
