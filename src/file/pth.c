/* pth.c - reads PyTorch checkpoints. In: the mapped file. Out: one table entry per tensor of the
 * state dict, under the names it has there.
 *
 *     zip container:     directory (zip.c) -> P/data.pkl -> pickle.c -> storages P/data/K
 *     legacy container:  five pickles one after another, then the storages without padding
 *
 * Tensors that are row-major in their storage stay where they are in the file; other views (turned,
 * sliced, expanded) are copied into the table's arena, all together at most file size + 64 MiB. */
#include "pickle.h"
#include "zip.h"

#include <inttypes.h>
#include <string.h>

#define COPY_EXTRA ((uint64_t)64 << 20)

/* The first two pickles of the legacy container: the magic number and 1001. */
static const uint8_t legacy_magic[] = {0x80, 2,    0x8a, 10,   0x6c, 0xfc, 0x9c, 0x46,
                                       0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, '.'};
enum { LEGACY_PROTOCOL = 1001 };

typedef struct loader {
    rw_table *t;
    const rw_file *f;
    rw_pickle pickle;
    rw_zip zip;         /* empty for the legacy container */
    const char *folder; /* of the zip's entries, with its slash */
    size_t folder_len;
    rw_buf path;     /* of the entry that is looked for */
    uint64_t object; /* where the object's pickle begins */
    uint64_t copy_left;
} loader;

/* ---- tensors */

/* "path:offset: tensor NAME: ..." wants the name cut to what a message can hold. */
static int short_len(size_t len) {
    return len < RW_MAX_NAME ? (int)len : (int)RW_MAX_NAME;
}

/* The entry FOLDER/PART NAME of the zip; *e is NULL when there is none, or no zip. */
static rwkv_status find_entry(loader *l, const char *part, const char *name, size_t len,
                              const rw_zip_entry **e, rwkv_error *err) {
    *e = NULL;
    if (!l->folder || len > RW_MAX_NAME) return RWKV_OK;
    l->path.len = 0;
    if (!rw_buf_add(&l->path, l->folder, l->folder_len) ||
        !rw_buf_add(&l->path, part, strlen(part)) || !rw_buf_add(&l->path, name, len))
        return rw_nomem(err, l->folder_len + len);
    *e = rw_zip_find(&l->zip, (char *)l->path.data, l->path.len);
    return RWKV_OK;
}

/* Finds the bytes of a zip container's storage. The legacy container's are known beforehand. */
static rwkv_status find_storage(loader *l, rw_pickle_storage *s, const rw_tensor *t, int name_len,
                                rwkv_error *err) {
    if (s->found) return RWKV_OK;
    const rw_zip_entry *e;
    uint64_t bytes;
    RW_TRY(find_entry(l, "data/", s->key, s->key_len, &e, err));
    if (!e)
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, t->offset,
                          "tensor %.*s: storage %.*s is not in the file", name_len, t->name,
                          short_len(s->key_len), s->key);
    if (!rw_type_bytes(s->type, s->numel, &bytes) || bytes != e->size)
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, e->offset,
                          "tensor %.*s: storage %.*s; found %" PRIu64 " bytes; expected %" PRIu64
                          " x %s",
                          name_len, t->name, short_len(s->key_len), s->key, e->size, s->numel,
                          rw_type_name(s->type));
    s->data = l->f->data + e->offset;
    s->found = true;
    return RWKV_OK;
}

/* Gathers the elements along the strides into row-major order. */
static void gather(uint8_t *out, const uint8_t *in, size_t width, uint32_t n_dims,
                   const uint64_t *dims, const uint64_t *strides) {
    uint64_t index[RW_MAX_DIMS] = {0};
    uint64_t n = n_dims ? dims[n_dims - 1] : 1, step = n_dims ? strides[n_dims - 1] : 1;
    for (;;) {
        const uint8_t *row = in;
        for (uint32_t d = 0; d + 1 < n_dims; d++) row += index[d] * strides[d] * width;
        if (step == 1) {
            memcpy(out, row, (size_t)(n * width));
        } else {
            for (uint64_t i = 0; i < n; i++) memcpy(out + i * width, row + i * step * width, width);
        }
        out += n * width;
        uint32_t d = n_dims ? n_dims - 1 : 0;
        while (d > 0 && ++index[d - 1] == dims[d - 1]) index[--d] = 0;
        if (d == 0) return;
    }
}

/* Checks dims and strides against the storage: t gets its shape, strides[], whether row-major.
 * *last is the highest element it reaches, counted from its first. */
static rwkv_status check_shape(const loader *l, const rw_pickle_tensor *p, rw_tensor *t,
                               int name_len, uint64_t *strides, bool *row_major, uint64_t *last,
                               rwkv_error *err) {
    const char *path = l->f->path;
    if (p->n_dims != p->n_strides || p->n_dims > RW_MAX_DIMS)
        return rw_fail_at(err, p->n_dims > RW_MAX_DIMS ? RWKV_E_UNSUPPORTED : RWKV_E_FORMAT, path,
                          p->offset,
                          "tensor %.*s: found %u dimensions and %u strides; expected at "
                          "most %d and as many of both",
                          name_len, t->name, p->n_dims, p->n_strides, RW_MAX_DIMS);
    t->n_dims = p->n_dims;
    t->n_elems = 1;
    *last = 0;
    *row_major = true;
    for (uint32_t d = p->n_dims; d-- > 0;) {
        int64_t dim = p->dims[d].u.i, stride = p->strides[d].u.i;
        uint64_t reach;
        if (dim < 0 || stride < 0)
            return rw_fail_at(err, RWKV_E_FORMAT, path, p->offset,
                              "tensor %.*s: found size %" PRId64 ", stride %" PRId64
                              "; expected none below 0",
                              name_len, t->name, dim, stride);
        t->dims[d] = (uint64_t)dim;
        strides[d] = (uint64_t)stride;
        if (dim != 1 && strides[d] != t->n_elems) *row_major = false;
        if (!rw_mul(t->n_elems, t->dims[d], &t->n_elems) ||
            (dim > 1 &&
             (!rw_mul(t->dims[d] - 1, strides[d], &reach) || !rw_add(*last, reach, last))))
            return rw_fail_at(err, RWKV_E_FORMAT, path, p->offset,
                              "tensor %.*s: size %" PRId64 " with stride %" PRId64
                              " overflows 64 bits",
                              name_len, t->name, dim, stride);
    }
    return RWKV_OK;
}

static rwkv_status add_tensor(loader *l, const rw_pickle_value *name, const rw_pickle_tensor *p,
                              rwkv_error *err) {
    const rw_pickle_range *range = p->range;
    rw_pickle_storage *s = range->storage;
    rw_tensor t = {.name = name->u.s, .type = s->type, .offset = p->offset, .file = l->f};
    int name_len = short_len(name->n);
    uint64_t strides[RW_MAX_DIMS] = {0}, last, first = (uint64_t)p->first;
    bool row_major;
    RW_TRY(check_shape(l, p, &t, name_len, strides, &row_major, &last, err));
    RW_TRY(find_storage(l, s, &t, name_len, err));
    if (p->first < 0 || first > range->count ||
        (t.n_elems && (last >= range->count || first > range->count - 1 - last)))
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, p->offset,
                          "tensor %.*s: found elements %" PRId64 " to %" PRIu64 " beyond; expected "
                          "them inside a storage of %" PRIu64,
                          name_len, t.name, p->first, last, range->count);
    uint64_t width = rw_type_get(s->type)->block_bytes;
    const uint8_t *data = s->data + (range->first + first) * width;
    t.offset = (uint64_t)(data - l->f->data);
    t.data = data;
    if (t.n_elems == 0) return rw_table_add(l->t, &t, name->n, err);
    if (!rw_mul(t.n_elems, width, &t.bytes) || (!row_major && t.bytes > l->copy_left))
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, p->offset,
                          "tensor %.*s: a view of %" PRIu64
                          " elements must be copied; expected not "
                          "more than %" PRIu64 " bytes in this file",
                          name_len, t.name, t.n_elems, l->copy_left);
    if (!row_major) {
        uint8_t *copy = rw_arena_alloc(&l->t->arena, (size_t)t.bytes, 1);
        if (!copy) return rw_nomem(err, (size_t)t.bytes);
        gather(copy, data, (size_t)width, t.n_dims, t.dims, strides);
        t.data = copy;
        l->copy_left -= t.bytes;
        l->t->copied_bytes += t.bytes;
    }
    return rw_table_add(l->t, &t, name->n, err);
}

/* ---- the state dict */

/* The dict that holds the tensors: the top one, or the one that training frameworks wrap. */
static rwkv_status find_dict(const loader *l, const rw_pickle_value **top, rwkv_error *err) {
    static const char *const wrappers[] = {"state_dict", "model"};
    if ((*top)->kind != RW_PICKLE_DICT)
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, l->object,
                          "top of the pickle; found %s; expected dict (of tensors)",
                          rw_pickle_kind_name((*top)->kind));
    for (size_t i = 0; i < 2 && !rw_pickle_get(*top, "emb.weight"); i++) {
        const rw_pickle_value *inner = rw_pickle_get(*top, wrappers[i]);
        if (!inner || inner->kind != RW_PICKLE_DICT) continue;
        *top = inner;
        break;
    }
    if (rw_pickle_get(*top, "_strategy") || rw_pickle_get(*top, "_version"))
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, l->f->path, l->object,
                          "the file was converted by the rwkv pip package (it holds _strategy or "
                          "_version): its matrices are turned, rescaled and perhaps quantized; use "
                          "the original .pth");
    return RWKV_OK;
}

/* Values that are no tensors (counters, optimizer settings) are passed over. */
static rwkv_status add_tensors(loader *l, const rw_pickle_value *top, rwkv_error *err) {
    RW_TRY(find_dict(l, &top, err));
    const rw_pickle_list *dict = top->u.list;
    size_t before = l->t->n_tensors;
    l->copy_left = l->f->size + COPY_EXTRA;
    for (size_t i = 0; i < dict->n; i += 2) {
        const rw_pickle_value *key = &dict->items[i], *value = &dict->items[i + 1];
        if (key->kind != RW_PICKLE_STR || value->kind != RW_PICKLE_TENSOR) continue;
        if (l->t->n_tensors == RW_MAX_TENSORS)
            return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, value->u.tensor->offset,
                              "more than %u tensors", RW_MAX_TENSORS);
        RW_TRY(add_tensor(l, key, value->u.tensor, err));
    }
    if (l->t->n_tensors == before)
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, l->object,
                          "the file's dict holds no tensors");
    return RWKV_OK;
}

static void free_loader(loader *l) {
    rw_pickle_free(&l->pickle);
    rw_zip_close(&l->zip);
    rw_buf_free(&l->path);
}

/* ---- zip container */

/* The entry P/data.pkl gives the folder P/ that all entries must lie in. */
static rwkv_status find_pickle(loader *l, const rw_zip_entry **pickle, rwkv_error *err) {
    static const char ending[] = "/data.pkl";
    const size_t ending_len = sizeof ending - 1;
    *pickle = NULL;
    for (size_t i = 0; i < l->zip.n_entries && !*pickle; i++) {
        const rw_zip_entry *e = &l->zip.entries[i];
        if (e->name_len > ending_len &&
            memcmp(e->name + e->name_len - ending_len, ending, ending_len) == 0)
            *pickle = e;
    }
    if (!*pickle)
        return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, 0,
                          "a zip archive without an entry .../data.pkl is no PyTorch file");
    l->folder = (*pickle)->name;
    l->folder_len = (*pickle)->name_len - ending_len + 1;
    for (size_t i = 0; i < l->zip.n_entries; i++) {
        const rw_zip_entry *e = &l->zip.entries[i];
        if (e->name_len < l->folder_len || memcmp(e->name, l->folder, l->folder_len) != 0)
            return rw_fail_at(err, RWKV_E_FORMAT, l->f->path, e->offset,
                              "zip entry; found %.*s; expected all in folder %.*s",
                              short_len(e->name_len), e->name, short_len(l->folder_len), l->folder);
    }
    return RWKV_OK;
}

static rwkv_status check_byteorder(loader *l, rwkv_error *err) {
    const rw_zip_entry *e;
    RW_TRY(find_entry(l, "", "byteorder", 9, &e, err));
    if (!e || (e->size == 6 && memcmp(l->f->data + e->offset, "little", 6) == 0)) return RWKV_OK;
    return rw_fail_at(err, RWKV_E_UNSUPPORTED, l->f->path, e->offset,
                      "byte order; found %.*s; expected little", e->size < 16 ? (int)e->size : 16,
                      (const char *)l->f->data + e->offset);
}

rwkv_status rw_read_pth(rw_table *t, const rw_file *f, rwkv_error *err) {
    loader l = {.t = t, .f = f};
    const rw_zip_entry *e;
    rw_pickle_value top;
    rwkv_status st;
    RW_GOTO(rw_zip_open(&l.zip, f, err));
    RW_GOTO(find_pickle(&l, &e, err));
    RW_GOTO(rw_zip_check(e, f, err));
    RW_GOTO(check_byteorder(&l, err));
    rw_reader r = rw_reader_at(f, e->offset, e->offset + e->size);
    l.object = r.pos;
    RW_GOTO(rw_pickle_run(&l.pickle, &r, &top, err));
    if (rw_reader_left(&r) != 0) {
        st = rw_read_fail(&r, r.pos, err,
                          "pickle; found %" PRIu64 " bytes after STOP; expected none",
                          rw_reader_left(&r));
        goto out;
    }
    RW_GOTO(add_tensors(&l, &top, err));
out:
    free_loader(&l);
    return st;
}

/* ---- legacy container */

/* The two numbers and the dict that stand before the object. */
static rwkv_status read_legacy_head(loader *l, rw_reader *r, rwkv_error *err) {
    const uint8_t *magic;
    rw_pickle_value v;
    uint64_t at = r->pos;
    RW_TRY(rw_read_bytes(r, sizeof legacy_magic, &magic, "PyTorch magic number", err));
    if (memcmp(magic, legacy_magic, sizeof legacy_magic) != 0)
        return rw_read_fail(r, at, err, "no PyTorch magic number");
    at = r->pos;
    RW_TRY(rw_pickle_run(&l->pickle, r, &v, err));
    if (v.kind != RW_PICKLE_INT || v.u.i != LEGACY_PROTOCOL)
        return rw_read_fail(r, at, err, "PyTorch protocol; found %s %" PRId64 "; expected %d",
                            rw_pickle_kind_name(v.kind), v.kind == RW_PICKLE_INT ? v.u.i : 0,
                            LEGACY_PROTOCOL);
    at = r->pos;
    RW_TRY(rw_pickle_run(&l->pickle, r, &v, err));
    const rw_pickle_value *little = rw_pickle_get(&v, "little_endian");
    if (little && little->kind == RW_PICKLE_BOOL && little->n == 0)
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, r->path, at,
                          "byte order; found big endian; expected little endian");
    if (v.kind != RW_PICKLE_DICT)
        return rw_read_fail(r, at, err, "description of the writer; found %s; expected dict",
                            rw_pickle_kind_name(v.kind));
    return RWKV_OK;
}

/* One storage per key: its element count and its elements. */
static rwkv_status read_legacy_storages(loader *l, rw_reader *r, const rw_pickle_value *keys,
                                        uint64_t keys_at, rwkv_error *err) {
    if (keys->kind != RW_PICKLE_LIST)
        return rw_read_fail(r, keys_at, err, "list of storages; found %s; expected list",
                            rw_pickle_kind_name(keys->kind));
    for (size_t i = 0; i < keys->u.list->n; i++) {
        const rw_pickle_value *key = &keys->u.list->items[i];
        size_t k =
            key->kind == RW_PICKLE_STR ? rw_map_get(&l->pickle.by_key, key->u.s, key->n) : SIZE_MAX;
        rw_pickle_storage *s = k == SIZE_MAX ? NULL : l->pickle.storages[k];
        uint64_t at = r->pos, count, bytes;
        if (!s || s->found)
            return rw_read_fail(r, keys_at, err,
                                "storage %zu of the list; found %s; expected a key "
                                "that tensors use, once",
                                i, rw_pickle_kind_name(key->kind));
        RW_TRY(rw_read_u64(r, &count, "element count of a storage", err));
        if (count != s->numel || !rw_type_bytes(s->type, count, &bytes))
            return rw_read_fail(r, at, err,
                                "storage %.*s; found %" PRIu64 " elements; expected %" PRIu64,
                                short_len(s->key_len), s->key, count, s->numel);
        RW_TRY(rw_read_bytes(r, bytes, &s->data, "storage", err));
        s->found = true;
    }
    if (rw_reader_left(r) != 0)
        return rw_read_fail(r, r->pos, err,
                            "found %" PRIu64 " bytes after the last storage; expected "
                            "none",
                            rw_reader_left(r));
    return RWKV_OK;
}

rwkv_status rw_read_pth_legacy(rw_table *t, const rw_file *f, rwkv_error *err) {
    loader l = {.t = t, .f = f};
    rw_reader r = rw_reader_at(f, 0, f->size);
    rw_pickle_value top, keys;
    rwkv_status st;
    RW_GOTO(read_legacy_head(&l, &r, err));
    l.object = r.pos;
    RW_GOTO(rw_pickle_run(&l.pickle, &r, &top, err));
    uint64_t at = r.pos;
    RW_GOTO(rw_pickle_run(&l.pickle, &r, &keys, err));
    RW_GOTO(read_legacy_storages(&l, &r, &keys, at, err));
    RW_GOTO(add_tensors(&l, &top, err));
out:
    free_loader(&l);
    return st;
}
