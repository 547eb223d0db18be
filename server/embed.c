/* embed.c - see embed.h. */
#include "embed.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {"last", "mean", "state"};

bool embed_pooling_find(const char *name, embed_pooling *out) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (embed_pooling)i;
        return true;
    }
    return false;
}

size_t embed_len(const rwkv_info *info, embed_pooling p) {
    return p == EMBED_STATE ? info->n_att : info->n_embd;
}

void embed_normalise(float *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)v[i] * v[i];
    float scale = sum > 0 ? (float)(1 / sqrt(sum)) : 0;
    for (size_t i = 0; i < n; i++) v[i] *= scale;
}

/* The WKV state of one layer without its keys: [A]. v4 keeps numerator aa and denominator bb. */
static void wkv_mean(const float *layer, const rwkv_info *info, float *out) {
    const size_t A = info->n_att, N = info->head_size;
    const float *wkv = layer + 2 * info->n_embd;
    memset(out, 0, A * sizeof *out);
    if (info->version[0] == '4') {
        for (size_t i = 0; i < A; i++) out[i] = wkv[i] / (fabsf(wkv[A + i]) + 1e-6f);
        return;
    }
    bool rows_are_values =
        info->version[0] == '7'; /* S [H][value][key], before v7 [H][key][value] */
    for (size_t i = 0; i < A * N; i++) {
        size_t head = i / (N * N), row = i / N % N, column = i % N;
        out[head * N + (rows_are_values ? row : column)] += wkv[i];
    }
}

bool embed_session(const rwkv_session *s, embed_pooling p, float *out) {
    rwkv_info info;
    rwkv_model_info(rwkv_session_model(s), &info);
    const size_t n = embed_len(&info, p), L = info.n_layer;
    const size_t stride = rwkv_session_state_len(s) / L, first = p == EMBED_LAST ? L - 1 : L / 2;
    const float *state = rwkv_session_state(s);
    float *one = rw_calloc(n, sizeof *one);
    if (!one) return false;
    memset(out, 0, n * sizeof *out);
    for (size_t layer = first; layer < L; layer++) {
        const float *at = state + layer * stride;
        if (p == EMBED_STATE)
            wkv_mean(at, &info, one);
        else
            memcpy(one, at, n * sizeof *one); /* ffn_x stands first */
        embed_normalise(one, n);
        for (size_t i = 0; i < n; i++) out[i] += one[i];
    }
    rw_free(one);
    embed_normalise(out, n);
    return true;
}
