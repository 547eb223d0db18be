/* prompt.h - messages or text -> the ids that the model reads, and the places worth a snapshot. */
#ifndef RWKV_SERVER_PROMPT_H
#define RWKV_SERVER_PROMPT_H

#include "server.h"

enum { LIMIT_MESSAGES = 10000, LIMIT_MARKS = 64 };

typedef struct prompt {
    int32_t *tokens; /* [n] */
    size_t n;
    size_t *marks; /* [n_marks] ends of messages, in tokens, ascending */
    size_t n_marks;
    char *text; /* what was encoded; kept for echo and apply-template, else NULL */
    size_t n_text;
} prompt;
void prompt_free(prompt *p);

typedef struct message_list {
    rwkv_message *items; /* texts point into the JSON or into `joined` */
    char **joined;       /* contents that came in parts */
    size_t n, n_joined;
} message_list;
void messages_free(message_list *m);

/* Reads `messages`. False after a reply that names messages[i]. */
bool messages_read(request *r, const json_t *messages, message_list *out);
/* The prompt for an answer to them. after_text: something stands before them, a blank line parts.
 */
bool prompt_from_messages(request *r, const message_list *m, rwkv_think think, bool after_text,
                          bool keep_text, prompt *out);
/* The same messages as a beginning that is only read: without an open turn, up to its last letter.
 */
bool prompt_of_history(request *r, const message_list *m, bool after_text, prompt *out);
/* n bytes as they are. An empty text begins where documents begin, if `begin`. */
bool prompt_from_text(request *r, const char *param, const char *text, size_t n, bool begin,
                      bool keep_text, prompt *out);
/* A list of token ids. */
bool prompt_from_ids(request *r, const char *param, const json_t *ids, bool keep_text, prompt *out);

/* Bytes of tokens, joined; malloc'd. NULL: out of memory. */
char *tokens_text(const rwkv_tokenizer *t, const int32_t *tokens, size_t n, size_t *len);

#endif
