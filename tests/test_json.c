/* test_json.c - the JSON reader takes what RFC 8259 describes and nothing else, and says where it
 * stopped. */
#include "base/json.h"
#include "support.h"
#include <math.h>
#include <time.h>

/* All events as text: { [ > for brackets, K:key S:string N:number t f n . for the end, each behind
 * a blank. Returns the status; the text so far is in out. */
static rwkv_status events(const void *data, size_t len, rw_buf *out, rwkv_error *err) {
    static const char letters[] = ".{[>KSNtfn";
    uint8_t *copy = malloc(len ? len : 1); /* of len bytes, so that reading past them is seen */
    assert_non_null(copy);
    memcpy(copy, data, len);
    rw_json j;
    rw_json_event ev = {.kind = RW_JSON_NULL};
    rwkv_status st = RWKV_OK;
    rw_json_init(&j, "doc", copy, len, 1000);
    out->len = 0;
    while (st == RWKV_OK && ev.kind != RW_JSON_END) {
        st = rw_json_next(&j, &ev, err);
        if (st != RWKV_OK) break;
        assert_true(ev.pos <= len && j.pos <= len);
        char head[3] = {' ', letters[ev.kind], ':'};
        bool has_text =
            ev.kind == RW_JSON_KEY || ev.kind == RW_JSON_STRING || ev.kind == RW_JSON_NUMBER;
        assert_true(rw_buf_add(out, head, has_text ? 3 : 2));
        if (has_text) assert_true(rw_buf_add(out, ev.text, ev.len));
    }
    if (st == RWKV_OK) { /* the end stays the end */
        assert_int_equal(rw_json_next(&j, &ev, err), RWKV_OK);
        assert_int_equal(ev.kind, RW_JSON_END);
    } else {
        assert_int_equal(st, RWKV_E_FORMAT);
        assert_true(err->offset >= 1000 && err->offset <= 1000 + len);
        for (const char *c = err->message; *c; c++) assert_true((unsigned char)*c >= 0x20);
    }
    rw_json_free(&j);
    free(copy);
    return st;
}

#define TEXT(s)                                                                                    \
    { s, sizeof s - 1 }
typedef struct text {
    const char *s;
    size_t n;
} text;

static void takes_what_is_right(void **unused) {
    (void)unused;
    static const struct {
        text doc, events;
    } good[] = {
        {TEXT("{}"), TEXT(" { > .")},
        {TEXT(" \t\r\n[ ] \n"), TEXT(" [ > .")},
        {TEXT("1"), TEXT(" N:1 .")},
        {TEXT("\"\""), TEXT(" S: .")},
        {TEXT("true"), TEXT(" t .")},
        {TEXT("[null,false,true]"), TEXT(" [ n f t > .")},
        {TEXT("{\"a\":{\"b\":[1,{\"c\":[]},2]},\"d\":null}"),
         TEXT(" { K:a { K:b [ N:1 { K:c [ > > N:2 > > K:d n > .")},
        {TEXT("{\"a\":1,\"a\":2}"), TEXT(" { K:a N:1 K:a N:2 > .")}, /* the caller's concern */
        {TEXT("[0,-0,10,-1,1.5,0.5,1e5,1E+5,1e-05,-0.0e0,123456789012345678901234567890]"),
         TEXT(" [ N:0 N:-0 N:10 N:-1 N:1.5 N:0.5 N:1e5 N:1E+5 N:1e-05 N:-0.0e0 "
              "N:123456789012345678901234567890 > .")},
        {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u4f60\\uD83D\\uDE00\\u0000!\""),
         TEXT(" S:\"\\/\b\f\n\r\tA\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\0! .")},
        {TEXT("\"\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\x7f\""),
         TEXT(" S:\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80\x7f .")},
        {TEXT("{\"k\\u0065y\" : \"v\"}"), TEXT(" { K:key S:v > .")},
        {TEXT("\"\\uFFFF\\ud7ff\\ue000\""), TEXT(" S:\xef\xbf\xbf\xed\x9f\xbf\xee\x80\x80 .")},
    };
    rw_buf out = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        rwkv_error err = {0};
        if (events(good[i].doc.s, good[i].doc.n, &out, &err))
            fail_msg("%s: %s", good[i].doc.s, err.message);
        if (out.len != good[i].events.n || memcmp(out.data, good[i].events.s, out.len) != 0)
            fail_msg("%s: found %.*s", good[i].doc.s, (int)out.len, (char *)out.data);
        for (size_t cut = 0; cut < good[i].doc.n; cut++) /* only numbers and blanks may be cut */
            if (events(good[i].doc.s, cut, &out, &err) == RWKV_OK)
                assert_non_null(strchr(" \n", good[i].doc.s[cut]));
    }
    rw_buf_free(&out);
}

static void refuses_what_is_wrong(void **unused) {
    (void)unused;
    static const struct {
        text doc;
        size_t at;
        const char *needle;
    } bad[] = {
        {TEXT(""), 0, "found the end; expected a value"},
        {TEXT("  "), 2, "found the end"},
        {TEXT("\xef\xbb\xbf{}"), 0, "found '\\xef'"}, /* byte order mark */
        {TEXT("{} x"), 3, "found 'x'; expected the end"},
        {TEXT("{}\0"), 2, "expected the end"},
        {TEXT("{}{}"), 2, "expected the end"},
        {TEXT("// c\n{}"), 0, "found '/'"},
        {TEXT("{/**/}"), 1, "expected a key"},
        {TEXT("{'a':1}"), 1, "expected a key"},
        {TEXT("{a:1}"), 1, "expected a key"},
        {TEXT("{1:1}"), 1, "expected a key"},
        {TEXT("{\"a\"}"), 4, "expected ':'"},
        {TEXT("{\"a\" 1}"), 5, "expected ':'"},
        {TEXT("{\"a\":}"), 5, "found '}'; expected a value"},
        {TEXT("{\"a\":1,}"), 7, "expected a key"},
        {TEXT("{,\"a\":1}"), 1, "expected a key"},
        {TEXT("{\"a\":1 \"b\":2}"), 7, "expected ',' or '}'"},
        {TEXT("{\"a\":1]"), 6, "expected ',' or '}'"},
        {TEXT("[1,]"), 3, "found ']'; expected a value"},
        {TEXT("[,1]"), 1, "expected a value"},
        {TEXT("[1 2]"), 3, "expected ',' or ']'"},
        {TEXT("[1}"), 2, "expected ',' or ']'"},
        {TEXT("]"), 0, "expected a value"},
        {TEXT("[1:2]"), 2, "expected ','"},
        {TEXT("nul"), 0, "expected a value"},
        {TEXT("True"), 0, "expected a value"},
        {TEXT("truex"), 4, "expected the end"},
        {TEXT("NaN"), 0, "expected a value"},
        {TEXT("Infinity"), 0, "expected a value"},
        {TEXT("-Infinity"), 1, "expected a digit"},
        {TEXT("+1"), 0, "expected a value"},
        {TEXT(".5"), 0, "expected a value"},
        {TEXT("-"), 1, "expected a digit"},
        {TEXT("01"), 1, "expected the end"},
        {TEXT("-012"), 2, "expected the end"},
        {TEXT("1."), 2, "expected a digit"},
        {TEXT("1.e5"), 2, "expected a digit"},
        {TEXT("1e"), 2, "expected a digit"},
        {TEXT("1e+"), 3, "expected a digit"},
        {TEXT("0x10"), 1, "expected the end"},
        {TEXT("1_000"), 1, "expected the end"},
        {TEXT("\"abc"), 0, "a string without end"},
        {TEXT("\"abc\\\""), 0, "a string without end"},
        {TEXT("\"a\\"), 2, "unknown escape"},
        {TEXT("\"a\\x41\""), 2, "unknown escape"},
        {TEXT("\"a\\\0\""), 2, "unknown escape"},
        {TEXT("\"a\nb\""), 2, "control byte"},
        {TEXT("\"a\0b\""), 2, "control byte"},
        {TEXT("\"\\u12\""), 1, "bad \\u escape"},
        {TEXT("\"\\u12g4\""), 1, "bad \\u escape"},
        {TEXT("\"\\u+123\""), 1, "bad \\u escape"},
        {TEXT("\"\\ud800\""), 1, "a lone surrogate"},
        {TEXT("\"\\ud800x\""), 1, "a lone surrogate"},
        {TEXT("\"\\ud800\\n12345\""), 1, "a lone surrogate"},
        {TEXT("\"\\ud800\\u0041\""), 1, "a lone surrogate"},
        {TEXT("\"\\ud800\\ud800\""), 1, "a lone surrogate"},
        {TEXT("\"\\udc00\""), 1, "a lone surrogate"},
        {TEXT("\"\xff\""), 1, "invalid UTF-8"},
        {TEXT("\"\xc0\xaf\""), 1, "invalid UTF-8"},
        {TEXT("\"\xed\xa0\x80\""), 1, "invalid UTF-8"},
        {TEXT("\"\xf4\x90\x80\x80\""), 1, "invalid UTF-8"},
        {TEXT("\"\xe4\xbd\""), 1, "invalid UTF-8"},
        {TEXT("\"\xe4\xbd"), 1, "invalid UTF-8"},
        {TEXT("\v{}"), 0, "found '\\x0b'"},
        {TEXT("\xc2\xa0{}"), 0, "found '\\xc2'"},
    };
    rw_buf out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rwkv_error err = {0};
        if (events(bad[i].doc.s, bad[i].doc.n, &out, &err) == RWKV_OK)
            fail_msg("%s was taken", bad[i].doc.s);
        if (err.offset != 1000 + bad[i].at || !strstr(err.message, bad[i].needle))
            fail_msg("%s: expected %zu \"%s\" in: %s", bad[i].doc.s, bad[i].at, bad[i].needle,
                     err.message);
    }
    rw_buf_free(&out);
}

static void bounds_nesting(void **unused) {
    (void)unused;
    enum { N = 2000000 };
    char *deep = malloc(N);
    assert_non_null(deep);
    rw_buf out = {0};
    rwkv_error err;
    for (int kind = 0; kind < 2; kind++) {
        const char *open = kind ? "{\"\":" : "[";
        size_t step = strlen(open);
        for (size_t i = 0; i + step <= N; i += step) memcpy(deep + i, open, step);
        clock_t begin = clock();
        assert_int_equal(events(deep, N, &out, &err), RWKV_E_FORMAT);
        assert_int_equal(err.offset, 1000 + 64 * step);
        assert_non_null(strstr(err.message, "64 open brackets"));
        assert_true(clock() - begin < CLOCKS_PER_SEC);
        deep[64 * step] = '0';
        memset(deep + 64 * step + 1, kind ? '}' : ']', 64);
        assert_int_equal(events(deep, 64 * step + 65, &out, &err), RWKV_OK);
    }
    free(deep);
    rw_buf_free(&out);
}

static rw_json_event first(rw_json *j, const char *doc, rwkv_error *err) {
    rw_json_event ev;
    rw_json_init(j, "doc", doc, strlen(doc), 0);
    assert_int_equal(rw_json_next(j, &ev, err), RWKV_OK);
    return ev;
}

static void unsigned_integers(void **unused) {
    (void)unused;
    static const char *const bad[] = {
        "-1",    "-0",    "1.0",  "1e3", "18446744073709551616",
        "1e300", "\"1\"", "null", "[1]", "99999999999999999999999999999999999999"};
    rwkv_error err;
    rw_json j;
    uint64_t x = 77;
    rw_json_event ev = first(&j, "18446744073709551615", &err);
    assert_int_equal(rw_json_u64(&j, &ev, &x, &err), RWKV_OK);
    assert_true(x == UINT64_MAX);
    ev = first(&j, "0", &err);
    assert_int_equal(rw_json_u64(&j, &ev, &x, &err), RWKV_OK);
    assert_true(x == 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ev = first(&j, bad[i], &err);
        x = 77;
        assert_int_equal(rw_json_u64(&j, &ev, &x, &err), RWKV_E_FORMAT);
        assert_non_null(strstr(err.message, "expected an unsigned"));
        assert_true(x == 77);
        rw_json_free(&j);
    }
}

/* Against strtod in the C locale: equal where the arithmetic is exact, else within a few of the
 * last digits. */
static void real_numbers(void **unused) {
    (void)unused;
    static const char *const same[] = {"0",
                                       "-0",
                                       "1",
                                       "1e-5",
                                       "1e-05",
                                       "0.00064",
                                       "64e-5",
                                       "-2.5",
                                       "1.0e+2",
                                       "1e22",
                                       "123e-22",
                                       "0.1",
                                       "3.0e0",
                                       "0e999999999999",
                                       "5",
                                       "9007199254740992",
                                       "0.000000000000001",
                                       "1e-400",
                                       "-1e-99999999999999999999"};
    uint64_t seed = 12;
    rwkv_error err;
    rw_json j;
    rw_json_event ev;
    double x;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        ev = first(&j, same[i], &err);
        assert_int_equal(rw_json_f64(&j, &ev, &x, &err), RWKV_OK);
        if (x != strtod(same[i], NULL) || signbit(x) != signbit(strtod(same[i], NULL)))
            fail_msg("%s: %.17g", same[i], x);
    }
    for (int i = 0; i < 20000; i++) {
        char doc[64];
        uint64_t r = rng_u64(&seed);
        double value;
        memcpy(&value, &r, 8);
        if (!isfinite(value)) continue;
        snprintf(doc, sizeof doc, "%.*g", 1 + (int)(rng_u64(&seed) % 25), value);
        if (!isfinite(strtod(doc, NULL))) continue;
        ev = first(&j, doc, &err);
        if (rw_json_f64(&j, &ev, &x, &err)) {
            assert_true(fabs(value) > 1.797e308);
            continue;
        }
        double want = strtod(doc, NULL);
        if (!(fabs(x - want) <= fabs(want) * 0x1p-46 + 0x1p-1060)) fail_msg("%s: %.17g", doc, x);
    }
    static const char *const bad[] = {"1e309", "-1e99999999999999999999", "true", "{}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ev = first(&j, bad[i], &err);
        assert_int_equal(rw_json_f64(&j, &ev, &x, &err), RWKV_E_FORMAT);
    }
}

static void skips_whole_values(void **unused) {
    (void)unused;
    static const char doc[] =
        "{\"a\":{\"x\":[1,{\"y\":[]}],\"z\":2},\"b\":\"s\",\"c\":[[],[[]]],\"d\":7}";
    rw_json j;
    rw_json_event ev = {0};
    rwkv_error err;
    for (int drop = 0; drop < 2; drop++) {
        rw_json_init(&j, "doc", doc, strlen(doc), 0);
        assert_int_equal(rw_json_next(&j, &ev, &err), RWKV_OK);
        for (char key = 'a'; key <= 'd'; key++) {
            assert_int_equal(rw_json_next(&j, &ev, &err), RWKV_OK);
            assert_int_equal(ev.kind, RW_JSON_KEY);
            assert_int_equal(ev.text[0], key);
            if (drop) {
                assert_int_equal(rw_json_next(&j, &ev, &err), RWKV_OK);
                assert_int_equal(rw_json_drop(&j, &ev, &err), RWKV_OK);
            } else {
                assert_int_equal(rw_json_skip(&j, &err), RWKV_OK);
            }
        }
        assert_int_equal(rw_json_next(&j, &ev, &err), RWKV_OK);
        assert_int_equal(ev.kind, RW_JSON_CLOSE);
        assert_int_equal(rw_json_next(&j, &ev, &err), RWKV_OK);
        assert_int_equal(ev.kind, RW_JSON_END);
        rw_json_free(&j);
    }
    ev = first(&j, "[]", &err);
    assert_int_equal(rw_json_skip(&j, &err), RWKV_E_FORMAT); /* there is no value to skip */
    ev = first(&j, "[[1,2", &err);
    assert_int_equal(rw_json_drop(&j, &ev, &err), RWKV_E_FORMAT);
    assert_int_equal(
        rw_json_fail(&j, &(rw_json_event){.kind = RW_JSON_STRING, .text = "\x1b", .len = 1}, "name",
                     "less", &err),
        RWKV_E_FORMAT);
    assert_string_equal(err.message, "doc:0: name: found a string \\x1b; expected less");
    rw_json_free(&j);
}

/* Large flat documents: linear. */
static void a_million_keys(void **unused) {
    (void)unused;
    rw_buf doc = {0}, out = {0};
    rwkv_error err;
    assert_true(rw_buf_add(&doc, "{", 1));
    for (int i = 0; i < 1000000; i++) {
        char row[64];
        int n =
            snprintf(row, sizeof row, "%s\"key number %d\":[%d,\"\\u00e9\"]", i ? "," : "", i, i);
        assert_true(rw_buf_add(&doc, row, (size_t)n));
    }
    assert_true(rw_buf_add(&doc, "}", 1));
    clock_t begin = clock();
    assert_int_equal(events(doc.data, doc.len, &out, &err), RWKV_OK);
    assert_true(clock() - begin < 5 * CLOCKS_PER_SEC);
    rw_buf_free(&doc);
    rw_buf_free(&out);
}

/* Damaged documents end in an error inside the document or in properly nested events; events checks
 * it. */
static void mutants(void **unused) {
    (void)unused;
    static const char seed_doc[] = "{\"__metadata__\":{\"format\":\"pt\",\"n\\u00e9\":"
                                   "\"\\ud83d\\ude00\"},\"blocks.0.att.w1\":{\"dtype\":\"BF16\","
                                   "\"shape\":[64,32],\"data_offsets\":[0,4096]},\"x\":[true,false,"
                                   "null,-1.5e-7,\"\xe4\xbd\xa0\",[],{}]}";
    static const char letters[] = "{}[]:,\"\\/u0d8eE+-.tfn \x80\xe4\xff\n";
    uint64_t seed = 4;
    size_t taken = 0;
    rw_buf out = {0};
    for (int round = 0; round < 60000; round++) {
        char doc[sizeof seed_doc];
        size_t n = sizeof seed_doc - 1;
        memcpy(doc, seed_doc, n);
        for (uint64_t k = 1 + rng_u64(&seed) % 3; k > 0; k--) {
            size_t at = rng_u64(&seed) % n;
            if (rng_u64(&seed) % 3)
                doc[at] = letters[rng_u64(&seed) % (sizeof letters - 1)];
            else
                memmove(doc + at, doc + at + 1, --n - at);
        }
        rwkv_error err;
        if (events(doc, n, &out, &err) != RWKV_OK) continue;
        taken++;
        int depth = 0;
        for (size_t i = 0; i + 1 < out.len && depth >= 0; i++)
            if (out.data[i] == ' ' && (i + 2 == out.len || out.data[i + 2] == ' '))
                depth += strchr("{[", out.data[i + 1]) ? 1 : out.data[i + 1] == '>' ? -1 : 0;
        assert_int_equal(depth, 0);
    }
    assert_true(taken > 100 && taken < 40000);
    rw_buf_free(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_is_right), cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(bounds_nesting),      cmocka_unit_test(unsigned_integers),
        cmocka_unit_test(real_numbers),        cmocka_unit_test(skips_whole_values),
        cmocka_unit_test(a_million_keys),      cmocka_unit_test(mutants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
