/* logits.c - rwkv logits: the raw numbers, for comparison with other engines.
 *
 *     ids [, state] -> session -> one row of n_vocab float32 per id (little endian) [, final state]
 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

static model_args model_opts;
static const char *tokens_text, *out_path, *state_out, *state_in, *mode = "all";

static const option_spec *options(void) {
    static option_spec table[24];
    static const option_spec own[] = {
        {"tokens", 0, OPT_STRING, &tokens_text, "1,2,3", "ids to feed; - reads them from stdin",
         "要输入的词元编号；- 表示从标准输入读取", 0, 0},
        {"out", 'o', OPT_STRING, &out_path, "FILE.f32", "where the logits go; - is stdout",
         "logits 的输出文件；- 为标准输出", 0, 0},
        {"state", 0, OPT_STRING, &state_out, "FILE.f32", "write the state after the last token",
         "写出最后一个词元之后的状态", 0, 0},
        {"state-in", 0, OPT_STRING, &state_in, "FILE.f32", "begin with this state", "初始状态", 0,
         0},
        {"mode", 0, OPT_STRING, &mode, "HOW", "all: as one sequence; one: token by token",
         "all：整段求值；one：逐个词元求值", 0, 0},
        {0},
    };
    return cli_join(table, 24, own, cli_model_specs(&model_opts), NULL);
}

static int load_state(rwkv_session *s) {
    rwkv_error err = {0};
    char *data;
    size_t len;
    int code = cli_read_input(state_in, &data, &len);
    if (code) return code;
    float *state = (float *)(void *)data; /* malloc'd: aligned */
    size_t want = rwkv_session_state_len(s) * sizeof *state;
    if (len != want) {
        code = cli_fail(EXIT_INPUT,
                        T("%s: found %zu bytes; expected %zu, one state of this model",
                          "%s：得到 %zu 字节；应为 %zu（该模型的一个状态）"),
                        state_in, len, want);
    } else if (rwkv_session_set_state(s, state, len / sizeof *state, &err) != RWKV_OK) {
        code = cli_error(&err);
    }
    free(data);
    return code;
}

static rwkv_status evaluate(rwkv_session *s, const int32_t *ids, size_t n, size_t n_vocab,
                            float *rows, rwkv_error *err) {
    if (strcmp(mode, "all") == 0) return rwkv_session_eval_all(s, ids, n, rows, err);
    for (size_t i = 0; i < n; i++) {
        rwkv_status st = rwkv_session_eval(s, ids + i, 1, err);
        if (st != RWKV_OK) return st;
        memcpy(rows + i * n_vocab, rwkv_session_logits(s), n_vocab * sizeof *rows);
    }
    return RWKV_OK;
}

static int write_floats(const char *path, const float *data, size_t n) {
    rwkv_error err = {0};
    if (strcmp(path, "-") == 0) {
        fwrite(data, sizeof *data, n, stdout);
        return cli_close_output(EXIT_OK);
    }
    return rwkv_file_write(path, data, n * sizeof *data, &err) == RWKV_OK ? EXIT_OK
                                                                          : cli_error(&err);
}

static int compute(rwkv_model *model, const int32_t *ids, size_t n) {
    rwkv_session *s = NULL;
    rwkv_error err = {0};
    rwkv_info info;
    float *rows = NULL;
    int code = EXIT_OK;
    rwkv_model_info(model, &info);
    if (rwkv_session_new(&s, model, &err) != RWKV_OK) return cli_error(&err);
    if (state_in) code = load_state(s);
    if (code == EXIT_OK && !(rows = calloc(n, info.n_vocab * sizeof *rows))) {
        code = cli_fail(EXIT_SYSTEM,
                        T("logits: out of memory for %zu rows", "logits：内存不足：%zu 行"), n);
    }
    if (code == EXIT_OK && evaluate(s, ids, n, info.n_vocab, rows, &err) != RWKV_OK) {
        code = cli_error(&err);
    }
    if (code == EXIT_OK) code = write_floats(out_path, rows, n * info.n_vocab);
    if (code == EXIT_OK && state_out) {
        code = write_floats(state_out, rwkv_session_state(s), rwkv_session_state_len(s));
    }
    free(rows);
    rwkv_session_free(s);
    return code;
}

static int read_tokens(size_t n_vocab, int32_t **ids, size_t *n) {
    char *text = NULL;
    size_t len = strlen(tokens_text);
    int code = EXIT_OK;
    bool from_stdin = strcmp(tokens_text, "-") == 0;
    if (from_stdin) code = cli_read_input("-", &text, &len);
    if (code == EXIT_OK)
        code = cli_parse_ids(from_stdin ? text : tokens_text, len, n_vocab, ids, n);
    free(text);
    if (code == EXIT_OK && *n == 0) {
        code = cli_fail(EXIT_USAGE, T("logits: --tokens: expected at least one id",
                                      "logits：--tokens：至少需要一个编号"));
    }
    return code;
}

static int run(int argc, char **argv) {
    rwkv_model *model = NULL;
    rwkv_info info;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int n;
    bool helped;
    int code = cli_parse("logits", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n != 1 || !tokens_text || !out_path) {
        return cli_fail(EXIT_USAGE, T("logits: expected MODEL --tokens IDS --out FILE",
                                      "logits：需要 MODEL --tokens 编号 --out 文件"));
    }
    if (strcmp(mode, "all") && strcmp(mode, "one")) {
        return cli_fail(EXIT_USAGE,
                        T("logits: --mode: found '%s'; expected all or one",
                          "logits：--mode：得到 '%s'；应为 all 或 one"),
                        mode);
    }
    model_opts.exact = true; /* numbers to compare with others' */
    code = cli_open_model(&model, argv[1], &model_opts);
    if (code) return code;
    rwkv_model_info(model, &info);
    code = read_tokens(info.n_vocab, &ids, &n_ids);
    if (code == EXIT_OK) code = compute(model, ids, n_ids);
    free(ids);
    rwkv_model_free(model);
    return code;
}

const command cmd_logits = {
    "logits",
    "MODEL --tokens 1,2,3 --out FILE.f32 [OPTIONS]",
    "write the logits after every token",
    "写出每个词元之后的 logits",
    run,
    options,
    "float32, little endian, one row of n_vocab per token. Activations are float32 whatever the\n"
    "weights are. The state: per layer ffn_x, att_x, then v4: aa, bb, pp; later: the head "
    "matrices.",
    "float32，小端序，每个词元一行（n_vocab 个）。无论权重类型如何，激活值均为 float32。\n"
    "状态：每层依次为 ffn_x、att_x，然后 v4 为 aa、bb、pp，其余版本为各头的矩阵。",
};
