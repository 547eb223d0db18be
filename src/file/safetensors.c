/* safetensors.c - one .safetensors file: uint64 length, JSON header, data block.
 *
 * The data must be covered by the tensors exactly: no hole, no overlap, nothing behind. So a file
 * cannot carry a second meaning, and every byte belongs to one tensor. */
#include "file.h"
#include "../base/json.h"
#include <stdlib.h>
#include <string.h>

typedef struct entry { /* one tensor's place in the data block */
    uint64_t begin, end;
    size_t index;
} entry;

typedef struct header {
    rw_table *table;
    const rw_file *file;
    rw_json json;
    uint64_t data; /* offset of the data block */
} header;

static rwkv_status read_type(header *h, const rw_json_event *ev, rw_type *out, rwkv_error *err) {
    static const struct {
        const char *name;
        rw_type type;
    } known[] = {{"F32", RW_F32}, {"F16", RW_F16}, {"BF16", RW_BF16}, {"F64", RW_F64},
                 {"I8", RW_I8},   {"I16", RW_I16}, {"I32", RW_I32},   {"I64", RW_I64},
                 {"U8", RW_U8},   {"BOOL", RW_U8}};
    for (size_t i = 0; ev->kind == RW_JSON_STRING && i < sizeof known / sizeof *known; i++)
        if (ev->len == strlen(known[i].name) && memcmp(ev->text, known[i].name, ev->len) == 0) {
            *out = known[i].type;
            return RWKV_OK;
        }
    return rw_json_fail(&h->json, ev, "dtype", "F32, F16, BF16, F64, I8, I16, I32, I64, U8 or BOOL",
                        err);
}

/* [n, n, ...] with at most cap numbers, as `expected` says */
static rwkv_status read_list(header *h, const char *what, const char *expected, uint64_t *out,
                             uint32_t cap, uint32_t *n, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&h->json, &ev, err));
    if (ev.kind != RW_JSON_ARRAY) return rw_json_fail(&h->json, &ev, what, "an array", err);
    for (*n = 0;; (*n)++) {
        RW_TRY(rw_json_next(&h->json, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) return RWKV_OK;
        if (*n == cap) return rw_json_fail(&h->json, &ev, what, expected, err);
        RW_TRY(rw_json_u64(&h->json, &ev, &out[*n], err));
    }
}

/* {"dtype":..., "shape":[...], "data_offsets":[begin,end]}, each once, in any order. t->name is
 * set. */
static rwkv_status read_tensor(header *h, rw_tensor *t, entry *e, rwkv_error *err) {
    rw_json_event ev;
    uint64_t span[2];
    uint32_t n;
    unsigned seen = 0;
    size_t at = h->json.pos;
    RW_TRY(rw_json_next(&h->json, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(&h->json, &ev, "tensor", "an object", err);
    for (;;) {
        RW_TRY(rw_json_next(&h->json, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) break;
        unsigned field = 0;
        if (ev.len == 5 && memcmp(ev.text, "dtype", 5) == 0)
            field = 1;
        else if (ev.len == 5 && memcmp(ev.text, "shape", 5) == 0)
            field = 2;
        else if (ev.len == 12 && memcmp(ev.text, "data_offsets", 12) == 0)
            field = 4;
        if (!field || (seen & field))
            return rw_json_fail(&h->json, &ev, "tensor field",
                                "dtype, shape and data_offsets, once each", err);
        seen |= field;
        if (field == 1) {
            RW_TRY(rw_json_next(&h->json, &ev, err));
            RW_TRY(read_type(h, &ev, &t->type, err));
        } else if (field == 2) {
            RW_TRY(read_list(h, "shape", "at most 5 dimensions", t->dims, RW_MAX_DIMS, &t->n_dims,
                             err));
        } else {
            RW_TRY(read_list(h, "data_offsets", "two numbers", span, 2, &n, err));
            if (n != 2) return rw_json_fail(&h->json, &ev, "data_offsets", "two numbers", err);
        }
    }
    uint64_t offset = h->json.base + at;
    if (seen != 7)
        return rw_fail_at(err, RWKV_E_FORMAT, h->file->path, offset,
                          "tensor %s: dtype, shape or data_offsets is missing", t->name);
    t->n_elems = 1;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (!rw_mul(t->n_elems, t->dims[i], &t->n_elems))
            return rw_fail_at(err, RWKV_E_FORMAT, h->file->path, offset,
                              "tensor %s: the product of its dimensions overflows", t->name);
    uint64_t room = h->file->size - h->data;
    if (!rw_type_bytes(t->type, t->n_elems, &t->bytes) || span[0] > span[1] || span[1] > room ||
        span[1] - span[0] != t->bytes)
        return rw_fail_at(err, RWKV_E_FORMAT, h->file->path, offset,
                          "tensor %s: found data_offsets [%llu, %llu] for %llu elements of %s; "
                          "expected that size "
                          "within %llu bytes",
                          t->name, (unsigned long long)span[0], (unsigned long long)span[1],
                          (unsigned long long)t->n_elems, rw_type_name(t->type),
                          (unsigned long long)room);
    t->data = h->file->data + h->data + span[0];
    t->offset = h->data + span[0];
    t->file = h->file;
    *e = (entry){span[0], span[1], h->table->n_tensors};
    return RWKV_OK;
}

/* __metadata__: strings only */
static rwkv_status read_metadata(header *h, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&h->json, &ev, err));
    if (ev.kind != RW_JSON_OBJECT)
        return rw_json_fail(&h->json, &ev, "__metadata__", "an object", err);
    for (;;) {
        RW_TRY(rw_json_next(&h->json, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) return RWKV_OK;
        char key[RW_MAX_NAME + 1] = "meta.";
        size_t len = ev.len;
        if (len > RW_MAX_NAME - 5)
            return rw_json_fail(&h->json, &ev, "__metadata__", "keys of at most 250 bytes", err);
        memcpy(key + 5, ev.text, len);
        RW_TRY(rw_json_next(&h->json, &ev, err));
        if (ev.kind != RW_JSON_STRING)
            return rw_json_fail(&h->json, &ev, "__metadata__", "a string", err);
        if (h->table->n_files > 1) continue; /* shards repeat it */
        rw_meta m = {.key = key, .kind = RW_META_STRING, .offset = h->json.base + ev.pos};
        m.v.str.len = ev.len;
        m.v.str.s = rw_arena_strndup(&h->table->arena, ev.text, ev.len);
        if (!m.v.str.s) return rw_nomem(err, ev.len);
        RW_TRY(rw_table_add_meta(h->table, &m, len + 5, err));
    }
}

static int by_begin(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static rwkv_status check_cover(header *h, entry *entries, size_t n, rwkv_error *err) {
    uint64_t at = 0, room = h->file->size - h->data;
    if (n) qsort(entries, n, sizeof *entries, by_begin);
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return rw_fail_at(err, RWKV_E_FORMAT, h->file->path, h->data + at,
                              "tensor %s: data begins at %llu; expected %llu (no hole, no overlap)",
                              h->table->tensors[entries[i].index].name,
                              (unsigned long long)entries[i].begin, (unsigned long long)at);
        at = entries[i].end;
    }
    if (at != room)
        return rw_fail_at(err, RWKV_E_FORMAT, h->file->path, h->data + at,
                          "%llu bytes follow the last tensor; expected the end of the file",
                          (unsigned long long)(room - at));
    return RWKV_OK;
}

static rwkv_status read_header(header *h, rw_buf *entries, rwkv_error *err) {
    rw_json_event ev;
    RW_TRY(rw_json_next(&h->json, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(&h->json, &ev, "header", "an object", err);
    bool seen_metadata = false;
    for (;;) {
        RW_TRY(rw_json_next(&h->json, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) break;
        if (ev.len == 12 && memcmp(ev.text, "__metadata__", 12) == 0) {
            if (seen_metadata)
                return rw_json_fail(&h->json, &ev, "header", "__metadata__ once", err);
            seen_metadata = true;
            RW_TRY(read_metadata(h, err));
            continue;
        }
        entry e;
        char name[RW_MAX_NAME + 1] = "";
        rw_tensor t = {.name = name};
        size_t len = ev.len;
        if (len > RW_MAX_NAME)
            return rw_json_fail(&h->json, &ev, "tensor name", "at most 255 bytes", err);
        memcpy(name, ev.text, len);
        RW_TRY(read_tensor(h, &t, &e, err));
        RW_TRY(rw_table_add(h->table, &t, len, err));
        if (!rw_buf_add(entries, &e, sizeof e)) return rw_nomem(err, entries->cap * 2);
    }
    return rw_json_next(&h->json, &ev, err); /* the end */
}

rwkv_status rw_read_safetensors(rw_table *t, const rw_file *f, rwkv_error *err) {
    rw_reader r = rw_reader_at(f, 0, f->size);
    uint64_t len;
    const uint8_t *text;
    RW_TRY(rw_read_u64(&r, &len, "header length", err));
    if (len < 2 || len > RW_MAX_ST_HEADER)
        return rw_read_fail(&r, 0, err, "header length: found %llu; expected 2..%u",
                            (unsigned long long)len, RW_MAX_ST_HEADER);
    RW_TRY(rw_read_bytes(&r, len, &text, "header", err));
    if (text[0] != '{')
        return rw_read_fail(&r, 8, err, "header: found byte 0x%02x; expected '{'", text[0]);
    header h = {.table = t, .file = f, .data = r.pos};
    rw_json_init(&h.json, f->path, text, (size_t)len, 8);
    rw_buf entries = {0};
    rwkv_status st = read_header(&h, &entries, err);
    if (st == RWKV_OK)
        st = check_cover(&h, (entry *)(void *)entries.data, entries.len / sizeof(entry), err);
    rw_json_free(&h.json);
    rw_buf_free(&entries);
    return st;
}
