/* template.c - messages -> the prompt that a model was trained on, and the texts that end its
 * answer.
 *
 * A turn is "Name: text" and a blank line; therefore no text inside a turn may contain a blank
 * line: line ends become "\n", runs of them one, the ends are trimmed. Every turn ends with its
 * blank line, so rendering a conversation equals rendering its parts one after the other (for
 * "pile" but for the newline in front). An open prompt ends in "Assistant:" without a blank: the
 * model's first token brings it.
 *
 * Prompts of 20B models that end in a blank line need RWKV_ENCODE_PROMPT. */
#include "text.h"
#include "vocab.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct rwkv_template {
    const char *name;
    const char *roles[3]; /* in front of a text, by rwkv_role; NULL: the text stands alone */
    const char *opening;  /* of the whole prompt */
    bool thinks, raw;
    const char *const *stops;
    size_t n_stops;
};

/* A blank line and the name of a speaker. With its colon: an answer may well have a paragraph that
 * begins with "Users". Not every blank line: World models write paragraphs. */
static const char *const world_stops[] = {"\n\nUser:", "\n\nAssistant:", "\n\nSystem:"};
static const char *const bob_stops[] = {"\n\nBob:", "\n\nAlice:", "\n\n# Instruction:"};

static const rwkv_template templates[] = {
    {"world", {"System:", "User:", "Assistant:"}, "", false, false, world_stops, 3},
    {"g1", {"System:", "User:", "Assistant:"}, "", true, false, world_stops, 3},
    {"raven", {NULL, "Bob:", "Alice:"}, "", false, false, bob_stops, 3},
    {"pile", {NULL, "Bob:", "Alice:"}, "\n", false, false, bob_stops, 2},
    {"raw", {NULL, NULL, NULL}, "", false, true, NULL, 0},
};
#define N_TEMPLATES (sizeof templates / sizeof *templates)

/* What follows the last user's text, and what opens the answer. The thought's tag stays without its
 * last
 * ">", because the next token may be ">", ">\n" or "></". */
static const struct think_mode {
    const char *suffix, *opening;
} think_modes[] = {
    [RWKV_THINK_NONE] = {"", ""},
    [RWKV_THINK_OFF] = {"", " <think></think"},
    [RWKV_THINK_ON] = {" (think)", " <think"},
    [RWKV_THINK_SHORT] = {" (think a bit)", " <think"},
    [RWKV_THINK_LONG] = {" (think a lot)", " <think"},
};

const rwkv_template *rwkv_template_find(const char *name) {
    for (size_t i = 0; name && i < N_TEMPLATES; i++) {
        if (strcmp(templates[i].name, name) == 0) return &templates[i];
    }
    return NULL;
}

rwkv_status rw_template_unknown(const char *name, rwkv_error *err) {
    char names[128] = "";
    size_t n = 0;
    for (size_t i = 0; i < N_TEMPLATES && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, " %s", templates[i].name);
    return rw_fail(err, RWKV_E_ARG, "chat template: found %s; expected one of%s", name, names);
}

const char *rwkv_template_name(const rwkv_template *t) {
    return t->name;
}

const char *rwkv_template_name_at(size_t i) {
    return i < N_TEMPLATES ? templates[i].name : NULL;
}

bool rwkv_template_thinks(const rwkv_template *t) {
    return t->thinks;
}

const char *const *rwkv_template_stops(const rwkv_template *t, size_t *n) {
    *n = t->n_stops;
    return t->stops;
}

/* ------------------------------------------------------------------ rendering */

typedef struct writer {
    char *buf;
    size_t cap, len;
} writer;

static void put(writer *w, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++, w->len++) {
        if (w->len < w->cap) w->buf[w->len] = s[i];
    }
}

static void put_string(writer *w, const char *s) {
    put(w, s, strlen(s));
}

typedef struct slice {
    const char *s;
    size_t n;
} slice;

/* Without Unicode white space at both ends. */
static slice trim(slice text) {
    size_t begin = text.n, end = 0;
    for (size_t i = 0; i < text.n;) {
        uint32_t cp = 0xFFFD;
        int len = rw_utf8_next(text.s + i, text.n - i, &cp);
        size_t step = len > 0 ? (size_t)len : 1;
        if (len < 1 || !rw_is_white(cp)) {
            if (begin > i) begin = i;
            end = i + step;
        }
        i += step;
    }
    return end ? (slice){text.s + begin, end - begin} : (slice){text.s, 0};
}

static slice find(slice text, const char *needle) {
    size_t len = strlen(needle);
    for (size_t i = 0; i + len <= text.n; i++) {
        if (memcmp(text.s + i, needle, len) == 0) return (slice){text.s + i, text.n - i};
    }
    return (slice){NULL, 0};
}

/* A history holds answers only: drops the thought in front of one, whole or cut off. */
static slice without_thought(slice text) {
    static const char open[] = "<think", close[] = "</think>";
    text = trim(text);
    if (text.n < sizeof open - 1 || memcmp(text.s, open, sizeof open - 1) != 0) return text;
    slice end = find(text, close);
    if (!end.s) return (slice){text.s, 0};
    return (slice){end.s + sizeof close - 1, end.n - (sizeof close - 1)};
}

/* A blank and the cleaned text; nothing at all if there is none. */
static void put_clean(writer *w, slice text, bool blank) {
    text = trim(text);
    if (text.n && blank) put(w, " ", 1);
    for (size_t i = 0; i < text.n; i++) {
        bool newline = text.s[i] == '\n' || text.s[i] == '\r';
        bool before = i > 0 && (text.s[i - 1] == '\n' || text.s[i - 1] == '\r');
        if (!newline) {
            put(w, text.s + i, 1);
        } else if (!before) {
            put(w, "\n", 1);
        }
    }
}

static void put_message(writer *w, const rwkv_template *t, const rwkv_message *m,
                        const char *suffix) {
    slice text = {m->text, m->len};
    const char *name = t->roles[m->role];
    if (t->raw) {
        put(w, text.s, text.n);
        return;
    }
    if (m->role == RWKV_ASSISTANT && t->thinks) text = without_thought(text);
    if (name) put_string(w, name);
    put_clean(w, text, name != NULL);
    put_string(w, suffix);
    put_string(w, "\n\n");
}

rwkv_status rwkv_template_render(const rwkv_template *t, const rwkv_message *messages, size_t n,
                                 rwkv_think think, bool open, char *buf, size_t cap, size_t *len,
                                 rwkv_error *err) {
    writer w = {buf, cap, 0};
    size_t last_user = n;
    if (!t || !len || (!messages && n) || (!buf && cap)) {
        return rw_fail(err, RWKV_E_ARG, "rwkv_template_render: an argument is NULL");
    }
    if ((unsigned)think > RWKV_THINK_LONG) {
        return rw_fail(err, RWKV_E_ARG, "think; found %d; expected 0 to %d", (int)think,
                       RWKV_THINK_LONG);
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned)messages[i].role > RWKV_ASSISTANT || (!messages[i].text && messages[i].len)) {
            return rw_fail(err, RWKV_E_ARG, "messages[%zu]: unknown role or no text", i);
        }
        if (messages[i].role == RWKV_USER) last_user = i;
    }
    const struct think_mode *mode = &think_modes[t->thinks && open ? think : RWKV_THINK_NONE];
    put_string(&w, t->opening);
    for (size_t i = 0; i < n; i++)
        put_message(&w, t, &messages[i], i == last_user ? mode->suffix : "");
    if (open && !t->raw) {
        put_string(&w, t->roles[RWKV_ASSISTANT]);
        put_string(&w, mode->opening);
    }
    *len = w.len;
    if (w.len <= cap || !buf) return RWKV_OK;
    return rw_fail(err, RWKV_E_SPACE, "the prompt has %zu bytes; there is room for %zu", w.len,
                   cap);
}

/* ------------------------------------------------------------------ choice */

static bool contains(slice text, const char *needle) {
    return find(text, needle).s != NULL;
}

static bool contains_word(const char *name, const char *lower) {
    size_t len = strlen(lower);
    for (; *name; name++) {
        size_t i = 0;
        while (i < len && tolower((unsigned char)name[i]) == lower[i]) i++;
        if (i == len) return true;
    }
    return false;
}

/* "g0", "g1", "g1a", "G1d2" as a part of its own: RWKV7-G1a-0.1B */
static bool names_g_series(const char *name) {
    for (size_t i = 0; name[i]; i++) {
        bool begins = i == 0 || !isalnum((unsigned char)name[i - 1]);
        if (begins && tolower((unsigned char)name[i]) == 'g' &&
            isdigit((unsigned char)name[i + 1]) && !isdigit((unsigned char)name[i + 2])) {
            return true;
        }
    }
    return false;
}

/* Our own files record a template's name. Else the model's name says most: llama.cpp's converter
 * writes one and the same template text into World and G1 files. */
const rwkv_template *rw_template_choose(const char *gguf_template, size_t gguf_template_len,
                                        const char *model_name, const char *version,
                                        size_t n_vocab) {
    slice text = {gguf_template ? gguf_template : "", gguf_template ? gguf_template_len : 0};
    const char *name = model_name ? model_name : "";
    bool deep_embed = version && strcmp(version, "7a") == 0; /* all of them are G1 */
    bool world = n_vocab >= 65530 && n_vocab <= 65536;
    bool neox = n_vocab >= 50254 && n_vocab <= 50304;
    const struct {
        bool applies;
        const char *name;
    } rules[] = {
        {names_g_series(name), "g1"},
        {contains_word(name, "raven"), "raven"},
        {contains_word(name, "pile"), "pile"},
        {contains_word(name, "world"), "world"},
        {contains(text, "<think"), "g1"},
        {contains(text, "Bob:") && contains(text, "Alice:"), "raven"},
        {contains(text, "rwkv-world") || contains(text, "Assistant:"), "world"},
        {world && deep_embed, "g1"},
        {world, "world"},
        {neox, "pile"},
    };
    for (size_t i = 0; i < N_TEMPLATES; i++) {
        if (strlen(templates[i].name) == text.n && memcmp(templates[i].name, text.s, text.n) == 0) {
            return &templates[i];
        }
    }
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].applies) return rwkv_template_find(rules[i].name);
    }
    return rwkv_template_find("raw");
}
