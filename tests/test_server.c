/* test_server.c - the parts of the server that need no socket: JSON out and in, base64, paths,
 * keys, hosts, thoughts. */
#include "support.h"
#include "auth.h"
#include "params.h"
#include "router.h"
#include "server.h"
#include "split.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ text */

static void check_json(const char *s, size_t n, const char *expected) {
    rw_buf b = {0};
    assert_true(buf_json(&b, s, n));
    assert_int_equal(b.len, strlen(expected));
    assert_memory_equal(b.data, expected, b.len);
    rw_buf_free(&b);
}

static void test_json_out(void **state) {
    (void)state;
    check_json("", 0, "\"\"");
    check_json("a\"\\\n\t\r\b\f/", 9, "\"a\\\"\\\\\\n\\t\\r\\b\\f/\"");
    check_json("\0\x1f\x7f", 3, "\"\\u0000\\u001f\\u007f\"");
    check_json("\xe4\xbd\xa0\xf0\x9f\x98\x80", 7, "\"\xe4\xbd\xa0\xf0\x9f\x98\x80\"");
    check_json("a\xff"
               "b\xe4\xbd",
               5,
               "\"a\xEF\xBF\xBD"
               "b\xEF\xBF\xBD\xEF\xBF\xBD\"");
    check_json("\xed\xa0\x80", 3, "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

static void test_base64(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
    size_t n;
    for (size_t i = 0; i < 5; i++) {
        char *text = buf_base64(pairs[i][0], strlen(pairs[i][0]), &n);
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(n, strlen(text));
        char *back = buf_from_base64(text, n, &n);
        assert_int_equal(n, strlen(pairs[i][0]));
        assert_memory_equal(back, pairs[i][0], n);
        free(back);
        free(text);
    }
    uint8_t all[256];
    for (size_t i = 0; i < 256; i++) all[i] = (uint8_t)i;
    for (size_t len = 0; len < 256; len++) {
        char *text = buf_base64(all + 256 - len, len, &n);
        for (size_t k = 0; k < n; k++)
            text[k] = text[k] == '+' ? '-' : text[k] == '/' ? '_' : text[k];
        uint8_t *back = buf_from_base64(text, n, &n);
        assert_int_equal(n, len);
        assert_memory_equal(back, all + 256 - len, len);
        free(back);
        free(text);
    }
    assert_null(buf_from_base64("Zg=a", 4, &n));
    assert_null(buf_from_base64("Z", 1, &n));
    assert_null(buf_from_base64("Zm 9", 4, &n));
}

/* ------------------------------------------------------------------ JSON in */

static void check_parse(const char *text, size_t n, const char *expected) {
    char why[300] = "";
    json_t *o = params_parse(text, n, why);
    if (!expected) {
        if (!o) fail_msg("%s: %s", text, why);
    } else {
        assert_null(o);
        if (!strstr(why, expected)) fail_msg("%s: found '%s'; expected '%s'", text, why, expected);
    }
    json_decref(o);
}

static void test_json_in(void **state) {
    (void)state;
    char deep[200] = "";
    check_parse("{}", 2, NULL);
    check_parse(" {\"a\":[1,{\"b\":\"[[[[\"}]} ", 23, NULL);
    check_parse("", 0, "byte");
    check_parse("[]", 2, "expected an object");
    check_parse("{\"a\":1,\"a\":2}", 13, "byte");
    check_parse("{\"a\":1} x", 9, "byte");
    check_parse("{\"a\":\"\xff\"}", 9, "byte");
    for (int i = 0; i < 64; i++) strcat(deep, i ? "[" : "{\"a\":");
    for (int i = 0; i < 64; i++) strcat(deep, i < 63 ? "]" : "}");
    check_parse(deep, strlen(deep), NULL);
    deep[0] = '\0';
    for (int i = 0; i < 65; i++) strcat(deep, i ? "[" : "{\"a\":");
    check_parse(deep, strlen(deep), "deeper than 64");
    assert_true(is_name("a.B_9-"));
    assert_true(is_name("0123456789012345678901234567890123456789012345678901234567890123"));
    assert_false(is_name("01234567890123456789012345678901234567890123456789012345678901234"));
    assert_false(is_name("") || is_name(".") || is_name("..") || is_name("a/b") || is_name("a b"));
}

/* ------------------------------------------------------------------ paths */

static void nothing(request *r) {
    (void)r;
}
static const route table[] = {{"GET", "/", nothing, 0},           {"GET", "/a", nothing, 0},
                              {"POST", "/a", nothing, 0},         {"GET", "/a/{name}", nothing, 0},
                              {"PUT", "/a/{name}/b", nothing, 0}, {0}};

static void test_router(void **state) {
    (void)state;
    char name[257], allow[64];
    int status;
    const struct {
        const char *method, *path;
        int found; /* row, or -status */
        const char *name;
    } rows[] = {
        {"GET", "/", 0, ""},           {"HEAD", "/a", 1, ""},
        {"POST", "/a", 2, ""},         {"GET", "/a/x", 3, "x"},
        {"GET", "/a/x%20y", 3, "x y"}, {"PUT", "/a/x/b", 4, "x"},
        {"PUT", "/a/%41/%62", 4, "A"}, {"DELETE", "/a", -405, NULL},
        {"GET", "/a/x/b", -405, NULL}, {"GET", "/a/", -404, NULL},
        {"GET", "//a", -404, NULL},    {"GET", "/a//b", -404, NULL},
        {"GET", "/a/..", -404, NULL},  {"GET", "/a/%2e", -404, NULL},
        {"GET", "/a/%2f", -404, NULL}, {"GET", "/a/%00", -404, NULL},
        {"GET", "/a/%", -404, NULL},   {"GET", "/a/%4", -404, NULL},
        {"GET", "/b", -404, NULL},     {"GET", "", -400, NULL},
        {"GET", "*", -400, NULL},      {"GET", "http://x/a", -400, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const route *t = router_find(table, rows[i].method, rows[i].path, name, &status, allow);
        int found = t ? (int)(t - table) : -status;
        if (found != rows[i].found) fail_msg("%s %s: %d", rows[i].method, rows[i].path, found);
        if (t) assert_string_equal(name, rows[i].name);
    }
    router_find(table, "PUT", "/a", name, &status, allow);
    assert_string_equal(allow, "GET, POST");
    for (const route *a = server_routes; a->method; a++) { /* no two routes are the same */
        for (const route *b = a + 1; b->method; b++)
            assert_false(strcmp(a->method, b->method) == 0 && strcmp(a->path, b->path) == 0);
    }
}

extern const char server_openapi[];

/* The document describes every route, and nothing else. */
static void test_openapi(void **state) {
    (void)state;
    json_t *o = json_loads(server_openapi, JSON_REJECT_DUPLICATES, NULL);
    json_t *paths = json_object_get(o, "paths"), *methods;
    const char *path, *method;
    size_t described = 0, n = 0;
    json_t *value;
    assert_true(json_is_object(paths));
    json_object_foreach(paths, path, methods) {
        json_object_foreach(methods, method, value) described += strcmp(method, "parameters") != 0;
    }
    for (const route *t = server_routes; t->method; t++, n++) {
        char lower[8] = "";
        for (size_t i = 0; t->method[i]; i++) lower[i] = (char)(t->method[i] | 0x20);
        if (!json_object_get(json_object_get(paths, t->path), lower))
            fail_msg("%s %s is not described", t->method, t->path);
    }
    assert_int_equal(described, n);
    json_decref(o);
}

/* ------------------------------------------------------------------ keys, hosts */

/* The same steps whichever key is right, or none. */
static void test_keys(void **state) {
    (void)state;
    auth a = {0};
    rwkv_error err;
    char tenant[AUTH_TENANT], other[AUTH_TENANT];
    assert_true(auth_check(&a, NULL, tenant));
    assert_string_equal(tenant, "local");
    assert_int_equal(auth_read_list(&a, "first-key,second-key  third-key", &err), RWKV_OK);
    assert_int_equal(a.n_keys, 3);
    for (size_t i = 0; i < 3; i++) {
        size_t steps;
        assert_true(auth_known(&a, a.digests[i], &steps));
        assert_int_equal(steps, 3 * AUTH_DIGEST);
        for (size_t bit = 0; bit < 8 * AUTH_DIGEST; bit++) {
            uint8_t near[AUTH_DIGEST];
            memcpy(near, a.digests[i], sizeof near);
            near[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_false(auth_known(&a, near, &steps));
            assert_int_equal(steps, 3 * AUTH_DIGEST);
        }
    }
    assert_true(auth_check(&a, "second-key", tenant));
    assert_true(auth_check(&a, "third-key", other));
    assert_string_not_equal(tenant, other);
    assert_int_equal(strlen(tenant), AUTH_TENANT - 1);
    assert_false(auth_check(&a, "second-ke", other) || auth_check(&a, "", other) ||
                 auth_check(&a, NULL, other));
    assert_int_equal(auth_add_key(&a, "short", 5, &err), RWKV_E_ARG);
    assert_int_equal(auth_add_key(&a, "with blank", 10, &err), RWKV_E_ARG);
    auth_free(&a);
}

static void test_hosts(void **state) {
    (void)state;
    const char *const more[] = {"Chat.example"}, *const any[] = {"*"};
    auth a = {.hosts = more, .n_hosts = 1};
    const char *const good[] = {"localhost", "LOCALHOST:1",      "127.0.0.1", "127.1.2.3:80",
                                "[::1]:8",   "chat.example:443", "localhost."};
    const char *const bad[] = {"",      "evil", "localhost.evil", "127.0.0.1.evil", "10.0.0.1",
                               "[::2]", "[::1", "[::1]x",         "localhost:x",    "a:1:2",
                               "0x7f.1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!auth_host_allowed(&a, good[i])) fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (auth_host_allowed(&a, bad[i])) fail_msg("%s", bad[i]);
    a.any_address = true;
    assert_true(auth_host_allowed(&a, "10.0.0.1:80") && auth_host_allowed(&a, "[fe80::1]"));
    assert_false(auth_host_allowed(&a, "evil"));
    a.hosts = any;
    assert_true(auth_host_allowed(&a, "evil") && !auth_host_allowed(&a, ""));
    assert_true(auth_same_origin("http://a:1", "A:1") && !auth_same_origin("http://a:1", "a:2"));
    assert_false(auth_same_origin("null", "null") || auth_same_origin("ftp://a", "a"));
}

/* ------------------------------------------------------------------ thoughts */

static void check_split(rwkv_think think, bool raw, const char *text, const char *thought,
                        const char *content) {
    for (size_t piece = 1; piece <= strlen(text); piece++) { /* however it is cut */
        split s;
        rw_buf t = {0}, c = {0};
        split_begin(&s, think, raw);
        for (size_t i = 0; i < strlen(text); i += piece) {
            size_t n = strlen(text) - i < piece ? strlen(text) - i : piece;
            assert_true(split_push(&s, text + i, n, &t, &c));
        }
        assert_true(split_finish(&s, &t));
        if (t.len != strlen(thought) || (t.len && memcmp(t.data, thought, t.len))) {
            fail_msg("%s: thought '%.*s'", text, (int)t.len, (char *)t.data);
        }
        if (c.len != strlen(content) || (c.len && memcmp(c.data, content, c.len))) {
            fail_msg("%s: content '%.*s'", text, (int)c.len, (char *)c.data);
        }
        rw_buf_free(&t);
        rw_buf_free(&c);
    }
}

static void test_split(void **state) {
    (void)state;
    check_split(RWKV_THINK_NONE, false, " \nhello\n\n x", "", "hello\n\n x");
    check_split(RWKV_THINK_NONE, true, " \nhello", "", " \nhello");
    check_split(RWKV_THINK_NONE, false, "a > b</think>", "", "a > b</think>");
    check_split(RWKV_THINK_OFF, false, ">\n answer > x", "", "answer > x");
    check_split(RWKV_THINK_OFF, false, "answer", "", "answer");
    check_split(RWKV_THINK_ON, false, ">\nI think</think>\n\nSo.", "I think", "So.");
    check_split(RWKV_THINK_ON, false, "></think>So.", "", "So.");
    check_split(RWKV_THINK_ON, false, ">a<</thin</think>b</think>", "a<</thin", "b</think>");
    check_split(RWKV_THINK_ON, false, ">cut off</thi", "cut off</thi", "");
    check_split(RWKV_THINK_ON, false, "no sign", "no sign", "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_out), cmocka_unit_test(test_base64),
        cmocka_unit_test(test_json_in),  cmocka_unit_test(test_router),
        cmocka_unit_test(test_keys),     cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_split),    cmocka_unit_test(test_openapi),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
