/* vocab.h - the inside of a tokenizer, shared by its readers (vocab.c, neox.c, gguf entries) and
 * its encoders.
 *
 * All kinds keep the bytes of their tokens in one pool. World vocabularies, puzzles and plain bytes
 * are one trie; a GPT-NeoX vocabulary has merges instead. */
#ifndef RW_VOCAB_H
#define RW_VOCAB_H

#include "text.h"

#define RW_MAX_TOKEN 1024u /* bytes of one token; bounds a step of the greedy match */
#define RW_MAX_WORLD_IDS 65536u
#define RW_MAX_NEOX_IDS 262144u
#define RW_MAX_VOCAB_FILE (64u << 20)

/* ---- trie.c */
typedef struct rw_item {
    const uint8_t *bytes;
    uint32_t len; /* > 0 */
    int32_t id;
} rw_item;

/* Nodes in breadth-first order, so that the children of node i are [first[i], first[i + 1]), sorted
 * by label. 9 bytes per node. All zero is an empty trie. */
typedef struct rw_trie {
    uint32_t *first;
    int32_t *id; /* -1: no token ends here */
    uint8_t *label;
    uint32_t n;
} rw_trie;

/* Sorts by bytes; returns the second of two items with equal bytes, or NULL. */
const rw_item *rw_items_sort(rw_item *items, size_t n);
/* items sorted and distinct. */
rwkv_status rw_trie_build(rw_trie *t, const rw_item *items, size_t n, rwkv_error *err);
void rw_trie_free(rw_trie *t);
/* The longest token at the beginning of s, its length in *len; -1 and *len 0 when none matches. */
int32_t rw_trie_match(const rw_trie *t, const uint8_t *s, size_t n, size_t *len);

/* ---- tokenizer.c */
typedef struct rw_token {
    uint32_t off, len; /* in the pool; len 0: the id has no text */
} rw_token;

struct rwkv_tokenizer {
    const char *kind;
    rw_token *tokens; /* [cap_ids] */
    size_t n_ids, cap_ids;
    rw_buf pool;
    int32_t end;
    rw_trie trie;         /* not for 20B */
    bool complete;        /* every byte is a token: no text lacks ids */
    struct rw_neox *neox; /* 20B only */
    rw_buf json;          /* 20B only: the file it came from, for whoever embeds it */
};

rwkv_tokenizer *rw_tokenizer_new(size_t cap_ids, rwkv_error *err);
/* id < cap_ids, not given before; 0 < len <= RW_MAX_TOKEN. */
rwkv_status rw_tokenizer_put(rwkv_tokenizer *t, size_t id, const void *bytes, size_t len,
                             rwkv_error *err);
/* Builds the trie and settles kind and end. Two ids of the same text are RWKV_E_VOCAB; they are
 * left in twins. */
rwkv_status rw_tokenizer_index(rwkv_tokenizer *t, int32_t twins[2], rwkv_error *err);

/* Where the ids of an encoding go: counts all, writes those that fit. */
typedef struct rw_ids {
    int32_t *ids;
    size_t cap, n;
    int32_t last; /* -1: none yet */
} rw_ids;
static inline void rw_ids_add(rw_ids *out, int32_t id) {
    if (out->n < out->cap) out->ids[out->n] = id;
    out->n++;
    out->last = id;
}

/* ---- vocab.c, neox.c: from a file's bytes */
typedef struct rw_source {
    const char *path;
    const uint8_t *data;
    size_t len;
} rw_source;

/* RWKV_E_VOCAB "path:line:column: text", with the byte offset in err->offset. */
rwkv_status rw_source_fail(const rw_source *src, size_t pos, rwkv_error *err, const char *fmt, ...)
    RW_PRINTF(4, 5);
rwkv_status rw_vocab_read(rwkv_tokenizer **out, const rw_source *src, rwkv_error *err);
rwkv_status rw_neox_read(rwkv_tokenizer **out, const rw_source *src, rwkv_error *err);
rwkv_status rw_neox_encode(const rwkv_tokenizer *t, const uint8_t *text, size_t len, uint32_t flags,
                           rw_ids *out, rwkv_error *err);
void rw_neox_free(struct rw_neox *x);

/* ---- unicode.c */
bool rw_is_white(uint32_t cp); /* Unicode White_Space */
/* Appends the NFC form of valid UTF-8. Linear in time, whatever the marks. */
rwkv_status rw_nfc(const uint8_t *s, size_t n, rw_buf *out, rwkv_error *err);
/* The length of the word that the GPT-2 expression cuts off the front of n > 0 bytes of valid
 * UTF-8. */
size_t rw_gpt2_word(const uint8_t *s, size_t n);

#endif
