/* pickle.c - runs the pickle inside a PyTorch file. In: a bounded reader. Out: one value tree.
 *
 * One table says for each opcode which function runs it, another which globals exist. A name that
 * is in neither ends the run. Values are 16 bytes, passed by value; containers and tuples live in
 * an arena. The limits below keep a hostile pickle under 48 MiB, RW_MAX_PICKLE_OPS bounds its time.
 */
#include "pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    PICKLE_MEMORY = 24 << 20, /* containers, tuples, tensors */
    PICKLE_SLOTS = 1 << 19,   /* of the stack, and of the memo: 8 MiB each */
    PICKLE_LINE = 256,        /* module or name of a global */
    PICKLE_PROTOCOL = 5
};

typedef enum role { ROLE_DICT, ROLE_TENSOR, ROLE_PARAMETER, ROLE_STORAGE } role;

static const struct global {
    const char *module, *name;
    role role;
    rw_type type; /* of a storage's elements */
} globals[] = {
    {"collections", "OrderedDict", ROLE_DICT, RW_TYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, RW_TYPE_COUNT},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, RW_TYPE_COUNT},
    {"torch", "FloatStorage", ROLE_STORAGE, RW_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, RW_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, RW_BF16},
    {"torch", "DoubleStorage", ROLE_STORAGE, RW_F64},
    {"torch", "LongStorage", ROLE_STORAGE, RW_I64},
    {"torch", "IntStorage", ROLE_STORAGE, RW_I32},
    {"torch", "ShortStorage", ROLE_STORAGE, RW_I16},
    {"torch", "CharStorage", ROLE_STORAGE, RW_I8},
    {"torch", "ByteStorage", ROLE_STORAGE, RW_U8},
    {"torch", "BoolStorage", ROLE_STORAGE, RW_U8},
};

/* "path:offset: pickle byte N: ...", N counted from the beginning of the pickle. */
static RW_PRINTF(3, 4) void complain(const rw_pickle *p, rwkv_error *err, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    rw_read_fail(p->r, p->at, err, "pickle byte %" PRIu64 ": %s", p->at - p->begin, text);
}

/* A constant, so that compilers see that it is never RWKV_OK. */
#define refuse(p, err, ...) (complain(p, err, __VA_ARGS__), RWKV_E_FORMAT)

static rwkv_status take(rw_pickle *p, void **out, size_t n, size_t size, rwkv_error *err) {
    if (p->arena.total > PICKLE_MEMORY || n > (PICKLE_MEMORY - p->arena.total) / size)
        return refuse(p, err, "the objects of this pickle need more than %d MiB",
                      PICKLE_MEMORY >> 20);
    *out = rw_arena_alloc(&p->arena, n, size);
    return *out ? RWKV_OK : rw_nomem(err, n * size);
}

/* Makes room for slot `need - 1` in the stack or the memo; new slots are unset. */
static rwkv_status grow(const rw_pickle *p, rw_pickle_value **slots, size_t *cap, size_t need,
                        const char *what, rwkv_error *err) {
    if (need <= *cap) return RWKV_OK;
    if (need > PICKLE_SLOTS)
        return refuse(p, err, "%s; found %zu slots; expected at most %d", what, need, PICKLE_SLOTS);
    size_t more = *cap ? *cap : 256;
    while (more < need) more *= 2;
    rw_pickle_value *v = rw_realloc(*slots, more, sizeof *v);
    if (!v) return rw_nomem(err, more * sizeof *v);
    memset(v + *cap, 0, (more - *cap) * sizeof *v);
    *slots = v;
    *cap = more;
    return RWKV_OK;
}

static rwkv_status push(rw_pickle *p, rw_pickle_value v, rwkv_error *err) {
    RW_TRY(grow(p, &p->stack, &p->cap, p->n + 1, "stack", err));
    p->stack[p->n++] = v;
    return RWKV_OK;
}

/* The n values on top of the stack, taken off; never across a mark. Readable until the next push.
 */
static rwkv_status pop(rw_pickle *p, size_t n, const rw_pickle_value **out, rwkv_error *err) {
    if (p->n - p->mark < n)
        return refuse(p, err, "stack underflow; found %zu values; expected %zu", p->n - p->mark, n);
    p->n -= n;
    *out = p->stack + p->n;
    return RWKV_OK;
}

/* The values above the topmost mark, taken off together with it. */
static rwkv_status pop_mark(rw_pickle *p, const rw_pickle_value **out, size_t *n, rwkv_error *err) {
    if (p->mark == 0) return refuse(p, err, "no mark on the stack");
    *out = p->stack + p->mark;
    *n = p->n - p->mark;
    p->n = p->mark - 1;
    p->mark = (size_t)p->stack[p->n].u.i;
    return RWKV_OK;
}

/* The container below what was just popped; stays on the stack. */
static rwkv_status container(rw_pickle *p, rw_pickle_kind kind, rw_pickle_list **out,
                             rwkv_error *err) {
    if (p->n == p->mark)
        return refuse(p, err, "stack underflow; expected a %s", rw_pickle_kind_name(kind));
    const rw_pickle_value *top = &p->stack[p->n - 1];
    if (top->kind != kind)
        return refuse(p, err, "container; found %s; expected %s", rw_pickle_kind_name(top->kind),
                      rw_pickle_kind_name(kind));
    *out = top->u.list;
    return RWKV_OK;
}

static rwkv_status extend(rw_pickle *p, rw_pickle_list *list, const rw_pickle_value *items,
                          size_t n, rwkv_error *err) {
    if (n > list->cap - list->n) {
        size_t cap = list->cap * 2 > list->n + n ? list->cap * 2 : list->n + n;
        void *more;
        RW_TRY(take(p, &more, cap, sizeof *items, err));
        if (list->n) memcpy(more, list->items, list->n * sizeof *items);
        list->items = more;
        list->cap = cap;
    }
    if (n) memcpy(list->items + list->n, items, n * sizeof *items);
    list->n += n;
    return RWKV_OK;
}

static rwkv_status push_tuple(rw_pickle *p, const rw_pickle_value *items, size_t n,
                              rwkv_error *err) {
    void *copy = NULL;
    if (n) {
        RW_TRY(take(p, &copy, n, sizeof *items, err));
        memcpy(copy, items, n * sizeof *items);
    }
    rw_pickle_value v = {.kind = RW_PICKLE_TUPLE, .n = (uint32_t)n};
    v.u.items = copy;
    return push(p, v, err);
}

static rwkv_status push_container(rw_pickle *p, rw_pickle_kind kind, rwkv_error *err) {
    void *list;
    RW_TRY(take(p, &list, 1, sizeof(rw_pickle_list), err));
    rw_pickle_value v = {.kind = kind};
    v.u.list = list;
    return push(p, v, err);
}

/* Little-endian number of 1, 2, 4 or 8 bytes behind the opcode. */
static rwkv_status argument(rw_pickle *p, uint32_t width, uint64_t *out, rwkv_error *err) {
    const uint8_t *b;
    RW_TRY(rw_read_bytes(p->r, width, &b, "pickle", err));
    *out = 0;
    for (uint32_t i = 0; i < width; i++) *out |= (uint64_t)b[i] << (8 * i);
    return RWKV_OK;
}

/* ---- opcodes. `arg` comes from the table: a width in bytes, a count, a kind. */

static rwkv_status op_proto(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t version;
    RW_TRY(argument(p, arg, &version, err));
    if (version > PICKLE_PROTOCOL)
        return refuse(p, err, "protocol; found %" PRIu64 "; expected at most %d", version,
                      PICKLE_PROTOCOL);
    return RWKV_OK;
}

static rwkv_status op_frame(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t length;
    RW_TRY(argument(p, arg, &length, err));
    if (p->frame_end || length > rw_reader_left(p->r))
        return refuse(p, err, "frame of %" PRIu64 " bytes %s", length,
                      p->frame_end ? "inside another frame" : "that goes beyond the pickle");
    p->frame_end = p->r->pos + length;
    return RWKV_OK;
}

static rwkv_status op_mark(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    rw_pickle_value v = {.kind = RW_PICKLE_MARK};
    v.u.i = (int64_t)p->mark;
    RW_TRY(push(p, v, err));
    p->mark = p->n;
    return RWKV_OK;
}

static rwkv_status op_pop_mark(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const rw_pickle_value *items;
    size_t n;
    return pop_mark(p, &items, &n, err);
}

/* Takes the mark itself when nothing is above it. */
static rwkv_status op_pop(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    if (p->mark && p->n == p->mark) return op_pop_mark(p, arg, err);
    const rw_pickle_value *ignored;
    return pop(p, 1, &ignored, err);
}

static rwkv_status memo_put(rw_pickle *p, uint64_t i, rwkv_error *err) {
    if (p->n == p->mark) return refuse(p, err, "stack underflow; nothing to memorize");
    if (i >= PICKLE_SLOTS)
        return refuse(p, err, "memo; found index %" PRIu64 "; expected less than %d", i,
                      PICKLE_SLOTS);
    RW_TRY(grow(p, &p->memo, &p->memo_cap, (size_t)i + 1, "memo", err));
    if (p->memo[i].kind == RW_PICKLE_UNSET) p->n_memo++;
    p->memo[i] = p->stack[p->n - 1];
    return RWKV_OK;
}

static rwkv_status op_put(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t i;
    RW_TRY(argument(p, arg, &i, err));
    return memo_put(p, i, err);
}

static rwkv_status op_memoize(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    return memo_put(p, p->n_memo, err);
}

static rwkv_status op_get(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t i;
    RW_TRY(argument(p, arg, &i, err));
    if (i >= p->memo_cap || p->memo[i].kind == RW_PICKLE_UNSET)
        return refuse(p, err, "memo; index %" PRIu64 " was never set", i);
    return push(p, p->memo[i], err);
}

static rwkv_status op_none(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    return push(p, (rw_pickle_value){.kind = RW_PICKLE_NONE}, err);
}

static rwkv_status op_bool(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    return push(p, (rw_pickle_value){.kind = RW_PICKLE_BOOL, .n = arg}, err);
}

/* BININT (4 bytes) is signed, BININT1 and BININT2 are not. */
static rwkv_status op_int(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t bits;
    RW_TRY(argument(p, arg, &bits, err));
    rw_pickle_value v = {.kind = RW_PICKLE_INT};
    v.u.i = arg == 4 ? (int32_t)(uint32_t)bits : (int64_t)bits;
    return push(p, v, err);
}

/* Two's complement of any length; what 64 bits do not hold is of no use here. */
static rwkv_status op_long(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t n, bits = 0;
    const uint8_t *b;
    RW_TRY(argument(p, arg, &n, err));
    RW_TRY(rw_read_bytes(p->r, n, &b, "pickle", err));
    rw_pickle_value v = {.kind = n <= 8 ? RW_PICKLE_INT : RW_PICKLE_OTHER};
    if (n > 0 && n <= 8) {
        if (b[n - 1] & 0x80) bits = ~(uint64_t)0;
        for (uint64_t i = n; i-- > 0;) bits = bits << 8 | b[i];
    }
    v.u.i = (int64_t)bits;
    return push(p, v, err);
}

static rwkv_status op_float(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t ignored;
    RW_TRY(argument(p, arg, &ignored, err));
    return push(p, (rw_pickle_value){.kind = RW_PICKLE_OTHER}, err);
}

static rwkv_status op_string(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    uint64_t n;
    const uint8_t *s;
    RW_TRY(argument(p, arg, &n, err));
    RW_TRY(rw_read_bytes(p->r, n, &s, "string in the pickle", err));
    rw_pickle_value v = {.kind = RW_PICKLE_STR, .n = (uint32_t)n};
    v.u.s = (const char *)s;
    return push(p, v, err);
}

static rwkv_status op_empty(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    return push_container(p, (rw_pickle_kind)arg, err);
}

static rwkv_status op_tuple(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const rw_pickle_value *items;
    size_t n;
    RW_TRY(pop_mark(p, &items, &n, err));
    return push_tuple(p, items, n, err);
}

static rwkv_status op_tuple_n(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    const rw_pickle_value *items;
    RW_TRY(pop(p, arg, &items, err));
    return push_tuple(p, items, arg, err);
}

/* One value (list) or one pair (dict). */
static rwkv_status op_add(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    const rw_pickle_value *items;
    rw_pickle_list *list;
    size_t n = arg == RW_PICKLE_DICT ? 2 : 1;
    RW_TRY(pop(p, n, &items, err));
    RW_TRY(container(p, (rw_pickle_kind)arg, &list, err));
    return extend(p, list, items, n, err);
}

/* All that is above the mark. */
static rwkv_status op_add_all(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    const rw_pickle_value *items;
    rw_pickle_list *list;
    size_t n;
    RW_TRY(pop_mark(p, &items, &n, err));
    RW_TRY(container(p, (rw_pickle_kind)arg, &list, err));
    if (arg == RW_PICKLE_DICT && n % 2 != 0)
        return refuse(p, err, "dict items; found %zu values; expected keys and values", n);
    return extend(p, list, items, n, err);
}

static rwkv_status push_global(rw_pickle *p, const char *module, size_t module_len,
                               const char *name, size_t name_len, rwkv_error *err) {
    for (uint32_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].module) == module_len && strlen(globals[i].name) == name_len &&
            memcmp(globals[i].module, module, module_len) == 0 &&
            memcmp(globals[i].name, name, name_len) == 0)
            return push(p, (rw_pickle_value){.kind = RW_PICKLE_GLOBAL, .n = i}, err);
    int cap = PICKLE_LINE / 2;
    return refuse(p, err, "GLOBAL %.*s.%.*s is not allowed",
                  module_len < (size_t)cap ? (int)module_len : cap, module,
                  name_len < (size_t)cap ? (int)name_len : cap, name);
}

/* Bytes up to a newline. */
static rwkv_status line(rw_pickle *p, const char **s, size_t *len, rwkv_error *err) {
    uint64_t left = rw_reader_left(p->r);
    size_t most = left < PICKLE_LINE ? (size_t)left : PICKLE_LINE;
    const char *begin = (const char *)p->r->data + p->r->pos;
    const char *end = most ? memchr(begin, '\n', most) : NULL;
    if (!end) return refuse(p, err, "GLOBAL; no newline within %zu bytes", most);
    *s = begin;
    *len = (size_t)(end - begin);
    p->r->pos += *len + 1;
    return RWKV_OK;
}

static rwkv_status op_global(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const char *module, *name;
    size_t module_len, name_len;
    RW_TRY(line(p, &module, &module_len, err));
    RW_TRY(line(p, &name, &name_len, err));
    return push_global(p, module, module_len, name, name_len, err);
}

static rwkv_status op_stack_global(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const rw_pickle_value *v;
    RW_TRY(pop(p, 2, &v, err));
    if (v[0].kind != RW_PICKLE_STR || v[1].kind != RW_PICKLE_STR)
        return refuse(p, err, "STACK_GLOBAL; found %s and %s; expected two strings",
                      rw_pickle_kind_name(v[0].kind), rw_pickle_kind_name(v[1].kind));
    return push_global(p, v[0].u.s, v[0].n, v[1].u.s, v[1].n, err);
}

/* The storage of this key, made at first sight; later mentions must say the same about it. */
static rwkv_status intern(rw_pickle *p, const rw_pickle_value *key, rw_type type, uint64_t numel,
                          rw_pickle_storage **out, rwkv_error *err) {
    size_t existing;
    void *s;
    if (!rw_map_put(&p->by_key, key->u.s, key->n, p->n_storages, &existing))
        return rw_nomem(err, sizeof(rw_pickle_storage));
    if (existing != SIZE_MAX) {
        *out = p->storages[existing];
        if ((*out)->type == type && (*out)->numel == numel) return RWKV_OK;
        return refuse(p, err,
                      "storage %.*s; found %" PRIu64 " x %s; expected %" PRIu64 " x %s as "
                      "before",
                      key->n < 64 ? (int)key->n : 64, key->u.s, numel, rw_type_name(type),
                      (*out)->numel, rw_type_name((*out)->type));
    }
    if (p->n_storages == RW_MAX_TENSORS)
        return refuse(p, err, "more than %u storages", RW_MAX_TENSORS);
    if (p->n_storages == p->cap_storages) {
        size_t cap = p->cap_storages ? 2 * p->cap_storages : 64;
        rw_pickle_storage **more = rw_realloc(p->storages, cap, sizeof *more);
        if (!more) return rw_nomem(err, cap * sizeof *more);
        p->storages = more;
        p->cap_storages = cap;
    }
    RW_TRY(take(p, &s, 1, sizeof(rw_pickle_storage), err));
    *out = p->storages[p->n_storages++] = s;
    **out = (rw_pickle_storage){.key = key->u.s, .key_len = key->n, .type = type, .numel = numel};
    return RWKV_OK;
}

/* ('storage', class, key, location, numel[, None or (view key, first, count)]) */
static rwkv_status op_persistent_id(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const rw_pickle_value *id;
    RW_TRY(pop(p, 1, &id, err));
    const rw_pickle_value *v = id->u.items;
    if (id->kind != RW_PICKLE_TUPLE || id->n < 5 || id->n > 6 ||
        !rw_pickle_str_is(&v[0], "storage") || v[1].kind != RW_PICKLE_GLOBAL ||
        globals[v[1].n].role != ROLE_STORAGE || v[2].kind != RW_PICKLE_STR ||
        v[4].kind != RW_PICKLE_INT || v[4].u.i < 0)
        return refuse(p, err, "persistent id; expected ('storage', class, key, location, numel)");
    uint64_t numel = (uint64_t)v[4].u.i;
    rw_pickle_range range = {.count = numel};
    if (id->n == 6 && v[5].kind != RW_PICKLE_NONE) {
        const rw_pickle_value *view = v[5].u.items;
        if (v[5].kind != RW_PICKLE_TUPLE || v[5].n != 3 || view[1].kind != RW_PICKLE_INT ||
            view[2].kind != RW_PICKLE_INT || view[1].u.i < 0 || view[2].u.i < 0 ||
            (uint64_t)view[1].u.i > numel || (uint64_t)view[2].u.i > numel - (uint64_t)view[1].u.i)
            return refuse(p, err,
                          "view of a storage; expected (key, first, count) inside %" PRIu64
                          " elements",
                          numel);
        range.first = (uint64_t)view[1].u.i;
        range.count = (uint64_t)view[2].u.i;
    }
    RW_TRY(intern(p, &v[2], globals[v[1].n].type, numel, &range.storage, err));
    void *copy;
    RW_TRY(take(p, &copy, 1, sizeof range, err));
    memcpy(copy, &range, sizeof range);
    rw_pickle_value out = {.kind = RW_PICKLE_STORAGE};
    out.u.range = copy;
    return push(p, out, err);
}

static bool all_ints(const rw_pickle_value *tuple) {
    if (tuple->kind != RW_PICKLE_TUPLE) return false;
    for (uint32_t i = 0; i < tuple->n; i++)
        if (tuple->u.items[i].kind != RW_PICKLE_INT) return false;
    return true;
}

/* _rebuild_tensor_v2(storage, first, size, stride, requires_grad, hooks[, metadata]) */
static rwkv_status rebuild_tensor(rw_pickle *p, const rw_pickle_value *args, rwkv_error *err) {
    const rw_pickle_value *v = args->u.items;
    if (args->n < 6 || args->n > 7 || v[0].kind != RW_PICKLE_STORAGE ||
        v[1].kind != RW_PICKLE_INT || !all_ints(&v[2]) || !all_ints(&v[3]))
        return refuse(p, err,
                      "arguments of _rebuild_tensor_v2; expected (storage, offset, size, "
                      "stride, requires_grad, hooks)");
    void *t;
    RW_TRY(take(p, &t, 1, sizeof(rw_pickle_tensor), err));
    *(rw_pickle_tensor *)t = (rw_pickle_tensor){.range = v[0].u.range,
                                                .first = v[1].u.i,
                                                .dims = v[2].u.items,
                                                .n_dims = v[2].n,
                                                .strides = v[3].u.items,
                                                .n_strides = v[3].n,
                                                .offset = p->at};
    rw_pickle_value out = {.kind = RW_PICKLE_TENSOR};
    out.u.tensor = t;
    return push(p, out, err);
}

/* REDUCE, NEWOBJ: a "call" of a global. Three roles may be called; they make a value from the
 * arguments. */
static rwkv_status op_reduce(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    const rw_pickle_value *v;
    RW_TRY(pop(p, 2, &v, err));
    rw_pickle_value callee = v[0], args = v[1];
    if (callee.kind != RW_PICKLE_GLOBAL || args.kind != RW_PICKLE_TUPLE)
        return refuse(p, err, "call of %s with %s is not allowed", rw_pickle_kind_name(callee.kind),
                      rw_pickle_kind_name(args.kind));
    const struct global *g = &globals[callee.n];
    if (g->role == ROLE_DICT && args.n == 0) return push_container(p, RW_PICKLE_DICT, err);
    if (g->role == ROLE_TENSOR) return rebuild_tensor(p, &args, err);
    if (g->role == ROLE_PARAMETER && args.n == 3 && args.u.items[0].kind == RW_PICKLE_TENSOR)
        return push(p, args.u.items[0], err);
    return refuse(p, err, "call of %s.%s with %u arguments is not allowed", g->module, g->name,
                  args.n);
}

/* State of an OrderedDict: {'_metadata': ...}, of no use. */
static rwkv_status op_build(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    const rw_pickle_value *state;
    rw_pickle_list *ignored;
    RW_TRY(pop(p, 1, &state, err));
    if (state->kind != RW_PICKLE_DICT)
        return refuse(p, err, "BUILD; found %s; expected dict", rw_pickle_kind_name(state->kind));
    return container(p, (rw_pickle_kind)arg, &ignored, err);
}

static rwkv_status op_stop(rw_pickle *p, uint32_t arg, rwkv_error *err) {
    (void)arg;
    if (p->n != 1 || p->mark)
        return refuse(p, err, "STOP; found %zu values on the stack; expected 1", p->n);
    return RWKV_OK;
}

/* Opcodes without a function are known, and refused by name. */
static const struct opcode {
    const char *name;
    rwkv_status (*run)(rw_pickle *p, uint32_t arg, rwkv_error *err);
    uint32_t arg;
} opcodes[256] = {
    [0x80] = {"PROTO", op_proto, 1},
    [0x95] = {"FRAME", op_frame, 8},
    ['.'] = {"STOP", op_stop, 0},
    ['('] = {"MARK", op_mark, 0},
    ['0'] = {"POP", op_pop, 0},
    ['1'] = {"POP_MARK", op_pop_mark, 0},
    ['q'] = {"BINPUT", op_put, 1},
    ['r'] = {"LONG_BINPUT", op_put, 4},
    [0x94] = {"MEMOIZE", op_memoize, 0},
    ['h'] = {"BINGET", op_get, 1},
    ['j'] = {"LONG_BINGET", op_get, 4},
    ['N'] = {"NONE", op_none, 0},
    [0x88] = {"NEWTRUE", op_bool, 1},
    [0x89] = {"NEWFALSE", op_bool, 0},
    ['J'] = {"BININT", op_int, 4},
    ['K'] = {"BININT1", op_int, 1},
    ['M'] = {"BININT2", op_int, 2},
    [0x8a] = {"LONG1", op_long, 1},
    ['G'] = {"BINFLOAT", op_float, 8},
    ['X'] = {"BINUNICODE", op_string, 4},
    [0x8c] = {"SHORT_BINUNICODE", op_string, 1},
    ['U'] = {"SHORT_BINSTRING", op_string, 1},
    ['T'] = {"BINSTRING", op_string, 4},
    [')'] = {"EMPTY_TUPLE", op_tuple_n, 0},
    ['t'] = {"TUPLE", op_tuple, 0},
    [0x85] = {"TUPLE1", op_tuple_n, 1},
    [0x86] = {"TUPLE2", op_tuple_n, 2},
    [0x87] = {"TUPLE3", op_tuple_n, 3},
    ['}'] = {"EMPTY_DICT", op_empty, RW_PICKLE_DICT},
    [']'] = {"EMPTY_LIST", op_empty, RW_PICKLE_LIST},
    ['a'] = {"APPEND", op_add, RW_PICKLE_LIST},
    ['e'] = {"APPENDS", op_add_all, RW_PICKLE_LIST},
    ['s'] = {"SETITEM", op_add, RW_PICKLE_DICT},
    ['u'] = {"SETITEMS", op_add_all, RW_PICKLE_DICT},
    ['c'] = {"GLOBAL", op_global, 0},
    [0x93] = {"STACK_GLOBAL", op_stack_global, 0},
    ['Q'] = {"BINPERSID", op_persistent_id, 0},
    ['R'] = {"REDUCE", op_reduce, 0},
    [0x81] = {"NEWOBJ", op_reduce, 0},
    ['b'] = {"BUILD", op_build, RW_PICKLE_DICT},

    ['2'] = {"DUP", NULL, 0},
    ['F'] = {"FLOAT", NULL, 0},
    ['I'] = {"INT", NULL, 0},
    ['L'] = {"LONG", NULL, 0},
    ['P'] = {"PERSID", NULL, 0},
    ['S'] = {"STRING", NULL, 0},
    ['V'] = {"UNICODE", NULL, 0},
    ['d'] = {"DICT", NULL, 0},
    ['l'] = {"LIST", NULL, 0},
    ['g'] = {"GET", NULL, 0},
    ['p'] = {"PUT", NULL, 0},
    ['i'] = {"INST", NULL, 0},
    ['o'] = {"OBJ", NULL, 0},
    ['B'] = {"BINBYTES", NULL, 0},
    ['C'] = {"SHORT_BINBYTES", NULL, 0},
    [0x82] = {"EXT1", NULL, 0},
    [0x83] = {"EXT2", NULL, 0},
    [0x84] = {"EXT4", NULL, 0},
    [0x8b] = {"LONG4", NULL, 0},
    [0x8d] = {"BINUNICODE8", NULL, 0},
    [0x8e] = {"BINBYTES8", NULL, 0},
    [0x8f] = {"EMPTY_SET", NULL, 0},
    [0x90] = {"ADDITEMS", NULL, 0},
    [0x91] = {"FROZENSET", NULL, 0},
    [0x92] = {"NEWOBJ_EX", NULL, 0},
    [0x96] = {"BYTEARRAY8", NULL, 0},
    [0x97] = {"NEXT_BUFFER", NULL, 0},
    [0x98] = {"READONLY_BUFFER", NULL, 0},
};

rwkv_status rw_pickle_run(rw_pickle *p, rw_reader *r, rw_pickle_value *out, rwkv_error *err) {
    p->r = r;
    p->begin = r->pos;
    p->frame_end = 0;
    p->n = p->mark = p->n_memo = 0;
    if (p->memo) memset(p->memo, 0, p->memo_cap * sizeof *p->memo);
    RW_TRY(grow(p, &p->stack, &p->cap, 1, "stack", err)); /* so that it is never NULL */
    for (uint32_t done = 0;; done++) {
        uint8_t code;
        p->at = r->pos;
        if (done == RW_MAX_PICKLE_OPS)
            return refuse(p, err, "more than %u opcodes", RW_MAX_PICKLE_OPS);
        RW_TRY(rw_read_u8(r, &code, "pickle", err));
        const struct opcode *op = &opcodes[code];
        if (!op->name) return refuse(p, err, "byte %02x is no opcode", code);
        if (!op->run) return refuse(p, err, "opcode %s is not allowed", op->name);
        RW_TRY(op->run(p, op->arg, err));
        if (p->frame_end && r->pos > p->frame_end)
            return refuse(p, err, "opcode %s crosses the end of its frame", op->name);
        if (r->pos == p->frame_end) p->frame_end = 0;
        if (code == '.') break;
    }
    *out = p->stack[0];
    return RWKV_OK;
}

void rw_pickle_free(rw_pickle *p) {
    rw_arena_free(&p->arena);
    rw_map_free(&p->by_key);
    rw_free(p->storages);
    rw_free(p->stack);
    rw_free(p->memo);
    memset(p, 0, sizeof *p);
}

bool rw_pickle_str_is(const rw_pickle_value *v, const char *s) {
    return v->kind == RW_PICKLE_STR && v->n == strlen(s) && memcmp(v->u.s, s, v->n) == 0;
}

const rw_pickle_value *rw_pickle_get(const rw_pickle_value *v, const char *key) {
    if (v->kind != RW_PICKLE_DICT) return NULL;
    for (size_t i = v->u.list->n; i > 0; i -= 2)
        if (rw_pickle_str_is(&v->u.list->items[i - 2], key)) return &v->u.list->items[i - 1];
    return NULL;
}

const char *rw_pickle_kind_name(rw_pickle_kind kind) {
    static const char *const names[] = {"nothing", "mark",    "None",  "bool", "int",
                                        "number",  "str",     "tuple", "list", "dict",
                                        "global",  "storage", "tensor"};
    return names[kind];
}
