/* test_file.c - from a path to a table: which files are opened at all, the bounded reader, what a
 * table refuses, formats told apart by content, folders with shards and config.json (reliability.md
 * F2, F6, F10, P6). On Linux the linker puts wrappers around malloc and its kin
 * (tests/CMakeLists.txt). */
#include "support_models.h"
#include "support_readers.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- the allocation at which the countdown becomes 0 fails; -1: none */

static int countdown = -1;
static bool injected;

static RW_UNUSED bool out_of_memory(void) {
    if (countdown < 0 || countdown-- > 0) return false;
    injected = true;
    return true;
}

#ifdef __linux__
static const bool heap_is_wrapped = true;
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
int __real_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n);
void *__wrap_malloc(size_t n) {
    return out_of_memory() ? NULL : __real_malloc(n);
}
void *__wrap_calloc(size_t n, size_t size) {
    return out_of_memory() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *p, size_t n) {
    return out_of_memory() ? NULL : __real_realloc(p, n);
}
int __wrap_posix_memalign(void **out, size_t alignment, size_t n) {
    return out_of_memory() ? ENOMEM : __real_posix_memalign(out, alignment, n);
}
#else
static const bool heap_is_wrapped = false;
#endif

/* ---------------------------------------------------------------- files */

static void opens_regular_files(void **unused) {
    (void)unused;
    enum { N = 100000 };
    uint8_t *bytes = malloc(N);
    assert_non_null(bytes);
    for (size_t i = 0; i < N; i++) bytes[i] = (uint8_t)(i * 7);
    char path[512];
    snprintf(path, sizeof path, "%s", temp_path("regular"));
    for (int no_mmap = 0; no_mmap < 2; no_mmap++)
        for (size_t n = 0; n <= N; n = n ? n * 10 : 1) {
            rw_file *f = NULL;
            rwkv_error err;
            spill(path, bytes, n);
            assert_int_equal(rw_file_open(&f, path, no_mmap, &err), RWKV_OK);
            assert_int_equal(f->size, n);
            assert_int_equal(f->mapped, n > 0 && !no_mmap);
            assert_string_equal(f->path, path);
            if (n)
                assert_memory_equal(f->data, bytes, n);
            else
                assert_null(f->data);
            rw_file_release(f, f->data, n); /* drops pages, keeps bytes */
            if (n) rw_file_release(f, f->data + n / 3, n / 2);
            rw_file_release(f, bytes, N); /* not of this file */
            if (n) assert_memory_equal(f->data, bytes, n);
            rw_file_close(f);
        }
    rw_file_close(NULL);
    free(bytes);
}

static void expect_no_file(const char *path, const char *needle) {
    for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
        rw_file *f = NULL;
        rw_table *t = NULL;
        rwkv_error err = {0};
        alarm(5); /* none of these may block */
        if (rw_file_open(&f, path, no_mmap, &err) != RWKV_E_IO || f || !strstr(err.message, needle))
            fail_msg("%s: expected \"%s\": %s", path, needle, err.message);
        assert_int_equal(rw_table_open(&t, path, no_mmap, &err), RWKV_E_IO);
        assert_null(t);
        alarm(0);
    }
}

static void refuses_what_is_no_file(void **unused) {
    (void)unused;
    char path[5000];
    expect_no_file(temp_path("absent"), "absent: cannot open: No such file");
    expect_no_file("", "cannot open: No such file");
    expect_no_file("/dev/zero", "not a regular file; found a device");
    expect_no_file("/dev/random", "not a regular file; found a device");
    expect_no_file("/dev/null", "not a regular file; found a device");
    expect_no_file(temp_path("."), "not a regular file; found a folder");
    snprintf(path, sizeof path, "%s", temp_path("fifo"));
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_no_file(path, "not a regular file; found a pipe");
    snprintf(path, sizeof path, "%s", temp_path("loop"));
    assert_int_equal(symlink("loop", path), 0);
    expect_no_file(path, "Too many levels of symbolic links");
    snprintf(path, sizeof path, "%s", temp_path("secret"));
    spill(path, "x", 1);
    assert_int_equal(chmod(path, 0), 0);
    if (geteuid() != 0) expect_no_file(path, "Permission denied");
    memset(path, 'n', sizeof path - 1);
    path[sizeof path - 1] = 0;
    expect_no_file(path, "File name too long");
    expect_no_file("a\x1b[2Jb\n", "a\\x1b[2Jb\\x0a: cannot open");
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", temp_path("socket"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(s >= 0);
    assert_int_equal(bind(s, (struct sockaddr *)&name, sizeof name), 0);
    expect_no_file(name.sun_path, "cannot open");
    close(s);
}

/* ---------------------------------------------------------------- reader */

static void reader_stays_inside(void **unused) {
    (void)unused;
    static const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    rw_file f = {.path = (char *)"f", .data = bytes, .size = sizeof bytes};
    rwkv_error err;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    const uint8_t *p;
    rw_reader r = rw_reader_at(&f, 0, UINT64_MAX);
    assert_int_equal(rw_reader_left(&r), 16);
    assert_int_equal(rw_read_u8(&r, &u8, "a", &err), RWKV_OK);
    assert_int_equal(rw_read_u16(&r, &u16, "b", &err), RWKV_OK);
    assert_int_equal(rw_read_u32(&r, &u32, "c", &err), RWKV_OK);
    assert_int_equal(rw_read_u64(&r, &u64, "d", &err), RWKV_OK);
    assert_true(u8 == 1 && u16 == 0x0302 && u32 == 0x07060504 && u64 == 0x0f0e0d0c0b0a0908u);
    assert_int_equal(rw_reader_left(&r), 1);
    assert_int_equal(rw_read_u16(&r, &u16, "size", &err), RWKV_E_FORMAT);
    assert_string_equal(err.message, "f:15: size: the file ends; found 1 bytes; expected 2");
    assert_int_equal(err.offset, 15);
    assert_int_equal(rw_read_u32(&r, &u32, "size", &err), RWKV_E_FORMAT);
    assert_int_equal(rw_read_u64(&r, &u64, "size", &err), RWKV_E_FORMAT);
    assert_int_equal(rw_read_bytes(&r, UINT64_MAX, &p, "size", &err), RWKV_E_FORMAT);
    assert_int_equal(rw_reader_left(&r), 1); /* a failure moves nothing */
    assert_int_equal(rw_read_bytes(&r, 0, &p, "nothing", &err), RWKV_OK);
    assert_int_equal(rw_read_bytes(&r, 1, &p, "last", &err), RWKV_OK);
    assert_ptr_equal(p, bytes + 15);
    assert_int_equal(rw_read_u8(&r, &u8, "size", NULL), RWKV_E_FORMAT);
    r = rw_reader_at(&f, 4, 6);
    assert_int_equal(rw_reader_left(&r), 2);
    assert_int_equal(rw_read_u32(&r, &u32, "size", &err), RWKV_E_FORMAT);
    r = rw_reader_at(&f, 12, 6);
    assert_int_equal(rw_reader_left(&r), 0);
    r = rw_reader_at(&f, UINT64_MAX, UINT64_MAX);
    assert_int_equal(rw_reader_left(&r), 0);
    assert_int_equal(rw_read_fail(&r, 7, &err, "found %d; expected %d", 1, 2), RWKV_E_FORMAT);
    assert_string_equal(err.message, "f:7: found 1; expected 2");
}

/* ---------------------------------------------------------------- table */

static rwkv_status add(rw_table *t, const char *name, size_t len, uint64_t offset,
                       rwkv_error *err) {
    return rw_table_add(t, &(rw_tensor){.name = name, .offset = offset}, len, err);
}

static rwkv_status add_meta(rw_table *t, rw_meta m, rwkv_error *err) {
    return rw_table_add_meta(t, &m, strlen(m.key), err);
}

static rw_table *new_table(void) {
    rw_table *t = rw_calloc(1, sizeof *t);
    assert_non_null(t);
    t->path = "table";
    return t;
}

static void table_checks_names(void **unused) {
    (void)unused;
    rwkv_error err;
    char name[300];
    rw_table *t = new_table();
    memset(name, 'n', sizeof name);
    assert_int_equal(add(t, "", 0, 5, &err), RWKV_E_FORMAT);
    assert_string_equal(err.message, "table:5: tensor name: found 0 bytes; expected 1..255");
    assert_int_equal(add(t, name, 256, 5, &err), RWKV_E_FORMAT);
    assert_int_equal(add(t, name, 255, 5, &err), RWKV_OK);
    assert_int_equal(add(t, "a\0b", 3, 5, &err), RWKV_E_FORMAT);
    assert_non_null(strstr(err.message, "zero byte"));
    assert_int_equal(add(t, "emb.weight", 10, 64, &err), RWKV_OK);
    assert_int_equal(add(t, "emb.weights", 10, 128, &err), RWKV_E_FORMAT); /* the same 10 bytes */
    assert_string_equal(err.message,
                        "table:128: tensor emb.weight occurs twice; the first is at 64");
    assert_string_equal(rw_table_find(t, "emb.weight")->name, "emb.weight");
    assert_null(rw_table_find(t, "emb"));
    rw_table_close(t);

    t = new_table();
    rw_meta m = {.key = "key", .kind = RW_META_U64, .offset = 9};
    assert_int_equal(add_meta(t, m, &err), RWKV_OK);
    m.offset = 21;
    assert_int_equal(add_meta(t, m, &err), RWKV_E_FORMAT);
    assert_string_equal(err.message, "table:21: key key occurs twice; the first is at 9");
    rw_table_close(t);

    t = new_table();
    for (unsigned i = 0; i <= RW_MAX_TENSORS; i++) {
        int n = snprintf(name, sizeof name, "t%u", i);
        rwkv_status st = add(t, name, (size_t)n, i, &err);
        m.key = name;
        assert_int_equal(st, i < RW_MAX_TENSORS ? RWKV_OK : RWKV_E_FORMAT);
        assert_int_equal(add_meta(t, m, &err), i < RW_MAX_META ? RWKV_OK : RWKV_E_FORMAT);
    }
    assert_non_null(strstr(err.message, "more than 65536 metadata keys"));
    assert_int_equal(rw_table_find(t, "t54321")->offset, 54321);
    rw_table_close(t);
}

static void getters_check_kinds(void **unused) {
    (void)unused;
    rwkv_error err;
    rw_table *t = new_table();
    assert_int_equal(add_meta(t, (rw_meta){.key = "u", .kind = RW_META_U64, .v.u = 7}, &err),
                     RWKV_OK);
    assert_int_equal(add_meta(t, (rw_meta){.key = "i", .kind = RW_META_I64, .v.i = -7}, &err),
                     RWKV_OK);
    assert_int_equal(add_meta(t, (rw_meta){.key = "j", .kind = RW_META_I64, .v.i = 8}, &err),
                     RWKV_OK);
    assert_int_equal(add_meta(t, (rw_meta){.key = "f", .kind = RW_META_F64, .v.f = 1.5}, &err),
                     RWKV_OK);
    assert_int_equal(
        add_meta(t, (rw_meta){.key = "b", .kind = RW_META_BOOL, .v.u = 1, .offset = 44}, &err),
        RWKV_OK);
    assert_int_equal(
        add_meta(t, (rw_meta){.key = "s", .kind = RW_META_STRING, .v.str = {"hi!", 2}}, &err),
        RWKV_OK);
    assert_int_equal(add_meta(t, (rw_meta){.key = "ss", .kind = RW_META_STRINGS}, &err), RWKV_OK);
    assert_int_equal(add_meta(t, (rw_meta){.key = "nn", .kind = RW_META_NUMBERS}, &err), RWKV_OK);
    uint64_t u = 99;
    double f = 99;
    const char *s = NULL;
    size_t n = 99;
    bool found = false;
    assert_int_equal(rw_meta_u64(t, "u", &u, &found, &err), RWKV_OK);
    assert_true(found && u == 7);
    assert_int_equal(rw_meta_u64(t, "j", &u, NULL, &err), RWKV_OK);
    assert_int_equal(u, 8);
    assert_int_equal(rw_meta_u64(t, "none", &u, &found, &err), RWKV_OK);
    assert_true(!found && u == 8);
    assert_int_equal(rw_meta_u64(t, "none", &u, NULL, &err), RWKV_E_FORMAT);
    assert_string_equal(err.message, "table: key none is missing");
    assert_int_equal(rw_meta_u64(t, "i", &u, &found, &err), RWKV_E_FORMAT);
    assert_int_equal(rw_meta_u64(t, "b", &u, &found, &err), RWKV_E_FORMAT);
    assert_string_equal(err.message,
                        "table:44: key b: found a boolean; expected an unsigned integer");
    assert_int_equal(u, 8);
    assert_int_equal(rw_meta_f64(t, "f", &f, NULL, &err), RWKV_OK);
    assert_true(f == 1.5);
    assert_int_equal(rw_meta_f64(t, "i", &f, NULL, &err), RWKV_OK);
    assert_true(f == -7);
    assert_int_equal(rw_meta_f64(t, "u", &f, NULL, &err), RWKV_OK);
    assert_true(f == 7);
    assert_int_equal(rw_meta_f64(t, "ss", &f, NULL, &err), RWKV_E_FORMAT);
    assert_int_equal(rw_meta_str(t, "s", &s, &n, NULL, &err), RWKV_OK);
    assert_int_equal(n, 2);
    assert_memory_equal(s, "hi", 2);
    assert_int_equal(rw_meta_str(t, "nn", &s, &n, NULL, &err), RWKV_E_FORMAT);
    assert_non_null(strstr(err.message, "found an array of numbers; expected a string"));
    assert_int_equal(rw_meta_str(t, "none", &s, &n, &found, &err), RWKV_OK);
    assert_false(found);
    assert_null(rw_meta_find(t, "none"));
    rw_table_close(t);
    rw_table_close(NULL);
}

/* ---------------------------------------------------------------- telling formats apart */

static void content_decides(void **unused) {
    (void)unused;
    static const rw_container kinds[TEST_FORMATS] = {[AS_PTH] = RW_PTH,
                                                     [AS_PTH_LEGACY] = RW_PTH_LEGACY,
                                                     [AS_SAFETENSORS] = RW_SAFETENSORS,
                                                     [AS_FLA] = RW_SAFETENSORS,
                                                     [AS_WEB_RWKV] = RW_SAFETENSORS,
                                                     [AS_GGUF] = RW_GGUF,
                                                     [AS_GGUF_VOCAB] = RW_GGUF,
                                                     [AS_GGMF] = RW_GGMF};
    static const char *const endings[] = {"pth", "gguf", "safetensors", "bin", "txt"};
    for (int kind = 0; kind < TEST_FORMATS; kind++) {
        size_t n;
        void *bytes = slurp(test_model_file(&test_small_shape, (test_format)kind, RW_F16), &n);
        for (size_t e = 0; e < sizeof endings / sizeof *endings; e++)
            for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
                char name[64];
                snprintf(name, sizeof name, "renamed.%s", endings[e]);
                const char *path = temp_path(name);
                spill(path, bytes, n);
                rw_table *t = NULL;
                rwkv_error err;
                if (rw_table_open(&t, path, no_mmap, &err))
                    fail_msg("%s: %s", test_format_names[kind], err.message);
                assert_int_equal(t->container, kinds[kind]);
                assert_int_equal(t->n_files, 1);
                assert_int_equal(t->file_bytes, n);
                assert_true(t->n_tensors > 20);
                assert_string_equal(t->path, path);
                rw_table_close(t);
            }
        free(bytes);
    }
    assert_string_equal(rw_container_name(RW_PTH_LEGACY), "pth (legacy)");
    assert_string_equal(rw_container_name(RW_GGMF), "ggmf");
}

static void says_what_it_looks_like(void **unused) {
    (void)unused;
#define LOOK(s, what)                                                                              \
    { s, sizeof s - 1, what }
    static const struct {
        const char *bytes;
        size_t n;
        const char *needle;
    } files[] = {
        LOOK("", "found an empty file"),
        LOOK("x", "found no known kind of file"),
        LOOK("just some text",
             "found no known kind of file; expected a .pth, .safetensors, GGUF or rwkv.cpp file"),
        LOOK("PK\5\6\0\0\0\0", "a zip archive that is empty"),
        LOOK("\x80\4\x95\0\0\0\0\0\0\0\0.", "a pickle without"),
        LOOK("\x80\2}q\0.", "a pickle without"),
        LOOK("lmgg\1\0\0\0", "older than GGUF"),
        LOOK("tjgg\1\0\0\0", "older than GGUF"),
        LOOK("FUGG\0\0\0\3", "a big-endian GGUF file"),
        LOOK("\x1f\x8b\x08\0\0", "a gzip archive"),
        LOOK("{\"a\":1}", "JSON"),
        LOOK("<!DOCTYPE html>", "a web page"),
        LOOK("\x7f"
             "ELF\2\1\1",
             "a program"),
        LOOK("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        LOOK("\xff\xff\xff\xff\xff\xff\xff\xff{\"a\":1}", "no known kind"),
        /* from here on a reader takes it, and says what is wrong */
        LOOK("\0\0\0\0\0\0\0\0{}", "header length: found 0"),
        LOOK("\x10\0\0\0\0\0\0\0{\"a\":", "header: the file ends; found 5 bytes; expected 16"),
        LOOK("GGUF", "4: "),
        LOOK("fmgg", "4: "),
        LOOK("PK\3\4", "zip"),
        LOOK("\x80\2\x8a\x0a", "PyTorch magic number: the file ends"),
    };
#undef LOOK
    const char *path = temp_path("unknown");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        rw_table *t = NULL;
        rwkv_error err = {0};
        spill(path, files[i].bytes, files[i].n);
        rwkv_status st = rw_table_open(&t, path, false, &err);
        if (st != RWKV_E_FORMAT || t || !strstr(err.message, files[i].needle))
            fail_msg("%zu: expected \"%s\": %s", i, files[i].needle, err.message);
    }
}

/* ---------------------------------------------------------------- folders */

static char folder[512];

static void fresh_folder(void) {
    static unsigned n;
    char name[32];
    snprintf(name, sizeof name, "hf-%u", n++);
    snprintf(folder, sizeof folder, "%s", temp_path(name));
    assert_int_equal(mkdir(folder, 0700), 0);
}

static const char *in_folder(const char *name) {
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, const char *text) {
    spill(in_folder(name), text, strlen(text));
}

/* Tensors "PREFIX0", "PREFIX1"... of one byte each. */
static void put_shard(const char *name, const char *prefix, int n) {
    rw_buf h = {0}, b = {0};
    put_text(&h, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = 0; i < n; i++) {
        char row[128];
        snprintf(row, sizeof row,
                 ",\"%s%d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}", prefix, i,
                 i, i + 1);
        put_text(&h, row);
    }
    put_text(&h, "}");
    put_le(&b, h.len, 8);
    put_bytes(&b, h.data, h.len);
    for (int i = 0; i < n; i++) put_le(&b, (uint64_t)(prefix[0] + i), 1);
    spill(in_folder(name), b.data, b.len);
    rw_buf_free(&h);
    rw_buf_free(&b);
}

static const char config[] = "{\"architectures\":[\"RWKV7ForCausalLM\"],\"model_type\":\"rwkv7\","
                             "\"hidden_size\":64,\"norm_eps\":1e-05,\n"
                             " \"offset\":-3,\"norm_first\":true,\"tie\":false,\"none\":null,"
                             "\"nested\":{\"hidden_size\":[1,{}]},\"h\\u00e9\":\"\\n\"}";

static void expect_config(const rw_table *t) {
    uint64_t u;
    double f;
    const char *s;
    size_t n;
    assert_int_equal(rw_meta_u64(t, "config.hidden_size", &u, NULL, NULL), RWKV_OK);
    assert_int_equal(u, 64);
    assert_int_equal(rw_meta_f64(t, "config.norm_eps", &f, NULL, NULL), RWKV_OK);
    assert_true(f == 1e-5);
    assert_int_equal(rw_meta_f64(t, "config.offset", &f, NULL, NULL), RWKV_OK);
    assert_true(f == -3);
    assert_int_equal(rw_meta_str(t, "config.model_type", &s, &n, NULL, NULL), RWKV_OK);
    assert_memory_equal(s, "rwkv7", n);
    assert_int_equal(rw_meta_str(t, "config.h\xc3\xa9", &s, &n, NULL, NULL), RWKV_OK);
    assert_memory_equal(s, "\n", 1);
    assert_int_equal(rw_meta_find(t, "config.norm_first")->kind, RW_META_BOOL);
    assert_int_equal(rw_meta_find(t, "config.norm_first")->v.u, 1);
    assert_int_equal(rw_meta_find(t, "config.tie")->v.u, 0);
    assert_null(rw_meta_find(t, "config.architectures"));
    assert_null(rw_meta_find(t, "config.nested"));
    assert_null(rw_meta_find(t, "config.none"));
}

static rw_table *open_table(const char *path) {
    rw_table *t = NULL;
    rwkv_error err;
    if (rw_table_open(&t, path, false, &err)) fail_msg("%s", err.message);
    return t;
}

static void expect_refused_path(const char *path, rwkv_status st, const char *needle) {
    rw_table *t = NULL;
    rwkv_error err = {0};
    rwkv_status got = rw_table_open(&t, path, false, &err);
    if (got != st || t || !strstr(err.message, needle))
        fail_msg("%s: expected \"%s\": %s", path, needle, err.message);
}

static void folder_with_one_file(void **unused) {
    (void)unused;
    fresh_folder();
    expect_refused_path(folder, RWKV_E_IO, "found a folder without model.safetensors");
    put_shard("model.safetensors", "a", 3);
    rw_table *t = open_table(folder);
    assert_int_equal(t->n_tensors, 3);
    assert_int_equal(t->n_meta, 1);
    assert_string_equal(t->path, folder);
    rw_table_close(t);
    put_file("config.json", config);
    static const char *const ways[] = {"", "/", "//", "/model.safetensors"};
    for (size_t i = 0; i < 4; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s%s", folder, ways[i]);
        t = open_table(path);
        assert_int_equal(t->n_tensors, 3);
        assert_int_equal(t->container, RW_SAFETENSORS);
        expect_config(t);
        rw_table_close(t);
    }
    int here = open(".", O_RDONLY | O_DIRECTORY);
    assert_true(here >= 0 && chdir(folder) == 0);
    t = open_table("model.safetensors");
    expect_config(t);
    rw_table_close(t);
    t = open_table(".");
    expect_config(t);
    rw_table_close(t);
    assert_int_equal(fchdir(here), 0);
    close(here);
    static const struct {
        const char *text, *needle;
    } bad[] = {{"", "config.json:0: JSON: found the end"},
               {"[]", "config: found an array; expected an object"},
               {"{\"a\":1,}", "config.json:7: JSON"},
               {"{\"a\":1}x", "config.json:7: JSON"},
               {"{\"a\":1,\"a\":2}", "key config.a occurs twice"},
               {"{\"a\":1e999}", "at most 1.8e308"},
               {"{\"a\":[1,2}", "config.json:9: JSON"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file("config.json", bad[i].text);
        expect_refused_path(folder, RWKV_E_FORMAT, bad[i].needle);
        expect_refused_path(in_folder("model.safetensors"), RWKV_E_FORMAT, bad[i].needle);
    }
}

static void put_shards(void) {
    fresh_folder();
    put_shard("model-1.safetensors", "a", 2);
    put_shard("model-2.safetensors", "b", 3);
    put_file("config.json", config);
}

#define INDEX(map) "{\"metadata\":{\"total_size\":5},\"weight_map\":" map ",\"more\":[{}]}"
#define A "\"a0\":\"model-1.safetensors\",\"a1\":\"model-1.safetensors\""
#define B                                                                                          \
    "\"b0\":\"model-2.safetensors\",\"b1\":\"model-2.safetensors\",\"b2\":\"model-2.safetensors\""

static void folder_with_shards(void **unused) {
    (void)unused;
    put_shards();
    put_file("model.safetensors.index.json", INDEX("{" A "," B "}"));
    rw_table *t = open_table(folder);
    assert_int_equal(t->n_tensors, 5);
    assert_int_equal(t->n_files, 2);
    assert_int_equal(t->file_bytes, t->files[0]->size + t->files[1]->size);
    assert_int_equal(rw_table_find(t, "a1")->data[0], 'b');
    assert_int_equal(rw_table_find(t, "b2")->data[0], 'd');
    assert_ptr_equal(rw_table_find(t, "b2")->file, t->files[1]);
    assert_non_null(rw_meta_find(t, "meta.format"));
    expect_config(t);
    rw_table_close(t);
    static const struct {
        rwkv_status st;
        const char *index, *needle;
    } bad[] = {
        {RWKV_E_FORMAT, INDEX("{" A ",\"b0\":\"model-2.safetensors\"}"),
         "weight_map names 3 tensors; the files hold 5"},
        {RWKV_E_FORMAT, INDEX("{" A "," B ",\"a0\":\"model-1.safetensors\"}"), "names 6 tensors"},
        {RWKV_E_FORMAT, INDEX("{" A "," B ",\"c\":\"model-1.safetensors\"}"),
         "tensor c is not in model-1.safetensors, where the index has it"},
        {RWKV_E_FORMAT, INDEX("{" A ",\"b0\":\"model-1.safetensors\"}"),
         "tensor b0 is not in model-1.safetensors"},
        {RWKV_E_FORMAT, INDEX("{" A "," B ",\"a0\":\"model-2.safetensors\"}"),
         "tensor a0 is not in model-2.safetensors"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":\"../model-1.safetensors\"}"),
         "the name of a file in this folder"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":\"/etc/passwd\"}"), "the name of a file in this folder"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":\"\"}"), "the name of a file in this folder"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":\"a\\u0000\"}"), "the name of a file in this folder"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":7}"), "shard: found number 7"},
        {RWKV_E_IO, INDEX("{\"a0\":\"absent.safetensors\"}"), "absent.safetensors: cannot open"},
        {RWKV_E_IO, INDEX("{\"a0\":\"..\"}"), "not a regular file"},
        {RWKV_E_FORMAT, INDEX("{\"a0\":\"config.json\"}"), "config.json:"},
        {RWKV_E_FORMAT, INDEX("{}"), "the index names no file"},
        {RWKV_E_FORMAT, INDEX("[]"), "weight_map: found an array"},
        {RWKV_E_FORMAT, "{\"metadata\":{}}", "the index names no file"},
        {RWKV_E_FORMAT, "[]", "index: found an array"},
        {RWKV_E_FORMAT, "{", "index.json:1: JSON"},
        {RWKV_E_FORMAT, "", "index.json:0: JSON"},
        {RWKV_E_FORMAT, INDEX("{" A "," B "}") "x", "expected the end"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_file("model.safetensors.index.json", bad[i].index);
        expect_refused_path(folder, bad[i].st, bad[i].needle);
    }
    put_file("model.safetensors.index.json",
             INDEX("{" A "," B ",\"a0 \":\"model-3.safetensors\"}"));
    put_shard("model-3.safetensors", "a", 1);
    expect_refused_path(folder, RWKV_E_FORMAT, "tensor a0 occurs twice");
}

/* Each allocation fails once: an error, nothing leaked, and the next attempt succeeds. */
static void every_allocation_fails_once(void **unused) {
    (void)unused;
    if (!heap_is_wrapped) skip();
    put_shards();
    put_file("model.safetensors.index.json", INDEX("{" A "," B "}"));
    for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
        int k = 0;
        for (injected = true; injected; k++) {
            rw_table *t = NULL;
            rwkv_error err = {0};
            injected = false;
            countdown = k;
            rwkv_status st = rw_table_open(&t, folder, no_mmap, &err);
            countdown = -1;
            assert_int_equal(st, injected ? RWKV_E_NOMEM : RWKV_OK);
            assert_int_equal(err.code, st);
            assert_true(injected == (t == NULL));
            rw_table_close(t);
        }
        assert_true(k > 15);
    }
}

/* ---- folders of others (../shared) */

static void golden_folders(void **unused) {
    (void)unused;
    static const struct {
        const char *path, *type, *eps;
        size_t n_tensors;
    } golden[] = {{"golden/safetensors/hf-rwkv7", "rwkv7", "config.norm_eps", 69},
                  {"golden/safetensors/hf-rwkv6", "rwkv6", "config.layer_norm_epsilon", 62}};
    for (size_t i = 0; i < 2; i++) {
        const char *path = shared_path(golden[i].path);
        if (!path) skip();
        rw_table *t = open_table(path);
        const char *s;
        size_t n;
        double eps;
        uint64_t width;
        assert_int_equal(t->n_tensors, golden[i].n_tensors);
        assert_int_equal(rw_meta_str(t, "config.model_type", &s, &n, NULL, NULL), RWKV_OK);
        assert_int_equal(n, 5);
        assert_memory_equal(s, golden[i].type, 5);
        assert_int_equal(rw_meta_f64(t, golden[i].eps, &eps, NULL, NULL), RWKV_OK);
        assert_true(eps == 1e-5);
        assert_int_equal(rw_meta_u64(t, "config.hidden_size", &width, NULL, NULL), RWKV_OK);
        assert_int_equal(width, 64);
        rw_table_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_regular_files),     cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(reader_stays_inside),     cmocka_unit_test(table_checks_names),
        cmocka_unit_test(getters_check_kinds),     cmocka_unit_test(content_decides),
        cmocka_unit_test(says_what_it_looks_like), cmocka_unit_test(folder_with_one_file),
        cmocka_unit_test(folder_with_shards),      cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(golden_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
