/* neox.c - the GPT-NeoX tokenizer ("20B") out of a Hugging Face tokenizer.json.
 *
 *     text -> special tokens (on request) -> NFC -> runs of blanks and other added tokens
 *          -> GPT-2 words -> bytes -> merges in the order of their rank -> ids
 *
 * Only what this tokenizer is made of is accepted: any other normalizer, pre-tokenizer or model in
 * the file is refused by name, because ignoring it would give other ids. */
#include "vocab.h"
#include "../base/json.h"
#include <string.h>

#define NONE UINT32_MAX

typedef struct merge {
    int32_t left, right, id;
    uint32_t order; /* rank + 1; 0: free slot */
} merge;

typedef struct rw_neox {
    merge *merges; /* open addressing, mask + 1 slots */
    size_t mask;
    int32_t byte_id[256];   /* -1: no token */
    rw_trie special, added; /* found before and after NFC */
    bool nfc;
    int32_t newline, two_newlines;
} rw_neox;

void rw_neox_free(rw_neox *x) {
    if (!x) return;
    rw_free(x->merges);
    rw_trie_free(&x->special);
    rw_trie_free(&x->added);
    rw_free(x);
}

static merge *find_merge(const rw_neox *x, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)((key * 0x9E3779B97F4A7C15u) >> 32) & x->mask;
    while (x->merges[i].order && (x->merges[i].left != left || x->merges[i].right != right)) {
        i = (i + 1) & x->mask;
    }
    return &x->merges[i];
}

/* ------------------------------------------------------------------ reading */

typedef struct added_token {
    int32_t id;
    bool normalized;
    uint32_t off, len; /* in loader.added_text */
} added_token;

typedef struct loader {
    rw_source src;
    rw_json j;
    rwkv_tokenizer *t;
    rw_map by_bytes; /* tokens of model.vocab */
    rw_buf added;    /* of added_token */
    rw_buf added_text;
    size_t merges_at; /* 0: none */
} loader;

/* The printable character that stands for a byte, back to the byte; -1 if it is none. */
static int alphabet_byte(uint32_t c) {
    if ((c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xFF && c != 0xAD)) return (int)c;
    if (c < 0x100 || c >= 0x144) return -1;
    c -= 0x100; /* the others in their order: 00-20, 7F-A0, AD */
    return (int)(c < 33 ? c : c < 67 ? c - 33 + 0x7F : 0xAD);
}

/* Number of bytes that n characters of the alphabet stand for; 0 if there is another character or
 * the token is too long. */
static size_t decode_alphabet(const char *text, size_t n, uint8_t out[RW_MAX_TOKEN]) {
    size_t len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int k = rw_utf8_next(text + i, n - i, &cp), byte = k > 0 ? alphabet_byte(cp) : -1;
        if (byte < 0 || len == RW_MAX_TOKEN) return 0;
        out[len++] = (uint8_t)byte;
        i += (size_t)k;
    }
    return len;
}

static bool is_key(const rw_json_event *ev, const char *name) {
    return ev->len == strlen(name) && memcmp(ev->text, name, ev->len) == 0;
}

static rwkv_status unsupported(const loader *l, const rw_json_event *ev, rwkv_error *err,
                               const char *what) {
    return rw_fail_at(err, RWKV_E_UNSUPPORTED, l->src.path, ev->pos,
                      "tokenizer of another kind than GPT-NeoX's: %s", what);
}

/* Settings that change the ids must be off: null, false or "". */
static rwkv_status expect_off(loader *l, const char *name, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    bool off = ev.kind == RW_JSON_NULL || ev.kind == RW_JSON_FALSE ||
               (ev.kind == RW_JSON_STRING && ev.len == 0);
    return off ? RWKV_OK : unsupported(l, &ev, err, name);
}

static rwkv_status expect_string(loader *l, const char *what, const char *value, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind != RW_JSON_STRING) return rw_json_fail(&l->j, &ev, what, value, err);
    return is_key(&ev, value) ? RWKV_OK : unsupported(l, &ev, err, what);
}

/* "normalizer" or "pre_tokenizer": an object of the type that we know, or null. */
static rwkv_status read_part(loader *l, const char *name, const char *type, bool *present,
                             rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind == RW_JSON_NULL) return RWKV_OK;
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(&l->j, &ev, name, "an object or null", err);
    *present = true;
    for (;;) {
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind != RW_JSON_KEY) return RWKV_OK;
        if (is_key(&ev, "type")) {
            RW_TRY(expect_string(l, name, type, err));
        } else if (is_key(&ev, "add_prefix_space")) {
            RW_TRY(expect_off(l, "add_prefix_space", err));
        } else if (is_key(&ev, "use_regex")) {
            RW_TRY(rw_json_next(&l->j, &ev, err));
            if (ev.kind != RW_JSON_TRUE) return unsupported(l, &ev, err, "use_regex");
        } else {
            RW_TRY(rw_json_skip(&l->j, err));
        }
    }
}

static rwkv_status read_id(loader *l, int32_t *id, rwkv_error *err) {
    rw_json_event ev;
    uint64_t value;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind != RW_JSON_NUMBER) return rw_json_fail(&l->j, &ev, "token", "an id", err);
    RW_TRY(rw_json_u64(&l->j, &ev, &value, err));
    if (value >= RW_MAX_NEOX_IDS) {
        return rw_source_fail(&l->src, ev.pos, err,
                              "id out of range; found %.*s; expected at most %u", (int)ev.len,
                              ev.text, RW_MAX_NEOX_IDS - 1);
    }
    *id = (int32_t)value;
    return RWKV_OK;
}

static rwkv_status read_vocab(loader *l, rwkv_error *err) {
    rw_json_event ev;
    uint8_t bytes[RW_MAX_TOKEN];
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(&l->j, &ev, "vocab", "an object", err);
    for (;;) {
        int32_t id;
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind != RW_JSON_KEY) return RWKV_OK;
        size_t len = decode_alphabet(ev.text, ev.len, bytes), pos = ev.pos;
        if (!len) {
            return rw_source_fail(&l->src, pos, err,
                                  "token is empty, longer than %u bytes, or not in "
                                  "the byte alphabet",
                                  RW_MAX_TOKEN);
        }
        RW_TRY(read_id(l, &id, err));
        if (l->t->tokens[id].len) {
            return rw_source_fail(&l->src, pos, err, "id %d occurs twice", (int)id);
        }
        RW_TRY(rw_tokenizer_put(l->t, (size_t)id, bytes, len, err));
    }
}

static rwkv_status read_model(loader *l, rwkv_error *err) {
    static const char *const off[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                      "byte_fallback", "ignore_merges"};
    rw_json_event ev;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(&l->j, &ev, "model", "an object", err);
    for (;;) {
        size_t i = 0;
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind != RW_JSON_KEY) return RWKV_OK;
        while (i < sizeof off / sizeof *off && !is_key(&ev, off[i])) i++;
        if (i < sizeof off / sizeof *off) {
            RW_TRY(expect_off(l, off[i], err));
        } else if (is_key(&ev, "type")) {
            RW_TRY(expect_string(l, "model", "BPE", err));
        } else if (is_key(&ev, "vocab")) {
            RW_TRY(read_vocab(l, err));
        } else {
            if (is_key(&ev, "merges")) l->merges_at = l->j.pos;
            RW_TRY(rw_json_skip(&l->j, err));
        }
    }
}

/* One object of "added_tokens"; its opening brace is read. */
static rwkv_status read_added(loader *l, size_t at, rwkv_error *err) {
    static const char *const off[] = {"single_word", "lstrip", "rstrip"};
    added_token token = {-1, true, (uint32_t)l->added_text.len, 0};
    for (;;) {
        rw_json_event ev;
        size_t i = 0;
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind != RW_JSON_KEY) break;
        while (i < sizeof off / sizeof *off && !is_key(&ev, off[i])) i++;
        if (i < sizeof off / sizeof *off) {
            RW_TRY(expect_off(l, off[i], err));
        } else if (is_key(&ev, "id")) {
            RW_TRY(read_id(l, &token.id, err));
        } else if (is_key(&ev, "normalized")) {
            RW_TRY(rw_json_next(&l->j, &ev, err));
            token.normalized = ev.kind == RW_JSON_TRUE;
        } else if (is_key(&ev, "content") && !token.len) {
            RW_TRY(rw_json_next(&l->j, &ev, err));
            if (ev.kind != RW_JSON_STRING || ev.len == 0 || ev.len > RW_MAX_TOKEN) {
                return rw_json_fail(&l->j, &ev, "added token", "a text of 1 to 1024 bytes", err);
            }
            token.len = (uint32_t)ev.len;
            if (!rw_buf_add(&l->added_text, ev.text, ev.len)) return rw_nomem(err, ev.len);
        } else {
            RW_TRY(rw_json_skip(&l->j, err));
        }
    }
    if (token.id < 0 || !token.len) {
        return rw_source_fail(&l->src, at, err, "added token without id or content");
    }
    return rw_buf_add(&l->added, &token, sizeof token) ? RWKV_OK : rw_nomem(err, sizeof token);
}

static rwkv_status read_all_added(loader *l, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    if (ev.kind != RW_JSON_ARRAY) return rw_json_fail(&l->j, &ev, "added_tokens", "an array", err);
    for (;;) {
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) return RWKV_OK;
        if (ev.kind != RW_JSON_OBJECT) {
            return rw_json_fail(&l->j, &ev, "added token", "an object", err);
        }
        RW_TRY(read_added(l, ev.pos, err));
    }
}

static rwkv_status read_document(loader *l, rwkv_error *err) {
    rw_json_event ev;
    bool words = false;
    RW_TRY(rw_json_next(&l->j, &ev, err));
    for (;;) {
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind != RW_JSON_KEY) break;
        if (is_key(&ev, "added_tokens")) {
            RW_TRY(read_all_added(l, err));
        } else if (is_key(&ev, "normalizer")) {
            RW_TRY(read_part(l, "normalizer", "NFC", &l->t->neox->nfc, err));
        } else if (is_key(&ev, "pre_tokenizer")) {
            RW_TRY(read_part(l, "pre_tokenizer", "ByteLevel", &words, err));
        } else if (is_key(&ev, "model")) {
            RW_TRY(read_model(l, err));
        } else {
            RW_TRY(rw_json_skip(&l->j, err));
        }
    }
    RW_TRY(rw_json_next(&l->j, &ev, err)); /* nothing may follow */
    if (l->t->n_ids == 0) {
        return rw_source_fail(&l->src, 0, err, "no model.vocab; expected a tokenizer.json");
    }
    if (!words) return rw_source_fail(&l->src, 0, err, "no pre_tokenizer; expected ByteLevel");
    return RWKV_OK;
}

static int32_t lookup(const loader *l, const uint8_t *bytes, size_t len) {
    size_t id = rw_map_get(&l->by_bytes, (const char *)bytes, len);
    return id == SIZE_MAX ? -1 : (int32_t)id;
}

/* The pool has its final place now: names the tokens, and finds those of single bytes. */
static rwkv_status name_tokens(loader *l, rwkv_error *err) {
    rwkv_tokenizer *t = l->t;
    rw_neox *x = t->neox;
    if (!rw_map_reserve(&l->by_bytes, t->n_ids)) return rw_nomem(err, t->n_ids);
    for (size_t id = 0; id < t->n_ids; id++) {
        size_t other, len = t->tokens[id].len;
        if (!len) continue;
        const char *bytes = (const char *)t->pool.data + t->tokens[id].off;
        if (!rw_map_put(&l->by_bytes, bytes, len, id, &other)) return rw_nomem(err, len);
        if (other != SIZE_MAX) {
            return rw_source_fail(&l->src, 0, err, "tokens %zu and %zu have the same text", other,
                                  id);
        }
    }
    t->complete = true;
    for (unsigned b = 0; b < 256; b++) {
        uint8_t byte = (uint8_t)b;
        x->byte_id[b] = lookup(l, &byte, 1);
        t->complete = t->complete && x->byte_id[b] >= 0;
    }
    x->newline = lookup(l, (const uint8_t *)"\n", 1);
    x->two_newlines = lookup(l, (const uint8_t *)"\n\n", 2);
    return RWKV_OK;
}

/* "left right", or ["left", "right"] as newer files have it; in the byte alphabet. */
static rwkv_status read_pair(loader *l, const rw_json_event *ev, uint8_t *bytes, size_t len[2],
                             rwkv_error *err) {
    static const char expected[] = "two tokens of the vocabulary";
    rw_json_event part = *ev;
    if (ev->kind == RW_JSON_STRING) {
        const char *blank = memchr(ev->text, ' ', ev->len);
        if (!blank) return rw_json_fail(&l->j, ev, "merge", expected, err);
        size_t n = (size_t)(blank - ev->text);
        len[0] = decode_alphabet(ev->text, n, bytes);
        len[1] = decode_alphabet(blank + 1, ev->len - n - 1, bytes + len[0]);
        return RWKV_OK;
    }
    for (int i = 0; i < 2 && ev->kind == RW_JSON_ARRAY; i++) {
        RW_TRY(rw_json_next(&l->j, &part, err));
        if (part.kind != RW_JSON_STRING) return rw_json_fail(&l->j, &part, "merge", expected, err);
        len[i] = decode_alphabet(part.text, part.len, i ? bytes + len[0] : bytes);
    }
    if (ev->kind == RW_JSON_ARRAY) RW_TRY(rw_json_next(&l->j, &part, err));
    return part.kind == RW_JSON_CLOSE ? RWKV_OK
                                      : rw_json_fail(&l->j, &part, "merge", expected, err);
}

static rwkv_status add_merge(loader *l, const rw_json_event *ev, uint32_t rank, rwkv_error *err) {
    uint8_t bytes[2 * RW_MAX_TOKEN];
    size_t len[2] = {0, 0}, pos = ev->pos + (size_t)l->j.base;
    RW_TRY(read_pair(l, ev, bytes, len, err));
    int32_t left = lookup(l, bytes, len[0]), right = lookup(l, bytes + len[0], len[1]);
    int32_t id = lookup(l, bytes, len[0] + len[1]);
    if (!len[0] || !len[1] || left < 0 || right < 0 || id < 0) {
        return rw_source_fail(&l->src, pos, err, "merge %u is of unknown tokens", (unsigned)rank);
    }
    if (rank >= l->t->n_ids) {
        return rw_source_fail(&l->src, pos, err, "more merges than tokens");
    }
    merge *m = find_merge(l->t->neox, left, right);
    if (m->order) return rw_source_fail(&l->src, pos, err, "merge %u occurs twice", (unsigned)rank);
    *m = (merge){left, right, id, rank + 1};
    return RWKV_OK;
}

/* Read after the rest, wherever they stand in the file: they need the vocabulary. */
static rwkv_status read_merges(loader *l, rwkv_error *err) {
    rw_neox *x = l->t->neox;
    rw_json_event ev;
    size_t slots = 16, at = l->merges_at;
    while (slots < 2 * l->t->n_ids) slots *= 2;
    x->mask = slots - 1;
    x->merges = rw_calloc(slots, sizeof *x->merges);
    if (!x->merges) return rw_nomem(err, slots * sizeof *x->merges);
    while (at && at < l->src.len && strchr(" \t\r\n:", l->src.data[at])) at++;
    if (!at || at >= l->src.len || l->src.data[at] != '[') {
        return rw_source_fail(&l->src, at, err, "no list model.merges");
    }
    rw_json_free(&l->j);
    rw_json_init(&l->j, l->src.path, l->src.data + at, l->src.len - at, at);
    RW_TRY(rw_json_next(&l->j, &ev, err));
    for (uint32_t rank = 0;; rank++) {
        RW_TRY(rw_json_next(&l->j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) return RWKV_OK;
        RW_TRY(add_merge(l, &ev, rank, err));
    }
}

/* Added tokens overrule those of the vocabulary that have the same id; special ones are found
 * before NFC, the others after it. */
static rwkv_status index_added(loader *l, bool normalized, rw_trie *trie, rwkv_error *err) {
    const added_token *added = (const added_token *)(const void *)l->added.data;
    size_t n = l->added.len / sizeof *added, k = 0;
    rw_item *items = rw_calloc(n + 1, sizeof *items);
    rwkv_status st = RWKV_OK;
    if (!items) return rw_nomem(err, n * sizeof *items);
    for (size_t i = 0; i < n && st == RWKV_OK; i++) {
        const uint8_t *text = l->added_text.data + added[i].off;
        if (added[i].normalized != normalized) continue;
        items[k++] = (rw_item){text, added[i].len, added[i].id};
        st = rw_tokenizer_put(l->t, (size_t)added[i].id, text, added[i].len, err);
        if (added[i].len == 13 && memcmp(text, "<|endoftext|>", 13) == 0) l->t->end = added[i].id;
    }
    if (st == RWKV_OK && rw_items_sort(items, k)) {
        st = rw_source_fail(&l->src, 0, err, "two added tokens have the same content");
    }
    if (st == RWKV_OK) st = rw_trie_build(trie, items, k, err);
    rw_free(items);
    return st;
}

rwkv_status rw_neox_read(rwkv_tokenizer **out, const rw_source *src, rwkv_error *err) {
    rwkv_status st = RWKV_E_NOMEM;
    loader l = {.src = *src};
    rw_json_init(&l.j, src->path, src->data, src->len, 0);
    l.t = rw_tokenizer_new(RW_MAX_NEOX_IDS, err);
    if (!l.t) goto out;
    l.t->neox = rw_calloc(1, sizeof *l.t->neox);
    if (!l.t->neox) {
        st = rw_nomem(err, sizeof *l.t->neox);
        goto out;
    }
    RW_GOTO(read_document(&l, err));
    RW_GOTO(name_tokens(&l, err));
    RW_GOTO(read_merges(&l, err));
    RW_GOTO(index_added(&l, false, &l.t->neox->special, err));
    RW_GOTO(index_added(&l, true, &l.t->neox->added, err));
    if (l.t->end >= 0) l.t->tokens[l.t->end].len = 0; /* the end of a document has no text */
    if (!rw_buf_add(&l.t->json, src->data, src->len)) {
        st = rw_nomem(err, src->len);
        goto out;
    }
    *out = l.t;
    l.t = NULL;
out:
    rwkv_tokenizer_free(l.t);
    rw_map_free(&l.by_bytes);
    rw_buf_free(&l.added);
    rw_buf_free(&l.added_text);
    rw_json_free(&l.j);
    return st;
}

/* ------------------------------------------------------------------ encoding */

typedef struct symbol {
    int32_t id;
    uint32_t prev, next;
} symbol;

/* One word as a list of symbols, and the merges that are possible as a heap of rank << 32 |
 * position. An entry whose symbols have changed since is dropped when it comes up. */
typedef struct word_work {
    symbol *symbols; /* [cap] */
    uint64_t *heap;  /* [2 * cap]: each merge takes one out and puts two in */
    size_t cap, n_heap;
    rw_buf piece; /* after NFC */
} word_work;

static rwkv_status reserve_word(word_work *w, size_t n, rwkv_error *err) {
    if (n <= w->cap) return RWKV_OK;
    size_t cap = n + n / 2 + 64;
    symbol *symbols = rw_realloc(w->symbols, cap, sizeof *symbols);
    if (symbols) w->symbols = symbols;
    uint64_t *heap = symbols ? rw_realloc(w->heap, 2 * cap, sizeof *heap) : NULL;
    if (!heap) return rw_nomem(err, cap * (sizeof *symbols + 2 * sizeof *heap));
    w->heap = heap;
    w->cap = cap;
    return RWKV_OK;
}

static void push_pair(word_work *w, const rw_neox *x, uint32_t pos) {
    if (pos == NONE || w->symbols[pos].next == NONE) return;
    const merge *m = find_merge(x, w->symbols[pos].id, w->symbols[w->symbols[pos].next].id);
    if (!m->order) return;
    uint64_t entry = (uint64_t)m->order << 32 | pos;
    size_t i = w->n_heap++;
    for (; i > 0 && w->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = entry;
}

static uint64_t pop_pair(word_work *w) {
    uint64_t top = w->heap[0], entry = w->heap[--w->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < w->n_heap; i = k) {
        if (k + 1 < w->n_heap && w->heap[k + 1] < w->heap[k]) k++;
        if (w->heap[k] >= entry) break;
        w->heap[i] = w->heap[k];
    }
    w->heap[i] = entry;
    return top;
}

/* RWKV_E_TEXT without a message if a byte has no token. */
static rwkv_status encode_word(const rw_neox *x, word_work *w, const uint8_t *word, size_t n,
                               rw_ids *out, rwkv_error *err) {
    RW_TRY(reserve_word(w, n, err));
    symbol *s = w->symbols;
    for (uint32_t i = 0; i < n; i++) {
        s[i] = (symbol){x->byte_id[word[i]], i ? i - 1 : NONE, i + 1 < n ? i + 1 : NONE};
        if (s[i].id < 0) return RWKV_E_TEXT;
    }
    for (uint32_t i = 0; i + 1 < n; i++) push_pair(w, x, i);
    while (w->n_heap) {
        uint64_t entry = pop_pair(w);
        uint32_t pos = (uint32_t)entry, right = s[pos].next;
        if (s[pos].id < 0 || right == NONE) continue;
        const merge *m = find_merge(x, s[pos].id, s[right].id);
        if (m->order != entry >> 32) continue;
        s[pos].id = m->id;
        s[pos].next = s[right].next;
        s[right].id = -1;
        if (s[pos].next != NONE) s[s[pos].next].prev = pos;
        push_pair(w, x, s[pos].prev);
        push_pair(w, x, pos);
    }
    for (uint32_t i = 0; i != NONE; i = s[i].next) rw_ids_add(out, s[i].id);
    return RWKV_OK;
}

/* Text without added tokens, after NFC. */
static rwkv_status encode_words(const rw_neox *x, word_work *w, const uint8_t *s, size_t n,
                                rw_ids *out, rwkv_error *err) {
    for (size_t pos = 0, len; pos < n; pos += len) {
        len = rw_gpt2_word(s + pos, n - pos);
        RW_TRY(encode_word(x, w, s + pos, len, out, err));
    }
    return RWKV_OK;
}

/* Text without special tokens. */
static rwkv_status encode_piece(const rw_neox *x, word_work *w, const uint8_t *s, size_t n,
                                rw_ids *out, rwkv_error *err) {
    if (n == 0) return RWKV_OK;
    if (x->nfc) {
        w->piece.len = 0;
        RW_TRY(rw_nfc(s, n, &w->piece, err));
        s = w->piece.data;
        n = w->piece.len;
    }
    size_t begin = 0;
    for (size_t pos = 0, len; pos < n; pos += len ? len : 1) {
        int32_t id = rw_trie_match(&x->added, s + pos, n - pos, &len);
        if (id < 0) continue;
        RW_TRY(encode_words(x, w, s + begin, pos - begin, out, err));
        rw_ids_add(out, id);
        begin = pos + len;
    }
    return encode_words(x, w, s + begin, n - begin, out, err);
}

static rwkv_status encode_text(const rw_neox *x, word_work *w, const uint8_t *s, size_t n,
                               uint32_t flags, rw_ids *out, size_t *begin, rwkv_error *err) {
    for (size_t pos = 0, len; (flags & RWKV_ENCODE_SPECIAL) && pos < n; pos += len ? len : 1) {
        int32_t id = rw_trie_match(&x->special, s + pos, n - pos, &len);
        if (id < 0) continue;
        RW_TRY(encode_piece(x, w, s + *begin, pos - *begin, out, err));
        rw_ids_add(out, id);
        *begin = pos + len;
    }
    return encode_piece(x, w, s + *begin, n - *begin, out, err);
}

static rwkv_status text_fail(size_t pos, const char *what, rwkv_error *err) {
    rw_fail(err, RWKV_E_TEXT, "byte %zu: %s", pos, what);
    if (err) err->offset = pos;
    return RWKV_E_TEXT;
}

/* Pile and Raven models never saw token 535 ("\n\n") at the end of a prompt, but 187, 187. */
rwkv_status rw_neox_encode(const rwkv_tokenizer *t, const uint8_t *text, size_t len, uint32_t flags,
                           rw_ids *out, rwkv_error *err) {
    const rw_neox *x = t->neox;
    word_work w = {0};
    if (len > UINT32_MAX / 4) return rw_fail(err, RWKV_E_ARG, "text is longer than 1 GiB");
    for (size_t pos = 0; pos < len;) {
        uint32_t cp;
        int k = rw_utf8_next((const char *)text + pos, len - pos, &cp);
        if (k < 1) return text_fail(pos, "this vocabulary spells only UTF-8", err);
        pos += (size_t)k;
    }
    size_t begin = 0;
    rwkv_status st = encode_text(x, &w, text, len, flags, out, &begin, err);
    if (st == RWKV_E_TEXT) text_fail(begin, "a byte of this text has no token", err);
    if (st == RWKV_OK && (flags & RWKV_ENCODE_PROMPT) && out->n && x->newline >= 0 &&
        out->last == x->two_newlines) {
        out->n--;
        rw_ids_add(out, x->newline);
        rw_ids_add(out, x->newline);
    }
    rw_free(w.symbols);
    rw_free(w.heap);
    rw_buf_free(&w.piece);
    return st;
}
