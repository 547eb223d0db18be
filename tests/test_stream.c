/* test_stream.c - text that may be shown: the same for any cutting into tokens, always whole UTF-8,
 * never a part of a stop string. */
#include "support.h"

typedef struct result {
    char text[4096];
    size_t len;
    bool stopped;
} result;

static rwkv_stream *make(const char *const *stops, size_t n) {
    rwkv_stream *s = NULL;
    rwkv_error err = {0};
    if (rwkv_stream_new(&s, stops, n, &err) != RWKV_OK) fail_msg("%s", err.message);
    return s;
}

static bool is_utf8(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = rw_utf8_next(s + i, n - i, &cp);
        if (len < 1) return false;
        i += (size_t)len;
    }
    return true;
}

static void take(result *r, const char *text, size_t n) {
    assert_true(is_utf8(text, n));
    assert_true(n <= sizeof r->text - r->len);
    memcpy(r->text + r->len, text, n);
    r->len += n;
}

/* Feeds chunks of 1 to `most` bytes. */
static result run(rwkv_stream *s, const char *bytes, size_t len, size_t most, uint64_t *rng) {
    result r = {.len = 0};
    const char *text;
    size_t n;
    rwkv_stream_reset(s);
    for (size_t i = 0, k; i < len && !r.stopped; i += k) {
        k = 1 + rng_u64(rng) % most;
        if (k > len - i) k = len - i;
        r.stopped = rwkv_stream_push(s, bytes + i, k, &text, &n);
        take(&r, text, n);
    }
    rwkv_stream_finish(s, &text, &n);
    take(&r, text, n);
    rwkv_stream_finish(s, &text, &n);
    assert_int_equal(n, 0);
    return r;
}

typedef struct expected {
    const char *stops[4], *bytes, *text;
    bool stopped;
} expected;

static void check(const expected *cases, size_t n) {
    uint64_t rng = 21;
    for (size_t i = 0; i < n; i++) {
        size_t n_stops = 0, len = strlen(cases[i].bytes);
        while (n_stops < 4 && cases[i].stops[n_stops]) n_stops++;
        rwkv_stream *s = make(cases[i].stops, n_stops);
        for (int round = 0; round < 20; round++) {
            result r =
                run(s, cases[i].bytes, len, round == 0 ? len + 1 : 1 + (size_t)round % 4, &rng);
            if (r.stopped != cases[i].stopped || r.len != strlen(cases[i].text) ||
                memcmp(r.text, cases[i].text, r.len) != 0) {
                fail_msg("case %zu: found \"%.*s\" stopped %d", i, (int)r.len, r.text, r.stopped);
            }
        }
        rwkv_stream_free(s);
    }
}

#define BAD "\xEF\xBF\xBD"

static void test_text(void **state) {
    static const expected cases[] = {
        {{0}, "", "", false},
        {{0}, "hello", "hello", false},
        {{0}, "\xE4\xBD\xA0\xE5\xA5\xBD", "\xE4\xBD\xA0\xE5\xA5\xBD", false},
        {{0}, "a\xE4\xBD", "a" BAD, false}, /* cut off at the end */
        {{0}, "a\xF0\x9F\x98", "a" BAD, false},
        {{0}, "\xFF", BAD, false},
        {{0},
         "a\xFF"
         "b",
         "a" BAD "b",
         false},
        {{0}, "\x80\x80", BAD BAD, false},
        {{0},
         "\xE4\xBD"
         "a",
         BAD "a",
         false}, /* one for a whole beginning */
        {{0}, "\xE4\xE4\xBD\xA0", BAD "\xE4\xBD\xA0", false},
        {{0}, "\xED\xA0\x80", BAD BAD BAD, false}, /* a surrogate */
        {{0}, "\xC0\x80", BAD BAD, false},         /* overlong */
        {{0}, "\xF5\x80\x80\x80", BAD BAD BAD BAD, false},
        {{0}, "\xF0\x9F\xF0\x9F\x98\x80", BAD "\xF0\x9F\x98\x80", false},
    };
    (void)state;
    check(cases, sizeof cases / sizeof *cases);
}

static void test_stops(void **state) {
    static const expected cases[] = {
        {{"\n\nUser:"}, "Hi.\n\nUser: x", "Hi.", true},
        {{"\n\nUser:"}, "Hi.\n\nUsers", "Hi.\n\nUsers", false},
        {{"\n\nUser:"}, "Hi.\n\nUse", "Hi.\n\nUse", false}, /* held back, shown at the end */
        {{"\n\nUser:"}, "Hi.\n\n\nUser:", "Hi.\n", true},
        {{"aab"}, "aaab", "a", true},
        {{"abab"}, "abaabab", "aba", true},
        {{"b", "abc"}, "abc", "a", true},   /* the first to be complete wins */
        {{"abc", "bc"}, "xabc", "x", true}, /* the longest of those */
        {{"bc", "abc"}, "xabc", "x", true},
        {{"x", "xy"}, "axy", "a", true},
        {{"stop"}, "stop", "", true},
        {{"\xE4\xBD\xA0"}, "a\xE4\xBD\xA0", "a", true},
        {{"\xBD\xA0"}, "a\xE4\xBD\xA0", "a" BAD, true}, /* a stop that begins inside a character */
        {{"\xA0"}, "\xE4\xBD\xA1", "\xE4\xBD\xA1", false},
        {{"\xFF\xFE"}, "a\xFF", "a" BAD, false},
        {{"b"},
         "\xE4\xBD"
         "b",
         BAD,
         true},
    };
    (void)state;
    check(cases, sizeof cases / sizeof *cases);
}

/* Which of the bytes are claimed by a stop, for those who count tokens instead of text. */
static void test_matched(void **state) {
    static const struct {
        const char *push;
        size_t matched;
        const char *stop;
    } steps[] = {{"Hi", 0, NULL},   {".\n", 1, NULL}, {"\n", 2, NULL},         {"\n", 2, NULL},
                 {"User", 6, NULL}, {"s", 0, NULL},   {"\xE4\xBD", 0, NULL}, {"\n\nUser: x", 9, "\n\nUser:"},
                 {"more", 9, "\n\nUser:"}};
    (void)state;
    rwkv_stream *s = make((const char *const[]){"\n\nUser:", "X"}, 2);
    const char *text;
    size_t n;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        rwkv_stream_push(s, steps[i].push, strlen(steps[i].push), &text, &n);
        assert_int_equal(rwkv_stream_matched(s), steps[i].matched);
        if (steps[i].stop) assert_string_equal(rwkv_stream_stop(s), steps[i].stop);
        else assert_null(rwkv_stream_stop(s));
    }
    rwkv_stream_reset(s);
    assert_int_equal(rwkv_stream_matched(s), 0);
    assert_null(rwkv_stream_stop(s));
    rwkv_stream_free(s);
}

/* What is shown when: nothing that may still become a stop, nothing less than a character. */
static void test_hold_back(void **state) {
    static const struct {
        const char *push, *shown;
    } steps[] = {{"Hello", "Hello"}, {" \n", " "},   {"\n", ""},
                 {"Us", ""},         {"e", ""},      {"d\n", "\n\nUsed"},
                 {"\xE4", "\n"},     {"\xBD", ""},   {"\xA0", "\xE4\xBD\xA0"},
                 {"\xE4\xBD", ""},   {"x", BAD "x"}, {"\n\nUser", ""},
                 {":", ""}};
    const char *stop = "\n\nUser:", *text;
    size_t n, last = sizeof steps / sizeof *steps - 1;
    rwkv_stream *s = make(&stop, 1);
    (void)state;
    for (size_t i = 0; i <= last; i++) {
        bool stopped = rwkv_stream_push(s, steps[i].push, strlen(steps[i].push), &text, &n);
        assert_int_equal(stopped, i == last);
        assert_int_equal(n, strlen(steps[i].shown));
        assert_memory_equal(text, steps[i].shown, n);
    }
    assert_true(rwkv_stream_push(s, "more", 4, &text, &n)); /* nothing more is accepted */
    assert_int_equal(n, 0);
    rwkv_stream_finish(s, &text, &n);
    assert_int_equal(n, 0);
    rwkv_stream_reset(s);
    assert_false(rwkv_stream_push(s, "again", 5, &text, &n));
    assert_int_equal(n, 5);
    assert_false(rwkv_stream_push(s, NULL, 0, &text, &n));
    assert_int_equal(n, 0);
    rwkv_stream_free(s);
    rwkv_stream_free(NULL);
}

/* The first end of any stop, the longest that ends there; -1: none. */
static long find_stop(const char *const *stops, size_t n_stops, const char *bytes, size_t len) {
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n_stops; i++) {
            size_t k = strlen(stops[i]);
            if (k <= end && memcmp(bytes + end - k, stops[i], k) == 0 && k > longest) longest = k;
        }
        if (longest) return (long)(end - longest);
    }
    return -1;
}

/* Random bytes over few letters, random stops, any cutting: the same text, and the right one. */
static void test_any_cutting(void **state) {
    static const char letters[] = "ab\n\xE4\xBD\xA0";
    uint64_t rng = 22;
    (void)state;
    for (int round = 0; round < 3000; round++) {
        char stops[3][8], bytes[60];
        const char *list[3];
        size_t n_stops = rng_u64(&rng) % 4, len = rng_u64(&rng) % sizeof bytes;
        for (size_t i = 0; i < n_stops; i++) {
            size_t k = 1 + rng_u64(&rng) % 5;
            for (size_t c = 0; c < k; c++) stops[i][c] = letters[rng_u64(&rng) % 6];
            stops[i][k] = 0;
            list[i] = stops[i];
        }
        for (size_t i = 0; i < len; i++) bytes[i] = letters[rng_u64(&rng) % 6];
        long at = find_stop(list, n_stops, bytes, len);
        rwkv_stream *plain = make(NULL, 0), *s = make(list, n_stops);
        result want = run(plain, bytes, at < 0 ? len : (size_t)at, 100, &rng);
        for (size_t most = 1; most < 10; most += 2) {
            result r = run(s, bytes, len, most, &rng);
            assert_int_equal(r.stopped, at >= 0);
            assert_int_equal(r.len, want.len);
            assert_memory_equal(r.text, want.text, r.len);
        }
        rwkv_stream_free(plain);
        rwkv_stream_free(s);
    }
}

static void test_long_push(void **state) {
    size_t len = 1u << 20, n;
    char *bytes = malloc(len);
    const char *stop = "aaab", *text;
    rwkv_stream *s = make(&stop, 1);
    (void)state;
    memset(bytes, 'a', len);
    assert_false(rwkv_stream_push(s, bytes, len, &text, &n));
    assert_int_equal(n, len - 3);
    memset(bytes, 0xFF, len);
    assert_false(rwkv_stream_push(s, bytes, len, &text, &n));
    assert_int_equal(n, 3 + 3 * len);
    rwkv_stream_free(s);
    free(bytes);
}

static void test_limits(void **state) {
    const char *many[65], *empty[] = {"a", ""}, *null[] = {NULL}, *one[1];
    char longest[258];
    rwkv_stream *s = NULL;
    rwkv_error err = {0};
    (void)state;
    for (size_t i = 0; i < 65; i++) many[i] = "x";
    memset(longest, 'x', sizeof longest);
    longest[257] = 0;
    one[0] = longest;
    assert_int_equal(rwkv_stream_new(&s, many, 65, &err), RWKV_E_ARG);
    assert_int_equal(rwkv_stream_new(&s, empty, 2, &err), RWKV_E_ARG);
    assert_int_equal(err.code, RWKV_E_ARG);
    assert_int_equal(rwkv_stream_new(&s, null, 1, &err), RWKV_E_ARG);
    assert_int_equal(rwkv_stream_new(&s, NULL, 1, &err), RWKV_E_ARG);
    assert_int_equal(rwkv_stream_new(&s, one, 1, &err), RWKV_E_ARG);
    assert_non_null(strstr(err.message, "257"));
    assert_null(s);
    longest[256] = 0;
    assert_int_equal(rwkv_stream_new(&s, one, 1, &err), RWKV_OK);
    rwkv_stream_free(s);
    assert_int_equal(rwkv_stream_new(&s, many, 64, &err), RWKV_OK);
    rwkv_stream_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),      cmocka_unit_test(test_stops), cmocka_unit_test(test_matched),
        cmocka_unit_test(test_hold_back), cmocka_unit_test(test_any_cutting),
        cmocka_unit_test(test_long_push), cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
