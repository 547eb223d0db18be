/* sampler.c - draws the next token from the logits.
 *
 * Reference order (the pip package's): bias and penalties, softmax, top-p, top-k, [min-p, typical],
 * power 1/T, draw. Temperature order divides the logits by T first and has no power at the end;
 * exempt from counting are then all tokens of digits and blanks, and not only those that happen to
 * be a part of " \t0123456789". Greedy (T = 0 or top-p = 0) takes the best logit, the lowest id
 * among equals.
 *
 * Nothing is sorted. Candidates that no truncation can keep are dropped first: with top-p P, tokens
 * of p < (1 - P) / n together weigh less than 1 - P. Among the rest the last token to keep is found
 * as in quickselect, weighing the parts. All passes over the vocabulary are simple loops.
 *
 * Random numbers: xoshiro256** seeded with splitmix64; the draw goes through the ids in their
 * order. The same seed and logits give the same tokens on every platform: exp is our own, sums have
 * a fixed order. */
#include "text.h"
#include <math.h>
#include <string.h>

enum { EXEMPT_REFERENCE = 1, EXEMPT = 2 };

typedef struct candidate {
    float key;    /* what ranks it: the logit */
    float weight; /* of the draw; not normalised */
    int32_t id;
} candidate;

struct rwkv_sampler {
    size_t n; /* [n] vocabulary */
    rwkv_sampling how;
    rwkv_logit_bias *bias; /* how.bias points here */
    size_t cap_bias;
    uint8_t *exempt; /* [n] EXEMPT_* */
    int32_t *absent; /* [n_absent] ids without a token */
    size_t n_absent;
    float *count;  /* [n] decaying counts; -1: never accepted */
    int32_t *seen; /* [n_seen] ids with a count */
    size_t n_seen;
    float *logits;   /* [n] after penalties */
    candidate *cand; /* [n] what may be drawn */
    size_t n_cand;
    double total; /* of the weights */
    double mu;    /* mirostat */
    uint64_t rng[4];
};

/* ------------------------------------------------------------------ presets */

/* T, top-p, presence, frequency, decay. Sources: default, the demo chat of ChatRWKV for World and
 * G1; chat, the range usual for talk, its wide end; creative, the pip package's defaults for free
 * writing; conservative, the demo's values for tuned states; mechanical, for exact tasks, nearly
 * greedy. */
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

const char *rw_sampling_find(const char *name, size_t len) {
    for (size_t i = 0; i < N_PRESETS; i++) {
        const char *own = presets[i].name;
        if (strlen(own) == len && memcmp(own, name, len) == 0) return own;
    }
    return NULL;
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

/* A weight is never less than e^LOWEST: next to nothing, and a normal number. */
#define LOWEST (-87.0f)

/* exp(x) for LOWEST <= x <= 0 within 2 ulp, the same bits everywhere.
 * x = n ln 2 + r, Taylor series of e^r to the 7th power, 2^n through the exponent's bits. */
static inline float exp_neg(float x) {
    float n = (x * 1.44269504f + 12582912.0f) - 12582912.0f; /* to the nearest integer */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        int32_t i;
        float f;
    } scale = {((int32_t)n + 127) << 23};
    return p * scale.f;
}

static inline float exponent(float logit, float max, float t) {
    float x = (logit - max) / t;
    return x > LOWEST ? x : LOWEST;
}

enum { BLOCK = 256 }; /* exponentials are done in blocks and passes that compilers vectorise */

/* Sum of exp((logit - max) / t). */
static double sum_exp(const float *logits, size_t n, float max, float t) {
    double sum[4] = {0};
    float e[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < m; k++) e[k] = exponent(logits[i + k], max, t);
        for (size_t k = 0; k < m; k++) e[k] = exp_neg(e[k]);
        for (size_t k = m; k < BLOCK; k++) e[k] = 0;
        for (size_t k = 0; k < BLOCK; k += 4) {
            for (size_t lane = 0; lane < 4; lane++) sum[lane] += (double)e[k + lane];
        }
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static float max_of(const float *x, size_t n) {
    float max[8], best = -INFINITY;
    size_t i = 0;
    for (size_t lane = 0; lane < 8; lane++) max[lane] = -INFINITY;
    for (; i + 8 <= n; i += 8) {
        for (size_t lane = 0; lane < 8; lane++) {
            max[lane] = x[i + lane] > max[lane] ? x[i + lane] : max[lane];
        }
    }
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (size_t lane = 0; lane < 8; lane++) best = max[lane] > best ? max[lane] : best;
    return best;
}

/* ------------------------------------------------------------------ parameters */

static rwkv_status check_range(const char *name, float value, float min, float max,
                               rwkv_error *err) {
    if (value >= min && value <= max) return RWKV_OK; /* false for NaN */
    return rw_fail(err, RWKV_E_ARG, "sampling: %s; found %g; expected %g to %g", name,
                   (double)value, (double)min, (double)max);
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
        return rw_fail(err, RWKV_E_ARG, "sampling: order; found %d; expected 0 or 1",
                       (int)how->order);
    }
    if (how->n_bias && !how->bias) return rw_fail(err, RWKV_E_ARG, "sampling: bias is NULL");
    for (size_t i = 0; i < how->n_bias; i++) {
        rwkv_logit_bias b = how->bias[i];
        if (b.token < 0 || (size_t)b.token >= n_vocab) {
            return rw_fail(err, RWKV_E_ARG,
                           "sampling: bias[%zu].token; found %d; expected 0 to %zu", i,
                           (int)b.token, n_vocab - 1);
        }
        if (!(b.bias <= 1e30f)) {
            return rw_fail(err, RWKV_E_ARG,
                           "sampling: bias[%zu].bias; found %g; expected at most 1e30", i,
                           (double)b.bias);
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
    uint8_t exempt = EXEMPT;
    for (size_t i = 0; i < len; i++) {
        if (!memchr(blanks, text[i], sizeof blanks - 1)) return 0;
    }
    for (size_t i = 0; i + len < sizeof blanks; i++) {
        if (memcmp(blanks + i, text, len) == 0) exempt |= EXEMPT_REFERENCE;
    }
    return exempt;
}

rwkv_status rwkv_sampler_new(rwkv_sampler **out, size_t n_vocab, const rwkv_tokenizer *t,
                             const rwkv_sampling *how, rwkv_error *err) {
    rwkv_status st = RWKV_OK;
    if (!out || !how || n_vocab == 0 || n_vocab > INT32_MAX) {
        return rw_fail(err, RWKV_E_ARG, "rwkv_sampler_new: n_vocab; found %zu; expected 1 to %d",
                       n_vocab, INT32_MAX);
    }
    rwkv_sampler *p = rw_calloc(1, sizeof *p);
    if (!p) return rw_nomem(err, sizeof *p);
    p->n = n_vocab;
    p->exempt = rw_calloc(n_vocab, sizeof *p->exempt);
    p->absent = rw_calloc(n_vocab, sizeof *p->absent);
    p->count = rw_calloc(n_vocab, sizeof *p->count);
    p->seen = rw_calloc(n_vocab, sizeof *p->seen);
    p->logits = rw_calloc(n_vocab, sizeof *p->logits);
    p->cand = rw_calloc(n_vocab, sizeof *p->cand);
    if (!p->exempt || !p->absent || !p->count || !p->seen || !p->logits || !p->cand) {
        st = rw_nomem(err, n_vocab * (sizeof *p->cand + 17));
        goto out;
    }
    RW_GOTO(rwkv_sampler_set(p, how, err));
    for (size_t i = 0; i < n_vocab; i++) {
        size_t len = 0;
        const char *text = t ? rwkv_token_bytes(t, (int32_t)i, &len) : "";
        if (t && !len && (int32_t)i != rwkv_tokenizer_end(t)) p->absent[p->n_absent++] = (int32_t)i;
        if (len) p->exempt[i] = exemption(text, len);
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
    rw_free(p->exempt);
    rw_free(p->absent);
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
        return rw_fail(err, RWKV_E_ARG, "sampler: vocabularies differ; found %zu; expected %zu",
                       src->n, dst->n);
    }
    RW_TRY(rwkv_sampler_set(dst, &src->how, err));
    rwkv_sampler_reset(dst);
    memcpy(dst->exempt, src->exempt, src->n * sizeof *src->exempt);
    memcpy(dst->absent, src->absent, src->n_absent * sizeof *src->absent);
    dst->n_absent = src->n_absent;
    memcpy(dst->rng, src->rng, sizeof dst->rng);
    memcpy(dst->seen, src->seen, src->n_seen * sizeof *src->seen);
    for (size_t i = 0; i < src->n_seen; i++) dst->count[src->seen[i]] = src->count[src->seen[i]];
    dst->n_seen = src->n_seen;
    dst->mu = src->mu;
    return RWKV_OK;
}

/* All counts decay first. An exempt token gets an entry, and so the presence penalty, but adds 0.
 */
void rwkv_sampler_accept(rwkv_sampler *p, int32_t token) {
    if (token < 0 || (size_t)token >= p->n) return;
    uint8_t exempt = p->how.order == RWKV_ORDER_REFERENCE ? EXEMPT_REFERENCE : EXEMPT;
    for (size_t i = 0; i < p->n_seen; i++) p->count[p->seen[i]] *= p->how.penalty_decay;
    if (p->count[token] < 0) {
        p->seen[p->n_seen++] = token;
        p->count[token] = 0;
    }
    if (!(p->exempt[token] & exempt)) p->count[token] += 1;
}

/* ------------------------------------------------------------------ from logits to candidates */

#define LARGEST 3.402823466e38f /* finite */

/* p->logits = logits with penalties and biases; ids without a token get no chance. */
static rwkv_status penalize(rwkv_sampler *p, const float *logits, rwkv_error *err) {
    const rwkv_sampling *how = &p->how;
    int bad = 0;
    for (size_t i = 0; i < p->n; i++) bad |= !(logits[i] <= LARGEST); /* NaN, +inf */
    for (size_t i = 0; bad; i++) {
        if (logits[i] <= LARGEST) continue;
        return rw_fail(err, RWKV_E_NUMERIC,
                       "logit of token %zu; found %g; expected a finite number", i,
                       (double)logits[i]);
    }
    memcpy(p->logits, logits, p->n * sizeof *logits);
    for (size_t i = 0; i < p->n_absent; i++) p->logits[p->absent[i]] = -INFINITY;
    for (size_t i = 0; i < p->n_seen; i++) {
        int32_t id = p->seen[i];
        float *l = &p->logits[id];
        if (how->repeat_penalty > 0) *l *= *l > 0 ? 1 / how->repeat_penalty : how->repeat_penalty;
        *l -= how->presence + p->count[id] * how->frequency;
    }
    for (size_t i = 0; i < how->n_bias; i++) p->logits[p->bias[i].token] += p->bias[i].bias;
    return RWKV_OK;
}

/* In falling order; among equals the lower id comes first. */
static bool ranks_before(candidate a, candidate b) {
    return (a.key > b.key) | ((a.key == b.key) & (a.id < b.id));
}

static void swap(candidate *a, candidate *b) {
    candidate c = *a;
    *a = *b;
    *b = c;
}

/* Median of the first, the middle and the last goes to c[n - 1]. n >= 2 */
static void place_pivot(candidate *c, size_t n) {
    candidate *a = &c[0], *b = &c[n / 2], *z = &c[n - 1];
    if (ranks_before(*b, *a)) swap(a, b);
    if (ranks_before(*z, *a)) swap(a, z); /* a is the first of the three */
    if (ranks_before(*b, *z)) swap(b, z);
}

/* Taking candidates in falling order: the one with which their weights reach `weight` or their
 * number reaches `count`; the last of all if neither happens. Reorders c. */
static candidate find_last(candidate *c, size_t n, double weight, size_t count) {
    while (n > 1) {
        size_t before = 0;
        double sum = 0;
        place_pivot(c, n);
        candidate pivot = c[n - 1];
        for (size_t i = 0; i + 1 < n; i++) { /* without branches: half of them would be guessed wrong */
            candidate own = c[i];
            bool first = ranks_before(own, pivot);
            c[i] = c[before];
            c[before] = own;
            before += first;
            sum += first ? (double)own.weight : 0.0;
        }
        if (before > 0 && (sum >= weight || before >= count)) {
            n = before;
            continue;
        }
        sum += (double)pivot.weight;
        if (sum >= weight || before + 1 >= count) return pivot;
        swap(&c[before], &c[n - 1]);
        if (before + 1 == n) return pivot;
        weight -= sum;
        count -= before + 1;
        c += before + 1;
        n -= before + 1;
    }
    return c[0];
}

/* Candidates: all tokens of at least this logit, in the order of their ids. Most blocks have none. */
static void gather(rwkv_sampler *p, double lowest) {
    float least = lowest > -LARGEST ? (float)lowest : -LARGEST;
    if ((double)least < lowest) least = nextafterf(least, INFINITY);
    p->n_cand = 0;
    for (size_t i = 0; i < p->n; i += 16) {
        size_t m = p->n - i < 16 ? p->n - i : 16;
        int any = 0;
        for (size_t k = 0; k < m; k++) any |= p->logits[i + k] >= least;
        for (size_t k = 0; any && k < m; k++) {
            float l = p->logits[i + k];
            if (l >= least) p->cand[p->n_cand++] = (candidate){l, 0, (int32_t)(i + k)};
        }
    }
}

/* weight = exp((logit - max) / t) */
static void weigh(candidate *c, size_t n, float max, float t) {
    float e[BLOCK];
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t k = 0; k < m; k++) e[k] = exponent(c[i + k].key, max, t);
        for (size_t k = 0; k < m; k++) e[k] = exp_neg(e[k]);
        for (size_t k = 0; k < m; k++) c[i + k].weight = e[k];
    }
}

/* Drops what ranks after `last`. */
static void cut_after(rwkv_sampler *p, candidate last) {
    size_t kept = 0;
    for (size_t i = 0; i < p->n_cand; i++) {
        if (!ranks_before(last, p->cand[i])) p->cand[kept++] = p->cand[i];
    }
    p->n_cand = kept;
}

/* Locally typical sampling: those whose surprise is nearest to the entropy, until they weigh
 * typical_p. */
static void keep_typical(rwkv_sampler *p) {
    double sum = 0, entropy = 0;
    for (size_t i = 0; i < p->n_cand; i++) sum += (double)p->cand[i].weight;
    for (size_t i = 0; i < p->n_cand; i++) {
        double prob = (double)p->cand[i].weight / sum;
        if (prob > 0) entropy -= prob * log(prob);
    }
    for (size_t i = 0; i < p->n_cand; i++) {
        double prob = (double)p->cand[i].weight / sum;
        p->cand[i].key = prob > 0 ? -(float)fabs(log(prob) + entropy) : -INFINITY;
    }
    cut_after(p, find_last(p->cand, p->n_cand, (double)p->how.typical_p * sum, SIZE_MAX));
}

/* The logit below which no token is drawn: exactly for min-p and mirostat, a bound for top-p. sum:
 * of exp((logit - max) / t) over all tokens. */
static double lowest_logit(const rwkv_sampler *p, float max, float t, double sum) {
    const rwkv_sampling *how = &p->how;
    double lowest = -INFINITY, bound;
    if (how->mirostat) { /* surprise up to mu; at least the best token */
        bound = (double)max + (double)t * (log(sum) - p->mu * 0.69314718055994531);
        return bound < (double)max ? bound : (double)max;
    }
    if (how->min_p > 0) lowest = (double)max + (double)t * log((double)how->min_p);
    if (how->top_p < 1) {
        bound =
            (double)max + (double)t * (log((1 - (double)how->top_p) / (double)p->n * sum) - 1e-3);
        if (bound > lowest) lowest = bound;
    }
    return lowest;
}

/* Candidates into the order of their ids, with their logits as keys. */
static void restore_order(rwkv_sampler *p) {
    for (size_t i = 0; i < p->n_cand; i++) p->cand[i].key = p->logits[p->cand[i].id];
    for (size_t i = 0; i < p->n; i++) p->logits[i] = -INFINITY;
    for (size_t i = 0; i < p->n_cand; i++) p->logits[p->cand[i].id] = p->cand[i].key;
    gather(p, -INFINITY);
}

/* What top-p, top-k and typical leave of the candidates, in the order of their ids. */
static void cut_candidates(rwkv_sampler *p, float max, float t, double sum) {
    const rwkv_sampling *how = &p->how;
    if (how->top_p < 1) {
        weigh(p->cand, p->n_cand, max, t);
        candidate last = find_last(p->cand, p->n_cand, (double)how->top_p * sum, SIZE_MAX);
        gather(p, (double)last.key); /* ties stay */
    }
    if (how->top_k && how->top_k < p->n_cand) {
        candidate last = find_last(p->cand, p->n_cand, INFINITY, how->top_k);
        gather(p, (double)last.key);
        cut_after(p, last);
    }
    if (how->typical_p > 0 && how->typical_p < 1) {
        weigh(p->cand, p->n_cand, max, t);
        keep_typical(p);
        restore_order(p);
    }
}

/* p->cand, weights and total. In both orders a candidate's weight is exp(logit / T) in the end; the
 * orders differ in the temperature t at which truncations look at it. */
static rwkv_status distribute(rwkv_sampler *p, const float *logits, rwkv_error *err) {
    const rwkv_sampling *how = &p->how;
    RW_TRY(penalize(p, logits, err));
    float max = max_of(p->logits, p->n);
    if (!(max > -INFINITY && max < INFINITY)) {
        return rw_fail(err, RWKV_E_NUMERIC, "no token can be drawn: the largest logit is %g",
                       (double)max);
    }
    p->total = 1;
    if (how->temperature == 0 || how->top_p == 0 || how->top_k == 1) {
        size_t best = 0;
        while (p->logits[best] != max) best++;
        p->cand[0] = (candidate){max, 1, (int32_t)best};
        p->n_cand = 1;
        return RWKV_OK;
    }
    float t = how->order == RWKV_ORDER_TEMPERATURE ? how->temperature : 1;
    double sum = how->mirostat || how->top_p < 1 ? sum_exp(p->logits, p->n, max, t) : 1;
    gather(p, lowest_logit(p, max, t, sum));
    if (!how->mirostat) cut_candidates(p, max, t, sum);
    max = -INFINITY; /* typical may have dropped the best */
    for (size_t i = 0; i < p->n_cand; i++) max = p->cand[i].key > max ? p->cand[i].key : max;
    weigh(p->cand, p->n_cand, max, how->temperature);
    p->total = 0;
    for (size_t i = 0; i < p->n_cand; i++) p->total += (double)p->cand[i].weight;
    return RWKV_OK;
}

rwkv_status rwkv_sampler_probs(rwkv_sampler *p, const float *logits, float *probs,
                               rwkv_error *err) {
    RW_TRY(distribute(p, logits, err));
    memset(probs, 0, p->n * sizeof *probs);
    for (size_t i = 0; i < p->n_cand; i++) {
        probs[p->cand[i].id] = (float)((double)p->cand[i].weight / p->total);
    }
    return RWKV_OK;
}

rwkv_status rwkv_sampler_next(rwkv_sampler *p, const float *logits, int32_t *token,
                              rwkv_error *err) {
    size_t i = 0;
    RW_TRY(distribute(p, logits, err));
    if (p->n_cand > 1) {
        double left = next_random(p->rng) * p->total;
        while (i + 1 < p->n_cand && left >= (double)p->cand[i].weight)
            left -= (double)p->cand[i++].weight;
    }
    if (p->how.mirostat) {
        double surprise = -log2((double)p->cand[i].weight / p->total);
        p->mu -= (double)p->how.mirostat_eta * (surprise - (double)p->how.mirostat_tau);
    }
    *token = p->cand[i].id;
    rwkv_sampler_accept(p, *token);
    return RWKV_OK;
}
