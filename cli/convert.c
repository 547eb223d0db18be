/* convert.c - rwkv convert and rwkv quantize: one engine (rwkv_convert), two orders of arguments;
 * then --verify compares the two files on a built-in text.
 */
#include "cli.h"

#include <ctype.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct job {
    const char *in, *out, *type, *format, *vocab, *chat, *sampling;
    uint32_t threads;
    bool verify, force;
    char named[4096]; /* out, when it was not given */
    uint64_t weights; /* bytes of tensors read */
} job;

static job j;

/* ------------------------------------------------------------------ verify */

static const char text[] =
    "The river had frozen early that year. By the second week of November the ferryman tied his "
    "boat to the willow and walked home across the ice, counting his steps: 417 from bank to bank. "
    "\"Too thin for horses,\" he told the miller, \"but it will carry a letter.\" Prices rose by "
    "12.5% before Christmas.\nint main(void) { return f(3) + g(\"ice\", 0x1F); }\n"
    "那一年河水很早就结了冰。十一月的第二个星期，摆渡的人把船系在柳树上，踏着冰面走回家去，一步一步地数着。"
    "“马车还过不去，”他对磨坊主说，“但送一封信足够了。”人工智能模型把文字变成数字，再把数字变成文字。";

enum { MAX_TOKENS = 256, PIECE = 16 };

/* The text's ids, or fixed pseudo-random ones when no vocabulary spells it. */
static size_t test_ids(const rwkv_model *a, const rwkv_model *b, uint32_t n_vocab, int32_t *ids) {
    const rwkv_tokenizer *t = rwkv_model_tokenizer(a, NULL);
    size_t n = 0;
    if (!t) t = rwkv_model_tokenizer(b, NULL);
    if (t) {
        rwkv_status st = rwkv_encode(t, text, sizeof text - 1, 0, ids, MAX_TOKENS, &n, NULL);
        if (st == RWKV_OK) return n;
        if (st == RWKV_E_SPACE) return MAX_TOKENS;
    }
    uint64_t x = 1;
    for (n = 0; n < MAX_TOKENS; n++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        ids[n] = (int32_t)((x >> 33) % n_vocab);
    }
    return n;
}

static size_t top(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double log_sum_exp(const float *x, size_t n) {
    double max = x[top(x, n)], sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
    return max + log(sum);
}

/* Kullback-Leibler divergence of softmax(q) from softmax(p), in nats. */
static double divergence(const float *p, const float *q, size_t n) {
    double zp = log_sum_exp(p, n), zq = log_sum_exp(q, n), kl = 0;
    for (size_t i = 0; i < n; i++) {
        double lp = p[i] - zp;
        kl += exp(lp) * (lp - (q[i] - zq));
    }
    return kl > 0 ? kl : 0;
}

typedef struct comparison {
    rwkv_model *model[2];
    rwkv_session *session[2];
    float *logits[2]; /* [PIECE, n_vocab] */
    double sum, max;
    size_t same, n;
} comparison;

static rwkv_status compare(comparison *c, const int32_t *ids, size_t n, uint32_t n_vocab,
                           rwkv_error *err) {
    for (size_t at = 0; at < n && !cli_interrupted(); at += PIECE) {
        size_t k = n - at < PIECE ? n - at : PIECE;
        for (int i = 0; i < 2; i++) {
            rwkv_status st = rwkv_session_eval_all(c->session[i], ids + at, k, c->logits[i], err);
            if (st != RWKV_OK) return st;
        }
        for (size_t t = 0; t < k; t++) {
            const float *p = c->logits[0] + t * n_vocab, *q = c->logits[1] + t * n_vocab;
            double kl = divergence(p, q, n_vocab);
            c->sum += kl;
            c->max = kl > c->max ? kl : c->max;
            c->same += top(p, n_vocab) == top(q, n_vocab);
        }
        c->n += k;
        cli_progress(T("Verifying", "校验"), at + k, n, T("tokens", "词元"));
    }
    return RWKV_OK;
}

static int verify(void) {
    comparison c = {0};
    model_args args = {.vocab = j.vocab, .threads = j.threads, .force = j.force};
    args.exact = !j.format || strcmp(j.format, "packed");
    const char *paths[2] = {j.in, j.out};
    rwkv_error err = {0};
    rwkv_info info = {0};
    int32_t ids[MAX_TOKENS];
    int code = EXIT_OK;
    for (int i = 0; i < 2 && code == EXIT_OK; i++) {
        code = cli_open_model(&c.model[i], paths[i], &args);
        if (code) break;
        rwkv_model_info(c.model[i], &info);
        c.logits[i] = malloc((size_t)PIECE * info.n_vocab * sizeof(float));
        if (!c.logits[i]) code = cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        else if (rwkv_session_new(&c.session[i], c.model[i], &err) != RWKV_OK)
            code = cli_error(&err);
    }
    if (code == EXIT_OK) {
        size_t n = test_ids(c.model[0], c.model[1], info.n_vocab, ids);
        if (compare(&c, ids, n, info.n_vocab, &err) != RWKV_OK) code = cli_error(&err);
        else if (c.n < n) code = EXIT_INTERRUPTED;
        else
            printf(T("Verified on %zu tokens: KL mean %.6f, max %.6f; same first choice %.1f %%\n",
                     "在 %zu 个词元上校验：KL 平均 %.6f，最大 %.6f；首选一致 %.1f %%\n"),
                   c.n, c.sum / (double)c.n, c.max, 100.0 * (double)c.same / (double)c.n);
    }
    for (int i = 0; i < 2; i++) {
        rwkv_session_free(c.session[i]);
        rwkv_model_free(c.model[i]);
        free(c.logits[i]);
    }
    return code;
}

/* ------------------------------------------------------------------ convert */

static volatile sig_atomic_t told_to_end;
static void on_terminate(int signal_number) { told_to_end = signal_number; }

/* The mapped input shrank. Only write and _exit are safe here; the next conversion to the same file
 * removes what this one leaves. */
static void on_bus_error(int signal_number) {
    static const char message[] = "rwkv: the input file changed while it was read\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, message, sizeof message - 1);
    _exit(EXIT_SYSTEM);
}

/* However the program is stopped, the unfinished file is removed. */
static void catch_signals(void) {
    struct sigaction end = {.sa_handler = on_terminate};
    struct sigaction bus = {.sa_handler = on_bus_error};
    sigaction(SIGBUS, &bus, NULL);
    cli_catch_interrupt();
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
}

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    (void)user;
    j.weights = total;
    cli_progress(T("Converting", "转换"), done, total, "B");
    return !cli_interrupted() && !told_to_end;
}

static void on_log(void *user, int level, const char *message) {
    (void)user;
    if (level >= 1) cli_fail(0, T("warning: %s", "警告：%s"), message);
}

static bool ends_with(const char *s, const char *tail) {
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* model.pth becomes model.gguf, or model-Q8_0.gguf when a type was asked for, or model-packed.gguf.
 * An existing file is not replaced unless the user named it. */
static int name_output(void) {
    struct stat st;
    size_t len = strlen(j.in);
    while (len > 1 && j.in[len - 1] == '/') len--;
    bool folder = stat(j.in, &st) == 0 && S_ISDIR(st.st_mode);
    size_t stem = len, i = len;
    while (i > 0 && j.in[i - 1] != '/' && j.in[i - 1] != '.') i--;
    bool ending = i > 1 && j.in[i - 1] == '.' && j.in[i - 2] != '/';
    if (ending && !folder) stem = i - 1;
    bool ggmf = j.format && strcmp(j.format, "ggmf") == 0;
    bool packed = j.format && strcmp(j.format, "packed") == 0;
    int n = snprintf(j.named, sizeof j.named, "%.*s%s%s%s%s", (int)stem, j.in, j.type ? "-" : "",
                     j.type ? j.type : "", packed ? "-packed" : "", ggmf ? ".bin" : ".gguf");
    if (n < 0 || (size_t)n >= sizeof j.named)
        return cli_fail(EXIT_USAGE, T("%s: the name is too long", "%s：文件名过长"), j.in);
    for (i = stem; j.type && i < stem + 1 + strlen(j.type); i++)
        j.named[i] = (char)toupper((unsigned char)j.named[i]);
    j.out = j.named;
    if (j.force || stat(j.out, &st) != 0) return EXIT_OK;
    return cli_fail(EXIT_USAGE, T("%s exists; --force replaces it, or name another file",
                                  "%s 已存在；用 --force 覆盖，或指定其他文件名"),
                    j.out);
}

static int convert(void) {
    rwkv_error err = {0};
    struct stat st;
    char from[32], to[32];
    if (!j.out) {
        int code = name_output();
        if (code) return code;
    } else if (!j.format && ends_with(j.out, ".bin")) {
        j.format = "ggmf";
    }
    rwkv_convert_options o = {
        .format = j.format, .type = j.type, .vocab = j.vocab, .chat = j.chat,
        .sampling = j.sampling,
        .n_threads = j.threads, .progress = on_progress, .log = on_log,
    };
    double begin = cli_seconds();
    catch_signals();
    rwkv_status status = rwkv_convert(j.in, j.out, &o, &err);
    cli_progress(NULL, 0, 0, NULL);
    if (status != RWKV_OK) return cli_input_error(&err, j.in);
    double seconds = cli_seconds() - begin;
    uint64_t size = stat(j.out, &st) == 0 ? (uint64_t)st.st_size : 0;
    printf(T("%s: %s from %s of weights (%.0f %%), %.1f s\n",
             "%s：%s，由 %s 权重得到（%.0f %%），%.1f 秒\n"),
           j.out, cli_human_bytes(size, to), cli_human_bytes(j.weights, from),
           j.weights ? 100.0 * (double)size / (double)j.weights : 0.0, seconds);
    return j.verify ? verify() : EXIT_OK;
}

/* ------------------------------------------------------------------ commands */

static const option_spec *convert_options(void) {
    static const option_spec specs[] = {
        {"type", 0, OPT_STRING, &j.type, "TYPE",
         "F32 F16 BF16 Q8_0 Q6_K Q5_K Q4_K Q5_1 Q5_0 Q4_1 Q4_0; default: as in IN (quantize: Q5_1)",
         "F32 F16 BF16 Q8_0 Q6_K Q5_K Q4_K Q5_1 Q5_0 Q4_1 Q4_0；默认与输入相同（quantize：Q5_1）",
         0, 0},
        {"format", 0, OPT_STRING, &j.format, "FORMAT",
         "gguf, ggmf (rwkv.cpp) or packed; default: ggmf if OUT ends in .bin, else gguf",
         "gguf、ggmf（rwkv.cpp）或 packed；默认：OUT 以 .bin 结尾为 ggmf，否则 gguf", 0, 0},
        {"vocab", 0, OPT_STRING, &j.vocab, "FILE", "vocabulary to embed; default: the model's",
         "嵌入的词表；默认用模型自己的", 0, 0},
        {"template", 0, OPT_STRING, &j.chat, "NAME",
         "chat template to record: world g1 raven pile raw",
         "记录的对话模板：world g1 raven pile raw", 0, 0},
        {"sampling", 0, OPT_STRING, &j.sampling, "PRESET",
         "sampling preset to recommend (GGUF): greedy chat ...",
         "记录推荐的采样预设（GGUF）：greedy chat……", 0, 0},
        {"threads", 't', OPT_UINT, &j.threads, "N", "threads; default: one per physical core",
         "线程数；默认每个物理核一个", 1, 1024},
        {"verify", 0, OPT_FLAG, &j.verify, NULL, "compare both files' logits on a built-in text",
         "在内置文本上比较两个文件的 logits", 0, 0},
        {"force", 0, OPT_FLAG, &j.force, NULL,
         "without OUT, replace an existing file; verify even if memory is short",
         "未给出 OUT 时覆盖已有文件；内存不足也校验", 0, 0},
        {0},
    };
    return specs;
}

/* IN [OUT] */
static int run_to(const char *name, const char *format, int argc, char **argv) {
    int n;
    bool helped;
    j = (job){.format = format};
    int code = cli_parse(name, convert_options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n < 1 || n > 2)
        return cli_fail(EXIT_USAGE,
                        T("%s: expected IN and perhaps OUT; see rwkv help %s",
                          "%s：需要 IN，可选 OUT；参见 rwkv help %s"),
                        name, name);
    j.in = argv[1];
    j.out = n > 1 ? argv[2] : NULL;
    return convert();
}

static int run_convert(int argc, char **argv) {
    return run_to("convert", NULL, argc, argv);
}
static int run_pack(int argc, char **argv) {
    return run_to("pack", "packed", argc, argv);
}

/* rwkv.cpp's order of arguments, and its default type. */
static int run_quantize(int argc, char **argv) {
    int n;
    bool helped;
    j = (job){0};
    int code = cli_parse("quantize", convert_options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n < 2 || n > 3)
        return cli_fail(EXIT_USAGE,
                        T("quantize: expected IN, OUT and perhaps TYPE; see rwkv help quantize",
                          "quantize：需要 IN、OUT，可选 TYPE；参见 rwkv help quantize"));
    j.in = argv[1];
    j.out = argv[2];
    if (n > 2) j.type = argv[3];
    else if (!j.type) j.type = "Q5_1";
    return convert();
}

static const char more_en[] =
    "Reads .pth, .safetensors (or its folder), GGUF and rwkv.cpp's .bin. Norms, mixes, decays and\n"
    "low-rank matrices keep 16 or 32 bits; rows that a type's blocks do not fit take the nearest\n"
    "type that does. OUT appears only when it is complete.";
static const char more_zh[] =
    "可读取 .pth、.safetensors（或其文件夹）、GGUF 和 rwkv.cpp 的 .bin。归一化、混合、衰减和低秩矩阵保持\n"
    "16 或 32 位；行长与块大小不符的张量改用最接近的类型。OUT 只有在写完后才会出现。";

const command cmd_convert = {
    "convert", "IN [OUT] [OPTIONS]", "convert a model file to GGUF or to rwkv.cpp's format",
    "把模型文件转换为 GGUF 或 rwkv.cpp 格式", run_convert, convert_options, more_en, more_zh,
};

const command cmd_quantize = {
    "quantize", "IN OUT [TYPE] [OPTIONS]", "the same with rwkv.cpp's arguments; default type Q5_1",
    "同上，使用 rwkv.cpp 的参数顺序；默认类型 Q5_1", run_quantize, convert_options, more_en, more_zh,
};

const command cmd_pack = {
    "pack",
    "IN [OUT] [OPTIONS]",
    "convert to this program's own arrangement: starts at once",
    "转换为本程序自己的排列方式：即开即用",
    run_pack,
    convert_options,
    "Quantized matrices are written as they are used, so that nothing is rearranged when the "
    "model\n"
    "is loaded, and memory is the file itself. Other programs cannot read such a file; neither "
    "can\n"
    "convert, nor versions of rwkv with another arrangement: keep the original. Results are the "
    "same.",
    "量化矩阵按计算时的排列写入，加载时无需重排，内存即文件本身。其他程序、convert "
    "以及排列方式不同的\n"
    "rwkv 版本都无法读取：请保留原文件。结果完全相同。",
};
