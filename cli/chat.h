/* chat.h - rwkv chat: a conversation as an object.
 *
 *     line -> chat_commands.c | chat_legacy.c | a question
 *     question -> conversation (messages -> prompt -> ids) -> timeline (ids -> state) -> answer
 *
 * Two nouns carry it. A conversation is text: messages, and the ids they became. A timeline is the
 * one session, which can be put after any sequence of ids and is quick when a beginning of it was
 * read before. So rewinding, forking, editing and loading only change ids, and the state follows.
 */
#ifndef RWKV_CHAT_H
#define RWKV_CHAT_H

#include "cli.h"

/* ---- growing arrays. The program ends when memory for a few bytes is refused. */
typedef struct text {
    char *s; /* NUL-terminated once something was added */
    size_t n, cap;
} text;
typedef struct id_list {
    int32_t *v;
    size_t n, cap;
} id_list;

void *chat_resize(void *p, size_t n, size_t size);
char *chat_strdup(const char *s); /* NULL stays NULL */
void text_add(text *t, const char *s, size_t n);
void text_puts(text *t, const char *s);
void ids_add(id_list *l, const int32_t *v, size_t n);
/* Without the blanks at both ends. */
const char *chat_trim(const char *s, size_t *n);

/* ---- timeline.c */
typedef struct snapshot {
    rwkv_session *session;
    id_list read;
    uint64_t used; /* the clock when it last helped */
} snapshot;

typedef struct timeline {
    rwkv_model *model;
    rwkv_session *session;
    id_list read;       /* what the session has read, a pending token included */
    rwkv_session *base; /* where every text begins; NULL: the empty state */
    snapshot *snapshots;
    size_t n_snapshots;
    uint64_t budget; /* bytes for snapshots; the oldest and closest are dropped first */
    uint64_t clock;
    uint64_t n_fed; /* tokens that were evaluated to get where texts end */
} timeline;

rwkv_status timeline_open(timeline *t, rwkv_model *model, uint64_t budget, rwkv_error *err);
void timeline_close(timeline *t);
/* Puts the session after exactly these ids. RWKV_E_CANCELLED when interrupted on the way. */
rwkv_status timeline_seek(timeline *t, const int32_t *ids, size_t n, rwkv_error *err);
/* How many of these ids need not be read. */
size_t timeline_known(const timeline *t, const int32_t *ids, size_t n);
/* Remembers the present state. Without memory for it nothing is lost but time. */
void timeline_keep(timeline *t);
/* The session was loaded from a file and now has read these ids. */
void timeline_adopt(timeline *t, const int32_t *ids, size_t n);
/* The session's present state becomes the beginning of every text. */
rwkv_status timeline_rebase(timeline *t, rwkv_error *err);
/* After an error of the session: its state is unknown. */
void timeline_forget(timeline *t);
uint64_t timeline_bytes(const timeline *t); /* of the snapshots */

/* ---- conversation.c */

/* Speakers of a prompt file of ChatRWKV or rwkv.cpp. They take the place of a template. */
typedef struct speakers {
    char *user, *bot, *separator, *prompt;
} speakers;

typedef struct message {
    rwkv_role role;
    uint32_t attempt; /* answers: how many times it was asked for before */
    text text;        /* answers: with their thoughts */
} message;

/* A point between two ids where a prompt may part from what was read. */
typedef struct mark {
    size_t ids, text, messages;
} mark;

typedef struct conversation {
    const rwkv_template *template;
    speakers *speakers; /* NULL: the template speaks */
    char *system;       /* NULL: none */
    rwkv_think think;
    bool keep_thoughts; /* thoughts of earlier answers stay in the history */
    bool after_text;    /* the base of the timeline is text of unknown end */
    message *messages;
    size_t n;
    id_list ids; /* what the model reads, */
    text text;   /* its bytes, */
    mark *marks; /* and its seams, in order */
    size_t n_marks;
    struct conversation *older; /* before the last change */
} conversation;

conversation *conversation_new(const rwkv_template *t);
conversation *conversation_copy(const conversation *c); /* without what is older */
void conversation_free(conversation *c);
void speakers_free(speakers *s);
/* Remembers the present for undo. */
void conversation_checkpoint(conversation *c);
/* False when there is nothing older. */
bool conversation_undo(conversation *c);
void conversation_add(conversation *c, rwkv_role role, const char *s, size_t n);
/* Keeps the first n messages. */
void conversation_truncate(conversation *c, size_t n);
/* Appends ids that the model has read or is to read. */
void conversation_read(conversation *c, const rwkv_tokenizer *tok, const int32_t *ids, size_t n);
void conversation_mark(conversation *c, size_t n_messages);
/* Turns the messages into ids, up to where the assistant begins to speak. What was read before
 * stays as far as it is a beginning of the new prompt. */
rwkv_status conversation_prompt(conversation *c, const rwkv_tokenizer *tok, rwkv_error *err);
/* Of the prompt: the thought that it opens, "<think", or "". */
const char *conversation_opener(const conversation *c, size_t *n);
/* The part of an answer after its thoughts; all of it if there are none. *thoughts may be NULL. */
const char *answer_visible(const char *s, size_t *n, const char **thoughts, size_t *n_thoughts);
/* Messages are the text itself, without frames, and are not trimmed. */
bool conversation_is_raw(const conversation *c);
/* Texts that end an answer. */
const char *const *conversation_stops(const conversation *c, size_t *n);
/* As the vocabulary spells it (20B normalises), with wrong bytes replaced. */
rwkv_status chat_normal_text(const rwkv_tokenizer *tok, const char *s, size_t n, text *out,
                             rwkv_error *err);

/* ---- the chat */
typedef struct branch {
    char *name;
    conversation *talk;
} branch;

typedef struct rates {
    uint64_t prompt_tokens, tokens;
    double prompt_seconds, seconds;
} rates;

/* What the user set for one message only. */
typedef struct overrides {
    bool has_temperature, has_top_p;
    float temperature, top_p;
} overrides;

typedef struct editor editor;

typedef struct chat {
    rwkv_model *model;
    rwkv_info info;
    const rwkv_tokenizer *tokenizer;
    rwkv_sampling sampling;
    rwkv_logit_bias biases[128];      /* of sampling, when they came from a file */
    uint64_t max_tokens, free_tokens; /* of an answer, of a free generation; 0: no limit */
    bool stats, terminal, quit;
    int code; /* of the first command that failed, when a script drives us */
    timeline time;
    branch *branches;
    size_t n_branches, current;
    id_list free_begin, free_end; /* of the last free generation */
    uint64_t n_free;
    text attached; /* goes with the next message */
    rates last, total;
    editor *editor; /* NULL: stdin is no terminal */
} chat;

conversation *chat_now(chat *c);
void chat_add_branch(chat *c, const char *name, conversation *talk); /* and switches to it */
/* Notices go to stderr: stdout carries answers. */
void chat_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Tells of a failure; a script's exit code becomes that of its first. Returns code. */
int chat_fail(chat *c, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int chat_error(chat *c, const rwkv_error *err);
/* The same for what was told already. */
int chat_note(chat *c, int code);
/* Asks and answers; what fails or is interrupted before anything was said leaves no trace. */
int chat_ask(chat *c, const char *s, size_t n, const overrides *over);
int chat_regenerate(chat *c, const overrides *over);
/* Reads a system text or a prompt file's opening before it is needed. */
int chat_read_opening(chat *c);
/* Continues free_begin with neither template nor stop strings. */
int chat_continue(chat *c, const overrides *over);
/* A message of the user, from one line or several. */
void chat_line(chat *c, char *line);
/* The next line; false at the end of input. malloc'd. prompt: what a terminal shows. */
bool chat_read_line(chat *c, const char *prompt, char **line);
void chat_print_rates(const rates *r);
void chat_restart(chat *c); /* an empty conversation in the same style */

/* ---- chat_commands.c */
void chat_command(chat *c, const char *line); /* begins with "/" */
const char *chat_command_name(size_t i);      /* "/save"; NULL after the last */
const char *chat_think_name(rwkv_think think);
bool chat_think_mode(const char *name, rwkv_think *out);

/* ---- chat_settings.c */
int chat_set(chat *c, const char *key, const char *value);
void chat_show_settings(const chat *c);
struct json_t;
/* What the command line gave wins over a file's settings. raw: the parsed options, where NaN and
 * UINT32_MAX are what was not given. */
void chat_settings_again(chat *c, const sampling_args *args, const rwkv_sampling *raw);
struct json_t *chat_settings_json(const chat *c);
void chat_settings_from_json(chat *c, const struct json_t *o);

/* ---- chat_legacy.c */
/* Takes -temp=X and -top_p=X out of the message, in place. False after a value that is no number.
 */
bool legacy_overrides(chat *c, char *s, overrides *over);
void legacy_newlines(char *s); /* "\n" typed as two characters */
bool legacy_command(chat *c, const char *s, const overrides *over);

/* ---- chat_prompt.c */
/* Restarts the conversation with the file's speakers and opening. */
int chat_load_prompt(chat *c, const char *path);

/* ---- chat_files.c */
int chat_save(chat *c, const char *name);
int chat_load(chat *c, const char *name);
int chat_list(chat *c);
int chat_export(chat *c, const char *format, const char *path);
/* $XDG_STATE_HOME/rwkv/NAME and the like; folders are made (0700). False without a home. */
bool chat_path(text *out, const char *variable, const char *under_home, const char *name);

/* ---- chat_edit.c */
editor *editor_open(void);
void editor_close(editor *e);
typedef enum line_status { LINE_OK, LINE_END, LINE_INTERRUPT } line_status;
/* malloc'd, without its newline; empty when Ctrl-C threw it away, LINE_INTERRUPT when it was empty
 * before. */
line_status editor_line(editor *e, const char *prompt, char **line);
/* What the next line begins with. */
void editor_prefill(editor *e, const char *s);

#endif
