/* ingest.c - rwkv ingest: reads documents once, so that any number of questions find them read.
 *
 *     files -> text -> tokens -> session (perhaps from an earlier state) -> state file
 *
 * The file is a portable state: chat and run open it with --state, the server with --state
 * NAME=FILE or PUT /v1/states/NAME. Its note lists the documents: {"documents": [{"name",
 * "tokens"}, ...], "tokens"}. */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static model_args model_opts;
static const char *out_path, *state_in;
static bool f16;

static const option_spec *options(void) {
    static option_spec table[24];
    static const option_spec own[] = {
        {"output", 'o', OPT_STRING, &out_path, "FILE", "the state file to write",
         "要写入的状态文件", 0, 0},
        {"state", 0, OPT_STRING, &state_in, "FILE", "read on from this state", "从此状态继续读取",
         0, 0},
        {"f16", 0, OPT_FLAG, &f16, NULL, "half the size; rounds the state", "大小减半；状态被舍入",
         0, 0},
        {0},
    };
    return cli_join(table, 24, own, cli_model_specs(&model_opts), NULL);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Documents are divided by one empty line, whatever blanks they end in. */
static int read_document(rwkv_session *s, const rwkv_tokenizer *tok, const char *path,
                         json_t *documents) {
    rwkv_error err = {0};
    char *data = NULL, *text;
    int32_t *ids = NULL;
    size_t len, n = 0, lead = rwkv_session_n_tokens(s) > 0 ? 2 : 0;
    int code = cli_read_input(path, &data, &len);
    if (code) return code;
    while (len && is_blank(data[len - 1])) len--;
    text = malloc(len + lead + 1);
    if (!text) {
        free(data);
        return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
    }
    memcpy(text, "\n\n", lead);
    memcpy(text + lead, data, len);
    free(data);
    code = len ? cli_encode(tok, text, len + lead, false, &ids, &n) : EXIT_OK;
    free(text);
    if (code == EXIT_OK && n == 0)
        code = cli_fail(EXIT_INPUT, T("%s: the document is empty", "%s：文档为空"), path);
    if (code == EXIT_OK && cli_feed(s, ids, n, &err) != RWKV_OK) code = cli_error(&err);
    free(ids);
    if (code) return code;
    if (cli_interrupted()) return EXIT_INTERRUPTED;
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *valid = cli_valid_utf8(name, strlen(name), &len);
    json_t *o = json_object();
    if (valid) json_object_set_new(o, "name", json_stringn(valid, len));
    free(valid);
    json_object_set_new(o, "tokens", json_integer((json_int_t)n));
    json_array_append_new(documents, o);
    return EXIT_OK;
}

/* *documents: those that the state already holds. */
static int load_state(rwkv_session *s, json_t *documents) {
    rwkv_error err = {0};
    rwkv_state_info info;
    char *blob = NULL;
    size_t len;
    int code = cli_read_input(state_in, &blob, &len);
    if (code) return code;
    if (rwkv_session_load(s, blob, len, &info, &err) != RWKV_OK) {
        code = cli_fail(EXIT_INPUT, "%s: %s", state_in, err.message);
    } else {
        json_t *note = json_loadb(info.note, info.note_len, 0, NULL);
        json_array_extend(documents,
                          json_object_get(note, "documents")); /* no array: no documents */
        json_decref(note);
        if (info.other_weights) {
            cli_fail(0,
                     T("warning: %s was made with another quantization of this model",
                       "警告：%s 由本模型的另一种量化生成"),
                     state_in);
        }
    }
    free(blob);
    return code;
}

static int save_state(const rwkv_session *s, json_t *documents) {
    rwkv_error err = {0};
    uint32_t flags = f16 ? RWKV_STATE_F16 : 0;
    json_t *o = json_pack("{s:O, s:I}", "documents", documents, "tokens",
                          (json_int_t)rwkv_session_n_tokens(s));
    char *note = o ? json_dumps(o, JSON_COMPACT) : NULL;
    size_t n_note = note ? strlen(note) : 0, len = 0;
    int code = EXIT_OK;
    rwkv_session_save(s, note, n_note, flags, NULL, 0, &len, &err);
    void *blob = note ? malloc(len) : NULL;
    if (!blob) {
        code = cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), out_path);
    } else if (rwkv_session_save(s, note, n_note, flags, blob, len, &len, &err) != RWKV_OK ||
               rwkv_file_write(out_path, blob, len, &err) != RWKV_OK) {
        code = cli_error(&err);
    } else {
        char bytes[32];
        fprintf(stderr, T("%s: %llu tokens, %s\n", "%s：%llu 个词元，%s\n"), out_path,
                (unsigned long long)rwkv_session_n_tokens(s), cli_human_bytes(len, bytes));
    }
    free(blob);
    free(note);
    json_decref(o);
    return code;
}

static int ingest(rwkv_model *model, char **paths, int n) {
    rwkv_error err = {0};
    rwkv_session *s = NULL;
    json_t *documents = json_array();
    int code = EXIT_OK;
    const rwkv_tokenizer *tok = rwkv_model_tokenizer(model, &err);
    if (!tok || rwkv_session_new(&s, model, &err) != RWKV_OK) code = cli_error(&err);
    if (code == EXIT_OK && state_in) code = load_state(s, documents);
    for (int i = 0; i < n && code == EXIT_OK; i++)
        code = read_document(s, tok, paths[i], documents);
    if (code == EXIT_OK) code = save_state(s, documents);
    json_decref(documents);
    rwkv_session_free(s);
    return code;
}

static int run(int argc, char **argv) {
    rwkv_model *model = NULL;
    int n;
    bool helped;
    int code = cli_parse("ingest", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n < 2)
        return cli_fail(EXIT_USAGE,
                        T("ingest: expected MODEL and FILES", "ingest：需要模型文件与文档"));
    if (!out_path)
        return cli_fail(EXIT_USAGE, T("ingest: -o names the state file to write",
                                      "ingest：请用 -o 给出状态文件"));
    cli_catch_interrupt();
    code = cli_open_model(&model, argv[1], &model_opts);
    if (code == EXIT_OK) code = ingest(model, argv + 2, n - 1);
    rwkv_model_free(model);
    return code;
}

const command cmd_ingest = {
    "ingest",
    "MODEL FILE... -o OUT.state [OPTIONS]",
    "read documents once, for any number of questions",
    "预先读取文档，供反复提问",
    run,
    options,
    "rwkv chat MODEL --state OUT.state asks about them; rwkv serve MODEL --state NAME=OUT.state "
    "lets\n"
    "requests do so with \"state\": \"NAME\". \"-\" is stdin. Ctrl-C leaves no file.",
    "rwkv chat MODEL --state OUT.state 可就文档提问；rwkv serve MODEL --state NAME=OUT.state "
    "使请求\n"
    "可用 \"state\": \"NAME\"。\"-\" 为标准输入。按 Ctrl-C 不产生文件。",
};
