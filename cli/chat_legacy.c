/* chat_legacy.c - the commands of ChatRWKV and of rwkv.cpp's chat_with_bot.py.
 *
 * The scripts keep five named states. Here chat_init is the beginning of every conversation, chat
 * the present one, chat_pre its prompt before the last answer; gen_0 and gen_1 are the ids before
 * and after the last free generation (free_begin, free_end). */
#include "chat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void legacy_newlines(char *s) {
    char *out = s;
    while (*s) {
        bool newline = s[0] == '\\' && s[1] == 'n';
        *out++ = newline ? '\n' : *s;
        s += newline ? 2 : 1;
    }
    *out = '\0';
}

/* Removes "NAME=VALUE" from s. 1: found, 0: not there, -1: the value is no number. */
static int take_number(char *s, const char *name, float *value) {
    char *at = strstr(s, name), *end;
    if (!at) return 0;
    size_t len = strlen(name), value_len = strcspn(at + len, " \t\n");
    *value = strtof(at + len, &end);
    if (value_len == 0 || end != at + len + value_len || !isfinite(*value)) return -1;
    memmove(at, end, strlen(end) + 1);
    return 1;
}

/* The scripts' clamps. rwkv.cpp's sampler takes a top_p of 0 as 1. */
bool legacy_overrides(chat *c, char *s, overrides *over) {
    int temperature = take_number(s, "-temp=", &over->temperature);
    int top_p = take_number(s, "-top_p=", &over->top_p);
    if (temperature < 0 || top_p < 0) {
        chat_fail(c, EXIT_USAGE, T("%s needs a number, as in %s0.5", "%s 需要一个数，例如 %s0.5"),
                  temperature < 0 ? "-temp=" : "-top_p=", temperature < 0 ? "-temp=" : "-top_p=");
        return false;
    }
    over->has_temperature = temperature > 0;
    over->has_top_p = top_p > 0;
    over->temperature = fminf(fmaxf(over->temperature, 0.2f), 5);
    if (over->top_p <= 0 || over->top_p > 1) over->top_p = 1;
    return true;
}

/* ------------------------------------------------------------------ free generation */

static int encode_into(chat *c, id_list *out, const char *s, size_t n, bool from_start) {
    int32_t *ids = NULL;
    size_t count = 0;
    int code = cli_encode(c->tokenizer, s, n, true, &ids, &count);
    if (code) return chat_note(c, code);
    if (from_start) out->n = 0;
    ids_add(out, ids, count);
    free(ids);
    return EXIT_OK;
}

static int free_text(chat *c, const char *before, const char *what, size_t n, const char *after,
                     const overrides *over) {
    text whole = {0};
    text_puts(&whole, before);
    what = chat_trim(what, &n);
    text_add(&whole, what, n);
    text_puts(&whole, after);
    int code = encode_into(c, &c->free_begin, whole.s, whole.n, true);
    free(whole.s);
    return code ? code : chat_continue(c, over);
}

static int gen(chat *c, const char *s, const overrides *over) {
    return free_text(c, "\n", s, strlen(s), "", over);
}

static int instruction(chat *c, const char *s, const overrides *over) {
    return free_text(c,
                     "\nBelow is an instruction that describes a task. Write a response that "
                     "appropriately completes the request.\n\n# Instruction:\n",
                     s, strlen(s), "\n\n# Response:\n", over);
}

static int creative_question(chat *c, const char *s, const overrides *over) {
    return free_text(c, "\nQ: ", s, strlen(s), "\nA:", over);
}

/* From the beginning of the conversation, without its turns. */
static int question(chat *c, const char *s, const overrides *over) {
    rwkv_error err = {0};
    conversation *alone = conversation_copy(chat_now(c));
    conversation_truncate(alone, 0);
    alone->think = RWKV_THINK_NONE;
    conversation_add(alone, RWKV_USER, s, strlen(s));
    rwkv_status st = conversation_prompt(alone, c->tokenizer, &err);
    if (st == RWKV_OK) {
        c->free_begin.n = 0;
        ids_add(&c->free_begin, alone->ids.v, alone->ids.n);
    }
    conversation_free(alone);
    return st == RWKV_OK ? chat_continue(c, over) : chat_error(c, &err);
}

static int again(chat *c, const char *s, const overrides *over) {
    (void)s;
    if (c->free_begin.n) return chat_continue(c, over);
    return chat_fail(c, EXIT_USAGE,
                     T("Nothing to repeat: +gen, +i, +qa or +qq comes first.",
                       "没有可重做的内容：请先使用 +gen、+i、+qa 或 +qq。"));
}

static int go_on(chat *c, const char *s, const overrides *over) {
    if (c->free_end.n) {
        c->free_begin.n = 0;
        ids_add(&c->free_begin, c->free_end.v, c->free_end.n);
    }
    return again(c, s, over);
}

/* ------------------------------------------------------------------ chat */

static int reset(chat *c, const char *s, const overrides *over) {
    (void)s;
    (void)over;
    chat_restart(c);
    chat_say(T("Chat reset.", "对话已重置。"));
    return EXIT_OK;
}

/* The scripts answer the last message again even after +reset. */
static int another_answer(chat *c, const char *s, const overrides *over) {
    (void)s;
    conversation *talk = chat_now(c);
    if (talk->n == 0 && talk->older && talk->older->n > 0) conversation_undo(talk);
    return chat_regenerate(c, over);
}

static int prompt(chat *c, const char *s, const overrides *over) {
    (void)over;
    size_t n = strlen(s);
    s = chat_trim(s, &n);
    int code = chat_load_prompt(c, s);
    if (code == EXIT_OK) chat_say(T("Prompt set up.", "提示已载入。"));
    return code;
}

/* Commands with a text end in a blank; upper case will do, but for +reset, as in the scripts. */
static const struct legacy {
    const char *name;
    bool exact_case;
    int (*run)(chat *c, const char *s, const overrides *over);
} commands[] = {
    {"+reset", true, reset},
    {"+gen ", false, gen},
    {"+i ", false, instruction},
    {"+qa ", false, question},
    {"+qq ", false, creative_question},
    {"+++", false, go_on},
    {"++", false, again},
    {"+", false, another_answer},
    {"+prompt ", false, prompt},
};

bool legacy_command(chat *c, const char *s, const overrides *over) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct legacy *l = &commands[i];
        size_t len = strlen(l->name);
        bool has_text = l->name[len - 1] == ' ';
        if (l->exact_case ? strcmp(s, l->name)
            : has_text    ? strncasecmp(s, l->name, len)
                          : strcasecmp(s, l->name)) {
            continue;
        }
        l->run(c, s + len, over);
        return true;
    }
    return false;
}
