/* tokenize.c - rwkv tokenize: text to ids, ids to text, and the check of a tokenizer against
 * vectors. With --vocab no model is opened.
 */
#include "cli.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *vocab, *check_path;
static bool as_json, decode, pieces, special;

static const option_spec *options(void) {
    static const option_spec own[] = {
        {"vocab", 0, OPT_STRING, &vocab, "FILE", "use this vocabulary; no model is needed",
         "使用此词表；不需要模型", 0, 0},
        {"json", 0, OPT_FLAG, &as_json, NULL, "print {\"ids\":[...]}; with --decode {\"text\":...}",
         "输出 {\"ids\":[...]}；与 --decode 同用输出 {\"text\":...}", 0, 0},
        {"decode", 'd', OPT_FLAG, &decode, NULL, "from ids (arguments or stdin) to bytes",
         "由编号（参数或标准输入）还原字节", 0, 0},
        {"pieces", 0, OPT_FLAG, &pieces, NULL, "one token a line: its id and bytes",
         "每行一个词元：编号与字节", 0, 0},
        {"special", 0, OPT_FLAG, &special, NULL, "20B: <|endoftext|> in the text becomes id 0",
         "20B：文本中的 <|endoftext|> 变为编号 0", 0, 0},
        {"check", 0, OPT_STRING, &check_path, "FILE",
         "compare with vectors, JSON lines of text and ids",
         "与向量文件比较（每行一个含 text 与 ids 的 JSON）", 0, 0},
        {0},
    };
    return own;
}

/* The library gives special tokens no text, so that none is ever shown; here they must round-trip.
 */
static const char *token_text(const rwkv_tokenizer *t, int32_t id, size_t *len) {
    static const char *const specials[] = {"<|endoftext|>", "<|padding|>"};
    const char *bytes = rwkv_token_bytes(t, id, len);
    if (*len == 0 && id < 2 && strcmp(rwkv_tokenizer_kind(t), "20B") == 0) {
        *len = strlen(specials[id]);
        return specials[id];
    }
    return bytes;
}

/* Joined bytes of the ids; malloc'd, NULL when memory is out. */
static char *join(const rwkv_tokenizer *t, const int32_t *ids, size_t n, size_t *len) {
    size_t total = 0, k;
    for (size_t i = 0; i < n; i++) {
        (void)token_text(t, ids[i], &k);
        total += k;
    }
    char *out = malloc(total + 1);
    *len = 0;
    for (size_t i = 0; out && i < n; i++) {
        const char *bytes = token_text(t, ids[i], &k);
        memcpy(out + *len, bytes, k);
        *len += k;
    }
    return out;
}

static rwkv_status encode(const rwkv_tokenizer *t, const char *text, size_t len, uint32_t flags,
                          int32_t **ids, size_t *n, rwkv_error *err) {
    size_t cap = len * 3 + 1; /* more than any text needs (rwkv.h): one pass over the text */
    if (cap < len || !(*ids = malloc(cap * sizeof **ids))) {
        snprintf(err->message, sizeof err->message, T("out of memory", "内存不足"));
        return err->code = RWKV_E_NOMEM;
    }
    rwkv_status st = rwkv_encode(t, text, len, flags, *ids, cap, n, err);
    if (st == RWKV_OK) return RWKV_OK;
    free(*ids);
    *ids = NULL;
    return st;
}

/* ------------------------------------------------------------------ text -> ids */

static void print_ids(const int32_t *ids, size_t n, const char *separator) {
    for (size_t i = 0; i < n; i++) printf("%s%d", i ? separator : "", ids[i]);
}

static void print_pieces(const rwkv_tokenizer *t, const int32_t *ids, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *bytes = token_text(t, ids[i], &len);
        printf("%7d  \"", ids[i]);
        for (size_t k = 0; k < len;) {
            size_t c = cli_utf8_len(bytes + k, len - k);
            unsigned char b = (unsigned char)bytes[k];
            if (b == '\n')
                fputs("\\n", stdout);
            else if (b == '\t')
                fputs("\\t", stdout);
            else if (b == '"' || b == '\\')
                printf("\\%c", b);
            else if (c == 0 || b < 0x20 || b == 0x7f)
                printf("\\x%02x", b);
            else
                cli_put_text(stdout, bytes + k, c);
            k += c ? c : 1;
        }
        puts("\"");
    }
}

static int print_encoded(const rwkv_tokenizer *t, const char *text, size_t len) {
    rwkv_error err = {0};
    int32_t *ids;
    size_t n;
    if (encode(t, text, len, special ? RWKV_ENCODE_SPECIAL : 0, &ids, &n, &err))
        return cli_error(&err);
    if (as_json) {
        fputs("{\"ids\":[", stdout);
        print_ids(ids, n, ",");
        puts("]}");
    } else if (pieces) {
        print_pieces(t, ids, n);
    } else {
        print_ids(ids, n, " ");
        putchar('\n');
    }
    free(ids);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ ids -> text */

static bool is_utf8(const char *s, size_t n) {
    for (size_t i = 0, c; i < n; i += c) {
        c = cli_utf8_len(s + i, n - i);
        if (c == 0) return false;
    }
    return true;
}

/* {"text":...}, or {"hex":...} for bytes that are no UTF-8: the forms that --check reads. */
static int print_decoded_json(const char *bytes, size_t len) {
    json_t *o = json_object();
    if (is_utf8(bytes, len)) {
        json_object_set_new(o, "text", json_stringn(bytes, len));
    } else {
        char *hex = malloc(2 * len + 1);
        for (size_t i = 0; hex && i < len; i++)
            snprintf(hex + 2 * i, 3, "%02x", (unsigned char)bytes[i]);
        json_object_set_new(o, "hex", json_string(hex));
        free(hex);
    }
    int failed = json_dumpf(o, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(o);
    return failed ? EXIT_SYSTEM : EXIT_OK;
}

static int print_decoded(const rwkv_tokenizer *t, char **args, int n_args) {
    int32_t *ids = NULL;
    size_t n = 0, len = 0, limit = rwkv_tokenizer_size(t);
    char *text = NULL;
    int code = EXIT_OK;
    for (int i = 0; code == EXIT_OK && i < n_args; i++) {
        code = cli_parse_ids(args[i], strlen(args[i]), limit, &ids, &n);
    }
    if (n_args == 0) code = cli_read_input("-", &text, &len);
    if (n_args == 0 && code == EXIT_OK) code = cli_parse_ids(text, len, limit, &ids, &n);
    if (code == EXIT_OK && pieces) {
        print_pieces(t, ids, n);
    } else if (code == EXIT_OK) {
        char *bytes = join(t, ids, n, &len);
        if (!bytes)
            code = cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        else if (as_json)
            code = print_decoded_json(bytes, len);
        else
            cli_put_text(stdout, bytes, len);
        free(bytes);
    }
    free(text);
    free(ids);
    return code;
}

/* ------------------------------------------------------------------ vectors */

static int nibble(char c) {
    const char *digits = "0123456789abcdef", *p = c ? strchr(digits, c | 0x20) : NULL;
    return p ? (int)(p - digits) : -1;
}

/* The bytes of a vector: "text", or "hex". malloc'd; NULL if it has neither. */
static char *vector_bytes(const json_t *o, size_t *len) {
    const json_t *text = json_object_get(o, "text"), *hex = json_object_get(o, "hex");
    const json_t *source = text ? text : hex;
    if (!json_is_string(source)) return NULL;
    size_t n = json_string_length(source);
    const char *s = json_string_value(source);
    char *out = malloc(n + 1);
    if (!out) return NULL;
    *len = n;
    if (text) {
        memcpy(out, s, n);
        return out;
    }
    *len = n / 2;
    for (size_t i = 0; i < *len; i++) {
        int high = nibble(s[2 * i]), low = nibble(s[2 * i + 1]);
        if (high < 0 || low < 0) {
            free(out);
            return NULL;
        }
        out[i] = (char)(high * 16 + low);
    }
    return out;
}

static bool same_ids(const json_t *list, const int32_t *ids, size_t n) {
    if (json_array_size(list) != n) return false;
    for (size_t i = 0; i < n; i++) {
        if (json_integer_value(json_array_get(list, i)) != ids[i]) return false;
    }
    return true;
}

/* NULL, or what is wrong. */
static const char *check_vector(const rwkv_tokenizer *t, const json_t *o) {
    const json_t *want = json_object_get(o, "ids"), *decoded = json_object_get(o, "decoded");
    rwkv_error err = {0};
    int32_t *ids = NULL;
    size_t len = 0, n = 0, back_len = 0;
    char *back = NULL, *bytes = vector_bytes(o, &len);
    const char *wrong = NULL;
    if (!bytes || !json_is_array(want))
        wrong = T("expected text (or hex) and ids", "应含 text（或 hex）与 ids");
    else if (encode(t, bytes, len, RWKV_ENCODE_SPECIAL, &ids, &n, &err))
        wrong = T("not encoded", "无法编码");
    else if (!same_ids(want, ids, n))
        wrong = T("other ids", "编号不同");
    else if ((back = join(t, ids, n, &back_len))) {
        const char *text = decoded ? json_string_value(decoded) : bytes;
        size_t text_len = decoded ? json_string_length(decoded) : len;
        bool same = text && back_len == text_len && memcmp(back, text, text_len) == 0;
        if (!same) wrong = T("decodes to other bytes", "还原的字节不同");
    }
    free(ids);
    free(bytes);
    free(back);
    return wrong;
}

static int check(const rwkv_tokenizer *t) {
    char *data;
    size_t len, passed = 0, failed = 0, line = 0;
    int code = cli_read_input(check_path, &data, &len);
    if (code) return code;
    for (size_t at = 0; at < len; line++) {
        const char *end = memchr(data + at, '\n', len - at);
        size_t n = end ? (size_t)(end - data) - at : len - at;
        size_t begin = at;
        at += n + 1;
        if (n == 0 || (n == 1 && data[begin] == '\r')) continue;
        json_error_t e;
        json_t *o = json_loadb(data + begin, n, JSON_ALLOW_NUL, &e);
        const char *wrong = o ? check_vector(t, o) : e.text;
        if (wrong) {
            cli_fail(0, "%s:%zu: %s", check_path, line + 1, wrong);
            failed++;
        } else {
            passed++;
        }
        json_decref(o);
    }
    free(data);
    printf(T("%zu passed, %zu failed\n", "%zu 通过，%zu 失败\n"), passed, failed);
    return failed || passed == 0 ? EXIT_INPUT : EXIT_OK;
}

/* ------------------------------------------------------------------ command */

static int work(const rwkv_tokenizer *t, char **args, int n_args) {
    if (check_path) return check(t);
    if (decode) return print_decoded(t, args, n_args);
    if (n_args > 1) {
        return cli_fail(EXIT_USAGE,
                        T("tokenize: one TEXT argument, quoted; found %d",
                          "tokenize：只接受一个文本参数（请加引号）；得到 %d 个"),
                        n_args);
    }
    if (n_args == 1) return print_encoded(t, args[0], strlen(args[0]));
    char *text;
    size_t len;
    int code = cli_read_input("-", &text, &len);
    if (code) return code;
    code = print_encoded(t, text, len);
    free(text);
    return code;
}

static int run(int argc, char **argv) {
    rwkv_tokenizer *own = NULL;
    const rwkv_tokenizer *t;
    rwkv_model *model = NULL;
    rwkv_error err = {0};
    int n, code;
    bool helped;
    code = cli_parse("tokenize", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (vocab) {
        if (rwkv_tokenizer_open(&own, vocab, &err) != RWKV_OK) return cli_input_error(&err, vocab);
        code = work(own, argv + 1, n);
        rwkv_tokenizer_free(own);
        return code;
    }
    if (n == 0)
        return cli_fail(EXIT_USAGE, T("tokenize: expected MODEL or --vocab FILE",
                                      "tokenize：需要模型文件或 --vocab 词表"));
    code = cli_open_model(&model, argv[1], &(model_args){.force = true, .exact = true, .threads = 1});
    if (code) return code;
    t = rwkv_model_tokenizer(model, &err);
    code = t ? work(t, argv + 2, n - 1) : cli_error(&err);
    rwkv_model_free(model);
    return code;
}

const command cmd_tokenize = {
    "tokenize",
    "(MODEL | --vocab FILE) [TEXT | IDS] [OPTIONS]",
    "turn text into token ids and back",
    "文本与词元编号互相转换",
    run,
    options,
    "Without TEXT any bytes are read from stdin. --decode takes ids as arguments, or on stdin as\n"
    "numbers or JSON {\"ids\":[...]}, and writes their bytes without adding a line end.\n"
    "--check reads lines of {\"text\",\"ids\"[,\"decoded\"]} or {\"hex\",\"ids\"}; exit code 2 if "
    "any differs.",
    "不给文本时从标准输入读取任意字节。--decode 的编号可为参数，或从标准输入读取数字或\n"
    "JSON {\"ids\":[...]}，输出其字节，不添加换行。\n"
    "--check 读取每行 {\"text\",\"ids\"[,\"decoded\"]} 或 {\"hex\",\"ids\"}；有差异时退出码为 2。",
};
