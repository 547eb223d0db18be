/* perplexity.c - rwkv perplexity: how well a model predicts a text, of any length, in constant
 * memory.
 *
 *     file -> window of bytes -> tokens that are final -> logits -> sum of -log p
 *
 * A window is cut only where the tokens before the cut are those of the whole text: see
 * safe_length.
 */
#include "cli.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { WINDOW = 1 << 16, ROWS = 128 };

static model_args model_opts;
static bool as_json, bos;
static uint64_t limit;

static const option_spec *options(void) {
    static option_spec table[24];
    static const option_spec own[] = {
        {"json", 0, OPT_FLAG, &as_json, NULL, "one JSON object", "输出一个 JSON 对象", 0, 0},
        {"limit", 'n', OPT_U64, &limit, "N", "score at most N tokens", "最多计入 N 个词元", 0, 0},
        {"bos", 0, OPT_FLAG, &bos, NULL,
         "feed the end-of-text token first, and score the first token",
         "先输入文本结束符，并计入第一个词元", 0, 0},
        {0},
    };
    return cli_join(table, 24, own, cli_model_specs(&model_opts), NULL);
}

/* ------------------------------------------------------------------ tokens of a stream */

typedef struct token_stream {
    const rwkv_tokenizer *t;
    FILE *in;
    const char *path;
    size_t longest; /* bytes of the longest token; 0: the vocabulary is BPE */
    char *window;   /* bytes that are read but not yet given out as tokens */
    size_t len, cap;
    bool eof;
    int32_t *ids; /* the tokens given out */
    size_t ids_cap;
} token_stream;

static size_t longest_token(const rwkv_tokenizer *t) {
    size_t longest = 0, len;
    if (strcmp(rwkv_tokenizer_kind(t), "20B") == 0) return 0;
    for (size_t i = 0; i < rwkv_tokenizer_size(t); i++) {
        (void)rwkv_token_bytes(t, (int32_t)i, &len);
        if (len > longest) longest = len;
    }
    return longest;
}

/* BPE: words are cut before a blank that follows something else, and neither NFC nor a merge
 * crosses that place. The byte before must surely be no blank: visible ASCII, or the end of a
 * character from U+4000 on (all of Unicode's blanks are below). 0: no such place. */
static size_t last_word_end(const char *s, size_t n) {
    for (size_t i = n; i-- > 1;) {
        if (s[i] != ' ' && s[i] != '\n') continue;
        size_t lead = i - 1;
        while (lead > 0 && i - lead < 4 && ((unsigned char)s[lead] & 0xc0) == 0x80) lead--;
        unsigned char before = (unsigned char)s[i - 1], first = (unsigned char)s[lead];
        if ((before > 0x20 && before < 0x7f) || first >= 0xe4) return i;
    }
    return 0;
}

/* How many of the n tokens are those of the whole text, and the bytes that they spell. Greedy
 * matching looks at most `longest` bytes ahead, so a token is final when that many were in sight.
 */
static size_t final_tokens(const token_stream *s, size_t n, size_t *bytes) {
    size_t i = 0, len;
    *bytes = 0;
    if (s->eof || s->longest == 0) return n;
    for (; i < n && *bytes + s->longest <= s->len; i++) {
        (void)rwkv_token_bytes(s->t, s->ids[i], &len);
        *bytes += len;
    }
    return i;
}

/* Grows the window to `want` bytes or the end of the file. */
static int fill(token_stream *s, size_t want) {
    if (s->cap < want) {
        char *p = realloc(s->window, want);
        if (!p) return cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), s->path);
        s->window = p;
        s->cap = want;
    }
    while (s->len < want && !s->eof) {
        cli_interrupt_reads(true);
        size_t got = fread(s->window + s->len, 1, want - s->len, s->in);
        cli_interrupt_reads(false);
        s->len += got;
        s->eof = got == 0 || cli_interrupted();
    }
    if (ferror(s->in) && !cli_interrupted()) return cli_fail(EXIT_SYSTEM, "%s: %s", s->path, strerror(errno));
    size_t need = s->len * 3 + 1;
    if (s->ids_cap < need) {
        int32_t *p = realloc(s->ids, need * sizeof *p);
        if (!p) return cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), s->path);
        s->ids = p;
        s->ids_cap = need;
    }
    return EXIT_OK;
}

/* The next tokens in s->ids, *n of them spelling *bytes; *n = 0 at the end. A window without a safe
 * cut is doubled: only a text without blanks (BPE) costs memory. */
static int next_tokens(token_stream *s, size_t *n, size_t *bytes) {
    rwkv_error err = {0};
    for (size_t want = WINDOW;; want *= 2) {
        int code = fill(s, want);
        if (code) return code;
        size_t part = s->len, count = 0;
        if (s->longest == 0 && !s->eof) part = last_word_end(s->window, s->len);
        rwkv_status st = rwkv_encode(s->t, s->window, part, 0, s->ids, s->ids_cap, &count, &err);
        /* A greedy vocabulary without all bytes may fail only because the window cuts a token. */
        bool real = s->eof || s->longest == 0 || st != RWKV_E_TEXT;
        if (st != RWKV_OK && real) return cli_error(&err);
        *n = st == RWKV_OK ? final_tokens(s, count, bytes) : 0;
        if (s->eof || s->longest == 0) *bytes = part;
        if (*n == 0 && !s->eof) continue;
        s->len -= *bytes;
        memmove(s->window, s->window + *bytes, s->len);
        return EXIT_OK;
    }
}

/* ------------------------------------------------------------------ score */

typedef struct score {
    double nats;     /* sum of -log p over the tokens scored */
    uint64_t tokens; /* scored */
    uint64_t bytes;  /* that they spell */
} score;

static double surprise(const float *logits, size_t n, int32_t id) {
    float top = logits[0];
    double sum = 0;
    for (size_t i = 1; i < n; i++) top = logits[i] > top ? logits[i] : top;
    for (size_t i = 0; i < n; i++) sum += (double)expf(logits[i] - top);
    return log(sum) + (double)top - (double)logits[id];
}

/* Feeds n <= ROWS ids and adds the surprise of each, given the logits before it. */
static rwkv_status add_tokens(rwkv_session *s, const rwkv_tokenizer *t, const int32_t *ids,
                              size_t n, size_t n_vocab, float *rows, score *total,
                              rwkv_error *err) {
    size_t len;
    double nats = surprise(rwkv_session_logits(s), n_vocab, ids[0]);
    rwkv_status st = rwkv_session_eval_all(s, ids, n, rows, err);
    if (st != RWKV_OK) return st;
    for (size_t i = 1; i < n; i++) nats += surprise(rows + (i - 1) * n_vocab, n_vocab, ids[i]);
    for (size_t i = 0; i < n; i++) {
        (void)rwkv_token_bytes(t, ids[i], &len);
        total->bytes += len;
    }
    total->tokens += n;
    total->nats += nats;
    return RWKV_OK;
}

/* The whole stream. Nothing predicts a first token unless --bos gives it a context. */
static int measure(token_stream *in, rwkv_session *s, size_t n_vocab, uint64_t size, float *rows,
                   score *total) {
    rwkv_error err = {0};
    const int32_t end = rwkv_tokenizer_end(in->t);
    uint64_t fed = 0;
    size_t n = 0, bytes = 0;
    if (bos && rwkv_session_eval(s, &end, 1, &err) != RWKV_OK) return cli_error(&err);
    for (;;) {
        int code = next_tokens(in, &n, &bytes);
        if (code || n == 0) return code;
        size_t done = 0;
        if (!rwkv_session_logits(s)) {
            if (rwkv_session_eval(s, in->ids, 1, &err) != RWKV_OK) return cli_error(&err);
            done = 1;
        }
        while (done < n) {
            size_t k = n - done < ROWS ? n - done : ROWS;
            if (limit && limit - total->tokens < k) k = (size_t)(limit - total->tokens);
            if (k == 0 || cli_interrupted()) return EXIT_OK;
            rwkv_status st = add_tokens(s, in->t, in->ids + done, k, n_vocab, rows, total, &err);
            if (st != RWKV_OK) return cli_error(&err);
            done += k;
            if (limit) {
                cli_progress(T("Scoring", "计算"), total->tokens, limit, T("tokens", "词元"));
            } else {
                cli_progress(T("Scoring", "计算"), fed + bytes * done / n, size, "B");
            }
        }
        fed += bytes;
    }
}

static int print_score(const score *total) {
    const double bits = total->nats / log(2.0);
    const double per_token = bits / (double)total->tokens;
    const double per_byte = total->bytes ? bits / (double)total->bytes : 0;
    const double perplexity = exp(total->nats / (double)total->tokens);
    if (as_json) {
        json_t *o = json_pack("{s:I, s:I, s:f, s:f, s:f, s:b}", "tokens", (json_int_t)total->tokens,
                              "bytes", (json_int_t)total->bytes, "bits_per_token", per_token,
                              "bits_per_byte", per_byte, "perplexity", perplexity, "bos", bos);
        int failed = json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(o);
        return failed ? EXIT_SYSTEM : EXIT_OK;
    }
    printf(T("%llu tokens, %llu bytes\nbits per token  %.4f\nbits per byte   %.4f\nperplexity      "
             "%.4f\n",
             "%llu 个词元，%llu 字节\n每词元比特  %.4f\n每字节比特  %.4f\n困惑度      %.4f\n"),
           (unsigned long long)total->tokens, (unsigned long long)total->bytes, per_token, per_byte,
           perplexity);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ command */

static int open_input(const char *path, FILE **in, uint64_t *size) {
    struct stat st = {0};
    *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (!*in) return cli_fail(EXIT_INPUT, "%s: %s", path, strerror(errno));
    if (fstat(fileno(*in), &st) == 0 && S_ISREG(st.st_mode)) *size = (uint64_t)st.st_size;
    if (!S_ISDIR(st.st_mode)) return EXIT_OK;
    fclose(*in);
    return cli_fail(EXIT_INPUT, "%s: %s", path, strerror(EISDIR));
}

static int score_file(rwkv_model *model, const rwkv_tokenizer *t, const char *path) {
    token_stream in = {.t = t, .path = path, .longest = longest_token(t)};
    score total = {0};
    rwkv_session *s = NULL;
    rwkv_error err = {0};
    rwkv_info info;
    float *rows = NULL;
    uint64_t size = 0;
    int code = open_input(path, &in.in, &size);
    if (code) return code;
    rwkv_model_info(model, &info);
    if (rwkv_session_new(&s, model, &err) != RWKV_OK) {
        code = cli_error(&err);
    } else if (!(rows = calloc(ROWS, info.n_vocab * sizeof *rows))) {
        code = cli_fail(EXIT_SYSTEM, T("perplexity: out of memory", "perplexity：内存不足"));
    } else {
        code = measure(&in, s, info.n_vocab, size, rows, &total);
    }
    cli_progress(NULL, 0, 0, NULL);
    if (code == EXIT_OK && total.tokens == 0 && !cli_interrupted()) {
        code = cli_fail(EXIT_INPUT,
                        T("%s: found no token to predict; expected at least two",
                          "%s：没有可预测的词元；至少需要两个"),
                        path);
    } else if (code == EXIT_OK && total.tokens > 0) {
        code = print_score(&total);
    }
    if (code == EXIT_OK && cli_interrupted()) code = EXIT_INTERRUPTED;
    free(rows);
    free(in.ids);
    free(in.window);
    rwkv_session_free(s);
    if (in.in != stdin) fclose(in.in);
    return code;
}

static int run(int argc, char **argv) {
    rwkv_model *model = NULL;
    rwkv_error err = {0};
    int n;
    bool helped;
    int code = cli_parse("perplexity", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n != 2) {
        return cli_fail(EXIT_USAGE,
                        T("perplexity: expected MODEL FILE", "perplexity：需要模型与文本文件"));
    }
    cli_catch_interrupt();
    code = cli_open_model(&model, argv[1], &model_opts);
    if (code) return code;
    const rwkv_tokenizer *t = rwkv_model_tokenizer(model, &err);
    if (!t) {
        code = cli_error(&err);
    } else if (bos && rwkv_tokenizer_end(t) < 0) {
        code = cli_fail(EXIT_INPUT, T("--bos: this vocabulary has no end-of-text token",
                                      "--bos：此词表没有文本结束符"));
    } else {
        code = score_file(model, t, argv[2]);
    }
    rwkv_model_free(model);
    return code;
}

const command cmd_perplexity = {
    "perplexity",
    "MODEL FILE [OPTIONS]",
    "measure how well a model predicts a text",
    "衡量模型对文本的预测能力",
    run,
    options,
    "FILE may be - for stdin, and of any length: memory stays constant. The text is one sequence.\n"
    "Its first token has no context and is not scored; with --bos the end-of-text token (0) is "
    "fed\n"
    "before it and all tokens are scored. Bits per byte divides by the bytes of the scored "
    "tokens.\n"
    "Ctrl-C prints the result so far.",
    "文件可为 -（标准输入），长度不限：内存占用恒定。全文作为一个序列。\n"
    "第一个词元没有上文，不计入；使用 --bos 时先输入文本结束符（0），所有词元均计入。\n"
    "每字节比特按计入词元的字节数计算。按 Ctrl-C 输出当前结果。",
};
