/* chat_files.c - conversations on disk: /save, /load, --state, /list, /export.
 *
 * A saved conversation is one portable state file of librwkv. Its note is JSON: messages, the ids
 * they became with the marks between them, template, settings. The state answers at once; the ids
 * let earlier turns be read again after /rewind. */
#include "chat.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char note_format[] = "rwkv-chat", ending[] = ".rwkv";
static const char *const role_names[] = {"system", "user", "assistant"};

/* ------------------------------------------------------------------ names */

/* All folders of a path up to its last '/'. */
static void make_folders(char *path) {
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
}

bool chat_path(text *out, const char *variable, const char *under_home, const char *name) {
    const char *base = getenv(variable), *home = getenv("HOME");
    out->n = 0;
    if (base && base[0] == '/') {
        text_puts(out, base);
    } else if (home && *home) {
        text_puts(out, home);
        text_puts(out, under_home);
    } else {
        return false;
    }
    text_puts(out, "/rwkv/");
    text_puts(out, name);
    make_folders(out->s);
    return true;
}

/* A name becomes a file in the data folder; with '/' it is a path already. */
static int session_path(chat *c, const char *name, text *out) {
    size_t n = strlen(name);
    bool good = n > 0 && n <= 128 && name[0] != '.';
    if (strchr(name, '/')) {
        text_puts(out, name);
        return EXIT_OK;
    }
    for (size_t i = 0, len; good && i < n; i += len) {
        len = cli_utf8_len(name + i, n - i);
        good = len > 0 && (unsigned char)name[i] > ' ' && name[i] != 0x7f &&
               !strchr("\\:*?\"<>|", name[i]);
    }
    if (!good) {
        return chat_fail(c, EXIT_USAGE,
                         T("'%s' is no name for a conversation: letters, digits, - and _ will do; "
                           "with '/' it is a path",
                           "'%s' 不能作为对话名：请用文字、数字、- 与 _；含 '/' 时为路径"),
                         name);
    }
    text file = {0};
    text_puts(&file, "sessions/");
    text_puts(&file, name);
    text_puts(&file, ending);
    bool found = chat_path(out, "XDG_DATA_HOME", "/.local/share", file.s);
    free(file.s);
    return found ? EXIT_OK
                 : chat_fail(c, EXIT_SYSTEM,
                             T("no HOME and no XDG_DATA_HOME: give a path with '/'",
                               "没有 HOME 与 XDG_DATA_HOME：请给出含 '/' 的路径"));
}

/* ------------------------------------------------------------------ note */

static json_t *string_json(const char *s, size_t n) {
    size_t len;
    char *valid = cli_valid_utf8(s, n, &len);
    json_t *o = valid ? json_stringn_nocheck(valid, len) : NULL;
    free(valid);
    return o;
}

static json_t *messages_json(const conversation *talk) {
    json_t *list = json_array();
    for (size_t i = 0; i < talk->n; i++) {
        const message *m = &talk->messages[i];
        json_t *o = json_object();
        json_object_set_new(o, "role", json_string(role_names[m->role]));
        json_object_set_new(o, "content", string_json(m->text.s, m->text.n));
        if (m->attempt) json_object_set_new(o, "attempt", json_integer(m->attempt));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *note_json(const chat *c, const conversation *talk) {
    json_t *o = json_pack("{s:s, s:i, s:s, s:s, s:b, s:b, s:b}", "format", note_format, "version",
                          1, "template", rwkv_template_name(talk->template), "think",
                          chat_think_name(talk->think), "keep_thoughts", talk->keep_thoughts,
                          "from_state", c->time.base != NULL, "after_text", talk->after_text);
    json_t *ids = json_array(), *marks = json_array();
    if (talk->system)
        json_object_set_new(o, "system", string_json(talk->system, strlen(talk->system)));
    if (talk->speakers) {
        const speakers *s = talk->speakers;
        json_object_set_new(o, "speakers",
                            json_pack("{s:s, s:s, s:s, s:s}", "user", s->user, "bot", s->bot,
                                      "separator", s->separator, "prompt", s->prompt));
    }
    for (size_t i = 0; i < talk->ids.n; i++)
        json_array_append_new(ids, json_integer(talk->ids.v[i]));
    for (size_t i = 0; i < talk->n_marks; i++) {
        const mark *m = &talk->marks[i];
        json_array_append_new(marks,
                              json_pack("[I, I]", (json_int_t)m->ids, (json_int_t)m->messages));
    }
    json_object_set_new(o, "messages", messages_json(talk));
    json_object_set_new(o, "ids", ids);
    json_object_set_new(o, "marks", marks);
    json_object_set_new(o, "settings", chat_settings_json(c));
    return o;
}

static char *copy_string(const json_t *o, const char *key) {
    return chat_strdup(json_string_value(json_object_get(o, key)));
}

static bool read_messages(conversation *talk, const json_t *list) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        const char *role = json_string_value(json_object_get(item, "role"));
        const json_t *content = json_object_get(item, "content");
        rwkv_role r = role && strcmp(role, role_names[RWKV_USER]) == 0 ? RWKV_USER : RWKV_ASSISTANT;
        if (!role || !json_is_string(content) || (r == RWKV_USER) != (i % 2 == 0)) return false;
        if (r == RWKV_ASSISTANT && strcmp(role, role_names[RWKV_ASSISTANT])) return false;
        conversation_add(talk, r, json_string_value(content), json_string_length(content));
        talk->messages[i].attempt = (uint32_t)json_integer_value(json_object_get(item, "attempt"));
    }
    return json_is_array(list) && talk->n % 2 == 0;
}

/* Ids come back in pieces that end at marks, so that marks get their places in the text again. */
static bool read_ids(conversation *talk, const chat *c, const json_t *ids, const json_t *marks) {
    size_t n_marks = json_array_size(marks), n = json_array_size(ids), done = 0;
    for (size_t k = 0; k <= n_marks; k++) {
        const json_t *m = json_array_get(marks, k);
        json_int_t end = k < n_marks ? json_integer_value(json_array_get(m, 0)) : (json_int_t)n;
        json_int_t n_messages = json_integer_value(json_array_get(m, 1));
        size_t before = k ? talk->marks[k - 1].messages : 0;
        if (end < (json_int_t)done || end > (json_int_t)n) return false;
        for (; done < (size_t)end; done++) {
            json_int_t id = json_integer_value(json_array_get(ids, done));
            if (!json_is_integer(json_array_get(ids, done)) || id < 0 || id >= c->info.n_vocab)
                return false;
            conversation_read(talk, c->tokenizer, &(int32_t){(int32_t)id}, 1);
        }
        if (k == n_marks) break;
        if (n_messages < (json_int_t)before || n_messages > (json_int_t)talk->n) return false;
        conversation_mark(talk, (size_t)n_messages);
    }
    return true;
}

static bool read_speakers(conversation *talk, const json_t *o) {
    if (!o) return true;
    speakers *s = talk->speakers = chat_resize(NULL, 1, sizeof *s);
    *s = (speakers){copy_string(o, "user"), copy_string(o, "bot"), copy_string(o, "separator"),
                    copy_string(o, "prompt")};
    return s->user && s->bot && s->separator && s->prompt;
}

/* NULL: the note is none of ours, or broken. */
static conversation *note_read(const chat *c, const json_t *o) {
    const char *format = json_string_value(json_object_get(o, "format"));
    const char *think = json_string_value(json_object_get(o, "think"));
    const rwkv_template *t = rwkv_template_find(json_string_value(json_object_get(o, "template")));
    if (!format || strcmp(format, note_format) ||
        json_integer_value(json_object_get(o, "version")) != 1)
        return NULL;
    conversation *talk = conversation_new(t ? t : rwkv_model_template(c->model));
    talk->system = copy_string(o, "system");
    talk->keep_thoughts = json_is_true(json_object_get(o, "keep_thoughts"));
    talk->after_text = json_is_true(json_object_get(o, "after_text"));
    if (read_messages(talk, json_object_get(o, "messages")) &&
        read_speakers(talk, json_object_get(o, "speakers")) &&
        read_ids(talk, c, json_object_get(o, "ids"), json_object_get(o, "marks")) &&
        (!think || chat_think_mode(think, &talk->think))) {
        return talk;
    }
    conversation_free(talk);
    return NULL;
}

/* ------------------------------------------------------------------ save and load */

/* Only its owner reads what was said. */
static int write_state(chat *c, const rwkv_session *session, const char *path, const char *note) {
    rwkv_error err = {0};
    size_t len = 0, n = strlen(note);
    rwkv_session_save(session, note, n, 0, NULL, 0, &len, &err);
    void *blob = malloc(len ? len : 1);
    if (!blob) return chat_fail(c, EXIT_SYSTEM, T("out of memory", "内存不足"));
    mode_t before = umask(077);
    int code = EXIT_OK;
    if (rwkv_session_save(session, note, n, 0, blob, len, &len, &err) != RWKV_OK ||
        rwkv_file_write(path, blob, len, &err) != RWKV_OK) {
        code = chat_error(c, &err);
    }
    umask(before);
    free(blob);
    return code;
}

int chat_save(chat *c, const char *name) {
    conversation *talk = chat_now(c);
    rwkv_error err = {0};
    text path = {0};
    int code = session_path(c, name, &path);
    const rwkv_session *session = c->time.base ? c->time.base : c->time.session;
    if (code == EXIT_OK && !c->time.base) {
        rwkv_status st = timeline_seek(&c->time, talk->ids.v, talk->ids.n, &err);
        if (st != RWKV_OK) code = st == RWKV_E_CANCELLED ? EXIT_INTERRUPTED : chat_error(c, &err);
    }
    if (code == EXIT_OK) {
        json_t *o = note_json(c, talk);
        char *note = o ? json_dumps(o, JSON_COMPACT) : NULL;
        code = note ? write_state(c, session, path.s, note)
                    : chat_fail(c, EXIT_SYSTEM, T("out of memory", "内存不足"));
        free(note);
        json_decref(o);
    }
    if (code == EXIT_OK) chat_say(T("Saved as %s", "已保存为 %s"), path.s);
    free(path.s);
    return code;
}

static void enter(chat *c, const char *name, conversation *talk) {
    branch *b = &c->branches[c->current];
    if (b->talk->n || b->talk->older) {
        chat_add_branch(c, name, talk);
        return;
    }
    conversation_free(b->talk);
    b->talk = talk;
}

/* The session has the loaded state: of the conversation's end, or, when it began with a text whose
 * ids are not known, of that text's end. The latter becomes the beginning of everything, so it must
 * come first. */
static int take_state(chat *c, conversation *talk, bool from_state, const char *name,
                      const char *path) {
    rwkv_error err = {0};
    bool whole = talk && !from_state;
    bool at_start = c->n_branches == 1 && chat_now(c)->n == 0 && c->total.tokens == 0;
    if (whole ? c->time.base != NULL : !at_start) {
        timeline_forget(&c->time);
        conversation_free(talk);
        return chat_fail(c, EXIT_USAGE,
                         T("%s: it does not begin where this chat began; start with --state %s",
                           "%s：它的开头与当前对话不同；请用 --state %s 启动"),
                         path, path);
    }
    if (!talk) {
        talk = conversation_copy(chat_now(c));
        talk->after_text = rwkv_session_n_tokens(c->time.session) > 0;
    }
    enter(c, name, talk);
    if (whole) {
        timeline_adopt(&c->time, talk->ids.v, talk->ids.n);
        return EXIT_OK;
    }
    return timeline_rebase(&c->time, &err) == RWKV_OK ? EXIT_OK : chat_error(c, &err);
}

static int load_blob(chat *c, const char *name, const char *path, const void *blob, size_t len) {
    rwkv_error err = {0};
    rwkv_state_info info = {0};
    if (rwkv_session_load(c->time.session, blob, len, &info, &err) != RWKV_OK) {
        timeline_forget(&c->time);
        return chat_fail(c, EXIT_INPUT, "%s: %s", path, err.message);
    }
    json_t *o = info.note_len ? json_loadb(info.note, info.note_len, 0, NULL) : NULL;
    conversation *talk = note_read(c, o);
    bool ours = json_object_get(o, "format") != NULL;
    int code;
    if (ours && !talk) {
        timeline_forget(&c->time);
        code = chat_fail(c, EXIT_INPUT,
                         T("%s: its note is no conversation that this version knows",
                           "%s：其附注不是本版本可识别的对话"),
                         path);
    } else {
        code = take_state(c, talk, json_is_true(json_object_get(o, "from_state")), name, path);
    }
    if (code == EXIT_OK) {
        chat_settings_from_json(c, json_object_get(o, "settings"));
        if (info.other_weights) {
            chat_say(T("warning: %s was made with another quantization of this model",
                       "警告：%s 由本模型的另一种量化生成"),
                     path);
        }
    }
    json_decref(o);
    return code;
}

/* The last part of a path, without our ending. */
static char *branch_name(const char *path) {
    const char *slash = strrchr(path, '/');
    char *name = chat_strdup(slash ? slash + 1 : path);
    size_t n = strlen(name), e = sizeof ending - 1;
    if (n > e && strcmp(name + n - e, ending) == 0) name[n - e] = '\0';
    return name;
}

int chat_load(chat *c, const char *name) {
    rwkv_error err = {0};
    text path = {0};
    void *blob = NULL;
    size_t len = 0;
    struct stat st;
    int code = EXIT_OK;
    if (!strchr(name, '/') && stat(name, &st) == 0 && S_ISREG(st.st_mode)) {
        text_puts(&path, name);
    } else {
        code = session_path(c, name, &path);
    }
    if (code == EXIT_OK && rwkv_file_read(path.s, 0, &blob, &len, &err) != RWKV_OK) {
        code = chat_fail(c, EXIT_INPUT, "%s", err.message);
    }
    if (code == EXIT_OK) {
        char *short_name = branch_name(path.s);
        code = load_blob(c, short_name, path.s, blob, len);
        free(short_name);
    }
    if (code == EXIT_OK) {
        chat_say(T("%s: %zu messages", "%s：%zu 条消息"), path.s, chat_now(c)->n);
    }
    rwkv_free(blob);
    free(path.s);
    return code;
}

/* ------------------------------------------------------------------ list */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_session(const char *folder, const char *file) {
    rwkv_state_info info = {0};
    rwkv_error err = {0};
    text path = {0};
    void *blob = NULL;
    size_t len = 0;
    char *name = branch_name(file), size[32];
    text_puts(&path, folder);
    text_puts(&path, file);
    if (rwkv_file_read(path.s, 0, &blob, &len, &err) != RWKV_OK ||
        rwkv_state_inspect(blob, len, &info, &err) != RWKV_OK) {
        printf("%-24s %s\n", name, T("damaged", "已损坏"));
    } else {
        json_t *o = json_loadb(info.note, info.note_len, 0, NULL);
        printf(T("%-24s RWKV-%s  %zu messages  %llu tokens  %s\n",
                 "%-24s RWKV-%s  %zu 条消息  %llu 个词元  %s\n"),
               name, info.version, json_array_size(json_object_get(o, "messages")),
               (unsigned long long)info.n_tokens, cli_human_bytes(len, size));
        json_decref(o);
    }
    rwkv_free(blob);
    free(path.s);
    free(name);
}

int chat_list(chat *c) {
    text folder = {0};
    char **names = NULL;
    size_t n = 0, e = sizeof ending - 1;
    if (!chat_path(&folder, "XDG_DATA_HOME", "/.local/share", "sessions/")) {
        free(folder.s);
        return chat_fail(c, EXIT_SYSTEM,
                         T("no HOME and no XDG_DATA_HOME", "没有 HOME 与 XDG_DATA_HOME"));
    }
    DIR *d = opendir(folder.s);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        size_t len = strlen(entry->d_name);
        if (len <= e || strcmp(entry->d_name + len - e, ending) || entry->d_name[0] == '.')
            continue;
        names = chat_resize(names, n + 1, sizeof *names);
        names[n++] = chat_strdup(entry->d_name);
    }
    if (d) closedir(d);
    if (n) qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++) {
        print_session(folder.s, names[i]);
        free(names[i]);
    }
    if (n == 0) chat_say(T("No saved conversations in %s", "%s 中没有已保存的对话"), folder.s);
    free(names);
    free(folder.s);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ export */

static json_t *export_messages(const conversation *talk) {
    json_t *list = json_array();
    if (talk->system) {
        json_array_append_new(list, json_pack("{s:s, s:o}", "role", "system", "content",
                                              string_json(talk->system, strlen(talk->system))));
    }
    for (size_t i = 0; i < talk->n; i++) {
        const message *m = &talk->messages[i];
        const char *thoughts = NULL, *s = m->text.s;
        size_t n = m->text.n, n_thoughts = 0;
        if (m->role == RWKV_ASSISTANT) s = answer_visible(s, &n, &thoughts, &n_thoughts);
        json_t *o =
            json_pack("{s:s, s:o}", "role", role_names[m->role], "content", string_json(s, n));
        if (n_thoughts)
            json_object_set_new(o, "reasoning_content", string_json(thoughts, n_thoughts));
        json_array_append_new(list, o);
    }
    return list;
}

static char *export_json(const chat *c, const conversation *talk) {
    json_t *o =
        json_pack("{s:o, s:s, s:o, s:o}", "model", string_json(c->info.name, strlen(c->info.name)),
                  "template", rwkv_template_name(talk->template), "messages", export_messages(talk),
                  "settings", chat_settings_json(c));
    char *out = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return out;
}

static char *export_markdown(const conversation *talk) {
    text out = {0};
    text_puts(&out, "");
    if (talk->system) {
        text_puts(&out, T("**System**\n\n", "**系统**\n\n"));
        text_puts(&out, talk->system);
        text_puts(&out, "\n\n");
    }
    for (size_t i = 0; i < talk->n; i++) {
        const message *m = &talk->messages[i];
        size_t n = m->text.n;
        const char *s = m->role == RWKV_ASSISTANT ? answer_visible(m->text.s, &n, NULL, NULL)
                                                  : chat_trim(m->text.s, &n);
        text_puts(&out, m->role == RWKV_USER ? T("**User**\n\n", "**用户**\n\n")
                                             : T("**Assistant**\n\n", "**助手**\n\n"));
        text_add(&out, s, n);
        text_puts(&out, "\n\n");
    }
    return out.s;
}

int chat_export(chat *c, const char *format, const char *path) {
    rwkv_error err = {0};
    bool json = strcmp(format, "json") == 0;
    if (!json && strcmp(format, "md")) {
        return chat_fail(
            c, EXIT_USAGE,
            T("/export: found '%s'; expected md or json", "/export：得到 '%s'；应为 md 或 json"),
            format);
    }
    char *out = json ? export_json(c, chat_now(c)) : export_markdown(chat_now(c));
    int code = EXIT_OK;
    if (!out) {
        code = chat_fail(c, EXIT_SYSTEM, T("out of memory", "内存不足"));
    } else if (!*path) {
        cli_put_text(stdout, out, strlen(out));
        if (json) putchar('\n');
    } else if (rwkv_file_write(path, out, strlen(out), &err) != RWKV_OK) {
        code = chat_error(c, &err);
    } else {
        chat_say(T("Written to %s", "已写入 %s"), path);
    }
    free(out);
    return code;
}
