/* run.c - rwkv run: completion. The text goes to the model as it is, no chat template.
 *
 *     -p, -f or stdin -> ids -> session (perhaps from a state file) -> cli_generate -> stdout
 */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static model_args model_opts;
static sampling_args sampling;
static const char *prompt_text, *prompt_file, *state_in, *state_out;
static opt_list stops;
static uint64_t max_tokens = 256;
static bool as_json, echo, ignore_end, stats, render, escapes;

static const option_spec *options(void) {
    static option_spec table[48];
    static const option_spec own[] = {
        {"prompt", 'p', OPT_STRING, &prompt_text, "TEXT", "the text to continue; default: stdin",
         "要续写的文本；默认读取标准输入", 0, 0},
        {"file", 'f', OPT_STRING, &prompt_file, "FILE", "read the text from a file",
         "从文件读取文本", 0, 0},
        {"escapes", 'e', OPT_FLAG, &escapes, NULL,
         "\\n \\t \\\\ \\xNN in -p and --stop are escapes",
         "-p 与 --stop 中的 \\n \\t \\\\ \\xNN 为转义", 0, 0},
        {"tokens", 'n', OPT_U64, &max_tokens, "N", "at most N tokens, default 256; 0: only read",
         "最多 N 个词元，默认 256；0：只读取", 0, 0},
        {"stop", 0, OPT_STRINGS, &stops, "TEXT", "end before this text; may be repeated",
         "遇到此文本即停止；可多次给出", 0, 0},
        {"ignore-end", 0, OPT_FLAG, &ignore_end, NULL, "go on after the end-of-text token",
         "遇到文本结束符后继续", 0, 0},
        {"echo", 0, OPT_FLAG, &echo, NULL, "print the prompt first", "先输出提示文本", 0, 0},
        {"json", 0, OPT_FLAG, &as_json, NULL, "one JSON object per line", "每行输出一个 JSON 对象",
         0, 0},
        {"stats", 0, OPT_FLAG, &stats, NULL, "speed and counts on stderr",
         "在 stderr 显示速度与数量", 0, 0},
        {"render", 0, OPT_FLAG, &render, NULL, "print the prompt's ids and stop",
         "输出提示的词元编号后退出", 0, 0},
        {"state", 0, OPT_STRING, &state_in, "FILE", "continue from this state", "从此状态继续", 0,
         0},
        {"save-state", 0, OPT_STRING, &state_out, "FILE", "keep the state afterwards",
         "结束后保存状态", 0, 0},
        {0},
    };
    return cli_join(table, 48, own, cli_sampling_specs(&sampling), cli_model_specs(&model_opts),
                    NULL);
}

/* ------------------------------------------------------------------ prompt */

static int hex_digit(char c) {
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* In place; an unknown escape stays as it is. Returns the new length. */
static size_t unescape(char *s) {
    static const char from[] = "ntr0\\\"'", to[] = "\n\t\r\0\\\"'";
    char *out = s;
    for (const char *p = s; *p;) {
        const char *known = p[0] == '\\' && p[1] ? strchr(from, p[1]) : NULL;
        if (known) {
            *out++ = to[known - from];
            p += 2;
        } else if (p[0] == '\\' && p[1] == 'x' && hex_digit(p[2]) >= 0 && hex_digit(p[3]) >= 0) {
            *out++ = (char)(hex_digit(p[2]) * 16 + hex_digit(p[3]));
            p += 4;
        } else {
            *out++ = *p++;
        }
    }
    *out = '\0';
    return (size_t)(out - s);
}

static int read_prompt(char **text, size_t *len) {
    if (prompt_text && prompt_file) {
        return cli_fail(EXIT_USAGE, T("run: --prompt and --file exclude each other",
                                      "run：--prompt 与 --file 不能同时使用"));
    }
    if (prompt_text) {
        *len = strlen(prompt_text);
        *text = strdup(prompt_text);
        if (!*text) return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        if (escapes) *len = unescape(*text);
        return EXIT_OK;
    }
    if (!prompt_file && isatty(STDIN_FILENO)) {
        if (state_in) { /* nothing typed is needed: the state goes on */
            *text = calloc(1, 1);
            *len = 0;
            return *text ? EXIT_OK : EXIT_SYSTEM;
        }
        fputs(T("Type the text to continue; Ctrl-D ends it.\n",
                "请输入要续写的文本；按 Ctrl-D 结束。\n"),
              stderr);
    }
    return cli_read_input(prompt_file ? prompt_file : "-", text, len);
}

/* A text without any token begins where documents begin: after an end-of-text token. */
static int prompt_ids(const rwkv_tokenizer *t, const char *text, size_t len, int32_t **ids,
                      size_t *n) {
    int code = cli_encode(t, text, len, true, ids, n);
    if (code || *n || state_in) return code;
    if (rwkv_tokenizer_end(t) < 0) {
        free(*ids);
        *ids = NULL;
        return cli_fail(EXIT_INPUT, T("run: the prompt is empty", "run：提示为空"));
    }
    (*ids)[(*n)++] = rwkv_tokenizer_end(t);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ output */

static int print_json(json_t *o) {
    int failed = !o || json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(o);
    return failed || fflush(stdout) ? EXIT_SYSTEM : EXIT_OK;
}

static void on_token(void *user, int32_t id) {
    (void)user;
    if (as_json) print_json(json_pack("{s:s, s:i}", "event", "token", "id", id));
}

static bool on_text(void *user, const char *text, size_t n) {
    (void)user;
    if (!as_json) {
        cli_put_text(stdout, text, n);
        return fflush(stdout) == 0;
    }
    size_t len;
    char *valid = cli_valid_utf8(text, n, &len);
    int code = print_json(
        json_pack("{s:s, s:s%}", "event", "text", "text", valid ? valid : "", valid ? len : 0));
    free(valid);
    return code == EXIT_OK;
}

typedef struct timing {
    size_t prompt_tokens;
    uint64_t tokens;
    double prompt_seconds, seconds;
} timing;

static double rate(double n, double seconds) {
    return seconds > 0 ? n / seconds : 0;
}

static void print_end(const timing *t, finish f) {
    double prompt_rate = rate((double)t->prompt_tokens, t->prompt_seconds);
    double token_rate = rate((double)t->tokens, t->seconds);
    if (as_json) {
        print_json(json_pack("{s:s, s:s, s:I, s:I, s:f, s:f, s:f, s:f, s:I}", "event", "finish",
                             "reason", cli_finish_name(f), "prompt_tokens",
                             (json_int_t)t->prompt_tokens, "tokens", (json_int_t)t->tokens,
                             "prompt_seconds", t->prompt_seconds, "seconds", t->seconds,
                             "prompt_tokens_per_second", prompt_rate, "tokens_per_second",
                             token_rate, "seed", (json_int_t)sampling.how.seed));
    } else if (isatty(STDOUT_FILENO)) {
        putchar('\n');
    }
    fflush(stdout);
    if (!stats) return;
    fprintf(stderr,
            T("prompt  %zu tokens  %.2f s  %.1f tokens/s\nanswer  %llu tokens  %.2f s  "
              "%.1f tokens/s  (%s)\nseed    %llu\n",
              "提示  %zu 个词元  %.2f 秒  %.1f 词元/秒\n回答  %llu 个词元  %.2f 秒  "
              "%.1f 词元/秒（%s）\n种子  %llu\n"),
            t->prompt_tokens, t->prompt_seconds, prompt_rate, (unsigned long long)t->tokens,
            t->seconds, token_rate, cli_finish_name(f), (unsigned long long)sampling.how.seed);
}

/* ------------------------------------------------------------------ state files */

static int load_state(rwkv_session *s) {
    rwkv_error err = {0};
    rwkv_state_info info = {0};
    char *blob;
    size_t len;
    int code = cli_read_input(state_in, &blob, &len);
    if (code) return code;
    if (rwkv_session_load(s, blob, len, &info, &err) != RWKV_OK) {
        code = cli_fail(EXIT_INPUT, "%s: %s", state_in, err.message);
    } else if (info.other_weights) {
        cli_fail(0,
                 T("warning: %s was made with other weights of the same model",
                   "警告：%s 由同一模型的另一种权重生成"),
                 state_in);
    }
    free(blob);
    return code;
}

static int save_state(const rwkv_session *s) {
    rwkv_error err = {0};
    size_t len = 0;
    rwkv_session_save(s, NULL, 0, 0, NULL, 0, &len, &err);
    void *blob = malloc(len ? len : 1);
    if (!blob) return cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), state_out);
    int code = EXIT_OK;
    if (rwkv_session_save(s, NULL, 0, 0, blob, len, &len, &err) != RWKV_OK ||
        rwkv_file_write(state_out, blob, len, &err) != RWKV_OK) {
        code = cli_error(&err);
    }
    free(blob);
    return code;
}

/* ------------------------------------------------------------------ command */

static int complete(generation *g, const char *text, size_t len) {
    rwkv_error err = {0};
    timing t = {0};
    int32_t *ids = NULL;
    int code = prompt_ids(g->tokenizer, text, len, &ids, &t.prompt_tokens);
    if (code) return code;
    double begin = cli_seconds();
    rwkv_status st = cli_feed(g->session, ids, t.prompt_tokens, &err);
    free(ids);
    t.prompt_seconds = cli_seconds() - begin;
    if (st != RWKV_OK) return cli_error(&err);
    if (cli_interrupted()) return EXIT_INTERRUPTED;
    bool begun = rwkv_session_logits(g->session) || rwkv_session_pending(g->session) >= 0;
    if (!begun)
        return cli_fail(EXIT_INPUT, T("run: prompt and state are empty", "run：提示与状态均为空"));
    if (echo && !on_text(NULL, text, len)) return cli_close_output(EXIT_OK);
    begin = cli_seconds();
    finish f = max_tokens ? cli_generate(g, &t.tokens, &err) : FINISH_LENGTH;
    t.seconds = cli_seconds() - begin;
    if (f == FINISH_ERROR) code = cli_error(&err);
    print_end(&t, f);
    if (f == FINISH_INTERRUPT && cli_interrupted()) code = EXIT_INTERRUPTED;
    if (state_out && f != FINISH_ERROR) {
        int saved = save_state(g->session);
        if (saved) code = saved;
    }
    return cli_close_output(code);
}

static int print_prompt(const rwkv_tokenizer *t, const char *text, size_t len) {
    int32_t *ids = NULL;
    size_t n;
    int code = prompt_ids(t, text, len, &ids, &n);
    if (code) return code;
    if (as_json) fputs("{\"ids\":[", stdout);
    for (size_t i = 0; i < n; i++) printf("%s%d", i == 0 ? "" : as_json ? "," : " ", ids[i]);
    puts(as_json ? "]}" : "");
    free(ids);
    return EXIT_OK;
}

static int run_model(rwkv_model *model, const char *text, size_t len) {
    rwkv_error err = {0};
    rwkv_info info;
    generation g = {.max_tokens = max_tokens,
                    .ignore_end = ignore_end,
                    .on_text = on_text,
                    .on_token = on_token};
    int code = EXIT_OK;
    rwkv_model_info(model, &info);
    if (!(g.tokenizer = rwkv_model_tokenizer(model, &err))) return cli_error(&err);
    const char *preset = *info.sampling ? info.sampling : "default";
    if ((code = cli_sampling_resolve(&sampling, preset, g.tokenizer, info.n_vocab))) return code;
    if (render) {
        code = print_prompt(g.tokenizer, text, len);
    } else if (rwkv_session_new(&g.session, model, &err) != RWKV_OK ||
               rwkv_sampler_new(&g.sampler, info.n_vocab, g.tokenizer, &sampling.how, &err) !=
                   RWKV_OK ||
               rwkv_stream_new(&g.stream, stops.items, stops.n, &err) != RWKV_OK) {
        code = cli_error(&err);
    } else if (!state_in || (code = load_state(g.session)) == EXIT_OK) {
        code = complete(&g, text, len);
    }
    rwkv_stream_free(g.stream);
    rwkv_sampler_free(g.sampler);
    rwkv_session_free(g.session);
    return code;
}

/* Copies, since the arguments are not ours to change. */
static int unescape_stops(char **copies) {
    for (size_t i = 0; i < stops.n; i++) {
        if (!(copies[i] = strdup(stops.items[i])))
            return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        unescape(copies[i]);
        stops.items[i] = copies[i];
    }
    return EXIT_OK;
}

static int run(int argc, char **argv) {
    rwkv_model *model = NULL;
    char *copies[sizeof stops.items / sizeof *stops.items] = {0}, *text = NULL;
    size_t len = 0;
    int n;
    bool helped;
    int code = cli_parse("run", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n != 1) {
        return cli_fail(EXIT_USAGE, n == 0 ? T("run: expected MODEL", "run：需要模型文件")
                                           : T("run: expected one MODEL; the text goes to -p",
                                               "run：只需一个模型文件；文本用 -p 给出"));
    }
    cli_catch_interrupt();
    if (escapes) code = unescape_stops(copies);
    if (code == EXIT_OK) code = read_prompt(&text, &len);
    if (code == EXIT_OK) code = cli_open_model(&model, argv[1], &model_opts);
    if (code == EXIT_OK) code = run_model(model, text, len);
    rwkv_model_free(model);
    free(text);
    for (size_t i = 0; i < stops.n; i++) free(copies[i]);
    return code;
}

const command cmd_run = {
    "run",
    "MODEL [-p TEXT | -f FILE] [OPTIONS]",
    "continue a text",
    "续写文本",
    run,
    options,
    "The text goes to the model as it is: no template, and blank lines do not end the answer; the\n"
    "end-of-text token, --stop, -n and Ctrl-C do. --json prints lines with \"event\": token (id),\n"
    "text (what may be shown), finish (reason: stop end length interrupt error; counts; speed; "
    "seed).\n"
    "A state file keeps everything read and written so far; --state goes on from it.",
    "文本原样交给模型：不使用模板，空行也不会结束回答；结束条件是文本结束符、--stop、-n 与 "
    "Ctrl-C。\n"
    "--json 每行带有 \"event\"：token（编号）、text（可显示的文本）、finish（原因：stop end "
    "length\n"
    "interrupt error；数量、速度、种子）。状态文件保存已读写的全部内容；--state 由此继续。",
};
