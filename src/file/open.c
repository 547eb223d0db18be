/* open.c - decides by content which reader a file goes to, and gathers a model that lies in a
 * folder: one safetensors file or its shards, with config.json beside. */
#include "file.h"
#include "../base/json.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const char *rw_container_name(rw_container c) {
    static const char *const names[] = {"pth", "pth (legacy)", "safetensors", "gguf", "ggmf"};
    return names[c];
}

typedef rwkv_status read_fn(rw_table *t, const rw_file *f, rwkv_error *err);

/* A header that does not fit the file but could be one is a cut file: its reader says so. */
static bool is_safetensors(const rw_file *f) {
    if (f->size < 9 || f->data[8] != '{') return false;
    uint64_t header = rw_le64(f->data);
    return header <= f->size - 8 || header <= RW_MAX_ST_HEADER;
}

/* What the first bytes suggest when no reader takes them. */
static const char *looks_like(const rw_file *f) {
    static const struct {
        const char *magic;
        size_t len;
        const char *what;
    } known[] = {
        {"lmgg", 4, "a GGML file older than GGUF"},
        {"tjgg", 4, "a GGJT file, older than GGUF"},
        {"FUGG", 4, "a big-endian GGUF file"},
        {"ggmf", 4, "a big-endian rwkv.cpp file"},
        {"\x80\2", 2, "a pickle without tensors' data"},
        {"\x80\3", 2, "a pickle without tensors' data"},
        {"\x80\4", 2, "a pickle without tensors' data"},
        {"\x80\5", 2, "a pickle without tensors' data"},
        {"PK", 2, "a zip archive that is empty or split"},
        {"\x1f\x8b", 2, "a gzip archive"},
        {"7z\xbc\xaf", 4, "a 7z archive"},
        {"\x89HDF", 4, "an HDF5 file"},
        {"\x93NUMPY", 6, "a NumPy array"},
        {"\177ELF", 4, "a program"},
        {"version https://git-lfs", 23, "a Git LFS pointer, not the file itself"},
        {"<!DOCTYPE", 9, "a web page"},
        {"<html", 5, "a web page"},
        {"{", 1, "JSON"},
    };
    if (f->size == 0) return "an empty file";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (f->size >= known[i].len && memcmp(f->data, known[i].magic, known[i].len) == 0)
            return known[i].what;
    return "no known kind of file";
}

static rwkv_status sniff(const rw_file *f, rw_container *kind, read_fn **reader, rwkv_error *err) {
    static const struct {
        const char magic[5];
        rw_container kind;
        read_fn *reader;
    } readers[] = {
        {"PK\3\4", RW_PTH, rw_read_pth},
        {"\x80\x02\x8a\x0a", RW_PTH_LEGACY, rw_read_pth_legacy},
        {"fmgg", RW_GGMF, rw_read_ggmf},
        {"GGUF", RW_GGUF, rw_read_gguf},
    };
    if (is_safetensors(f)) { /* before the rest: its length may begin with any byte */
        *kind = RW_SAFETENSORS;
        *reader = rw_read_safetensors;
        return RWKV_OK;
    }
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        if (f->size >= 4 && memcmp(f->data, readers[i].magic, 4) == 0) {
            *kind = readers[i].kind;
            *reader = readers[i].reader;
            return RWKV_OK;
        }
    return rw_fail_at(err, RWKV_E_FORMAT, f->path, 0,
                      "not a model: found %s; expected a .pth, .safetensors, GGUF or rwkv.cpp file",
                      looks_like(f));
}

static rwkv_status add_file(rw_table *t, const char *path, bool no_mmap, rwkv_error *err) {
    rw_file **files = rw_realloc(t->files, t->n_files + 1, sizeof *files);
    if (!files) return rw_nomem(err, (t->n_files + 1) * sizeof *files);
    t->files = files;
    RW_TRY(rw_file_open(&t->files[t->n_files], path, no_mmap, err));
    t->file_bytes += t->files[t->n_files++]->size;
    return RWKV_OK;
}

/* ---------------------------------------------------------------- folders and config.json */

static char *join(rw_arena *a, const char *folder, size_t folder_len, const char *name) {
    rw_buf b = {0};
    char *out = NULL;
    if (rw_buf_add(&b, folder, folder_len) && (folder_len == 0 || rw_buf_add(&b, "/", 1)) &&
        rw_buf_add(&b, name, strlen(name)))
        out = rw_arena_strndup(a, (const char *)b.data, b.len);
    rw_buf_free(&b);
    return out;
}

/* Top-level numbers, strings and booleans of config.json as "config.KEY". */
static rwkv_status add_config(rw_table *t, const rw_file *f, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    rw_json j;
    rw_json_event ev;
    char key[RW_MAX_NAME + 1];
    rw_json_init(&j, f->path, f->data, f->size, 0);
    RW_GOTO(rw_json_next(&j, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) RW_GOTO(rw_json_fail(&j, &ev, "config", "an object", err));
    for (;;) {
        RW_GOTO(rw_json_next(&j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) break;
        int kept = ev.len < 200 ? (int)ev.len : 200;
        int n = snprintf(key, sizeof key, "config.%.*s", kept, ev.text);
        RW_GOTO(rw_json_next(&j, &ev, err));
        RW_GOTO(rw_json_drop(&j, &ev, err));
        if (ev.kind == RW_JSON_OBJECT || ev.kind == RW_JSON_ARRAY || ev.kind == RW_JSON_NULL)
            continue;
        rw_meta m = {.key = key, .offset = ev.pos};
        if (ev.kind == RW_JSON_STRING) {
            m.kind = RW_META_STRING;
            m.v.str.len = ev.len;
            m.v.str.s = rw_arena_strndup(&t->arena, ev.text, ev.len);
            if (!m.v.str.s) RW_GOTO(rw_nomem(err, ev.len));
        } else if (ev.kind == RW_JSON_NUMBER && rw_json_u64(&j, &ev, &m.v.u, NULL) == RWKV_OK) {
            m.kind = RW_META_U64;
        } else if (ev.kind == RW_JSON_NUMBER) {
            m.kind = RW_META_F64;
            RW_GOTO(rw_json_f64(&j, &ev, &m.v.f, err));
        } else {
            m.kind = RW_META_BOOL;
            m.v.u = ev.kind == RW_JSON_TRUE;
        }
        RW_GOTO(rw_table_add_meta(t, &m, (size_t)n, err));
    }
    RW_GOTO(rw_json_next(&j, &ev, err));
out:
    rw_json_free(&j);
    return st;
}

/* config.json is optional; one that is there must be right. */
static rwkv_status read_config(rw_table *t, const char *folder, size_t len, bool no_mmap,
                               rwkv_error *err) {
    struct stat sb;
    char *path = join(&t->arena, folder, len, "config.json");
    if (!path) return rw_nomem(err, len);
    if (stat(path, &sb) != 0) return RWKV_OK;
    rw_file *f = NULL;
    RW_TRY(rw_file_open(&f, path, no_mmap, err));
    rwkv_status st = add_config(t, f, err);
    rw_file_close(f);
    return st;
}

/* Reads the shard at its first mention. */
static rwkv_status add_shard(rw_table *t, rw_map *seen, const char *folder, size_t len,
                             const char *name, size_t name_len, bool no_mmap, rwkv_error *err) {
    size_t known;
    char *copy = rw_arena_strndup(&t->arena, name, name_len);
    char *path = copy ? join(&t->arena, folder, len, copy) : NULL;
    if (!path || !rw_map_put(seen, copy, name_len, t->n_files, &known))
        return rw_nomem(err, len + name_len);
    RW_TRY(add_file(t, path, no_mmap, err));
    return rw_read_safetensors(t, t->files[t->n_files - 1], err);
}

/* {"tensor": "shard", ...}: every tensor must be in its shard, and there must be no others. */
static rwkv_status read_weight_map(rw_table *t, rw_json *j, rw_map *seen, const char *folder,
                                   size_t len, bool no_mmap, rwkv_error *err) {
    rw_json_event ev;
    size_t n = 0;
    RW_TRY(rw_json_next(j, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) return rw_json_fail(j, &ev, "weight_map", "an object", err);
    for (;; n++) {
        RW_TRY(rw_json_next(j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) break;
        char tensor[RW_MAX_NAME + 1];
        size_t tensor_len = ev.len, at = ev.pos;
        if (tensor_len > RW_MAX_NAME)
            return rw_json_fail(j, &ev, "tensor name", "at most 255 bytes", err);
        memcpy(tensor, ev.text, tensor_len);
        RW_TRY(rw_json_next(j, &ev, err));
        if (ev.kind != RW_JSON_STRING || ev.len == 0 || ev.len > RW_MAX_NAME ||
            memchr(ev.text, '/', ev.len) || memchr(ev.text, 0, ev.len))
            return rw_json_fail(j, &ev, "shard", "the name of a file in this folder", err);
        size_t shard = rw_map_get(seen, ev.text, ev.len);
        if (shard == SIZE_MAX) {
            shard = t->n_files;
            RW_TRY(add_shard(t, seen, folder, len, ev.text, ev.len, no_mmap, err));
        }
        size_t i = rw_map_get(&t->by_name, tensor, tensor_len);
        if (i == SIZE_MAX || t->tensors[i].file != t->files[shard])
            return rw_fail_at(err, RWKV_E_FORMAT, j->path, at,
                              "tensor %.*s is not in %.*s, where the index has it", (int)tensor_len,
                              tensor, (int)ev.len, ev.text);
    }
    if (n != t->n_tensors)
        return rw_fail_at(err, RWKV_E_FORMAT, j->path, ev.pos,
                          "weight_map names %zu tensors; the files hold %zu", n, t->n_tensors);
    return RWKV_OK;
}

static rwkv_status add_shards(rw_table *t, const rw_file *index, const char *folder, size_t len,
                              bool no_mmap, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    rw_json j;
    rw_json_event ev;
    rw_map seen = {0};
    rw_json_init(&j, index->path, index->data, index->size, 0);
    RW_GOTO(rw_json_next(&j, &ev, err));
    if (ev.kind != RW_JSON_OBJECT) RW_GOTO(rw_json_fail(&j, &ev, "index", "an object", err));
    for (;;) {
        RW_GOTO(rw_json_next(&j, &ev, err));
        if (ev.kind == RW_JSON_CLOSE) break;
        if (ev.len == 10 && memcmp(ev.text, "weight_map", 10) == 0)
            RW_GOTO(read_weight_map(t, &j, &seen, folder, len, no_mmap, err));
        else
            RW_GOTO(rw_json_skip(&j, err));
    }
    RW_GOTO(rw_json_next(&j, &ev, err));
    if (t->n_files == 0)
        st = rw_fail_at(err, RWKV_E_FORMAT, index->path, RWKV_NO_OFFSET,
                        "the index names no file (weight_map)");
out:
    rw_map_free(&seen);
    rw_json_free(&j);
    return st;
}

static rwkv_status open_folder(rw_table *t, const char *folder, bool no_mmap, rwkv_error *err) {
    struct stat sb;
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/') len--;
    char *index = join(&t->arena, folder, len, "model.safetensors.index.json");
    char *whole = join(&t->arena, folder, len, "model.safetensors");
    if (!index || !whole) return rw_nomem(err, len);
    t->container = RW_SAFETENSORS;
    if (stat(whole, &sb) == 0) {
        RW_TRY(add_file(t, whole, no_mmap, err));
        RW_TRY(rw_read_safetensors(t, t->files[0], err));
    } else if (stat(index, &sb) == 0) {
        rw_file *f = NULL;
        RW_TRY(rw_file_open(&f, index, no_mmap, err));
        rwkv_status st = add_shards(t, f, folder, len, no_mmap, err);
        rw_file_close(f);
        if (st != RWKV_OK) return st;
    } else {
        return rw_fail_at(err, RWKV_E_IO, folder, RWKV_NO_OFFSET,
                          "not a regular file; found a folder without model.safetensors");
    }
    return read_config(t, folder, len, no_mmap, err);
}

static rwkv_status open_file(rw_table *t, const char *path, bool no_mmap, rwkv_error *err) {
    read_fn *reader = NULL;
    RW_TRY(add_file(t, path, no_mmap, err));
    RW_TRY(sniff(t->files[0], &t->container, &reader, err));
    RW_TRY(reader(t, t->files[0], err));
    if (t->container != RW_SAFETENSORS) return RWKV_OK;
    const char *slash = strrchr(path, '/');
    if (!slash) return read_config(t, "", 0, no_mmap, err);
    return read_config(t, path, slash == path ? 1 : (size_t)(slash - path), no_mmap, err);
}

rwkv_status rw_table_open(rw_table **out, const char *path, bool no_mmap, rwkv_error *err) {
    struct stat sb;
    rwkv_status st = RWKV_OK;
    rw_table *t = rw_calloc(1, sizeof *t);
    if (!t) return rw_nomem(err, sizeof *t);
    t->path = rw_arena_strndup(&t->arena, path, strlen(path));
    if (!t->path) RW_GOTO(rw_nomem(err, strlen(path)));
    if (stat(path, &sb) == 0 && S_ISDIR(sb.st_mode))
        RW_GOTO(open_folder(t, path, no_mmap, err));
    else
        RW_GOTO(open_file(t, path, no_mmap, err));
    *out = t;
    return RWKV_OK;
out:
    rw_table_close(t);
    return st;
}

void rw_table_close(rw_table *t) {
    if (!t) return;
    for (size_t i = 0; i < t->n_files; i++) rw_file_close(t->files[i]);
    rw_free(t->files);
    rw_free(t->tensors);
    rw_free(t->meta);
    rw_map_free(&t->by_name);
    rw_map_free(&t->by_key);
    rw_arena_free(&t->arena);
    rw_free(t);
}
