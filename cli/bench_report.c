/* bench_report.c - rows of results as Markdown, CSV, JSON and SVG. One table of columns serves CSV
 * and JSON; names are llama-bench's where it has the thing.
 */
#include "bench.h"

#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { TEXT, COUNT, REAL } kind;

#define COLUMN(name, kind, field)                                                                  \
    { name, kind, offsetof(bench_row, field) }
static const struct column {
    const char *name;
    kind kind;
    size_t at;
} columns[] = {
    COLUMN("model_filename", TEXT, path),
    COLUMN("model_name", TEXT, name),
    COLUMN("rwkv_version", TEXT, version),
    COLUMN("model_type", TEXT, type),
    COLUMN("model_size", COUNT, file_bytes),
    COLUMN("model_n_params", COUNT, n_params),
    COLUMN("backends", TEXT, isa),
    COLUMN("n_threads", COUNT, n_threads),
    COLUMN("n_prompt", COUNT, n_prompt),
    COLUMN("n_gen", COUNT, n_gen),
    COLUMN("n_depth", COUNT, n_depth),
    COLUMN("n_sessions", COUNT, n_sessions),
    COLUMN("median_ts", REAL, median_ts),
    COLUMN("min_ts", REAL, min_ts),
    COLUMN("max_ts", REAL, max_ts),
    COLUMN("avg_ts", REAL, avg_ts),
    COLUMN("load_s", REAL, load_s),
    COLUMN("first_token_s", REAL, first_token_s),
    COLUMN("peak_rss", COUNT, peak_rss),
    COLUMN("bytes_per_token", REAL, bytes_per_token),
    COLUMN("read_gbs", REAL, limit.read_gbs),
    COLUMN("f32_gflops", REAL, limit.f32_gflops),
    COLUMN("bf16_gflops", REAL, limit.bf16_gflops),
    COLUMN("int8_gops", REAL, limit.int8_gops),
    COLUMN("ffn_zeros", REAL, ffn_zeros),
    COLUMN("limit_fraction", REAL, limit_fraction),
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

/* "pp512", "tg64", "tg64 x8", "tg64 @ d1000" */
static const char *test_name(const bench_row *r, char out[96]) {
    int n = r->n_prompt ? snprintf(out, 96, "pp%llu", (unsigned long long)r->n_prompt)
                        : snprintf(out, 96, "tg%llu", (unsigned long long)r->n_gen);
    if (r->n_sessions > 1)
        n += snprintf(out + n, 96 - (size_t)n, " x%llu", (unsigned long long)r->n_sessions);
    if (r->n_depth) snprintf(out + n, 96 - (size_t)n, " @ d%llu", (unsigned long long)r->n_depth);
    return out;
}

/* ------------------------------------------------------------------ Markdown */

static void print_md(const bench_row *r) {
    char test[96], size[32], rss[32], of[16] = "", zeros[16] = "";
    if (r->limit_fraction > 0) snprintf(of, sizeof of, "%.0f %%", 100 * r->limit_fraction);
    if (r->ffn_zeros > 0) snprintf(zeros, sizeof zeros, "%.0f %%", 100 * r->ffn_zeros);
    printf("| %s v%s %s | %s | %.2f B | %s | %llu | %s | %.2f | %.2f-%.2f | %s | %s | %s |\n",
           r->name, r->version, r->type, cli_human_bytes(r->file_bytes, size),
           1e-9 * (double)r->n_params, r->isa, (unsigned long long)r->n_threads, test_name(r, test),
           r->median_ts, r->min_ts, r->max_ts, of, zeros, cli_human_bytes(r->peak_rss, rss));
}

static void print_limits(const bench_row *r) {
    printf(T("\nMachine with %llu threads: reads %.1f GB/s", "\n本机（%llu 线程）：读取 %.1f GB/s"),
           (unsigned long long)r->n_threads, r->limit.read_gbs);
    if (r->limit.f32_gflops > 0) printf("; f32 %.0f GFLOPS", r->limit.f32_gflops);
    if (r->limit.bf16_gflops > 0) printf("; bf16 %.0f GFLOPS", r->limit.bf16_gflops);
    if (r->limit.int8_gops > 0) printf("; int8 %.0f GOPS", r->limit.int8_gops);
    printf(T(". Loaded in %.2f s; first token after %.2f s.\n",
             "。加载 %.2f 秒；首个词元 %.2f 秒。\n"),
           r->load_s, r->first_token_s);
}

/* ------------------------------------------------------------------ CSV and JSON */

/* Numbers are the same in both; text is quoted as each demands. */
static void print_value(const bench_row *r, size_t column, bool json) {
    const void *value = (const char *)r + columns[column].at;
    const char *text = value;
    switch (columns[column].kind) {
    case COUNT:
        printf("%llu", (unsigned long long)*(const uint64_t *)value);
        return;
    case REAL:
        printf("%.6g", *(const double *)value);
        return;
    case TEXT:
        if (json) {
            size_t len;
            char *valid = cli_valid_utf8(text, strlen(text), &len);
            json_t *j = valid ? json_stringn_nocheck(valid, len) : NULL;
            json_dumpf(j, stdout, JSON_ENCODE_ANY);
            json_decref(j);
            free(valid);
            return;
        }
        putchar('"');
        for (; *text; text++) printf("%s%c", *text == '"' ? "\"" : "", *text);
        putchar('"');
    }
}

static void print_csv(const bench_row *r) {
    for (size_t i = 0; i < N_COLUMNS; i++) {
        print_value(r, i, false);
        putchar(i + 1 < N_COLUMNS ? ',' : '\n');
    }
}

static void print_json(const bench_row *r) {
    for (size_t i = 0; i < N_COLUMNS; i++) {
        printf("%s\"%s\": ", i ? ",\n    " : "  {\n    ", columns[i].name);
        print_value(r, i, true);
    }
    printf(",\n    \"samples_ts\": [");
    for (size_t i = 0; i < r->n_samples; i++) printf("%s%.6g", i ? ", " : "", r->samples_ts[i]);
    printf("]\n  }");
}

/* ------------------------------------------------------------------ */

void bench_print_begin(const char *format) {
    if (strcmp(format, "json") == 0) printf("[\n");
    for (size_t i = 0; format[0] == 'c' && i < N_COLUMNS; i++)
        printf("%s%s", columns[i].name, i + 1 < N_COLUMNS ? "," : "\n");
    if (strcmp(format, "md") == 0)
        printf("| model | size | params | backend | threads | test | t/s | min-max | of limit | "
               "zeros | peak RSS |\n|---|--:|--:|---|--:|---|--:|--:|--:|--:|--:|\n");
}

void bench_print_row(const char *format, const bench_row *r, bool first) {
    if (strcmp(format, "md") == 0) print_md(r);
    if (strcmp(format, "csv") == 0) print_csv(r);
    if (strcmp(format, "json") == 0) {
        if (!first) printf(",\n");
        print_json(r);
    }
    fflush(stdout);
}

/* The limits once per number of threads and model. */
void bench_print_end(const char *format, const bench_row *rows, size_t n) {
    if (strcmp(format, "json") == 0) printf("\n]\n");
    for (size_t i = 0; strcmp(format, "md") == 0 && i < n; i++)
        if (i == 0 || rows[i].n_threads != rows[i - 1].n_threads ||
            strcmp(rows[i].path, rows[i - 1].path))
            print_limits(&rows[i]);
}

/* ------------------------------------------------------------------ SVG */

enum { WIDTH = 640, LEFT = 170, BAR = 24, TOP = 48 };

/* Prompts and single tokens differ by an order of magnitude: each kind has its own scale. */
int bench_plot(const char *path, const bench_row *rows, size_t n) {
    rwkv_error err = {0};
    char *svg = NULL, test[96];
    size_t len = 0;
    double most[2] = {1e-9, 1e-9};
    FILE *f = open_memstream(&svg, &len);
    if (!f) return cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), path);
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"16\" y=\"26\" font-size=\"15\">RWKV v%s %s, %.2f B: tokens/s</text>\n",
            WIDTH, TOP + (int)n * BAR + 8, rows[0].version, rows[0].type,
            1e-9 * (double)rows[0].n_params);
    for (size_t i = 0; i < n; i++) {
        double *m = &most[rows[i].n_prompt > 0];
        *m = fmax(*m, rows[i].median_ts);
    }
    for (size_t i = 0; i < n; i++) {
        const bench_row *r = &rows[i];
        double width = (WIDTH - LEFT - 80) * r->median_ts / most[r->n_prompt > 0];
        int y = TOP + (int)i * BAR;
        fprintf(f,
                "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s, %llu t</text><rect x=\"%d\" "
                "y=\"%d\" width=\"%.1f\" height=\"%d\" fill=\"%s\"/><text x=\"%.1f\" "
                "y=\"%d\">%.1f</text>\n",
                LEFT - 8, y + 14, test_name(r, test), (unsigned long long)r->n_threads, LEFT, y,
                width, BAR - 6, r->n_prompt ? "#b5764a" : "#4a7ab5", LEFT + width + 6, y + 14,
                r->median_ts);
    }
    fputs("</svg>\n", f);
    fclose(f);
    rwkv_status st = rwkv_file_write(path, svg, len, &err);
    free(svg);
    return st == RWKV_OK ? EXIT_OK : cli_error(&err);
}
