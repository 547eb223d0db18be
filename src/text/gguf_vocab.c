/* gguf_vocab.c - vocabularies inside GGUF files: each token as a string, its bytes escaped like the
 * inside of a Python bytes literal. Reading and writing are exact inverses. */
#include "vocab.h"
#include <stdio.h>
#include <string.h>

enum { NORMAL = 1, CONTROL = 3, UNUSED = 5 };

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* False for an unknown or cut escape and for a token that is empty or too long. */
static bool unescape(const char *s, uint32_t n, uint8_t out[RW_MAX_TOKEN], size_t *len) {
    static const char letters[] = "tnr\\'\"", values[] = "\t\n\r\\'\"";
    *len = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint8_t byte = (uint8_t)s[i];
        if (*len == RW_MAX_TOKEN) return false;
        if (byte == '\\') {
            const char *simple;
            if (++i == n || !s[i]) return false;
            if (s[i] == 'x') {
                int high = n - i > 2 ? hex_digit(s[i + 1]) : -1;
                int low = high >= 0 ? hex_digit(s[i + 2]) : -1;
                if (low < 0) return false;
                byte = (uint8_t)(high * 16 + low);
                i += 2;
            } else if ((simple = strchr(letters, s[i])) != NULL) {
                byte = (uint8_t)values[simple - letters];
            } else {
                return false;
            }
        }
        out[(*len)++] = byte;
    }
    return *len > 0;
}

/* Without types, "<s>" as id 0 and "[PADn]" as id n are what converters put where no token is. */
static int32_t guess_type(const char *s, uint32_t n, size_t id) {
    char pad[32];
    int len = snprintf(pad, sizeof pad, "[PAD%zu]", id);
    if (n == (uint32_t)len && memcmp(s, pad, n) == 0) return UNUSED;
    return id == 0 && n == 3 && memcmp(s, "<s>", 3) == 0 ? CONTROL : NORMAL;
}

rwkv_status rw_tokenizer_from_gguf(rwkv_tokenizer **out, const char *path,
                                   const char *const *tokens, const uint32_t *lens, size_t n,
                                   const int32_t *types, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    int32_t twins[2];
    if (n == 0 || n > RW_MAX_WORLD_IDS) {
        return rw_fail(err, RWKV_E_VOCAB,
                       "%s: tokenizer.ggml.tokens: found %zu tokens; expected 1 to %u", path, n,
                       RW_MAX_WORLD_IDS);
    }
    rwkv_tokenizer *t = rw_tokenizer_new(n, err);
    if (!t) return RWKV_E_NOMEM;
    for (size_t id = 0; id < n; id++) {
        uint8_t bytes[RW_MAX_TOKEN];
        size_t len;
        int32_t type = types ? types[id] : guess_type(tokens[id], lens[id], id);
        if (type == CONTROL || type == UNUSED) continue;
        if (!unescape(tokens[id], lens[id], bytes, &len)) {
            st = rw_fail(
                err, RWKV_E_VOCAB,
                "%s: tokenizer.ggml.tokens[%zu]: found \"%.*s\"; expected 1 to %u bytes with "
                "escapes \\t \\n \\r \\\\ \\' \\xNN",
                path, id, lens[id] < 64 ? (int)lens[id] : 64, tokens[id], RW_MAX_TOKEN);
            goto out;
        }
        RW_GOTO(rw_tokenizer_put(t, id, bytes, len, err));
    }
    if (t->n_ids == 0) {
        st = rw_fail(err, RWKV_E_VOCAB, "%s: tokenizer.ggml.tokens: no normal token", path);
        goto out;
    }
    twins[0] = -1;
    st = rw_tokenizer_index(t, twins, err);
    if (twins[0] >= 0) {
        rw_fail(err, RWKV_E_VOCAB, "%s: tokenizer.ggml.tokens[%d] and [%d] are the same", path,
                (int)twins[0], (int)twins[1]);
    }
out:
    if (st == RWKV_OK) {
        *out = t;
    } else {
        rwkv_tokenizer_free(t);
    }
    return st;
}

/* As Python prints bytes: ' is escaped only beside a ". */
static bool escape(const uint8_t *s, size_t n, rw_buf *out) {
    static const char letters[] = "tnr\\", values[] = "\t\n\r\\";
    bool both = memchr(s, '\'', n) && memchr(s, '"', n);
    for (size_t i = 0; i < n; i++) {
        char text[8];
        const char *simple = s[i] ? strchr(values, s[i]) : NULL;
        int len = simple ? snprintf(text, sizeof text, "\\%c", letters[simple - values])
                  : s[i] == '\'' && both       ? snprintf(text, sizeof text, "\\'")
                  : s[i] < 0x20 || s[i] > 0x7E ? snprintf(text, sizeof text, "\\x%02x", s[i])
                                               : snprintf(text, sizeof text, "%c", s[i]);
        if (!rw_buf_add(out, text, (size_t)len)) return false;
    }
    return true;
}

rwkv_status rw_tokenizer_gguf_entry(const rwkv_tokenizer *t, int32_t id, rw_buf *out,
                                    int32_t *type) {
    size_t len;
    char pad[32];
    const char *bytes = rwkv_token_bytes(t, id, &len);
    bool ok;
    out->len = 0;
    *type = len ? NORMAL : id == t->end ? CONTROL : UNUSED;
    if (len) {
        ok = escape((const uint8_t *)bytes, len, out);
    } else if (*type == CONTROL) {
        ok = rw_buf_add(out, "<s>", 3);
    } else {
        ok = rw_buf_add(out, pad, (size_t)snprintf(pad, sizeof pad, "[PAD%d]", (int)id));
    }
    return ok ? RWKV_OK : RWKV_E_NOMEM;
}
