/* test_base.c - the ground everything stands on: errors, arithmetic, memory, hashes, numbers,
 * UTF-8. */
#include "support.h"
#include <errno.h>
#include <math.h>
#include <unistd.h>

/* ---------------------------------------------------------------- errors */

static void expect_printable(const char *s) {
    uint32_t cp;
    for (size_t i = 0, n = strlen(s); i < n;) {
        int step = rw_utf8_next(s + i, n - i, &cp);
        if (step < 1 || cp < 0x20 || cp == 0x7f || (cp >= 0x80 && cp < 0xa0))
            fail_msg("byte %zu of: %s", i, s);
        i += (size_t)step;
    }
}

static void errors_say_where_and_what(void **unused) {
    (void)unused;
    rwkv_error e;
    assert_int_equal(rw_fail_at(&e, RWKV_E_FORMAT, "m.pth", 77, "found %d", 5), RWKV_E_FORMAT);
    assert_int_equal(e.code, RWKV_E_FORMAT);
    assert_int_equal(e.offset, 77);
    assert_string_equal(e.file, "m.pth");
    assert_string_equal(e.message, "m.pth:77: found 5");
    assert_int_equal(rw_fail_at(&e, RWKV_E_MODEL, "m.pth", RWKV_NO_OFFSET, "why"), RWKV_E_MODEL);
    assert_string_equal(e.message, "m.pth: why");
    assert_true(e.offset == RWKV_NO_OFFSET);
    assert_int_equal(rw_fail(&e, RWKV_E_ARG, "n is %s", "wrong"), RWKV_E_ARG);
    assert_string_equal(e.message, "n is wrong");
    assert_string_equal(e.file, "");
    assert_int_equal(rw_fail(&e, RWKV_E_TEXT, "again: %s", e.message), RWKV_E_TEXT); /* of itself */
    assert_string_equal(e.message, "again: n is wrong");
    assert_int_equal(rw_fail_errno(&e, RWKV_E_IO, "d/f", ENOENT, "cannot open"), RWKV_E_IO);
    assert_string_equal(e.message, "d/f: cannot open: No such file or directory");
    assert_int_equal(rw_nomem(&e, 123), RWKV_E_NOMEM);
    assert_non_null(strstr(e.message, "123 bytes"));
    assert_int_equal(rw_fail(NULL, RWKV_E_STATE, "nobody listens"), RWKV_E_STATE);
    assert_int_equal(rw_fail_at(NULL, RWKV_E_STATE, "f", 1, "nobody listens"), RWKV_E_STATE);
}

/* No byte of a message may drive a terminal. */
static void errors_escape_control_bytes(void **unused) {
    (void)unused;
    rwkv_error e;
    rw_fail_at(&e, RWKV_E_FORMAT, "a\x1b[2J\nb", 3, "name %s",
               "\x1b]0;t\x07\r\x7f\xc2\x9b\xff\xc3 ok \xe4\xbd\xa0 \xc0\xaf");
    assert_string_equal(e.file, "a\\x1b[2J\\x0ab");
    assert_string_equal(e.message,
                        "a\\x1b[2J\\x0ab:3: name \\x1b]0;t\\x07\\x0d\\x7f\\xc2\\x9b\\xff\\xc3 ok "
                        "\xe4\xbd\xa0 \\xc0\\xaf");
    char all[256];
    for (int i = 0; i < 255; i++) all[i] = (char)(i + 1);
    all[255] = 0;
    rw_fail_at(&e, RWKV_E_FORMAT, all, 3, "%s", all);
    expect_printable(e.message);
    expect_printable(e.file);
}

/* A path of any length keeps its end, and leaves room for the cause. */
static void errors_shorten_long_paths(void **unused) {
    (void)unused;
    static const char *const units[] = {"a", "\x1b", "\xe4\xbd\xa0", "\xf0\x9f\x98\x80", "\xff"};
    char path[5000];
    for (size_t u = 0; u < sizeof units / sizeof *units; u++)
        for (size_t n = 0; n < 1100; n += n < 300 ? 1 : 97) {
            size_t len = strlen(units[u]);
            for (size_t i = 0; i < n; i++) memcpy(path + i * len, units[u], len);
            strcpy(path + n * len, "/end.pth");
            rwkv_error e;
            memset(&e, 'x', sizeof e);
            rw_fail_at(&e, RWKV_E_FORMAT, path, 12345, "the cause; found X; expected Y");
            expect_printable(e.message);
            assert_true(strlen(e.file) < sizeof e.file);
            assert_non_null(strstr(e.file, "/end.pth"));
            assert_non_null(strstr(e.message, "/end.pth:12345: the cause; found X; expected Y"));
            if (n * 4 + 8 < sizeof e.file && len == 1 && (unsigned char)*units[u] == 'a')
                assert_int_equal(strlen(e.file), n + 8);
            if (n > sizeof e.file) assert_memory_equal(e.file, "...", 3);
        }
    rwkv_error e;
    memset(path, 'm', sizeof path - 1);
    path[sizeof path - 1] = 0;
    rw_fail_at(&e, RWKV_E_FORMAT, "f", 1, "%s", path); /* a cause of any length is cut, not lost */
    assert_in_range(strlen(e.message), sizeof e.message - 8, sizeof e.message - 1);
    assert_memory_equal(e.message, "f:1: mmm", 8);
}

static char logged[2000];
static int logged_level;
static void note_line(void *user, int level, const char *message) {
    assert_ptr_equal(user, logged);
    logged_level = level;
    snprintf(logged, sizeof logged, "%s", message);
}

static void log_lines_are_escaped(void **unused) {
    (void)unused;
    rw_log log = {note_line, logged};
    rw_log_line(&log, 1, "tensor %s: %d", "\x1b[31m", 7);
    assert_string_equal(logged, "tensor \\x1b[31m: 7");
    assert_int_equal(logged_level, 1);
    rw_log_line(&(rw_log){0}, 1, "nobody listens");
    rw_log_line(NULL, 1, "nobody listens");
    assert_int_equal(logged_level, 1);
}

static void statuses_have_names(void **unused) {
    (void)unused;
    assert_string_equal(rwkv_status_name(RWKV_OK), "RWKV_OK");
    assert_string_equal(rwkv_status_name(RWKV_E_UNSUPPORTED), "RWKV_E_UNSUPPORTED");
    assert_string_equal(rwkv_status_name(RWKV_E_CANCELLED), "RWKV_E_CANCELLED");
    for (int i = 0; i <= RWKV_E_CANCELLED; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(rwkv_status_name((rwkv_status)i),
                                    rwkv_status_name((rwkv_status)k));
    assert_non_null(rwkv_status_name((rwkv_status)99));
    assert_non_null(rwkv_status_name((rwkv_status)-1));
    assert_string_equal(rwkv_version(), RWKV_VERSION);
}

/* ---------------------------------------------------------------- arithmetic and memory */

static void arithmetic_sees_overflow(void **unused) {
    (void)unused;
    uint64_t x = 0;
    assert_true(rw_mul(UINT32_MAX, UINT32_MAX, &x));
    assert_true(x == 0xfffffffe00000001u);
    assert_false(rw_mul(1ull << 32, 1ull << 32, &x));
    assert_false(rw_mul(UINT64_MAX, 2, &x));
    assert_true(rw_mul(UINT64_MAX, 1, &x) && x == UINT64_MAX);
    assert_true(rw_mul(UINT64_MAX, 0, &x) && x == 0);
    assert_true(rw_add(UINT64_MAX, 0, &x) && x == UINT64_MAX);
    assert_false(rw_add(UINT64_MAX, 1, &x));
    assert_true(rw_align(0, 32, &x) && x == 0);
    assert_true(rw_align(1, 32, &x) && x == 32);
    assert_true(rw_align(32, 32, &x) && x == 32);
    assert_true(rw_align(7, 3, &x) && x == 9);
    assert_true(rw_align(UINT64_MAX, 1, &x) && x == UINT64_MAX);
    assert_false(rw_align(UINT64_MAX - 1, 64, &x));
}

static void allocations_check_sizes(void **unused) {
    (void)unused;
    assert_null(rw_calloc(SIZE_MAX / 2, 3));
    assert_null(rw_realloc(NULL, SIZE_MAX / 2, 3));
    uint8_t *p = rw_calloc(3, 5);
    assert_non_null(p);
    for (int i = 0; i < 15; i++) assert_int_equal(p[i], 0);
    p[14] = 9;
    p = rw_realloc(p, 100, 10);
    assert_int_equal(p[14], 9);
    rw_free(p);
    rw_free(NULL);
    rwkv_free(NULL);
    p = rw_calloc(0, 8); /* something that can be freed */
    assert_non_null(p);
    rwkv_free(p);
    for (size_t n = 0; n < 300; n += 37) {
        p = rw_alloc_aligned(n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < n; i++) assert_int_equal(p[i], 0);
        rw_free_aligned(p);
    }
    char secret[32];
    memset(secret, 's', sizeof secret);
    rw_wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++) assert_int_equal(secret[i], 0);
}

static void arenas_align_and_clear(void **unused) {
    (void)unused;
    enum { N = 4000 };
    static uint8_t *piece[N];
    static size_t size[N];
    uint64_t seed = 1;
    size_t total = 0;
    rw_arena a = {0};
    for (int i = 0; i < N; i++) {
        size[i] = i % 100 == 99 ? rng_u64(&seed) % 300000 : rng_u64(&seed) % 200;
        piece[i] = rw_arena_alloc(&a, size[i], 1);
        total += size[i];
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % (size[i] >= 64 ? 64 : 16), 0);
        for (size_t k = 0; k < size[i]; k++) assert_int_equal(piece[i][k], 0);
        memset(piece[i], i & 255, size[i]);
    }
    for (int i = 0; i < N; i++) /* nothing overlaps */
        for (size_t k = 0; k < size[i]; k++) assert_int_equal(piece[i][k], i & 255);
    assert_int_equal(a.total, total);
    assert_string_equal(rw_arena_strndup(&a, "abcdef", 3), "abc");
    assert_string_equal(rw_arena_strndup(&a, "", 0), "");
    assert_null(rw_arena_alloc(&a, SIZE_MAX / 2, 3));
    assert_null(rw_arena_alloc(&a, SIZE_MAX - 10, 1));
    rw_arena_free(&a);
    rw_arena_free(&a);
    assert_int_equal(a.total, 0);
}

static void buffers_grow(void **unused) {
    (void)unused;
    rw_buf b = {0};
    assert_true(rw_buf_add(&b, NULL, 0));
    for (int i = 0; i < 10000; i++) assert_true(rw_buf_add(&b, &(uint32_t){(uint32_t)i}, 4));
    assert_int_equal(b.len, 40000);
    for (uint32_t i = 0; i < 10000; i++) assert_int_equal(rw_le32(b.data + 4 * i), i);
    assert_false(rw_buf_reserve(&b, SIZE_MAX - 10));
    assert_int_equal(b.len, 40000);
    assert_true(rw_buf_reserve(&b, 12345));
    assert_true(b.cap >= 52345);
    rw_buf_free(&b);
    assert_null(b.data);
}

static void maps_find_what_was_put(void **unused) {
    (void)unused;
    enum { N = 50000, LEN = 32 };
    char(*names)[LEN] = calloc(N, LEN);
    assert_non_null(names);
    rw_map m = {0};
    size_t existing;
    assert_int_equal(rw_map_get(&m, "x", 1), SIZE_MAX);
    for (size_t i = 0; i < N; i++) {
        int n = snprintf(names[i], LEN, "blocks.%zu.att.%zu", i / 7, i);
        assert_true(rw_map_put(&m, names[i], (size_t)n, i, &existing));
        assert_int_equal(existing, SIZE_MAX);
    }
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(rw_map_get(&m, names[i], strlen(names[i])), i);
        assert_int_equal(rw_map_get(&m, names[i], strlen(names[i]) - 1) == i, false);
    }
    assert_true(rw_map_put(&m, names[77], strlen(names[77]), 5, &existing));
    assert_int_equal(existing, 77);
    assert_int_equal(rw_map_get(&m, names[77], strlen(names[77])), 77);
    assert_int_equal(m.n, N);
    assert_true(rw_map_put(&m, "a\0b", 3, 1, &existing) && existing == SIZE_MAX);
    assert_true(rw_map_put(&m, "a\0c", 3, 2, &existing) && existing == SIZE_MAX);
    assert_true(rw_map_put(&m, "", 0, 3, &existing) && existing == SIZE_MAX);
    assert_int_equal(rw_map_get(&m, "a\0c", 3), 2);
    assert_int_equal(rw_map_get(&m, "", 0), 3);
    assert_false(rw_map_reserve(&m, SIZE_MAX / 2));
    rw_map_free(&m);
    free(names);
}

/* ---------------------------------------------------------------- hashes */

static void sha256_of(const void *data, size_t n, size_t piece, char hex[65]) {
    rw_sha256 s;
    uint8_t out[32];
    rw_sha256_init(&s);
    for (size_t at = 0; at < n; at += piece)
        rw_sha256_add(&s, (const uint8_t *)data + at, piece < n - at ? piece : n - at);
    rw_sha256_end(&s, out);
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", out[i]);
}

/* FIPS 180-4's examples, and lengths around the padding's border (from an independent program). */
static void sha256_vectors(void **unused) {
    (void)unused;
    static const struct {
        size_t n; /* of letters a */
        const char *hex;
    } runs[] = {
        {0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
        {1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
    };
    static const size_t pieces[] = {1, 3, 63, 64, 65, 1000, 1000000};
    char hex[65], *letters = malloc(1000000);
    assert_non_null(letters);
    memset(letters, 'a', 1000000);
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++)
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            sha256_of(letters, runs[i].n, pieces[p], hex);
            assert_string_equal(hex, runs[i].hex);
        }
    sha256_of("abc", 3, 64, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, 64, hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    free(letters);
}

static void crc32_vectors(void **unused) {
    (void)unused;
    uint8_t all[256];
    for (int i = 0; i < 256; i++) all[i] = (uint8_t)i;
    assert_int_equal(rw_crc32(0, "", 0), 0);
    assert_int_equal(rw_crc32(0, "a", 1), 0xe8b7be43);
    assert_int_equal(rw_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(rw_crc32(0, all, 256), 0x29058c73);
    assert_int_equal(rw_crc32(rw_crc32(0, all, 100), all + 100, 156), 0x29058c73);
}

/* ---------------------------------------------------------------- numbers */

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* Every half, by the definition; and back. */
static void halves_widen_exactly(void **unused) {
    (void)unused;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = rw_f16_to_f32((uint16_t)h);
        uint32_t e = (h >> 10) & 31, m = h & 1023;
        if (e == 31) {
            if (m == 0)
                assert_true(f == (h >> 15 ? -INFINITY : INFINITY));
            else
                assert_true(isnan(f) && isnan(rw_f16_to_f32(rw_f32_to_f16(f))));
            if (m) continue;
        } else {
            double want = e ? ldexp(1024 + m, (int)e - 25) : ldexp(m, -24);
            assert_true((double)f == (h >> 15 ? -want : want));
            assert_int_equal(!!signbit(f), h >> 15);
        }
        assert_int_equal(rw_f32_to_f16(f), h);
    }
}

/* Between each two neighbours: below, at and above the middle. Ties go to the even one. */
static void halves_round_to_nearest_even(void **unused) {
    (void)unused;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        double low = rw_f16_to_f32((uint16_t)h),
               high = h == 0x7bff ? 65536 : (double)rw_f16_to_f32((uint16_t)(h + 1));
        float middle = (float)((low + high) / 2); /* exact */
        uint16_t tie = (uint16_t)(h + (h & 1));
        assert_int_equal(rw_f32_to_f16(middle), tie);
        assert_int_equal(rw_f32_to_f16(nextafterf(middle, 0)), h);
        assert_int_equal(rw_f32_to_f16(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(rw_f32_to_f16(-middle), tie | 0x8000);
        assert_int_equal(rw_f32_to_f16(-nextafterf(middle, INFINITY)), (h + 1) | 0x8000);
    }
    assert_int_equal(rw_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(rw_f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(rw_f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(rw_f32_to_f16(1e-45f), 0);
    assert_int_equal(rw_f32_to_f16(-1e-45f), 0x8000);
    assert_true((rw_f32_to_f16(NAN) & 0x7c00) == 0x7c00 && (rw_f32_to_f16(NAN) & 0x3ff));
}

static void bfloats(void **unused) {
    (void)unused;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = rw_bf16_to_f32((uint16_t)h);
        assert_int_equal(bits(f), h << 16);
        if (isnan(f))
            assert_true(isnan(rw_bf16_to_f32(rw_f32_to_bf16(f))));
        else
            assert_int_equal(rw_f32_to_bf16(f), h);
        if ((h & 0x7fff) >= 0x7f80) continue;
        static const uint32_t tails[] = {1, 0x7fff, 0x8000, 0x8001, 0xffff};
        for (size_t i = 0; i < 5; i++) {
            float g;
            memcpy(&g, &(uint32_t){h << 16 | tails[i]}, 4);
            uint32_t up = tails[i] > 0x8000 || (tails[i] == 0x8000 && (h & 1));
            assert_int_equal(rw_f32_to_bf16(g), h + up);
        }
    }
    float sly;
    memcpy(&sly, &(uint32_t){0x7f800001}, 4); /* a NaN whose upper half is infinity's */
    assert_true(isnan(rw_bf16_to_f32(rw_f32_to_bf16(sly))));
}

static void little_endian_loads(void **unused) {
    (void)unused;
    static const uint8_t b[] = {0xaa, 1, 2, 3, 4, 5, 6, 7, 0x88};
    assert_int_equal(rw_le16(b + 1), 0x0201);
    assert_int_equal(rw_le32(b + 1), 0x04030201);
    assert_true(rw_le64(b + 1) == 0x8807060504030201u);
}

/* ---------------------------------------------------------------- UTF-8 */

static void utf8_every_character(void **unused) {
    (void)unused;
    char s[4];
    uint32_t back;
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xd800 && cp < 0xe000) continue;
        size_t n = rw_utf8_put(cp, s);
        assert_int_equal(n, cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4);
        assert_int_equal(rw_utf8_next(s, n, &back), n);
        assert_int_equal(back, cp);
        for (size_t cut = 0; cut < n; cut++) assert_int_equal(rw_utf8_next(s, cut, &back), -1);
    }
}

/* All strings of up to four bytes from the borders of the grammar, against the table of RFC 3629.
 */
static void utf8_every_mistake(void **unused) {
    (void)unused;
    static const uint8_t edge[] = {0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
                                   0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef,
                                   0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xfe, 0xff};
    static const uint8_t rows[][5] = {/* first byte from..to, second from..to, length */
                                      {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                                      {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                                      {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                                      {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    enum { E = sizeof edge };
    for (int code = 0; code < E * E * E * E; code++) {
        uint8_t s[4] = {edge[code % E], edge[code / E % E], edge[code / E / E % E],
                        edge[code / E / E / E]};
        for (int n = 1; n <= 4; n++) {
            int want = s[0] < 0x80 ? 1 : 0;
            for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
                if (s[0] < rows[r][0] || s[0] > rows[r][1]) continue;
                want = rows[r][4];
                for (int i = 1; i < rows[r][4] && want > 0; i++) {
                    bool fits =
                        i == 1 ? s[1] >= rows[r][2] && s[1] <= rows[r][3] : (s[i] & 0xc0) == 0x80;
                    if (i == n)
                        want = -1;
                    else if (!fits)
                        want = 0;
                }
            }
            uint32_t cp;
            int got = rw_utf8_next((char *)s, (size_t)n, &cp);
            if (got != want)
                fail_msg("%02x %02x %02x %02x, %d bytes: %d, not %d", s[0], s[1], s[2], s[3], n,
                         got, want);
        }
    }
}

/* ---------------------------------------------------------------- the system's answers */

static void system_answers(void **unused) {
    (void)unused;
    uint64_t before = rw_os_now_ns(), memory = rw_os_memory_available();
    uint32_t cores = rw_os_physical_cores();
    usleep(2000);
    uint64_t after = rw_os_now_ns();
    assert_true(after - before >= 2000000 && after - before < 60000000000u);
    assert_true(memory == 0 || (memory > 1 << 20 && memory < 1ull << 50));
    assert_true(cores >= 1 && cores <= (uint32_t)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_say_where_and_what),
        cmocka_unit_test(errors_escape_control_bytes),
        cmocka_unit_test(errors_shorten_long_paths),
        cmocka_unit_test(log_lines_are_escaped),
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(arithmetic_sees_overflow),
        cmocka_unit_test(allocations_check_sizes),
        cmocka_unit_test(arenas_align_and_clear),
        cmocka_unit_test(buffers_grow),
        cmocka_unit_test(maps_find_what_was_put),
        cmocka_unit_test(sha256_vectors),
        cmocka_unit_test(crc32_vectors),
        cmocka_unit_test(halves_widen_exactly),
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(bfloats),
        cmocka_unit_test(little_endian_loads),
        cmocka_unit_test(utf8_every_character),
        cmocka_unit_test(utf8_every_mistake),
        cmocka_unit_test(system_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
