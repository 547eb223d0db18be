/* bench.c - rwkv bench: runs tests on models and hands rows to bench_report.c.
 *
 * Tests take turns: every repetition runs each test once and samples the memory bandwidth, so that
 * another job on the machine disturbs all of them alike; the median of the repetitions counts.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_LIST = 16, MAX_ROWS = 256, MAX_SESSIONS = 1024, MAX_REPEATS = 1000 };

typedef struct list {
    uint64_t v[MAX_LIST];
    size_t n;
} list;

static const char *shape, *type, *vocab, *isa, *keep, *format, *plot;
static const char *prompt_text, *gen_text, *batch_text, *depth_text, *threads_text;
static uint32_t repeats, zeros;
static bool no_mmap, force, dense;
static list prompts, gens, batches, depths, threads;

static const option_spec *options(void) {
    static const option_spec specs[] = {
        {"prompt", 'p', OPT_STRING, &prompt_text, "N,...",
         "read N tokens at once; default 512; 0: not", "一次读取 N 个词元；默认 512；0：不测", 0,
         0},
        {"gen", 'n', OPT_STRING, &gen_text, "N,...", "N tokens one by one; default 64; 0: not",
         "逐个求值 N 个词元；默认 64；0：不测", 0, 0},
        {"batch", 0, OPT_STRING, &batch_text, "N,...",
         "the same for N sessions together, e.g. 1,2,4,8,32", "N 个会话一起，如 1,2,4,8,32", 0, 0},
        {"depth", 0, OPT_STRING, &depth_text, "N,...",
         "the same after N tokens of text, e.g. 1,1k,32k,1M", "在 N 个词元之后，如 1,1k,32k,1M", 0,
         0},
        {"repeat", 'r', OPT_UINT, &repeats, "N", "repetitions; the median counts; default 5",
         "重复次数；取中位数；默认 5", 1, MAX_REPEATS},
        {"threads", 't', OPT_STRING, &threads_text, "N,...",
         "threads; default: one per physical core", "线程数；默认每个物理核一个", 0, 0},
        {"isa", 0, OPT_STRING, &isa, "NAME", "kernels: scalar, avx2 ...; default: the best",
         "计算内核：scalar、avx2……；默认最优", 0, 0},
        {"no-mmap", 0, OPT_FLAG, &no_mmap, NULL, "read files into memory instead of mapping them",
         "把文件读入内存，而不是映射", 0, 0},
        {"force", 0, OPT_FLAG, &force, NULL, "load even if memory seems too small",
         "即使内存看似不足也加载", 0, 0},
        {"dense", 0, OPT_FLAG, &dense, NULL, "multiply zero activations too", "零激活也参与计算", 0,
         0},
        {"format", 0, OPT_STRING, &format, "HOW", "md, csv or json; default md",
         "md、csv 或 json；默认 md", 0, 0},
        {"plot", 0, OPT_STRING, &plot, "FILE.svg", "also draw the results", "同时画图", 0, 0},
        {"", 0, OPT_HEADING, NULL, NULL, "Random weights", "随机权重", 0, 0},
        {"shape", 0, OPT_STRING, &shape, "NAME",
         "instead of MODEL: v4-169M ... v7-7.2B; an unknown name lists all",
         "代替 MODEL：v4-169M …… v7-7.2B；未知名称会列出全部", 0, 0},
        {"type", 0, OPT_STRING, &type, "TYPE", "of its matrices, as for convert; default Q4_0",
         "矩阵类型，同 convert；默认 Q4_0", 0, 0},
        {"zeros", 0, OPT_UINT, &zeros, "PERCENT",
         "about so many of the FFN's activations are zero; default 50",
         "FFN 激活中零的比例；默认 50", 1, 99},
        {"keep", 0, OPT_STRING, &keep, "FILE", "write it there (.bin: for rwkv.cpp) and keep it",
         "写到此文件（.bin 为 rwkv.cpp 格式）并保留", 0, 0},
        {"vocab", 0, OPT_STRING, &vocab, "FILE", "vocabulary to embed, for other engines",
         "嵌入的词表（供其他引擎使用）", 0, 0},
        {0},
    };
    return specs;
}

/* "1,1k,32k,1M": decimal multiples. */
static int read_list(const char *name, const char *text, uint64_t max, list *out) {
    *out = (list){0};
    for (const char *at = text; at && out->n < MAX_LIST;) {
        char *end;
        uint64_t v = *at >= '0' && *at <= '9' ? strtoull(at, &end, 10) : UINT64_MAX;
        if (v > max) break;
        v *= *end == 'k' ? 1000 : *end == 'M' ? 1000000 : 1;
        if (*end == 'k' || *end == 'M') end++;
        if (v > max || (*end && *end != ',')) break;
        if (v) out->v[out->n++] = v;
        if (!*end) return EXIT_OK;
        at = end + 1;
    }
    if (!text) return EXIT_OK;
    return cli_fail(EXIT_USAGE,
                    T("bench: --%s: found '%s'; expected at most %d numbers up to %llu, as 1,8,1k",
                      "bench：--%s：得到 '%s'；应为至多 %d 个不超过 %llu 的数，如 1,8,1k"),
                    name, text, MAX_LIST, (unsigned long long)max);
}

/* ------------------------------------------------------------------ one model */

typedef struct bench {
    rwkv_model *model;
    rwkv_info info;
    rwkv_session **sessions;
    size_t n_sessions;
    rwkv_session *kept[MAX_LIST]; /* where the text passed depths.v[i] */
    double weights_per_token;     /* bytes: all but the embedding's other rows */
    double value_bytes;           /* of them, those that zero activations need not */
    double operations_per_token;
    bench_row *rows; /* of all models so far */
    size_t n_rows;
    uint64_t random;
} bench;

static int32_t next_id(bench *b) {
    b->random = b->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (int32_t)((b->random >> 33) % b->info.n_vocab);
}

static uint64_t peak_rss(void) {
    struct rusage u = {0};
    getrusage(RUSAGE_SELF, &u);
#ifdef __APPLE__
    uint64_t unit = 1;
#else
    uint64_t unit = 1024;
#endif
    uint64_t bytes = (uint64_t)u.ru_maxrss * unit;
    return bytes > BENCH_BUFFER ? bytes - BENCH_BUFFER : bytes;
}

/* Tables with a row per vocabulary entry that are not the head are looked up, not multiplied.
 * Matrices that the file of a quantized model keeps as floats are held as Q8_0. */
static void count_work(bench *b) {
    enum { Q8_BYTES = 34, Q8_ELEMENTS = 32 };
    rwkv_tensor_info t;
    double bytes = (double)b->info.weight_bytes, params = (double)b->info.n_params, value = 0;
    bool quantized = strchr(b->info.type, 'Q') != NULL;
    for (size_t i = 0; rwkv_model_tensor(b->model, i, &t); i++) {
        if (t.n_dims != 2) continue;
        double n = (double)t.dims[0] * (double)t.dims[1];
        if (strstr(t.name, "emb") && t.dims[0] == b->info.n_vocab) {
            bytes -= (double)t.bytes * (1 - 1.0 / (double)t.dims[0]);
            params -= n;
        } else if (quantized && !strchr(t.type, 'Q')) {
            bytes -= (double)t.bytes - n * Q8_BYTES / Q8_ELEMENTS;
        }
        if (strstr(t.name, "ffn.value") || strstr(t.name, "channel_mix_value"))
            value += (double)t.bytes;
    }
    b->weights_per_token = bytes;
    b->value_bytes = dense ? 0 : value;
    b->operations_per_token = 2 * params;
}

/* Feeds n random tokens at once. */
static rwkv_status feed(bench *b, rwkv_session *s, uint64_t n, rwkv_error *err) {
    int32_t ids[4096];
    while (n > 0) {
        size_t k = n < 4096 ? (size_t)n : 4096;
        for (size_t i = 0; i < k; i++) ids[i] = next_id(b);
        rwkv_status st = rwkv_session_eval(s, ids, k, err);
        if (st != RWKV_OK) return st;
        n -= k;
    }
    return RWKV_OK;
}

/* n steps of the first `sessions` sessions together. */
static rwkv_status step(bench *b, size_t sessions, uint64_t n, rwkv_error *err) {
    rwkv_batch_item items[MAX_SESSIONS];
    int32_t ids[MAX_SESSIONS];
    for (uint64_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sessions; k++) {
            ids[k] = next_id(b);
            items[k] = (rwkv_batch_item){b->sessions[k], &ids[k], 1};
        }
        rwkv_status st = rwkv_eval_batch(items, sessions, err);
        if (st != RWKV_OK) return st;
    }
    return RWKV_OK;
}

static const rwkv_session *kept_at(const bench *b, uint64_t depth) {
    size_t i = 0;
    while (depths.v[i] != depth) i++;
    return b->kept[i];
}

/* Tokens per second of one run. */
static rwkv_status measure(bench *b, bench_row *r, double *rate, rwkv_error *err) {
    rwkv_info from, to;
    rwkv_status st = RWKV_OK;
    if (r->n_depth) st = rwkv_session_copy(b->sessions[0], kept_at(b, r->n_depth), err);
    for (size_t k = 0; k < r->n_sessions && st == RWKV_OK && !r->n_depth; k++) {
        rwkv_session_reset(b->sessions[k]);
        if (r->n_gen) st = feed(b, b->sessions[k], 1, err);
    }
    rwkv_model_info(b->model, &from);
    double begin = cli_seconds();
    if (st == RWKV_OK && r->n_prompt) st = feed(b, b->sessions[0], r->n_prompt, err);
    if (st == RWKV_OK && r->n_gen) st = step(b, r->n_sessions, r->n_gen, err);
    double tokens = (double)(r->n_prompt + r->n_gen * r->n_sessions);
    *rate = tokens / (cli_seconds() - begin);
    rwkv_model_info(b->model, &to);
    if (r->n_gen) r->ffn_inputs += to.ffn_inputs - from.ffn_inputs;
    if (r->n_gen) r->ffn_zero_inputs += to.ffn_zeros - from.ffn_zeros;
    return st;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *samples, size_t n) {
    double sorted[MAX_REPEATS];
    memcpy(sorted, samples, n * sizeof *samples);
    qsort(sorted, n, sizeof *sorted, ascending);
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* What prompts are held against: the arithmetic that the weights' type allows. */
static double arithmetic(const bench_row *r) {
    bool integer = strchr(r->type, 'Q') != NULL, half = strstr(r->type, "16") != NULL;
    if (integer && r->limit.int8_gops > 0) return r->limit.int8_gops;
    return half && r->limit.bf16_gflops > 0 ? r->limit.bf16_gflops : r->limit.f32_gflops;
}

static void summarise(const bench *b, bench_row *r) {
    r->median_ts = median(r->samples_ts, r->n_samples);
    r->min_ts = INFINITY;
    r->max_ts = r->avg_ts = 0;
    for (size_t i = 0; i < r->n_samples; i++) {
        r->min_ts = fmin(r->min_ts, r->samples_ts[i]);
        r->max_ts = fmax(r->max_ts, r->samples_ts[i]);
        r->avg_ts += r->samples_ts[i] / (double)r->n_samples;
    }
    if (!r->n_depth) r->peak_rss = peak_rss();
    if (r->n_prompt) {
        double most = arithmetic(r);
        if (most > 0) r->limit_fraction = b->operations_per_token * r->median_ts / most / 1e9;
        return;
    }
    if (r->ffn_inputs) r->ffn_zeros = (double)r->ffn_zero_inputs / (double)r->ffn_inputs;
    double weights = b->weights_per_token - r->ffn_zeros * b->value_bytes;
    r->bytes_per_token =
        weights / (double)r->n_sessions + 2 * (double)b->info.state_bytes; /* read and written */
    if (r->limit.read_gbs > 0)
        r->limit_fraction = r->bytes_per_token * r->median_ts / r->limit.read_gbs / 1e9;
}

/* Rows [from, b->n_rows), each repetition one after the other. The first round only warms up. */
static rwkv_status run_rows(bench *b, size_t from, rwkv_error *err) {
    double bandwidth[MAX_REPEATS], ignored;
    for (size_t i = from; i < b->n_rows; i++) {
        rwkv_status st = measure(b, &b->rows[i], &ignored, err);
        if (st != RWKV_OK) return st;
    }
    for (uint32_t k = 0; k < repeats && !cli_interrupted(); k++) {
        for (size_t i = from; i < b->n_rows; i++) {
            bench_row *r = &b->rows[i];
            rwkv_status st = measure(b, r, &r->samples_ts[k], err);
            if (st != RWKV_OK) return st;
            r->n_samples = k + 1;
        }
        bandwidth[k] = bench_read_bandwidth(b->info.n_threads);
        cli_progress(T("Measuring", "测量"), k + 1, repeats, T("rounds", "轮"));
    }
    if (cli_interrupted()) return RWKV_E_CANCELLED;
    for (size_t i = from; i < b->n_rows; i++) {
        b->rows[i].limit.read_gbs = median(bandwidth, repeats);
        summarise(b, &b->rows[i]);
        bench_print_row(format, &b->rows[i], i == 0);
    }
    return RWKV_OK;
}

static int add_row(bench *b, const bench_row *common, uint64_t prompt, uint64_t gen,
                   uint64_t sessions, uint64_t depth) {
    double *samples = calloc(repeats, sizeof *samples);
    if (b->n_rows == MAX_ROWS || !samples) {
        free(samples);
        return cli_fail(EXIT_USAGE, T("bench: more than %d tests", "bench：测试超过 %d 项"),
                        MAX_ROWS);
    }
    bench_row *r = &b->rows[b->n_rows++];
    *r = *common;
    r->n_prompt = prompt;
    r->n_gen = gen;
    r->n_sessions = sessions;
    r->n_depth = depth;
    r->samples_ts = samples;
    return EXIT_OK;
}

static int add_tests(bench *b, const bench_row *common) {
    int code = EXIT_OK;
    for (size_t i = 0; i < prompts.n && !code; i++)
        code = add_row(b, common, prompts.v[i], 0, 1, 0);
    for (size_t i = 0; i < gens.n && !code; i++) {
        code = add_row(b, common, 0, gens.v[i], 1, 0);
        for (size_t k = 0; k < batches.n && !code; k++)
            if (batches.v[k] > 1) code = add_row(b, common, 0, gens.v[i], batches.v[k], 0);
    }
    return code;
}

/* One text, kept where it passes each depth: so these tests take turns with the others. */
static int add_depths(bench *b, const bench_row *common) {
    rwkv_error err = {0};
    uint64_t now = 0;
    for (size_t i = 0; i < depths.n; i++) {
        rwkv_session **s = &b->kept[i];
        if (rwkv_session_new(s, b->model, &err) != RWKV_OK) return cli_error(&err);
        if (i && rwkv_session_copy(*s, b->kept[i - 1], &err) != RWKV_OK) return cli_error(&err);
        while ((now = rwkv_session_n_tokens(*s)) < depths.v[i] && !cli_interrupted()) {
            uint64_t n = depths.v[i] - now < 1024 ? depths.v[i] - now : 1024;
            if (feed(b, *s, n, &err) != RWKV_OK) return cli_error(&err);
            cli_progress(T("Reading", "读取"), now, depths.v[i] + 1, T("tokens", "词元"));
        }
        cli_progress(NULL, 0, 0, NULL);
        if (cli_interrupted()) return EXIT_INTERRUPTED;
        int code = add_row(b, common, 0, gens.n ? gens.v[0] : 64, 1, depths.v[i]);
        if (code) return code;
        b->rows[b->n_rows - 1].peak_rss = peak_rss();
    }
    return EXIT_OK;
}

static int run_tests(bench *b, bench_row *common, double opened) {
    rwkv_error err = {0};
    size_t from = b->n_rows;
    uint64_t most = 1;
    for (size_t i = 0; i < batches.n; i++) most = batches.v[i] > most ? batches.v[i] : most;
    b->sessions = calloc(most, sizeof *b->sessions);
    if (!b->sessions) return cli_fail(EXIT_SYSTEM, T("bench: out of memory", "bench：内存不足"));
    if (rwkv_session_new(&b->sessions[b->n_sessions++], b->model, &err) != RWKV_OK ||
        feed(b, b->sessions[0], 1, &err) != RWKV_OK)
        return cli_error(&err);
    common->first_token_s = cli_seconds() - opened;
    bench_peaks(b->info.n_threads, &common->limit);
    int code = add_tests(b, common);
    if (code == EXIT_OK) code = add_depths(b, common);
    if (code) return code;
    for (; b->n_sessions < most; b->n_sessions++)
        if (rwkv_session_new(&b->sessions[b->n_sessions], b->model, &err) != RWKV_OK)
            return cli_error(&err);
    rwkv_status st = run_rows(b, from, &err);
    return st == RWKV_OK ? EXIT_OK : st == RWKV_E_CANCELLED ? EXIT_INTERRUPTED : cli_error(&err);
}

static int run_model(bench *b, const char *path, uint32_t n_threads) {
    model_args args = {
        .isa = isa, .threads = n_threads, .no_mmap = no_mmap, .force = force, .dense = dense};
    double begin = cli_seconds();
    int code = cli_open_model(&b->model, path, &args);
    if (code) return code;
    rwkv_model_info(b->model, &b->info);
    count_work(b);
    const rwkv_info *i = &b->info;
    bench_row common = {
        .file_bytes = i->file_bytes,
        .n_params = i->n_params,
        .n_threads = i->n_threads,
        .load_s = cli_seconds() - begin,
    };
    snprintf(common.path, sizeof common.path, "%s", path);
    snprintf(common.name, sizeof common.name, "%s", i->name);
    snprintf(common.version, sizeof common.version, "%s", i->version);
    snprintf(common.type, sizeof common.type, "%s", i->type);
    snprintf(common.isa, sizeof common.isa, "%s", i->isa);
    code = run_tests(b, &common, begin);
    while (b->n_sessions > 0) rwkv_session_free(b->sessions[--b->n_sessions]);
    free(b->sessions);
    for (size_t k = 0; k < depths.n; k++) rwkv_session_free(b->kept[k]);
    memset(b->kept, 0, sizeof b->kept);
    rwkv_model_free(b->model);
    b->model = NULL;
    return code;
}

static int run_models(char **paths, int n) {
    bench_row rows[MAX_ROWS];
    bench b = {.rows = rows, .random = 1};
    int code = EXIT_OK;
    bench_print_begin(format);
    for (int i = 0; i < n && !code; i++)
        for (size_t t = 0; t < (threads.n ? threads.n : 1) && !code; t++)
            code = run_model(&b, paths[i], threads.n ? (uint32_t)threads.v[t] : 0);
    bench_print_end(format, rows, b.n_rows);
    if (code == EXIT_OK && plot && b.n_rows) code = bench_plot(plot, rows, b.n_rows);
    for (size_t i = 0; i < b.n_rows; i++) free(rows[i].samples_ts);
    return code;
}

/* ------------------------------------------------------------------ command */

/* In a folder of its own below $TMPDIR, removed at the end. */
static int run_shape(void) {
    const char *tmp = getenv("TMPDIR");
    char folder[1024], scratch[1200], file[1200];
    char *path = file;
    int n = snprintf(folder, sizeof folder, "%s/rwkv-bench-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (n >= (int)sizeof folder || !mkdtemp(folder))
        return cli_fail(EXIT_SYSTEM, T("%s: cannot make a folder", "%s：无法创建文件夹"), folder);
    snprintf(scratch, sizeof scratch, "%s/%s.pth", folder, shape);
    snprintf(file, sizeof file, "%s/%s.gguf", folder, shape);
    int code =
        bench_synthesize(shape, type, zeros ? zeros : 50, vocab,
                         threads.n ? (uint32_t)threads.v[0] : 0, scratch, keep ? keep : file);
    unlink(scratch);
    if (keep) path = (char *)(uintptr_t)keep;
    if (code == EXIT_OK) code = run_models(&path, 1);
    unlink(file);
    rmdir(folder);
    return code;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int run(int argc, char **argv) {
    int n;
    bool helped;
    shape = vocab = isa = keep = plot = batch_text = depth_text = threads_text = NULL;
    prompt_text = "512";
    gen_text = "64";
    type = "Q4_0";
    format = "md";
    repeats = 5;
    zeros = 0;
    no_mmap = force = dense = false;
    int code = cli_parse("bench", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if ((n == 0) == !shape || ((keep || zeros) && !shape))
        return cli_fail(EXIT_USAGE,
                        T("bench: expected MODEL..., or --shape NAME; see rwkv help bench",
                          "bench：需要 MODEL……，或 --shape 名称；参见 rwkv help bench"));
    if (strcmp(format, "md") && strcmp(format, "csv") && strcmp(format, "json"))
        return cli_fail(EXIT_USAGE,
                        T("bench: --format: found '%s'; expected md, csv or json",
                          "bench：--format：得到 '%s'；应为 md、csv 或 json"),
                        format);
    const struct {
        const char *name, *text;
        uint64_t max;
        list *out;
    } lists[] = {{"prompt", prompt_text, 100000000, &prompts},
                 {"gen", gen_text, 100000000, &gens},
                 {"batch", batch_text, MAX_SESSIONS, &batches},
                 {"depth", depth_text, 1000000000, &depths},
                 {"threads", threads_text, 1024, &threads}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !code; i++)
        code = read_list(lists[i].name, lists[i].text, lists[i].max, lists[i].out);
    if (code) return code;
    qsort(depths.v, depths.n, sizeof *depths.v, by_value);
    cli_catch_interrupt();
    bench_read_bandwidth(1);
    return shape ? run_shape() : run_models(argv + 1, n);
}

const command cmd_bench = {
    "bench",
    "MODEL... | --shape NAME [OPTIONS]",
    "measure speed and memory, against the machine's limits",
    "测量速度和内存，并与本机极限比较",
    run,
    options,
    "Tests: ppN reads N tokens, tgN evaluates N one by one; t/s is the median over repetitions\n"
    "that take turns. \"of limit\": for tg the bytes needed (weights but the embedding, state in "
    "and\nout) against the memory bandwidth sampled between the tests; for pp the multiply-adds "
    "against\nthis processor's peak for the type. Tokens are random; with random weights about "
    "half "
    "of the\nFFN's activations are zero, in trained models more.",
    "测试：ppN 一次读取 N 个词元，tgN 逐个求值 N 个；t/s 为轮流重复的中位数。“of limit”：tg "
    "为所需字节\n"
    "（除词嵌入外的权重、状态的读和写）与测试间隙采样的内存带宽之比；pp "
    "为乘加次数与该类型在本处理器上\n"
    "的峰值之比。词元是随机的；随机权重的 FFN 激活约一半为零，训练过的模型更多。",
};
