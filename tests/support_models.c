/* support_models.c - see support_models.h. One table gives names, shapes and statistics of all
 * versions; each container is a translation of the tensor list (names, orientation, folded
 * exponentials) followed by a serialiser, written from the format descriptions. */
#include "support_models.h"
#include <math.h>
#include <sys/stat.h>

const char *const test_format_names[TEST_FORMATS] = {
    "pth", "pth (legacy)", "safetensors", "fla", "web-rwkv", "gguf", "gguf+vocab", "ggmf"};

const test_shape test_shapes[] = {
    {.version = "4", .n_layer = 3, .D = 24, .F = 50, .seed = 1},
    {.version = "4", .n_layer = 1, .D = 33, .F = 7, .V = 65, .seed = 2},
    {.version = "5.0", .n_layer = 2, .D = 32, .H = 4, .N = 8, .seed = 3},
    {.version = "5.1", .n_layer = 3, .D = 30, .H = 5, .N = 6, .F = 41, .seed = 4},
    {.version = "5.2", .n_layer = 2, .D = 34, .H = 2, .N = 17, .F = 119, .seed = 5},
    {.version = "5.2", .n_layer = 2, .D = 64, .H = 1, .N = 64, .F = 224, .V = 300, .seed = 6},
    {.version = "6", .n_layer = 3, .D = 32, .H = 4, .N = 8, .F = 112, .seed = 7},
    {.version = "6",
     .n_layer = 2,
     .D = 39,
     .H = 3,
     .N = 13,
     .F = 53,
     .V = 71,
     .rank = 3,
     .seed = 8},
    {.version = "7", .n_layer = 3, .D = 32, .H = 2, .N = 16, .F = 128, .layer0_v = true, .seed = 9},
    {.version = "7",
     .n_layer = 2,
     .D = 45,
     .H = 3,
     .N = 15,
     .F = 61,
     .V = 97,
     .rank = 7,
     .seed = 10},
    {.version = "7", .n_layer = 2, .D = 64, .H = 1, .N = 64, .F = 256, .rank = 16, .seed = 11},
    {.version = "7a", .n_layer = 2, .D = 40, .H = 5, .N = 8, .F = 70, .V = 50, .seed = 12},
    /* n_att is not n_embd; one layer, one head, one channel per head, ranks above the width */
    {.version = "4", .D = 24, .H = 37, .F = 9, .V = 5, .seed = 13},
    {.version = "4", .D = 41, .H = 10, .F = 30, .V = 40, .seed = 14},
    {.version = "5.0", .D = 20, .H = 3, .N = 9, .F = 31, .V = 33, .seed = 15},
    {.version = "5.1", .D = 43, .H = 1, .N = 12, .F = 20, .V = 30, .seed = 16},
    {.version = "5.2", .D = 12, .H = 5, .N = 7, .F = 40, .V = 20, .seed = 17},
    {.version = "6", .D = 17, .H = 4, .N = 11, .F = 25, .V = 35, .rank = 50, .seed = 18},
    {.version = "6", .n_layer = 1, .D = 8, .H = 3, .N = 1, .F = 3, .V = 2, .rank = 2, .seed = 19},
    {.version = "7", .D = 22, .H = 2, .N = 31, .F = 26, .V = 36, .rank = 70, .seed = 20},
    {.version = "7", .n_layer = 1, .D = 36, .H = 1, .N = 8, .F = 5, .V = 3, .rank = 2, .seed = 21},
    {.version = "7a", .D = 19, .H = 3, .N = 8, .F = 23, .V = 27, .seed = 22},
    {0}};

const test_shape test_small_shape = {
    .version = "7", .n_layer = 1, .D = 8, .H = 2, .N = 4, .F = 12, .V = 16, .rank = 2, .seed = 13};

/* ---- the table of tensors */

enum { M4 = 1, M50 = 2, M51 = 4, M52 = 8, M6 = 16, M7 = 32, M7A = 64 };
enum { M5 = M50 | M51 | M52, M45 = M4 | M5, M456 = M45 | M6, M77 = M7 | M7A, MX = M5 | M6 | M77 };
static const char *const versions[] = {"4", "5.0", "5.1", "5.2", "6", "7", "7a"};

typedef enum spread { NORMAL, UNIFORM, LINEAR, LOWRANK } spread; /* the last two: gain / sqrt(in) */

typedef struct recipe {
    const char *name;
    unsigned in;      /* versions */
    const char *dims; /* D A F V H N; m M q: v6 ranks r, 5r, of the decay; w a v g: v7 ranks;
                         E 1024; S 32; 5; 1 */
    spread kind;
    float a, b; /* mean, deviation; low, high; gain */
} recipe;

static const recipe global_recipes[] = {
    {"emb.weight", ~0u, "VD", NORMAL, 0, 0.5f},
    {"blocks.0.ln0.weight", ~0u, "D", NORMAL, 1, 0.2f},
    {"blocks.0.ln0.bias", ~0u, "D", NORMAL, 0, 0.1f},
    {"ln_out.weight", ~0u, "D", NORMAL, 1.2f, 0.3f},
    {"ln_out.bias", ~0u, "D", NORMAL, 0, 0.1f},
    {"head.weight", ~0u, "VD", LINEAR, 2, 0},
};

static const recipe block_recipes[] = {
    {"ln1.weight", ~0u, "D", NORMAL, 1, 0.2f},
    {"ln1.bias", ~0u, "D", NORMAL, 0, 0.1f},
    {"ln2.weight", ~0u, "D", NORMAL, 1, 0.2f},
    {"ln2.bias", ~0u, "D", NORMAL, 0, 0.1f},
    {"att.time_mix_k", M45, "11D", UNIFORM, 0, 1},
    {"att.time_mix_v", M45, "11D", UNIFORM, 0, 1},
    {"att.time_mix_r", M45, "11D", UNIFORM, 0, 1},
    {"att.time_mix_g", M51 | M52, "11D", UNIFORM, 0, 1},
    {"att.time_decay", M4, "A", UNIFORM, -6, 1},
    {"att.time_first", M4, "A", UNIFORM, -3, 1},
    {"att.time_decay", M50 | M51, "H", UNIFORM, -6, 0.5f},
    {"att.time_first", M50, "H", UNIFORM, -1.5f, 0.5f},
    {"att.time_faaaa", M51, "H", NORMAL, 0.5f, 0.4f},
    {"att.time_decay", M52, "HN", UNIFORM, -7, 0.5f},
    {"att.time_faaaa", M52 | M6, "HN", NORMAL, 0.5f, 0.4f},
    {"att.time_maa_x", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_w", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_k", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_v", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_r", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_g", M6, "11D", UNIFORM, 0, 1},
    {"att.time_maa_w1", M6, "DM", LOWRANK, 0.5f, 0},
    {"att.time_maa_w2", M6, "5mD", LOWRANK, 0.3f, 0},
    {"att.time_decay", M6, "11A", UNIFORM, -7, 0},
    {"att.time_decay_w1", M6, "Dq", LOWRANK, 0.7f, 0},
    {"att.time_decay_w2", M6, "qA", LOWRANK, 0.5f, 0},
    {"att.x_r", M77, "11D", UNIFORM, 0, 1},
    {"att.x_w", M77, "11D", UNIFORM, 0, 1},
    {"att.x_k", M77, "11D", UNIFORM, 0, 1},
    {"att.x_v", M77, "11D", UNIFORM, 0, 1},
    {"att.x_a", M77, "11D", UNIFORM, 0, 1},
    {"att.x_g", M77, "11D", UNIFORM, 0, 1},
    {"att.w0", M77, "11A", UNIFORM, -8, 2},
    {"att.r_k", M77, "HN", NORMAL, 0, 0.15f},
    {"att.w1", M77, "Dw", LOWRANK, 0.8f, 0},
    {"att.w2", M77, "wA", LOWRANK, 0.7f, 0},
    {"att.a1", M77, "Da", LOWRANK, 0.6f, 0},
    {"att.a2", M77, "aA", LOWRANK, 0.8f, 0},
    {"att.a0", M77, "11A", NORMAL, -0.2f, 0.4f},
    {"att.g1", M77, "Dg", LOWRANK, 1, 0},
    {"att.g2", M77, "gA", LOWRANK, 1.5f, 0},
    {"att.v1", M77, "Dv", LOWRANK, 0.6f, 0},
    {"att.v2", M77, "vA", LOWRANK, 0.8f, 0},
    {"att.v0", M77, "11A", NORMAL, 0.7f, 0.35f},
    {"att.k_k", M77, "11A", NORMAL, 0.7f, 0.2f},
    {"att.k_a", M77, "11A", NORMAL, 1, 0.2f},
    {"att.receptance.weight", ~0u, "AD", LINEAR, 0.8f, 0},
    {"att.key.weight", ~0u, "AD", LINEAR, 0.8f, 0},
    {"att.value.weight", ~0u, "AD", LINEAR, 1, 0},
    {"att.output.weight", ~0u, "DA", LINEAR, 0.8f, 0},
    {"att.gate.weight", M51 | M52 | M6, "AD", LINEAR, 1, 0},
    {"att.ln_x.weight", MX, "A", NORMAL, 1, 0.25f},
    {"att.ln_x.bias", MX, "A", NORMAL, 0, 0.1f},
    {"ffn.time_mix_k", M45, "11D", UNIFORM, 0, 1},
    {"ffn.time_mix_r", M45, "11D", UNIFORM, 0, 1},
    {"ffn.time_maa_k", M6, "11D", UNIFORM, 0, 1},
    {"ffn.time_maa_r", M6, "11D", UNIFORM, 0, 1},
    {"ffn.x_k", M77, "11D", UNIFORM, 0, 1},
    {"ffn.s_emb.weight", M7A, "VE", NORMAL, 0, 0.09f},
    {"ffn.s_emb_x.weight", M7A, "ED", LINEAR, 0.1f, 0},
    {"ffn.s1", M7A, "DS", LOWRANK, 1, 0},
    {"ffn.s2", M7A, "SF", LOWRANK, 0.7f, 0},
    {"ffn.s0", M7A, "11F", NORMAL, 1, 0.2f},
    {"ffn.key.weight", ~0u, "FD", LINEAR, 1, 0},
    {"ffn.receptance.weight", M456, "DD", LINEAR, 1, 0},
    {"ffn.value.weight", ~0u, "DF", LINEAR, 0.8f, 0},
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

static void *zeros(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size);
    assert_non_null(p);
    return p;
}

static uint64_t dim_of(const test_model *m, char c) {
    const test_shape *s = &m->shape;
    switch (c) {
    case 'D':
        return s->D;
    case 'A':
        return m->A;
    case 'F':
        return s->F;
    case 'V':
        return s->V;
    case 'H':
        return s->H;
    case 'N':
        return s->N;
    case 'm':
    case 'w':
        return s->rank;
    case 'M':
        return 5 * s->rank;
    case 'q':
    case 'g':
        return s->rank + 3;
    case 'a':
        return s->rank + 1;
    case 'v':
        return s->rank + 2;
    case 'E':
        return 1024;
    case 'S':
        return 32;
    case '5':
        return 5;
    default:
        return 1;
    }
}

/* Cuts to what BF16 and F16 both hold: 8 significant bits, no F16 subnormals (also after halving).
 */
static float cut(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    u = (u + 0x8000) & 0xFFFF0000u;
    memcpy(&f, &u, 4);
    return fabsf(f) < 0x1p-10f ? 0 : f;
}

test_tensor *test_model_add(test_model *m, const char *name, uint32_t n_dims,
                            const uint64_t *dims) {
    m->tensors = realloc(m->tensors, (m->n_tensors + 1) * sizeof *m->tensors);
    assert_non_null(m->tensors);
    test_tensor *t = &m->tensors[m->n_tensors++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    t->n_dims = n_dims;
    t->n = 1;
    for (uint32_t i = 0; i < n_dims; i++) t->n *= t->dims[i] = dims[i];
    t->data = zeros(t->n, sizeof(float));
    return t;
}

static void make(test_model *m, const char *prefix, const recipe *r, uint64_t *rng) {
    char name[96];
    uint64_t dims[4];
    uint32_t n_dims = (uint32_t)strlen(r->dims);
    for (uint32_t i = 0; i < n_dims; i++) dims[i] = dim_of(m, r->dims[i]);
    snprintf(name, sizeof name, "%s%s", prefix, r->name);
    test_tensor *t = test_model_add(m, name, n_dims, dims);
    float gain = r->a;
    if (r->kind == LINEAR) gain /= sqrtf((float)dims[n_dims - 1]);
    if (r->kind == LOWRANK) gain /= sqrtf((float)dims[n_dims - 2]);
    for (size_t i = 0; i < t->n; i++)
        t->data[i] = cut(r->kind == NORMAL    ? r->a + r->b * rng_normal(rng)
                         : r->kind == UNIFORM ? r->a + (r->b - r->a) * rng_uniform(rng)
                                              : gain * rng_normal(rng));
}

static unsigned version_bit(const char *version) {
    for (unsigned i = 0; i < COUNT(versions); i++)
        if (!strcmp(versions[i], version)) return 1u << i;
    fail_msg("no version %s", version);
    return 0;
}

static uint32_t or_else(uint32_t value, uint32_t other) {
    return value ? value : other;
}

test_model *test_model_new(const test_shape *shape) {
    test_model *m = zeros(1, sizeof *m);
    test_shape *s = &m->shape;
    *s = *shape;
    unsigned bit = version_bit(s->version);
    s->n_layer = or_else(s->n_layer, 2);
    s->D = or_else(s->D, 32);
    s->N = or_else(s->N, bit == M4 ? 1 : 8);
    s->H = or_else(s->H, s->D / s->N);
    s->F = or_else(s->F, 3 * s->D + 5);
    s->V = or_else(s->V, 256);
    s->rank = or_else(s->rank, 5);
    m->A = s->H * s->N;
    uint64_t rng = s->seed * 0x9E3779B97F4A7C15u + 12345;
    make(m, "", &global_recipes[0], &rng);
    for (uint32_t layer = 0; layer < s->n_layer; layer++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%u.", layer);
        for (size_t i = 0; i < COUNT(block_recipes); i++) {
            const recipe *r = &block_recipes[i];
            bool unused =
                layer == 0 && !s->layer0_v && !strncmp(r->name, "att.v", 5) && strlen(r->name) == 6;
            if ((r->in & bit) && !unused) make(m, prefix, r, &rng);
        }
    }
    for (size_t i = 1; i < COUNT(global_recipes); i++) make(m, "", &global_recipes[i], &rng);
    return m;
}

test_model *test_model_copy(const test_model *m) {
    test_model *c = zeros(1, sizeof *c);
    c->shape = m->shape;
    c->A = m->A;
    c->n_tensors = m->n_tensors;
    c->tensors = zeros(m->n_tensors, sizeof *c->tensors);
    for (size_t i = 0; i < m->n_tensors; i++) { /* dims may be a lie: n counts */
        c->tensors[i] = m->tensors[i];
        c->tensors[i].data = zeros(m->tensors[i].n, sizeof(float));
        memcpy(c->tensors[i].data, m->tensors[i].data, m->tensors[i].n * sizeof(float));
    }
    return c;
}

void test_model_free(test_model *m) {
    if (!m) return;
    for (size_t i = 0; i < m->n_tensors; i++) free(m->tensors[i].data);
    free(m->tensors);
    free(m);
}

test_tensor *test_model_find(const test_model *m, const char *name) {
    for (size_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i].name, name)) return &m->tensors[i];
    return NULL;
}

void test_model_drop(test_model *m, const char *name) {
    test_tensor *t = test_model_find(m, name);
    assert_non_null(t);
    free(t->data);
    memmove(t, t + 1, (size_t)(m->tensors + m->n_tensors - t - 1) * sizeof *t);
    m->n_tensors--;
}

/* ---- changes that formats make to tensors */

static void set_dims(test_tensor *t, uint32_t n, uint64_t a, uint64_t b, uint64_t c) {
    t->n_dims = n;
    t->dims[0] = a;
    t->dims[1] = b;
    t->dims[2] = c;
}

static void swap_last_two(test_tensor *t) {
    if (t->n_dims < 2) return;
    uint64_t rows = t->dims[t->n_dims - 2], cols = t->dims[t->n_dims - 1], size = rows * cols;
    float *turned = zeros(t->n, sizeof(float));
    for (size_t at = 0; at < t->n; at += size)
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < cols; c++)
                turned[at + c * rows + r] = t->data[at + r * cols + c];
    free(t->data);
    t->data = turned;
    t->dims[t->n_dims - 2] = cols;
    t->dims[t->n_dims - 1] = rows;
}

static void squeeze(test_tensor *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->n_dims; i++)
        if (t->dims[i] != 1) t->dims[n++] = t->dims[i];
    t->n_dims = n;
    if (n == 0) set_dims(t, 1, 1, 0, 0);
}

/* "blocks.3.att.w1" -> layer 3, rest "att.w1"; -1 for the others, rest the whole name. */
static int layer_of(const char *name, const char **rest) {
    int layer = -1, n = 0;
    *rest = name;
    if (sscanf(name, "blocks.%d.%n", &layer, &n) != 1 || !n) return -1;
    *rest = name + n;
    return layer;
}

static const char *const lowrank7[] = {"att.w1", "att.w2", "att.a1", "att.a2", "att.v1",
                                       "att.v2", "att.g1", "att.g2", NULL};
static const char *const lowrank6[] = {"att.time_maa_w1", "att.time_maa_w2", "att.time_decay_w1",
                                       "att.time_decay_w2", NULL};

static bool is_one_of(const char *name, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(name, *list)) return true;
    return false;
}

/* Joins vectors of one layer, in the order of `which`, as rows of one tensor put where the first
 * was. */
static void fuse(test_model *m, const char *prefix, const char *stem, const char *which,
                 const char *fused, uint32_t n_dims, const uint64_t *dims) {
    char name[96];
    snprintf(name, sizeof name, "%s%s", prefix, fused);
    test_tensor *f = test_model_add(m, name, n_dims, dims);
    size_t row = f->n / strlen(which);
    float *data = f->data;
    for (size_t i = 0; which[i]; i++) {
        snprintf(name, sizeof name, "%s%s%c", prefix, stem, which[i]);
        test_tensor *t = test_model_find(m, name);
        assert_int_equal(t->n, row);
        memcpy(data + i * row, t->data, row * sizeof(float));
        test_model_drop(m, name);
    }
}

static void drop_layer0_v(test_model *m) {
    static const char *const names[] = {"blocks.0.att.v0", "blocks.0.att.v1", "blocks.0.att.v2"};
    for (size_t i = 0; i < COUNT(names); i++)
        if (test_model_find(m, names[i])) test_model_drop(m, names[i]);
}

static void to_ggmf(test_model *m) {
    const test_shape *s = &m->shape;
    char version = s->version[0];
    drop_layer0_v(m);
    for (uint32_t i = 0; version == '7' && i < s->n_layer; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%u.", i);
        fuse(m, prefix, "att.x_", "rwkvag", "att.x_rwkvag", 3, (uint64_t[]){6, 1, s->D});
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        test_tensor *t = &m->tensors[i];
        const char *rest;
        layer_of(t->name, &rest);
        if (is_one_of(rest, lowrank6) || is_one_of(rest, lowrank7)) swap_last_two(t);
        if (strstr(t->name, ".time_")) squeeze(t);
        bool decay = !strcmp(rest, "att.time_decay"), first = !strcmp(rest, "att.time_first");
        for (size_t j = 0; j < t->n; j++) {
            double x = t->data[j];
            if (decay && version == '4') t->data[j] = (float)-exp(x);
            if (decay && version == '5') t->data[j] = (float)exp(-exp(x));
            if (first && version == '5') t->data[j] = (float)exp(x);
        }
        bool per_head = decay || first || !strcmp(rest, "att.time_faaaa");
        if (per_head && (version == '5' || version == '6')) set_dims(t, 3, s->H, t->n / s->H, 1);
    }
}

typedef struct renaming {
    const char *from, *to;
} renaming;

/* Longest names first where one is the beginning of another. */
static const renaming gguf_names[] = {{"emb.weight", "token_embd.weight"},
                                      {"head.weight", "output.weight"},
                                      {"ln_out.", "output_norm."},
                                      {"ln0.", "token_embd_norm."},
                                      {"ln1.", "attn_norm."},
                                      {"ln2.", "attn_norm_2."},
                                      {"att.ln_x.", "time_mix_ln."},
                                      {"att.time_maa_x", "time_mix_lerp_x.weight"},
                                      {"att.time_maa_w1", "time_mix_w1.weight"},
                                      {"att.time_maa_w2", "time_mix_w2.weight"},
                                      {"att.time_decay_w1", "time_mix_decay_w1.weight"},
                                      {"att.time_decay_w2", "time_mix_decay_w2.weight"},
                                      {"att.time_decay", "time_mix_decay.weight"},
                                      {"att.time_faaaa", "time_mix_first.weight"},
                                      {"ffn.time_maa_k", "channel_mix_lerp_k.weight"},
                                      {"ffn.time_maa_r", "channel_mix_lerp_r.weight"},
                                      {"ffn.x_k", "channel_mix_lerp_k.weight"},
                                      {"att.w0", "time_mix_w0.weight"},
                                      {"att.w1", "time_mix_w1.weight"},
                                      {"att.w2", "time_mix_w2.weight"},
                                      {"att.a0", "time_mix_a0.weight"},
                                      {"att.a1", "time_mix_a1.weight"},
                                      {"att.a2", "time_mix_a2.weight"},
                                      {"att.v0", "time_mix_v0.weight"},
                                      {"att.v1", "time_mix_v1.weight"},
                                      {"att.v2", "time_mix_v2.weight"},
                                      {"att.g1", "time_mix_g1.weight"},
                                      {"att.g2", "time_mix_g2.weight"},
                                      {"att.k_k", "time_mix_k_k.weight"},
                                      {"att.k_a", "time_mix_k_a.weight"},
                                      {"att.r_k", "time_mix_r_k.weight"},
                                      {"att.lerp_fused", "time_mix_lerp_fused.weight"},
                                      {"att.", "time_mix_"},
                                      {"ffn.", "channel_mix_"},
                                      {NULL, NULL}};

static const renaming fla_names[] = {{"emb.weight", "model.embeddings.weight"},
                                     {"head.weight", "lm_head.weight"},
                                     {"ln_out.", "model.norm."},
                                     {"ln0.", "pre_norm."},
                                     {"ln1.", "attn_norm."},
                                     {"ln2.", "ffn_norm."},
                                     {"att.w0", "attn.w_lora.lora.2.bias"},
                                     {"att.w1", "attn.w_lora.lora.0.weight"},
                                     {"att.w2", "attn.w_lora.lora.2.weight"},
                                     {"att.a0", "attn.a_lora.lora.2.bias"},
                                     {"att.a1", "attn.a_lora.lora.0.weight"},
                                     {"att.a2", "attn.a_lora.lora.2.weight"},
                                     {"att.v0", "attn.v_lora.lora.2.bias"},
                                     {"att.v1", "attn.v_lora.lora.0.weight"},
                                     {"att.v2", "attn.v_lora.lora.2.weight"},
                                     {"att.g1", "attn.g_lora.lora.0.weight"},
                                     {"att.g2", "attn.g_lora.lora.2.weight"},
                                     {"att.receptance.", "attn.r_proj."},
                                     {"att.key.", "attn.k_proj."},
                                     {"att.value.", "attn.v_proj."},
                                     {"att.output.", "attn.o_proj."},
                                     {"att.ln_x.", "attn.g_norm."},
                                     {"att.", "attn."},
                                     {NULL, NULL}};

static const renaming web_names[] = {{"att.time_faaaa", "att.time_first"},
                                     {"att.time_maa_", "att.time_mix_"},
                                     {"ffn.time_maa_", "ffn.time_mix_"},
                                     {NULL, NULL}};

/* Replaces the beginning of the part after "blocks.N."; layer_prefix is a format for the layer. */
static void rename_tensor(test_tensor *t, const renaming *list, const char *layer_prefix) {
    const char *rest;
    char name[sizeof t->name];
    int layer = layer_of(t->name, &rest), n = 0;
    if (layer >= 0 && strncmp(rest, "ln0.", 4))
        n = snprintf(name, sizeof name, "%s%d.", layer_prefix, layer);
    else if (layer >= 0 && list != gguf_names)
        n = snprintf(name, sizeof name, "%s0.", layer_prefix);
    for (; list->from; list++)
        if (!strncmp(rest, list->from, strlen(list->from))) break;
    size_t cut_at = list->from ? strlen(list->from) : 0;
    snprintf(name + n, sizeof name - (size_t)n, "%s%s", list->from ? list->to : "", rest + cut_at);
    memcpy(t->name, name, sizeof name);
}

static void to_gguf(test_model *m, uint32_t rescale) {
    const test_shape *s = &m->shape;
    bool v6 = s->version[0] == '6';
    if (!v6) drop_layer0_v(m);
    for (uint32_t i = 0; i < s->n_layer; i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "blocks.%u.", i);
        fuse(m, prefix, v6 ? "att.time_maa_" : "att.x_", v6 ? "wkvrg" : "rwkvag", "att.lerp_fused",
             4, (uint64_t[]){v6 ? 5 : 6, 1, 1, s->D});
    }
    /* The converter fills layer 0's unused v with copies of a. */
    for (char c = '0'; !v6 && c <= '2'; c++) {
        char a[] = "blocks.0.att.a#", v[] = "blocks.0.att.v#";
        a[14] = v[14] = c;
        test_tensor from = *test_model_find(m, a);
        test_tensor *to = test_model_add(m, v, from.n_dims, from.dims);
        memcpy(to->data, from.data, from.n * sizeof(float));
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        test_tensor *t = &m->tensors[i];
        const char *rest;
        int layer = layer_of(t->name, &rest);
        if (is_one_of(rest, lowrank6) || is_one_of(rest, lowrank7)) swap_last_two(t);
        if (rescale && (!strcmp(rest, "att.output.weight") || !strcmp(rest, "ffn.value.weight")))
            for (size_t j = 0; j < t->n; j++)
                t->data[j] = ldexpf(t->data[j], -(layer / (int)rescale));
        if (strcmp(rest, "att.lerp_fused")) squeeze(t);
        if (!strcmp(rest, "att.time_faaaa")) set_dims(t, 2, s->H, s->N, 0);
        if (!strcmp(rest, "att.r_k")) set_dims(t, 1, t->n, 0, 0);
        rename_tensor(t, gguf_names, "blk.");
    }
}

static void to_fla(test_model *m) {
    drop_layer0_v(m);
    for (size_t i = 0; i < m->n_tensors; i++) {
        test_tensor *t = &m->tensors[i];
        const char *rest;
        layer_of(t->name, &rest);
        if (is_one_of(rest, lowrank7)) swap_last_two(t);
        if (strncmp(rest, "att.x_", 6) && strcmp(rest, "ffn.x_k") && t->n_dims == 3) squeeze(t);
        rename_tensor(t, fla_names, "model.layers.");
    }
}

static void to_web(test_model *m) {
    for (size_t i = 0; i < m->n_tensors; i++) {
        test_tensor *t = &m->tensors[i];
        const char *rest;
        layer_of(t->name, &rest);
        if (is_one_of(rest, lowrank6) || is_one_of(rest, lowrank7)) swap_last_two(t);
        rename_tensor(t, web_names, "blocks.");
    }
}

/* ---- bytes */

static void put(rw_buf *b, const void *data, size_t n) {
    assert_true(rw_buf_add(b, data, n));
}
static void put8(rw_buf *b, unsigned v) {
    put(b, &(uint8_t){(uint8_t)v}, 1);
}
static void put16(rw_buf *b, unsigned v) {
    put(b, &(uint16_t){(uint16_t)v}, 2);
}
static void put32(rw_buf *b, uint64_t v) {
    put(b, &(uint32_t){(uint32_t)v}, 4);
}
static void put64(rw_buf *b, uint64_t v) {
    put(b, &v, 8);
}
static void put_text(rw_buf *b, const char *s) {
    put(b, s, strlen(s));
}

static void put_padding(rw_buf *b, size_t alignment) {
    while (b->len % alignment) put8(b, 0);
}

static void put_f32(rw_buf *b, float f) {
    put(b, &f, 4);
}

static size_t put_values(rw_buf *b, const test_tensor *t, rw_type type) {
    size_t begin = b->len;
    for (size_t i = 0; i < t->n; i++) {
        if (type == RW_F32)
            put_f32(b, t->data[i]);
        else
            put16(b, type == RW_F16 ? rw_f32_to_f16(t->data[i]) : rw_f32_to_bf16(t->data[i]));
    }
    return b->len - begin;
}

/* ---- .pth: the pickle that torch.save writes, in its zip or after the legacy preamble */

typedef struct pickle {
    rw_buf *b;
    uint32_t n_memo;
    uint32_t storage_class, rebuild, dict, storage, cpu; /* memo index + 1 once written */
} pickle;

static uint32_t memoize(pickle *p) {
    uint32_t i = p->n_memo++;
    put8(p->b, i < 256 ? 'q' : 'r');
    if (i < 256)
        put8(p->b, i);
    else
        put32(p->b, i);
    return i + 1;
}

static bool recall(pickle *p, uint32_t memo) {
    if (!memo) return false;
    put8(p->b, memo <= 256 ? 'h' : 'j');
    if (memo <= 256)
        put8(p->b, memo - 1);
    else
        put32(p->b, memo - 1);
    return true;
}

static uint32_t pickle_string(pickle *p, const char *s) {
    put8(p->b, 'X');
    put32(p->b, strlen(s));
    put_text(p->b, s);
    return memoize(p);
}

static void pickle_global(pickle *p, uint32_t *memo, const char *module, const char *name) {
    if (recall(p, *memo)) return;
    put8(p->b, 'c');
    put_text(p->b, module);
    put8(p->b, '\n');
    put_text(p->b, name);
    put8(p->b, '\n');
    *memo = memoize(p);
}

static void pickle_int(pickle *p, uint64_t v) {
    if (v > INT32_MAX) { /* LONG1, signed */
        put8(p->b, 0x8a);
        put8(p->b, v > INT64_MAX ? 9 : 8);
        put64(p->b, v);
        if (v > INT64_MAX) put8(p->b, 0);
        return;
    }
    put8(p->b, v < 256 ? 'K' : v < 65536 ? 'M' : 'J');
    if (v < 256)
        put8(p->b, (unsigned)v);
    else if (v < 65536)
        put16(p->b, (unsigned)v);
    else
        put32(p->b, v);
}

static void pickle_tuple(pickle *p, const uint64_t *v, uint32_t n) {
    if (n > 3) put8(p->b, '(');
    for (uint32_t i = 0; i < n; i++) pickle_int(p, v[i]);
    put8(p->b, n == 1 ? 0x85 : n == 2 ? 0x86 : n == 3 ? 0x87 : 't');
    memoize(p);
}

static void pickle_tensor(pickle *p, const test_tensor *t, size_t key, rw_type type, bool legacy) {
    char text[24];
    uint64_t strides[4];
    for (uint64_t i = t->n_dims, step = 1; i-- > 0; step *= t->dims[i]) strides[i] = step;
    pickle_global(p, &p->rebuild, "torch._utils", "_rebuild_tensor_v2");
    put_text(p->b, "((");
    if (!recall(p, p->storage)) p->storage = pickle_string(p, "storage");
    pickle_global(p, &p->storage_class, "torch",
                  type == RW_F32   ? "FloatStorage"
                  : type == RW_F16 ? "HalfStorage"
                                   : "BFloat16Storage");
    snprintf(text, sizeof text, "%zu", key);
    pickle_string(p, text);
    if (!recall(p, p->cpu)) p->cpu = pickle_string(p, "cpu");
    pickle_int(p, t->n);
    if (legacy) put8(p->b, 'N');
    put8(p->b, 't');
    memoize(p);
    put8(p->b, 'Q');
    pickle_int(p, 0);
    pickle_tuple(p, t->dims, t->n_dims);
    pickle_tuple(p, strides, t->n_dims);
    put8(p->b, 0x89);
    pickle_global(p, &p->dict, "collections", "OrderedDict");
    put_text(p->b, ")R");
    memoize(p);
    put8(p->b, 't');
    memoize(p);
    put8(p->b, 'R');
    memoize(p);
}

static void put_pickle(rw_buf *b, const test_model *m, rw_type type, bool legacy) {
    pickle p = {.b = b};
    put_text(b, "\x80\x02}");
    memoize(&p);
    for (size_t i = 0; i < m->n_tensors; i++) {
        if (i % 1000 == 0) put_text(b, i ? "u(" : "(");
        pickle_string(&p, m->tensors[i].name);
        pickle_tensor(&p, &m->tensors[i], i, type, legacy);
    }
    put_text(b, "u.");
}

static void put_pth_legacy(rw_buf *b, const test_model *m, rw_type type) {
    put(b, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
    put(b, "\x80\x02M\xe9\x03.", 6);
    pickle p = {.b = b};
    put(b, "\x80\x02}", 3);
    memoize(&p);
    put8(b, '(');
    pickle_string(&p, "protocol_version");
    pickle_int(&p, 1001);
    pickle_string(&p, "little_endian");
    put8(b, 0x88);
    pickle_string(&p, "type_sizes");
    put8(b, '}');
    memoize(&p);
    put8(b, '(');
    pickle_string(&p, "short");
    pickle_int(&p, 2);
    pickle_string(&p, "int");
    pickle_int(&p, 4);
    pickle_string(&p, "long");
    pickle_int(&p, 4);
    put_text(b, "uu.");
    put_pickle(b, m, type, true);
    p = (pickle){.b = b};
    put_text(b, "\x80\x02]");
    memoize(&p);
    put8(b, '(');
    for (size_t i = 0; i < m->n_tensors; i++) {
        char text[24];
        snprintf(text, sizeof text, "%zu", i);
        pickle_string(&p, text);
    }
    put_text(b, "e.");
    for (size_t i = 0; i < m->n_tensors; i++) {
        put64(b, m->tensors[i].n);
        put_values(b, &m->tensors[i], type);
    }
}

typedef struct zip {
    rw_buf *b, central;
    unsigned n;
} zip;

/* Stored, sizes in a data descriptor, data aligned to 64 by an "FB" extra field: PyTorch's habit.
 */
static void zip_add(zip *z, const char *name, const void *data, size_t n) {
    rw_buf *b = z->b, *c = &z->central;
    uint64_t at = b->len;
    size_t name_len = strlen(name), extra = 64 - (at + 30 + name_len + 4) % 64 + 4;
    uint32_t crc = rw_crc32(0, data, n);
    put_text(b, "PK\3\4");
    put16(b, 0), put16(b, 0x0808), put16(b, 0), put32(b, 0); /* version, flags, method, time */
    put32(b, 0), put32(b, 0), put32(b, 0);                   /* crc, sizes: see the descriptor */
    put16(b, (unsigned)name_len), put16(b, (unsigned)extra);
    put_text(b, name);
    put_text(b, "FB");
    put16(b, (unsigned)extra - 4);
    for (size_t i = 4; i < extra; i++) put8(b, 'Z');
    assert_int_equal(b->len % 64, 0);
    put(b, data, n);
    put_text(b, "PK\7\10");
    put32(b, crc), put32(b, n), put32(b, n);
    put_text(c, "PK\1\2");
    put16(c, 0), put16(c, 0), put16(c, 0x0808), put16(c, 0), put32(c, 0);
    put32(c, crc), put32(c, n), put32(c, n);
    put16(c, (unsigned)name_len), put16(c, 0), put16(c, 0), put16(c, 0), put16(c, 0), put32(c, 0);
    put32(c, at);
    put_text(c, name);
    z->n++;
}

static void zip_end(zip *z) {
    uint64_t at = z->b->len;
    put(z->b, z->central.data, z->central.len);
    put_text(z->b, "PK\5\6");
    put16(z->b, 0), put16(z->b, 0), put16(z->b, z->n), put16(z->b, z->n);
    put32(z->b, z->central.len), put32(z->b, at), put16(z->b, 0);
    rw_buf_free(&z->central);
}

static void put_pth(rw_buf *b, const test_model *m, rw_type type) {
    zip z = {.b = b};
    rw_buf part = {0};
    put_pickle(&part, m, type, false);
    zip_add(&z, "model/data.pkl", part.data, part.len);
    zip_add(&z, "model/byteorder", "little", 6);
    for (size_t i = 0; i < m->n_tensors; i++) {
        char name[40];
        part.len = 0;
        put_values(&part, &m->tensors[i], type);
        snprintf(name, sizeof name, "model/data/%zu", i);
        zip_add(&z, name, part.data, part.len);
    }
    zip_add(&z, "model/version", "3\n", 2);
    zip_end(&z);
    rw_buf_free(&part);
}

rw_buf test_model_pickle(const test_model *m, rw_type type) {
    rw_buf b = {0};
    put_pickle(&b, m, type, false);
    return b;
}

rw_buf test_pth_around(const void *data, size_t n) {
    rw_buf b = {0};
    zip z = {.b = &b};
    zip_add(&z, "model/data.pkl", data, n);
    for (int i = 0; i < 8; i++) {
        char name[24];
        float zeroes[64] = {0};
        snprintf(name, sizeof name, "model/data/%d", i);
        zip_add(&z, name, zeroes, sizeof zeroes);
    }
    zip_end(&z);
    return b;
}

void test_state_seal(uint8_t *blob, size_t n) {
    if (n < 32) return;
    rw_sha256 s;
    rw_sha256_init(&s);
    rw_sha256_add(&s, blob, n - 32);
    rw_sha256_end(&s, blob + n - 32);
}

/* ---- the other containers */

static void put_safetensors(rw_buf *b, const test_model *m, rw_type type) {
    rw_buf json = {0};
    size_t at = 0, size = type == RW_F32 ? 4 : 2;
    char text[200];
    put_text(&json, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < m->n_tensors; i++) {
        const test_tensor *t = &m->tensors[i];
        snprintf(text, sizeof text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name,
                 rw_type_name(type));
        put_text(&json, text);
        for (uint32_t d = 0; d < t->n_dims; d++) {
            snprintf(text, sizeof text, "%s%llu", d ? "," : "", (unsigned long long)t->dims[d]);
            put_text(&json, text);
        }
        snprintf(text, sizeof text, "],\"data_offsets\":[%zu,%zu]}", at, at + t->n * size);
        put_text(&json, text);
        at += t->n * size;
    }
    put_text(&json, "}");
    while (json.len % 8) put8(&json, ' ');
    put64(b, json.len);
    put(b, json.data, json.len);
    rw_buf_free(&json);
    for (size_t i = 0; i < m->n_tensors; i++) put_values(b, &m->tensors[i], type);
}

static void put_gguf_string(rw_buf *b, const char *s) {
    put64(b, strlen(s));
    put_text(b, s);
}

static void put_gguf_u32(rw_buf *b, uint64_t *n, const char *arch, const char *key, uint64_t v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    put_gguf_string(b, name);
    put32(b, 4);
    put32(b, v);
    ++*n;
}

static void put_gguf_vocab(rw_buf *b, uint64_t *n, uint32_t V) {
    char text[24];
    put_gguf_string(b, "tokenizer.ggml.model");
    put32(b, 8);
    put_gguf_string(b, "rwkv");
    put_gguf_string(b, "tokenizer.ggml.tokens");
    put32(b, 9), put32(b, 8), put64(b, V);
    for (uint32_t i = 0; i < V; i++) {
        uint32_t byte = i - 1;
        if (i == 0)
            strcpy(text, "<s>");
        else if (byte > 255)
            snprintf(text, sizeof text, "[PAD%u]", i);
        else if (byte == '\\' || byte == '\'')
            snprintf(text, sizeof text, "\\%c", (char)byte);
        else if (byte == '\n')
            strcpy(text, "\\n");
        else if (byte == '\t')
            strcpy(text, "\\t");
        else if (byte == '\r')
            strcpy(text, "\\r");
        else
            snprintf(text, sizeof text, byte >= 0x20 && byte < 0x7F ? "%c" : "\\x%02x", byte);
        put_gguf_string(b, text);
    }
    put_gguf_string(b, "tokenizer.ggml.token_type");
    put32(b, 9), put32(b, 5), put64(b, V);
    for (uint32_t i = 0; i < V; i++) put32(b, i == 0 ? 3 : i > 256 ? 5 : 1);
    *n += 3;
    put_gguf_u32(b, n, "tokenizer.ggml", "bos_token_id", 0);
    put_gguf_u32(b, n, "tokenizer.ggml", "eos_token_id", 0);
}

static rw_type gguf_type(const test_tensor *t, rw_type type) {
    static const char *const exact[] = {"time_mix_first",    "time_mix_w1",       "time_mix_w2",
                                        "time_mix_decay_w1", "time_mix_decay_w2", "lerp_fused"};
    for (size_t i = 0; i < COUNT(exact); i++)
        if (strstr(t->name, exact[i])) return RW_F32;
    return t->n_dims == 1 ? RW_F32 : type;
}

static void put_gguf(rw_buf *b, const test_model *m, rw_type type, uint32_t rescale, bool vocab) {
    const test_shape *s = &m->shape;
    bool v6 = s->version[0] == '6';
    const char *arch = v6 ? "rwkv6" : "rwkv7";
    rw_buf kv = {0};
    uint64_t n = 0, offset = 0;
    put_gguf_string(&kv, "general.architecture");
    put32(&kv, 8);
    put_gguf_string(&kv, arch);
    put_gguf_string(&kv, "general.name");
    put32(&kv, 8);
    put_gguf_string(&kv, "test");
    char name[64];
    snprintf(name, sizeof name, "%s.attention.layer_norm_epsilon", arch);
    put_gguf_string(&kv, name);
    put32(&kv, 6);
    put_f32(&kv, 1e-5f);
    n += 3;
    put_gguf_u32(&kv, &n, arch, "context_length", 1048576);
    put_gguf_u32(&kv, &n, arch, "embedding_length", s->D);
    put_gguf_u32(&kv, &n, arch, "block_count", s->n_layer);
    put_gguf_u32(&kv, &n, arch, "feed_forward_length", s->F);
    put_gguf_u32(&kv, &n, arch, "wkv.head_size", s->N);
    put_gguf_u32(&kv, &n, arch, "attention.head_count", 0);
    if (v6) {
        put_gguf_u32(&kv, &n, arch, "rescale_every_n_layers", rescale);
        put_gguf_u32(&kv, &n, arch, "time_mix_extra_dim", 32);
        put_gguf_u32(&kv, &n, arch, "time_decay_extra_dim", 64);
    } else {
        put_gguf_u32(&kv, &n, arch, "attention.decay_lora_rank", s->rank);
        put_gguf_u32(&kv, &n, arch, "attention.iclr_lora_rank", s->rank + 1);
        put_gguf_u32(&kv, &n, arch, "attention.value_residual_mix_lora_rank", s->rank + 2);
        put_gguf_u32(&kv, &n, arch, "attention.gate_lora_rank", s->rank + 3);
    }
    put_gguf_u32(&kv, &n, "general", "file_type", type == RW_F32 ? 0 : type == RW_F16 ? 1 : 32);
    put_gguf_u32(&kv, &n, "general", "quantization_version", 2);
    if (vocab) put_gguf_vocab(&kv, &n, s->V);
    put_text(b, "GGUF");
    put32(b, 3);
    put64(b, m->n_tensors);
    put64(b, n);
    put(b, kv.data, kv.len);
    rw_buf_free(&kv);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const test_tensor *t = &m->tensors[i];
        rw_type ty = gguf_type(t, type);
        put_gguf_string(b, t->name);
        put32(b, t->n_dims);
        for (uint32_t d = t->n_dims; d-- > 0;) put64(b, t->dims[d]);
        put32(b, ty);
        put64(b, offset);
        offset += (t->n * (ty == RW_F32 ? 4u : 2u) + 31) / 32 * 32;
    }
    for (size_t i = 0; i < m->n_tensors; i++) {
        put_padding(b, 32);
        put_values(b, &m->tensors[i], gguf_type(&m->tensors[i], type));
    }
    put_padding(b, 32);
}

static void put_ggmf(rw_buf *b, const test_model *m, rw_type type) {
    static const char *const exact[] = {".time_", ".k_k", ".k_a", ".r_k", ".x_rwkvag",
                                        ".x_k",   ".w0",  ".a0",  ".v0"};
    const test_shape *s = &m->shape;
    uint32_t head[] = {0x67676D66, 101, s->V, s->D, s->n_layer, type};
    put(b, head, sizeof head);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const test_tensor *t = &m->tensors[i];
        rw_type ty = t->n_dims == 1 ? RW_F32 : type;
        for (size_t j = 0; j < COUNT(exact); j++)
            if (strstr(t->name, exact[j])) ty = RW_F32;
        put32(b, t->n_dims), put32(b, strlen(t->name)), put32(b, ty);
        for (uint32_t d = t->n_dims; d-- > 0;) put32(b, t->dims[d]);
        put_text(b, t->name);
        put_values(b, t, ty);
    }
}

static void put_fla_config(const test_model *m, const char *path) {
    const test_shape *s = &m->shape;
    char text[1024], *slash;
    snprintf(text, sizeof text,
             "{\"model_type\": \"rwkv7\", \"architectures\": [\"RWKV7ForCausalLM\"], "
             "\"hidden_size\": %u, \"num_hidden_layers\": %u, \"head_dim\": %u, "
             "\"intermediate_size\": %u, \"vocab_size\": %u, \"norm_eps\": 1e-05, "
             "\"decay_low_rank_dim\": %u, \"a_low_rank_dim\": %u, \"v_low_rank_dim\": %u, "
             "\"gate_low_rank_dim\": %u}\n",
             s->D, s->n_layer, s->N, s->F, s->V, s->rank, s->rank + 1, s->rank + 2, s->rank + 3);
    char config[512];
    snprintf(config, sizeof config, "%s", path);
    slash = strrchr(config, '/');
    assert_non_null(slash);
    snprintf(slash, sizeof config - (size_t)(slash - config), "/config.json");
    spill(config, text, strlen(text));
}

bool test_format_has(test_format f, const char *version) {
    switch (f) {
    case AS_FLA:
        return !strcmp(version, "7");
    case AS_WEB_RWKV:
        return !strcmp(version, "6") || !strcmp(version, "7");
    case AS_GGUF:
    case AS_GGUF_VOCAB:
        return !strcmp(version, "6") || !strcmp(version, "7");
    case AS_GGMF:
        return strcmp(version, "5.1") && strcmp(version, "7a");
    default:
        return true;
    }
}

rw_buf test_model_bytes(const test_model *m, test_format f, rw_type type) {
    test_model *c = test_model_copy(m);
    rw_buf b = {0};
    switch (f) {
    case AS_PTH:
        put_pth(&b, c, type);
        break;
    case AS_PTH_LEGACY:
        put_pth_legacy(&b, c, type);
        break;
    case AS_SAFETENSORS:
        put_safetensors(&b, c, type);
        break;
    case AS_FLA:
        to_fla(c), put_safetensors(&b, c, type);
        break;
    case AS_WEB_RWKV:
        to_web(c), put_safetensors(&b, c, RW_F16);
        break;
    case AS_GGUF:
        to_gguf(c, 0), put_gguf(&b, c, type, 0, false);
        break;
    case AS_GGUF_VOCAB:
        to_gguf(c, 0), put_gguf(&b, c, type, 0, true);
        break;
    default:
        to_ggmf(c), put_ggmf(&b, c, type);
        break;
    }
    test_model_free(c);
    return b;
}

rw_buf test_model_gguf_rescaled(const test_model *m, rw_type type, uint32_t rescale) {
    test_model *c = test_model_copy(m);
    rw_buf b = {0};
    to_gguf(c, rescale);
    put_gguf(&b, c, type, rescale, false);
    test_model_free(c);
    return b;
}

void test_model_save(const test_model *m, test_format f, rw_type type, const char *path) {
    rw_buf b = test_model_bytes(m, f, type);
    spill(path, b.data, b.len);
    if (f == AS_FLA) put_fla_config(m, path);
    rw_buf_free(&b);
}

const char *test_model_file(const test_shape *shape, test_format f, rw_type type) {
    static int n;
    static char paths[4][512];
    static const char *const ends[] = {"pth", "pth",  "safetensors", "safetensors",
                                       "st",  "gguf", "gguf",        "bin"};
    char name[64], *path = paths[n % 4];
    snprintf(name, sizeof name, f == AS_FLA ? "model-%d" : "model-%d.%s", n++, ends[f]);
    snprintf(path, sizeof paths[0], "%s", temp_path(name));
    if (f == AS_FLA) { /* a folder, for its config.json */
        assert_int_equal(mkdir(path, 0700), 0);
        strcat(path, "/model.safetensors");
    }
    test_model *m = test_model_new(shape);
    test_model_save(m, f, type, path);
    test_model_free(m);
    return path;
}
