/* support_reference.c - see support_reference.h. Written to be checked against the formulas by eye;
 * every function works on one token. p is the previous token's vector in token shift. */
#include "support_reference.h"
#include <math.h>

enum { MEMORY = 1 << 20 }; /* doubles of scratch for one token */

static double *take(reference *r, size_t n) {
    assert_true(r->used + n <= MEMORY);
    double *p = r->memory + r->used;
    r->used += n;
    return p;
}

static const test_tensor *weight(const reference *r, int layer, const char *name) {
    char full[96];
    if (layer < 0)
        snprintf(full, sizeof full, "%s", name);
    else
        snprintf(full, sizeof full, "blocks.%d.%s", layer, name);
    const test_tensor *t = test_model_find(r->m, full);
    if (!t) fail_msg("the reference misses %s", full);
    return t;
}

static const float *vector(const reference *r, int layer, const char *name) {
    return weight(r, layer, name)->data;
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double silu(double x) {
    return x * sigmoid(x);
}
static double identity(double x) {
    return x;
}

/* y = W x, W (out, in) */
static double *linear(reference *r, int layer, const char *name, const double *x) {
    const test_tensor *w = weight(r, layer, name);
    size_t rows = w->dims[0], cols = w->dims[1];
    double *y = take(r, rows);
    for (size_t i = 0; i < rows; i++) {
        y[i] = 0;
        for (size_t j = 0; j < cols; j++) y[i] += (double)w->data[i * cols + j] * x[j];
    }
    return y;
}

/* y = x M, M (in, out); index chooses a slice of a three-dimensional M */
static double *times(reference *r, int layer, const char *name, size_t index, const double *x) {
    const test_tensor *m = weight(r, layer, name);
    size_t in = m->dims[m->n_dims - 2], out = m->dims[m->n_dims - 1];
    const float *data = m->data + index * in * out;
    double *y = take(r, out);
    memset(y, 0, out * sizeof *y);
    for (size_t i = 0; i < in; i++)
        for (size_t j = 0; j < out; j++) y[j] += x[i] * (double)data[i * out + j];
    return y;
}

static double *low_rank(reference *r, int layer, const char *first, const char *second,
                        const double *x, double (*inner)(double)) {
    double *z = times(r, layer, first, 0, x);
    size_t rank = weight(r, layer, first)->dims[1];
    for (size_t i = 0; i < rank; i++) z[i] = inner(z[i]);
    return times(r, layer, second, 0, z);
}

/* Normalises each of `groups` parts of x on its own. */
static double *norm(reference *r, int layer, const char *name, const double *x, size_t n,
                    size_t groups, double eps) {
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    const float *w = vector(r, layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    const float *b = vector(r, layer, full);
    double *y = take(r, n);
    size_t size = n / groups;
    for (size_t g = 0; g < n; g += size) {
        double mean = 0, var = 0;
        for (size_t i = g; i < g + size; i++) mean += x[i] / (double)size;
        for (size_t i = g; i < g + size; i++) var += (x[i] - mean) * (x[i] - mean) / (double)size;
        for (size_t i = g; i < g + size; i++)
            y[i] = (x[i] - mean) / sqrt(var + eps) * (double)w[i] + (double)b[i];
    }
    return y;
}

/* v4, v5: m is the share of the current token. */
static double *mix_current(reference *r, int layer, const char *name, const double *x,
                           const double *p) {
    const float *m = vector(r, layer, name);
    double *y = take(r, r->m->shape.D);
    for (size_t i = 0; i < r->m->shape.D; i++)
        y[i] = x[i] * (double)m[i] + p[i] * (1 - (double)m[i]);
    return y;
}

/* v6, v7: m is the share of the previous token; more (may be NULL) is added to it. */
static double *mix_previous(reference *r, int layer, const char *name, const double *more,
                            const double *x, const double *p) {
    const float *m = vector(r, layer, name);
    double *y = take(r, r->m->shape.D);
    for (size_t i = 0; i < r->m->shape.D; i++)
        y[i] = x[i] + (p[i] - x[i]) * ((double)m[i] + (more ? more[i] : 0));
    return y;
}

static double *time_mix_4(reference *ref, int layer, const double *x, const double *p,
                          double *state) {
    size_t A = ref->m->A;
    double *r = linear(ref, layer, "att.receptance.weight",
                       mix_current(ref, layer, "att.time_mix_r", x, p));
    double *k =
        linear(ref, layer, "att.key.weight", mix_current(ref, layer, "att.time_mix_k", x, p));
    double *v =
        linear(ref, layer, "att.value.weight", mix_current(ref, layer, "att.time_mix_v", x, p));
    const float *first = vector(ref, layer, "att.time_first"),
                *decay = vector(ref, layer, "att.time_decay");
    double *aa = state, *bb = state + A, *pp = state + 2 * A, *y = take(ref, A);
    for (size_t i = 0; i < A; i++) {
        double u = first[i], w = -exp((double)decay[i]);
        double q = fmax(pp[i], u + k[i]), e1 = exp(pp[i] - q), e2 = exp(u + k[i] - q);
        y[i] = sigmoid(r[i]) * (e1 * aa[i] + e2 * v[i]) / (e1 * bb[i] + e2);
        q = fmax(pp[i] + w, k[i]);
        e1 = exp(pp[i] + w - q);
        e2 = exp(k[i] - q);
        aa[i] = e1 * aa[i] + e2 * v[i];
        bb[i] = e1 * bb[i] + e2;
        pp[i] = q;
    }
    return linear(ref, layer, "att.output.weight", y);
}

/* v5, v6. S[head][key][value]; y reads S before the update. u, w: [A] */
static double *wkv(reference *ref, const double *r, const double *k, const double *v,
                   const double *u, const double *w, double *S) {
    size_t H = ref->m->shape.H, N = ref->m->shape.N;
    double *y = take(ref, H * N);
    memset(y, 0, H * N * sizeof *y);
    for (size_t h = 0; h < H; h++, S += N * N)
        for (size_t i = h * N; i < (h + 1) * N; i++)
            for (size_t j = h * N; j < (h + 1) * N; j++) {
                double *s = &S[(i - h * N) * N + j - h * N], a = k[i] * v[j];
                y[j] += r[i] * (*s + u[i] * a);
                *s = w[i] * *s + a;
            }
    return y;
}

static double *time_mix_5(reference *ref, int layer, const double *x, const double *p, double *S) {
    size_t A = ref->m->A, H = ref->m->shape.H, N = ref->m->shape.N;
    bool gated = strcmp(ref->m->shape.version, "5.0") != 0;
    double *r = linear(ref, layer, "att.receptance.weight",
                       mix_current(ref, layer, "att.time_mix_r", x, p));
    double *k =
        linear(ref, layer, "att.key.weight", mix_current(ref, layer, "att.time_mix_k", x, p));
    double *v =
        linear(ref, layer, "att.value.weight", mix_current(ref, layer, "att.time_mix_v", x, p));
    const test_tensor *decay = weight(ref, layer, "att.time_decay");
    char name[48];
    snprintf(name, sizeof name, "blocks.%d.att.time_first", layer);
    bool logarithm = test_model_find(ref->m, name) != NULL; /* the name decides, not the version */
    const test_tensor *bonus = weight(ref, layer, logarithm ? "att.time_first" : "att.time_faaaa");
    double *u = take(ref, A), *w = take(ref, A);
    for (size_t i = 0; i < A; i++) {
        double b = bonus->data[bonus->n == H ? i / N : i];
        u[i] = logarithm ? exp(b) : b;
        w[i] = exp(-exp((double)decay->data[decay->n == H ? i / N : i]));
    }
    double *y = norm(ref, layer, "att.ln_x", wkv(ref, r, k, v, u, w, S), A, H, ref->gn_eps);
    if (gated) {
        double *g =
            linear(ref, layer, "att.gate.weight", mix_current(ref, layer, "att.time_mix_g", x, p));
        for (size_t i = 0; i < A; i++) y[i] *= silu(g[i]);
    }
    return linear(ref, layer, "att.output.weight", y);
}

static double *time_mix_6(reference *ref, int layer, const double *x, const double *p, double *S) {
    static const char *const names[] = {"att.time_maa_w", "att.time_maa_k", "att.time_maa_v",
                                        "att.time_maa_r", "att.time_maa_g"};
    size_t A = ref->m->A, rank = ref->m->shape.rank;
    double *z = times(ref, layer, "att.time_maa_w1", 0,
                      mix_previous(ref, layer, "att.time_maa_x", NULL, x, p));
    double *mixed[5]; /* w k v r g */
    for (size_t i = 0; i < 5 * rank; i++) z[i] = tanh(z[i]);
    for (size_t c = 0; c < 5; c++)
        mixed[c] = mix_previous(ref, layer, names[c],
                                times(ref, layer, "att.time_maa_w2", c, z + c * rank), x, p);
    double *k = linear(ref, layer, "att.key.weight", mixed[1]);
    double *v = linear(ref, layer, "att.value.weight", mixed[2]);
    double *r = linear(ref, layer, "att.receptance.weight", mixed[3]);
    double *g = linear(ref, layer, "att.gate.weight", mixed[4]);
    double *w = low_rank(ref, layer, "att.time_decay_w1", "att.time_decay_w2", mixed[0], tanh);
    const float *decay = vector(ref, layer, "att.time_decay"),
                *bonus = vector(ref, layer, "att.time_faaaa");
    double *u = take(ref, A);
    for (size_t i = 0; i < A; i++) {
        w[i] = exp(-exp((double)decay[i] + w[i]));
        u[i] = bonus[i];
    }
    double *y =
        norm(ref, layer, "att.ln_x", wkv(ref, r, k, v, u, w, S), A, ref->m->shape.H, ref->gn_eps);
    for (size_t i = 0; i < A; i++) y[i] *= silu(g[i]);
    return linear(ref, layer, "att.output.weight", y);
}

/* S[head][value][key]; y reads S after the update. kappa is normalised here, per head. */
static double *wkv7(reference *ref, const double *r, const double *w, const double *k,
                    const double *v, double *kappa, const double *a, double *S) {
    size_t H = ref->m->shape.H, N = ref->m->shape.N;
    double *y = take(ref, H * N);
    for (size_t h = 0; h < H; h++) {
        double length = 0, *key = kappa + h * N;
        for (size_t j = 0; j < N; j++) length += key[j] * key[j];
        for (size_t j = 0; j < N; j++) key[j] /= fmax(sqrt(length), 1e-12);
        for (size_t i = 0; i < N; i++, S += N) {
            double s = 0, sum = 0;
            for (size_t j = 0; j < N; j++) s += S[j] * key[j];
            for (size_t j = 0; j < N; j++) {
                size_t c = h * N + j;
                S[j] = S[j] * w[c] - s * key[j] * a[c] + v[h * N + i] * k[c];
                sum += S[j] * r[c];
            }
            y[h * N + i] = sum;
        }
    }
    return y;
}

static double *time_mix_7(reference *ref, int layer, const double *x, const double *p, double *S,
                          double *v_first) {
    size_t A = ref->m->A, H = ref->m->shape.H, N = ref->m->shape.N;
    double *r = linear(ref, layer, "att.receptance.weight",
                       mix_previous(ref, layer, "att.x_r", NULL, x, p));
    double *k =
        linear(ref, layer, "att.key.weight", mix_previous(ref, layer, "att.x_k", NULL, x, p));
    double *xv = mix_previous(ref, layer, "att.x_v", NULL, x, p);
    double *v = linear(ref, layer, "att.value.weight", xv);
    double *w = low_rank(ref, layer, "att.w1", "att.w2",
                         mix_previous(ref, layer, "att.x_w", NULL, x, p), tanh);
    double *a = low_rank(ref, layer, "att.a1", "att.a2",
                         mix_previous(ref, layer, "att.x_a", NULL, x, p), identity);
    double *g = low_rank(ref, layer, "att.g1", "att.g2",
                         mix_previous(ref, layer, "att.x_g", NULL, x, p), sigmoid);
    const float *w0 = vector(ref, layer, "att.w0"), *a0 = vector(ref, layer, "att.a0");
    const float *k_k = vector(ref, layer, "att.k_k"), *k_a = vector(ref, layer, "att.k_a");
    const float *r_k = vector(ref, layer, "att.r_k");
    double *kappa = take(ref, A);
    for (size_t i = 0; i < A; i++) {
        w[i] = exp(-exp(-0.5) * sigmoid((double)w0[i] + w[i]));
        a[i] = sigmoid((double)a0[i] + a[i]);
        kappa[i] = k[i] * (double)k_k[i];
        k[i] *= 1 + (a[i] - 1) * (double)k_a[i];
    }
    if (layer == 0) {
        memcpy(v_first, v, A * sizeof *v);
    } else {
        double *share = low_rank(ref, layer, "att.v1", "att.v2", xv, identity);
        const float *v0 = vector(ref, layer, "att.v0");
        for (size_t i = 0; i < A; i++)
            v[i] += (v_first[i] - v[i]) * sigmoid((double)v0[i] + share[i]);
    }
    double *y = norm(ref, layer, "att.ln_x", wkv7(ref, r, w, k, v, kappa, a, S), A, H, ref->gn_eps);
    for (size_t h = 0; h < A; h += N) {
        double bonus = 0;
        for (size_t j = h; j < h + N; j++) bonus += r[j] * k[j] * (double)r_k[j];
        for (size_t j = h; j < h + N; j++) y[j] = (y[j] + bonus * v[j]) * g[j];
    }
    return linear(ref, layer, "att.output.weight", y);
}

static double *embed(reference *ref, int32_t token) {
    size_t D = ref->m->shape.D;
    const float *row = vector(ref, -1, "emb.weight") + (size_t)token * D;
    double *e = take(ref, D);
    for (size_t i = 0; i < D; i++) e[i] = row[i];
    return norm(ref, -1, "blocks.0.ln0", e, D, 1, 1e-5);
}

/* v7a: k is multiplied by ((x s1) M) s2 + s0, M the token's 32x32 matrix. */
static void deep_embed(reference *ref, int layer, const double *x, int32_t token, double *k) {
    const float *row = vector(ref, layer, "ffn.s_emb.weight") + (size_t)token * 1024;
    double *M = linear(ref, layer, "ffn.s_emb_x.weight", embed(ref, token));
    double *z = times(ref, layer, "ffn.s1", 0, x), *zM = take(ref, 32);
    for (size_t i = 0; i < 1024; i++) M[i] += (double)row[i];
    for (size_t j = 0; j < 32; j++) {
        zM[j] = 0;
        for (size_t i = 0; i < 32; i++) zM[j] += z[i] * M[i * 32 + j];
    }
    double *scale = times(ref, layer, "ffn.s2", 0, zM);
    const float *s0 = vector(ref, layer, "ffn.s0");
    for (size_t i = 0; i < ref->m->shape.F; i++) k[i] *= scale[i] + (double)s0[i];
}

static double *channel_mix(reference *ref, int layer, const double *x, const double *p,
                           int32_t token) {
    char version = ref->m->shape.version[0];
    double *xk = version == '7'   ? mix_previous(ref, layer, "ffn.x_k", NULL, x, p)
                 : version == '6' ? mix_previous(ref, layer, "ffn.time_maa_k", NULL, x, p)
                                  : mix_current(ref, layer, "ffn.time_mix_k", x, p);
    double *k = linear(ref, layer, "ffn.key.weight", xk);
    for (size_t i = 0; i < ref->m->shape.F; i++) k[i] = k[i] > 0 ? k[i] * k[i] : 0;
    if (!strcmp(ref->m->shape.version, "7a")) deep_embed(ref, layer, x, token, k);
    double *out = linear(ref, layer, "ffn.value.weight", k);
    if (version == '7') return out;
    double *xr = version == '6' ? mix_previous(ref, layer, "ffn.time_maa_r", NULL, x, p)
                                : mix_current(ref, layer, "ffn.time_mix_r", x, p);
    double *r = linear(ref, layer, "ffn.receptance.weight", xr);
    for (size_t i = 0; i < ref->m->shape.D; i++) out[i] *= sigmoid(r[i]);
    return out;
}

void reference_eval(reference *ref, int32_t token) {
    const test_shape *s = &ref->m->shape;
    size_t D = s->D, layer_state = ref->n_state / s->n_layer;
    ref->used = 0;
    double *x = embed(ref, token), *v_first = take(ref, ref->m->A);
    size_t mark = ref->used;
    for (int layer = 0; layer < (int)s->n_layer; layer++, ref->used = mark) {
        double *ffn_x = ref->state + (size_t)layer * layer_state, *att_x = ffn_x + D,
               *own = att_x + D;
        double *n = norm(ref, layer, "ln1", x, D, 1, 1e-5);
        double *out = s->version[0] == '4'   ? time_mix_4(ref, layer, n, att_x, own)
                      : s->version[0] == '5' ? time_mix_5(ref, layer, n, att_x, own)
                      : s->version[0] == '6' ? time_mix_6(ref, layer, n, att_x, own)
                                             : time_mix_7(ref, layer, n, att_x, own, v_first);
        memcpy(att_x, n, D * sizeof *n);
        for (size_t i = 0; i < D; i++) x[i] += out[i];
        n = norm(ref, layer, "ln2", x, D, 1, 1e-5);
        out = channel_mix(ref, layer, n, ffn_x, token);
        memcpy(ffn_x, n, D * sizeof *n);
        for (size_t i = 0; i < D; i++) x[i] += out[i];
    }
    double *logits = linear(ref, -1, "head.weight", norm(ref, -1, "ln_out", x, D, 1, 1e-5));
    memcpy(ref->logits, logits, s->V * sizeof *logits);
}

static double *doubles(size_t n) {
    double *p = calloc(n, sizeof *p);
    assert_non_null(p);
    return p;
}

reference *reference_new(const test_model *m) {
    reference *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->m = m;
    r->gn_eps = 64e-5;
    size_t own = m->shape.version[0] == '4' ? 3 * m->A : (size_t)m->A * m->shape.N;
    r->n_state = m->shape.n_layer * (2 * m->shape.D + own);
    r->state = doubles(r->n_state);
    r->logits = doubles(m->shape.V);
    r->memory = doubles(MEMORY);
    reference_reset(r);
    return r;
}

void reference_free(reference *r) {
    if (!r) return;
    free(r->state);
    free(r->logits);
    free(r->memory);
    free(r);
}

void reference_reset(reference *r) {
    memset(r->state, 0, r->n_state * sizeof *r->state);
    if (r->m->shape.version[0] != '4') return;
    size_t D = r->m->shape.D, A = r->m->A;
    for (size_t layer = 0; layer < r->m->shape.n_layer; layer++)
        for (size_t i = 0; i < A; i++)
            r->state[layer * (2 * D + 3 * A) + 2 * D + 2 * A + i] =
                -1e30; /* pp: nothing seen yet */
}

double reference_max_abs(const reference *r, const float *logits) {
    double worst = 0;
    for (size_t i = 0; i < r->m->shape.V; i++) {
        double d = fabs(r->logits[i] - (double)logits[i]);
        if (!(d <= worst)) worst = d; /* NaN stays */
    }
    return worst;
}

double reference_kl(const reference *r, const float *logits) {
    size_t V = r->m->shape.V;
    double a = r->logits[reference_top(r)], b = logits[0], sum_a = 0, sum_b = 0, kl = 0;
    for (size_t i = 1; i < V; i++) b = logits[i] > b ? (double)logits[i] : b;
    for (size_t i = 0; i < V; i++)
        sum_a += exp(r->logits[i] - a), sum_b += exp((double)logits[i] - b);
    for (size_t i = 0; i < V; i++) {
        double log_p = r->logits[i] - a - log(sum_a), log_q = (double)logits[i] - b - log(sum_b);
        kl += exp(log_p) * (log_p - log_q);
    }
    return kl;
}

double reference_state_error(const reference *r, const float *state) {
    double worst = 0;
    for (size_t i = 0; i < r->n_state; i++) {
        double d = fabs(r->state[i] - (double)state[i]) / fmax(1, fabs(r->state[i]));
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

int32_t reference_top(const reference *r) {
    int32_t top = 0;
    for (int32_t i = 1; i < (int32_t)r->m->shape.V; i++)
        if (r->logits[i] > r->logits[top]) top = i;
    return top;
}

double reference_margin(const reference *r) {
    int32_t top = reference_top(r);
    double second = -INFINITY;
    for (int32_t i = 0; i < (int32_t)r->m->shape.V; i++)
        if (i != top) second = fmax(second, r->logits[i]);
    return r->logits[top] - second;
}
