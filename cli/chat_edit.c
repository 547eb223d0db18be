/* chat_edit.c - lines from a terminal: libedit with wide characters, a history file, completion of
 * command names.
 *
 * Ctrl-C and Ctrl-Z are keys here, not signals: the first clears the line, or asks for a hint on an
 * empty one. While the model speaks the terminal is as it was and they are signals again. */
#include "chat.h"

#include <fcntl.h>
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

struct editor {
    EditLine *line;
    HistoryW *history;
    char *file; /* of the history; NULL: none */
    wchar_t *prompt;
    bool interrupted; /* the line that comes is to be thrown away */
    bool empty;       /* and there was nothing in it */
};

/* malloc'd; NULL when the bytes are no text of this locale. */
static wchar_t *widen(const char *s) {
    size_t n = mbstowcs(NULL, s, 0);
    if (n == (size_t)-1) return NULL;
    wchar_t *w = chat_resize(NULL, n + 1, sizeof *w);
    mbstowcs(w, s, n + 1);
    return w;
}

static char *narrow(const wchar_t *w) {
    size_t n = wcstombs(NULL, w, 0);
    if (n == (size_t)-1) return NULL;
    char *s = chat_resize(NULL, n + 1, 1);
    wcstombs(s, w, n + 1);
    return s;
}

static editor *of(EditLine *line) {
    void *e = NULL;
    el_wget(line, EL_CLIENTDATA, &e);
    return e;
}

static wchar_t *show_prompt(EditLine *line) {
    return of(line)->prompt;
}

/* Ends the line like the Enter key, so that libedit leaves the screen in order. */
static unsigned char on_interrupt(EditLine *line, wint_t key) {
    editor *e = of(line);
    const LineInfoW *info = el_wline(line);
    (void)key;
    e->interrupted = true;
    e->empty = info->lastchar == info->buffer;
    el_cursor(line, (int)(info->lastchar - info->cursor));
    el_winsertstr(line, L"^C");
    el_wpush(line, L"\n");
    return CC_REFRESH;
}

/* What a terminal pastes comes between two marks; its line ends belong to the text. */
static unsigned char on_paste(EditLine *line, wint_t key) {
    static const wchar_t end[] = L"\033[201~";
    const size_t n_end = sizeof end / sizeof *end - 1;
    wchar_t *all = NULL, c;
    size_t n = 0, cap = 0;
    (void)key;
    while (el_wgetc(line, &c) == 1) {
        if (n + 2 > cap) all = chat_resize(all, cap = cap ? cap * 2 : 256, sizeof *all);
        all[n++] = c == L'\r' ? L'\n' : c;
        if (n >= n_end && wmemcmp(all + n - n_end, end, n_end) == 0) {
            n -= n_end;
            break;
        }
    }
    if (n) all[n] = L'\0';
    bool kept = n == 0 || el_winsertstr(line, all) == 0;
    free(all);
    return kept ? CC_REFRESH : CC_REFRESH_BEEP;
}

/* libedit catches it, restores the terminal, and comes back when the shell says so. */
static unsigned char on_suspend(EditLine *line, wint_t key) {
    (void)line;
    (void)key;
    raise(SIGTSTP);
    return CC_REDISPLAY;
}

/* The common beginning of the commands that begin with the line so far. */
static unsigned char on_tab(EditLine *line, wint_t key) {
    const LineInfoW *info = el_wline(line);
    size_t n = (size_t)(info->cursor - info->buffer), common = 0, matches = 0;
    const char *first = NULL, *name;
    char typed[16], rest[16];
    (void)key;
    if (n == 0 || n >= sizeof typed || info->cursor != info->lastchar) return CC_ERROR;
    for (size_t i = 0; i < n; i++) typed[i] = info->buffer[i] < 128 ? (char)info->buffer[i] : '\0';
    for (size_t i = 0; (name = chat_command_name(i)); i++) {
        if (strncmp(name, typed, n)) continue;
        if (matches++ == 0) common = strlen(first = name);
        while (strncmp(first, name, common)) common--;
    }
    if (matches == 0 || (matches > 1 && common == n)) return CC_ERROR;
    snprintf(rest, sizeof rest, "%.*s%s", (int)(common - n), first + n, matches == 1 ? " " : "");
    wchar_t *wide = widen(rest);
    if (wide) el_winsertstr(line, wide);
    free(wide);
    return CC_REFRESH;
}

/* Only its owner reads what was typed. */
static void open_history(editor *e) {
    HistEventW event;
    text path = {0};
    if (!(e->history = history_winit())) return;
    history_w(e->history, &event, H_SETSIZE, 1000);
    history_w(e->history, &event, H_SETUNIQUE, 1);
    el_wset(e->line, EL_HIST, history_w, e->history);
    if (chat_path(&path, "XDG_STATE_HOME", "/.local/state", "history")) {
        int fd = open(path.s, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0) {
            fchmod(fd, 0600);
            close(fd);
            e->file = chat_strdup(path.s);
            history_w(e->history, &event, H_LOAD, e->file);
        }
    }
    free(path.s);
}

/* Without a UTF-8 locale every character beyond ASCII would be refused. */
static void use_utf8(void) {
    static const char *const names[] = {"C.UTF-8", "en_US.UTF-8", "UTF-8"};
    for (size_t i = 0; MB_CUR_MAX < 2 && i < sizeof names / sizeof *names; i++)
        setlocale(LC_CTYPE, names[i]);
}

editor *editor_open(void) {
    use_utf8();
    EditLine *line = el_init("rwkv", stdin, stdout, stderr);
    if (!line) return NULL;
    editor *e = chat_resize(NULL, 1, sizeof *e);
    *e = (editor){.line = line};
    el_wset(line, EL_CLIENTDATA, e);
    el_wset(line, EL_EDITOR, L"emacs");
    el_wset(line, EL_PROMPT, show_prompt);
    el_wset(line, EL_SIGNAL, 1); /* for the window's size, and to suspend */
    open_history(e);
    el_wset(line, EL_ADDFN, L"rwkv-interrupt", L"clear the line", on_interrupt);
    el_wset(line, EL_ADDFN, L"rwkv-suspend", L"suspend", on_suspend);
    el_wset(line, EL_ADDFN, L"rwkv-paste", L"insert a pasted text", on_paste);
    el_wset(line, EL_ADDFN, L"rwkv-complete", L"complete a command", on_tab);
    el_wset(line, EL_BIND, L"^R", L"em-inc-search-prev", NULL);
    el_source(line, NULL);
    el_wset(line, EL_SETTY, L"-d", L"-isig", NULL);
    el_wset(line, EL_BIND, L"^C", L"rwkv-interrupt", NULL);
    el_wset(line, EL_BIND, L"^Z", L"rwkv-suspend", NULL);
    el_wset(line, EL_BIND, L"\033[200~", L"rwkv-paste", NULL);
    el_wset(line, EL_BIND, L"\t", L"rwkv-complete", NULL);
    return e;
}

void editor_close(editor *e) {
    if (!e) return;
    if (e->history) history_wend(e->history);
    el_end(e->line);
    free(e->prompt);
    free(e->file);
    free(e);
}

void editor_prefill(editor *e, const char *s) {
    wchar_t *wide = widen(s);
    if (wide) el_wpush(e->line, wide);
    free(wide);
}

line_status editor_line(editor *e, const char *prompt, char **line) {
    HistEventW event;
    int n = 0;
    free(e->prompt);
    e->prompt = widen(prompt);
    e->interrupted = false;
    fputs("\033[?2004h", stdout); /* pasted text comes marked */
    /* Before the prompt shows: libedit itself does it after, and a Ctrl-D in between is lost. */
    el_wset(e->line, EL_PREP_TERM, 1);
    const wchar_t *got = el_wgets(e->line, &n);
    fputs("\033[?2004l", stdout);
    if (!got || n <= 0) return LINE_END;
    if (e->interrupted) {
        *line = chat_strdup("");
        return e->empty ? LINE_INTERRUPT : LINE_OK;
    }
    wchar_t *copy = chat_resize(NULL, (size_t)n + 1, sizeof *copy);
    wmemcpy(copy, got, (size_t)n);
    while (n && (copy[n - 1] == L'\n' || copy[n - 1] == L'\r')) n--;
    copy[n] = L'\0';
    if (n && e->history) {
        history_w(e->history, &event, H_ENTER, copy);
        if (e->file) history_w(e->history, &event, H_SAVE, e->file);
    }
    *line = narrow(copy);
    free(copy);
    if (!*line) *line = chat_strdup("");
    return LINE_OK;
}
