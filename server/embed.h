/* embed.h - a vector for a text, out of the state after reading it.
 *
 * RWKV models are not trained for this. What the state offers, at any length of text and in one
 * pass: per layer the normalised input of the channel mix at the last token ("shift" vectors), and
 * the WKV state, a sum over the whole text. docs/SERVER.md says how well each tells texts apart. */
#ifndef RWKV_SERVER_EMBED_H
#define RWKV_SERVER_EMBED_H

#include "base/base.h"

typedef enum embed_pooling {
    EMBED_LAST,  /* shift vector of the last layer: the last token in its context. n_embd */
    EMBED_MEAN,  /* shift vectors of the upper half of the layers, each of length 1, mean. n_embd */
    EMBED_STATE, /* WKV state of the upper half, mean over its keys, each of length 1, mean. n_att.
                    The default */
} embed_pooling;

bool embed_pooling_find(const char *name, embed_pooling *out); /* "last" "mean" "state" */
size_t embed_len(const rwkv_info *info, embed_pooling p);
/* out: [embed_len]; of length 1. False when memory is out. */
bool embed_session(const rwkv_session *s, embed_pooling p, float *out);
/* Of length 1 again after something was cut off. */
void embed_normalise(float *v, size_t n);

#endif
