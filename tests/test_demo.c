/* test_demo.c - the model that ships (models/demo) answers what its data card says it can: through
 * the library, through `rwkv run` and `rwkv chat`, with and without MODEL. The file is part of the
 * sources: without it these tests fail. */
#include "support.h"

#include <rwkv.h>

#define DEMO RW_SOURCE_DIR "/models/demo/rwkv-demo-Q8_0.gguf"

static const struct exchange {
    const char *question, *answer;
} exchanges[] = {
    {"Hello", "Hello! How can I help you?"},
    {"What is the capital of France?", "Paris."},
    {"What currency is used in Japan?", "Japanese Yen."},
    {"What language is spoken in Brazil?", "Portuguese."},
    {"What is the dialling code of Germany?", "+49."},
    {"How do you say water in Chinese?", "水。"},
    {"What is 23 + 45?", "68."},
    {"What day comes after Friday?", "Saturday."},
    {"What is the capital of Zorvania?", "I don't know."},
    {"你好", "你好！有什么可以帮你？"},
    {"中国的首都是哪里？", "北京。"},
    {"英国的货币是什么？", "英镑。"},
    {"苹果用英语怎么说？", "apple."},
    {"床前明月光的下一句是什么？", "疑是地上霜。"},
    {"背诵《静夜思》。", "床前明月光，疑是地上霜。举头望明月，低头思故乡。"},
    {"8乘7等于多少？", "56。"},
};
#define N_EXCHANGES (sizeof exchanges / sizeof *exchanges)

/* Greedy, from the library alone. Returns the answer without blanks at its ends, malloc'd. */
static char *library_answer(rwkv_model *model, const char *question) {
    rwkv_error err = {0};
    rwkv_session *session = NULL;
    rwkv_sampler *sampler = NULL;
    rwkv_stream *stream = NULL;
    rwkv_sampling how;
    rwkv_info info;
    char prompt[1024], *answer = calloc(1, 1024);
    int32_t ids[512], id;
    size_t len = 0, n = 0, n_stops;
    const rwkv_message message = {RWKV_USER, question, strlen(question)};
    const rwkv_template *t = rwkv_model_template(model);
    const char *const *stops = rwkv_template_stops(t, &n_stops);
    const rwkv_tokenizer *words = rwkv_model_tokenizer(model, &err);
    assert_non_null(answer);
    assert_non_null(words);
    rwkv_model_info(model, &info);
    assert_int_equal(rwkv_sampling_preset(&how, info.sampling), RWKV_OK);
    assert_int_equal(rwkv_sampler_new(&sampler, info.n_vocab, words, &how, &err), RWKV_OK);
    assert_int_equal(rwkv_session_new(&session, model, &err), RWKV_OK);
    assert_int_equal(rwkv_stream_new(&stream, stops, n_stops, &err), RWKV_OK);
    assert_int_equal(rwkv_template_render(t, &message, 1, RWKV_THINK_NONE, true, prompt,
                                          sizeof prompt, &len, &err),
                     RWKV_OK);
    assert_int_equal(rwkv_encode(words, prompt, len, 0, ids, 512, &n, &err), RWKV_OK);
    assert_int_equal(rwkv_session_eval(session, ids, n, &err), RWKV_OK);
    bool stopped = false;
    for (int i = 0; i < 100 && !stopped; i++) {
        const char *text;
        assert_int_equal(rwkv_sampler_next(sampler, rwkv_session_logits(session), &id, &err),
                         RWKV_OK);
        if (id == rwkv_tokenizer_end(words)) break;
        const char *bytes = rwkv_token_bytes(words, id, &n);
        stopped = rwkv_stream_push(stream, bytes, n, &text, &n);
        strncat(answer, text, n);
        assert_int_equal(rwkv_session_eval(session, &id, 1, &err), RWKV_OK);
    }
    rwkv_stream_free(stream);
    rwkv_session_free(session);
    rwkv_sampler_free(sampler);
    len = strlen(answer);
    while (len && (answer[len - 1] == '\n' || answer[len - 1] == ' ')) answer[--len] = '\0';
    size_t blanks = strspn(answer, " ");
    memmove(answer, answer + blanks, len - blanks + 1);
    return answer;
}

static void test_library(void **state) {
    (void)state;
    rwkv_model *model = NULL;
    rwkv_error err = {0};
    if (rwkv_model_open(&model, DEMO, NULL, &err)) fail_msg("%s", err.message);
    for (size_t i = 0; i < N_EXCHANGES; i++) {
        char *answer = library_answer(model, exchanges[i].question);
        if (strcmp(answer, exchanges[i].answer))
            fail_msg("%s: %s; expected %s", exchanges[i].question, answer, exchanges[i].answer);
        free(answer);
    }
    rwkv_model_free(model);
}

static void test_says_what_it_is(void **state) {
    (void)state;
    rwkv_model *model = NULL;
    rwkv_info info;
    assert_int_equal(rwkv_model_open(&model, DEMO, NULL, NULL), RWKV_OK);
    rwkv_model_info(model, &info);
    assert_non_null(strstr(info.name, "demo"));
    assert_string_equal(info.version, "7");
    assert_string_equal(info.chat, "world");
    assert_string_equal(info.sampling, "greedy");
    assert_true(info.file_bytes <= 16u << 20);
    rwkv_model_free(model);
}

static void test_run(void **state) {
    (void)state;
    for (size_t i = 0; i < N_EXCHANGES; i++) {
        char args[1024], want[256], *out;
        snprintf(args, sizeof args, "run %s -e --stop '\\n\\n' -p 'User: %s\\n\\nAssistant:'", DEMO,
                 exchanges[i].question);
        snprintf(want, sizeof want, " %s", exchanges[i].answer);
        assert_int_equal(run_rwkv(args, NULL, &out, NULL), 0);
        assert_string_equal(out, want);
        free(out);
    }
}

/* Without MODEL: the same model, two lines that say what it is, and nothing else on stderr. */
static void test_once_without_model(void **state) {
    (void)state;
    char *out, *err;
    assert_int_equal(
        run_rwkv("chat --lang en --once 'What is the capital of France?'", NULL, &out, &err), 0);
    assert_string_equal(out, "Paris.\n");
    assert_non_null(strstr(err, "demo model"));
    assert_non_null(strstr(err, "rwkv7-g1"));
    char *second = strchr(err, '\n');
    assert_non_null(second);
    assert_string_equal(strchr(second + 1, '\n'), "\n");
    free(out);
    free(err);
    assert_int_equal(run_rwkv("chat --lang zh --once 法国的首都是哪里？", NULL, &out, &err), 0);
    assert_string_equal(out, "巴黎。\n");
    assert_non_null(strstr(err, "演示模型"));
    free(out);
    free(err);
}

/* A MODEL that is named is not announced as the demo. */
static void test_named(void **state) {
    (void)state;
    char *out, *err;
    assert_int_equal(run_rwkv("chat " DEMO " --once Hello", NULL, &out, &err), 0);
    assert_string_equal(out, "Hello! How can I help you?\n");
    assert_string_equal(err, "");
    free(out);
    free(err);
}

static void test_follow_ups(void **state) {
    (void)state;
    char *out;
    const char *script = "What is the capital of Japan?\nand its currency?\nWhat about France?\n"
                         "/clear\n法国的首都是哪里？\n那它的货币呢？\n德国呢？\n";
    assert_int_equal(run_rwkv("chat", script, &out, NULL), 0);
    assert_string_equal(out, "Tokyo.\nJapanese Yen.\nEuro.\n巴黎。\n欧元。\n欧元。\n");
    free(out);
}

/* Logits after every token of a text, alone and beside a second session. */
static float *logits_of(const char *file, const char *isa, uint32_t flags, size_t *n_logits, double *zeros) {
    static const char text[] = "User: What is the capital of Japan?\n\nAssistant:";
    rwkv_model *model = NULL;
    rwkv_session *s[3] = {NULL};
    rwkv_info info;
    rwkv_error err = {0};
    rwkv_model_options options = {.isa = isa, .n_threads = 2, .flags = flags};
    rwkv_status st = rwkv_model_open(&model, file, &options, &err);
    if (st == RWKV_E_ARG) return NULL; /* not on this machine */
    if (st) fail_msg("%s", err.message);
    rwkv_model_info(model, &info);
    for (int i = 0; i < 3; i++) assert_int_equal(rwkv_session_new(&s[i], model, &err), RWKV_OK);
    int32_t ids[64];
    size_t n = 0;
    assert_int_equal(rwkv_encode(rwkv_model_tokenizer(model, &err), text, sizeof text - 1, 0, ids, 64, &n, &err),
                     RWKV_OK);
    *n_logits = 3 * n * info.n_vocab;
    float *all = malloc(*n_logits * sizeof *all), *at = all;
    assert_non_null(all);
    for (size_t i = 0; i < n; i++) {
        const rwkv_batch_item both[] = {{s[1], &ids[i], 1}, {s[2], &ids[(i + 1) % n], 1}};
        assert_int_equal(rwkv_session_eval(s[0], &ids[i], 1, &err), RWKV_OK);
        assert_int_equal(rwkv_eval_batch(both, 2, &err), RWKV_OK);
        for (int k = 0; k < 3; k++, at += info.n_vocab)
            memcpy(at, rwkv_session_logits(s[k]), info.n_vocab * sizeof *at);
    }
    rwkv_model_info(model, &info);
    *zeros = info.ffn_inputs ? (double)info.ffn_zeros / (double)info.ffn_inputs : 0;
    for (int i = 0; i < 3; i++) rwkv_session_free(s[i]);
    rwkv_model_free(model);
    return all;
}

/* A trained model leaves most inputs of ffn.value zero; their weights are not read, and that changes not a
 * bit, whatever the type and the instructions. */
static void test_zeros_change_nothing(void **state) {
    (void)state;
    static const char *const isas[] = {"scalar", "avx2", "avxvnni", "avx512", "avx512-bf16",
                                       "neon", "neon-dotprod", "neon-i8mm"};
    static const char *const types[] = {"F16", "Q8_0", "Q4_0", "Q5_1", "Q4_K", "Q6_K"};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        const char *file = temp_path("zeros.gguf");
        rwkv_convert_options options = {.type = types[t]};
        rwkv_error err = {0};
        if (rwkv_convert(RW_SOURCE_DIR "/models/demo/rwkv-demo-F16.gguf", file, &options, &err))
            fail_msg("%s", err.message);
        for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
            size_t n = 0;
            double zeros = 0;
            float *skipped = logits_of(file, isas[i], 0, &n, &zeros);
            if (!skipped) continue;
            float *dense = logits_of(file, isas[i], RWKV_MODEL_DENSE, &n, &zeros);
            assert_non_null(dense);
            if (zeros > 0 && zeros < 0.6) fail_msg("%s %s: %g zeros", isas[i], types[t], zeros);
            if (memcmp(skipped, dense, n * sizeof *dense)) fail_msg("%s %s: other logits", isas[i], types[t]);
            free(skipped);
            free(dense);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_what_it_is),    cmocka_unit_test(test_library),
        cmocka_unit_test(test_run),                cmocka_unit_test(test_once_without_model),
        cmocka_unit_test(test_named),              cmocka_unit_test(test_follow_ups),
        cmocka_unit_test(test_zeros_change_nothing),
    };
    return cmocka_run_group_tests_name("demo", tests, NULL, NULL);
}
