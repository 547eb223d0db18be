/* sampler.c - draws the next token from the logits.
 *
 * Reference order (the pip package's): bias and penalties, softmax, top-p, top-k, [min-p, typical], power
 * 1/T, draw. Temperature order divides the logits by T first and has no power at the end; exempt from
 * counting are then all tokens of digits and blanks, and not only those that happen to be a part of
 * " \t0123456789". Greedy (T = 0 or top-p = 0) takes the best logit, the lowest id among equals.
 *
 * Candidates that no truncation can keep are dropped before anything is ordered: with top-p P, tokens with
 * p < (1 - P) / n together weigh less than 1 - P. The rest is a heap from which tokens are taken in falling
 * order until the truncations are content.
 *
 * Random numbers: xoshiro256** seeded with splitmix64. The same seed and logits give the same tokens on
 * every platform: exp is our own, sums are of doubles in a fixed order. */
#include "text.h"
#include <math.h>
#include <string.h>

enum { EXISTS = 1, EXEMPT_REFERENCE = 2, EXEMPT = 4 };

typedef struct candidate {
    float logit;
    float weight; /* of the draw; not normalised */
    int32_t id;
} candidate;

struct rwkv_sampler {
    size_t n;             /* [n] vocabulary */
    rwkv_sampling how;
    rwkv_logit_bias *bias; /* how.bias points here */
    size_t cap_bias;
    uint8_t *kind;        /* [n] EXISTS, EXEMPT_* */
    float *count;         /* [n] decaying counts; -1: never accepted */
    int32_t *seen;        /* [n_seen] ids with a count */
    size_t n_seen;
    float *logits;        /* [n] after penalties */
    candidate *cand;      /* [n] what may be drawn */
    size_t n_cand;
    double total;         /* of the weights */
    double mu;            /* mirostat */
    uint64_t rng[4];
};

/* ------------------------------------------------------------------ presets */

/* T, top-p, presence, frequency, decay. Sources: default, the demo chat of ChatRWKV for World and G1;
 * chat, the range usual for talk, its wide end; creative, the pip package's defaults for free writing;
 * conservative, the demo's values for tuned states; mechanical, for exact tasks, nearly greedy. */
static const struct preset {
    const char *name;
    float temperature, top_p, presence, frequency, decay;
} presets[] = {
    {"default", 1.0f, 0.3f, 0.5f, 0.5f, 0.996f},
    {"creative", 1.0f, 0.85f, 0.2f, 0.2f, 0.996f},
    {"conservative", 1.0f, 0.2f, 0.3f, 0.3f, 0.996f},
    {"mechanical", 1.0f, 0.1f, 0.0f, 0.0f, 0.996f},
    {"chat", 1.0f, 0.5f, 0.5f, 0.5f, 0.996f},
    {"greedy", 0.0f, 1.0f, 0.0f, 0.0f, 1.0f},
};
#define N_PRESETS (sizeof presets / sizeof *presets)

const char *rwkv_sampling_preset_name(size_t i) {
    return i < N_PRESETS ? presets[i].name : NULL;
}

rwkv_status rwkv_sampling_preset(rwkv_sampling *out, const char *name) {
    for (size_t i = 0; out && name && i < N_PRESETS; i++) {
        const struct preset *p = &presets[i];
        if (strcmp(p->name, name) != 0) continue;
        *out = (rwkv_sampling){.temperature = p->temperature,
                               .top_p = p->top_p,
                               .typical_p = 1.0f,
                               .presence = p->presence,
                               .frequency = p->frequency,
                               .penalty_decay = p->decay,
                               .repeat_penalty = 1.0f,
                               .mirostat_tau = 5.0f,
                               .mirostat_eta = 0.1f};
        return RWKV_OK;
    }
    return RWKV_E_ARG;
}

/* ------------------------------------------------------------------ numbers */

static uint64_t rotate(uint64_t x, int k) {
    return x << k | x >> (64 - k);
}

static void seed_random(uint64_t s[4], uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15u;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
        z = (z ^ z >> 27) * 0x94D049BB133111EBu;
        s[i] = z ^ z >> 31;
    }
}

/* [0, 1) */
static double next_random(uint64_t s[4]) {
    uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return (double)(result >> 11) * 0x1p-53;
}

/* exp(x) for x <= 0 within 2 ulp, the same bits everywhere, 0 below the smallest normal number.
 * x = n ln 2 + r, Taylor series of e^r to the 7th power, 2^n through the exponent's bits. */
static inline float exp_neg(float x) {
    float c = x < -87.0f ? -87.0f : x;
    float n = (c * 1.44269504f + 12582912.0f) - 12582912.0f; /* to the nearest integer */
    float r = (c - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union { int32_t i; float f; } scale = {((int32_t)n + 127) << 23};
    return x < -87.0f ? 0.0f : p * scale.f;
}

/* Sum of exp((logit - max) / t). In blocks, so that the exponentials can be vectorised. */
static double sum_exp(const float *logits, size_t n, float max, float t) {
    double sum = 0;
    float block[256];
    for (size_t i = 0; i < n; i += 256) {
        size_t m = n - i < 256 ? n - i : 256;
        for (size_t k = 0; k < m; k++) block[k] = exp_neg((logits[i + k] - max) / t);
        for (size_t k = 0; k < m; k++) sum += block[k];
    }
    return sum;
}

/* ------------------------------------------------------------------ parameters */

static rwkv_status check_range(const char *name, float value, float min, float max, rwkv_error *err) {
    if (value >= min && value <= max) return RWKV_OK; /* false for NaN */
    return rw_fail(err, RWKV_E_ARG, "sampling: %s; found %g; expected %g to %g", name, (double)value,
                   (double)min, (double)max);
}

static rwkv_status check_how(const rwkv_sampling *how, size_t n_vocab, rwkv_error *err) {
    const struct {
        const char *name;
        float value, min, max;
    } fields[] = {
        {"temperature", how->temperature, 0, 1000},
        {"top_p", how->top_p, 0, 1},
        {"min_p", how->min_p, 0, 1},
        {"typical_p", how->typical_p, 0, 1},
        {"presence", how->presence, -100, 100}, /* negative ones encourage repetition */
        {"frequency", how->frequency, -100, 100},
        {"penalty_decay", how->penalty_decay, 0, 1},
        {"repeat_penalty", how->repeat_penalty, 0, 100},
        {"mirostat_tau", how->mirostat ? how->mirostat_tau : 0, 0, 100},
        {"mirostat_eta", how->mirostat ? how->mirostat_eta : 0, 0, 100},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        RW_TRY(check_range(fields[i].name, fields[i].value, fields[i].min, fields[i].max, err));
    }
    if (how->mirostat != 0 && how->mirostat != 2) {
        return rw_fail(err, RWKV_E_ARG, "sampling: mirostat; found %u; expected 0 or 2",
                       (unsigned)how->mirostat);
    }
    if (how->order != RWKV_ORDER_REFERENCE && how->order != RWKV_ORDER_TEMPERATURE) {
        return rw_fail(err, RWKV_E_ARG, "sampling: order; found %d; expected 0 or 1", (int)how->order);
    }
    if (how->n_bias && !how->bias) return rw_fail(err, RWKV_E_ARG, "sampling: bias is NULL");
    for (size_t i = 0; i < how->n_bias; i++) {
        rwkv_logit_bias b = how->bias[i];
        if (b.token < 0 || (size_t)b.token >= n_vocab) {
            return rw_fail(err, RWKV_E_ARG, "sampling: bias[%zu].token; found %d; expected 0 to %zu", i,
                           (int)b.token, n_vocab - 1);
        }
        if (!(b.bias <= 1e30f)) {
            return rw_fail(err, RWKV_E_ARG, "sampling: bias[%zu].bias; found %g; expected at most 1e30",
                           i, (double)b.bias);
        }
    }
    return RWKV_OK;
}

rwkv_status rwkv_sampler_set(rwkv_sampler *p, const rwkv_sampling *how, rwkv_error *err) {
    RW_TRY(check_how(how, p->n, err));
    if (how->n_bias > p->cap_bias) {
        rwkv_logit_bias *bias = rw_realloc(p->bias, how->n_bias, sizeof *bias);
        if (!bias) return rw_nomem(err, how->n_bias * sizeof *bias);
        p->bias = bias;
        p->cap_bias = how->n_bias;
    }
    if (how->n_bias) memcpy(p->bias, how->bias, how->n_bias * sizeof *p->bias);
    if (how->mirostat_tau != p->how.mirostat_tau || how->mirostat != p->how.mirostat) {
        p->mu = 2.0 * (double)how->mirostat_tau;
    }
    p->how = *how;
    p->how.bias = p->bias;
    return RWKV_OK;
}

/* What the reference's `text in " \t0123456789"` says, and what it meant to say. */
static uint8_t exemption(const char *text, size_t len) {
    static const char blanks[] = " \t0123456789";
    uint8_t kind = EXEMPT;
    for (size_t i = 0; i < len; i++) {
        if (!memchr(blanks, text[i], sizeof blanks - 1)) return 0;
    }
    for (size_t i = 0; i + len < sizeof blanks; i++) {
        if (memcmp(blanks + i, text, len) == 0) kind |= EXEMPT_REFERENCE;
    }
    return kind;
}

rwkv_status rwkv_sampler_new(rwkv_sampler **out, size_t n_vocab, const rwkv_tokenizer *t,
                             const rwkv_sampling *how, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    if (!out || !how || n_vocab == 0 || n_vocab > INT32_MAX) {
        return rw_fail(err, RWKV_E_ARG, "rwkv_sampler_new: n_vocab; found %zu; expected 1 to %d", n_vocab,
                       INT32_MAX);
    }
    rwkv_sampler *p = rw_calloc(1, sizeof *p);
    if (!p) return rw_nomem(err, sizeof *p);
    p->n = n_vocab;
    p->kind = rw_calloc(n_vocab, sizeof *p->kind);
    p->count = rw_calloc(n_vocab, sizeof *p->count);
    p->seen = rw_calloc(n_vocab, sizeof *p->seen);
    p->logits = rw_calloc(n_vocab, sizeof *p->logits);
    p->cand = rw_calloc(n_vocab, sizeof *p->cand);
    if (!p->kind || !p->count || !p->seen || !p->logits || !p->cand) {
        st = rw_nomem(err, n_vocab * (sizeof *p->cand + 13));
        goto out;
    }
    RW_GOTO(rwkv_sampler_set(p, how, err));
    for (size_t i = 0; i < n_vocab; i++) {
        size_t len = 0;
        const char *text = t ? rwkv_token_bytes(t, (int32_t)i, &len) : "";
        bool exists = !t || len || (int32_t)i == rwkv_tokenizer_end(t);
        p->kind[i] = (uint8_t)((exists ? EXISTS : 0) | (len ? exemption(text, len) : 0));
        p->count[i] = -1;
    }
    rwkv_sampler_reset(p);
    *out = p;
out:
    if (st != RWKV_OK) rwkv_sampler_free(p);
    return st;
}

void rwkv_sampler_free(rwkv_sampler *p) {
    if (!p) return;
    rw_free(p->bias);
    rw_free(p->kind);
    rw_free(p->count);
    rw_free(p->seen);
    rw_free(p->logits);
    rw_free(p->cand);
    rw_free(p);
}

void rwkv_sampler_reset(rwkv_sampler *p) {
    for (size_t i = 0; i < p->n_seen; i++) p->count[p->seen[i]] = -1;
    p->n_seen = 0;
    p->mu = 2.0 * (double)p->how.mirostat_tau;
    seed_random(p->rng, p->how.seed);
}

rwkv_status rwkv_sampler_copy(rwkv_sampler *dst, const rwkv_sampler *src, rwkv_error *err) {
    if (dst == src) return RWKV_OK;
    if (dst->n != src->n) {
        return rw_fail(err, RWKV_E_ARG, "sampler: vocabularies differ; found %zu; expected %zu", src->n,
                       dst->n);
    }
    RW_TRY(rwkv_sampler_set(dst, &src->how, err));
    rwkv_sampler_reset(dst);
    memcpy(dst->kind, src->kind, src->n);
    memcpy(dst->rng, src->rng, sizeof dst->rng);
    memcpy(dst->seen, src->seen, src->n_seen * sizeof *src->seen);
    for (size_t i = 0; i < src->n_seen; i++) dst->count[src->seen[i]] = src->count[src->seen[i]];
    dst->n_seen = src->n_seen;
    dst->mu = src->mu;
    return RWKV_OK;
}

/* All counts decay first; an exempt token gets an entry, and so the presence penalty, but counts 0. */
void rwkv_sampler_accept(rwkv_sampler *p, int32_t token) {
    if (token < 0 || (size_t)token >= p->n) return;
    uint8_t exempt = p->how.order == RWKV_ORDER_REFERENCE ? EXEMPT_REFERENCE : EXEMPT;
    for (size_t i = 0; i < p->n_seen; i++) p->count[p->seen[i]] *= p->how.penalty_decay;
    if (p->count[token] < 0) {
        p->seen[p->n_seen++] = token;
        p->count[token] = 0;
    }
    if (!(p->kind[token] & exempt)) p->count[token] += 1;
}

/* ------------------------------------------------------------------ from logits to candidates */

/* p->logits = logits with penalties, biases and missing tokens. */
static rwkv_status penalize(rwkv_sampler *p, const float *logits, rwkv_error *err) {
    const rwkv_sampling *how = &p->how;
    bool bad = false;
    for (size_t i = 0; i < p->n; i++) {
        bad |= !(logits[i] <= 3.402823466e38f); /* NaN, +inf */
        p->logits[i] = p->kind[i] & EXISTS ? logits[i] : -INFINITY;
    }
    for (size_t i = 0; bad; i++) {
        if (logits[i] <= 3.402823466e38f) continue;
        return rw_fail(err, RWKV_E_NUMERIC, "logit of token %zu; found %g; expected a finite number", i,
                       (double)logits[i]);
    }
    for (size_t i = 0; i < p->n_seen; i++) {
        int32_t id = p->seen[i];
        float *l = &p->logits[id];
        if (how->repeat_penalty > 0) *l *= *l > 0 ? 1 / how->repeat_penalty : how->repeat_penalty;
        *l -= how->presence + p->count[id] * how->frequency;
    }
    for (size_t i = 0; i < how->n_bias; i++) p->logits[p->bias[i].token] += p->bias[i].bias;
    return RWKV_OK;
}

static bool ranks_before(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

/* heap[0..n) is a heap but for its root. */
static void sift_down(candidate *heap, size_t n, size_t i) {
    candidate moved = heap[i];
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && ranks_before(heap[k + 1], heap[k])) k++;
        if (!ranks_before(heap[k], moved)) break;
        heap[i] = heap[k];
    }
    heap[i] = moved;
}

static void make_heap(candidate *heap, size_t n) {
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i);
}

/* The best candidate moves to heap[n - 1]; the rest stays a heap. */
static candidate take_best(candidate *heap, size_t n) {
    candidate best = heap[0];
    heap[0] = heap[n - 1];
    if (n > 1) sift_down(heap, n - 1, 0);
    heap[n - 1] = best;
    return best;
}

/* The n best were taken from a heap and lie behind it, worst first: makes them the candidates, best first. */
static void keep_taken(rwkv_sampler *p, size_t from, size_t n) {
    candidate *taken = p->cand + from;
    for (size_t i = 0; i < n / 2; i++) {
        candidate swap = taken[i];
        taken[i] = taken[n - 1 - i];
        taken[n - 1 - i] = swap;
    }
    memmove(p->cand, taken, n * sizeof *taken);
    p->n_cand = n;
}

/* Takes candidates in falling order, as many as top-p, top-k or mirostat leave; they are then
 * cand[0..n_cand), best first. sum: of exp((logit - max) / t) over all tokens. */
static void truncate_cands(rwkv_sampler *p, float max, float t, double sum) {
    const rwkv_sampling *how = &p->how;
    size_t left = p->n_cand, taken = 0;
    double mass = 0;
    float cutoff = -INFINITY; /* of top-p; equal ones stay */
    make_heap(p->cand, left);
    while (left > 0) {
        candidate best = p->cand[0];
        double prob = (double)exp_neg((best.logit - max) / t) / sum;
        if (how->mirostat) {
            if (taken > 0 && -log2(prob) > p->mu) break;
        } else {
            if (best.logit < cutoff || (how->top_k && taken >= how->top_k)) break;
            mass += prob;
            if (mass >= (double)how->top_p && cutoff == -INFINITY) cutoff = best.logit;
        }
        take_best(p->cand, left--);
        taken++;
    }
    keep_taken(p, left, taken);
}

/* Locally typical sampling: those whose surprise is nearest to the entropy, until they weigh typical_p. */
static void keep_typical(rwkv_sampler *p, float max, float t) {
    double sum = 0, entropy = 0, mass = 0;
    size_t left = p->n_cand, taken = 0;
    for (size_t i = 0; i < left; i++) {
        p->cand[i].weight = exp_neg((p->cand[i].logit - max) / t);
        sum += (double)p->cand[i].weight;
    }
    for (size_t i = 0; i < left; i++) {
        double prob = (double)p->cand[i].weight / sum;
        if (prob > 0) entropy -= prob * log(prob);
    }
    for (size_t i = 0; i < left; i++) {
        double prob = (double)p->cand[i].weight / sum;
        p->cand[i].logit = prob > 0 ? -(float)fabs(-log(prob) - entropy) : -INFINITY;
    }
    make_heap(p->cand, left);
    while (left > 0 && mass < (double)p->how.typical_p) {
        mass += (double)take_best(p->cand, left--).weight / sum;
        taken++;
    }
    keep_taken(p, left, taken);
    for (size_t i = 0; i < taken; i++) p->cand[i].logit = p->logits[p->cand[i].id];
}

/* The logit below which a token cannot be drawn, whatever the order of the others. */
static double lowest_logit(const rwkv_sampler *p, float max, float t, double sum) {
    const rwkv_sampling *how = &p->how;
    double lowest = -INFINITY;
    if (how->mirostat) return -INFINITY;
    if (how->min_p > 0) lowest = (double)max + (double)t * log((double)how->min_p);
    if (how->top_p < 1) {
        double tail = (1 - (double)how->top_p) / (double)p->n * sum;
        double bound = (double)max + (double)t * (log(tail) - 1e-3);
        if (bound > lowest) lowest = bound;
    }
    return lowest;
}

/* p->cand, weights and total. In both orders a candidate's weight is exp(logit / T); the orders differ in
 * the temperature t at which truncations look at it. */
static rwkv_status distribute(rwkv_sampler *p, const float *logits, rwkv_error *err) {
    const rwkv_sampling *how = &p->how;
    RW_TRY(penalize(p, logits, err));
    size_t best = 0;
    for (size_t i = 1; i < p->n; i++) {
        if (p->logits[i] > p->logits[best]) best = i;
    }
    float max = p->logits[best];
    if (!(max > -INFINITY && max < INFINITY)) {
        return rw_fail(err, RWKV_E_NUMERIC, "no token can be drawn: the largest logit is %g", (double)max);
    }
    p->total = 1;
    p->n_cand = 1;
    p->cand[0] = (candidate){max, 1, (int32_t)best};
    if (how->temperature == 0 || how->top_p == 0 || how->top_k == 1) return RWKV_OK;

    float t = how->order == RWKV_ORDER_TEMPERATURE ? how->temperature : 1;
    bool needs_sum = how->mirostat || how->top_p < 1;
    double sum = needs_sum ? sum_exp(p->logits, p->n, max, t) : 1;
    double lowest = lowest_logit(p, max, t, sum);
    p->n_cand = 0;
    for (size_t i = 0; i < p->n; i++) {
        float l = p->logits[i];
        if ((double)l >= lowest && l > -INFINITY) p->cand[p->n_cand++] = (candidate){l, 0, (int32_t)i};
    }
    if (needs_sum || how->top_k) truncate_cands(p, max, t, sum);
    if (how->typical_p > 0 && how->typical_p < 1 && !how->mirostat) keep_typical(p, max, t);

    max = -INFINITY;
    for (size_t i = 0; i < p->n_cand; i++) max = p->cand[i].logit > max ? p->cand[i].logit : max;
    p->total = 0;
    for (size_t i = 0; i < p->n_cand; i++) {
        p->cand[i].weight = exp_neg((p->cand[i].logit - max) / how->temperature);
        p->total += (double)p->cand[i].weight;
    }
    return RWKV_OK;
}

rwkv_status rwkv_sampler_probs(rwkv_sampler *p, const float *logits, float *probs, rwkv_error *err) {
    RW_TRY(distribute(p, logits, err));
    memset(probs, 0, p->n * sizeof *probs);
    for (size_t i = 0; i < p->n_cand; i++) {
        probs[p->cand[i].id] = (float)((double)p->cand[i].weight / p->total);
    }
    return RWKV_OK;
}

rwkv_status rwkv_sampler_next(rwkv_sampler *p, const float *logits, int32_t *token, rwkv_error *err) {
    size_t i = 0;
    RW_TRY(distribute(p, logits, err));
    if (p->n_cand > 1) {
        double left = next_random(p->rng) * p->total;
        while (i + 1 < p->n_cand && left >= (double)p->cand[i].weight) left -= (double)p->cand[i++].weight;
        while (i > 0 && p->cand[i].weight == 0) i--; /* where rounding has carried past the last */
    }
    if (p->how.mirostat) {
        double surprise = -log2((double)p->cand[i].weight / p->total);
        p->mu -= (double)p->how.mirostat_eta * (surprise - (double)p->how.mirostat_tau);
    }
    *token = p->cand[i].id;
    rwkv_sampler_accept(p, *token);
    return RWKV_OK;
}
