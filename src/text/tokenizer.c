/* tokenizer.c - the public face of all tokenizers: open, encode, bytes of an id; and the choice of
 * a vocabulary for a model. */
#include "vocab.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char WORLD[] = "World", NEOX[] = "20B", BYTES[] = "bytes";

/* ------------------------------------------------------------------ making and freeing */

rwkv_tokenizer *rw_tokenizer_new(size_t cap_ids, rwkv_error *err) {
    rwkv_tokenizer *t = rw_calloc(1, sizeof *t);
    if (t) t->tokens = rw_calloc(cap_ids, sizeof *t->tokens);
    if (!t || !t->tokens) {
        rw_free(t);
        rw_nomem(err, cap_ids * sizeof *t->tokens);
        return NULL;
    }
    t->kind = NEOX;
    t->cap_ids = cap_ids;
    t->end = -1;
    return t;
}

void rwkv_tokenizer_free(rwkv_tokenizer *t) {
    if (!t) return;
    rw_free(t->tokens);
    rw_buf_free(&t->pool);
    rw_trie_free(&t->trie);
    rw_neox_free(t->neox);
    rw_buf_free(&t->json);
    rw_free(t);
}

rwkv_status rw_tokenizer_put(rwkv_tokenizer *t, size_t id, const void *bytes, size_t len,
                             rwkv_error *err) {
    size_t off = t->pool.len;
    if (off > UINT32_MAX - len || !rw_buf_add(&t->pool, bytes, len))
        return rw_nomem(err, off + len);
    t->tokens[id] = (rw_token){(uint32_t)off, (uint32_t)len};
    if (id >= t->n_ids) t->n_ids = id + 1;
    return RWKV_OK;
}

static bool is_bytes(const rwkv_tokenizer *t) {
    if (t->n_ids != 256) return false;
    for (size_t id = 0; id < 256; id++) {
        if (t->tokens[id].len != 1 || t->pool.data[t->tokens[id].off] != id) return false;
    }
    return true;
}

rwkv_status rw_tokenizer_index(rwkv_tokenizer *t, int32_t twins[2], rwkv_error *err) {
    rw_item *items = rw_calloc(t->n_ids + 1, sizeof *items);
    size_t n = 0, single = 0;
    if (!items) return rw_nomem(err, t->n_ids * sizeof *items);
    for (size_t id = 0; id < t->n_ids; id++) {
        rw_token tok = t->tokens[id];
        if (!tok.len) continue;
        items[n++] = (rw_item){t->pool.data + tok.off, tok.len, (int32_t)id};
        single += tok.len == 1;
    }
    const rw_item *twin = rw_items_sort(items, n);
    rwkv_status st;
    if (twin) {
        twins[0] = twin[-1].id;
        twins[1] = twin->id;
        st = rw_fail(err, RWKV_E_VOCAB, "tokens %d and %d have the same text", (int)twins[0],
                     (int)twins[1]);
    } else {
        st = rw_trie_build(&t->trie, items, n, err);
    }
    t->complete = single == 256;
    t->kind = is_bytes(t) ? BYTES : WORLD;
    t->end = rw_tokenizer_has_zero(t) ? -1 : 0;
    rw_free(items);
    return st;
}

static rwkv_status open_bytes(rwkv_tokenizer **out, rwkv_error *err) {
    rwkv_tokenizer *t = rw_tokenizer_new(256, err);
    rwkv_status st = t ? RWKV_OK : RWKV_E_NOMEM;
    int32_t twins[2];
    for (unsigned b = 0; b < 256 && st == RWKV_OK; b++) {
        uint8_t byte = (uint8_t)b;
        st = rw_tokenizer_put(t, b, &byte, 1, err);
    }
    if (st == RWKV_OK) st = rw_tokenizer_index(t, twins, err);
    if (st == RWKV_OK) {
        *out = t;
    } else {
        rwkv_tokenizer_free(t);
    }
    return st;
}

/* A JSON object with a "model" is a tokenizer.json; else ids are its keys, or it is the line
 * format. */
rwkv_status rwkv_tokenizer_open(rwkv_tokenizer **out, const char *path, rwkv_error *err) {
    if (!out) return rw_fail(err, RWKV_E_ARG, "rwkv_tokenizer_open: out is NULL");
    if (!path) return open_bytes(out, err);
    void *data = NULL;
    size_t len = 0;
    rwkv_status st = rwkv_file_read(path, RW_MAX_VOCAB_FILE, &data, &len, err);
    if (st != RWKV_OK) return st;
    st = rw_tokenizer_from_text(out, path, data, len, err);
    rwkv_free(data);
    return st;
}

rwkv_status rw_tokenizer_from_text(rwkv_tokenizer **out, const char *path, const void *data,
                                   size_t len, rwkv_error *err) {
    rw_source src = {path, data, len};
    rwkv_status st = rw_vocab_read(out, &src, err);
    if (st == RWKV_E_FORMAT) { /* of the JSON reader */
        st = RWKV_E_VOCAB;
        if (err) err->code = st;
    }
    return st;
}

const char *rw_tokenizer_json(const rwkv_tokenizer *t, size_t *len) {
    *len = t->json.len;
    return (const char *)t->json.data;
}

/* ------------------------------------------------------------------ questions */

const char *rwkv_tokenizer_kind(const rwkv_tokenizer *t) {
    return t->kind;
}

size_t rwkv_tokenizer_size(const rwkv_tokenizer *t) {
    return t->n_ids;
}

int32_t rwkv_tokenizer_end(const rwkv_tokenizer *t) {
    return t->end;
}

bool rw_tokenizer_has_zero(const rwkv_tokenizer *t) {
    return t->n_ids > 0 && t->tokens[0].len > 0;
}

const char *rwkv_token_bytes(const rwkv_tokenizer *t, int32_t id, size_t *len) {
    bool known = id >= 0 && (size_t)id < t->n_ids && t->tokens[id].len > 0;
    if (len) *len = known ? t->tokens[id].len : 0;
    return known ? (const char *)t->pool.data + t->tokens[id].off : "";
}

/* ------------------------------------------------------------------ encoding */

static rwkv_status encode_greedy(const rwkv_tokenizer *t, const uint8_t *text, size_t len,
                                 rw_ids *out, rwkv_error *err) {
    for (size_t pos = 0, step; pos < len; pos += step) {
        int32_t id = rw_trie_match(&t->trie, text + pos, len - pos, &step);
        if (id < 0) {
            rw_fail(err, RWKV_E_TEXT,
                    "byte %zu: the vocabulary has no token for this text; found 0x%02x", pos,
                    text[pos]);
            if (err) err->offset = pos;
            return RWKV_E_TEXT;
        }
        rw_ids_add(out, id);
    }
    return RWKV_OK;
}

static rwkv_status encode(const rwkv_tokenizer *t, const uint8_t *text, size_t len, uint32_t flags,
                          rw_ids *out, rwkv_error *err) {
    return t->neox ? rw_neox_encode(t, text, len, flags, out, err)
                   : encode_greedy(t, text, len, out, err);
}

rwkv_status rwkv_encode(const rwkv_tokenizer *t, const char *text, size_t len, uint32_t flags,
                        int32_t *ids, size_t cap, size_t *n, rwkv_error *err) {
    if (!t || !n || (!text && len) || (!ids && cap)) {
        return rw_fail(err, RWKV_E_ARG, "rwkv_encode: an argument is NULL");
    }
    const uint8_t *bytes = (const uint8_t *)(len ? text : "");
    rw_ids out = {ids, cap, 0, -1}, none = {NULL, 0, 0, -1};
    /* a text that fails must not leave half its ids */
    if (!t->complete) RW_TRY(encode(t, bytes, len, flags, &none, err));
    RW_TRY(encode(t, bytes, len, flags, &out, err));
    *n = out.n;
    if (out.n <= cap || !ids) return RWKV_OK;
    return rw_fail(err, RWKV_E_SPACE, "the text has %zu tokens; there is room for %zu", out.n, cap);
}
