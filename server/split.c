/* split.c - see split.h. */
#include "split.h"

static const char close_tag[] = "</think>";

void split_begin(split *s, rwkv_think think, bool raw) {
    bool tag = !raw && think != RWKV_THINK_NONE;
    *s = (split){.part = tag ? SPLIT_TAG : SPLIT_CONTENT,
                 .after_tag = think == RWKV_THINK_OFF ? SPLIT_CONTENT : SPLIT_THOUGHT,
                 .begun = raw};
}

static bool is_blank(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool put(split *s, char c, rw_buf *to) {
    if (!s->begun && is_blank(c)) return true;
    s->begun = true;
    return rw_buf_add(to, &c, 1);
}

bool split_finish(split *s, rw_buf *thought) {
    size_t n = s->matched;
    s->matched = 0;
    if (n) s->begun = true;
    return rw_buf_add(thought, close_tag, n);
}

static bool put_thought(split *s, char c, rw_buf *thought) {
    if (c == close_tag[s->matched]) {
        if (close_tag[++s->matched]) return true;
        *s = (split){.part = SPLIT_CONTENT};
        return true;
    }
    if (!split_finish(s, thought)) return false;
    if (c != close_tag[0]) return put(s, c, thought);
    s->matched = 1;
    return true;
}

bool split_push(split *s, const char *text, size_t n, rw_buf *thought, rw_buf *content) {
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        if (s->part == SPLIT_TAG) {
            s->part = s->after_tag;
            if (text[i] == '>') continue;
        }
        if (s->part == SPLIT_CONTENT && s->begun) return rw_buf_add(content, text + i, n - i);
        ok = s->part == SPLIT_CONTENT ? put(s, text[i], content) : put_thought(s, text[i], thought);
    }
    return ok;
}
