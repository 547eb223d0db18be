/* test_pickle.c - the pickles of PyTorch files: an interpreter that can call nothing
 * (reliability.md P1, P2). Every pickle comes inside a good archive. */
#include "support_pth.h"
#include <sys/resource.h>

/* The names and globals come from the memo, through frames, as protocol 4 writes them. */
static void reads_protocol_4(void **state) {
    (void)state;
    rw_buf b = {0};
    put_bytes(&b, LIT("\x80\x04\x95"));
    size_t frame = b.len;
    put_le(&b, 0, 8);
    put_bytes(&b, LIT("}\x94("
                      "\x8c\x01"
                      "a\x94"
                      "\x8c\x0ctorch._utils\x94\x8c\x12_rebuild_tensor_v2\x94\x93\x94"
                      "((\x8c\x07storage\x94\x8c\x05torch\x94\x8c\x0c"
                      "FloatStorage\x94\x93\x94"
                      "\x8c\x01"
                      "0\x94\x8c\x03"
                      "cpu\x94K\x18t\x94Q"
                      "K\x00K\x18\x85\x94K\x01\x85\x94\x89"
                      "\x8c\x0b"
                      "collections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94"));
    put_bytes(&b, LIT("t\x94R\x94"
                      "\x8c\x01"
                      "b\x94h\x04"
                      "((h\x05h\x08h\x09h\x0aK\x18tQK\x02h\x0dh\x0d\x89h\x11tRu."));
    patch_le(&b, frame, b.len - frame - 8, 8);
    test_read r = read_pickle(b.data, b.len);
    /* memo 13 is (1,): tensor b has one element, stride 1, offset 2 */
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, 2);
    expect_floats(&r, "a", ramp, 24);
    expect_floats(&r, "b", ramp + 2, 1);
    read_free(&r);
    patch_le(&b, frame, 4, 8);
    refuse_pickle(b.data, b.len, "crosses the end of its frame", "short frame");
    patch_le(&b, frame, b.len - frame - 7, 8);
    refuse_pickle(b.data, b.len, "goes beyond the pickle", "long frame");
    rw_buf_free(&b);
}

/* More than 255 memo entries, and each name and class taken from the memo. */
static void reads_a_large_memo(void **state) {
    (void)state;
    rw_buf b = {0};
    char name[32];
    put_bytes(&b, LIT("\x80\x02}q\x00"));
    for (uint32_t i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "tensor %u", i);
        op_str(&b, name);
        op(&b, 'r');
        put_le(&b, 1000 + i, 4);
        op(&b, '0');
    }
    op_tensor(&b, &some[0], false);
    put_bytes(&b, LIT("q\xff"
                      "0("));
    for (uint32_t i = 0; i < 300; i++) {
        op(&b, 'j');
        put_le(&b, 1000 + i, 4);
        put_bytes(&b, LIT("h\xff"));
    }
    put_bytes(&b, LIT("u."));
    test_read r = read_pickle(b.data, b.len);
    if (!r.t) fail_msg("%s", r.err.message);
    check_table(&r);
    assert_int_equal(r.t->n_tensors, 300);
    expect_floats(&r, "tensor 299", ramp, 24);
    read_free(&r);
    rw_buf_free(&b);
}

/* ---- P1: code */

static const char *const foreign[][2] = {
    {"os", "system"},
    {"posix", "system"},
    {"nt", "system"},
    {"os", "popen"},
    {"os", "execvp"},
    {"subprocess", "Popen"},
    {"subprocess", "check_output"},
    {"builtins", "eval"},
    {"builtins", "exec"},
    {"builtins", "getattr"},
    {"builtins", "__import__"},
    {"builtins", "compile"},
    {"builtins", "open"},
    {"__builtin__", "eval"},
    {"__builtin__", "execfile"},
    {"__builtin__", "getattr"},
    {"runpy", "_run_code"},
    {"importlib", "import_module"},
    {"pickle", "loads"},
    {"_pickle", "loads"},
    {"marshal", "loads"},
    {"types", "FunctionType"},
    {"types", "CodeType"},
    {"operator", "attrgetter"},
    {"functools", "partial"},
    {"_codecs", "encode"},
    {"codecs", "decode"},
    {"sys", "exit"},
    {"socket", "create_connection"},
    {"webbrowser", "open"},
    {"pty", "spawn"},
    {"pip", "main"},
    {"timeit", "timeit"},
    {"cProfile", "run"},
    {"bdb", "Bdb"},
    {"shutil", "rmtree"},
    {"asyncio.unix_events", "_UnixSubprocessTransport._start"},
    {"torch", "load"},
    {"torch.hub", "load"},
    {"torch.jit", "load"},
    {"torch.storage", "_load_from_bytes"},
    {"torch.serialization", "load"},
    {"torch._utils", "_rebuild_tensor"},
    {"torch._utils", "_rebuild_tensor_v3"},
    {"torch._utils", "_rebuild_parameter_with_state"},
    {"torch._tensor", "_rebuild_from_type_v2"},
    {"torch._inductor.codecache", "compile_file"},
    {"torch.utils._config_module", "ConfigModule.load_config"},
    {"numpy", "load"},
    {"numpy.core.multiarray", "_reconstruct"},
    {"collections", "OrderedDict.fromkeys"},
    {"collections", "defaultdict"},
    {"collections", "ordereddict"},
    {"Collections", "OrderedDict"},
    {"torch", "FloatStorage.__init__"},
    {"torch", "FloatStorage "},
    {" torch", "FloatStorage"},
    {"torch.", "FloatStorage"},
    {"", "FloatStorage"},
    {"torch", ""},
    {"torch", "UntypedStorage"},
    {"torch", "_utils._rebuild_tensor_v2"},
    {"torch._utils", "__builtins__"},
    {"torch._utils._rebuild_tensor_v2", "__globals__"},
    {"\x1b]0;x", "y"},
};
enum { N_FOREIGN = sizeof foreign / sizeof *foreign };

static void refuse_global(const rw_buf *b, size_t at, const char *module, const char *name) {
    char needle[256], label[128];
    bool plain = (unsigned char)module[0] != 0x1b;
    snprintf(needle, sizeof needle, "pickle byte %zu: GLOBAL %s.%s is not allowed", at,
             plain ? module : "\\x1b]0;x", name);
    snprintf(label, sizeof label, "global %s.%s", module, name);
    refuse_pickle(b->data, b->len, needle, label);
}

static void refuses_foreign_globals(void **state) {
    (void)state;
    char command[512];
    const char *canary = temp_path("canary");
    snprintf(command, sizeof command, "touch %s", canary);
    for (size_t i = 0; i < N_FOREIGN; i++) {
        const char *module = foreign[i][0], *name = foreign[i][1];
        /* alone, protocol 2 */
        rw_buf b = {0};
        put_bytes(&b, LIT("\x80\x02"));
        op_global(&b, module, name);
        op_str(&b, command);
        put_bytes(&b, LIT("\x85R."));
        refuse_global(&b, 2, module, name);
        b.len = 0;
        /* protocol 4, from strings in the memo */
        put_bytes(&b, LIT("\x80\x04"));
        op_str(&b, name);
        put_bytes(&b, LIT("\x94"
                          "0"));
        op_str(&b, module);
        put_bytes(&b, LIT("h\x00\x93"));
        size_t at = b.len - 1;
        op_str(&b, command);
        put_bytes(&b, LIT("\x85R."));
        refuse_global(&b, at, module, name);
        b.len = 0;
        /* behind a good tensor, in its hooks */
        put_bytes(&b, LIT("\x80\x02}("));
        op_str(&b, "emb.weight");
        op_tensor(&b, &some[0], false);
        b.len -= strlen("ccollections\nOrderedDict\n)RtR");
        at = b.len;
        op_global(&b, module, name);
        op_str(&b, command);
        put_bytes(&b, LIT("\x85RtRu."));
        refuse_global(&b, at, module, name);
        rw_buf_free(&b);
    }
    FILE *f = fopen(canary, "r");
    assert_null(f);
}

#define TENSOR_V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define PARAMETER "ctorch._utils\n_rebuild_parameter\n"
#define ORDERED "ccollections\nOrderedDict\n"
#define STORAGE0                                                                                   \
    "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"                                         \
    "0X\x03\0\0\0cpuK\x18tQ"

static const struct payload {
    const char *bytes;
    size_t len;
    const char *needle;
} payloads[] = {
    /* calls of what is no allowed global, or in no allowed way */
    {LIT("X\x09\0\0\0os.system)R."), "call of str with tuple is not allowed"},
    {LIT("N)R."), "call of None with tuple is not allowed"},
    {LIT("})R."), "call of dict with tuple is not allowed"},
    {LIT("])R."), "call of list with tuple is not allowed"},
    {LIT("))R."), "call of tuple with tuple is not allowed"},
    {LIT("K\x01)R."), "call of int with tuple is not allowed"},
    {LIT("\x88)R."), "call of bool with tuple is not allowed"},
    {LIT(STORAGE0 ")R."), "call of storage with tuple is not allowed"},
    {LIT(ORDERED "]R."), "call of global with list is not allowed"},
    {LIT(ORDERED "NR."), "call of global with None is not allowed"},
    {LIT(ORDERED "]\x85R."), "call of collections.OrderedDict with 1 arguments is not allowed"},
    {LIT(ORDERED "}\x85\x81."), "call of collections.OrderedDict with 1 arguments is not allowed"},
    {LIT(ORDERED ORDERED "R."), "call of global with global is not allowed"},
    {LIT("ctorch\nFloatStorage\nK\x05\x85R."), "call of torch.FloatStorage with 1 arguments"},
    {LIT("ctorch\nFloatStorage\n)R."), "call of torch.FloatStorage with 0 arguments"},
    {LIT("ctorch\nFloatStorage\n)\x81."), "call of torch.FloatStorage with 0 arguments"},
    {LIT(TENSOR_V2 ")R."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(NK\x00))\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(ctorch\nFloatStorage\nK\x00))\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "N))\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "K\x00])\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "K\x00)K\x01\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "K\x00N\x85)\x89}tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "K\x00))\x89tR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "K\x00))\x89NNNtR."), "arguments of _rebuild_tensor_v2"},
    {LIT(TENSOR_V2 "(" STORAGE0 "\x8a\x09\0\0\0\0\0\0\0\0\1))\x89}tR."), "arguments of _rebuild"},
    {LIT(PARAMETER "(N\x88}tR."), "call of torch._utils._rebuild_parameter with 3 arguments"},
    {LIT(PARAMETER "(" PARAMETER "\x88}tR."), "call of torch._utils._rebuild_parameter"},
    {LIT(PARAMETER ")R."), "call of torch._utils._rebuild_parameter with 0 arguments"},
    /* state and items given to what takes none */
    {LIT(ORDERED "}b."), "container; found global; expected dict"},
    {LIT("]}b."), "container; found list; expected dict"},
    {LIT(STORAGE0 "}b."), "container; found storage; expected dict"},
    {LIT("}N}\x86"
         "b."),
     "BUILD; found tuple; expected dict"},
    {LIT("}" ORDERED "b."), "BUILD; found global; expected dict"},
    {LIT(ORDERED "K\x01K\x02s."), "container; found global; expected dict"},
    {LIT(ORDERED "K\x01"
                 "a."),
     "container; found global; expected list"},
    {LIT("}K\x01"
         "a."),
     "container; found dict; expected list"},
    {LIT("](K\x01K\x02u."), "container; found list; expected dict"},
    {LIT("}(K\x01u."), "dict items; found 1 values"},
    /* opcodes that make or call objects of classes */
    {LIT("(X\x02\0\0\0ls"
         "ios\nsystem\n."),
     "opcode INST is not allowed"},
    {LIT("(" ORDERED "o."), "opcode OBJ is not allowed"},
    {LIT(ORDERED ")}\x92."), "opcode NEWOBJ_EX is not allowed"},
    {LIT("\x82\x01."), "opcode EXT1 is not allowed"},
    {LIT("\x83\x01\0."), "opcode EXT2 is not allowed"},
    {LIT("\x84\x01\0\0\0."), "opcode EXT4 is not allowed"},
    {LIT("Pcmd\n."), "opcode PERSID is not allowed"},
    {LIT("S'cos'\n."), "opcode STRING is not allowed"},
    {LIT("Vos\n."), "opcode UNICODE is not allowed"},
    {LIT("I01\n."), "opcode INT is not allowed"},
    {LIT("(d."), "opcode DICT is not allowed"},
    {LIT("N2."), "opcode DUP is not allowed"},
    {LIT("C\x02os."), "opcode SHORT_BINBYTES is not allowed"},
    {LIT("\x97."), "opcode NEXT_BUFFER is not allowed"},
    /* names that are no names */
    {LIT("X\x02\0\0\0osK\x01\x93."), "STACK_GLOBAL; found str and int"},
    {LIT("NX\x06\0\0\0system\x93."), "STACK_GLOBAL; found None and str"},
    {LIT(ORDERED ORDERED "\x93."), "STACK_GLOBAL; found global and global"},
    {LIT("cos"), "no newline"},
    {LIT("cos\nsystem"), "no newline"},
    {LIT("ctorch\0\nFloatStorage\n."), "GLOBAL torch"},
    {LIT("ctorch\nFloatStorage\r\n."), "GLOBAL torch.FloatStorage\\x0d is not allowed"},
    /* persistent ids */
    {LIT("X\x01\0\0\0"
         "0Q."),
     "persistent id"},
    {LIT(")Q."), "persistent id"},
    {LIT("NQ."), "persistent id"},
    {LIT("(X\x07\0\0\0storage" ORDERED "X\x01\0\0\0"
         "0NK\x18tQ."),
     "persistent id"},
    {LIT("(X\x06\0\0\0modulectorch\nFloatStorage\nX\x01\0\0\0"
         "0NK\x18tQ."),
     "persistent id"},
    {LIT("(X\x07\0\0\0storagectorch\nFloatStorage\nK\0NK\x18tQ."), "persistent id"},
    {LIT("(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
         "0NNtQ."),
     "persistent id"},
    {LIT("(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
         "0NtQ."),
     "persistent id"},
    {LIT("(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0"
         "0NK\x18NNtQ."),
     "persistent id"},
    /* P2: a machine that trips */
    {LIT("."), "STOP; found 0 values"},
    {LIT("NN."), "STOP; found 2 values"},
    {LIT("(."), "STOP; found 1 values"},
    {LIT("(N."), "STOP; found 2 values"},
    {LIT(""), "pickle"},
    {LIT("N"), "pickle"},
    {LIT("0."), "stack underflow"},
    {LIT("1."), "no mark"},
    {LIT("t."), "no mark"},
    {LIT("Nt."), "no mark"},
    {LIT("e."), "no mark"},
    {LIT("u."), "no mark"},
    {LIT("N1."), "no mark"},
    {LIT("(t(tt."), "no mark"},
    {LIT("\x85."), "stack underflow; found 0 values; expected 1"},
    {LIT("N\x86."), "stack underflow; found 1 values; expected 2"},
    {LIT("NN\x87."), "stack underflow; found 2 values; expected 3"},
    {LIT("N(\x85."), "stack underflow; found 0 values; expected 1"},
    {LIT("N(N\x86."), "stack underflow"},
    {LIT("(N0t00."), "stack underflow"},
    {LIT("]("), "pickle"},
    {LIT("]N(a."), "stack underflow"},
    {LIT("(NeN."), "stack underflow; expected a list"},
    {LIT("](NaN."), "stack underflow; expected a list"},
    {LIT("}N(Ns."), "stack underflow"},
    {LIT("(NNuN."), "stack underflow; expected a dict"},
    {LIT("NR."), "stack underflow"},
    {LIT("R."), "stack underflow"},
    {LIT("\x81."), "stack underflow"},
    {LIT("Q."), "stack underflow"},
    {LIT("b."), "stack underflow"},
    {LIT("\x93."), "stack underflow"},
    {LIT("q\0."), "nothing to memorize"},
    {LIT("(q\0."), "nothing to memorize"},
    {LIT("\x94."), "nothing to memorize"},
    {LIT("h\0."), "memo; index 0 was never set"},
    {LIT("Nq\x01"
         "0h\0."),
     "memo; index 0 was never set"},
    {LIT("j\xff\xff\xff\xff."), "memo; index 4294967295 was never set"},
    {LIT("Nr\xff\xff\xff\xff."), "memo; found index 4294967295"},
    {LIT("Nr\0\0\x08\0."), "memo; found index 524288"},
    {LIT("\x80\x09N."), "protocol; found 9; expected at most 5"},
    {LIT("\x80\xffN."), "protocol; found 255"},
    {LIT("X\xff\xff\xff\xff."), "pickle"},
    {LIT("X\x05\0\0\0ab."), "pickle"},
    {LIT("T\xff\xff\xff\x7f."), "pickle"},
    {LIT("\x8c\xff."), "pickle"},
    {LIT("U\xff."), "pickle"},
    {LIT("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "opcode BINUNICODE8 is not allowed"},
    {LIT("\x8e\xff\xff\xff\xff\xff\xff\xff\xff."), "opcode BINBYTES8 is not allowed"},
    {LIT("\x8b\xff\xff\xff\x7f."), "opcode LONG4 is not allowed"},
    {LIT("\x8a\xff."), "pickle"},
    {LIT("\x95\xff\xff\xff\xff\xff\xff\xff\xffN."), "goes beyond the pickle"},
    {LIT("\x95\x0b\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0N."), "inside another frame"},
    {LIT("J\0\0"), "pickle"},
    {LIT("G\0"), "pickle"},
    {LIT("N.N"), "bytes after STOP"},
    {LIT("\xff."), "byte ff is no opcode"},
    /* tops that are no state dict */
    {LIT("N."), "top of the pickle; found None"},
    {LIT("}."), "no tensors"},
    {LIT("]q\0h\0"
         "a."),
     "found list"},
    {LIT("}q\0X\x05\0\0\0modelh\0s."), "no tensors"},
    {LIT("}q\0X\x0a\0\0\0state_dicth\0s."), "no tensors"},
    {LIT(STORAGE0 "."), "found storage"},
};

static void refuses_payloads(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof payloads / sizeof *payloads; i++) {
        char label[64];
        snprintf(label, sizeof label, "payload %zu (%.20s)", i, payloads[i].needle);
        refuse_pickle(payloads[i].bytes, payloads[i].len, payloads[i].needle, label);
    }
}

/* Each byte as an opcode: those of the specification run, all others are refused by name. */
static void knows_the_opcodes(void **state) {
    (void)state;
    static const uint8_t allowed[] = {0x80, 0x2e, 0x95, 0x94, 0x8c, 0x93, 0x28, 0x30, 0x31, 0x71,
                                      0x72, 0x68, 0x6a, 0x4e, 0x88, 0x89, 0x4a, 0x4b, 0x4d, 0x8a,
                                      0x47, 0x58, 0x55, 0x54, 0x29, 0x74, 0x85, 0x86, 0x87, 0x7d,
                                      0x5d, 0x61, 0x65, 0x73, 0x75, 0x63, 0x52, 0x81, 0x62, 0x51};
    for (int code = 0; code < 256; code++) {
        uint8_t bytes[12] = {(uint8_t)code};
        bool known = memchr(allowed, code, sizeof allowed) != NULL;
        test_read r = read_pickle(bytes, sizeof bytes);
        assert_null(r.t);
        bool refused =
            strstr(r.err.message, "is no opcode") ||
            (strstr(r.err.message, "opcode ") && strstr(r.err.message, "is not allowed"));
        if (strstr(r.err.message, "byte 00 is no opcode")) refused = code == 0;
        if (known == refused) fail_msg("opcode %02x: %s", code, r.err.message);
        read_free(&r);
    }
}

static size_t peak_kib(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (size_t)u.ru_maxrss;
}

/* Pickles that are small or simple but would grow without limits. */
static void bounds_memory_and_time(void **state) {
    (void)state;
    const struct {
        const char *unit;
        size_t len, times;
        const char *needle;
    } bombs[] = {
        {LIT("N0"), RW_MAX_PICKLE_OPS / 2 + 1, "more than 10000000 opcodes"},
        {LIT("N"), 600000, "stack; found 524289 slots"},
        {LIT("("), 600000, "stack; found 524289 slots"},
        {LIT("}0"), 2000000, "need more than 24 MiB"},
        {LIT("]"), 600000, "stack; found"},
        {LIT("(NNNNNNNNNNNNNNNNt0"), 400000, "need more than 24 MiB"},
        {LIT(")\x85"), 1200000, ""},
    };
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        rw_buf b = {0};
        char label[32];
        assert_true(rw_buf_reserve(&b, bombs[i].len * bombs[i].times + 1));
        for (size_t k = 0; k < bombs[i].times; k++) put_bytes(&b, bombs[i].unit, bombs[i].len);
        op(&b, '.');
        snprintf(label, sizeof label, "bomb %zu", i);
        refuse_pickle(b.data, b.len, bombs[i].needle, label);
        rw_buf_free(&b);
    }
    /* a list that is doubled by extending it with itself does not exist; a dict of one big tuple
     * does */
    rw_buf b = {0};
    put_bytes(&b, LIT("("));
    for (size_t i = 0; i < 1000; i++) put_bytes(&b, LIT("N"));
    put_bytes(&b, LIT("tq\0"
                      "0]q\1"
                      "0"));
    for (size_t i = 0; i < 1000000; i++) put_bytes(&b, LIT("h\1h\0a0"));
    put_bytes(&b, LIT("N."));
    size_t before = peak_kib();
    refuse_pickle(b.data, b.len, "need more than 24 MiB", "long list");
    assert_true(peak_kib() - before < 160 * 1024); /* with the copies that this test makes */
    rw_buf_free(&b);
}

static void refuses_truncation(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, false);
    for (size_t n = 0; n < p.len; n++) refuse_pickle(p.data, n, "", "cut pickle");
    rw_buf_free(&p);
}

static void survives_mutants(void **state) {
    (void)state;
    rw_buf p = pickle_of(some, N_SOME, false);
    uint64_t seed = 7;
    for (size_t round = 0; round < 4000; round++) {
        uint8_t *copy = malloc(p.len);
        assert_non_null(copy);
        memcpy(copy, p.data, p.len);
        for (uint64_t k = 1 + rng_u64(&seed) % 4; k > 0; k--)
            copy[rng_u64(&seed) % p.len] = (uint8_t)rng_u64(&seed);
        test_read r = read_pickle(copy, p.len);
        if (r.t)
            check_table(&r);
        else
            assert_true(r.err.offset != RWKV_NO_OFFSET && strstr(r.err.message, "hostile.file:"));
        read_free(&r);
        free(copy);
    }
    rw_buf_free(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_protocol_4),        cmocka_unit_test(reads_a_large_memo),
        cmocka_unit_test(refuses_foreign_globals), cmocka_unit_test(refuses_payloads),
        cmocka_unit_test(knows_the_opcodes),       cmocka_unit_test(bounds_memory_and_time),
        cmocka_unit_test(refuses_truncation),      cmocka_unit_test(survives_mutants),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
