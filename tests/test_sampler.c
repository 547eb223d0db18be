/* test_sampler.c - distributions against the golden ones and against a slow, plain sampler;
 * penalties, seeds, ranges, and bad logits. */
#include "support.h"
#include "base/json.h"
#include "text/text.h"
#include <math.h>

static rwkv_sampling plain(void) {
    return (rwkv_sampling){
        .temperature = 1, .top_p = 1, .typical_p = 1, .penalty_decay = 1, .repeat_penalty = 1};
}

static rwkv_sampler *make(size_t n, const rwkv_tokenizer *t, rwkv_sampling how) {
    rwkv_sampler *p = NULL;
    rwkv_error err = {0};
    if (rwkv_sampler_new(&p, n, t, &how, &err) != RWKV_OK) fail_msg("%s", err.message);
    return p;
}

static int32_t next(rwkv_sampler *p, const float *logits) {
    int32_t id = -1;
    rwkv_error err = {0};
    if (rwkv_sampler_next(p, logits, &id, &err) != RWKV_OK) fail_msg("%s", err.message);
    return id;
}

static void probs_of(rwkv_sampler *p, const float *logits, float *probs) {
    rwkv_error err = {0};
    if (rwkv_sampler_probs(p, logits, probs, &err) != RWKV_OK) fail_msg("%s", err.message);
}

static void assert_probs(const float *found, const float *want, size_t n, float limit,
                         const char *what) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(found[i] - want[i]) <= limit)) {
            fail_msg("%s: p[%zu]: found %.9g; expected %.9g", what, i, (double)found[i],
                     (double)want[i]);
        }
    }
}

static rwkv_tokenizer *vocabulary(const char *text) {
    const char *path = temp_path("v.txt");
    rwkv_tokenizer *t = NULL;
    rwkv_error err = {0};
    spill(path, text, strlen(text));
    if (rwkv_tokenizer_open(&t, path, &err) != RWKV_OK) fail_msg("%s", err.message);
    return t;
}

/* ------------------------------------------------------------------ golden data */

typedef struct golden {
    rw_json j;
    rw_json_event ev;
    void *data;
} golden;

static void advance(golden *g) {
    rwkv_error err = {0};
    if (rw_json_next(&g->j, &g->ev, &err) != RWKV_OK) fail_msg("%s", err.message);
}

static bool open_golden(golden *g) {
    const char *path = shared_path("golden/sampling/sampling.json");
    size_t len;
    if (!path) return false;
    g->data = slurp(path, &len);
    rw_json_init(&g->j, path, g->data, len, 0);
    return true;
}

static void close_golden(golden *g) {
    rw_json_free(&g->j);
    free(g->data);
}

static double number(const golden *g) {
    char text[64];
    assert_true(g->ev.kind == RW_JSON_NUMBER && g->ev.len < sizeof text);
    snprintf(text, sizeof text, "%.*s", (int)g->ev.len, g->ev.text);
    return strtod(text, NULL);
}

/* Stops at the value of the next key of this name, at any depth. False at the end. */
static bool seek(golden *g, const char *key) {
    for (;;) {
        advance(g);
        if (g->ev.kind == RW_JSON_END) return false;
        if (g->ev.kind == RW_JSON_KEY && g->ev.len == strlen(key) &&
            !memcmp(g->ev.text, key, g->ev.len)) {
            advance(g);
            return true;
        }
    }
}

static size_t numbers(golden *g, float *out, size_t cap) {
    size_t n = 0;
    for (advance(g); g->ev.kind != RW_JSON_CLOSE; advance(g)) {
        assert_true(n < cap);
        out[n++] = (float)number(g);
    }
    return n;
}

static void test_golden_distributions(void **state) {
    golden g = {0};
    size_t cases = 0;
    (void)state;
    if (!open_golden(&g)) skip();
    for (; seek(&g, "logits"); cases++) {
        float logits[64], want[64], found[64];
        rwkv_sampling how = plain();
        size_t n = numbers(&g, logits, 64);
        assert_true(seek(&g, "temperature"));
        how.temperature = (float)number(&g);
        assert_true(seek(&g, "top_p"));
        how.top_p = (float)number(&g);
        assert_true(seek(&g, "top_k"));
        how.top_k = (uint32_t)number(&g);
        assert_true(seek(&g, "probs"));
        assert_int_equal(numbers(&g, want, 64), n);
        rwkv_sampler *p = make(n, NULL, how);
        probs_of(p, logits, found);
        char what[64];
        snprintf(what, sizeof what, "case %zu", cases);
        assert_probs(found, want, n, 1e-6f, what);
        rwkv_sampler_free(p);
    }
    assert_int_equal(cases, 13);
    close_golden(&g);
}

/* With equal logits a penalty shows as a ratio of probabilities. */
static void test_golden_penalties(void **state) {
    enum { N = 16 };
    golden g = {0};
    rwkv_sampling how = plain();
    const float logits[N] = {0};
    float probs[N];
    size_t steps = 0;
    (void)state;
    if (!open_golden(&g)) skip();
    assert_true(seek(&g, "alpha_presence"));
    how.presence = (float)number(&g);
    assert_true(seek(&g, "alpha_frequency"));
    how.frequency = (float)number(&g);
    assert_true(seek(&g, "alpha_decay"));
    how.penalty_decay = (float)number(&g);
    rwkv_sampler *p = make(N, NULL, how);
    for (; seek(&g, "penalties_before"); steps++) {
        double want[N] = {0};
        for (advance(&g); g.ev.kind == RW_JSON_KEY; advance(&g)) {
            long id = strtol(g.ev.text, NULL, 10);
            assert_in_range(id, 0, N - 2); /* the last stays unseen */
            advance(&g);
            want[id] = number(&g);
        }
        probs_of(p, logits, probs);
        for (size_t i = 0; i < N; i++) {
            double found = log((double)probs[N - 1] / (double)probs[i]);
            if (!(fabs(found - want[i]) < 1e-6))
                fail_msg("step %zu, token %zu: %g", steps, i, found);
        }
        assert_true(seek(&g, "token"));
        if (g.ev.kind == RW_JSON_NUMBER) rwkv_sampler_accept(p, (int32_t)number(&g));
    }
    assert_int_equal(steps, 7);
    rwkv_sampler_free(p);
    close_golden(&g);
}

/* ------------------------------------------------------------------ against a plain sampler */

typedef struct ranked {
    double p, score;
    size_t id;
} ranked;

static int by_probability(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* The documented pipeline with full sorts in double. */
static void slow_probs(const float *logits, size_t n, const rwkv_sampling *how, float *out) {
    ranked *r = calloc(n, sizeof *r);
    double max = -INFINITY, sum = 0, mass = 0, cutoff = 0;
    double t = how->order == RWKV_ORDER_TEMPERATURE ? (double)how->temperature : 1;
    double power = how->order == RWKV_ORDER_REFERENCE ? 1 / (double)how->temperature : 1;
    size_t kept = 0, typical = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, (double)logits[i]);
    for (size_t i = 0; i < n; i++) sum += r[i].p = exp(((double)logits[i] - max) / t);
    for (size_t i = 0; i < n; i++) r[i].p /= sum, r[i].id = i;
    qsort(r, n, sizeof *r, by_probability);
    for (size_t i = 0; i < n && how->top_p < 1; i++) {
        mass += r[i].p;
        cutoff = r[i].p;
        if (mass >= (double)how->top_p) break;
    }
    for (; kept < n && r[kept].p >= cutoff; kept++) {
        if ((how->top_k && kept >= how->top_k) || r[kept].p < (double)how->min_p * r[0].p) break;
    }
    typical = kept;
    if (how->typical_p > 0 && how->typical_p < 1) {
        double total = 0, entropy = 0;
        for (size_t i = 0; i < kept; i++) total += r[i].p;
        for (size_t i = 0; i < kept; i++) entropy -= r[i].p / total * log(r[i].p / total);
        for (size_t i = 0; i < kept; i++) r[i].score = fabs(-log(r[i].p / total) - entropy);
        qsort(r, kept, sizeof *r, by_score);
        for (typical = 0, mass = 0; typical < kept && mass < (double)how->typical_p; typical++) {
            mass += r[typical].p / total;
        }
    }
    memset(out, 0, n * sizeof *out);
    sum = 0;
    for (size_t i = 0; i < typical; i++) sum += pow(r[i].p, power);
    for (size_t i = 0; i < typical; i++) out[r[i].id] = (float)(pow(r[i].p, power) / sum);
    free(r);
}

static void test_against_plain_sampler(void **state) {
    enum { N = 700 };
    uint64_t rng = 11;
    float logits[N], found[N], want[N];
    rwkv_sampler *p = make(N, NULL, plain());
    (void)state;
    for (int round = 0; round < 400; round++) {
        rwkv_sampling how = plain();
        float spread = 0.2f + 5 * rng_uniform(&rng);
        for (size_t i = 0; i < N; i++) {
            logits[i] =
                round % 4 == 0 ? (float)(rng_u64(&rng) % 5) * spread : spread * rng_normal(&rng);
        }
        how.temperature = 0.3f + 1.7f * rng_uniform(&rng);
        how.order = rng_u64(&rng) % 2 ? RWKV_ORDER_REFERENCE : RWKV_ORDER_TEMPERATURE;
        if (rng_u64(&rng) % 3) how.top_p = 0.02f + 0.97f * rng_uniform(&rng);
        if (rng_u64(&rng) % 3 == 0) how.top_k = 2 + (uint32_t)(rng_u64(&rng) % 50);
        if (rng_u64(&rng) % 3 == 0) how.min_p = 0.2f * rng_uniform(&rng);
        if (rng_u64(&rng) % 4 == 0 && round % 4) how.typical_p = 0.1f + 0.8f * rng_uniform(&rng);
        assert_int_equal(rwkv_sampler_set(p, &how, NULL), RWKV_OK);
        probs_of(p, logits, found);
        slow_probs(logits, N, &how, want);
        char what[256];
        snprintf(what, sizeof what, "round %d: T %g top_p %g top_k %u min_p %g typical %g order %d",
                 round, (double)how.temperature, (double)how.top_p, (unsigned)how.top_k,
                 (double)how.min_p, (double)how.typical_p, (int)how.order);
        assert_probs(found, want, N, 1e-5f, what);
    }
    rwkv_sampler_free(p);
}

/* ------------------------------------------------------------------ the order of things */

/* p = .5 .2 .2 .1: ties at the cutoff stay, the cumulative sum is compared with >=. */
static void test_top_p(void **state) {
    static const struct {
        float top_p;
        size_t kept;
    } cases[] = {{0.0f, 1}, {0.25f, 1}, {0.499f, 1}, {0.501f, 3},
                 {0.6f, 3}, {0.71f, 3}, {0.91f, 4},  {1.0f, 4}};
    const float logits[] = {logf(0.2f), logf(0.5f), logf(0.1f), logf(0.2f)};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rwkv_sampling how = plain();
        float probs[4];
        size_t kept = 0;
        how.top_p = cases[i].top_p;
        rwkv_sampler *p = make(4, NULL, how);
        probs_of(p, logits, probs);
        for (size_t k = 0; k < 4; k++) kept += probs[k] > 0;
        if (kept != cases[i].kept) fail_msg("top_p %g: %zu kept", (double)cases[i].top_p, kept);
        rwkv_sampler_free(p);
    }
}

/* Trap 10: the reference truncates the untempered distribution. */
static void test_orders_differ(void **state) {
    const float logits[] = {logf(0.6f), logf(0.3f), logf(0.1f)};
    rwkv_sampling how = plain();
    float probs[3];
    (void)state;
    how.top_p = 0.7f;
    how.temperature = 0.5f;
    rwkv_sampler *p = make(3, NULL, how);
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){0.8f, 0.2f, 0}, 3, 1e-6f, "reference");
    how.order = RWKV_ORDER_TEMPERATURE; /* .36 .09 .01 of .46: the first alone weighs .78 */
    assert_int_equal(rwkv_sampler_set(p, &how, NULL), RWKV_OK);
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){1, 0, 0}, 3, 1e-6f, "temperature first");
    rwkv_sampler_free(p);
}

/* Trap 11: temperature 0, top_p 0 and top_k 1 are greedy; the lowest of equals wins; no draw is
 * used. */
static void test_greedy(void **state) {
    const float logits[] = {1, 3, -INFINITY, 3, 2};
    (void)state;
    for (int i = 0; i < 4; i++) {
        rwkv_sampling how = plain();
        if (i == 0) how.temperature = 0;
        if (i == 1) how.top_p = 0;
        if (i == 2) how.top_k = 1;
        if (i == 3) assert_int_equal(rwkv_sampling_preset(&how, "greedy"), RWKV_OK);
        rwkv_sampler *p = make(5, NULL, how);
        for (int k = 0; k < 5; k++) assert_int_equal(next(p, logits), 1);
        rwkv_sampler_free(p);
    }
}

static void test_extreme_temperatures(void **state) {
    const float logits[] = {1, 3, 2, -50};
    float probs[4];
    rwkv_sampling how = plain();
    (void)state;
    how.temperature = 1e-38f;
    rwkv_sampler *p = make(4, NULL, how);
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){0, 1, 0, 0}, 4, 1e-30f, "T 1e-38");
    how.temperature = 1000;
    assert_int_equal(rwkv_sampler_set(p, &how, NULL), RWKV_OK);
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){0.25f, 0.25f, 0.25f, 0.25f}, 4, 0.02f, "T 1000");
    rwkv_sampler_free(p);
}

/* ------------------------------------------------------------------ penalties and masks */

/* Trap 12: "12" lies in " \t0123456789" and does not count; "10" does, but only for the reference.
 */
static void test_exempt_tokens(void **state) {
    static const float expected[2][6] = {{0, 1, 2, 1, 2, 2}, {0, 1, 1, 1, 2, 2}};
    rwkv_tokenizer *t = vocabulary("1 '12' 2\n2 '10' 2\n3 ' ' 1\n4 'a' 1\n5 '1a' 2\n");
    const float logits[6] = {0};
    (void)state;
    for (int order = 0; order < 2; order++) {
        rwkv_sampling how = plain();
        float probs[6];
        how.presence = 1;
        how.frequency = 1;
        how.order = order ? RWKV_ORDER_TEMPERATURE : RWKV_ORDER_REFERENCE;
        rwkv_sampler *p = make(6, t, how);
        for (int32_t id = 1; id < 6; id++) rwkv_sampler_accept(p, id);
        probs_of(p, logits, probs);
        for (size_t i = 0; i < 6; i++) {
            double penalty = log((double)probs[0] / (double)probs[i]);
            assert_true(fabs(penalty - (double)expected[order][i]) < 1e-5);
        }
        rwkv_sampler_free(p);
    }
    rwkv_tokenizer_free(t);
}

static void test_decay_and_repeat(void **state) {
    rwkv_sampling how = plain();
    const float logits[3] = {2, -2, 0};
    float probs[3];
    (void)state;
    how.frequency = 1;
    how.penalty_decay = 0.5f;
    rwkv_sampler *p = make(3, NULL, how);
    rwkv_sampler_accept(p, 0); /* counts: 1, then .5, then .25 + 1 */
    rwkv_sampler_accept(p, 1);
    rwkv_sampler_accept(p, 0);
    probs_of(p, logits, probs);
    assert_true(fabs(log((double)probs[0] / (double)probs[2]) - (2 - 1.25)) < 1e-5);
    assert_true(fabs(log((double)probs[1] / (double)probs[2]) - (-2 - 0.5)) < 1e-5);
    how = plain();
    how.repeat_penalty = 2; /* toward 0 from above, away from it below */
    assert_int_equal(rwkv_sampler_set(p, &how, NULL), RWKV_OK);
    probs_of(p, logits, probs);
    assert_true(fabs(log((double)probs[0] / (double)probs[2]) - 1) < 1e-5);
    assert_true(fabs(log((double)probs[1] / (double)probs[2]) + 4) < 1e-5);
    rwkv_sampler_reset(p);
    probs_of(p, logits, probs);
    assert_true(fabs(log((double)probs[0] / (double)probs[2]) - 2) < 1e-5);
    rwkv_sampler_accept(p, -1);
    rwkv_sampler_accept(p, 3);
    rwkv_sampler_free(p);
}

/* Rows of the embedding without a token are never drawn, however high their logits. */
static void test_mask(void **state) {
    rwkv_tokenizer *t = vocabulary("1 'a' 1\n2 'b' 1\n");
    const float logits[6] = {0, 0, 0, 50, 50, 50};
    float probs[6];
    rwkv_sampler *p = make(6, t, plain());
    (void)state;
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){1 / 3.f, 1 / 3.f, 1 / 3.f, 0, 0, 0}, 6, 1e-6f, "masked");
    for (int i = 0; i < 100; i++) assert_in_range(next(p, logits), 0, 2);
    rwkv_sampler_free(p);
    rwkv_tokenizer_free(t);
    t = vocabulary("0 'a' 1\n1 'b' 1\n");
    p = make(3, t, plain());
    probs_of(p, logits, probs);
    assert_probs(probs, (float[]){0.5f, 0.5f, 0}, 3, 1e-6f, "ids from 0");
    rwkv_sampler_free(p);
    rwkv_tokenizer_free(t);
}

static void test_bias(void **state) {
    rwkv_logit_bias bias[] = {{0, -INFINITY}, {2, 1}};
    const float logits[3] = {9, 0, 0};
    float probs[3];
    rwkv_sampling how = plain();
    (void)state;
    how.bias = bias;
    how.n_bias = 2;
    rwkv_sampler *p = make(3, NULL, how);
    bias[0].bias = 7; /* it was copied */
    probs_of(p, logits, probs);
    assert_true(probs[0] == 0);
    assert_true(fabs(log((double)probs[2] / (double)probs[1]) - 1) < 1e-5);
    how = plain();
    assert_int_equal(rwkv_sampler_set(p, &how, NULL), RWKV_OK);
    probs_of(p, logits, probs);
    assert_true(probs[0] > 0.99f);
    rwkv_sampler_free(p);
}

/* ------------------------------------------------------------------ drawing */

/* xoshiro256** after splitmix64, from another implementation: floor(1000 u) for equal logits. */
static void test_seeds(void **state) {
    static const struct {
        uint64_t seed;
        int32_t ids[10];
    } cases[] = {
        {0, {601, 747, 103, 416, 732, 999, 422, 535, 855, 918}},
        {1, {702, 520, 574, 391, 697, 143, 71, 381, 867, 551}},
        {UINT64_MAX, {559, 767, 507, 747, 567, 731, 370, 767, 626, 614}},
    };
    float logits[1000] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rwkv_sampling how = plain();
        how.seed = cases[i].seed;
        rwkv_sampler *p = make(1000, NULL, how);
        for (int round = 0; round < 2; round++) {
            for (int k = 0; k < 10; k++) assert_int_equal(next(p, logits), cases[i].ids[k]);
            rwkv_sampler_reset(p);
        }
        rwkv_sampler_free(p);
    }
}

static void test_frequencies(void **state) {
    enum { N = 8, DRAWS = 200000 };
    const float logits[N] = {0, 1, -1, 2, 0.5f, -3, 1.5f, -0.5f};
    size_t drawn[N] = {0};
    float probs[N];
    rwkv_sampling how = plain();
    double chi = 0;
    (void)state;
    how.top_p = 0.95f;
    how.temperature = 1.3f;
    how.seed = 5;
    rwkv_sampler *p = make(N, NULL, how);
    probs_of(p, logits, probs);
    for (int i = 0; i < DRAWS; i++) drawn[next(p, logits)]++;
    for (size_t i = 0; i < N; i++) {
        double want = (double)probs[i] * DRAWS;
        if (want == 0) {
            assert_int_equal(drawn[i], 0);
        } else {
            chi += ((double)drawn[i] - want) * ((double)drawn[i] - want) / want;
        }
    }
    assert_true(chi < 24.3); /* 7 degrees of freedom, p = 0.001 */
    rwkv_sampler_free(p);
}

static void test_copy_and_set(void **state) {
    enum { N = 50 };
    uint64_t rng = 12;
    float logits[N];
    rwkv_logit_bias bias[] = {{3, 2}, {4, -INFINITY}};
    rwkv_sampling how = plain();
    rwkv_error err = {0};
    (void)state;
    for (size_t i = 0; i < N; i++) logits[i] = rng_normal(&rng);
    assert_int_equal(rwkv_sampling_preset(&how, "creative"), RWKV_OK);
    how.seed = 9;
    how.bias = bias;
    how.n_bias = 2;
    rwkv_sampler *a = make(N, NULL, how), *b = make(N, NULL, plain()),
                 *c = make(N + 1, NULL, plain());
    for (int i = 0; i < 20; i++) next(a, logits), next(b, logits);
    assert_int_equal(rwkv_sampler_copy(b, a, &err), RWKV_OK);
    for (int i = 0; i < 200; i++) assert_int_equal(next(a, logits), next(b, logits));
    assert_int_equal(rwkv_sampler_copy(c, a, &err), RWKV_E_ARG);
    /* set keeps the counts and the random stream, also when it refuses */
    assert_int_equal(rwkv_sampler_set(a, &how, &err), RWKV_OK);
    how.temperature = -1;
    assert_int_equal(rwkv_sampler_set(a, &how, &err), RWKV_E_ARG);
    for (int i = 0; i < 200; i++) assert_int_equal(next(a, logits), next(b, logits));
    rwkv_sampler_free(a);
    rwkv_sampler_free(b);
    rwkv_sampler_free(c);
    rwkv_sampler_free(NULL);
}

/* Mirostat steers the mean surprise to tau. */
static void test_mirostat(void **state) {
    enum { N = 2000 };
    uint64_t rng = 13;
    static float logits[N], probs[N];
    rwkv_sampling how = plain();
    double sum = 0;
    (void)state;
    how.mirostat = 2;
    how.mirostat_tau = 3;
    how.mirostat_eta = 0.1f;
    rwkv_sampler *p = make(N, NULL, how);
    for (int i = 0; i < 600; i++) {
        for (size_t k = 0; k < N; k++) logits[k] = 2 * rng_normal(&rng);
        probs_of(p, logits, probs);
        double surprise = -log2((double)probs[next(p, logits)]);
        if (i >= 100) sum += surprise;
    }
    assert_true(fabs(sum / 500 - 3) < 0.1);
    rwkv_sampler_free(p);
}

/* ------------------------------------------------------------------ refusals */

static void test_ranges(void **state) {
    static const struct {
        const char *field;
        size_t offset;
        float min, max; /* first values beyond */
    } fields[] = {
        {"temperature", offsetof(rwkv_sampling, temperature), -0.001f, 1001},
        {"top_p", offsetof(rwkv_sampling, top_p), -0.001f, 1.001f},
        {"min_p", offsetof(rwkv_sampling, min_p), -0.001f, 1.001f},
        {"typical_p", offsetof(rwkv_sampling, typical_p), -0.001f, 1.001f},
        {"presence", offsetof(rwkv_sampling, presence), -100.1f, 100.1f},
        {"frequency", offsetof(rwkv_sampling, frequency), -100.1f, 100.1f},
        {"penalty_decay", offsetof(rwkv_sampling, penalty_decay), -0.001f, 1.001f},
        {"repeat_penalty", offsetof(rwkv_sampling, repeat_penalty), -0.001f, 100.1f},
        {"mirostat_tau", offsetof(rwkv_sampling, mirostat_tau), -0.001f, 100.1f},
        {"mirostat_eta", offsetof(rwkv_sampling, mirostat_eta), -0.001f, 100.1f},
    };
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const float bad[] = {fields[i].min, fields[i].max, NAN, INFINITY, -INFINITY, 1e30f};
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            rwkv_sampling how = plain();
            rwkv_sampler *p = NULL;
            rwkv_error err = {0};
            how.mirostat = 2;
            memcpy((char *)&how + fields[i].offset, &bad[k], sizeof bad[k]);
            assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, &err), RWKV_E_ARG);
            assert_null(p);
            assert_non_null(strstr(err.message, fields[i].field));
            assert_non_null(strstr(err.message, "expected"));
        }
    }
}

static void test_refused_values(void **state) {
    const rwkv_logit_bias bad[] = {{-1, 0}, {4, 0}, {0, NAN}, {0, INFINITY}, {0, 1e38f}};
    rwkv_sampling how = plain();
    rwkv_sampler *p = NULL;
    rwkv_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        how.bias = &bad[i];
        how.n_bias = 1;
        assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, &err), RWKV_E_ARG);
        assert_non_null(strstr(err.message, "bias[0]"));
    }
    how.bias = NULL;
    assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, &err), RWKV_E_ARG);
    how = plain();
    how.mirostat = 1;
    assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, &err), RWKV_E_ARG);
    assert_non_null(strstr(err.message, "mirostat"));
    how = plain();
    how.order = (rwkv_sampling_order)2;
    assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, &err), RWKV_E_ARG);
    assert_non_null(strstr(err.message, "order"));
    how = plain();
    assert_int_equal(rwkv_sampler_new(&p, 0, NULL, &how, &err), RWKV_E_ARG);
    assert_int_equal(rwkv_sampler_new(&p, 4, NULL, NULL, &err), RWKV_E_ARG);
    assert_null(p);
}

static void test_bad_logits(void **state) {
    rwkv_sampling how = plain();
    rwkv_error err = {0};
    int32_t id = -7;
    (void)state;
    for (int greedy = 0; greedy < 2; greedy++) {
        how.temperature = greedy ? 0 : 1;
        how.top_p = 0.5f;
        rwkv_sampler *p = make(4, NULL, how);
        const float bad[][4] = {
            {0, NAN, 0, 0}, {0, 0, 0, INFINITY}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY}};
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(rwkv_sampler_next(p, bad[i], &id, &err), RWKV_E_NUMERIC);
            assert_int_equal(err.code, RWKV_E_NUMERIC);
            assert_int_equal(id, -7);
        }
        assert_int_equal(next(p, (float[]){-INFINITY, -INFINITY, -INFINITY, -3}), 3);
        rwkv_sampler_free(p);
    }
    const rwkv_logit_bias all[] = {{0, -INFINITY}, {1, -INFINITY}};
    how = plain();
    how.bias = all;
    how.n_bias = 2;
    rwkv_sampler *p = make(2, NULL, how);
    assert_int_equal(rwkv_sampler_next(p, (float[]){1, 2}, &id, &err), RWKV_E_NUMERIC);
    rwkv_sampler_free(p);
}

/* A2: whatever the parameters, an id in range or an error. */
static void test_random_parameters(void **state) {
    static const float values[] = {0,     -0.0f, 1,        -1,        0.5f, 1e-30f,
                                   1e30f, NAN,   INFINITY, -INFINITY, 100,  2};
    enum { N = 20 };
    uint64_t rng = 14;
    float logits[N];
    (void)state;
    for (int round = 0; round < 100000; round++) {
        rwkv_sampling how = plain();
        float *fields[] = {&how.temperature,   &how.top_p,          &how.min_p,
                           &how.typical_p,     &how.presence,       &how.frequency,
                           &how.penalty_decay, &how.repeat_penalty, &how.mirostat_tau,
                           &how.mirostat_eta};
        for (int k = 0; k < 3; k++) *fields[rng_u64(&rng) % 10] = values[rng_u64(&rng) % 12];
        how.top_k = rng_u64(&rng) % 2 ? 0 : (uint32_t)(rng_u64(&rng) % 30);
        how.mirostat = (uint32_t)(rng_u64(&rng) % 3);
        how.order = (rwkv_sampling_order)(rng_u64(&rng) % 2);
        for (size_t i = 0; i < N; i++) {
            logits[i] = rng_u64(&rng) % 40 ? 10 * rng_normal(&rng) : values[rng_u64(&rng) % 12];
        }
        rwkv_sampler *p = NULL;
        rwkv_error err = {0};
        if (rwkv_sampler_new(&p, N, NULL, &how, &err) != RWKV_OK) {
            assert_int_equal(err.code, RWKV_E_ARG);
            continue;
        }
        for (int k = 0; k < 4; k++) {
            int32_t id = -7;
            rwkv_status st = rwkv_sampler_next(p, logits, &id, &err);
            assert_true(st == RWKV_OK ? id >= 0 && id < N : st == RWKV_E_NUMERIC && id == -7);
            if (st == RWKV_OK) assert_true(logits[id] > -INFINITY);
        }
        rwkv_sampler_free(p);
    }
}

static void test_presets(void **state) {
    static const char *const names[] = {"default",    "creative", "conservative",
                                        "mechanical", "chat",     "greedy"};
    rwkv_sampling how;
    size_t n = 0;
    (void)state;
    for (; rwkv_sampling_preset_name(n); n++) {
        rwkv_sampler *p = NULL;
        assert_int_equal(rwkv_sampling_preset(&how, rwkv_sampling_preset_name(n)), RWKV_OK);
        assert_int_equal(rwkv_sampler_new(&p, 4, NULL, &how, NULL), RWKV_OK);
        rwkv_sampler_free(p);
    }
    assert_int_equal(n, 6);
    for (size_t i = 0; i < n; i++) assert_int_equal(rwkv_sampling_preset(&how, names[i]), RWKV_OK);
    assert_int_equal(rwkv_sampling_preset(&how, "default"), RWKV_OK);
    assert_true(how.top_p == 0.3f && how.temperature == 1 && how.presence == 0.5f &&
                how.frequency == 0.5f && how.penalty_decay == 0.996f &&
                how.order == RWKV_ORDER_REFERENCE);
    assert_int_equal(rwkv_sampling_preset(&how, "none"), RWKV_E_ARG);
    assert_int_equal(rwkv_sampling_preset(&how, NULL), RWKV_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_distributions),
        cmocka_unit_test(test_golden_penalties),
        cmocka_unit_test(test_against_plain_sampler),
        cmocka_unit_test(test_top_p),
        cmocka_unit_test(test_orders_differ),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_extreme_temperatures),
        cmocka_unit_test(test_exempt_tokens),
        cmocka_unit_test(test_decay_and_repeat),
        cmocka_unit_test(test_mask),
        cmocka_unit_test(test_bias),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_frequencies),
        cmocka_unit_test(test_copy_and_set),
        cmocka_unit_test(test_mirostat),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_bad_logits),
        cmocka_unit_test(test_random_parameters),
        cmocka_unit_test(test_presets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
