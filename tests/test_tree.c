/* test_tree.c - snapshots by prefix: found when every token is the same and never otherwise, within
 * a budget, in RAM and in the store. */
#include "../server/tree.h"
#include "support_engine.h"

enum { MAX_PENDING = 64 };

static rwkv_model *model, *other_model;
static rwkv_info info;

static int set_up(void **unused) {
    (void)unused;
    model = engine_test_model(11);
    other_model = engine_test_model(12);
    rwkv_model_info(model, &info);
    return 0;
}

static int tear_down(void **unused) {
    (void)unused;
    rwkv_model_free(model);
    rwkv_model_free(other_model);
    return 0;
}

/* The writer, as the engine has one in the background: here it writes when the test says so. */
static snapshot *pending[MAX_PENDING];
static size_t n_pending, most_pending = MAX_PENDING;

static bool write_later(void *user, snapshot *s) {
    (void)user;
    if (n_pending == most_pending) return false;
    pending[n_pending++] = s;
    return true;
}

static void write_all(tree *t) {
    while (n_pending) {
        snapshot *s = pending[--n_pending];
        uint64_t bytes = 0;
        bool ok = snapshot_write(t, s, &bytes);
        assert_true(!ok || bytes > 0);
        tree_written(t, s, ok);
    }
}

static tree *make_of(rwkv_model *m, store *st, uint64_t ram, uint64_t mask) {
    tree *t = NULL;
    tree_options o = {
        .model = m, .st = st, .ram = ram, .disk = 1 << 26, .hash_mask = mask, .write = write_later};
    assert_int_equal(tree_new(&t, &o, NULL), RWKV_OK);
    return t;
}

static tree *make(store *st, uint64_t ram, uint64_t mask) {
    return make_of(model, st, ram, mask);
}

static store *open_store(const char *url) {
    store *st = NULL;
    rwkv_error err = {0};
    if (store_open(&st, url, &err)) fail_msg("%s", err.message);
    return st;
}

static rwkv_session *read_tokens(rwkv_model *m, const int32_t *ids, size_t n) {
    rwkv_session *s = NULL;
    assert_int_equal(rwkv_session_new(&s, m, NULL), RWKV_OK);
    assert_int_equal(rwkv_session_eval(s, ids, n, NULL), RWKV_OK);
    return s;
}

static void keep(tree *t, const char *tenant, const int32_t *ids, size_t n, bool now) {
    transcript *text = transcript_new(ids, n, 0);
    prefix p = tree_start(t, tenant);
    tree_extend(t, &p, ids, n);
    tree_keep(t, tenant, &p, text, read_tokens(model, ids, n), now);
    transcript_unref(text);
}

/* Tokens found, in RAM. The state must be that of these tokens. */
static size_t find(tree *t, const char *tenant, const int32_t *ids, size_t n) {
    snapshot *s = tree_find(t, tenant, ids, n, true);
    if (!s || !s->session) return 0;
    rwkv_session *expected = read_tokens(model, ids, s->n);
    assert_memory_equal(rwkv_session_state(s->session), rwkv_session_state(expected),
                        info.state_bytes);
    rwkv_session_free(expected);
    return s->n;
}

/* The same through the store. */
static size_t find_stored(tree *t, const char *tenant, const int32_t *ids, size_t n) {
    snapshot *s = tree_find(t, tenant, ids, n, true);
    if (!s || s->session) return 0;
    rwkv_session *into = NULL;
    size_t found = 0;
    assert_int_equal(rwkv_session_new(&into, model, NULL), RWKV_OK);
    tree_pin(s);
    if (snapshot_read(t, s, ids, into)) {
        rwkv_session *expected = read_tokens(model, ids, s->n);
        assert_memory_equal(rwkv_session_state(into), rwkv_session_state(expected),
                            info.state_bytes);
        assert_int_equal(rwkv_session_n_tokens(into), s->n);
        rwkv_session_free(expected);
        found = s->n;
    } else {
        tree_forget(t, s);
    }
    tree_unpin(t, s);
    rwkv_session_free(into);
    return found;
}

static void the_longest_beginning_is_found(void **unused) {
    (void)unused;
    tree *t = make(NULL, 1 << 26, 0);
    const int32_t *ids = some_tokens(1, 500);
    static const size_t lengths[] = {10, 100, 101, 400};
    assert_int_equal(find(t, "a", ids, 500), 0);
    for (size_t i = 0; i < 4; i++) keep(t, "a", ids, lengths[i], false);
    assert_int_equal(find(t, "a", ids, 9), 0);
    assert_int_equal(find(t, "a", ids, 10), 10);
    assert_int_equal(find(t, "a", ids, 100), 100);
    assert_int_equal(find(t, "a", ids, 399), 101);
    assert_int_equal(find(t, "a", ids, 500), 400);
    int32_t changed[500];
    memcpy(changed, ids, sizeof changed);
    changed[100]++;
    assert_int_equal(find(t, "a", changed, 500), 100);
    changed[0]++;
    assert_int_equal(find(t, "a", changed, 500), 0);
    assert_int_equal(find(t, "b", ids, 500), 0);
    assert_int_equal(find(t, "", ids, 500), 0);
    keep(t, "a", ids, 100, false); /* twice is once */
    assert_int_equal(tree_get_stats(t).n_ram, 4);
    tree_free(t);
}

/* With all hashes equal only the tokens and the tenant tell snapshots apart. */
static void a_collision_is_a_miss(void **unused) {
    (void)unused;
    store *st = open_store("memory:");
    tree *t = make(st, 1 << 26, UINT64_C(1) << 63);
    int32_t a[64], b[64];
    memcpy(a, some_tokens(1, 64), sizeof a);
    /* Another text whose one bit of hash is the same. */
    uint64_t seed = 2;
    prefix pa = tree_start(t, "x"), pb;
    tree_extend(t, &pa, a, 64);
    do {
        memcpy(b, some_tokens(seed++, 64), sizeof b);
        pb = tree_start(t, "x");
        tree_extend(t, &pb, b, 64);
    } while ((pa.hash ^ pb.hash) >> 63);
    keep(t, "x", a, 64, false);
    assert_int_equal(find(t, "x", a, 64), 64);
    assert_int_equal(find(t, "x", b, 64), 0);
    keep(t, "x", b, 64, false);
    assert_int_equal(find(t, "x", a, 64), 64);
    assert_int_equal(find(t, "x", b, 64), 64);
    /* In the store both have one name: one of them is there, the other a candidate that turns out
     * to be wrong. */
    tree_flush(t, 10);
    tree_free(t);
    t = make(st, 1 << 26, UINT64_C(1) << 63);
    tree_listing l;
    assert_true(snapshot_list(t, &l));
    assert_int_equal(l.n, 1);
    tree_merge(t, &l);
    size_t found_a = find_stored(t, "x", a, 64);
    assert_true(snapshot_list(t, &l)); /* if it was the other's it is forgotten by now */
    tree_merge(t, &l);
    size_t found_b = find_stored(t, "x", b, 64);
    assert_int_equal(found_a + found_b, 64);
    assert_true(found_a == 0 || found_b == 0);
    assert_int_equal(find_stored(t, "y", a, 64) + find_stored(t, "y", b, 64), 0);
    tree_free(t);
    store_close(st);
}

static void the_budget_is_kept(void **unused) {
    (void)unused;
    enum { ROOM = 5, N = 20 };
    store *st = open_store("memory:");
    const uint64_t budget = ROOM * (info.session_bytes + 200);
    for (int with_store = 0; with_store < 2; with_store++) {
        tree *t = make(with_store ? st : NULL, budget, 0);
        for (uint64_t i = 0; i < N; i++) {
            keep(t, "a", some_tokens(i, 40), 40, false);
            if (i > 0) assert_int_equal(find(t, "a", some_tokens(0, 40), 40), 40);
            write_all(t);
            assert_true(tree_get_stats(t).bytes_ram <= budget);
        }
        assert_int_equal(tree_get_stats(t).n_ram, ROOM);
        assert_int_equal(tree_get_stats(t).n_stored, with_store ? N - ROOM : 0);
        assert_int_equal(find(t, "a", some_tokens(1, 40), 40),
                         0); /* used longest ago: not in RAM */
        assert_int_equal(find_stored(t, "a", some_tokens(1, 40), 40), with_store ? 40 : 0);
        tree_reserve(t, budget);
        write_all(t);
        assert_int_equal(tree_get_stats(t).n_ram, 0);
        assert_int_equal(tree_get_stats(t).bytes_ram, 0);
        tree_free(t);
    }
    store_close(st);
}

/* A writer that is behind does not make RAM grow: what it cannot take is dropped. */
static void a_slow_writer_costs_snapshots_only(void **unused) {
    (void)unused;
    store *st = open_store("memory:");
    tree *t = make(st, 2 * (info.session_bytes + 200), 0);
    most_pending = 3;
    for (uint64_t i = 0; i < 20; i++) keep(t, "a", some_tokens(i, 40), 40, i % 2);
    assert_true(tree_get_stats(t).n_ram <= 2 + 3);
    write_all(t);
    assert_true(tree_get_stats(t).n_ram <= 2);
    most_pending = MAX_PENDING;
    tree_free(t);
    store_close(st);
}

static void a_restart_finds_what_was_stored(void **unused) {
    (void)unused;
    char url[600];
    snprintf(url, sizeof url, "sqlite:%s", temp_path("tree.db"));
    const int32_t *ids = some_tokens(7, 3000);
    store *st = open_store(url);
    tree *t = make(st, 1 << 26, 0);
    keep(t, "a", ids, 3000, true);
    write_all(t);
    keep(t, "a", ids, 1000, false);
    keep(t, "b", ids, 500, false);
    tree_flush(t, 10);
    tree_free(t);
    store_close(st);

    st = open_store(url);
    t = make(st, 1 << 26, 0);
    tree_listing l;
    assert_int_equal(find_stored(t, "a", ids, 3000), 0);
    assert_true(snapshot_list(t, &l));
    assert_int_equal(l.n, 3);
    assert_true(l.bytes > 3 * info.state_bytes);
    tree_merge(t, &l);
    assert_int_equal(find_stored(t, "a", ids, 3000), 3000);
    assert_int_equal(find_stored(t, "a", ids, 2999), 1000);
    assert_int_equal(find_stored(t, "b", ids, 3000), 500);
    assert_int_equal(find_stored(t, "c", ids, 3000), 0);
    tree_free(t);

    /* Another model of the same shape has none of them. */
    t = make_of(other_model, st, 1 << 26, 0);
    assert_true(snapshot_list(t, &l));
    assert_int_equal(l.n, 0);
    tree_merge(t, &l);
    tree_free(t);
    store_close(st);
}

/* Every byte of a record may be wrong: then it is none. */
static void a_damaged_record_is_a_miss(void **unused) {
    (void)unused;
    store *st = open_store("memory:");
    tree *t = make(st, 1 << 26, 0);
    const int32_t *ids = some_tokens(3, 60);
    keep(t, "a", ids, 60, true);
    write_all(t);
    tree_free(t);
    tree_listing l;
    char name[64];
    t = make(st, 1 << 26, 0);
    assert_true(snapshot_list(t, &l));
    snprintf(name, sizeof name, "%016llx-60", (unsigned long long)l.items[0].hash);
    tree_merge(t, &l);
    store_item whole = {0};
    assert_int_equal(store_get(st, "snapshot", name, true, &whole, NULL), STORE_OK);
    uint64_t rng = 5;
    for (int round = 0; round < 300; round++) {
        size_t n = (size_t)whole.n_data, n_note = whole.n_note;
        uint8_t *data = malloc(n), *note = malloc(n_note);
        memcpy(data, whole.data, n);
        memcpy(note, whole.note, n_note);
        if (round % 3 == 0)
            data[rng_u64(&rng) % n] ^= (uint8_t)(1 + rng_u64(&rng) % 255);
        else if (round % 3 == 1)
            note[rng_u64(&rng) % n_note] ^= (uint8_t)(1 + rng_u64(&rng) % 255);
        else
            n = rng_u64(&rng) % n;
        assert_int_equal(
            store_put(st, "snapshot", name, note, n_note, data, n, STORE_ANY, 0, NULL, NULL),
            STORE_OK);
        assert_int_equal(find_stored(t, "a", ids, 60), 0);
        /* It was forgotten; list it again, whole. */
        assert_int_equal(store_put(st, "snapshot", name, whole.note, whole.n_note, whole.data,
                                   (size_t)whole.n_data, STORE_ANY, 0, NULL, NULL),
                         STORE_OK);
        assert_true(snapshot_list(t, &l));
        tree_merge(t, &l);
        free(data);
        free(note);
    }
    assert_int_equal(find_stored(t, "a", ids, 60), 60);
    store_item_free(&whole);
    tree_free(t);
    store_close(st);
}

/* Two wait for a record that is gone: the first to know ends it for both. */
static void what_is_forgotten_is_not_tried_again(void **unused) {
    (void)unused;
    store *st = open_store("memory:");
    tree *t = make(st, 1 << 26, 0);
    const int32_t *ids = some_tokens(3, 60);
    keep(t, "a", ids, 60, true);
    write_all(t);
    tree_reserve(t, 1 << 26);
    snapshot *s = tree_find(t, "a", ids, 60, true);
    assert_non_null(s);
    assert_null(s->session);
    tree_pin(s);
    tree_pin(s);
    tree_forget(t, s);
    tree_unpin(t, s);
    assert_null(tree_find(t, "a", ids, 60, true));
    tree_reserve(t, 0);
    keep(t, "a", ids, 60, false); /* it is known again before the second gives up */
    tree_forget(t, s);
    tree_unpin(t, s);
    assert_int_equal(find(t, "a", ids, 60), 60);
    tree_free(t);
    store_close(st);
}

/* Against a list that is searched token by token. */
static void as_a_plain_list_does(void **unused) {
    (void)unused;
    enum { N = 300, LONGEST = 24 };
    tree *t = make(NULL, 1 << 28, 0);
    static struct {
        const char *tenant;
        int32_t ids[LONGEST];
        size_t n;
    } list[N];
    static const char *const tenants[] = {"a", "b"};
    uint64_t rng = 9;
    for (size_t i = 0; i < N; i++) {
        list[i].tenant = tenants[rng_u64(&rng) % 2];
        list[i].n = 1 + rng_u64(&rng) % LONGEST;
        for (size_t k = 0; k < LONGEST; k++) list[i].ids[k] = 1 + (int32_t)(rng_u64(&rng) % 2);
        size_t best = 0;
        for (size_t k = 0; k < i; k++)
            if (list[k].tenant == list[i].tenant && list[k].n <= list[i].n && list[k].n > best &&
                memcmp(list[k].ids, list[i].ids, list[k].n * sizeof(int32_t)) == 0)
                best = list[k].n;
        assert_int_equal(find(t, list[i].tenant, list[i].ids, list[i].n), best);
        keep(t, list[i].tenant, list[i].ids, list[i].n, false);
    }
    tree_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_beginning_is_found),
        cmocka_unit_test(a_collision_is_a_miss),
        cmocka_unit_test(the_budget_is_kept),
        cmocka_unit_test(a_slow_writer_costs_snapshots_only),
        cmocka_unit_test(a_restart_finds_what_was_stored),
        cmocka_unit_test(a_damaged_record_is_a_miss),
        cmocka_unit_test(what_is_forgotten_is_not_tried_again),
        cmocka_unit_test(as_a_plain_list_does),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
