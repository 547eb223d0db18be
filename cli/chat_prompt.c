/* chat_prompt.c - prompt files: speakers and opening of a conversation, as JSON (rwkv.cpp) or as
 * the assignments of ChatRWKV's .py files. Nothing in them is executed.
 *
 *     user, bot, separator | interface, prompt | init_prompt -> speakers
 */
#include "chat.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static bool complete(const speakers *s) {
    return s->user && s->bot && s->separator && s->prompt && *s->prompt;
}

/* ------------------------------------------------------------------ JSON */

static char *string_of(const json_t *o, const char *key, const char *other_key) {
    const char *s = json_string_value(json_object_get(o, key));
    if (!s) s = json_string_value(json_object_get(o, other_key));
    return chat_strdup(s);
}

static bool read_json(speakers *s, const char *data, size_t len, char why[200]) {
    json_error_t e;
    json_t *o = json_loadb(data, len, 0, &e);
    if (!o) {
        snprintf(why, 200, "%d:%d: %s", e.line, e.column, e.text);
        return false;
    }
    *s = (speakers){string_of(o, "user", "user"), string_of(o, "bot", "assistant"),
                    string_of(o, "separator", "interface"), string_of(o, "prompt", "init_prompt")};
    json_decref(o);
    return true;
}

/* ------------------------------------------------------------------ ChatRWKV's assignments */

/* {user}, {bot} and {interface} of an f-string; other braces stay. Returns what was consumed. */
static size_t substitute(text *out, const char *at, const speakers *s) {
    const struct {
        const char *name, *value;
    } names[] = {{"{user}", s->user}, {"{bot}", s->bot}, {"{interface}", s->separator}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(at, names[i].name, n) || !names[i].value) continue;
        text_puts(out, names[i].value);
        return n;
    }
    text_add(out, at, 1);
    return 1;
}

/* The string literal at s, malloc'd; NULL if there is none. */
static char *literal(const char *s, const speakers *names) {
    bool formatted = *s == 'f' || *s == 'F';
    s += formatted;
    char quote = *s;
    if (quote != '\'' && quote != '"') return NULL;
    size_t n = s[1] == quote && s[2] == quote ? 3 : 1;
    text out = {0};
    text_puts(&out, "");
    for (s += n; *s && strncmp(s, quote == '"' ? "\"\"\"" : "'''", n);) {
        if (*s == '\\' && s[1]) {
            const char *escape = strchr("nt\n", s[1]);
            if (!escape)
                text_add(&out, s + 1, 1);
            else if (*escape != '\n')
                text_puts(&out, *escape == 'n' ? "\n" : "\t");
            s += 2;
        } else if (*s == '{' && formatted) {
            s += substitute(&out, s, names);
        } else {
            text_add(&out, s++, 1);
        }
    }
    return out.s;
}

/* As ChatRWKV does: lines without blanks at their ends, a line end before, a blank line after. */
static char *tidy(const char *prompt) {
    text out = {0};
    size_t all = strlen(prompt);
    const char *s = chat_trim(prompt, &all), *end = s + all;
    text_puts(&out, "\n");
    while (s < end) {
        size_t line = strcspn(s, "\n"), n = line < (size_t)(end - s) ? line : (size_t)(end - s);
        size_t next = n;
        const char *trimmed = chat_trim(s, &n);
        while (n >= 3 && memcmp(trimmed, "　", 3) == 0) {
            trimmed += 3;
            n -= 3;
        }
        text_add(&out, trimmed, n);
        s += next + 1;
        if (s < end) text_puts(&out, "\n");
    }
    text_puts(&out, "\n\n");
    return out.s;
}

static void read_assignments(speakers *s, const char *data) {
    char *prompt = NULL;
    const struct {
        const char *name;
        char **value;
    } names[] = {{"user", &s->user},
                 {"bot", &s->bot},
                 {"interface", &s->separator},
                 {"init_prompt", &prompt}};
    for (const char *line = data; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            size_t n = strlen(names[i].name);
            if (strncmp(line, names[i].name, n)) continue;
            const char *p = line + n + strspn(line + n, " \t");
            if (*p++ != '=' || *names[i].value) continue;
            *names[i].value = literal(p + strspn(p, " \t"), s);
        }
    }
    s->prompt = prompt ? tidy(prompt) : NULL;
    free(prompt);
}

/* ------------------------------------------------------------------ files */

int chat_load_prompt(chat *c, const char *path) {
    char *data, why[200];
    size_t len;
    int code = cli_read_input(path, &data, &len);
    if (code) return chat_note(c, code);
    text whole = {0};
    text_add(&whole, data, len);
    free(data);
    speakers *s = chat_resize(NULL, 1, sizeof *s);
    *s = (speakers){0};
    snprintf(why, sizeof why, "%s",
             T("expected the texts user, bot, separator and prompt",
               "应有文本 user、bot、separator 与 prompt"));
    bool good = true;
    if (whole.s[strspn(whole.s, " \t\r\n")] == '{')
        good = read_json(s, whole.s, whole.n, why);
    else
        read_assignments(s, whole.s);
    free(whole.s);
    if (!good || !complete(s)) {
        speakers_free(s);
        return chat_fail(c, EXIT_INPUT, "%s: %s", path, why);
    }
    chat_restart(c);
    conversation *talk = chat_now(c);
    speakers_free(talk->speakers);
    talk->speakers = s;
    talk->think = RWKV_THINK_NONE;
    return chat_read_opening(c);
}
