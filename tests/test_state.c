/* test_state.c - state blobs: what is saved is what is loaded, on any build of the same model;
 * every damage is refused with a named reason and leaves the session as it was. */
#include "support_models.h"
#include <math.h>

static const char *const versions[] = {"4", "5.0", "5.1", "5.2", "6", "7", "7a"};
enum { N_VERSIONS = sizeof versions / sizeof *versions, BLOB = 1 << 18 };

/* Offsets of the header's fields and its length, as docs/FORMATS.md has them. */
enum {
    HEADER = 176,
    AT_FORMAT = 8,
    AT_FLAGS = 12,
    AT_PENDING = 36,
    AT_STATE = 40,
    AT_NOTE = 56,
    AT_ZERO = 128
};

static const test_shape shape = {
    .version = "7", .n_layer = 1, .D = 16, .H = 2, .N = 8, .V = 40, .seed = 70};
static rwkv_model *model;
static rwkv_session *session;
static uint8_t blob[BLOB], damaged[BLOB];
static size_t blob_len;

static rwkv_model *open_model(const test_shape *s, test_format f, rw_type type) {
    rwkv_model *m = NULL;
    rwkv_error err = {0};
    rwkv_model_options options = {.n_threads = 1};
    if (rwkv_model_open(&m, test_model_file(s, f, type), &options, &err))
        fail_msg("%s", err.message);
    return m;
}

static rwkv_session *new_session(rwkv_model *m) {
    rwkv_session *s = NULL;
    assert_int_equal(rwkv_session_new(&s, m, NULL), RWKV_OK);
    return s;
}

static void feed(rwkv_session *s, const int32_t *tokens, size_t n) {
    assert_int_equal(rwkv_session_eval(s, tokens, n, NULL), RWKV_OK);
}

static size_t save(const rwkv_session *s, uint32_t flags, const char *note) {
    size_t n = 0;
    rwkv_error err = {0};
    if (rwkv_session_save(s, note, note ? strlen(note) : 0, flags, blob, sizeof blob, &n, &err))
        fail_msg("%s", err.message);
    return n;
}

static int set_up(void **unused) {
    (void)unused;
    model = open_model(&shape, AS_GGUF, RW_F32);
    session = new_session(model);
    feed(session, (int32_t[]){1, 2, 3, 4}, 4);
    return rwkv_session_pend(session, 7, NULL);
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_session_free(session);
    rwkv_model_free(model);
    return 0;
}

static void assert_same(const rwkv_session *a, const rwkv_session *b, size_t V) {
    assert_int_equal(rwkv_session_n_tokens(a), rwkv_session_n_tokens(b));
    assert_int_equal(rwkv_session_pending(a), rwkv_session_pending(b));
    assert_memory_equal(rwkv_session_state(a), rwkv_session_state(b),
                        rwkv_session_state_len(a) * sizeof(float));
    assert_int_equal(rwkv_session_logits(a) == NULL, rwkv_session_logits(b) == NULL);
    if (rwkv_session_logits(a))
        assert_memory_equal(rwkv_session_logits(a), rwkv_session_logits(b), V * sizeof(float));
}

static void every_version_round_trips(void **unused) {
    (void)unused;
    for (int v = 0; v < N_VERSIONS; v++) {
        test_shape sh = {.version = versions[v], .D = 24, .V = 60, .seed = 71};
        rwkv_model *m = open_model(&sh, AS_PTH, RW_F32);
        rwkv_session *a = new_session(m), *b = new_session(m);
        rwkv_state_info info;
        rwkv_info model_info;
        rwkv_model_info(m, &model_info);
        for (int step = 0; step < 3; step++) { /* fresh; with logits; with a pending token */
            size_t n = save(a, 0, "a note");
            assert_int_equal(rwkv_state_inspect(blob, n, &info, NULL), RWKV_OK);
            assert_int_equal(info.format_version, 1);
            assert_string_equal(info.version, versions[v]);
            assert_int_equal(info.n_layer, model_info.n_layer);
            assert_int_equal(info.n_embd, 24);
            assert_int_equal(info.n_vocab, 60);
            assert_int_equal(info.n_tokens, rwkv_session_n_tokens(a));
            assert_false(info.f16);
            assert_memory_equal(info.fingerprint, model_info.fingerprint, 32);
            assert_memory_equal(info.weights_hash, model_info.weights_hash, 32);
            assert_int_equal(info.note_len, 6);
            assert_memory_equal(info.note, "a note", 6);
            feed(b, (int32_t[]){9}, 1);
            assert_int_equal(rwkv_session_load(b, blob, n, &info, NULL), RWKV_OK);
            assert_false(info.other_weights);
            assert_same(a, b, 60);
            feed(a, (int32_t[]){5, 6}, 2);
            feed(b, (int32_t[]){5, 6}, 2);
            assert_same(a, b, 60);
            if (step == 1) assert_int_equal(rwkv_session_pend(a, 8, NULL), RWKV_OK);
            if (step == 1) rwkv_session_reset(b);
        }
        rwkv_session_free(a);
        rwkv_session_free(b);
        rwkv_model_free(m);
    }
}

static void half_the_size(void **unused) {
    (void)unused;
    rwkv_session *b = new_session(model);
    rwkv_state_info info;
    size_t full = save(session, 0, NULL), n = save(session, RWKV_STATE_F16, NULL);
    size_t len = rwkv_session_state_len(session);
    assert_int_equal(full - n, 2 * len);
    assert_int_equal(rwkv_session_load(b, blob, n, &info, NULL), RWKV_OK);
    assert_true(info.f16);
    for (size_t i = 0; i < len; i++) {
        float x = rwkv_session_state(session)[i], y = rwkv_session_state(b)[i];
        assert_true(fabsf(x - y) <= fabsf(x) * 0x1p-11f + 0x1p-25f);
    }
    assert_memory_equal(rwkv_session_logits(b), rwkv_session_logits(session), 40 * sizeof(float));
    assert_int_equal(rwkv_session_pending(b), 7);
    rwkv_session_free(b);
}

/* v4 starts at -1e30, which float16 cannot hold: such a state is kept in full. */
static void a_state_beyond_half_precision_stays_whole(void **unused) {
    (void)unused;
    test_shape sh = {.version = "4", .D = 24, .V = 60, .seed = 72};
    rwkv_model *m = open_model(&sh, AS_PTH, RW_F32);
    rwkv_session *a = new_session(m), *b = new_session(m);
    size_t n = save(a, RWKV_STATE_F16, NULL);
    assert_int_equal(rwkv_session_load(b, blob, n, NULL, NULL), RWKV_OK);
    assert_same(a, b, 60);
    rwkv_session_free(a);
    rwkv_session_free(b);
    rwkv_model_free(m);
}

static void a_short_buffer_is_told(void **unused) {
    (void)unused;
    size_t need = 0, n = save(session, 0, "note");
    uint8_t *small = malloc(n);
    assert_non_null(small);
    assert_int_equal(rwkv_session_save(session, "note", 4, 0, NULL, 0, &need, NULL), RWKV_E_SPACE);
    assert_int_equal(need, n);
    need = 0;
    memset(small, 0xA5, n);
    assert_int_equal(rwkv_session_save(session, "note", 4, 0, small, n - 1, &need, NULL),
                     RWKV_E_SPACE);
    assert_int_equal(need, n);
    assert_int_equal(small[n - 1], 0xA5);
    assert_int_equal(rwkv_session_save(session, "note", 4, 0, small, n, &need, NULL), RWKV_OK);
    assert_memory_equal(small, blob, n);
    assert_int_equal(rwkv_session_save(session, NULL, 4, 0, small, n, &need, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_session_save(NULL, NULL, 0, 0, small, n, &need, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_session_load(session, NULL, n, NULL, NULL), RWKV_E_ARG);
    assert_int_equal(rwkv_state_inspect(blob, n, NULL, NULL), RWKV_E_ARG);
    free(small);
}

/* ---- damage */

/* A copy on the heap of exactly n bytes, so that the sanitizer sees a read beyond. */
static void assert_refused(const uint8_t *bytes, size_t n, const char *reason, const char *what) {
    rwkv_error err = {0};
    rwkv_session *before = new_session(model);
    rwkv_state_info info = {.n_layer = 12345};
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    rwkv_session_copy(before, session, NULL);
    rwkv_status st = rwkv_session_load(session, copy, n, &info, &err);
    if (st != RWKV_E_STATE)
        fail_msg("%s: found %s; expected RWKV_E_STATE", what, rwkv_status_name(st));
    if (err.code != st || !err.message[0] || (reason && !strstr(err.message, reason)))
        fail_msg("%s: the message is \"%s\"", what, err.message);
    assert_int_equal(info.n_layer, 12345);
    assert_same(session, before, 40);
    free(copy);
    rwkv_session_free(before);
}

static void every_cut_is_refused(void **unused) {
    (void)unused;
    blob_len = save(session, 0, "note");
    char what[40];
    for (size_t n = 0; n < blob_len; n += n <= HEADER + 40 || n + 60 > blob_len ? 1 : 7) {
        snprintf(what, sizeof what, "cut to %zu bytes", n);
        assert_refused(blob, n, NULL, what);
        memcpy(damaged, blob, n); /* also when the checksum was made to fit */
        test_state_seal(damaged, n);
        assert_refused(damaged, n, NULL, what);
    }
    memcpy(damaged, blob, blob_len);
    damaged[blob_len] = 0;
    assert_refused(damaged, blob_len + 1, NULL, "one byte more");
}

static void every_flipped_bit_is_refused(void **unused) {
    (void)unused;
    blob_len = save(session, 0, "note");
    for (size_t i = 0; i < blob_len; i++) {
        char what[40];
        snprintf(what, sizeof what, "byte %zu", i);
        blob[i] ^= (uint8_t)(1u << (i % 8));
        assert_refused(blob, blob_len, NULL, what);
        blob[i] ^= (uint8_t)(1u << (i % 8));
    }
}

typedef struct damage {
    const char *what, *reason;
    size_t at;
    unsigned width;
    uint64_t value;
} damage;

/* With the checksum made right, so that each field is judged for itself. */
static void every_field_is_checked(void **unused) {
    (void)unused;
    blob_len = save(session, 0, "note");
    uint64_t n_state = rwkv_session_state_len(session), logits = HEADER + 4 * n_state;
    const damage list[] = {
        {"magic", "RWKVSTAT", 0, 1, 'r'},
        {"format 0", "version 0", AT_FORMAT, 4, 0},
        {"format 2", "version 2", AT_FORMAT, 4, 2},
        {"unknown flag", "flags", AT_FLAGS, 4, 2 | 4},
        {"flag of half precision", NULL, AT_FLAGS, 4, 3},
        {"no logits", NULL, AT_FLAGS, 4, 0},
        {"vocabulary", NULL, 32, 4, 41},
        {"vocabulary 0", NULL, 32, 4, 0},
        {"vocabulary that wraps", NULL, 32, 4, 0xFFFFFFFF},
        {"pending -2", "pending", AT_PENDING, 4, (uint32_t)-2},
        {"pending 40", "pending", AT_PENDING, 4, 40},
        {"pending 2^31", "pending", AT_PENDING, 4, 0x80000000},
        {"state length 0", NULL, AT_STATE, 8, 0},
        {"state length + 1", NULL, AT_STATE, 8, n_state + 1},
        {"state length that wraps", NULL, AT_STATE, 8, n_state + (1ull << 62)},
        {"state length 2^63", NULL, AT_STATE, 8, 1ull << 63},
        {"state traded for note", NULL, AT_STATE, 8, n_state - 1},
        {"note length", NULL, AT_NOTE, 8, 5},
        {"note length that wraps", NULL, AT_NOTE, 8, UINT64_MAX - 3},
        {"fingerprint", "another model", 64, 1, blob[64] ^ 1u},
        {"fingerprint's end", "another model", 95, 1, blob[95] ^ 0x80u},
        {"reserved field", NULL, AT_ZERO, 1, 1},
        {"reserved field's end", NULL, HEADER - 1, 1, 1},
        {"NaN in the state", "NaN", HEADER, 4, 0x7FC00000},
        {"infinity in the state", "NaN or inf", logits - 4, 4, 0xFF800000},
        {"NaN in the logits", "NaN", logits, 4, 0x7F800001},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        memcpy(damaged, blob, blob_len);
        memcpy(damaged + list[i].at, &list[i].value, list[i].width);
        test_state_seal(damaged, blob_len);
        assert_refused(damaged, blob_len, list[i].reason, list[i].what);
    }
    /* The same bytes are judged by inspect where it can. */
    memcpy(damaged, blob, blob_len);
    damaged[AT_FORMAT] = 9;
    test_state_seal(damaged, blob_len);
    rwkv_state_info info;
    assert_int_equal(rwkv_state_inspect(damaged, blob_len, &info, NULL), RWKV_E_STATE);
}

static void infinity_in_half_precision_is_refused(void **unused) {
    (void)unused;
    blob_len = save(session, RWKV_STATE_F16, NULL);
    memcpy(damaged, blob, blob_len);
    damaged[HEADER] = 0;
    damaged[HEADER + 1] = 0x7C;
    test_state_seal(damaged, blob_len);
    assert_refused(damaged, blob_len, "NaN", "half infinity");
}

static void another_model_is_refused_another_type_is_noted(void **unused) {
    (void)unused;
    test_shape second = shape;
    second.seed++;
    rwkv_model *different = open_model(&second, AS_GGUF, RW_F32),
               *bf16 = open_model(&shape, AS_PTH, RW_BF16);
    rwkv_session *a = new_session(different), *b = new_session(bf16);
    rwkv_error err = {0};
    rwkv_state_info info;
    size_t n = save(session, 0, NULL);
    assert_int_equal(rwkv_session_load(a, blob, n, &info, &err), RWKV_E_STATE);
    assert_non_null(strstr(err.message, "another model"));
    assert_int_equal(rwkv_session_n_tokens(a), 0);
    assert_int_equal(rwkv_session_load(b, blob, n, &info, NULL), RWKV_OK);
    assert_true(info.other_weights);
    assert_same(b, session, 40);
    rwkv_session_free(a);
    rwkv_session_free(b);
    rwkv_model_free(different);
    rwkv_model_free(bf16);
}

/* The fuzz target "state" does this without end. */
static void mutants_are_refused_or_finite(void **unused) {
    (void)unused;
    uint64_t rng = 7;
    blob_len = save(session, 0, "note");
    rwkv_session *s = new_session(model);
    size_t n_state = rwkv_session_state_len(s), accepted = 0;
    for (int k = 0; k < 5000; k++) {
        memcpy(damaged, blob, blob_len);
        for (uint64_t c = 1 + rng_u64(&rng) % 8; c > 0; c--)
            damaged[rng_u64(&rng) % (rng_u64(&rng) % 2 ? HEADER : blob_len)] =
                (uint8_t)rng_u64(&rng);
        test_state_seal(damaged, blob_len);
        if (rwkv_session_load(s, damaged, blob_len, NULL, NULL)) continue;
        accepted++;
        for (size_t i = 0; i < n_state; i++) assert_true(isfinite(rwkv_session_state(s)[i]));
        assert_in_range(rwkv_session_pending(s) + 1, 0, 40);
    }
    assert_in_range(accepted, 1, 4999);
    rwkv_session_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_version_round_trips),
        cmocka_unit_test(half_the_size),
        cmocka_unit_test(a_state_beyond_half_precision_stays_whole),
        cmocka_unit_test(a_short_buffer_is_told),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(every_field_is_checked),
        cmocka_unit_test(infinity_in_half_precision_is_refused),
        cmocka_unit_test(another_model_is_refused_another_type_is_noted),
        cmocka_unit_test(mutants_are_refused_or_finite),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
