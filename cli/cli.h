/* cli.h - the program around librwkv. main.c holds the table of commands; one file per command. Uses only
 * <rwkv.h> of the library.
 *
 * Exit codes (docs and man page list them): 0 done; 1 wrong usage; 2 bad input (file, vocabulary, text,
 * state); 3 the system failed (I/O, disk full, memory); 4 numbers went wrong; 130 interrupted. */
#ifndef RWKV_CLI_H
#define RWKV_CLI_H

#include <rwkv.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { EXIT_OK = 0, EXIT_USAGE = 1, EXIT_INPUT = 2, EXIT_SYSTEM = 3, EXIT_NUMERIC = 4, EXIT_INTERRUPTED = 130 };

/* ---- language of the interface: --lang, else LC_ALL / LC_MESSAGES / LANG */
typedef enum lang { LANG_EN, LANG_ZH } lang;
lang cli_lang(void);
void cli_set_lang(lang l);
/* Picks one of two texts: T("Reading", "正在读取"). */
#define T(en, zh) (cli_lang() == LANG_ZH ? (zh) : (en))

/* ---- options: one table per command serves parsing, help text and the man page's facts */
typedef enum opt_kind { OPT_FLAG, OPT_STRING, OPT_STRINGS, OPT_UINT, OPT_U64, OPT_FLOAT } opt_kind;

typedef struct opt_list { /* target of OPT_STRINGS: may be given several times */
    const char *items[64];
    size_t n;
} opt_list;

typedef struct option_spec {
    const char *name;   /* without dashes: "top-p"; NULL ends the table */
    char letter;        /* 'p' or 0 */
    opt_kind kind;
    void *target;       /* bool *, const char **, opt_list *, uint32_t *, uint64_t *, float * */
    const char *value;  /* "N", "FILE"; NULL for flags */
    const char *en, *zh;
    double min, max;    /* range of numbers; both 0: any */
} option_spec;

typedef struct command {
    const char *name;
    const char *args;            /* "MODEL [OPTIONS]" */
    const char *en, *zh;         /* one line each */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name */
    const option_spec *(*options)(void); /* for help */
    const char *more_en, *more_zh;       /* further help paragraphs; may be NULL */
} command;

/* Parses argv[1..]; positional arguments are moved to argv[1..*n_args]. Accepts --name value,
 * --name=value, -n value, -nvalue, "--" and (for compatibility) single-dash long names. On error
 * prints one line with the closest option's name and returns EXIT_USAGE. --help prints the command's
 * help and sets *helped. */
int cli_parse(const char *cmd, const option_spec *specs, int argc, char **argv, int *n_args, bool *helped);

/* ---- options that several commands share; cli_model_specs etc. are appended with cli_join */
typedef struct model_args {
    const char *vocab, *chat, *isa;
    uint32_t threads;
    bool no_mmap, force, check;
    float group_norm_eps;
} model_args;
typedef struct sampling_args {
    rwkv_sampling how;   /* starts as the preset */
    const char *preset, *order;
    opt_list bias, ban;
    bool seed_given;
} sampling_args;
const option_spec *cli_model_specs(model_args *a);
const option_spec *cli_sampling_specs(sampling_args *a);

/* Opens with the memory check, warnings to stderr. Prints the error and returns an exit code != 0. */
int cli_open_model(rwkv_model **out, const char *path, const model_args *a);

/* ---- output */
int cli_error(const rwkv_error *err);                 /* "rwkv: message" to stderr; its exit code */
int cli_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Text of a model or file to a stream: on a terminal control bytes other than \n and \t are shown as
 * \xNN (V7); raw otherwise. */
void cli_put_text(FILE *to, const char *text, size_t n);
char *cli_human_bytes(uint64_t n, char out[32]);      /* "1.53 GB" */
/* Progress line with rate and ETA on a terminal's stderr, silent otherwise. done == total ends it. */
void cli_progress(const char *what, uint64_t done, uint64_t total, const char *unit);
/* stdin or a file, whole. "-" is stdin. */
int cli_read_input(const char *path, char **data, size_t *len);

/* ---- Ctrl-C: the first sets a flag, the second ends the program */
void cli_catch_interrupt(void);
bool cli_interrupted(void);
void cli_clear_interrupt(void);

/* ---- one answer: sample, stream, feed; shared by run and chat */
typedef struct generation {
    rwkv_session *session;      /* has logits; the last token is left pending */
    rwkv_sampler *sampler;
    rwkv_stream *stream;
    const rwkv_tokenizer *tokenizer;
    uint64_t max_tokens;        /* 0: no limit */
    bool ignore_end;            /* go on after the end-of-text token */
    /* Called with text that may be shown; false stops. */
    bool (*on_text)(void *user, const char *text, size_t n);
    /* Called with every token that was chosen; may be NULL. */
    void (*on_token)(void *user, int32_t id);
    void *user;
} generation;
typedef enum finish { FINISH_STOP, FINISH_END, FINISH_LENGTH, FINISH_INTERRUPT, FINISH_ERROR } finish;
finish cli_generate(generation *g, uint64_t *n_tokens, rwkv_error *err);
const char *cli_finish_name(finish f); /* "stop" "end" "length" "interrupt" "error" */

extern const command cli_commands[];   /* ends with name NULL */
#endif
