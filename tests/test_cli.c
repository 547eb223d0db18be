/* test_cli.c - the program as its users meet it: arguments, exit codes, messages, output. Models
 * are tiny random ones with a byte vocabulary; the trained digit reverser is used where it is at
 * hand. */
#include "support_models.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ helpers */

/* Ids: 0 ends a text, byte + 1. */
static const char *byte_model(void) {
    static char path[512];
    const test_shape shape = {.version = "7", .V = 257, .D = 64, .N = 16, .H = 4, .seed = 5};
    if (!*path) snprintf(path, sizeof path, "%s", test_model_file(&shape, AS_GGUF_VOCAB, RW_F32));
    return path;
}

/* World grammar: all bytes and a few longer tokens. */
static const char *vocabulary(void) {
    static char path[512];
    if (*path) return path;
    snprintf(path, sizeof path, "%s", temp_path("letters.txt"));
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < 256; i++) fprintf(f, "%d b'\\x%02x' 1\n", i + 1, i);
    fputs("257 'ab' 2\n258 'abc' 3\n259 '\\n\\n' 2\n260 '\xe4\xbd\xa0' 3\n", f);
    fclose(f);
    return path;
}

typedef struct result {
    int code;
    char *out, *err;
} result;

static result rwkv(const char *input, const char *fmt, ...) {
    char args[4096];
    result r = {0};
    va_list list;
    va_start(list, fmt);
    vsnprintf(args, sizeof args, fmt, list);
    va_end(list);
    r.code = run_rwkv(args, input, &r.out, &r.err);
    return r;
}

static void drop(result *r) {
    free(r->out);
    free(r->err);
    *r = (result){0};
}

static void expect(int code, const char *out, const char *err_part, result r) {
    if (r.code != code || (out && strcmp(r.out, out)) || (err_part && !strstr(r.err, err_part))) {
        fail_msg("code %d, expected %d\nout: %s\nexpected: %s\nerr: %s\nexpected part: %s", r.code,
                 code, r.out, out ? out : "(any)", r.err, err_part ? err_part : "(any)");
    }
    for (const char *p = r.err; *p; p++) { /* F10: nothing in a message steers the terminal */
        if ((unsigned char)*p < 0x20 && *p != '\n') fail_msg("control byte %d in: %s", *p, r.err);
    }
    drop(&r);
}

static void expect_text(const result *r, const char *part) {
    if (!strstr(r->out, part)) fail_msg("not in output: %s\n%s", part, r->out);
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

/* ------------------------------------------------------------------ usage */

static void test_usage(void **state) {
    (void)state;
    expect(1, "", "Usage: rwkv COMMAND", rwkv(NULL, "%s", ""));
    expect(0, "rwkv " RWKV_VERSION "\n", "", rwkv(NULL, "--version"));
    expect(0, NULL, "", rwkv(NULL, "--help"));
    expect(1, "", "unknown command 'tokenise'; did you mean rwkv tokenize?",
           rwkv(NULL, "tokenise"));
    expect(1, "", "rwkv help lists them", rwkv(NULL, "zzzzzzzz"));
    expect(1, "", "rwkv help", rwkv(NULL, "help zzzzzzzz"));
    expect(1, "", "unknown option '--tmep'; did you mean --temp?", rwkv(NULL, "run m --tmep 1"));
    expect(1, "", "unknown option '-Q'", rwkv(NULL, "run m -Q"));
    expect(1, "", "--prompt needs a value: TEXT", rwkv(NULL, "run m -p"));
    expect(1, "", "--top-p: found '1.5'; expected a number from 0 to 1",
           rwkv(NULL, "run m --top-p 1.5"));
    expect(1, "", "--temp: found 'nan'; expected a number", rwkv(NULL, "run m --temp nan"));
    expect(1, "", "--temp: found ''; expected a number", rwkv(NULL, "run m --temp="));
    expect(1, "", "--tokens: found '-1'; expected a whole number", rwkv(NULL, "run m -n -1"));
    expect(1, "", "--tokens: found '18446744073709551616'",
           rwkv(NULL, "run m -n 18446744073709551616"));
    expect(1, "", "--threads: found '4294967296'", rwkv(NULL, "run m -t4294967296"));
    expect(1, "", "--json takes no value", rwkv(NULL, "info m --json=1"));
    expect(1, "", "expected en, zh", rwkv(NULL, "info m --lang fr"));
    expect(1, "", "expected MODEL", rwkv(NULL, "run"));
    expect(1, "", "the text goes to -p", rwkv(NULL, "run m text"));
    expect(1, "", "exclude each other", rwkv(NULL, "run m -p a -f b"));
    expect(1, "", "expected one MODEL", rwkv(NULL, "info"));
    expect(1, "", "--tokens IDS --out FILE", rwkv(NULL, "logits m"));
    expect(1, "", "expected all or one", rwkv(NULL, "logits m --tokens 1 --out x --mode two"));
    expect(1, "", "expected MODEL FILE", rwkv(NULL, "perplexity m"));
}

/* Every command explains itself in both languages, with the same facts. */
static void test_help(void **state) {
    static const char *const commands[] = {
        "run",      "chat",   "info",       "convert", "quantize",
        "tokenize", "logits", "perplexity", "bench",   "help"};
    (void)state;
    result all = rwkv(NULL, "help");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char usage[64];
        snprintf(usage, sizeof usage, "rwkv %s ", commands[i]);
        expect_text(&all, commands[i]);
        result en = rwkv(NULL, "help %s", commands[i]),
               option = rwkv(NULL, "%s --help", commands[i]);
        result zh = rwkv(NULL, "%s --lang zh -h", commands[i]);
        assert_int_equal(en.code, 0);
        assert_int_equal(option.code, 0);
        assert_int_equal(zh.code, 0);
        assert_string_equal(en.out, option.out);
        expect_text(&en, usage);
        expect_text(&zh, usage);
        expect_text(&zh, "用法");
        drop(&en);
        drop(&zh);
        drop(&option);
    }
    drop(&all);
}

/* Every option that the help knows is in the man page. */
static void test_man_page(void **state) {
    static const char *const commands[] = {"run",      "chat",   "info",      "convert",
                                           "tokenize", "logits", "perplexity"};
    (void)state;
    char *page = slurp(RW_SOURCE_DIR "/docs/rwkv.1", NULL);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        result help = rwkv(NULL, "help %s", commands[i]);
        size_t n = 0;
        for (char *p = help.out; (p = strstr(p, " --")); n++) {
            char quoted[96] = "\\-\\-";
            for (p += 3; *p == '-' || (*p >= 'a' && *p <= 'z'); p++) {
                snprintf(quoted + strlen(quoted), 3, *p == '-' ? "\\%c" : "%c", *p);
            }
            if (!strstr(page, quoted)) fail_msg("%s: not in docs/rwkv.1: %s", commands[i], quoted);
        }
        assert_true(n >= 4);
        drop(&help);
    }
    free(page);
}

/* ------------------------------------------------------------------ tokenize */

static void test_tokenize(void **state) {
    (void)state;
    const char *v = vocabulary();
    expect(0, "258 260 259\n", "", rwkv(NULL, "tokenize --vocab %s 'abc你\n\n'", v));
    expect(0, "258 257\n", "", rwkv("abcab", "tokenize --vocab %s", v));
    expect(0, "\n", "", rwkv("", "tokenize --vocab %s", v));
    expect(0, "{\"ids\":[257,101]}\n", "", rwkv(NULL, "tokenize --vocab=%s abd --json", v));
    expect(0, "{\"ids\":[]}\n", "", rwkv("", "tokenize --vocab %s --json", v));
    expect(0, "abcab", "", rwkv(NULL, "tokenize --vocab %s --decode 258,257", v));
    expect(0, "abcab", "", rwkv(NULL, "tokenize --vocab %s -d 258 257", v));
    expect(0, "abcab", "", rwkv(" 258\n257\n", "tokenize --vocab %s -d", v));
    expect(0, "abcab", "", rwkv("{\"ids\":[258,257]}", "tokenize --vocab %s -d", v));
    expect(0, "abcab", "", rwkv("[258,257]", "tokenize --vocab %s -d", v));
    expect(0, "{\"text\":\"ab\\n\\n\"}\n", "", rwkv("257 259", "tokenize --vocab %s -d --json", v));
    expect(0, "{\"hex\":\"ff6162\"}\n", "", rwkv("256 257", "tokenize --vocab %s -d --json", v));
    expect(0, "    258  \"abc\"\n    256  \"\\xff\"\n    259  \"\\n\\n\"\n", "",
           rwkv(NULL, "tokenize --vocab %s -d --pieces 258 256 259", v));
    expect(0, "258\n", "", rwkv(NULL, "tokenize %s --vocab %s", "abc", v));
    expect(0, "98\n", "", rwkv(NULL, "tokenize %s a", byte_model()));
    /* V4 */
    expect(2, "", "found id 261; expected 0 to 260", rwkv(NULL, "tokenize --vocab %s -d 1 261", v));
    expect(2, "", "found id -1", rwkv("[1,-1]", "tokenize --vocab %s -d", v));
    expect(2, "", "found id -2147483648", rwkv("-2147483648", "tokenize --vocab %s -d", v));
    expect(2, "", "expected a whole number", rwkv("1 x", "tokenize --vocab %s -d", v));
    expect(2, "", "expected a whole number",
           rwkv("99999999999999999999", "tokenize --vocab %s -d", v));
    expect(2, "", "no whole number", rwkv("[1,\"2\"]", "tokenize --vocab %s -d", v));
    expect(2, "", "JSON", rwkv("[1,", "tokenize --vocab %s -d", v));
    expect(2, "", "expected {\"ids\":[...]}", rwkv("{\"id\":[1]}", "tokenize --vocab %s -d", v));
    expect(1, "", "MODEL or --vocab", rwkv("x", "tokenize"));
    expect(1, "", "quoted", rwkv(NULL, "tokenize --vocab %s a b", v));
    expect(2, "", "No such file", rwkv("x", "tokenize --vocab %s.not", v));
    spill(temp_path("bad.txt"), "1 'a' 1\nx\n", 10);
    expect(2, "", "bad.txt:2:", rwkv("x", "tokenize --vocab %s", temp_path("bad.txt")));
}

static void test_tokenize_check(void **state) {
    (void)state;
    static const char good[] =
        "{\"text\":\"abc\",\"ids\":[258]}\n\n{\"hex\":\"ff00\",\"ids\":[256,1]}\r\n"
        "{\"text\":\"a\\u0000\",\"ids\":[98,1]}\n"
        "{\"text\":\"abc\",\"ids\":[258],\"decoded\":\"abc\"}";
    static const char bad[] =
        "{\"text\":\"abc\",\"ids\":[258]}\n{\"text\":\"abc\",\"ids\":[257,100]}\n"
        "{\"text\":\"ab\",\"ids\":[257],\"decoded\":\"x\"}\n{\"ids\":[1]}\n{";
    char path[512];
    snprintf(path, sizeof path, "%s", temp_path("vectors.jsonl"));
    spill(path, good, sizeof good - 1);
    expect(0, "4 passed, 0 failed\n", "",
           rwkv(NULL, "tokenize --vocab %s --check %s", vocabulary(), path));
    spill(path, bad, sizeof bad - 1);
    expect(2, "1 passed, 4 failed\n", "vectors.jsonl:2: other ids",
           rwkv(NULL, "tokenize --vocab %s --check %s", vocabulary(), path));
    spill(path, "", 0);
    expect(2, "0 passed, 0 failed\n", "",
           rwkv(NULL, "tokenize --vocab %s --check %s", vocabulary(), path));
}

static void test_golden_tokenizers(void **state) {
    static const struct {
        const char *vocab, *vectors, *out;
    } cases[] = {
        {"golden/tokenizer/rwkv_vocab_v20230424.txt", "golden/tokenizer/world.jsonl",
         "388 passed, 0 failed\n"},
        {"golden/tokenizer/rwkv_vocab_v20230424.txt", "golden/tokenizer/world-bytes.jsonl",
         "40 passed, 0 failed\n"},
        {"golden/tokenizer/20B_tokenizer.json", "golden/tokenizer/20b.jsonl",
         "388 passed, 0 failed\n"},
    };
    (void)state;
    if (!shared_path(cases[0].vocab)) skip();
    for (size_t i = 0; i < 3; i++) {
        expect(0, cases[i].out, "",
               rwkv(NULL, "tokenize --vocab %s --check %s", shared_path(cases[i].vocab),
                    shared_path(cases[i].vectors)));
    }
}

/* Trap 2: 20B models never saw "\n\n" as one token where their answer begins. */
static void test_prompt_end(void **state) {
    (void)state;
    if (!shared_path("golden/tokenizer/20B_tokenizer.json")) skip();
    const test_shape shape = {.version = "4", .n_layer = 1, .D = 16, .V = 50277};
    char model[512], vocab[512];
    snprintf(model, sizeof model, "%s", test_model_file(&shape, AS_PTH, RW_F16));
    snprintf(vocab, sizeof vocab, "%s", shared_path("golden/tokenizer/20B_tokenizer.json"));
    expect(0, "66 187 187\n", "",
           rwkv(NULL, "run %s --vocab %s -e -p 'a\\n\\n' --render", model, vocab));
    expect(0, "66 535\n", "", rwkv("a\n\n", "tokenize --vocab %s", vocab));
}

/* Any bytes come back: V2 through the program. */
static void test_tokenize_bytes(void **state) {
    (void)state;
    char text[2049];
    uint64_t seed = 3;
    for (size_t i = 0; i < 2048; i++) text[i] = (char)(1 + rng_u64(&seed) % 255);
    text[2048] = '\0';
    result ids = rwkv(text, "tokenize --vocab %s", vocabulary());
    assert_int_equal(ids.code, 0);
    expect(0, text, "", rwkv(ids.out, "tokenize --vocab %s --decode", vocabulary()));
    drop(&ids);
}

/* ------------------------------------------------------------------ logits */

static void test_logits(void **state) {
    (void)state;
    const char *model = byte_model();
    char all[512], one[512], part[512], before[512], after[512];
    snprintf(all, sizeof all, "%s", temp_path("all.f32"));
    snprintf(one, sizeof one, "%s", temp_path("one.f32"));
    snprintf(part, sizeof part, "%s", temp_path("part.f32"));
    snprintf(before, sizeof before, "%s", temp_path("before.f32"));
    snprintf(after, sizeof after, "%s", temp_path("after.f32"));
    expect(0, "", "",
           rwkv(NULL, "logits %s --tokens 72,101,256,0,5 --out %s --state %s", model, all, after));
    expect(0, "", "",
           rwkv("72 101 256 0 5\n", "logits %s --tokens - --out %s --mode one", model, one));
    size_t n_all, n_one, n_part, n_state;
    float *a = slurp(all, &n_all), *b = slurp(one, &n_one);
    assert_int_equal(n_all, 5 * 257 * 4);
    assert_int_equal(n_one, n_all);
    assert_true(max_abs_diff(a, b, 5 * 257) < 1e-4f);
    /* a state written and read continues exactly */
    expect(0, "", "",
           rwkv(NULL, "logits %s --tokens 72,101 --out %s --state %s", model, part, before));
    expect(0, "", "",
           rwkv(NULL, "logits %s --tokens 256,0,5 --out %s --state-in %s", model, part, before));
    float *c = slurp(part, &n_part), *s = slurp(after, &n_state);
    assert_int_equal(n_part, 3 * 257 * 4);
    assert_memory_equal(c, a + 2 * 257, n_part);
    assert_int_equal(n_state, 2 * (2 * 64 + 4 * 16 * 16) * 4);
    free(a);
    free(b);
    free(c);
    free(s);
    /* refusals leave no file */
    const char *none = temp_path("none.f32");
    expect(2, "", "found id 257; expected 0 to 256",
           rwkv(NULL, "logits %s --tokens 257 --out %s", model, none));
    expect(2, "", "found id -1", rwkv(NULL, "logits %s --tokens 1,-1 --out %s", model, none));
    expect(2, "", "expected a whole number",
           rwkv(NULL, "logits %s --tokens 1.5 --out %s", model, none));
    expect(1, "", "at least one id", rwkv(NULL, "logits %s --tokens '' --out %s", model, none));
    expect(2, "", "expected 9216",
           rwkv(NULL, "logits %s --tokens 1 --out %s --state-in %s", model, none, one));
    expect(2, "", "No such file", rwkv(NULL, "logits %s.not --tokens 1 --out %s", model, none));
    assert_false(exists(none));
    expect(3, "", NULL,
           rwkv(NULL, "logits %s --tokens 1 --out %s/x/y", model, temp_path("no-folder")));
}

/* The shared golden checkpoints are compared in test_model.c; here one goes through the program. */
static void test_golden_logits(void **state) {
    (void)state;
    if (!shared_path("golden/reverse/reverse-rwkv7.pth")) skip();
    char out[512];
    size_t n, m;
    snprintf(out, sizeof out, "%s", temp_path("reverse.f32"));
    expect(0, "", "",
           rwkv(NULL, "logits %s --tokens 4,0,7,1,8,10,8,1,7,0,4,11 -o %s",
                shared_path("golden/reverse/reverse-rwkv7.pth"), out));
    float *got = slurp(out, &n),
          *want = slurp(shared_path("golden/reverse/reverse.logits.f32"), &m);
    assert_int_equal(n, m);
    assert_true(max_abs_diff(got, want, n / 4) <= 0.002f);
    free(got);
    free(want);
}

/* ------------------------------------------------------------------ run */

static void test_run(void **state) {
    (void)state;
    const char *model = byte_model();
    result a = rwkv(NULL, "run %s -p Hello -n 20 --seed 7", model);
    assert_int_equal(a.code, 0);
    assert_true(strlen(a.out) > 0);
    expect(0, a.out, "", rwkv("Hello", "run %s -n20 --seed=7 --threads 1", model));
    result other = rwkv(NULL, "run %s -p Hello -n 20 --seed 8", model);
    assert_string_not_equal(a.out, other.out);
    char echoed[4096];
    snprintf(echoed, sizeof echoed, "Hello%s", a.out);
    expect(0, echoed, "", rwkv(NULL, "run %s -p Hello -n 20 --seed 7 --echo", model));
    expect(0, "", "", rwkv(NULL, "run %s -p Hello -n 0", model));
    expect(0, NULL, "20 tokens",
           rwkv(NULL, "run %s -p Hello -n 20 --seed 7 --stats --ignore-end", model));
    expect(0, "73 102 109 109 112\n", "", rwkv(NULL, "run %s -p Hello --render", model));
    expect(0, "{\"ids\":[98,11]}\n", "", rwkv(NULL, "run %s -e -p 'a\\n' --render --json", model));
    expect(0, "98 93 111\n", "", rwkv(NULL, "run %s -p 'a\\n' --render", model));
    expect(0, "0\n", "", rwkv("", "run %s --render", model)); /* empty: where documents begin */
    spill(temp_path("prompt"), "Hello", 5);
    expect(0, a.out, "", rwkv(NULL, "run %s -f %s -n 20 --seed 7", model, temp_path("prompt")));
    expect(2, "", "No such file", rwkv(NULL, "run %s -f %s", model, temp_path("no-prompt")));
    drop(&a);
    drop(&other);
}

static size_t count(const char *text, const char *part) {
    size_t n = 0;
    for (; (text = strstr(text, part)); text++) n++;
    return n;
}

/* One object a line; as many tokens as the last line says. */
static void test_run_json(void **state) {
    (void)state;
    result r = rwkv(NULL, "run %s -p Hello -n 20 --seed 7 --json --ignore-end", byte_model());
    assert_int_equal(r.code, 0);
    assert_int_equal(count(r.out, "{\"event\":\"token\",\"id\":"), 20);
    assert_int_equal(
        count(r.out,
              "{\"event\":\"finish\",\"reason\":\"length\",\"prompt_tokens\":5,\"tokens\":20,"),
        1);
    assert_true(count(r.out, "{\"event\":\"text\",\"text\":\"") > 0);
    for (char *line = r.out, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end);
        assert_int_equal(line[0], '{');
        assert_int_equal(end[-1], '}');
    }
    drop(&r);
}

/* A bias makes one byte certain: what is shown is then known. */
static void test_run_forced(void **state) {
    (void)state;
    const char *model = byte_model();
    expect(0, "xxxxx", "", rwkv(NULL, "run %s -p a -n 5 --bias 121=1000", model));
    expect(0, "", "", rwkv(NULL, "run %s -p a -n 5 --bias 121=1000 --stop x", model));
    expect(0, "", "", rwkv(NULL, "run %s -p a -n 9 --bias 121=1000 --stop xxxx", model));
    /* the beginning of a stop string is held back, then shown */
    expect(0, "xxxxx", "", rwkv(NULL, "run %s -p a -n 5 --bias 121=1000 --stop xxxxxx", model));
    /* blank lines do not end a completion (trap 4) */
    expect(0, "\n\n\n\n\n", "", rwkv(NULL, "run %s -p a -n 5 --bias 11=1000", model));
    expect(0, "", "", rwkv(NULL, "run %s -e -p a -n 5 --bias 11=1000 --stop '\\n\\n'", model));
    /* the end token ends, unless it is ignored */
    expect(0, "", "(end)", rwkv(NULL, "run %s -p a -n 5 --bias 0=1000 --stats", model));
    expect(0, "", "(length)",
           rwkv(NULL, "run %s -p a -n 5 --bias 0=1000 --stats --ignore-end", model));
    /* bans: by id and by text; -inf in a bias */
    expect(0, "yyyyy", "",
           rwkv(NULL, "run %s -p a -n 5 --bias 121=1000 --ban x --bias 122=900", model));
    expect(0, "yyyyy", "",
           rwkv(NULL, "run %s -p a -n 5 --bias 121=1000 --ban 121 --bias 122=900", model));
    expect(0, "yyyyy", "", rwkv(NULL, "run %s -p a -n 5 --bias 121=-inf --bias 122=900", model));
    /* half a character at the end is one replacement character */
    expect(0, "\xef\xbf\xbd", "", rwkv(NULL, "run %s -p a -n 1 --bias 229=1000", model));
    expect(1, "", "expected ID=NUMBER", rwkv(NULL, "run %s -p a --bias 5", model));
    expect(1, "", "expected ID=NUMBER", rwkv(NULL, "run %s -p a --bias 5=", model));
    expect(1, "", "expected less than 257", rwkv(NULL, "run %s -p a --bias 257=1", model));
    expect(1, "", "is 2 tokens", rwkv(NULL, "run %s -p a --ban xy", model));
    expect(1, "", "expected one of: default", rwkv(NULL, "run %s -p a --preset best", model));
    expect(1, "", "expected reference or temperature", rwkv(NULL, "run %s -p a --order x", model));
    expect(1, "", "expected 0 or 2", rwkv(NULL, "run %s -p a --mirostat 1", model));
    expect(1, "", "--seed: found '-1'", rwkv(NULL, "run %s -p a --seed -1", model));
}

/* Text read in two runs is text read in one. */
static void test_run_state(void **state) {
    (void)state;
    const char *model = byte_model();
    char blob[512], second[512];
    snprintf(blob, sizeof blob, "%s", temp_path("a.state"));
    snprintf(second, sizeof second, "%s", temp_path("b.state"));
    result whole = rwkv(NULL, "run %s -p 'one two' -n 12 --preset greedy", model);
    assert_int_equal(whole.code, 0);
    expect(0, "", "", rwkv(NULL, "run %s -p 'one' -n 0 --save-state %s", model, blob));
    expect(0, whole.out, "",
           rwkv(NULL, "run %s --state %s -p ' two' -n 12 --preset greedy", model, blob));
    /* the pending token is kept: 5 and 7 tokens are 12 */
    result first =
        rwkv(NULL, "run %s -p 'one two' -n 5 --preset greedy --ignore-end --json --save-state %s",
             model, second);
    result rest =
        rwkv("", "run %s --state %s -n 7 --preset greedy --ignore-end --json", model, second);
    result both =
        rwkv(NULL, "run %s -p 'one two' -n 12 --preset greedy --ignore-end --json", model);
    const char *p = both.out, *q = first.out;
    for (size_t i = 0; i < 12; i++) {
        if (i == 5) q = rest.out;
        p = strstr(p, "\"id\":");
        q = strstr(q, "\"id\":");
        assert_true(p && q);
        assert_int_equal(atol(p + 5), atol(q + 5));
        p++;
        q++;
    }
    drop(&first);
    drop(&rest);
    drop(&both);
    drop(&whole);
    /* damaged, foreign, missing */
    size_t n;
    uint8_t *data = slurp(blob, &n);
    data[n / 2] ^= 1;
    spill(second, data, n);
    free(data);
    expect(2, "", "b.state", rwkv("", "run %s --state %s", model, second));
    expect(2, "", NULL, rwkv("", "run %s --state %s", model, vocabulary()));
    expect(2, "", "No such file", rwkv("", "run %s --state %s.not", model, blob));
    const test_shape shape = {.version = "6", .V = 257};
    const char *v6 = test_model_file(&shape, AS_GGUF_VOCAB, RW_F32);
    expect(2, "", NULL, rwkv("", "run %s --state %s", v6, blob));
}

/* golden/reverse: every case of its manifest. */
static void test_reverse(void **state) {
    (void)state;
    char model[512], vocab[512];
    if (!shared_path("golden/reverse/manifest.json")) skip();
    snprintf(model, sizeof model, "%s", shared_path("golden/reverse/reverse-rwkv7.pth"));
    snprintf(vocab, sizeof vocab, "%s", shared_path("golden/reverse/vocab.txt"));
    size_t n, cases = 0;
    char *text = slurp(shared_path("golden/reverse/manifest.json"), &n);
    for (char *p = text; (p = strstr(p, "\"prompt\": \""));) {
        char prompt[128], want[128];
        assert_int_equal(sscanf(p, "\"prompt\": \"%127[^\"]", prompt), 1);
        p = strstr(p, "\"expect\": \"");
        assert_non_null(p);
        assert_int_equal(sscanf(p, "\"expect\": \"%127[^\"]", want), 1);
        expect(0, want, "",
               rwkv(NULL, "run %s --vocab %s -p '%s' -n %zu --preset greedy", model, vocab, prompt,
                    strlen(want)));
        if (want[strlen(want) - 1] == '#') {
            want[strlen(want) - 1] = '\0';
            expect(0, want, "",
                   rwkv(NULL, "run %s -p '%s' --stop '#' --temp 0 --presence 0", model, prompt));
        }
        cases++;
    }
    free(text);
    assert_int_equal(cases, 29);
    expect(0, "54321", "", rwkv(NULL, "run %s -p '12345,' --stop '#'", model));
}

/* ------------------------------------------------------------------ perplexity */

/* Against a calculation from the logits that the program writes. */
static void test_perplexity(void **state) {
    (void)state;
    enum { N = 700 };
    char text[N + 1], ids[N * 4 + 1] = "", out[512], path[512], line[256];
    uint64_t seed = 9;
    for (size_t i = 0; i < N; i++) {
        text[i] = (char)('a' + rng_u64(&seed) % 26);
        snprintf(ids + strlen(ids), 8, " %d", text[i] + 1);
    }
    text[N] = '\0';
    snprintf(out, sizeof out, "%s", temp_path("ppl.f32"));
    snprintf(path, sizeof path, "%s", temp_path("ppl.txt"));
    spill(path, text, N);
    expect(0, "", "", rwkv(ids, "logits %s --tokens - --out %s", byte_model(), out));
    size_t len;
    float *rows = slurp(out, &len);
    double nats = 0;
    for (size_t i = 1; i < N; i++) {
        const float *row = rows + (i - 1) * 257;
        double sum = 0;
        for (size_t k = 0; k < 257; k++) sum += exp((double)row[k]);
        nats += log(sum) - (double)row[text[i] + 1];
    }
    free(rows);
    double bits = nats / log(2) / (N - 1);
    result r = rwkv(NULL, "perplexity %s %s --json", byte_model(), path);
    double per_token, per_byte, perplexity;
    long long tokens, bytes;
    assert_int_equal(
        sscanf(r.out,
               "{\"tokens\":%lld,\"bytes\":%lld,\"bits_per_token\":%lf,\"bits_per_byte\":%lf,"
               "\"perplexity\":%lf",
               &tokens, &bytes, &per_token, &per_byte, &perplexity),
        5);
    assert_int_equal(tokens, N - 1);
    assert_int_equal(bytes, N - 1);
    assert_true(fabs(per_token - bits) < 1e-4);
    assert_true(fabs(per_byte - bits) < 1e-4);
    assert_true(fabs(perplexity / exp2(bits) - 1) < 1e-4);
    expect(0, r.out, "", rwkv(text, "perplexity %s - --json", byte_model()));
    drop(&r);
    r = rwkv(NULL, "perplexity %s %s --limit 130", byte_model(), path);
    snprintf(line, sizeof line, "130 tokens, 130 bytes\n");
    expect_text(&r, line);
    drop(&r);
    r = rwkv(NULL, "perplexity %s %s --bos", byte_model(), path);
    expect_text(&r, "700 tokens, 700 bytes\n");
    drop(&r);
    expect(2, "", "found no token", rwkv("x", "perplexity %s -", byte_model()));
    expect(2, "", "No such file", rwkv(NULL, "perplexity %s %s.not", byte_model(), path));
}

/* A file longer than the window that is read at a time: no token is cut where the window ends. */
static void test_perplexity_window(void **state) {
    (void)state;
    enum { UNITS = 23000 }; /* 69,000 bytes; the window holds 65,536, no multiple of 3 */
    const test_shape shape = {.version = "4", .n_layer = 1, .D = 16, .V = 261};
    char model[512], path[512], *text = malloc(3 * UNITS);
    assert_non_null(text);
    snprintf(model, sizeof model, "%s", test_model_file(&shape, AS_PTH, RW_F32));
    snprintf(path, sizeof path, "%s", temp_path("long.txt"));
    for (size_t i = 0; i < UNITS; i++) memcpy(text + 3 * i, "abc", 3);
    spill(path, text, 3 * UNITS);
    free(text);
    result r = rwkv(NULL, "perplexity %s %s --vocab %s", model, path, vocabulary());
    expect_text(&r, "22999 tokens, 68997 bytes\n");
    drop(&r);
}

/* ------------------------------------------------------------------ info */

static void test_info(void **state) {
    (void)state;
    static const char *const facts[] = {
        "\"version\":\"7\"",  "\"n_layer\":2",       "\"n_embd\":64",        "\"n_head\":4",
        "\"head_size\":16",   "\"n_vocab\":257",     "\"state_bytes\":9216", "\"types\":{",
        "\"fingerprint\":\"", "\"weights_hash\":\"", "\"template\":\"",      "\"tokenizer\":\"",
        "\"memory_bytes\":",  "\"n_params\":"};
    result json = rwkv(NULL, "info %s --json", byte_model());
    assert_int_equal(json.code, 0);
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) expect_text(&json, facts[i]);
    drop(&json);
    const test_shape small = {.version = "7", .D = 64, .N = 16, .H = 4};
    result text = rwkv(NULL, "info %s --tensors", test_model_file(&small, AS_PTH, RW_F32));
    expect_text(&text, "RWKV-7");
    expect_text(&text, "2 layers, width 64");
    expect_text(&text, "blocks.1.ffn.value.weight");
    drop(&text);
    /* no vocabulary: said, and no reason to stop */
    const test_shape shape = {.version = "6", .V = 300};
    const char *bare = test_model_file(&shape, AS_PTH, RW_F32);
    result without = rwkv(NULL, "info %s", bare);
    assert_int_equal(without.code, 0);
    expect_text(&without, "none found");
    drop(&without);
    without = rwkv(NULL, "info %s --json", bare);
    expect_text(&without, "\"tokenizer\":null,\"tokenizer_error\":\"");
    drop(&without);
    expect(2, "", NULL, rwkv("x", "run %s", bare));
}

/* ------------------------------------------------------------------ bad input */

/* F2, F10, L3: one line, exit code 2, at once. */
static void test_bad_files(void **state) {
    (void)state;
    char path[512];
    expect(2, "", "No such file", rwkv(NULL, "info %s", temp_path("missing.pth")));
    expect(2, "", NULL, rwkv(NULL, "info /dev/zero"));
    expect(2, "", NULL, rwkv(NULL, "info %s", temp_path("")));
    snprintf(path, sizeof path, "%s", temp_path("fifo"));
    assert_int_equal(mkfifo(path, 0600), 0);
    expect(2, "", NULL, rwkv(NULL, "info %s", path));
    spill(temp_path("empty"), "", 0);
    expect(2, "", "empty", rwkv(NULL, "info %s", temp_path("empty")));
    spill(temp_path("x\033]52;c;x\a.pth"), "hello", 5);
    expect(2, "", "\\x1b]52", rwkv(NULL, "info '%s'", temp_path("x\033]52;c;x\a.pth")));
    expect(2, "", "\\x1b", rwkv(NULL, "info '%s'", temp_path("no\033\n.pth")));
    size_t n;
    uint8_t *data = slurp(byte_model(), &n);
    snprintf(path, sizeof path, "%s", temp_path("cut.gguf"));
    spill(path, data, n - 100);
    free(data);
    expect(2, "", "cut.gguf:", rwkv("x", "run %s", path));
    expect(1, "", "scalar", rwkv("x", "run %s --isa none", byte_model()));
    expect(1, "", "found foo; expected one of world g1",
           rwkv("x", "run %s --template foo", byte_model()));
    if (shared_path("golden/lora/lora.pth")) {
        expect(2, "", "a LoRA file", rwkv(NULL, "info %s", shared_path("golden/lora/lora.pth")));
        expect(2, "", "a state-tuned file",
               rwkv(NULL, "info %s", shared_path("golden/state/v7-state.pth")));
    }
    snprintf(path, sizeof path, "%s", temp_path("nan.pth"));
    test_model *m = test_model_new(&test_small_shape);
    test_model_find(m, "blocks.0.ffn.key.weight")->data[3] = NAN;
    test_model_save(m, AS_PTH, RW_F32, path);
    test_model_free(m);
    expect(2, "", "blocks.0.ffn.key.weight", rwkv("x", "run %s --check", path));
    expect(4, "", NULL, rwkv(NULL, "logits %s --tokens 1 --out %s", path, temp_path("nan.f32")));
    assert_false(exists(temp_path("nan.f32")));
}

/* ------------------------------------------------------------------ terminals and signals */

typedef struct child {
    pid_t pid;
    int out; /* its stdout; stderr goes to the file "child.err" */
} child;

static child start_with(int input, bool terminal, char *const argv[]) {
    int fds[2] = {-1, -1};
    if (terminal) {
        fds[0] = posix_openpt(O_RDWR | O_NOCTTY);
        assert_true(fds[0] >= 0 && grantpt(fds[0]) == 0 && unlockpt(fds[0]) == 0);
        fds[1] = open(ptsname(fds[0]), O_RDWR | O_NOCTTY);
    } else {
        assert_int_equal(pipe(fds), 0);
    }
    child c = {fork(), fds[0]};
    assert_true(c.pid >= 0);
    if (c.pid == 0) {
        int err = open(temp_path("child.err"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(input, 0);
        dup2(fds[1], 1);
        dup2(err, 2);
        close(fds[0]);
        execv(RW_PROGRAM, argv);
        _exit(99);
    }
    close(fds[1]);
    return c;
}

static child start(bool terminal, char *const argv[]) {
    int nothing = open("/dev/null", O_RDONLY);
    child c = start_with(nothing, terminal, argv);
    close(nothing);
    return c;
}

static void read_some(const child *c, char *buf, size_t cap) {
    size_t n = 0;
    while (n < cap - 1) {
        ssize_t got = read(c->out, buf + n, cap - 1 - n);
        if (got <= 0) break;
        n += (size_t)got;
    }
    buf[n] = '\0';
}

/* Exit code, while the output is read and dropped; -1: killed by a signal, or not done in 20 s. */
static int finish_child(const child *c) {
    char buf[4096];
    for (time_t end = time(NULL) + 20; time(NULL) < end;) {
        int status;
        struct pollfd p = {.fd = c->out, .events = POLLIN};
        bool more = c->out >= 0 && poll(&p, 1, 5) > 0 && read(c->out, buf, sizeof buf) > 0;
        if (!more) nanosleep(&(struct timespec){0, 5000000}, NULL);
        if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
    }
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    return -1;
}

/* V7: a model's escape sequences do not reach the terminal. */
static void test_terminal(void **state) {
    (void)state;
    char vocab[512], buf[512];
    snprintf(vocab, sizeof vocab, "%s", vocabulary());
    /* ESC ] BEL, U+009B, a lone byte, tab, 你 */
    char *argv[] = {"rwkv", "tokenize", "--vocab", vocab, "-d", "28,94,8,195,156,256,10,260", NULL};
    child c = start(true, argv);
    read_some(&c, buf, sizeof buf);
    assert_int_equal(finish_child(&c), 0);
    close(c.out);
    assert_string_equal(buf, "\\x1b]\\x07\\xc2\\x9b\\xff\t你");
}

static child start_endless(const char *model) {
    static char path[512];
    snprintf(path, sizeof path, "%s", model);
    char *argv[] = {"rwkv",       "run",          path,     "-p", "a", "-n",
                    "1000000000", "--ignore-end", "--seed", "1",  NULL};
    char buf[16];
    child c = start(false, argv);
    read_some(&c, buf, sizeof buf);
    assert_true(strlen(buf) > 0);
    return c;
}

static void test_interrupt(void **state) {
    (void)state;
    child c = start_endless(byte_model());
    kill(c.pid, SIGINT);
    assert_int_equal(finish_child(&c), 130);
    close(c.out);
}

/* Ctrl-C while a write waits for a slow reader: nothing of the output is lost. */
static void test_interrupted_write(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", byte_model());
    char *argv[] = {"rwkv", "run",        path,           "-p",     "a",
                    "-n",   "1000000000", "--ignore-end", "--json", NULL};
    child c = start(false, argv);
    struct pollfd full = {c.out, POLLIN, 0};
    assert_int_equal(poll(&full, 1, 20000), 1);
    int before = -1, now = 0;
    while (now != before) { /* until the pipe takes no more */
        before = now;
        nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        assert_int_equal(ioctl(c.out, FIONREAD, &now), 0);
    }
    kill(c.pid, SIGINT);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    size_t cap = 1 << 20, n = 0;
    char *out = malloc(cap);
    assert_non_null(out);
    for (ssize_t got = 1; got > 0 && n<cap - 1; n += got> 0 ? (size_t)got : 0)
        got = read(c.out, out + n, cap - 1 - n);
    out[n] = '\0';
    assert_non_null(strstr(out, "\"reason\":\"interrupt\""));
    free(out);
    assert_int_equal(finish_child(&c), 130);
    close(c.out);
}

/* Ctrl-C while the program waits for more of its text. */
static void test_interrupted_read(void **state) {
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", byte_model());
    char *argv[] = {"rwkv", "run", path, NULL};
    int typed[2];
    assert_int_equal(pipe(typed), 0);
    child c = start_with(typed[0], false, argv);
    close(typed[0]);
    assert_int_equal(write(typed[1], "abc\n", 4), 4);
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    kill(c.pid, SIGINT);
    assert_int_equal(finish_child(&c), 130);
    close(typed[1]);
    close(c.out);
}

/* A reader that goes away is no error to talk about. */
static void test_closed_pipe(void **state) {
    (void)state;
    size_t n;
    child c = start_endless(byte_model());
    close(c.out);
    c.out = -1;
    assert_int_equal(finish_child(&c), 0);
    free(slurp(temp_path("child.err"), &n));
    assert_int_equal(n, 0);
}

/* F9: a model file that shrinks while it is mapped. */
static void test_shrinking_file(void **state) {
    (void)state;
    size_t n;
    char path[512];
    const test_shape shape = {.version = "7", .V = 257, .D = 64, .N = 16, .H = 4, .seed = 6};
    snprintf(path, sizeof path, "%s", test_model_file(&shape, AS_GGUF_VOCAB, RW_F32));
    child c = start_endless(path);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(finish_child(&c), 3);
    close(c.out);
    char *err = slurp(temp_path("child.err"), &n);
    assert_non_null(strstr(err, path));
    free(err);
}

static void test_full_disk(void **state) {
    (void)state;
    int full = open("/dev/full", O_WRONLY);
    if (full < 0) skip();
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(full, 1);
        dup2(open(temp_path("child.err"), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
        execl(RW_PROGRAM, "rwkv", "help", (char *)NULL);
        _exit(99);
    }
    close(full);
    child c = {pid, -1};
    assert_int_equal(finish_child(&c), 3);
    size_t n;
    char *err = slurp(temp_path("child.err"), &n);
    assert_true(n > 0 && memchr(err, '\n', n) == err + n - 1);
    free(err);
}

/* Q5: a limit on the size of files is a full disk and no death; no unfinished file stays. */
static void test_file_size_limit(void **state) {
    (void)state;
    char out[512];
    snprintf(out, sizeof out, "%s", temp_path("limited/out"));
    mkdir(temp_path("limited"), 0700);
    const char *m = byte_model();
    result model = rwkv(NULL, "info %s", m);
    assert_int_equal(model.code, 0);
    drop(&model);
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 2000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    result logits = rwkv(NULL, "logits %s --tokens 1,2,3,4 --out %s", m, out);
    result run = rwkv(NULL, "run %s -p a -n 1 --save-state %s", m, out);
    char script[600];
    snprintf(script, sizeof script, "hi\n/save %s\n/tokens\n", out);
    result talk = rwkv(script, "chat %s -n 1", m);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect_text(&talk, "messages"); /* the chat goes on */
    expect(3, NULL, "cannot write", logits);
    expect(3, NULL, "cannot write", run);
    expect(3, NULL, "cannot write", talk);
    assert_int_equal(rmdir(temp_path("limited")), 0); /* nothing is in it */
}

int main(void) {
    setenv("LC_ALL", "C.UTF-8", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_man_page),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_tokenize_check),
        cmocka_unit_test(test_golden_tokenizers),
        cmocka_unit_test(test_tokenize_bytes),
        cmocka_unit_test(test_prompt_end),
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_golden_logits),
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_run_json),
        cmocka_unit_test(test_run_forced),
        cmocka_unit_test(test_run_state),
        cmocka_unit_test(test_reverse),
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_perplexity_window),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_interrupted_write),
        cmocka_unit_test(test_interrupted_read),
        cmocka_unit_test(test_closed_pipe),
        cmocka_unit_test(test_shrinking_file),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_file_size_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
