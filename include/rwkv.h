/* rwkv.h - the public interface of librwkv.
 *
 * Two nouns carry everything:
 *   rwkv_model    the weights of one file. Immutable after open; any number of threads may use it.
 *   rwkv_session  one timeline: the recurrent state, the logits after its last token, and at most
 *                 one pending token. Belongs to one thread at a time.
 * Beside them: rwkv_tokenizer (text <-> ids), rwkv_sampler (logits -> id), rwkv_stream (ids' bytes ->
 * printable text with stop strings), rwkv_template (messages -> prompt).
 *
 * A complete program:
 *
 *     #include <rwkv.h>
 *     #include <stdio.h>
 *     #include <string.h>
 *
 *     int main(int argc, char **argv) {
 *         rwkv_error err = {0};
 *         rwkv_model *model = NULL;
 *         rwkv_session *s = NULL;
 *         rwkv_sampler *sampler = NULL;
 *         const rwkv_tokenizer *tok;
 *         rwkv_sampling how;
 *         rwkv_info info;
 *         int32_t ids[256], id;
 *         size_t n, len;
 *         if (argc < 3 || rwkv_model_open(&model, argv[1], NULL, &err) ||
 *             !(tok = rwkv_model_tokenizer(model, &err)) ||
 *             rwkv_session_new(&s, model, &err) ||
 *             rwkv_sampling_preset(&how, "default") ||
 *             (rwkv_model_info(model, &info), 0) ||
 *             rwkv_sampler_new(&sampler, info.n_vocab, tok, &how, &err) ||
 *             rwkv_encode(tok, argv[2], strlen(argv[2]), 0, ids, 256, &n, &err) ||
 *             rwkv_session_eval(s, ids, n, &err)) {
 *             fprintf(stderr, "%s\n", err.message);
 *             return 1;
 *         }
 *         for (int i = 0; i < 100; i++) {
 *             if (rwkv_sampler_next(sampler, rwkv_session_logits(s), &id, &err) || id == 0) break;
 *             const char *bytes = rwkv_token_bytes(tok, id, &len);
 *             fwrite(bytes, 1, len, stdout);
 *             if (rwkv_session_eval(s, &id, 1, &err)) break;
 *         }
 *         rwkv_sampler_free(sampler);
 *         rwkv_session_free(s);
 *         rwkv_model_free(model);
 *         return 0;
 *     }
 *
 * Rules that hold for every function:
 * - A function that can fail returns rwkv_status (RWKV_OK is 0) and fills the rwkv_error it is given
 *   (which may be NULL). On failure outputs are untouched and nothing is leaked.
 * - The library never prints, exits, aborts or installs signal handlers, and it has no globals.
 * - Strings and paths are UTF-8; text is (pointer, length) and may contain any byte.
 * - Sizes of buffers are in elements of the pointer's type. Where a buffer may be too small, *n
 *   receives the count needed, at most `cap` elements are written, and RWKV_E_SPACE is returned.
 * - Free functions accept NULL.
 */
#ifndef RWKV_H
#define RWKV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define RWKV_API __attribute__((visibility("default")))
#else
#define RWKV_API
#endif

#define RWKV_VERSION "0.1.0"

/* ------------------------------------------------------------------ status and errors */

/* Values are part of the ABI and never change. */
typedef enum rwkv_status {
    RWKV_OK = 0,
    RWKV_E_ARG = 1,         /* the caller's argument is wrong */
    RWKV_E_NOMEM = 2,       /* an allocation failed, or the model does not fit (see message) */
    RWKV_E_IO = 3,          /* the operating system refused: missing file, permission, disk full */
    RWKV_E_FORMAT = 4,      /* a file's bytes are not what its format demands */
    RWKV_E_UNSUPPORTED = 5, /* well-formed, but of a kind that this version cannot use */
    RWKV_E_MODEL = 6,       /* tensors missing or mis-shaped for any known RWKV version */
    RWKV_E_VOCAB = 7,       /* vocabulary missing, malformed, or not that of the model */
    RWKV_E_TEXT = 8,        /* text that the vocabulary cannot spell */
    RWKV_E_STATE = 9,       /* a state blob that is damaged or of another model */
    RWKV_E_NUMERIC = 10,    /* NaN or infinity where a finite number must be */
    RWKV_E_SPACE = 11,      /* the buffer is too small; the count needed was returned */
    RWKV_E_CANCELLED = 12,  /* a callback asked to stop */
} rwkv_status;

#define RWKV_NO_OFFSET UINT64_MAX

typedef struct rwkv_error {
    rwkv_status code;
    uint64_t offset;   /* byte offset in `file`, or RWKV_NO_OFFSET */
    char file[256];    /* path (shortened if need be), or "" */
    char message[768]; /* one line, "path:offset: what; found X; expected Y", no control bytes */
} rwkv_error;

RWKV_API const char *rwkv_version(void);
RWKV_API const char *rwkv_status_name(rwkv_status status); /* "RWKV_E_FORMAT"; never NULL */

/* Receives one line without newline. level: 0 information, 1 warning. Called only during the call
 * whose options carry it, on that thread. */
typedef void (*rwkv_log_fn)(void *user, int level, const char *message);

/* ------------------------------------------------------------------ model */

typedef struct rwkv_model rwkv_model;
typedef struct rwkv_session rwkv_session;
typedef struct rwkv_tokenizer rwkv_tokenizer;
typedef struct rwkv_sampler rwkv_sampler;
typedef struct rwkv_stream rwkv_stream;
typedef struct rwkv_template rwkv_template;

enum {
    RWKV_MODEL_NO_MMAP = 1,      /* read the file into memory: immune to a file that shrinks */
    RWKV_MODEL_CHECK = 2,        /* look at every weight; non-finite ones are an error */
    RWKV_MODEL_IGNORE_MEMORY = 4, /* do not compare the memory needed with the memory available */
    RWKV_MODEL_DENSE = 16,       /* multiply zero activations of the channel mix too, to compare: same bits */
    RWKV_MODEL_EXACT = 8         /* all arithmetic in float32. Else block-quantized matrices (Q4_0 to Q8_0,
                                    Q4_K to Q6_K) are multiplied with activations rounded to eight bits, 32
                                    sharing a scale: several times faster, and as reproducible. RWKV-5 is always
                                    exact, because it would lose too much */
};

/* All zero is the default. */
typedef struct rwkv_model_options {
    uint32_t n_threads;     /* 0: one per physical core. 1 starts no thread */
    uint32_t flags;         /* RWKV_MODEL_* */
    const char *isa;        /* kernels: NULL (or $RWKV_ISA) picks the best; "scalar", "avx2", ... */
    const char *vocab;      /* vocabulary file; NULL: model file, beside it, data directory */
    const char *chat;       /* name of the chat template; NULL: chosen from the file */
    float group_norm_eps;   /* 0: as the file says. See docs/FORMATS.md for v5 in rwkv.cpp files */
    rwkv_log_fn log;        /* NULL: silent */
    void *log_user;
} rwkv_model_options;

/* Opens any supported file (.pth, .safetensors or its folder, GGUF, rwkv.cpp .bin), decided by its
 * content. Weights stay mapped in the file where their layout allows. */
RWKV_API rwkv_status rwkv_model_open(rwkv_model **out, const char *path,
                                     const rwkv_model_options *options, rwkv_error *err);
RWKV_API void rwkv_model_free(rwkv_model *model); /* after its sessions */

typedef struct rwkv_info {
    const char *path;         /* all strings live as long as the model */
    const char *name;         /* general.name, or the file's name without its ending */
    const char *format;       /* "pth", "pth (legacy)", "safetensors", "gguf", "gguf (packed)", "ggmf" */
    const char *version;      /* "4", "5.0", "5.1", "5.2", "6", "7", "7a" */
    const char *type;         /* type of most matrix bytes: "Q4_0" */
    const char *chat;         /* name of the chat template */
    const char *sampling;     /* preset that the file recommends; "" if none */
    const char *tokenizer;    /* "World", "20B", "bytes", or "" when none was found */
    const char *isa;          /* kernel set in use */
    uint32_t n_layer, n_embd, n_att, n_ffn, n_head, head_size, n_vocab, n_threads;
    float group_norm_eps;     /* 0 for v4 */
    uint64_t n_params;
    uint64_t file_bytes;
    uint64_t weight_bytes;    /* of the tensors in the file */
    uint64_t copied_bytes;    /* private memory: vectors, turned matrices, workspace */
    uint64_t state_bytes;     /* of one state, float32 */
    uint64_t session_bytes;   /* memory of one session: state and logits */
    uint64_t ffn_inputs;      /* so far, in passes of few tokens: activations of the channel mix */
    uint64_t ffn_zeros;       /* and how many were zero, so that their weights need not be read */
    uint8_t fingerprint[32];  /* of the model, the same for all its formats and quantizations */
    uint8_t weights_hash[32]; /* of these weights as stored (sampled, not of every byte) */
} rwkv_info;

RWKV_API void rwkv_model_info(const rwkv_model *model, rwkv_info *out);

/* The i-th tensor, under the name that the file gives it. False when i is past the end. */
typedef struct rwkv_tensor_info {
    const char *name;  /* lives as long as the model */
    const char *type;  /* "F16", "Q4_0", ... */
    uint32_t n_dims;
    uint64_t dims[4];  /* slowest first, as PyTorch prints them */
    uint64_t bytes;
} rwkv_tensor_info;

RWKV_API bool rwkv_model_tensor(const rwkv_model *model, size_t i, rwkv_tensor_info *out);

/* ------------------------------------------------------------------ session */

/* A new session is at the beginning of a text: empty state, no logits. */
RWKV_API rwkv_status rwkv_session_new(rwkv_session **out, rwkv_model *model, rwkv_error *err);
RWKV_API void rwkv_session_free(rwkv_session *s); /* clears the memory before releasing it */
RWKV_API void rwkv_session_reset(rwkv_session *s);
/* Both of the same model. */
RWKV_API rwkv_status rwkv_session_copy(rwkv_session *dst, const rwkv_session *src, rwkv_error *err);

/* Feeds n tokens (after the pending one, if any) and leaves the logits after the last. n may be 0
 * only to evaluate a pending token. Any n; allocates nothing; results do not depend on how a text
 * is cut into calls, on the number of threads, nor on other sessions. After RWKV_E_NUMERIC the
 * session has no logits and must be reset or loaded; of a batch only those that have none, the
 * others went on as they would have alone. After any other error nothing has changed. */
RWKV_API rwkv_status rwkv_session_eval(rwkv_session *s, const int32_t *tokens, size_t n,
                                       rwkv_error *err);
/* The same, and writes the logits after every token: logits is [n, n_vocab]. No token may pend. */
RWKV_API rwkv_status rwkv_session_eval_all(rwkv_session *s, const int32_t *tokens, size_t n,
                                           float *logits, rwkv_error *err);

/* Several sessions of one model in one pass over the weights. Each result is the same, bit for bit,
 * as that of rwkv_session_eval alone. A session may occur once. */
typedef struct rwkv_batch_item {
    rwkv_session *session;
    const int32_t *tokens;
    size_t n_tokens;
} rwkv_batch_item;
RWKV_API rwkv_status rwkv_eval_batch(const rwkv_batch_item *items, size_t n, rwkv_error *err);

/* Notes a token that was chosen (and perhaps shown) but not evaluated: the next eval feeds it
 * first, and save keeps it. So the last token of an answer costs nothing until the text goes on. */
RWKV_API rwkv_status rwkv_session_pend(rwkv_session *s, int32_t token, rwkv_error *err);
RWKV_API int32_t rwkv_session_pending(const rwkv_session *s); /* -1: none */

/* [n_vocab], valid until the next call on s; NULL before the first token. Rows of the vocabulary
 * that no token uses are included. */
RWKV_API const float *rwkv_session_logits(const rwkv_session *s);
RWKV_API uint64_t rwkv_session_n_tokens(const rwkv_session *s); /* fed since the beginning */
RWKV_API rwkv_model *rwkv_session_model(const rwkv_session *s);

/* The raw state: float32, per layer ffn_x [D], att_x [D], then v4: aa, bb, pp [A each],
 * v5/v6: S [H][key][value], v7: S [H][value][key] (the order of rwkv.cpp). */
RWKV_API size_t rwkv_session_state_len(const rwkv_session *s); /* in floats */
RWKV_API const float *rwkv_session_state(const rwkv_session *s);
/* Forgets the logits and the pending token; the count of tokens stays. */
RWKV_API rwkv_status rwkv_session_set_state(rwkv_session *s, const float *state, size_t len,
                                            rwkv_error *err);

/* ---- portable state blob: header, model fingerprint, tokens counted, state, logits, pending
 * token, an application's note (any bytes), checksum. Little endian; see docs/FORMATS.md. */
/* Save flag: half the size, rounds the state. A state with numbers beyond float16 stays float32. */
enum { RWKV_STATE_F16 = 1 };

RWKV_API rwkv_status rwkv_session_save(const rwkv_session *s, const void *note, size_t note_len,
                                       uint32_t flags, void *buf, size_t cap, size_t *len,
                                       rwkv_error *err);
/* A blob of another model is refused; one of the same model with other quantization is accepted
 * with a warning in info->other_weights (info may be NULL). */
typedef struct rwkv_state_info {
    uint32_t format_version;
    char version[8];          /* RWKV version, "7" */
    uint32_t n_layer, n_embd, n_vocab;
    uint64_t n_tokens;
    bool f16;
    bool other_weights;       /* set by load: same model, but not the weights that made it */
    uint8_t fingerprint[32];
    uint8_t weights_hash[32];
    const void *note;         /* points into the blob */
    size_t note_len;
} rwkv_state_info;
RWKV_API rwkv_status rwkv_session_load(rwkv_session *s, const void *blob, size_t len,
                                       rwkv_state_info *info, rwkv_error *err);
RWKV_API rwkv_status rwkv_state_inspect(const void *blob, size_t len, rwkv_state_info *info,
                                        rwkv_error *err); /* verifies the checksum; needs no model */

/* Files: written whole or not at all (temporary name, fsync, rename). read allocates *data, to be
 * released with rwkv_free; max 0 means no limit. */
RWKV_API rwkv_status rwkv_file_write(const char *path, const void *data, size_t len, rwkv_error *err);
RWKV_API rwkv_status rwkv_file_read(const char *path, size_t max, void **data, size_t *len,
                                    rwkv_error *err);
RWKV_API void rwkv_free(void *data);

/* ------------------------------------------------------------------ tokenizer */

/* Opens a vocabulary by content: World grammar (rwkv_vocab_v20230424.txt), its JSON form, or a
 * Hugging Face tokenizer.json with BPE (20B_tokenizer.json). path NULL: bytes, id = byte. */
RWKV_API rwkv_status rwkv_tokenizer_open(rwkv_tokenizer **out, const char *path, rwkv_error *err);
RWKV_API void rwkv_tokenizer_free(rwkv_tokenizer *t);
/* The model's own; NULL with RWKV_E_VOCAB and where to get it when none was found. */
RWKV_API const rwkv_tokenizer *rwkv_model_tokenizer(const rwkv_model *model, rwkv_error *err);
RWKV_API const char *rwkv_tokenizer_kind(const rwkv_tokenizer *t); /* "World", "20B", "bytes" */
RWKV_API size_t rwkv_tokenizer_size(const rwkv_tokenizer *t);      /* largest id + 1 */
/* The id that ends a document, never produced from text by default: 0, or -1 if there is none. */
RWKV_API int32_t rwkv_tokenizer_end(const rwkv_tokenizer *t);

enum {
    RWKV_ENCODE_SPECIAL = 1, /* 20B: <|endoftext|> and <|padding|> in the text become ids */
    RWKV_ENCODE_PROMPT = 2   /* 20B: "\n\n" at the very end becomes two "\n", as models were trained */
};

/* Linear in time. A text never has more tokens than bytes (20B: than 3 times its bytes). ids may be
 * NULL with cap 0 to count. */
RWKV_API rwkv_status rwkv_encode(const rwkv_tokenizer *t, const char *text, size_t len,
                                 uint32_t flags, int32_t *ids, size_t cap, size_t *n,
                                 rwkv_error *err);
/* The bytes of one token, valid as long as t; not NUL-terminated; may be part of a character.
 * Unknown ids and the end token give "" with *len 0. */
RWKV_API const char *rwkv_token_bytes(const rwkv_tokenizer *t, int32_t id, size_t *len);

/* ------------------------------------------------------------------ sampler */

typedef enum rwkv_sampling_order {
    RWKV_ORDER_REFERENCE = 0,  /* bans, penalties, softmax, top-p, top-k, then power 1/T */
    RWKV_ORDER_TEMPERATURE = 1 /* temperature before truncation, the habit of other engines */
} rwkv_sampling_order;

typedef struct rwkv_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY bans the token */
} rwkv_logit_bias;

typedef struct rwkv_sampling {
    float temperature;       /* >= 0; 0: greedy */
    float top_p;             /* 0..1; 0: greedy; 1: off. Ties at the cutoff stay */
    uint32_t top_k;          /* 0: off */
    float min_p;             /* drop p < min_p * max p; 0: off */
    float typical_p;         /* locally typical sampling; 1 or 0: off */
    float presence;          /* subtracted once for every token generated before */
    float frequency;         /* subtracted times the token's (decaying) count */
    float penalty_decay;     /* counts are multiplied by it each step; 1: no decay */
    float repeat_penalty;    /* divides positive, multiplies negative logits of seen tokens; 1: off */
    uint32_t mirostat;       /* 0: off; 2: mirostat 2.0 instead of the truncations */
    float mirostat_tau, mirostat_eta;
    rwkv_sampling_order order;
    uint64_t seed;
    const rwkv_logit_bias *bias; /* copied by rwkv_sampler_new */
    size_t n_bias;
} rwkv_sampling;

/* "default" "creative" "conservative" "mechanical" "chat" "greedy"; see docs. RWKV_E_ARG if
 * unknown. Names: rwkv_sampling_preset_name(i), NULL after the last. */
RWKV_API rwkv_status rwkv_sampling_preset(rwkv_sampling *out, const char *name);
RWKV_API const char *rwkv_sampling_preset_name(size_t i);

/* n_vocab: the length of the logits. t (may be NULL) tells which ids exist (others are never drawn)
 * and which digits and blanks are exempt from counting. Parameters out of range are RWKV_E_ARG and
 * named. */
RWKV_API rwkv_status rwkv_sampler_new(rwkv_sampler **out, size_t n_vocab, const rwkv_tokenizer *t,
                                      const rwkv_sampling *how, rwkv_error *err);
RWKV_API void rwkv_sampler_free(rwkv_sampler *p);
/* New parameters, same memory of past tokens and same random stream. */
RWKV_API rwkv_status rwkv_sampler_set(rwkv_sampler *p, const rwkv_sampling *how, rwkv_error *err);
RWKV_API void rwkv_sampler_reset(rwkv_sampler *p); /* forgets counts; restarts from the seed */
RWKV_API rwkv_status rwkv_sampler_copy(rwkv_sampler *dst, const rwkv_sampler *src, rwkv_error *err);
/* Draws the next token and counts it. logits: [n_vocab]. */
RWKV_API rwkv_status rwkv_sampler_next(rwkv_sampler *p, const float *logits, int32_t *token,
                                       rwkv_error *err);
/* The same for several sessions of a model at once, on its threads; takes turns with evaluations. A
 * sampler may occur once; each draw has its own result. */
typedef struct rwkv_draw {
    rwkv_sampler *sampler;
    const float *logits;
    rwkv_error *err;    /* NULL: status is enough */
    int32_t token;      /* out */
    rwkv_status status; /* out: as of rwkv_sampler_next */
} rwkv_draw;
RWKV_API void rwkv_draw_batch(rwkv_model *m, rwkv_draw *draws, size_t n);
/* The distribution that next would draw from, without drawing: probs [n_vocab]. */
RWKV_API rwkv_status rwkv_sampler_probs(rwkv_sampler *p, const float *logits, float *probs,
                                        rwkv_error *err);
/* Counts a token that was chosen elsewhere. */
RWKV_API void rwkv_sampler_accept(rwkv_sampler *p, int32_t token);

/* ------------------------------------------------------------------ streamed text */

/* Joins tokens' bytes into text that may be shown: never half a UTF-8 character, never the
 * beginning of a stop string that may still complete. */
RWKV_API rwkv_status rwkv_stream_new(rwkv_stream **out, const char *const *stops, size_t n_stops,
                                     rwkv_error *err);
RWKV_API void rwkv_stream_free(rwkv_stream *st);
RWKV_API void rwkv_stream_reset(rwkv_stream *st);
/* Adds bytes. *text, *n is what may be shown now (valid until the next call). Returns true when a
 * stop string is complete: *text then ends before it, and nothing more is accepted. */
RWKV_API bool rwkv_stream_push(rwkv_stream *st, const char *bytes, size_t len, const char **text,
                               size_t *n);
/* At the end: what was held back; an incomplete character becomes U+FFFD. */
RWKV_API void rwkv_stream_finish(rwkv_stream *st, const char **text, size_t *n);
/* How many of the bytes pushed, counted from the end, may be the beginning of a stop string; after
 * one was found: those of it and behind it. The rest of the bytes is text. */
RWKV_API size_t rwkv_stream_matched(const rwkv_stream *st);
/* The stop string found, valid as long as st; NULL: none. */
RWKV_API const char *rwkv_stream_stop(const rwkv_stream *st);

/* ------------------------------------------------------------------ chat templates */

typedef enum rwkv_role { RWKV_SYSTEM = 0, RWKV_USER = 1, RWKV_ASSISTANT = 2 } rwkv_role;

typedef struct rwkv_message {
    rwkv_role role;
    const char *text;
    size_t len;
} rwkv_message;

typedef enum rwkv_think {
    RWKV_THINK_NONE = 0,  /* plain: the prompt ends in "Assistant:" */
    RWKV_THINK_OFF = 1,   /* answers at once: an empty thought is opened */
    RWKV_THINK_ON = 2,
    RWKV_THINK_SHORT = 3,
    RWKV_THINK_LONG = 4
} rwkv_think;

/* "world" "g1" "raven" "pile" "raw". Names: rwkv_template_name_at(i), NULL after the last. */
RWKV_API const rwkv_template *rwkv_template_find(const char *name); /* NULL if unknown */
RWKV_API const rwkv_template *rwkv_model_template(const rwkv_model *model);
RWKV_API const char *rwkv_template_name(const rwkv_template *t);
RWKV_API const char *rwkv_template_name_at(size_t i);
RWKV_API bool rwkv_template_thinks(const rwkv_template *t);
/* The exact prompt for the messages, in the trained form: line ends normalised, blank lines inside a
 * turn collapsed, text trimmed. With `open` the prompt ends where the assistant begins to speak.
 * think applies to the last user turn. Writes no NUL. */
RWKV_API rwkv_status rwkv_template_render(const rwkv_template *t, const rwkv_message *messages,
                                          size_t n, rwkv_think think, bool open, char *buf,
                                          size_t cap, size_t *len, rwkv_error *err);
/* Texts at which an answer ends. */
RWKV_API const char *const *rwkv_template_stops(const rwkv_template *t, size_t *n);

/* ------------------------------------------------------------------ conversion */

typedef struct rwkv_convert_options {
    const char *format;   /* "gguf" (also NULL), "ggmf" (rwkv.cpp .bin, version 101), or "packed": GGUF
                             with matrices arranged as this version of the library uses them, which only
                             it opens, at once and with the same results; not with RWKV_MODEL_EXACT */
    const char *type;     /* "F32" "F16" "BF16" "Q4_0" ... "Q6_K", any case; NULL keeps the types */
    const char *vocab;    /* vocabulary to embed; NULL: as for rwkv_model_open */
    const char *chat;     /* chat template to record; NULL: chosen from the file */
    const char *sampling; /* preset to recommend (GGUF); NULL: that of the file, if any */
    uint32_t n_threads;
    bool (*progress)(void *user, uint64_t done, uint64_t total); /* input bytes; false cancels */
    void *progress_user;
    rwkv_log_fn log;
    void *log_user;
} rwkv_convert_options;

/* Any readable file to a new file, streaming: memory stays bounded for any size. */
RWKV_API rwkv_status rwkv_convert(const char *in, const char *out,
                                  const rwkv_convert_options *options, rwkv_error *err);

#ifdef __cplusplus
}
#endif
#endif
