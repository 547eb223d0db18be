/* test_bench.c - rwkv bench: what its outputs hold, for every version's tiny shape. Speeds are only
 * required to be numbers above zero. */
#include "support_models.h"

#include <jansson.h>
#include <math.h>
#include <unistd.h>

static json_t *bench_json(const char *args) {
    char line[1024], *out = NULL, *err = NULL;
    json_error_t e;
    snprintf(line, sizeof line, "bench %s --format json", args);
    int code = run_rwkv(line, NULL, &out, &err);
    if (code) fail_msg("%s: code %d: %s", line, code, err);
    json_t *rows = json_loads(out, 0, &e);
    if (!json_is_array(rows)) fail_msg("%s: %s in %s", line, e.text, out);
    free(out);
    free(err);
    return rows;
}

static double number(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    if (!json_is_number(v)) fail_msg("%s is no number", key);
    return json_number_value(v);
}

static void expect_row(const json_t *row, double prompt, double gen, double sessions,
                       double depth) {
    assert_true(number(row, "n_prompt") == prompt);
    assert_true(number(row, "n_gen") == gen);
    assert_true(number(row, "n_sessions") == sessions);
    assert_true(number(row, "n_depth") == depth);
    double low = number(row, "min_ts"), middle = number(row, "median_ts");
    double high = number(row, "max_ts"), mean = number(row, "avg_ts");
    assert_true(low > 0 && low <= middle && middle <= high && isfinite(high));
    assert_true(low <= mean * 1.001 && mean <= high * 1.001);
    assert_int_equal(json_array_size(json_object_get(row, "samples_ts")), 3);
    assert_true(number(row, "peak_rss") > 1e6);
    assert_true(number(row, "first_token_s") >= number(row, "load_s"));
    assert_true(number(row, "read_gbs") > 0);
    assert_true(prompt > 0 || number(row, "limit_fraction") > 0);
}

static void test_matrix(void **state) {
    static const char *const versions[] = {"4", "5.2", "6", "7"};
    (void)state;
    for (size_t v = 0; v < 4; v++) {
        char args[256];
        snprintf(args, sizeof args,
                 "--shape v%c-tiny --type q8_0 -p 16,33 -n 4 --batch 1,3 --depth 1k,5 -r 3 -t 1",
                 versions[v][0]);
        json_t *rows = bench_json(args);
        assert_int_equal(json_array_size(rows), 6);
        expect_row(json_array_get(rows, 0), 16, 0, 1, 0);
        expect_row(json_array_get(rows, 1), 33, 0, 1, 0);
        expect_row(json_array_get(rows, 2), 0, 4, 1, 0);
        expect_row(json_array_get(rows, 3), 0, 4, 3, 0);
        expect_row(json_array_get(rows, 4), 0, 4, 1, 5);
        expect_row(json_array_get(rows, 5), 0, 4, 1, 1000);
        const json_t *first = json_array_get(rows, 0);
        assert_string_equal(json_string_value(json_object_get(first, "rwkv_version")), versions[v]);
        assert_string_equal(json_string_value(json_object_get(first, "model_type")), "Q8_0");
        /* three sessions share the weights */
        double alone = number(json_array_get(rows, 2), "bytes_per_token");
        assert_true(number(json_array_get(rows, 3), "bytes_per_token") < alone);
        json_decref(rows);
    }
}

/* The wanted share of zeros, counted, and not needed from memory unless everything is multiplied.
 */
static void test_zeros(void **state) {
    (void)state;
    static const char *const versions = "467";
    for (const char *v = versions; *v; v++) {
        double needed[2];
        for (int dense = 0; dense < 2; dense++) {
            char args[256];
            snprintf(args, sizeof args,
                     "--shape v%c-tiny --zeros 80 -p 0 -n 32 --batch 2 -r 1 -t 1 %s", *v,
                     dense ? "--dense" : "");
            json_t *rows = bench_json(args);
            double alone = number(json_array_get(rows, 0), "ffn_zeros");
            double both = number(json_array_get(rows, 1), "ffn_zeros");
            if (!(alone > 0.75 && alone < 0.92)) fail_msg("v%c: %g zeros; expected 0.8", *v, alone);
            if (!(both > 0.5 && both < alone)) fail_msg("v%c: %g zeros of two tokens", *v, both);
            needed[dense] = number(json_array_get(rows, 0), "bytes_per_token");
            json_decref(rows);
        }
        assert_true(needed[0] < 0.95 * needed[1]);
    }
}

/* One header and as many fields in every line; the file is the user's own. */
static void test_csv(void **state) {
    const char *file = test_model_file(&test_small_shape, AS_GGUF, RW_F16);
    char args[1024], *out = NULL, *err = NULL, *rest = NULL;
    (void)state;
    snprintf(args, sizeof args, "bench '%s' -p 8 -n 2 -r 1 -t 1,2 --format csv", file);
    assert_int_equal(run_rwkv(args, NULL, &out, &err), 0);
    size_t lines = 0, fields = 0;
    for (char *line = strtok_r(out, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        size_t n = 1;
        for (const char *p = line; *p; p++) n += *p == ',';
        if (lines++ == 0) fields = n;
        assert_int_equal(n, fields);
    }
    assert_int_equal(lines, 5);
    assert_int_equal(access(file, F_OK), 0);
    free(out);
    free(err);
}

/* Both are files that others can read: the model at a true name, the plot with a bar per test. */
static void test_keep_and_plot(void **state) {
    char model[512], plot[512], args[2048], *out = NULL, *err = NULL;
    size_t len, bars = 0;
    (void)state;
    snprintf(model, sizeof model, "%s", temp_path("kept.bin"));
    snprintf(plot, sizeof plot, "%s", temp_path("plot.svg"));
    snprintf(args, sizeof args,
             "bench --shape v4-tiny --type q5_1 --keep '%s' --plot '%s' -p 4 -n 2 -r 2", model,
             plot);
    assert_int_equal(run_rwkv(args, NULL, &out, &err), 0);
    if (!strstr(out, "| pp4 |") || !strstr(out, "| tg2 |")) fail_msg("no table: %s", out);
    free(out);
    free(err);
    char *svg = slurp(plot, &len);
    assert_memory_equal(svg, "<svg ", 5);
    assert_memory_equal(svg + len - 7, "</svg>\n", 7);
    for (size_t i = 0; i + 6 < len; i++) bars += memcmp(svg + i, "<rect ", 6) == 0;
    assert_int_equal(bars, 3); /* and the background */
    free(svg);
    snprintf(args, sizeof args, "info '%s' --json", model);
    assert_int_equal(run_rwkv(args, NULL, &out, &err), 0);
    if (!strstr(out, "\"ggmf\"") || !strstr(out, "Q5_1")) fail_msg("found %s", out);
    free(out);
    free(err);
}

static void test_usage(void **state) {
    static const char *const wrong[][2] = {
        {"bench", "expected MODEL"},
        {"bench m --shape v7-tiny", "expected MODEL"},
        {"bench m --keep x", "expected MODEL"},
        {"bench m --zeros 50", "expected MODEL"},
        {"bench --shape v7-tiny --zeros 100", "--zeros"},
        {"bench --shape v8-1B", "v7-1.5B"},
        {"bench --shape v7-tiny --type q9", "found q9"},
        {"bench m --format xml", "md, csv or json"},
        {"bench m -p 5x", "--prompt: found '5x'"},
        {"bench m -p 1,", "--prompt"},
        {"bench m --depth -1", "--depth"},
        {"bench m --depth 5000M", "--depth"},
        {"bench m -n 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "at most 16"},
        {"bench m --batch 2000", "up to 1024"},
        {"bench m -r 0", "--repeat"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *out = NULL, *err = NULL;
        int code = run_rwkv(wrong[i][0], NULL, &out, &err);
        if (code != 1 || *out || !strstr(err, wrong[i][1]))
            fail_msg("%s: code %d, %s %s", wrong[i][0], code, out, err);
        free(out);
        free(err);
    }
    char *err = NULL;
    assert_int_equal(run_rwkv("bench /nowhere/model.gguf", NULL, NULL, &err), 2);
    free(err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix), cmocka_unit_test(test_zeros),
        cmocka_unit_test(test_csv),    cmocka_unit_test(test_keep_and_plot),
        cmocka_unit_test(test_usage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
