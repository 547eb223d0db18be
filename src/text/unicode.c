/* unicode.c - the Unicode rules of the GPT-NeoX tokenizer: NFC and the word expression of GPT-2.
 * Character data comes from utf8proc. */
#include "vocab.h"
#include <string.h>
#include <utf8proc.h>

#define NFC_OPTIONS ((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE))

bool rw_is_white(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xA0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

static uint8_t combining_class(int32_t cp) {
    return (uint8_t)utf8proc_get_property(cp)->combining_class;
}

/* Canonical order: each run of marks sorted by class, equal classes in their order. A counting
 * sort, because utf8proc's own exchange sort takes quadratic time on a megabyte of marks. */
static void order_marks(int32_t *points, int32_t *temp, size_t n) {
    for (size_t i = 0, end; i < n; i = end) {
        uint8_t last = combining_class(points[i]);
        bool sorted = true;
        end = i + 1;
        if (last == 0) continue;
        for (uint8_t c; end < n && (c = combining_class(points[end])) != 0; end++) {
            sorted = sorted && c >= last;
            last = c;
        }
        if (sorted) continue;
        size_t place[257] = {0};
        for (size_t k = i; k < end; k++) place[combining_class(points[k]) + 1]++;
        for (size_t c = 1; c < 257; c++) place[c] += place[c - 1];
        for (size_t k = i; k < end; k++) temp[place[combining_class(points[k])]++] = points[k];
        memcpy(points + i, temp, (end - i) * sizeof *points);
    }
}

static size_t decompose(const uint8_t *s, size_t n, int32_t *points, size_t cap) {
    size_t count = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int boundary = 0, len = rw_utf8_next((const char *)s + i, n - i, &cp);
        i += len > 0 ? (size_t)len : 1;
        utf8proc_ssize_t k =
            utf8proc_decompose_char((int32_t)cp, points ? points + count : NULL,
                                    points ? (utf8proc_ssize_t)(cap - count) : 0,
                                    UTF8PROC_STABLE | UTF8PROC_DECOMPOSE, &boundary);
        count += k > 0 ? (size_t)k : 0;
    }
    return count;
}

rwkv_status rw_nfc(const uint8_t *s, size_t n, rw_buf *out, rwkv_error *err) {
    size_t plain = 0;
    while (plain < n && s[plain] < 0xCC) plain++; /* all below U+0300: NFC already */
    if (plain == n) return rw_buf_add(out, s, n) ? RWKV_OK : rw_nomem(err, n);

    rwkv_status st = RWKV_OK;
    size_t count = decompose(s, n, NULL, 0);
    int32_t *points = rw_calloc(count, 2 * sizeof *points);
    if (!points) return rw_nomem(err, count * 2 * sizeof *points);
    decompose(s, n, points, count);
    order_marks(points, points + count, count);
    utf8proc_ssize_t composed =
        utf8proc_normalize_utf32(points, (utf8proc_ssize_t)count, NFC_OPTIONS);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        char utf8[4];
        if (!rw_buf_add(out, utf8, rw_utf8_put((uint32_t)points[i], utf8))) {
            st = rw_nomem(err, n);
            break;
        }
    }
    rw_free(points);
    return st;
}

typedef enum word_class { LETTERS, NUMBERS, WHITE, OTHERS, NOTHING } word_class;

/* Class and length of the next character; NOTHING at the end. */
static word_class classify(const uint8_t *s, size_t n, size_t *len) {
    uint32_t cp;
    int k;
    *len = 0;
    if (n == 0) return NOTHING;
    k = rw_utf8_next((const char *)s, n, &cp);
    if (k <= 0) return *len = 1, OTHERS;
    *len = (size_t)k;
    if (rw_is_white(cp)) return WHITE;
    utf8proc_category_t category = utf8proc_category((int32_t)cp);
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) return LETTERS;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) return NUMBERS;
    return OTHERS;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 * The alternatives in order; \s+(?!\S) leaves the last blank of a run to what follows it. */
size_t rw_gpt2_word(const uint8_t *s, size_t n) {
    static const char endings[][3] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; s[0] == '\'' && i < sizeof endings / sizeof *endings; i++) {
        size_t len = strlen(endings[i]);
        if (n > len && memcmp(s + 1, endings[i], len) == 0) return len + 1;
    }
    size_t len, pos, last = 0;
    word_class c = classify(s, n, &len);
    if (s[0] == ' ') {
        word_class second = classify(s + 1, n - 1, &len);
        if (second == WHITE || second == NOTHING) {
            len = 1;
        } else {
            c = second;
            len++;
        }
    }
    for (pos = len; classify(s + pos, n - pos, &len) == c; pos += len) last = pos;
    return c == WHITE && last > 0 && pos < n ? last : pos;
}
