/* trie.c - finds the longest token at a place of the text.
 *
 * Built once from the sorted tokens: a node is a range of tokens that share their first `depth`
 * bytes, and working through the nodes in the order in which they are made puts children side by
 * side. */
#include "vocab.h"
#include <stdlib.h>
#include <string.h>

static int compare_items(const void *a, const void *b) {
    const rw_item *x = a, *y = b;
    int c = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    return c ? c : (x->len > y->len) - (x->len < y->len);
}

const rw_item *rw_items_sort(rw_item *items, size_t n) {
    if (n > 1) qsort(items, n, sizeof *items, compare_items);
    for (size_t i = 1; i < n; i++) {
        if (compare_items(&items[i - 1], &items[i]) == 0) return &items[i];
    }
    return NULL;
}

/* A token needs a node for every byte that it does not share with its neighbour. */
static size_t count_nodes(const rw_item *items, size_t n) {
    size_t nodes = 1;
    for (size_t i = 0; i < n; i++) {
        uint32_t same = 0;
        while (i > 0 && same < items[i].len && same < items[i - 1].len &&
               items[i].bytes[same] == items[i - 1].bytes[same]) {
            same++;
        }
        nodes += items[i].len - same;
    }
    return nodes;
}

typedef struct span {
    uint32_t lo, hi, depth;
} span;

rwkv_status rw_trie_build(rw_trie *t, const rw_item *items, size_t n, rwkv_error *err) {
    size_t nodes = count_nodes(items, n);
    span *spans = rw_calloc(nodes, sizeof *spans);
    t->first = rw_calloc(nodes + 1, sizeof *t->first);
    t->id = rw_calloc(nodes, sizeof *t->id);
    t->label = rw_calloc(nodes, sizeof *t->label);
    if (!spans || !t->first || !t->id || !t->label) {
        rw_free(spans);
        rw_trie_free(t);
        return rw_nomem(err, nodes * (sizeof *spans + 9));
    }
    uint32_t next = 1;
    spans[0] = (span){0, (uint32_t)n, 0};
    for (size_t i = 0; i < nodes; i++) {
        span s = spans[i];
        t->first[i] = next;
        t->id[i] = -1;
        if (s.lo < s.hi && items[s.lo].len == s.depth) t->id[i] = items[s.lo++].id;
        while (s.lo < s.hi) {
            uint8_t byte = items[s.lo].bytes[s.depth];
            uint32_t hi = s.lo + 1;
            while (hi < s.hi && items[hi].bytes[s.depth] == byte) hi++;
            t->label[next] = byte;
            spans[next++] = (span){s.lo, hi, s.depth + 1};
            s.lo = hi;
        }
    }
    t->first[nodes] = next;
    t->n = (uint32_t)nodes;
    rw_free(spans);
    return RWKV_OK;
}

void rw_trie_free(rw_trie *t) {
    rw_free(t->first);
    rw_free(t->id);
    rw_free(t->label);
    *t = (rw_trie){0};
}

/* 0 (the root, nobody's child) when there is none. */
static inline uint32_t child(const rw_trie *t, uint32_t node, uint8_t byte) {
    uint32_t lo = t->first[node], hi = t->first[node + 1];
    if (hi - lo == 256) return lo + byte;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (t->label[mid] == byte) return mid;
        if (t->label[mid] < byte) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return 0;
}

int32_t rw_trie_match(const rw_trie *t, const uint8_t *s, size_t n, size_t *len) {
    int32_t best = -1;
    uint32_t node = 0;
    *len = 0;
    for (size_t i = 0; i < n && t->n; i++) {
        node = child(t, node, s[i]);
        if (!node) break;
        if (t->id[node] >= 0) {
            best = t->id[node];
            *len = i + 1;
        }
    }
    return best;
}
