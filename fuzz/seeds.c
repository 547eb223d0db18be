/* seeds.c - seeds FOLDER: writes the seeds of every target, FOLDER/<target>/<name>. */
#include "support_models.h"
#include <sys/stat.h>

static const char *root;

static void write_seed(const char *target, const char *name, const void *data, size_t n) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f)) {
        perror(path);
        exit(1);
    }
}

static void text_seed(const char *target, const char *name, const char *text) {
    write_seed(target, name, text, strlen(text));
}

/* Through files: the library writes such a model itself. */
static void packed_seed(const test_model *like) {
    char in[512], out[512];
    size_t n;
    test_shape shape = like->shape;
    shape.D = 32, shape.H = 2, shape.N = 16, shape.F = 64, shape.n_layer = 1;
    snprintf(in, sizeof in, "%s/model.pth", root);
    snprintf(out, sizeof out, "%s/model.gguf", root);
    test_model *m = test_model_new(&shape);
    test_model_save(m, AS_PTH, RW_F16, in);
    test_model_free(m);
    rwkv_convert_options to_packed = {.format = "packed", .type = "Q8_0", .n_threads = 1};
    if (rwkv_convert(in, out, &to_packed, NULL)) exit(1);
    void *data = slurp(out, &n);
    write_seed("gguf", "packed", data, n);
    write_seed("model", "packed", data, n);
    free(data);
    remove(in);
    remove(out);
}

static void model_seeds(const char *version) {
    static const char *const targets[TEST_FORMATS] = {
        "pth", "pth_legacy", "safetensors", "safetensors", "safetensors", "gguf", "gguf", "ggmf"};
    static const rw_type types[] = {RW_F32, RW_F16, RW_BF16};
    test_shape shape = test_small_shape;
    shape.version = version;
    if (version[0] == '4') shape.H = 8, shape.N = 1;
    test_model *m = test_model_new(&shape);
    for (test_format f = 0; f < TEST_FORMATS; f++) {
        if (!test_format_has(f, version)) continue;
        for (int t = 0; t < (f == AS_GGMF ? 2 : 3); t++) {
            char name[64];
            rw_buf b = test_model_bytes(m, f, types[t]);
            snprintf(name, sizeof name, "v%s-%d-%s", version, f, rw_type_name(types[t]));
            write_seed(targets[f], name, b.data, b.len);
            write_seed("model", name, b.data, b.len);
            rw_buf_free(&b);
        }
    }
    if (version[0] == '7') packed_seed(m);
    rw_buf b = test_model_pickle(m, RW_F32);
    write_seed("pickle", version, b.data, b.len);
    rw_buf_free(&b);
    test_model_free(m);
}

static void vocabulary_seeds(void) {
    rw_buf b = {0};
    char line[64];
    for (int i = 0; i < 256; i++) {
        snprintf(line, sizeof line,
                 i == '\'' || i == '\\' ? "%d '\\%c' 1\n"
                 : i < 127 && i > 31    ? "%d '%c' 1\n"
                                        : "%d b'\\x%02x' 1\n",
                 i + 1, i);
        rw_buf_add(&b, line, strlen(line));
    }
    text_seed("vocab", "words",
              "1 'a' 1\n2 \"b'\" 2\n3 b'\\xe4\\xbd' 2\n4 '\\u4f60' 3\n5 '\\n\\n' 2\n6 ' ' 1\n");
    text_seed("vocab", "zero", "0 '0' 1\n1 '1' 1\n10 ',' 1\r\n11 '#' 1");
    text_seed("vocab", "json",
              "{\"1\": \"a\", \"2\": [228, 189], \"3\": \"\\u4f60\\ud83d\\ude00\", \"4\": \" \"}");
    write_seed("vocab", "bytes", b.data, b.len);
    rw_buf_free(&b);
    text_seed(
        "tokenizer_json", "bpe",
        "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":["
        "{\"id\":0,\"content\":\"<|endoftext|>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":"
        "false,"
        "\"normalized\":false,\"special\":true},{\"id\":9,\"content\":\"  \",\"normalized\":true,"
        "\"special\":false}],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":"
        "\"ByteLevel\","
        "\"add_prefix_space\":false,\"trim_offsets\":true},\"post_processor\":null,\"decoder\":{"
        "\"type\":"
        "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
        "\"vocab\":{\"<|endoftext|>\":0,\"h\":1,\"e\":2,\"\xc4\xa0\":3,\"he\":4,\"\xc4\xa0he\":5,"
        "\"\xc4\x8a\":6,\"T\":7,\"The\":8},\"merges\":[\"h e\",\"\xc4\xa0 he\",\"T he\"]}}");
}

static void json_seeds(void) {
    text_seed("json", "kinds",
              "{\"a\":[1,-2.5e+10,true,false,null],\"b\":{\"c\":\"\\u00e9\\ud83d\\ude00\\n\"}}");
    text_seed("json", "numbers", "[0,18446744073709551615,18446744073709551616,1e309,-0,0.5]");
    text_seed("json", "deep",
              "[[[[[[[[[[[[[[[[{\"x\":[[[[[[[[[[[[[[[[\"y\"]]]]]]]]]]]]]]]]}]]]]]]]]]]]]]]]]");
    text_seed("json", "blanks", " \t\r\n{ \"k\" : [ ] , \"l\" : { } } \n");
}

static void state_seeds(void) {
    rwkv_model *m = NULL;
    rwkv_session *s = NULL;
    char path[512];
    static uint8_t blob[1 << 16];
    size_t n;
    test_model *t = test_model_new(&test_small_shape);
    snprintf(path, sizeof path, "%s/model.pth", root);
    rw_buf file = test_model_bytes(t, AS_PTH, RW_F32);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(file.data, 1, file.len, f) != file.len || fclose(f)) exit(1);
    rw_buf_free(&file);
    test_model_free(t);
    rwkv_model_options options = {.n_threads = 1};
    if (rwkv_model_open(&m, path, &options, NULL) || rwkv_session_new(&s, m, NULL)) exit(1);
    for (uint32_t flags = 0; flags < 2; flags++) {
        if (rwkv_session_save(s, "note", 4, flags, blob, sizeof blob, &n, NULL)) exit(1);
        write_seed("state", flags ? "f16-new" : "new", blob, n);
        if (rwkv_session_eval(s, (int32_t[]){1, 2, 3}, 3, NULL) || rwkv_session_pend(s, 5, NULL))
            exit(1);
        if (rwkv_session_save(s, NULL, 0, flags, blob, sizeof blob, &n, NULL)) exit(1);
        write_seed("state", flags ? "f16" : "f32", blob, n);
        rwkv_session_reset(s);
    }
    rwkv_session_free(s);
    rwkv_model_free(m);
    remove(path);
}

static void request_seeds(void) {
    text_seed("request", "chat",
              "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":"
              "[{\"type\":\"text\",\"text\":\"a\\n\\nb\"}]},{\"role\":\"assistant\",\"content\":\"<think>x"
              "</think>y\"},{\"role\":\"user\",\"content\":\"c\"}],\"max_tokens\":5,\"reasoning_effort\":\"low\"}");
    text_seed("request", "sampling",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"temperature\":1,\"top_p\":0.5,\"top_k\":3,"
              "\"min_p\":0.1,\"typical_p\":1,\"presence_penalty\":0.1,\"frequency_penalty\":0.2,\"seed\":-1,"
              "\"penalty_decay\":0.9,\"repeat_penalty\":1.1,\"mirostat\":2,\"logit_bias\":{\"97\":-100,\"98\":5}}");
    text_seed("request", "rest",
              "{\"messages\":[{\"role\":\"developer\",\"content\":\"a\"}],\"stop\":[\"x\",\"yz\"],\"n\":2,"
              "\"logprobs\":true,\"top_logprobs\":4,\"stream\":true,\"stream_options\":{\"include_usage\":true},"
              "\"echo\":false,\"return_state\":false,\"preset\":\"greedy\",\"sampling_order\":\"reference\","
              "\"response_format\":{\"type\":\"text\"},\"tools\":[],\"n_predict\":-1}");
    text_seed("request", "state",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"state\":\"UldLVlNUQVRFAAAAAAAAAAAAAAAAAAAA"
              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}");
}

int main(int argc, char **argv) {
    static const char *const versions[] = {"4", "5.0", "5.1", "5.2", "6", "7"}; /* 7a is large */
    if (argc != 2) return 1;
    root = argv[1];
    mkdir(root, 0777);
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) model_seeds(versions[i]);
    vocabulary_seeds();
    json_seeds();
    state_seeds();
    request_seeds();
    return 0;
}
