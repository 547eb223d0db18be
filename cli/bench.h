/* bench.h - rwkv bench: how fast, how much memory, and how near to what the machine allows.
 *
 *     file, or shape -> bench_synthesize -> model -> bench.c measures -> rows -> bench_report.c
 *     machine -> bench_machine.c -> limits, in every row
 */
#ifndef RWKV_BENCH_H
#define RWKV_BENCH_H

#include "cli.h"

/* ---- bench_machine.c: what this many threads can do; 0: not known for this processor */
typedef struct limits {
    double read_gbs;                           /* GB/s, streaming from memory */
    double f32_gflops, bf16_gflops, int8_gops; /* multiply-adds in registers; one counts as two */
} limits;
#define BENCH_BUFFER ((size_t)256 << 20) /* bytes read: more than caches hold */
/* One sample, a few hundredths of a second; 0 when memory is short. From the first call on the
 * process is larger by the buffer. */
double bench_read_bandwidth(uint32_t n_threads);
void bench_peaks(uint32_t n_threads, limits *out); /* all but the bandwidth */

/* ---- bench_shapes.c */
/* Writes a model of random weights with the sizes of a real one, of whose FFN activations about
 * `zeros` percent are zero. Prints errors. vocab may be NULL. */
int bench_synthesize(const char *shape, const char *type, uint32_t zeros, const char *vocab,
                     uint32_t n_threads, const char *scratch, const char *out);

/* ---- bench_report.c */
typedef struct bench_row {                                    /* one test of one model */
    char path[512], name[128], version[8], type[16], isa[16]; /* cut to fit */
    uint64_t file_bytes, n_params;
    uint64_t n_threads, n_prompt, n_gen, n_sessions, n_depth;
    double median_ts, min_ts, max_ts, avg_ts; /* tokens per second, all sessions together */
    double *samples_ts;
    size_t n_samples;
    double load_s, first_token_s; /* from opening to the model, to the first logits */
    uint64_t peak_rss;            /* of the process so far, without bench_read_bandwidth's buffer */
    double bytes_per_token;       /* weights needed and state; 0 for prompts */
    limits limit;
    uint64_t ffn_inputs, ffn_zero_inputs; /* of all samples; see rwkv_info */
    double ffn_zeros;                     /* their quotient; 0: not counted */
    double limit_fraction; /* of the bandwidth, or of the arithmetic for prompts; 0: not known */
} bench_row;

/* Rows as they come: begin, row..., end. `format` is md, csv or json. */
void bench_print_begin(const char *format);
void bench_print_row(const char *format, const bench_row *r, bool first);
void bench_print_end(const char *format, const bench_row *rows, size_t n);
int bench_plot(const char *path, const bench_row *rows, size_t n);
#endif
