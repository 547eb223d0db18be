/* info.c - rwkv info: what a file holds, what it needs, and what will be used with it. One table of
 * facts feeds both the aligned text and the JSON object.
 */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static model_args model_opts;
static bool as_json, list_tensors;

static const option_spec *options(void) {
    static option_spec table[16];
    static const option_spec own[] = {
        {"json", 0, OPT_FLAG, &as_json, NULL, "one JSON object", "输出一个 JSON 对象", 0, 0},
        {"tensors", 0, OPT_FLAG, &list_tensors, NULL, "list the tensors too", "同时列出所有张量", 0,
         0},
        {0},
    };
    return cli_join(table, 16, own, cli_model_specs(&model_opts), NULL);
}

/* ------------------------------------------------------------------ facts */

typedef struct type_share {
    const char *type;
    uint64_t bytes;
    size_t tensors;
} type_share;

/* Bytes per element type, largest first. Returns how many types. */
static size_t type_mix(const rwkv_model *m, type_share *mix, size_t cap) {
    rwkv_tensor_info t;
    size_t n = 0;
    for (size_t i = 0; rwkv_model_tensor(m, i, &t); i++) {
        size_t k = 0;
        while (k < n && strcmp(mix[k].type, t.type)) k++;
        if (k == n && n == cap) continue;
        if (k == n) mix[n++] = (type_share){t.type, 0, 0};
        mix[k].bytes += t.bytes;
        mix[k].tensors++;
        for (; k > 0 && mix[k].bytes > mix[k - 1].bytes; k--) {
            type_share swap = mix[k];
            mix[k] = mix[k - 1];
            mix[k - 1] = swap;
        }
    }
    return n;
}

static void hex(const uint8_t bytes[32], char out[65]) {
    for (size_t i = 0; i < 32; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* Weights (mapped), private copies and one session. */
static uint64_t memory_needed(const rwkv_info *i) {
    return i->weight_bytes + i->copied_bytes + i->session_bytes;
}

/* ------------------------------------------------------------------ JSON */

static json_t *text(const char *s) {
    size_t len;
    char *valid = cli_valid_utf8(s, strlen(s), &len);
    json_t *j = valid ? json_stringn_nocheck(valid, len) : NULL;
    free(valid);
    return j;
}

static json_t *number(uint64_t v) {
    return json_integer((json_int_t)v);
}

static json_t *tensors_json(const rwkv_model *m) {
    json_t *list = json_array();
    rwkv_tensor_info t;
    for (size_t i = 0; rwkv_model_tensor(m, i, &t); i++) {
        json_t *o = json_object(), *dims = json_array();
        for (uint32_t d = 0; d < t.n_dims; d++) json_array_append_new(dims, number(t.dims[d]));
        json_object_set_new(o, "name", text(t.name));
        json_object_set_new(o, "type", text(t.type));
        json_object_set_new(o, "shape", dims);
        json_object_set_new(o, "bytes", number(t.bytes));
        json_array_append_new(list, o);
    }
    return list;
}

static int print_json(const rwkv_model *m, const rwkv_info *i, const char *no_tokenizer) {
    char fingerprint[65], weights[65];
    type_share mix[40];
    size_t n = type_mix(m, mix, 40);
    hex(i->fingerprint, fingerprint);
    hex(i->weights_hash, weights);
    json_t *types = json_object(), *o = json_object();
    for (size_t k = 0; k < n; k++) {
        json_t *share = json_object();
        json_object_set_new(share, "tensors", number(mix[k].tensors));
        json_object_set_new(share, "bytes", number(mix[k].bytes));
        json_object_set_new(types, mix[k].type, share);
    }
    const struct {
        const char *key;
        const char *value;
    } strings[] = {
        {"path", i->path},         {"name", i->name},
        {"format", i->format},     {"version", i->version},
        {"type", i->type},         {"template", i->chat},
        {"sampling", i->sampling}, {"isa", i->isa},
        {"fingerprint", fingerprint}, {"weights_hash", weights},
    };
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {
        {"n_layer", i->n_layer},
        {"n_embd", i->n_embd},
        {"n_att", i->n_att},
        {"n_ffn", i->n_ffn},
        {"n_head", i->n_head},
        {"head_size", i->head_size},
        {"n_vocab", i->n_vocab},
        {"n_threads", i->n_threads},
        {"n_params", i->n_params},
        {"file_bytes", i->file_bytes},
        {"weight_bytes", i->weight_bytes},
        {"copied_bytes", i->copied_bytes},
        {"state_bytes", i->state_bytes},
        {"session_bytes", i->session_bytes},
        {"memory_bytes", memory_needed(i)},
    };
    for (size_t k = 0; k < sizeof strings / sizeof *strings; k++) {
        json_object_set_new(o, strings[k].key, text(strings[k].value));
    }
    for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++) {
        json_object_set_new(o, numbers[k].key, number(numbers[k].value));
    }
    json_object_set_new(o, "group_norm_eps", json_real((double)i->group_norm_eps));
    json_object_set_new(o, "types", types);
    json_object_set_new(o, "tokenizer", *i->tokenizer ? text(i->tokenizer) : json_null());
    if (no_tokenizer) json_object_set_new(o, "tokenizer_error", text(no_tokenizer));
    if (list_tensors) json_object_set_new(o, "tensors", tensors_json(m));
    int failed = json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(o);
    return failed ? EXIT_SYSTEM : EXIT_OK;
}

/* ------------------------------------------------------------------ text */

/* Chinese characters take two columns and three bytes each. */
static void label(const char *name) {
    size_t columns = 0;
    for (const char *p = name; *p; p++) columns += ((unsigned char)*p & 0xc0) == 0x80 ? 0 : 1;
    columns += (strlen(name) - columns) / 2;
    printf("  %s%*s", name, columns < 16 ? (int)(16 - columns) : 1, "");
}

static void bytes_line(const char *name, uint64_t n, const char *note) {
    char human[32];
    label(name);
    printf(*note ? "%-9s %s\n" : "%s%s\n", cli_human_bytes(n, human), note);
}

static void print_params(uint64_t n) {
    const char *unit = n >= 1000000000 ? "B" : n >= 1000000 ? "M" : "";
    double scale = n >= 1000000000 ? 1e9 : n >= 1000000 ? 1e6 : 1;
    label(T("parameters", "参数"));
    if (*unit)
        printf("%.3g %s (%llu)\n", (double)n / scale, unit, (unsigned long long)n);
    else
        printf("%llu\n", (unsigned long long)n);
}

static void print_types(const rwkv_model *m) {
    char human[32];
    type_share mix[40];
    size_t n = type_mix(m, mix, 40);
    for (size_t k = 0; k < n; k++) {
        label(k == 0 ? T("types", "类型") : "");
        printf("%-6s %9s  %zu %s\n", mix[k].type, cli_human_bytes(mix[k].bytes, human),
               mix[k].tensors, T("tensors", "个张量"));
    }
}

static void print_tensors(const rwkv_model *m) {
    rwkv_tensor_info t;
    char human[32];
    for (size_t i = 0; rwkv_model_tensor(m, i, &t); i++) {
        char shape[96] = "";
        for (uint32_t d = 0; d < t.n_dims; d++) {
            size_t used = strlen(shape);
            snprintf(shape + used, sizeof shape - used, "%s%llu", d ? " x " : "",
                     (unsigned long long)t.dims[d]);
        }
        printf("  %-6s %9s  %-20s ", t.type, cli_human_bytes(t.bytes, human), shape);
        cli_put_text(stdout, t.name, strlen(t.name));
        putchar('\n');
    }
}

static void print_text(const rwkv_model *m, const rwkv_info *i, const char *no_tokenizer) {
    char fingerprint[65], weights[65];
    hex(i->fingerprint, fingerprint);
    hex(i->weights_hash, weights);
    fputs("RWKV-", stdout);
    fputs(i->version, stdout);
    fputs("  ", stdout);
    cli_put_text(stdout, i->name, strlen(i->name));
    putchar('\n');
    label(T("file", "文件"));
    cli_put_text(stdout, i->path, strlen(i->path));
    printf("  (%s)\n", i->format);
    label(T("shape", "形状"));
    printf(T("%u layers, width %u, attention %u, FFN %u, ", "%u 层，宽 %u，注意力 %u，FFN %u，"),
           i->n_layer, i->n_embd, i->n_att, i->n_ffn);
    if (i->n_head) {
        printf(T("%u head%s of %u, ", "%u 个头%s × %u，"), i->n_head,
               T(i->n_head == 1 ? "" : "s", ""), i->head_size);
    }
    printf(T("vocabulary %u\n", "词表 %u\n"), i->n_vocab);
    print_params(i->n_params);
    print_types(m);
    bytes_line(T("file size", "文件大小"), i->file_bytes, "");
    bytes_line(T("weights", "权重"), i->weight_bytes, T("mapped from the file", "从文件映射"));
    bytes_line(T("private", "私有内存"), i->copied_bytes,
               T("vectors and workspace", "向量与工作区"));
    bytes_line(T("state", "状态"), i->state_bytes,
               T("float32, any length of text", "float32，与文本长度无关"));
    bytes_line(T("per session", "每个会话"), i->session_bytes,
               T("state and logits", "状态与 logits"));
    bytes_line(T("memory needed", "所需内存"), memory_needed(i),
               T("with one session", "含一个会话"));
    label(T("template", "对话模板"));
    printf("%s\n", i->chat);
    if (*i->sampling) {
        label(T("sampling", "采样预设"));
        printf("%s\n", i->sampling);
    }
    label(T("tokenizer", "分词器"));
    puts(*i->tokenizer ? i->tokenizer : T("none found", "未找到"));
    if (no_tokenizer) {
        label("");
        cli_put_text(stdout, no_tokenizer, strlen(no_tokenizer));
        putchar('\n');
    }
    label(T("kernels", "计算内核"));
    printf(T("%s, %u threads\n", "%s，%u 个线程\n"), i->isa, i->n_threads);
    label(T("fingerprint", "指纹"));
    printf("%s\n", fingerprint);
    label(T("weights hash", "权重哈希"));
    printf("%s\n", weights);
    if (list_tensors) print_tensors(m);
}

static int run(int argc, char **argv) {
    rwkv_model *model = NULL;
    rwkv_error err = {0};
    rwkv_info info;
    int n;
    bool helped;
    int code = cli_parse("info", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n != 1)
        return cli_fail(EXIT_USAGE, T("info: expected one MODEL file", "info：需要一个模型文件"));
    model_opts.force = true; /* a file too large to run can still be described */
    model_opts.exact = true; /* nothing is computed: no need to rearrange weights */
    code = cli_open_model(&model, argv[1], &model_opts);
    if (code) return code;
    rwkv_model_info(model, &info);
    const char *reason = rwkv_model_tokenizer(model, &err) ? NULL : err.message;
    if (as_json) {
        code = print_json(model, &info, reason);
    } else {
        print_text(model, &info, reason);
    }
    rwkv_model_free(model);
    return code;
}

const command cmd_info = {
    "info",
    "MODEL [--json] [--tensors]",
    "show what a model file holds and needs",
    "显示模型文件的内容与需求",
    run,
    options,
    "The fingerprint is the same for every format and quantization of one model; the weights hash\n"
    "tells them apart.",
    "同一模型的各种格式与量化具有相同的指纹；权重哈希用于区分它们。",
};
