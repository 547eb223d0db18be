/* test_tokenizer.c - vocabularies and encodings: the golden vectors, the grammar's corners, hostile
 * files, capacities, time, and the choice of a vocabulary. */
#include "support.h"
#include "base/json.h"
#include "text/vocab.h"
#include <sys/stat.h>
#include <time.h>

/* Seconds of processor time. What is linear takes well under one here, what is quadratic takes hours:
 * the bound tells the two apart and measures nothing. */
#define QUADRATIC 60.0

static const char WORLD[] = "golden/tokenizer/rwkv_vocab_v20230424.txt";
static const char NEOX[] = "golden/tokenizer/20B_tokenizer.json";

/* Of this program's work: other programs of a busy machine are not its fault. */
static double seconds(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

static rwkv_tokenizer *open_ok(const char *path) {
    rwkv_tokenizer *t = NULL;
    rwkv_error err = {0};
    if (rwkv_tokenizer_open(&t, path, &err) != RWKV_OK) fail_msg("%s", err.message);
    return t;
}

static const char *write_temp(const char *name, const char *text, size_t len) {
    const char *path = temp_path(name);
    spill(path, text, len);
    return path;
}

static rwkv_tokenizer *open_text(const char *text) {
    return open_ok(write_temp("v.txt", text, strlen(text)));
}

static rwkv_tokenizer *open_shared(const char *relative) {
    const char *path = shared_path(relative);
    if (!path) skip();
    return open_ok(path);
}

static size_t encode(const rwkv_tokenizer *t, const void *text, size_t len, uint32_t flags,
                     int32_t *ids, size_t cap) {
    rwkv_error err = {0};
    size_t n = 0;
    if (rwkv_encode(t, text, len, flags, ids, cap, &n, &err) != RWKV_OK)
        fail_msg("%s", err.message);
    return n;
}

static void assert_ids(const rwkv_tokenizer *t, const char *text, uint32_t flags, size_t n,
                       const int32_t *want) {
    int32_t ids[256];
    assert_int_equal(encode(t, text, strlen(text), flags, ids, 256), n);
    if (n) assert_memory_equal(ids, want, n * sizeof *ids);
}
#define IDS(...)                                                                                   \
    sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), (int32_t[]) {                              \
        __VA_ARGS__                                                                                \
    }

static void assert_decodes(const rwkv_tokenizer *t, const int32_t *ids, size_t n, const void *want,
                           size_t len) {
    const char *bytes = want;
    size_t pos = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k;
        const char *token = rwkv_token_bytes(t, ids[i], &k);
        assert_true(k <= len - pos);
        assert_memory_equal(token, bytes + pos, k);
        pos += k;
    }
    assert_int_equal(pos, len);
}

/* ------------------------------------------------------------------ golden vectors */

typedef struct vector {
    rw_buf text, decoded;
    bool has_decoded;
    int32_t ids[65536];
    size_t n;
} vector;

static void unhex(const char *s, size_t len, rw_buf *out) {
    for (size_t i = 0; i + 1 < len; i += 2) {
        char two[3] = {s[i], s[i + 1], 0};
        uint8_t byte = (uint8_t)strtoul(two, NULL, 16);
        assert_true(rw_buf_add(out, &byte, 1));
    }
}

static void read_vector(const char *line, size_t len, vector *v) {
    rw_json j;
    rw_json_event ev;
    v->text.len = v->decoded.len = v->n = 0;
    v->has_decoded = false;
    rw_json_init(&j, "vectors", line, len, 0);
    assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
    while (rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_KEY) {
        char key = ev.text[0];
        assert_int_equal(rw_json_next(&j, &ev, NULL), RWKV_OK);
        if (key == 't') assert_true(rw_buf_add(&v->text, ev.text, ev.len));
        if (key == 'h') unhex(ev.text, ev.len, &v->text);
        if (key == 'd') {
            assert_true(rw_buf_add(&v->decoded, ev.text, ev.len));
            v->has_decoded = true;
        }
        while (key == 'i' && rw_json_next(&j, &ev, NULL) == RWKV_OK && ev.kind == RW_JSON_NUMBER) {
            uint64_t id;
            assert_int_equal(rw_json_u64(&j, &ev, &id, NULL), RWKV_OK);
            v->ids[v->n++] = (int32_t)id;
        }
    }
    rw_json_free(&j);
}

/* Ids equal; decoding gives the text, or what the file says. 20B: the end token has no text here.
 */
static void check_vectors(const char *vocab, const char *vectors, size_t expected) {
    rwkv_tokenizer *t = open_shared(vocab);
    size_t len, cases = 0;
    char *file = slurp(shared_path(vectors), &len);
    vector *v = calloc(1, sizeof *v);
    int32_t *ids = calloc(65536, sizeof *ids);
    for (char *line = file, *end; line < file + len; line = end + 1) {
        end = memchr(line, '\n', (size_t)(file + len - line));
        if (!end) end = file + len;
        if (end == line) continue;
        read_vector(line, (size_t)(end - line), v);
        size_t n = encode(t, v->text.data, v->text.len, RWKV_ENCODE_SPECIAL, ids, 65536);
        if (n != v->n || (n && memcmp(ids, v->ids, n * sizeof *ids) != 0)) {
            fail_msg("%s: case %zu differs: %.*s", vectors, cases, (int)(end - line), line);
        }
        const rw_buf *want = v->has_decoded ? &v->decoded : &v->text;
        bool ends = false;
        for (size_t i = 0; i < n; i++) ends = ends || ids[i] == rwkv_tokenizer_end(t);
        if (!ends) assert_decodes(t, ids, n, want->data, want->len);
        cases++;
    }
    assert_int_equal(cases, expected);
    rw_buf_free(&v->text);
    rw_buf_free(&v->decoded);
    free(v);
    free(ids);
    free(file);
    rwkv_tokenizer_free(t);
}

static void test_golden_world(void **state) {
    (void)state;
    check_vectors(WORLD, "golden/tokenizer/world.jsonl", 388);
}

static void test_golden_world_bytes(void **state) {
    (void)state;
    check_vectors(WORLD, "golden/tokenizer/world-bytes.jsonl", 40);
}

static void test_golden_neox(void **state) {
    (void)state;
    check_vectors(NEOX, "golden/tokenizer/20b.jsonl", 388);
}

/* ------------------------------------------------------------------ the World grammar */

static void test_literals(void **state) {
    static const struct {
        const char *literal, *bytes;
        size_t len;
    } cases[] = {
        {"'a'", "a", 1},
        {"\"a\"", "a", 1},
        {"b'a'", "a", 1},
        {"b\"a'\"", "a'", 2},
        {"'a b'", "a b", 3},
        {"'\\\\'", "\\", 1},
        {"'\\''", "'", 1},
        {"\"\\\"\"", "\"", 1},
        {"'\\n\\r\\t'", "\n\r\t", 3},
        {"'\\a\\b\\f\\v'", "\a\b\f\v", 4},
        {"'\\x00'", "\0", 1},
        {"'\\xa0'", "\xC2\xA0", 2},
        {"b'\\xa0'", "\xA0", 1},
        {"b'\\xA0'", "\xA0", 1},
        {"'\\u3000'", "\xE3\x80\x80", 3},
        {"'\\U0001F600'", "\xF0\x9F\x98\x80", 4},
        {"'\xE4\xBD\xA0'", "\xE4\xBD\xA0", 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[256];
        size_t len;
        snprintf(line, sizeof line, "1 %s %zu\n", cases[i].literal, cases[i].len);
        rwkv_tokenizer *t = open_text(line);
        const char *bytes = rwkv_token_bytes(t, 1, &len);
        assert_int_equal(len, cases[i].len);
        assert_memory_equal(bytes, cases[i].bytes, len);
        rwkv_tokenizer_free(t);
    }
}

static void test_line_ends(void **state) {
    static const char *const texts[] = {"1 'a' 1\n2 'b' 1\n", "1 'a' 1\r\n2 'b' 1\r\n",
                                        "1 'a' 1\r\n2 'b' 1", "\n1 'a' 1\n\n2 'b' 1\n\n",
                                        "2 'b' 1\n1 'a' 1"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        rwkv_tokenizer *t = open_text(texts[i]);
        assert_string_equal(rwkv_tokenizer_kind(t), "World");
        assert_int_equal(rwkv_tokenizer_size(t), 3);
        assert_int_equal(rwkv_tokenizer_end(t), 0);
        assert_false(rw_tokenizer_has_zero(t));
        assert_ids(t, "abba", 0, IDS(1, 2, 2, 1));
        rwkv_tokenizer_free(t);
    }
}

/* A puzzle's vocabulary: ids from 0, few characters. */
static void test_puzzle(void **state) {
    rwkv_tokenizer *t = open_text("0 '0' 1\n1 '1' 1\n2 ',' 1\n3 '#' 1\n4 '11' 2\n");
    rwkv_error err = {0};
    int32_t ids[8] = {-7, -7};
    size_t n = 99;
    (void)state;
    assert_int_equal(rwkv_tokenizer_end(t), -1);
    assert_true(rw_tokenizer_has_zero(t));
    assert_ids(t, "0111,#", 0, IDS(0, 4, 1, 2, 3));
    assert_int_equal(rwkv_encode(t, "01x", 3, 0, ids, 8, &n, &err), RWKV_E_TEXT);
    assert_int_equal(err.code, RWKV_E_TEXT);
    assert_int_equal(err.offset, 2);
    assert_non_null(strstr(err.message, "byte 2"));
    assert_int_equal(n, 99);
    assert_int_equal(ids[0], -7);
    assert_int_equal(rwkv_encode(t, "01x", 3, 0, ids, 8, &n, NULL), RWKV_E_TEXT);
    rwkv_tokenizer_free(t);
}

static void test_json_form(void **state) {
    rwkv_tokenizer *t = open_text("{\"1\": \"a\", \"3\": [228, 189], \"2\": \"\\u00e9\\n\"}");
    size_t len;
    (void)state;
    assert_string_equal(rwkv_tokenizer_kind(t), "World");
    assert_int_equal(rwkv_tokenizer_size(t), 4);
    assert_memory_equal(rwkv_token_bytes(t, 3, &len), "\xE4\xBD", 2);
    assert_int_equal(len, 2);
    assert_ids(t, "a\xC3\xA9\na\xE4\xBD", 0, IDS(1, 2, 1, 3));
    rwkv_tokenizer_free(t);
}

/* ------------------------------------------------------------------ hostile vocabularies (V1) */

typedef struct hostile {
    const char *text, *place, *what;
    uint64_t offset;
} hostile;

static void expect_hostile(const char *text, size_t len, const char *place, const char *what,
                           uint64_t offset) {
    const char *path = write_temp("bad.txt", text, len);
    rwkv_error err = {0};
    rwkv_tokenizer *t = (rwkv_tokenizer *)&err;
    char want[512];
    assert_int_equal(rwkv_tokenizer_open(&t, path, &err), RWKV_E_VOCAB);
    assert_ptr_equal(t, &err);
    assert_int_equal(rwkv_tokenizer_open(&t, path, NULL), RWKV_E_VOCAB);
    assert_int_equal(err.code, RWKV_E_VOCAB);
    snprintf(want, sizeof want, "%s:%s", path, place);
    if (strncmp(err.message, want, strlen(want)) != 0 || !strstr(err.message, what) ||
        err.offset != offset) {
        fail_msg("found %s (%llu); expected %s ... %s (%llu)", err.message,
                 (unsigned long long)err.offset, want, what, (unsigned long long)offset);
    }
    assert_string_equal(err.file, path);
    for (const char *c = err.message; *c; c++) assert_true((unsigned char)*c >= 0x20 && *c != 0x7F);
}

static void test_hostile_lines(void **state) {
    static const hostile cases[] = {
        {"", "1:1:", "no tokens", 0},
        {"\n\n", "1:1:", "no tokens", 0},
        {"hello", "1:1:", "expected a token id", 0},
        {"1 'a' 1\n<0x-1> 'b' 1\n", "2:1:", "expected a token id", 8},
        {"-1 'a' 1\n", "1:1:", "expected a token id", 0},
        {"1 '\\xZZ' 1\n", "1:6:", "hexadecimal", 5},
        {"1 '\\x4' 1\n", "1:7:", "hexadecimal", 6},
        {"1 '\\u12' 1\n", "1:8:", "hexadecimal", 7},
        {"1 '\\q' 1\n", "1:4:", "unknown escape", 3},
        {"1 '\\N{DASH}' 1\n", "1:4:", "unknown escape", 3},
        {"1 b'\\u0041' 6\n", "1:5:", "unknown escape", 4},
        {"1 '\\ud800' 3\n", "1:4:", "U+D800", 3},
        {"1 '\\U00110000' 4\n", "1:4:", "U+110000", 3},
        {"1 'a' 1\n2 '' 0\n", "2:3:", "token is empty", 10},
        {"1 b'' 0\n", "1:3:", "token is empty", 2},
        {"1 'a' 1\n2 'a' 1\n", "2:1:", "same text as token 1", 8},
        {"1 'a' 1\n1 'b' 1\n", "2:1:", "id 1 occurs twice", 8},
        {"1 'a' 1\n3 'b' 1\n", "2:1:", "id 2 is missing", 8},
        {"2 'a' 1\n", "1:1:", "id 1 is missing", 0},
        {"65536 'a' 1\n", "1:1:", "id out of range", 0},
        {"99999999999999999999 'a' 1\n", "1:1:", "too many digits", 0},
        {"1 a 1\n", "1:3:", "quoted token", 2},
        {"1 'a 1\n", "1:7:", "closing quote", 6},
        {"1 'a", "1:5:", "closing quote", 4},
        {"1 'a'\n", "1:6:", "blank after the token", 5},
        {"1\n", "1:2:", "blank after the id", 1},
        {"1 'a'b' 1\n", "1:6:", "blank after the token", 5},
        {"1 u'a' 1\n", "1:3:", "quoted token", 2},
        {"1 'a' 2\n", "1:7:", "found 2; expected 1", 6},
        {"1 '\xC3\xA9' 1\n", "1:8:", "found 1; expected 2", 7},
        {"1 'a' x\n", "1:7:", "token's length", 6},
        {"1 'a' 1 \n", "1:8:", "end of the line", 7},
        {"1 'a\tb' 3\n", "1:5:", "closing quote", 4},
        {"1 'a\x1b]0;x' 3\n", "1:5:", "0x1b", 4},
        {"1 '\xFF' 1\n", "1:4:", "UTF-8", 3},
        {"1 b'\xC3\xA9' 2\n", "1:5:", "closing quote", 4},
        {"\xEF\xBB\xBF"
         "1 'a' 1\n",
         "1:1:", "0xef", 0},
        {"{\"1\": \"\"}", "1:7:", "token is empty", 6},
        {"{\"1\": []}", "1:7:", "token is empty", 6},
        {"{\"1\": \"a\", \"1\": \"b\"}", "1:12:", "occurs twice", 11},
        {"{\"1\": \"a\", \"2\": \"a\"}", "1:12:", "same text", 11},
        {"{\"1\": \"a\",\n \"3\": \"b\"}", "2:2:", "id 2 is missing", 12},
        {"{\"65536\": \"a\"}", "1:2:", "id out of range", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_hostile(cases[i].text, strlen(cases[i].text), cases[i].place, cases[i].what,
                       cases[i].offset);
    }
    expect_hostile("1 'a\0b' 3\n", 10, "1:5:", "0x00", 4);
}

/* A JSON reader's errors name the byte. */
static void test_hostile_json(void **state) {
    static const hostile cases[] = {
        {"{", "", "", 1},
        {"{}", "1:1:", "no tokens", 0},
        {"{\"1\": \"a\"} x", "11:", "", 11},
        {"{\"1\": 7}", "6:", "string or a list of bytes", 6},
        {"{\"1\": [256]}", "7:", "0 to 255", 7},
        {"{\"1\": [-1]}", "7:", "", 7},
        {"{\"1\": [[1]]}", "7:", "a byte", 7},
        {"{\"1\": \"\\ud800\"}", "", "", 7},
        {"{\"1\": \"a\", \"x\": \"b\"}", "11:", "a token id", 11},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *path = write_temp("bad.json", cases[i].text, strlen(cases[i].text));
        rwkv_error err = {0};
        rwkv_tokenizer *t = NULL;
        char want[512];
        assert_int_equal(rwkv_tokenizer_open(&t, path, &err), RWKV_E_VOCAB);
        assert_int_equal(err.code, RWKV_E_VOCAB);
        snprintf(want, sizeof want, "%s:%s", path, cases[i].place);
        if (strncmp(err.message, want, strlen(want)) != 0 || !strstr(err.message, cases[i].what)) {
            fail_msg("found %s; expected %s ... %s", err.message, want, cases[i].what);
        }
        assert_null(t);
    }
}

static void test_hostile_sizes(void **state) {
    size_t n = 1u << 20;
    char *text = malloc(n + 32);
    rwkv_error err = {0};
    rwkv_tokenizer *t = NULL;
    (void)state;
    memset(text, 'a', n + 32);
    memcpy(text, "1 '", 3);
    memcpy(text + n, "' 1048573\n", 10);
    expect_hostile(text, n + 10, "1:3:", "longer than 1024", 2);
    free(text);
    assert_int_equal(rwkv_tokenizer_open(&t, temp_path("missing.txt"), &err), RWKV_E_IO);
    assert_int_equal(rwkv_tokenizer_open(&t, temp_path(""), &err), RWKV_E_IO); /* a folder */
    assert_null(t);
}

/* ------------------------------------------------------------------ bytes, capacities, strange ids
 */

static void test_bytes(void **state) {
    rwkv_tokenizer *t = open_ok(NULL);
    uint64_t rng = 1;
    uint8_t text[512];
    int32_t ids[512];
    (void)state;
    assert_string_equal(rwkv_tokenizer_kind(t), "bytes");
    assert_int_equal(rwkv_tokenizer_size(t), 256);
    assert_int_equal(rwkv_tokenizer_end(t), -1);
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)rng_u64(&rng);
    assert_int_equal(encode(t, text, sizeof text, 0, ids, 512), 512);
    for (size_t i = 0; i < sizeof text; i++) assert_int_equal(ids[i], text[i]);
    assert_decodes(t, ids, 512, text, 512);
    rwkv_tokenizer_free(t);
}

/* V3, V4 */
static void test_capacities(void **state) {
    rwkv_tokenizer *t = open_ok(NULL);
    rwkv_error err = {0};
    size_t len;
    (void)state;
    for (size_t cap = 0; cap <= 6; cap++) {
        int32_t ids[8];
        size_t n = 99;
        for (size_t i = 0; i < 8; i++) ids[i] = -7;
        rwkv_status st = rwkv_encode(t, "hello", 5, 0, cap ? ids : NULL, cap, &n, &err);
        assert_int_equal(n, 5);
        assert_int_equal(st, cap >= 5 || cap == 0 ? RWKV_OK : RWKV_E_SPACE);
        for (size_t i = cap < 5 ? cap : 5; i < 8; i++) assert_int_equal(ids[i], -7);
        for (size_t i = 0; i < cap && i < 5; i++) assert_int_equal(ids[i], "hello"[i]);
    }
    int32_t one = -7;
    size_t n;
    assert_int_equal(rwkv_encode(t, "hello", 5, 0, &one, 0, &n, &err), RWKV_E_SPACE);
    assert_int_equal(one, -7);
    assert_int_equal(rwkv_encode(t, "", 0, 0, &one, 1, &n, &err), RWKV_OK);
    assert_int_equal(n, 0);
    assert_int_equal(rwkv_encode(t, NULL, 0, 0, NULL, 0, &n, &err), RWKV_OK);
    assert_int_equal(rwkv_encode(t, NULL, 5, 0, &one, 1, &n, &err), RWKV_E_ARG);
    assert_int_equal(rwkv_encode(NULL, "a", 1, 0, &one, 1, &n, &err), RWKV_E_ARG);
    static const int32_t strange[] = {-1, 256, 65536, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        len = 7;
        assert_string_equal(rwkv_token_bytes(t, strange[i], &len), "");
        assert_int_equal(len, 0);
    }
    rwkv_tokenizer_free(t);
    rwkv_tokenizer_free(NULL);
}

/* ------------------------------------------------------------------ every byte string, in linear
 * time */

/* All bytes as ids 1..256, then random tokens of 2 to 40 bytes over few letters, each once. */
static rwkv_tokenizer *random_vocabulary(uint64_t *rng, size_t n_more) {
    rw_buf text = {0};
    rw_map seen = {0};
    rw_arena arena = {0};
    char line[256];
    for (int b = 0; b < 256; b++) {
        int len = snprintf(line, sizeof line, "%d b'\\x%02x' 1\n", b + 1, b);
        assert_true(rw_buf_add(&text, line, (size_t)len));
    }
    for (size_t id = 257; id < 257 + n_more;) {
        char token[40];
        size_t len = 2 + rng_u64(rng) % 39, other = 0;
        for (size_t i = 0; i < len; i++) token[i] = "aaaaaab "[rng_u64(rng) % 8];
        char *key = rw_arena_strndup(&arena, token, len);
        assert_true(key && rw_map_put(&seen, key, len, id, &other));
        if (other != SIZE_MAX) continue;
        int k = snprintf(line, sizeof line, "%zu '%.*s' %zu\n", id++, (int)len, token, len);
        assert_true(rw_buf_add(&text, line, (size_t)k));
    }
    rwkv_tokenizer *t = open_ok(write_temp("random.txt", (char *)text.data, text.len));
    rw_buf_free(&text);
    rw_map_free(&seen);
    rw_arena_free(&arena);
    return t;
}

/* What "longest token at each place" means, the slow way. */
static int32_t longest(const rwkv_tokenizer *t, const uint8_t *text, size_t n) {
    int32_t best = -1;
    size_t best_len = 0;
    for (size_t id = 0; id < rwkv_tokenizer_size(t); id++) {
        size_t len;
        const char *bytes = rwkv_token_bytes(t, (int32_t)id, &len);
        if (len > best_len && len <= n && memcmp(bytes, text, len) == 0) {
            best = (int32_t)id;
            best_len = len;
        }
    }
    return best;
}

static void test_greedy_is_longest(void **state) {
    uint64_t rng = 2;
    (void)state;
    for (int round = 0; round < 5; round++) {
        rwkv_tokenizer *t = random_vocabulary(&rng, 200);
        uint8_t text[400];
        int32_t ids[400];
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (uint8_t) "aaaaaab \xFF"[rng_u64(&rng) % 9];
        size_t n = encode(t, text, sizeof text, 0, ids, 400), pos = 0;
        for (size_t i = 0; i < n; i++) {
            size_t len;
            assert_int_equal(ids[i], longest(t, text + pos, sizeof text - pos));
            rwkv_token_bytes(t, ids[i], &len);
            pos += len;
        }
        assert_int_equal(pos, sizeof text);
        rwkv_tokenizer_free(t);
    }
}

static void round_trips(const rwkv_tokenizer *t) {
    uint64_t rng = 3;
    uint8_t text[300];
    int32_t ids[300];
    for (int round = 0; round < 3000; round++) {
        size_t len = rng_u64(&rng) % sizeof text;
        uint64_t kind = rng_u64(&rng) % 3;
        for (size_t i = 0; i < len; i++) {
            uint64_t r = rng_u64(&rng);
            text[i] = kind == 0   ? (uint8_t)r
                      : kind == 1 ? (uint8_t)(0x80 + r % 128)
                                  : (uint8_t)(r % 3 * 32);
        }
        size_t n = encode(t, text, len, 0, ids, 300);
        assert_decodes(t, ids, n, text, len);
    }
}

static void test_round_trips(void **state) {
    uint64_t rng = 4;
    rwkv_tokenizer *t = random_vocabulary(&rng, 300);
    (void)state;
    round_trips(t);
    rwkv_tokenizer_free(t);
}

static void test_world_round_trips(void **state) {
    rwkv_tokenizer *t = open_shared(WORLD);
    size_t longest_token = 0;
    (void)state;
    round_trips(t);
    assert_int_equal(rwkv_tokenizer_size(t), 65530);
    assert_int_equal(rwkv_tokenizer_end(t), 0);
    for (int32_t id = 1; id < 65530; id++) {
        size_t len, n;
        int32_t back = -1;
        const char *bytes = rwkv_token_bytes(t, id, &len);
        assert_int_equal(rwkv_encode(t, bytes, len, 0, &back, 1, &n, NULL), RWKV_OK);
        assert_int_equal(back, id);
        if (len > longest_token) longest_token = len;
    }
    assert_int_equal(longest_token, 128);
    rwkv_tokenizer_free(t);
}

static double time_to_count(const rwkv_tokenizer *t, const char *text, size_t len) {
    double begin = seconds();
    encode(t, text, len, 0, NULL, 0);
    return seconds() - begin;
}

/* V2: 16 MiB of one byte in a second, and no worse for a text whose every place begins a long token
 * that does not come. */
static void check_linear(const rwkv_tokenizer *t) {
    size_t n = 16u << 20;
    char *text = malloc(n);
    for (size_t i = 0; i < 4; i++) {
        memset(text, "a =\0"[i], n);
        assert_true(time_to_count(t, text, n) < QUADRATIC);
    }
    for (size_t i = 0; i < n; i++) text[i] = i % 39 == 38 ? 'b' : 'a';
    assert_true(time_to_count(t, text, n) < QUADRATIC);
    free(text);
}

static void test_linear(void **state) {
    uint64_t rng = 5;
    rwkv_tokenizer *t = random_vocabulary(&rng, 300);
    (void)state;
    check_linear(t);
    rwkv_tokenizer_free(t);
}

static void test_world_linear(void **state) {
    (void)state;
    rwkv_tokenizer *t = open_shared(WORLD);
    check_linear(t);
    rwkv_tokenizer_free(t);
}

/* ------------------------------------------------------------------ GPT-NeoX */

#define NEOX_HEAD                                                                                  \
    "{\"version\":\"1.0\",\"added_tokens\":["                                                      \
    "{\"id\":0,\"special\":true,\"content\":\"<|endoftext|>\",\"single_word\":false,"              \
    "\"normalized\":false},"                                                                       \
    "{\"id\":30,\"special\":false,\"content\":\"  \",\"normalized\":true}],"                       \
    "\"normalizer\":{\"type\":\"NFC\"},"                                                           \
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true},"
#define NEOX_VOCAB                                                                                 \
    "\"vocab\":{\"<|endoftext|>\":0,\"a\":1,\"b\":2,\"c\":3,\"\\u0120\":4,\"\\u010a\":5,\"'\":6,"  \
    "\"s\":7,"                                                                                     \
    "\"1\":8,\"aa\":9,\"\\u0120a\":10,\"ab\":11,\"aaa\":12,\"\\u010a\\u010a\":13,\"'s\":14,"       \
    "\"\\u00c3\":15,"                                                                              \
    "\"\\u00a9\":16,\"\\u00c3\\u00a9\":17,\"e\":18,\"\\u00cc\":19,\"\\u0123\":20,\"bc\":21}"
#define NEOX_MERGES                                                                                \
    "\"merges\":[\"a a\",\"a b\",\"aa a\",\"b c\",\"\\u0120 a\",\"\\u010a \\u010a\",\"' s\","      \
    "\"\\u00c3 \\u00a9\"]"
#define NEOX_MODEL                                                                                 \
    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"byte_fallback\":false," NEOX_VOCAB             \
    "," NEOX_MERGES "}}"

static void test_neox(void **state) {
    rwkv_tokenizer *t = open_text(NEOX_HEAD NEOX_MODEL);
    rwkv_error err = {0};
    size_t n, len;
    (void)state;
    assert_string_equal(rwkv_tokenizer_kind(t), "20B");
    assert_int_equal(rwkv_tokenizer_size(t), 31);
    assert_int_equal(rwkv_tokenizer_end(t), 0);
    assert_ids(t, "", 0, 0, NULL);
    assert_ids(t, "aaaa", 0, IDS(9, 9)); /* lowest rank first, not longest */
    assert_ids(t, "aaaaa", 0, IDS(9, 12));
    assert_ids(t, "abc", 0, IDS(11, 3)); /* "a b" before "b c" */
    assert_ids(t, "a a", 0, IDS(1, 10));
    assert_ids(t, "a  a", 0, IDS(1, 30, 1)); /* the run is cut out whole */
    assert_ids(t, "a   a", 0, IDS(1, 30, 10));
    assert_ids(t, "a \na", 0, IDS(1, 4, 5, 1));
    assert_ids(t, "a's1", 0, IDS(1, 14, 8));
    assert_ids(t, "\n\n", 0, IDS(13));
    assert_ids(t, "\n\na", 0, IDS(5, 5, 1)); /* the last blank stays for the next piece */
    assert_ids(t, "e\xCC\x81", 0, IDS(17));  /* NFC */
    assert_memory_equal(rwkv_token_bytes(t, 17, &len), "\xC3\xA9", 2);
    assert_memory_equal(rwkv_token_bytes(t, 10, &len), " a", 2);
    assert_memory_equal(rwkv_token_bytes(t, 30, &len), "  ", 2);
    rwkv_token_bytes(t, 0, &len);
    assert_int_equal(len, 0);
    assert_ids(t, "a<|endoftext|>a", RWKV_ENCODE_SPECIAL, IDS(1, 0, 1));
    assert_int_equal(rwkv_encode(t, "a<|endoftext|>a", 15, 0, NULL, 0, &n, &err), RWKV_E_TEXT);
    assert_int_equal(rwkv_encode(t, "a\xFF", 2, 0, NULL, 0, &n, &err), RWKV_E_TEXT);
    assert_int_equal(err.offset, 1);
    assert_int_equal(rwkv_encode(t, "aa\xC3", 3, 0, NULL, 0, &n, &err), RWKV_E_TEXT);
    assert_int_equal(err.offset, 2);
    int32_t id = -7;
    n = 99;
    assert_int_equal(rwkv_encode(t, "a z", 3, 0, &id, 1, &n, &err), RWKV_E_TEXT); /* no z */
    assert_int_equal(id, -7);
    assert_int_equal(n, 99);
    rwkv_tokenizer_free(t);
}

/* Trap 2: models never saw "\n\n" as one token at the end of a prompt. */
static void test_neox_prompt_end(void **state) {
    rwkv_tokenizer *t = open_text(NEOX_HEAD NEOX_MODEL);
    (void)state;
    assert_ids(t, "a\n\n", 0, IDS(1, 13));
    assert_ids(t, "a\n\n", RWKV_ENCODE_PROMPT, IDS(1, 5, 5));
    assert_ids(t, "\n\n", RWKV_ENCODE_PROMPT, IDS(5, 5));
    assert_ids(t, "\n\na", RWKV_ENCODE_PROMPT, IDS(5, 5, 1));
    assert_ids(t, "", RWKV_ENCODE_PROMPT, 0, NULL);
    int32_t ids[2] = {-7, -7};
    size_t n;
    assert_int_equal(rwkv_encode(t, "\n\n", 2, RWKV_ENCODE_PROMPT, ids, 1, &n, NULL), RWKV_E_SPACE);
    assert_int_equal(n, 2);
    assert_int_equal(ids[1], -7);
    rwkv_tokenizer_free(t);
}

static void test_neox_merge_pairs(void **state) {
    rwkv_tokenizer *t = open_text("{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{"
                                  "\"merges\":[[\"a\",\"b\"],[\"ab\",\"c\"]],"
                                  "\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"ab\":3,\"abc\":4}}}");
    (void)state;
    assert_ids(t, "abcab", 0, IDS(4, 3));
    assert_int_equal(rwkv_tokenizer_end(t), -1);
    rwkv_tokenizer_free(t);
}

static void test_neox_refuses(void **state) {
    static const struct {
        const char *text, *what;
        rwkv_status code;
    } cases[] = {
        {"{\"model\":{}}", "no model.vocab", RWKV_E_VOCAB},
        {"{\"x\":1}", "no model.vocab", RWKV_E_VOCAB},
        {"{\"model\":{\"type\":\"Unigram\"}}", "model", RWKV_E_UNSUPPORTED},
        {"{\"model\":{\"ignore_merges\":true}}", "ignore_merges", RWKV_E_UNSUPPORTED},
        {"{\"normalizer\":{\"type\":\"NFKC\"}}", "normalizer", RWKV_E_UNSUPPORTED},
        {"{\"pre_tokenizer\":{\"type\":\"Metaspace\"}}", "pre_tokenizer", RWKV_E_UNSUPPORTED},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true}}",
         "add_prefix_space", RWKV_E_UNSUPPORTED},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"x\",\"lstrip\":true}]}", "lstrip",
         RWKV_E_UNSUPPORTED},
        {"{\"added_tokens\":[{\"id\":1}]}", "without id or content", RWKV_E_VOCAB},
        {"{\"added_tokens\":[{\"id\":1,\"content\":\"\"}]}", "1 to 1024 bytes", RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB "}}", "no list model.merges", RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":null}}", "no list model.merges",
         RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[\"a z\"]}}", "unknown tokens",
         RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[\"b a\"]}}", "unknown tokens",
         RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[\"aa\"]}}", "two tokens", RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[[\"a\"]]}}", "two tokens", RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[7]}}", "two tokens", RWKV_E_VOCAB},
        {NEOX_HEAD "\"model\":{" NEOX_VOCAB ",\"merges\":[\"a a\",\"a a\"]}}", "occurs twice",
         RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":{\"a\":1,\"b\":1}}}", "id 1 occurs twice", RWKV_E_VOCAB},
        {"{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":{\"a\":1,\"a\":2},"
         "\"merges\":[]}}",
         "same text", RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":{\"a\":262144}}}", "id out of range", RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":{\"a\":-1}}}", "", RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":{\"\":1}}}", "byte alphabet", RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":{\"a b\":1}}}", "byte alphabet", RWKV_E_VOCAB},
        {"{\"model\":{\"vocab\":[1]}}", "vocab", RWKV_E_VOCAB},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rwkv_error err = {0};
        rwkv_tokenizer *t = NULL;
        const char *path = write_temp("bad.json", cases[i].text, strlen(cases[i].text));
        rwkv_status st = rwkv_tokenizer_open(&t, path, &err);
        if (st != cases[i].code || !strstr(err.message, cases[i].what)) {
            fail_msg("case %zu: found %d %s; expected %d %s", i, st, err.message, cases[i].code,
                     cases[i].what);
        }
        assert_int_equal(err.code, st);
        assert_ptr_equal(strstr(err.message, path), err.message);
        assert_null(t);
    }
}

/* Long words and long runs of marks, of which the obvious algorithms take quadratic time. */
static void check_neox_time(const rwkv_tokenizer *t) {
    size_t n = 1u << 20;
    char *text = malloc(n);
    memset(text, 'a', n);
    assert_true(time_to_count(t, text, n) < QUADRATIC);
    memset(text, ' ', n);
    assert_true(time_to_count(t, text, n) < QUADRATIC);
    free(text);
}

static void test_neox_time(void **state) {
    rwkv_tokenizer *t = open_text(NEOX_HEAD NEOX_MODEL);
    size_t n = 1u << 20;
    uint8_t *text = malloc(n);
    rw_buf out = {0};
    (void)state;
    check_neox_time(t);
    rwkv_tokenizer_free(t);
    for (size_t i = 0; i + 1 < n; i += 2) { /* classes 230, 220, 230, 220, ... */
        text[i] = 0xCC;
        text[i + 1] = i % 4 ? 0xA3 : 0x81;
    }
    double begin = seconds();
    assert_int_equal(rw_nfc(text, n, &out, NULL), RWKV_OK);
    assert_true(seconds() - begin < QUADRATIC);
    assert_int_equal(out.len, n);
    assert_memory_equal(out.data, "\xCC\xA3\xCC\xA3", 4); /* all of class 220 before all of 230 */
    assert_memory_equal(out.data + n - 4, "\xCC\x81\xCC\x81", 4);
    rw_buf_free(&out);
    free(text);
}

static void test_neox_golden_time(void **state) {
    (void)state;
    rwkv_tokenizer *t = open_shared(NEOX);
    check_neox_time(t);
    rwkv_tokenizer_free(t);
}

static void test_nfc(void **state) {
    static const char *const cases[][2] = {
        {"abc", "abc"},
        {"\xC3\xA9", "\xC3\xA9"},
        {"e\xCC\x81", "\xC3\xA9"},
        {"\xE2\x84\xAB", "\xC3\x85"},                             /* Angstrom sign */
        {"a\xCC\x81\xCC\xA3", "\xE1\xBA\xA1\xCC\x81"},            /* the dot below comes first */
        {"\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", "\xEA\xB0\x81"}, /* Hangul */
        {"\xEF\xAC\x81", "\xEF\xAC\x81"}, /* a ligature is no canonical pair */
        {"\xCC\x81", "\xCC\x81"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rw_buf out = {0};
        assert_int_equal(rw_nfc((const uint8_t *)cases[i][0], strlen(cases[i][0]), &out, NULL),
                         RWKV_OK);
        assert_int_equal(out.len, strlen(cases[i][1]));
        assert_memory_equal(out.data, cases[i][1], out.len);
        rw_buf_free(&out);
    }
}

static void test_words(void **state) {
    static const char *const cases[][2] = {
        {"hello world", "hello"},
        {" world", " world"},
        {"  world", " "},
        {"   ", "   "},
        {" \n x", " \n"},
        {"'s", "'s"},
        {"'S", "'"},
        {"'ll x", "'ll"},
        {"'lx", "'"},
        {"12a", "12"},
        {" 12a", " 12"},
        {"...a", "..."},
        {" ...a", " ..."},
        {"\n\nx", "\n"},
        {"\n\n", "\n\n"},
        {"\tx", "\t"},
        {" 's", " '"},
        {"'re", "'re"},
        {"' s", "'"},
        {" ", " "},
        {"\xC2\xA0x", "\xC2\xA0"},
        {"\xE4\xBD\xA0\xE5\xA5\xBD!", "\xE4\xBD\xA0\xE5\xA5\xBD"},
        {"\xC2\xBD"
         "x",
         "\xC2\xBD"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t len = rw_gpt2_word((const uint8_t *)cases[i][0], strlen(cases[i][0]));
        if (len != strlen(cases[i][1])) fail_msg("\"%s\": %zu bytes", cases[i][0], len);
    }
}

/* ------------------------------------------------------------------ GGUF entries */

static void check_gguf(const rwkv_tokenizer *t, size_t n_vocab) {
    rw_arena arena = {0};
    const char **tokens = calloc(n_vocab, sizeof *tokens);
    uint32_t *lens = calloc(n_vocab, sizeof *lens);
    int32_t *types = calloc(n_vocab, sizeof *types);
    rw_buf entry = {0};
    rwkv_error err = {0};
    for (size_t id = 0; id < n_vocab; id++) {
        assert_int_equal(rw_tokenizer_gguf_entry(t, (int32_t)id, &entry, &types[id]), RWKV_OK);
        tokens[id] = rw_arena_strndup(&arena, (char *)entry.data, entry.len);
        lens[id] = (uint32_t)entry.len;
        for (size_t i = 0; i < entry.len; i++) assert_in_range(entry.data[i], 0x20, 0x7E);
    }
    for (int typed = 0; typed < 2; typed++) {
        rwkv_tokenizer *back = NULL;
        if (rw_tokenizer_from_gguf(&back, "m.gguf", tokens, lens, n_vocab, typed ? types : NULL,
                                   &err)) {
            fail_msg("%s", err.message);
        }
        assert_int_equal(rwkv_tokenizer_size(back), rwkv_tokenizer_size(t));
        assert_int_equal(rwkv_tokenizer_end(back), rwkv_tokenizer_end(t));
        assert_string_equal(rwkv_tokenizer_kind(back), rwkv_tokenizer_kind(t));
        for (size_t id = 0; id < n_vocab; id++) {
            size_t len, back_len;
            const char *a = rwkv_token_bytes(t, (int32_t)id, &len);
            const char *b = rwkv_token_bytes(back, (int32_t)id, &back_len);
            assert_int_equal(len, back_len);
            assert_memory_equal(a, b, len);
        }
        rwkv_tokenizer_free(back);
    }
    rw_buf_free(&entry);
    rw_arena_free(&arena);
    free(tokens);
    free(lens);
    free(types);
}

static void test_gguf_round_trip(void **state) {
    uint64_t rng = 6;
    rwkv_tokenizer *t = random_vocabulary(&rng, 100);
    (void)state;
    check_gguf(t, 400);
    rwkv_tokenizer_free(t);
    t = open_ok(NULL);
    check_gguf(t, 256);
    rwkv_tokenizer_free(t);
    t = open_text("0 '\\'' 1\n1 '\"' 1\n2 '\\'\"' 2\n3 '\\\\n' 2\n4 '\\n' 1\n5 '<s>' 3\n");
    check_gguf(t, 8);
    rwkv_tokenizer_free(t);
}

static void test_gguf_world(void **state) {
    (void)state;
    rwkv_tokenizer *t = open_shared(WORLD);
    check_gguf(t, 65536);
    rwkv_tokenizer_free(t);
}

/* As llama.cpp's converter writes them: Python's way to print bytes. */
static void test_gguf_entries(void **state) {
    static const char *const want[] = {
        "<s>", "'", "\"", "\\'\"", "\\\\n", "\\n\\t\\r\\x00", "\\xe4\\xbd\\xa0", "[PAD7]"};
    static const int32_t types[] = {3, 1, 1, 1, 1, 1, 1, 5};
    rwkv_tokenizer *t =
        open_text("1 \"'\" 1\n2 '\"' 1\n3 '\\'\"' 2\n4 '\\\\n' 2\n5 '\\n\\t\\r\\x00' 4\n"
                  "6 '\xE4\xBD\xA0' 3\n");
    rw_buf entry = {0};
    (void)state;
    for (int32_t id = 0; id < 8; id++) {
        int32_t type;
        assert_int_equal(rw_tokenizer_gguf_entry(t, id, &entry, &type), RWKV_OK);
        assert_int_equal(type, types[id]);
        assert_int_equal(entry.len, strlen(want[id]));
        assert_memory_equal(entry.data, want[id], entry.len);
    }
    rw_buf_free(&entry);
    rwkv_tokenizer_free(t);
}

/* Control and unused entries are no text: "<s>" in a prompt stays three characters. */
static void test_gguf_control(void **state) {
    static const char *const tokens[] = {"<s>", "<", "s", ">", "[PAD4]"};
    static const uint32_t lens[] = {3, 1, 1, 1, 6};
    static const int32_t types[] = {3, 1, 1, 1, 5};
    rwkv_tokenizer *t = NULL;
    (void)state;
    assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", tokens, lens, 5, types, NULL), RWKV_OK);
    assert_ids(t, "<s>", 0, IDS(1, 2, 3));
    assert_int_equal(rwkv_tokenizer_end(t), 0);
    rwkv_tokenizer_free(t);
}

static void test_gguf_hostile(void **state) {
    static const char *const bad[] = {"", "\\", "\\x", "\\x1", "\\xZZ", "\\q", "a\\x4"};
    rwkv_error err = {0};
    rwkv_tokenizer *t = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t len = (uint32_t)strlen(bad[i]);
        assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", &bad[i], &len, 1, NULL, &err),
                         RWKV_E_VOCAB);
        assert_non_null(strstr(err.message, "tokenizer.ggml.tokens[0]"));
    }
    static const char *const twins[] = {"a", "\\x61"};
    static const uint32_t lens[] = {1, 4};
    assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", twins, lens, 2, NULL, &err),
                     RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "[0] and [1]"));
    assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", twins, lens, 0, NULL, &err),
                     RWKV_E_VOCAB);
    assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", twins, lens, 65537, NULL, &err),
                     RWKV_E_VOCAB);
    static const int32_t unused[] = {5, 5};
    assert_int_equal(rw_tokenizer_from_gguf(&t, "m.gguf", twins, lens, 2, unused, &err),
                     RWKV_E_VOCAB);
    assert_null(t);
}

/* ------------------------------------------------------------------ search */

static rwkv_status search(const char *vocab, const char *model, size_t n_vocab, char kind[8],
                          rwkv_error *err) {
    rwkv_tokenizer *t = NULL;
    rwkv_status st = rw_tokenizer_search(&t, vocab, model, n_vocab, err);
    if (st == RWKV_OK) snprintf(kind, 8, "%s/%zu", rwkv_tokenizer_kind(t), rwkv_tokenizer_size(t));
    rwkv_tokenizer_free(t);
    return st;
}

static void make_vocab(const char *name, size_t n) {
    rw_buf text = {0};
    char line[64];
    for (size_t i = 1; i <= n; i++) {
        int len = snprintf(line, sizeof line, "%zu '%05zu' 5\n", i, i);
        assert_true(rw_buf_add(&text, line, (size_t)len));
    }
    write_temp(name, (char *)text.data, text.len);
    rw_buf_free(&text);
}

static void test_search(void **state) {
    rwkv_error err = {0};
    char kind[8], model[4096];
    (void)state;
    snprintf(model, sizeof model, "%s", temp_path("m/model.v1.pth"));
    mkdir(temp_path("m"), 0700);
    mkdir(temp_path("xdg"), 0700);
    mkdir(temp_path("xdg/rwkv"), 0700);
    setenv("XDG_DATA_HOME", temp_path("xdg"), 1);

    assert_int_equal(search(NULL, model, 20095, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "20095"));
    assert_non_null(strstr(err.message, "--vocab FILE"));
    assert_int_equal(search(NULL, model, 65536, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "rwkv_vocab_v20230424.txt"));
    assert_non_null(strstr(err.message, "scripts/vocab.sh"));
    assert_int_equal(search(NULL, model, 50277, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "20B_tokenizer.json"));
    assert_int_equal(search(NULL, NULL, 65536, kind, &err), RWKV_E_VOCAB);
    assert_int_equal(search(NULL, model, 256, kind, &err), RWKV_OK);
    assert_string_equal(kind, "bytes/2");

    make_vocab("xdg/rwkv/rwkv_vocab_v20230424.txt", 65529); /* the data folder */
    assert_int_equal(search(NULL, model, 65536, kind, &err), RWKV_OK);
    assert_string_equal(kind, "World/6");
    assert_int_equal(search(NULL, model, 65000, kind, &err), RWKV_E_VOCAB);

    make_vocab("m/vocab.txt", 299); /* beside the model, if it fits */
    assert_int_equal(search(NULL, model, 310, kind, &err), RWKV_OK);
    assert_string_equal(kind, "World/3");
    assert_int_equal(search(NULL, model, 299, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "vocab.txt has 300 tokens"));
    assert_int_equal(search(NULL, temp_path("m"), 310, kind, &err),
                     RWKV_OK);               /* a model that is a folder */
    make_vocab("m/model.v1.vocab.txt", 303); /* by the model's name */
    rwkv_tokenizer *t = NULL;
    assert_int_equal(rw_tokenizer_search(&t, NULL, model, 310, &err), RWKV_OK);
    assert_int_equal(rwkv_tokenizer_size(t), 304);
    rwkv_tokenizer_free(t);

    assert_int_equal(search(temp_path("m/vocab.txt"), model, 1000, kind, &err),
                     RWKV_OK); /* named */
    assert_string_equal(kind, "World/3");
    assert_int_equal(search(temp_path("m/vocab.txt"), model, 256, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "found 300 tokens; expected at most 256"));
    assert_int_equal(search(temp_path("none.txt"), model, 256, kind, &err), RWKV_E_IO);
    spill(temp_path("m/model.v1.vocab.txt"), "1 'a 1\n",
          7); /* damaged: says so when nothing else fits */
    assert_int_equal(search(NULL, model, 299, kind, &err), RWKV_E_VOCAB);
    assert_non_null(strstr(err.message, "1:7:"));
    unsetenv("XDG_DATA_HOME");
}

/* ------------------------------------------------------------------ mutants */

/* Any bytes in place of a vocabulary: an error or a tokenizer, never a crash; runs are short. */
static void test_mutants(void **state) {
    static const char *const seeds[] = {
        "1 'a' 1\n2 'b' 1\n3 b'\\xe4\\xbd' 2\n4 '\\u3000' 3\n5 \"it's\" 4\n",
        "{\"1\": \"a\", \"2\": [228, 189], \"3\": \"bc\"}", NEOX_HEAD NEOX_MODEL};
    uint64_t rng = 7;
    char text[4096];
    (void)state;
    for (int round = 0; round < 6000; round++) {
        const char *seed = seeds[round % 3];
        size_t len = strlen(seed), n;
        memcpy(text, seed, len);
        for (uint64_t k = 1 + rng_u64(&rng) % 3; k > 0; k--) {
            size_t at = rng_u64(&rng) % len;
            switch (rng_u64(&rng) % 3) {
            case 0:
                text[at] = (char)rng_u64(&rng);
                break;
            case 1:
                text[at] = seed[rng_u64(&rng) % strlen(seed)];
                break;
            default:
                len = at + 1;
                break;
            }
        }
        rw_source src = {"mutant", (const uint8_t *)text, len};
        rwkv_error err = {0};
        rwkv_tokenizer *t = NULL;
        rwkv_status st = rw_vocab_read(&t, &src, &err);
        assert_int_equal(st, err.code);
        if (st != RWKV_OK) {
            assert_null(t);
            assert_true(strlen(err.message) > 6);
            continue;
        }
        rwkv_encode(t, "ab it's  bc\xE4\xBD", 13, RWKV_ENCODE_SPECIAL, NULL, 0, &n, &err);
        rwkv_tokenizer_free(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_world),
        cmocka_unit_test(test_golden_world_bytes),
        cmocka_unit_test(test_golden_neox),
        cmocka_unit_test(test_literals),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_puzzle),
        cmocka_unit_test(test_json_form),
        cmocka_unit_test(test_hostile_lines),
        cmocka_unit_test(test_hostile_json),
        cmocka_unit_test(test_hostile_sizes),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_capacities),
        cmocka_unit_test(test_greedy_is_longest),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_world_round_trips),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_world_linear),
        cmocka_unit_test(test_neox),
        cmocka_unit_test(test_neox_prompt_end),
        cmocka_unit_test(test_neox_merge_pairs),
        cmocka_unit_test(test_neox_refuses),
        cmocka_unit_test(test_neox_time),
        cmocka_unit_test(test_neox_golden_time),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_gguf_round_trip),
        cmocka_unit_test(test_gguf_world),
        cmocka_unit_test(test_gguf_entries),
        cmocka_unit_test(test_gguf_control),
        cmocka_unit_test(test_gguf_hostile),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_mutants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
