/* split.h - an answer's text into thought and content, piece by piece.
 *
 * The prompt of a model that thinks ends in "<think" (or, to answer at once, "<think></think"): so
 * the answer begins with ">", then comes the thought up to "</think>", then the content. White
 * space at the beginning of each is not shown. */
#ifndef RWKV_SERVER_SPLIT_H
#define RWKV_SERVER_SPLIT_H

#include "base/base.h"

typedef enum split_part { SPLIT_TAG, SPLIT_THOUGHT, SPLIT_CONTENT } split_part;

typedef struct split {
    split_part part, after_tag;
    bool begun;     /* something other than white space was shown of this part */
    size_t matched; /* bytes of "</think>" held back */
} split;

void split_begin(split *s, rwkv_think think, bool raw); /* raw: everything is content as it is */
/* Appends to the two buffers. False: out of memory. */
bool split_push(split *s, const char *text, size_t n, rw_buf *thought, rw_buf *content);
bool split_finish(split *s, rw_buf *thought);

#endif
