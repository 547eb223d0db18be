/* text.h - what the rest of the library needs of text beyond rwkv.h. */
#ifndef RW_TEXT_H
#define RW_TEXT_H

#include "../base/base.h"

/* From a GGUF token list (strings escaped like a Python bytes literal; types: 1 normal, 3 control,
 * 5 unused; control and unused entries stay out of the trie). types may be NULL. */
rwkv_status rw_tokenizer_from_gguf(rwkv_tokenizer **out, const char *path,
                                   const char *const *tokens, const uint32_t *lens, size_t n,
                                   const int32_t *types, rwkv_error *err);
/* The inverse: the escaped entry of an id, "[PADn]" for unused ids. *type as above. */
rwkv_status rw_tokenizer_gguf_entry(const rwkv_tokenizer *t, int32_t id, rw_buf *out,
                                    int32_t *type);
/* The bytes of a vocabulary file of any kind that rwkv_tokenizer_open knows; path for messages. */
rwkv_status rw_tokenizer_from_text(rwkv_tokenizer **out, const char *path, const void *data,
                                   size_t len, rwkv_error *err);
/* The tokenizer.json that a 20B vocabulary was read from; NULL for other kinds. */
const char *rw_tokenizer_json(const rwkv_tokenizer *t, size_t *len);
/* vocab if not NULL, else a file beside the model, else $XDG_DATA_HOME/rwkv, else
 * <prefix>/share/rwkv, else (256 tokens) bytes. RWKV_E_VOCAB says what is missing and where to get
 * it. A vocabulary whose ids do not fit n_vocab is refused. */
rwkv_status rw_tokenizer_search(rwkv_tokenizer **out, const char *vocab, const char *model_path,
                                size_t n_vocab, rwkv_error *err);
/* True if the vocabulary spells id 0 as an ordinary token (puzzle vocabularies). */
bool rw_tokenizer_has_zero(const rwkv_tokenizer *t);

/* The template for a model: by GGUF's tokenizer.chat_template (may be NULL), the model's name, its
 * version ("7") and vocabulary size. Never NULL. */
const rwkv_template *rw_template_choose(const char *gguf_template, size_t gguf_template_len,
                                        const char *model_name, const char *version,
                                        size_t n_vocab);
/* RWKV_E_ARG that lists the names. */
rwkv_status rw_template_unknown(const char *name, rwkv_error *err);

/* The preset of this name, as a string that lives for ever; NULL if there is none. */
const char *rw_sampling_find(const char *name, size_t len);

#endif
