/* state.c - a session as bytes that travel: header, state, logits, an application's note, checksum.
 *
 * Layout (little endian; docs/FORMATS.md): 176 bytes of header, state_len numbers (float32, or
 * float16 when flag 1 is set), n_vocab float32 logits when flag 2 is set, the note, SHA-256 of all
 * that precedes. A blob is hostile until its length, checksum and every field have been checked; a
 * session changes only after all of that. */
#include "session.h"
#include <string.h>

enum { MAGIC_LEN = 8, HEADER = 176, HASH = 32, FORMAT_VERSION = 1, FLAG_F16 = 1, FLAG_LOGITS = 2 };
static const char magic[MAGIC_LEN + 1] = "RWKVSTAT";

/* Offsets of the header's fields. */
enum {
    AT_FORMAT = 8,   /* u32 */
    AT_FLAGS = 12,   /* u32 */
    AT_VERSION = 16, /* char[8], "7" padded with zeros */
    AT_LAYERS = 24,  /* u32 */
    AT_EMBD = 28,    /* u32 */
    AT_VOCAB = 32,   /* u32 */
    AT_PENDING = 36, /* i32, -1: none */
    AT_STATE = 40,   /* u64, numbers in the state */
    AT_TOKENS = 48,  /* u64 */
    AT_NOTE = 56,    /* u64, bytes of the note */
    AT_MODEL = 64,   /* 32 bytes, fingerprint */
    AT_WEIGHTS = 96, /* 32 bytes, weights hash */
    AT_ZERO = 128    /* 48 bytes, zero */
};

static void put32(uint8_t *p, uint32_t x) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(x >> (8 * i));
}

static void put64(uint8_t *p, uint64_t x) {
    put32(p, (uint32_t)x);
    put32(p + 4, (uint32_t)(x >> 32));
}

static bool fits_f16(const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(x[i] <= 65504.0f && x[i] >= -65504.0f)) return false;
    return true;
}

rwkv_status rwkv_session_save(const rwkv_session *s, const void *note, size_t note_len,
                              uint32_t flags, void *buf, size_t cap, size_t *len, rwkv_error *err) {
    if (!s || !len || (note_len && !note) || (cap && !buf))
        return rw_fail(err, RWKV_E_ARG,
                       "rwkv_session_save: session, len and the buffers must be given");
    const rwkv_model *m = s->model;
    if (!m->k->all_finite(s->state, m->state_len))
        return rw_fail(err, RWKV_E_NUMERIC, "the state holds NaN or infinity and is not saved");
    bool f16 = (flags & RWKV_STATE_F16) && fits_f16(s->state, m->state_len);
    uint64_t state_bytes = (uint64_t)m->state_len * (f16 ? 2 : 4),
             logit_bytes = s->has_logits ? 4ull * m->V : 0;
    uint64_t need = HEADER + state_bytes + logit_bytes + HASH;
    if (!rw_add(need, note_len, &need) || need > SIZE_MAX)
        return rw_fail(err, RWKV_E_ARG, "note: found %zu bytes; too many", note_len);
    *len = need;
    if (cap < need)
        return rw_fail(err, RWKV_E_SPACE, "buffer: found %zu bytes; expected %zu", cap, *len);

    uint8_t *p = buf;
    memset(p, 0, HEADER);
    memcpy(p, magic, MAGIC_LEN);
    put32(p + AT_FORMAT, FORMAT_VERSION);
    put32(p + AT_FLAGS, (f16 ? FLAG_F16 : 0u) | (s->has_logits ? FLAG_LOGITS : 0u));
    const char *version = rw_version_name(m->ckpt->version);
    memcpy(p + AT_VERSION, version, strlen(version));
    put32(p + AT_LAYERS, m->n_layer);
    put32(p + AT_EMBD, m->D);
    put32(p + AT_VOCAB, m->V);
    put32(p + AT_PENDING, (uint32_t)s->pending);
    put64(p + AT_STATE, m->state_len);
    put64(p + AT_TOKENS, s->n_tokens);
    put64(p + AT_NOTE, note_len);
    memcpy(p + AT_MODEL, m->fingerprint, HASH);
    memcpy(p + AT_WEIGHTS, m->weights_hash, HASH);
    uint8_t *at = p + HEADER;
    for (size_t i = 0; f16 && i < m->state_len; i++) {
        uint16_t h = rw_f32_to_f16(s->state[i]);
        memcpy(at + 2 * i, &h, sizeof h);
    }
    if (!f16) memcpy(at, s->state, state_bytes);
    at += state_bytes;
    if (logit_bytes) memcpy(at, s->logits, logit_bytes);
    at += logit_bytes;
    if (note_len) memcpy(at, note, note_len);
    at += note_len;
    rw_sha256 sum;
    rw_sha256_init(&sum);
    rw_sha256_add(&sum, p, (size_t)(at - p));
    rw_sha256_end(&sum, at);
    return RWKV_OK;
}

/* Everything that can be checked without a model. *state and *logits point into the blob. */
static rwkv_status parse(const uint8_t *p, size_t len, rwkv_state_info *info, const uint8_t **state,
                         uint64_t *state_len, const uint8_t **logits, rwkv_error *err) {
    if (len < HEADER + HASH || memcmp(p, magic, MAGIC_LEN) != 0)
        return rw_fail(err, RWKV_E_STATE, "not a state: found %zu bytes that do not begin with %s",
                       len, magic);
    uint32_t format = rw_le32(p + AT_FORMAT), flags = rw_le32(p + AT_FLAGS);
    if (format != FORMAT_VERSION)
        return rw_fail(err, RWKV_E_STATE, "state format: found version %u; expected %d", format,
                       FORMAT_VERSION);
    static const uint8_t zero[HEADER - AT_ZERO];
    if (flags & ~(uint32_t)(FLAG_F16 | FLAG_LOGITS) || memcmp(p + AT_ZERO, zero, sizeof zero) != 0)
        return rw_fail(err, RWKV_E_STATE,
                       "state: found flags %#x or a reserved field that is unknown here", flags);
    *info = (rwkv_state_info){.format_version = format, .f16 = (flags & FLAG_F16) != 0};
    memcpy(info->version, p + AT_VERSION, 8);
    info->version[7] = 0;
    info->n_layer = rw_le32(p + AT_LAYERS);
    info->n_embd = rw_le32(p + AT_EMBD);
    info->n_vocab = rw_le32(p + AT_VOCAB);
    info->n_tokens = rw_le64(p + AT_TOKENS);
    memcpy(info->fingerprint, p + AT_MODEL, HASH);
    memcpy(info->weights_hash, p + AT_WEIGHTS, HASH);

    uint64_t want = HEADER + HASH, bytes, note_len = rw_le64(p + AT_NOTE);
    *state_len = rw_le64(p + AT_STATE);
    uint64_t logit_bytes = flags & FLAG_LOGITS ? 4ull * info->n_vocab : 0;
    if (!rw_mul(*state_len, info->f16 ? 2 : 4, &bytes) || !rw_add(want, bytes, &want) ||
        !rw_add(want, logit_bytes, &want) || !rw_add(want, note_len, &want) || want != len)
        return rw_fail(err, RWKV_E_STATE,
                       "state: found %zu bytes; the header says otherwise (cut off?)", len);
    uint8_t sum[HASH];
    rw_sha256 s;
    rw_sha256_init(&s);
    rw_sha256_add(&s, p, len - HASH);
    rw_sha256_end(&s, sum);
    if (memcmp(sum, p + len - HASH, HASH) != 0)
        return rw_fail(err, RWKV_E_STATE,
                       "state: the checksum does not match; the file is damaged");
    *state = p + HEADER;
    *logits = logit_bytes ? p + HEADER + bytes : NULL;
    info->note = p + HEADER + bytes + logit_bytes;
    info->note_len = note_len;
    return RWKV_OK;
}

rwkv_status rwkv_state_inspect(const void *blob, size_t len, rwkv_state_info *info,
                               rwkv_error *err) {
    if (!blob || !info)
        return rw_fail(err, RWKV_E_ARG, "rwkv_state_inspect: blob and info must be given");
    const uint8_t *state, *logits;
    uint64_t state_len;
    rwkv_state_info got;
    RW_TRY(parse(blob, len, &got, &state, &state_len, &logits, err));
    *info = got;
    return RWKV_OK;
}

static bool finite_numbers(const uint8_t *p, uint64_t n, bool f16) {
    for (uint64_t i = 0; i < n; i++) {
        uint32_t bits = f16 ? rw_le16(p + 2 * i) : rw_le32(p + 4 * i);
        uint32_t exponent = f16 ? 0x7c00u : 0x7f800000u;
        if ((bits & exponent) == exponent) return false;
    }
    return true;
}

static void hex(const uint8_t *hash, char out[17]) {
    for (int i = 0; i < 8; i++) {
        out[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    out[16] = 0;
}

rwkv_status rwkv_session_load(rwkv_session *s, const void *blob, size_t len, rwkv_state_info *info,
                              rwkv_error *err) {
    if (!s || !blob)
        return rw_fail(err, RWKV_E_ARG, "rwkv_session_load: session and blob must be given");
    const rwkv_model *m = s->model;
    const uint8_t *state, *logits;
    uint64_t state_len;
    rwkv_state_info got;
    RW_TRY(parse(blob, len, &got, &state, &state_len, &logits, err));
    if (memcmp(got.fingerprint, m->fingerprint, HASH) != 0) {
        char theirs[17], ours[17];
        hex(got.fingerprint, theirs);
        hex(m->fingerprint, ours);
        return rw_fail(err, RWKV_E_STATE,
                       "state of another model: found v%s, %u layers, width %u, fingerprint %s; "
                       "expected v%s, %u "
                       "layers, width %u, fingerprint %s",
                       got.version, got.n_layer, got.n_embd, theirs,
                       rw_version_name(m->ckpt->version), m->n_layer, m->D, ours);
    }
    int32_t pending = (int32_t)rw_le32((const uint8_t *)blob + AT_PENDING);
    if (state_len != m->state_len || got.n_vocab != m->V || pending < -1 ||
        pending >= (int64_t)m->V)
        return rw_fail(err, RWKV_E_STATE,
                       "state: found %llu numbers, vocabulary %u, pending token %d; expected "
                       "%zu numbers, vocabulary %u, pending -1..%u",
                       (unsigned long long)state_len, got.n_vocab, pending, m->state_len, m->V,
                       m->V - 1);
    if (!finite_numbers(state, state_len, got.f16) ||
        (logits && !finite_numbers(logits, m->V, false)))
        return rw_fail(err, RWKV_E_STATE, "state: found NaN or infinity; expected finite numbers");

    if (got.f16)
        for (size_t i = 0; i < m->state_len; i++)
            s->state[i] = rw_f16_to_f32(rw_le16(state + 2 * i));
    else
        memcpy(s->state, state, m->state_len * sizeof(float));
    if (logits) memcpy(s->logits, logits, m->V * sizeof(float));
    s->has_logits = logits != NULL;
    s->n_tokens = got.n_tokens;
    s->pending = pending;
    got.other_weights = memcmp(got.weights_hash, m->weights_hash, HASH) != 0;
    if (info) *info = got;
    return RWKV_OK;
}
