/* bench_shapes.c - models of random weights with the sizes of real ones.
 *
 *     shape -> tables of weights -> a small .pth -> rwkv_convert -> the file to measure
 *
 * The .pth (the legacy container: pickles, then raw data) holds one block of random numbers that
 * all matrices are views of, so it is no larger than the embedding, whatever the model; the
 * conversion gives each its own bytes. Activations stay finite and the text is noise. Rows of
 * ffn.key have a mean, times the bias of the norm before them: so the wanted share of the FFN's
 * activations is negative, hence zero after relu.
 */
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    const char *name;
    uint64_t layers, D;
    uint64_t w, a, v, g; /* ranks of v7; v6: w of the decay, a of each mix */
} shape;

static const shape shapes[] = {
    {.name = "v4-169M", 12, 768},
    {.name = "v4-430M", 24, 1024},
    {.name = "v4-1.5B", 24, 2048},
    {.name = "v4-3B", 32, 2560},
    {.name = "v4-7B", 32, 4096},
    {.name = "v4-14B", 40, 5120},
    {.name = "v5-0.4B", 24, 1024},
    {.name = "v5-1.5B", 24, 2048},
    {.name = "v5-3B", 32, 2560},
    {.name = "v5-7B", 32, 4096},
    {"v6-1.6B", 24, 2048, 64, 32, 0, 0},
    {"v6-3B", 32, 2560, 64, 32, 0, 0},
    {"v6-7B", 32, 4096, 128, 64, 0, 0},
    {"v6-14B", 61, 4096, 128, 64, 0, 0},
    {"v7-0.1B", 12, 768, 64, 64, 32, 128},
    {"v7-0.4B", 24, 1024, 64, 64, 32, 128},
    {"v7-1.5B", 24, 2048, 96, 96, 64, 256},
    {"v7-2.9B", 32, 2560, 96, 96, 64, 320},
    {"v7-7.2B", 32, 4096, 128, 128, 96, 480},
    {.name = "v4-tiny", 2, 128}, /* for tests: a vocabulary of bytes */
    {.name = "v5-tiny", 2, 128},
    {"v6-tiny", 2, 128, 32, 32, 0, 0},
    {"v7-tiny", 2, 128, 32, 32, 32, 32},
};

/* Weights of one shape and filling. Dimensions, slowest first: a size of the shape, H heads of
 * N = 64, M five mixes, or a digit. Fill: a row of `fills`. */
typedef struct group {
    const char *dims;
    char fill;
    const char *names;
} group;

static const group globals[] = {
    {"VD", 'm', "emb.weight head.weight"},
    {"D", '1', "blocks.0.ln0.weight ln_out.weight"},
    {"D", '0', "blocks.0.ln0.bias ln_out.bias"},
    {0},
};
static const group every_layer[] = {
    {"D", '1', "ln1.weight ln2.weight"},
    {"D", '0', "ln1.bias"},
    {"D", 'b', "ln2.bias"},
    {"DD", 'm', "att.key.weight att.value.weight att.receptance.weight att.output.weight"},
    {"FD", 'k', "ffn.key.weight"},
    {"DF", 'm', "ffn.value.weight"},
    {0},
};
static const group v4_layer[] = {
    {"D", 'd', "att.time_decay"},
    {"D", '0', "att.time_first"},
    {"11D", 'x', "att.time_mix_k att.time_mix_v att.time_mix_r ffn.time_mix_k ffn.time_mix_r"},
    {"DD", 'm', "ffn.receptance.weight"},
    {0},
};
static const group v5_layer[] = {
    {"HN", 'd', "att.time_decay"},
    {"HN", '0', "att.time_faaaa"},
    {"D", '1', "att.ln_x.weight"},
    {"D", '0', "att.ln_x.bias"},
    {"11D", 'x', "att.time_mix_k att.time_mix_v att.time_mix_r att.time_mix_g"},
    {"11D", 'x', "ffn.time_mix_k ffn.time_mix_r"},
    {"DD", 'm', "att.gate.weight ffn.receptance.weight"},
    {0},
};
static const group v6_layer[] = {
    {"11D", 'd', "att.time_decay"},
    {"HN", '0', "att.time_faaaa"},
    {"D", '1', "att.ln_x.weight"},
    {"D", '0', "att.ln_x.bias"},
    {"11D", 'x', "att.time_maa_x att.time_maa_w att.time_maa_k att.time_maa_v att.time_maa_r"},
    {"11D", 'x', "att.time_maa_g ffn.time_maa_k ffn.time_maa_r"},
    {"DM", 'm', "att.time_maa_w1"},
    {"5aD", 'm', "att.time_maa_w2"},
    {"Dw", 'm', "att.time_decay_w1"},
    {"wD", 'm', "att.time_decay_w2"},
    {"DD", 'm', "att.gate.weight ffn.receptance.weight"},
    {0},
};
static const group v7_layer[] = {
    {"11D", 'd', "att.w0"},
    {"11D", '0', "att.a0"},
    {"HN", '0', "att.r_k"},
    {"D", '1', "att.ln_x.weight"},
    {"D", '0', "att.ln_x.bias"},
    {"11D", 'x', "att.x_r att.x_w att.x_k att.x_v att.x_a att.x_g ffn.x_k att.k_k att.k_a"},
    {"Dw", 'm', "att.w1"},
    {"wD", 'm', "att.w2"},
    {"Da", 'm', "att.a1"},
    {"aD", 'm', "att.a2"},
    {"Dg", 'm', "att.g1"},
    {"gD", 'm', "att.g2"},
    {0},
};
static const group v7_later[] = {
    {"11D", '0', "att.v0"},
    {"Dv", 'm', "att.v1"},
    {"vD", 'm', "att.v2"},
    {0},
};
static const group *const of_version[] = {v4_layer, v5_layer, v6_layer, v7_layer};

/* The storages: normal numbers. Those of matrices depend on the shape (set_matrices). */
typedef struct fill {
    char name;
    const char *class;
    float mean, deviation;
} fill;
#define FFN_BIAS .5f
static const fill fills[] = {
    {'m', "BFloat16Storage", 0, 0},     {'k', "BFloat16Storage", 0, 0},
    {'1', "FloatStorage", 1, 0},        {'0', "FloatStorage", 0, 0},
    {'x', "FloatStorage", .5f, .1f},    {'d', "FloatStorage", -1, .5f},
    {'b', "FloatStorage", FFN_BIAS, 0},
};
enum { N_FILLS = sizeof fills / sizeof *fills, SLACK = 65536 };

typedef struct maker {
    FILE *f;
    uint64_t dim[128]; /* by the letter in group.dims */
    uint64_t random;
    fill fills[N_FILLS];
} maker;

static uint64_t next_random(maker *k) {
    k->random ^= k->random << 13;
    k->random ^= k->random >> 7;
    return k->random ^= k->random << 17;
}

/* Nearly normal: the sum of four uniform numbers. */
static float normal(maker *k) {
    uint64_t r = next_random(k);
    float sum = (float)(r & 0xffff) + (float)(r >> 16 & 0xffff) + (float)(r >> 32 & 0xffff) +
                (float)(r >> 48);
    return (sum / 65536.0f - 2.0f) * 1.7320508f;
}

static void set_dimensions(maker *k, const shape *s) {
    bool tiny = s->D == 128, wide = s->name[1] == '4' || s->name[1] == '7';
    uint64_t *d = k->dim;
    for (int i = 0; i < 10; i++) d['0' + i] = (uint64_t)i;
    d['V'] = tiny ? 256 : s->name[1] == '4' ? 50277 : 65536;
    d['D'] = s->D;
    d['F'] = wide ? s->D * 4 : s->D * 7 / 2;
    d['N'] = 64;
    d['H'] = s->D / d['N'];
    d['M'] = 5 * s->a;
    d['w'] = s->w;
    d['a'] = s->a;
    d['v'] = s->v;
    d['g'] = s->g;
}

static bool is_matrix(const fill *f) {
    return f->class[0] == 'B';
}

/* The x that this share of standard normal numbers is below. */
static double quantile(double share) {
    double low = -8, high = 8;
    while (high - low > 1e-6) {
        double x = (low + high) / 2;
        *(erfc(-x / sqrt(2)) / 2 < share ? &low : &high) = x;
    }
    return low;
}

/* Deviation: a product keeps its input's size. A key's input is a mix of two normed tokens (mean
 * square about .52) around the bias. */
static void set_matrices(maker *k, uint32_t zeros) {
    double D = (double)k->dim['D'], gain = 0.6 / sqrt(D);
    double deviation = 0.6 * sqrt(.52 + FFN_BIAS * FFN_BIAS);
    double key = -quantile(zeros / 100.0) * deviation / (FFN_BIAS * D);
    memcpy(k->fills, fills, sizeof fills);
    for (size_t i = 0; i < N_FILLS; i++) {
        if (is_matrix(&fills[i])) k->fills[i].deviation = (float)gain;
        if (fills[i].name == 'k') k->fills[i].mean = (float)key;
    }
}

/* Elements; of matrices: the largest, and room to begin elsewhere. */
static uint64_t storage_len(const maker *k, size_t i) {
    const uint64_t *d = k->dim;
    return is_matrix(&fills[i]) ? (d['V'] > d['F'] ? d['V'] : d['F']) * d['D'] + SLACK : d['D'];
}

/* ------------------------------------------------------------------ pickles */

static void put(FILE *f, uint64_t x, int bytes) {
    for (int i = 0; i < bytes; i++) fputc((int)(x >> 8 * i & 0xff), f);
}
static void put_string(FILE *f, const char *s, size_t n) {
    fputc('X', f);
    put(f, n, 4);
    fwrite(s, 1, n, f);
}
static void put_int(FILE *f, uint64_t x) {
    fputs("\x8a\x08", f);
    put(f, x, 8);
}

/* One "name: tensor" of the dict: a view of its storage, of matrices at a random place. */
static void put_weight(maker *k, const group *g, const char *name, size_t len) {
    uint64_t size = 1, first = 0;
    size_t i = 0;
    while (fills[i].name != g->fill) i++;
    for (const char *d = g->dims; *d; d++) size *= k->dim[(int)*d];
    if (is_matrix(&fills[i])) first = next_random(k) % (storage_len(k, i) - size + 1);
    put_string(k->f, name, len);
    fputs("ctorch._utils\n_rebuild_tensor_v2\n((", k->f);
    put_string(k->f, "storage", 7);
    fprintf(k->f, "ctorch\n%s\n", fills[i].class);
    put_string(k->f, &fills[i].name, 1);
    put_string(k->f, "cpu", 3);
    put_int(k->f, storage_len(k, i));
    fputs("NtQ", k->f);
    put_int(k->f, first);
    fputc('(', k->f);
    for (const char *d = g->dims; *d; d++) put_int(k->f, k->dim[(int)*d]);
    fputs("t(", k->f);
    for (const char *d = g->dims; *d; d++) put_int(k->f, size /= k->dim[(int)*d]); /* strides */
    fputs("t\x89"
          "ccollections\nOrderedDict\n)RtR",
          k->f);
}

static void put_groups(maker *k, const group *g, int layer) {
    char name[64];
    for (; g->dims; g++) {
        for (const char *at = g->names; *at; at += strspn(at, " ")) {
            int len = (int)strcspn(at, " ");
            int n = layer < 0 ? snprintf(name, sizeof name, "%.*s", len, at)
                              : snprintf(name, sizeof name, "blocks.%d.%.*s", layer, len, at);
            put_weight(k, g, name, (size_t)n);
            at += len;
        }
    }
}

static void put_storage(maker *k, size_t i) {
    const fill *f = &k->fills[i];
    put(k->f, storage_len(k, i), 8);
    for (uint64_t left = storage_len(k, i); left > 0; left--) {
        union {
            float f;
            uint32_t u;
        } x = {.f = f->mean + f->deviation * normal(k)};
        if (is_matrix(f))
            put(k->f, x.u >> 16, 2);
        else
            put(k->f, x.u, 4);
    }
}

static void put_model(maker *k, const shape *s) {
    static const char head[] =
        "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19." /* magic */
        "\x80\x02M\xe9\x03."                                        /* protocol */
        "\x80\x02}."                                                /* writer */
        "\x80\x02}(";
    fwrite(head, 1, sizeof head - 1, k->f);
    put_groups(k, globals, -1);
    for (int l = 0; l < (int)s->layers; l++) {
        const group *own = of_version[s->name[1] - '4'];
        put_groups(k, every_layer, l);
        put_groups(k, own, l);
        if (own == v7_layer && l > 0) put_groups(k, v7_later, l);
    }
    fputs("u.\x80\x02](", k->f);
    for (size_t i = 0; i < N_FILLS; i++) put_string(k->f, &fills[i].name, 1);
    fputs("e.", k->f);
    for (size_t i = 0; i < N_FILLS; i++) put_storage(k, i);
}

/* ------------------------------------------------------------------ */

static const shape *find_shape(const char *name) {
    char list[512] = "";
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].name, name) == 0) return &shapes[i];
        snprintf(list + strlen(list), sizeof list - strlen(list), " %s", shapes[i].name);
    }
    cli_fail(EXIT_USAGE,
             T("bench: --shape: found '%s'; expected one of:%s",
               "bench：--shape：得到 '%s'；应为其中之一：%s"),
             name, list);
    return NULL;
}

static bool on_progress(void *user, uint64_t done, uint64_t total) {
    cli_progress(user, done, total, "B");
    return !cli_interrupted();
}

int bench_synthesize(const char *name, const char *type, uint32_t zeros, const char *vocab,
                     uint32_t n_threads, const char *scratch, const char *out) {
    rwkv_error err = {0};
    const shape *s = find_shape(name);
    size_t len = strlen(out);
    if (!s) return EXIT_USAGE;
    maker k = {.random = UINT64_C(0x9E3779B97F4A7C15)};
    set_dimensions(&k, s);
    set_matrices(&k, zeros);
    k.f = fopen(scratch, "wb");
    if (k.f) put_model(&k, s);
    bool failed = !k.f || ferror(k.f);
    if (k.f && fclose(k.f)) failed = true;
    if (failed) return cli_fail(EXIT_SYSTEM, T("%s: cannot write", "%s：无法写入"), scratch);
    char what[64];
    snprintf(what, sizeof what, T("Making %s", "生成 %s"), name);
    rwkv_convert_options o = {
        .format = len > 4 && strcmp(out + len - 4, ".bin") == 0 ? "ggmf" : "gguf",
        .type = type,
        .vocab = vocab,
        .n_threads = n_threads,
        .progress = on_progress,
        .progress_user = what,
    };
    rwkv_status st = rwkv_convert(scratch, out, &o, &err);
    cli_progress(NULL, 0, 0, NULL);
    return st == RWKV_OK ? EXIT_OK : cli_error(&err);
}
