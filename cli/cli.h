/* cli.h - the program around librwkv. main.c holds the table of commands; one file per command.
 * Uses only <rwkv.h> of the library.
 *
 *     main.c -> command -> options.c parses -> cli_open_model -> the command's work -> stdout
 *
 * Exit codes (docs and man page list them): 0 done; 1 wrong usage; 2 bad input (file, vocabulary,
 * text, state); 3 the system failed (I/O, disk full, memory); 4 numbers went wrong; 130
 * interrupted. stdout carries results only; messages and progress go to stderr. */
#ifndef RWKV_CLI_H
#define RWKV_CLI_H

#include <rwkv.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
    EXIT_OK = 0,
    EXIT_USAGE = 1,
    EXIT_INPUT = 2,
    EXIT_SYSTEM = 3,
    EXIT_NUMERIC = 4,
    EXIT_INTERRUPTED = 130
};

/* ---- language of the interface: --lang, else LC_ALL / LC_MESSAGES / LANG */
typedef enum lang { LANG_EN, LANG_ZH } lang;
lang cli_lang(void);
void cli_set_lang(lang l);
/* Picks one of two texts: T("Reading", "正在读取"). */
#define T(en, zh) (cli_lang() == LANG_ZH ? (zh) : (en))

/* ---- options: one table per command serves parsing and help */
typedef enum opt_kind {
    OPT_FLAG,
    OPT_STRING,
    OPT_STRINGS,
    OPT_UINT,
    OPT_U64,
    OPT_FLOAT,
    OPT_HEADING /* no option: a line of the help; name is "" */
} opt_kind;

typedef struct opt_list { /* target of OPT_STRINGS: may be given several times */
    const char *items[64];
    size_t n;
} opt_list;

typedef struct option_spec {
    const char *name; /* without dashes: "top-p"; NULL ends the table */
    char letter;      /* 'p' or 0 */
    opt_kind kind;
    void *target;      /* bool *, const char **, opt_list *, uint32_t *, uint64_t *, float * */
    const char *value; /* "N", "FILE"; NULL for flags */
    const char *en, *zh;
    double min, max; /* range of numbers; both 0: any */
} option_spec;

typedef struct command {
    const char *name;
    const char *args;                    /* "MODEL [OPTIONS]" */
    const char *en, *zh;                 /* one line each */
    int (*run)(int argc, char **argv);   /* argv[0] is the command's name */
    const option_spec *(*options)(void); /* for help */
    const char *more_en, *more_zh;       /* further help paragraphs; may be NULL */
} command;

/* Parses argv[1..]; positional arguments are moved to argv[1..*n_args]. Accepts --name value,
 * --name=value, -n value, -nvalue, "--" and (for compatibility) single-dash long names. --lang and
 * --progress belong to every command. On error prints one line with the closest option's name and
 * returns EXIT_USAGE. --help prints the command's help and sets *helped. */
int cli_parse(const char *cmd, const option_spec *specs, int argc, char **argv, int *n_args,
              bool *helped);
/* The tables one after the other in out; the list of tables ends with NULL. Returns out. */
const option_spec *cli_join(option_spec *out, size_t cap, ...);
const option_spec *cli_common_specs(void); /* --lang --progress --help */
const char *cli_progress_mode(void);       /* "auto" "json" "off" */
/* The candidate nearest to what was typed, NULL if none is near. Zero-initialise, offer each. */
typedef struct nearest {
    const char *best;
    size_t distance;
} nearest;
void cli_nearest(nearest *n, const char *wanted, const char *candidate);

/* ---- options that several commands share; joined to a command's own with cli_join */
typedef struct model_args {
    const char *vocab, *chat, *isa;
    uint32_t threads;
    bool no_mmap, force, check, exact, dense;
    float group_norm_eps;
} model_args;
typedef struct sampling_args {
    rwkv_sampling how; /* complete after cli_sampling_resolve */
    const char *preset, *order, *seed;
    opt_list bias, ban;
    rwkv_logit_bias entries[128]; /* what how.bias points to */
} sampling_args;
const option_spec *cli_model_specs(model_args *a);
/* Clears *a: what the user does not give comes from the preset. */
const option_spec *cli_sampling_specs(sampling_args *a);
/* After cli_parse: fills a->how from --preset (else `preset`), then from the options given; reads
 * --bias and --ban (tok may be NULL: ids only); without --seed draws one. Prints errors. */
int cli_sampling_resolve(sampling_args *a, const char *preset, const rwkv_tokenizer *tok,
                         uint32_t n_vocab);

/* Opens with the memory check, warnings to stderr. Prints the error and returns an exit code != 0.
 */
int cli_open_model(rwkv_model **out, const char *path, const model_args *a);
/* The model that ships with the program: in the sources it was built from, else installed. NULL if it
 * is in neither place. */
const char *cli_demo_model(void);
/* The same for commands that need no MODEL: without a path the demo, and two lines on stderr that say
 * so and where real models are. */
int cli_open_model_or_demo(rwkv_model **out, const char *path, const model_args *a);

/* ---- output */
int cli_error(const rwkv_error *err); /* "rwkv: message" to stderr; its exit code */
/* For an error that arose while reading the user's file `path`: one that is missing, unreadable, no
 * regular file or holds NaN is bad input, not a failure of the system or of a calculation. */
int cli_input_error(const rwkv_error *err, const char *path);
int cli_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Text of a model or file to a stream: on a terminal control bytes other than \n and \t are shown
 * as \xNN (V7); raw otherwise. */
void cli_put_text(FILE *to, const char *text, size_t n);
/* Flushes stdout. A reader that went away (EPIPE) is silent; any other failure is reported once.
 * Returns code, or EXIT_SYSTEM. */
int cli_close_output(int code);
/* Length of the UTF-8 character at s; 0 if the bytes are none. */
size_t cli_utf8_len(const char *s, size_t n);
/* A copy with every wrong byte replaced by U+FFFD (JSON strings must be UTF-8); malloc'd. */
char *cli_valid_utf8(const char *s, size_t n, size_t *len);
char *cli_human_bytes(uint64_t n, char out[32]); /* "1.53 GB" */
/* Progress line with rate and ETA on a terminal's stderr (or JSON lines with --progress json),
 * silent otherwise. unit "B" counts bytes; total 0: unknown. done == total ends it; what NULL too,
 * quietly. */
void cli_progress(const char *what, uint64_t done, uint64_t total, const char *unit);
double cli_seconds(void); /* monotonic clock */

/* ---- input */
/* stdin or a file, whole, and a NUL that *len does not count. "-" is stdin. */
int cli_read_input(const char *path, char **data, size_t *len);
/* A text's ids, malloc'd with room for one more; prints errors. prompt_end: the model continues
 * from here (RWKV_ENCODE_PROMPT). */
int cli_encode(const rwkv_tokenizer *tok, const char *text, size_t len, bool prompt_end,
               int32_t **ids, size_t *n);
/* Ids separated by blanks or commas, or JSON: [1,2] or {"ids":[1,2]}. Appends to *ids (realloc'd).
 * Prints errors; limit: ids must be below it. */
int cli_parse_ids(const char *text, size_t len, size_t limit, int32_t **ids, size_t *n);
/* Feeds a prompt in pieces, with progress; stops early when interrupted. */
rwkv_status cli_feed(rwkv_session *s, const int32_t *ids, size_t n, rwkv_error *err);

/* ---- Ctrl-C: the first sets a flag, the second ends the program */
void cli_catch_interrupt(void);
void cli_interrupt_reads(bool on); /* around what waits for input: Ctrl-C ends the waiting */
bool cli_interrupted(void);
void cli_clear_interrupt(void);

/* ---- one answer: sample, stream, feed; shared by run and chat */
typedef struct generation {
    rwkv_session *session; /* has logits, or a token pends */
    rwkv_sampler *sampler;
    rwkv_stream *stream; /* is reset at the beginning */
    const rwkv_tokenizer *tokenizer;
    uint64_t max_tokens; /* 0: no limit */
    bool ignore_end;     /* go on after the end-of-text token */
    /* Called with text that may be shown; false stops. */
    bool (*on_text)(void *user, const char *text, size_t n);
    /* Called with every token that was chosen, before its text; may be NULL. */
    void (*on_token)(void *user, int32_t id);
    void *user;
} generation;
typedef enum finish {
    FINISH_STOP,
    FINISH_END,
    FINISH_LENGTH,
    FINISH_INTERRUPT,
    FINISH_ERROR
} finish;
/* Afterwards the session's text is the prompt and all bytes of the tokens chosen, also those of the
 * stop string and what its last token holds beyond it: all are fed, the last one pends. The end
 * token, unless ignored, is counted but neither fed nor pending, so that the text can go on. */
finish cli_generate(generation *g, uint64_t *n_tokens, rwkv_error *err);
const char *cli_finish_name(finish f); /* "stop" "end" "length" "interrupt" "error" */

/* ---- commands */
extern const command *const cli_commands[]; /* ends with NULL */
const command *cli_find_command(const char *name);
int cli_unknown_command(const char *name); /* prints, with the nearest name */
void cli_print_help(FILE *to, const command *c);
extern const command cmd_run, cmd_chat, cmd_serve, cmd_loadtest, cmd_ingest, cmd_info, cmd_convert,
    cmd_quantize, cmd_pack, cmd_tokenize, cmd_logits, cmd_perplexity, cmd_bench, cmd_help;
#endif
