/* chat_commands.c - the commands that begin with '/'. One table is dispatch, help and
 * documentation.
 *
 * Commands change the conversation's messages only; the next question brings ids and state after.
 */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

enum { N_THINK = 5 };
static const struct think_mode {
    const char *name;
    rwkv_think mode;
} think_modes[N_THINK] = {
    {"plain", RWKV_THINK_NONE},  {"off", RWKV_THINK_OFF},   {"on", RWKV_THINK_ON},
    {"short", RWKV_THINK_SHORT}, {"long", RWKV_THINK_LONG},
};

const char *chat_think_name(rwkv_think think) {
    for (size_t i = 0; i < N_THINK; i++) {
        if (think_modes[i].mode == think) return think_modes[i].name;
    }
    return "plain";
}

bool chat_think_mode(const char *name, rwkv_think *out) {
    for (size_t i = 0; i < N_THINK; i++) {
        if (strcmp(think_modes[i].name, name)) continue;
        *out = think_modes[i].mode;
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ turns */

static int tell_turns(chat *c) {
    chat_say(T("The conversation has %zu turns.", "对话现有 %zu 轮。"), chat_now(c)->n / 2);
    return EXIT_OK;
}

static int rewind_turns(chat *c, char *args) {
    conversation *talk = chat_now(c);
    size_t turns = talk->n / 2;
    char *end = args;
    if (turns == 0) return chat_fail(c, EXIT_USAGE, T("There is no message yet.", "还没有消息。"));
    unsigned long n = *args ? strtoul(args, &end, 10) : 1;
    if (*end || *args == '-' || n == 0 || n > turns) {
        return chat_fail(c, EXIT_USAGE,
                         T("/rewind: found '%s'; expected 1 to %zu turns",
                           "/rewind：得到 '%s'；应为 1 到 %zu 轮"),
                         args, turns);
    }
    conversation_checkpoint(talk);
    conversation_truncate(talk, talk->n - 2 * n);
    return tell_turns(c);
}

static int undo(chat *c, char *args) {
    (void)args;
    if (!conversation_undo(chat_now(c)))
        return chat_fail(c, EXIT_USAGE, T("Nothing to undo.", "没有可撤销的操作。"));
    return tell_turns(c);
}

static int regenerate(chat *c, char *args) {
    (void)args;
    return chat_regenerate(c, NULL);
}

/* Without a text the terminal offers the old one; line ends show as the two characters that make
 * one. */
static int edit(chat *c, char *args) {
    conversation *talk = chat_now(c);
    if (talk->n == 0)
        return chat_fail(c, EXIT_USAGE, T("There is no message yet.", "还没有消息。"));
    const text *old = &talk->messages[talk->n - 2].text;
    char *line = NULL;
    if (!*args && c->editor) {
        text shown = {0};
        for (size_t i = 0; i < old->n; i++) {
            if (old->s[i] == '\n')
                text_puts(&shown, "\\n");
            else
                text_add(&shown, (unsigned char)old->s[i] < ' ' ? " " : old->s + i, 1);
        }
        editor_prefill(c->editor, shown.s);
        free(shown.s);
        if (!chat_read_line(c, T("edit> ", "修改> "), &line)) return EXIT_OK;
        args = line;
    }
    legacy_newlines(args);
    size_t n = strlen(args);
    const char *s = chat_trim(args, &n);
    int code = EXIT_OK;
    if (n == 0 && !line) {
        code = chat_fail(c, EXIT_USAGE, T("/edit needs the new text", "/edit 需要新的文本"));
    } else if (n) {
        conversation_checkpoint(talk);
        conversation_truncate(talk, talk->n - 2);
        code = chat_ask(c, s, n, NULL);
        /* One step of undo for both; none when it failed. */
        conversation *before = code ? NULL : talk->older;
        if (code) {
            conversation_undo(talk);
        } else if (before) {
            talk->older = before->older;
            before->older = NULL;
            conversation_free(before);
        }
    }
    free(line);
    return code;
}

static int clear(chat *c, char *args) {
    (void)args;
    chat_restart(c);
    chat_say(
        T("A new conversation; /undo brings the old one back.", "新的对话；/undo 可恢复旧对话。"));
    return EXIT_OK;
}

/* ------------------------------------------------------------------ branches */

static size_t find_branch(const chat *c, const char *name) {
    size_t i = 0;
    while (i < c->n_branches && strcmp(c->branches[i].name, name)) i++;
    return i;
}

static int fork_branch(chat *c, char *args) {
    char automatic[32];
    if (!*args) {
        for (size_t i = 1; i == 1 || find_branch(c, automatic) < c->n_branches; i++) {
            snprintf(automatic, sizeof automatic, "fork-%zu", i);
        }
        args = automatic;
    }
    if (find_branch(c, args) < c->n_branches) {
        return chat_fail(c, EXIT_USAGE,
                         T("/fork: there is a branch '%s' already", "/fork：已有分支 '%s'"), args);
    }
    chat_add_branch(c, args, conversation_copy(chat_now(c)));
    chat_say(T("Now on branch %s", "当前分支：%s"), args);
    return EXIT_OK;
}

static int switch_branch(chat *c, char *args) {
    if (!*args) {
        for (size_t i = 0; i < c->n_branches; i++) {
            printf(T("%c %-20s %zu turns\n", "%c %-20s %zu 轮\n"), i == c->current ? '*' : ' ',
                   c->branches[i].name, c->branches[i].talk->n / 2);
        }
        return EXIT_OK;
    }
    size_t i = find_branch(c, args);
    if (i == c->n_branches) {
        nearest n = {0};
        for (i = 0; i < c->n_branches; i++) cli_nearest(&n, args, c->branches[i].name);
        return n.best ? chat_fail(c, EXIT_USAGE,
                                  T("/branch: no branch '%s'; did you mean %s?",
                                    "/branch：没有分支 '%s'；是否想用 %s？"),
                                  args, n.best)
                      : chat_fail(c, EXIT_USAGE,
                                  T("/branch: no branch '%s'; /fork %s makes one",
                                    "/branch：没有分支 '%s'；/fork %s 可新建"),
                                  args, args);
    }
    c->current = i;
    chat_say(T("Now on branch %s", "当前分支：%s"), args);
    return tell_turns(c);
}

/* ------------------------------------------------------------------ files */

static int needs(chat *c, const char *command_name, const char *what) {
    return chat_fail(c, EXIT_USAGE, T("%s needs %s", "%s 需要 %s"), command_name, what);
}

static int save(chat *c, char *args) {
    return *args ? chat_save(c, args) : needs(c, "/save", "NAME");
}
static int load(chat *c, char *args) {
    return *args ? chat_load(c, args) : needs(c, "/load", "NAME");
}

static int list(chat *c, char *args) {
    (void)args;
    return chat_list(c);
}

static int read_file(chat *c, char *args) {
    char *data;
    size_t n;
    if (!*args) return needs(c, "/read", "FILE");
    int code = cli_read_input(args, &data, &n);
    if (code) return chat_note(c, code);
    if (c->attached.n) text_puts(&c->attached, "\n");
    text_add(&c->attached, data, n);
    free(data);
    chat_say(T("%zu bytes go with the next message.", "%zu 字节将随下一条消息发送。"),
             c->attached.n);
    return EXIT_OK;
}

/* The first word of s, cut off; what follows is returned. */
static char *cut_word(char *s) {
    size_t n = strcspn(s, " \t");
    char *rest = s + n + strspn(s + n, " \t");
    s[n] = '\0';
    return rest;
}

static int export(chat *c, char *args) {
    if (!*args) return needs(c, "/export", "md|json [FILE]");
    const char *path = cut_word(args);
    return chat_export(c, args, path);
}

/* ------------------------------------------------------------------ settings */

static int system_message(chat *c, char *args) {
    conversation *talk = chat_now(c);
    if (!*args) {
        cli_put_text(stdout, talk->system ? talk->system : "",
                     talk->system ? strlen(talk->system) : 0);
        putchar('\n');
        return EXIT_OK;
    }
    if (talk->speakers) {
        return chat_fail(c, EXIT_USAGE,
                         T("/system: the prompt file opens this conversation",
                           "/system：当前对话由提示文件开头"));
    }
    conversation_checkpoint(talk);
    free(talk->system);
    legacy_newlines(args);
    talk->system = strcmp(args, "-") == 0 ? NULL : chat_strdup(args);
    return chat_read_opening(c);
}

static int think(chat *c, char *args) {
    conversation *talk = chat_now(c);
    rwkv_think mode;
    if (!*args) {
        puts(chat_think_name(talk->think));
        return EXIT_OK;
    }
    if (!chat_think_mode(args, &mode)) {
        return chat_fail(c, EXIT_USAGE,
                         T("/think: found '%s'; expected on, off, short, long or plain",
                           "/think：得到 '%s'；应为 on、off、short、long 或 plain"),
                         args);
    }
    if (mode != RWKV_THINK_NONE && (talk->speakers || !rwkv_template_thinks(talk->template))) {
        return chat_fail(c, EXIT_USAGE,
                         T("/think: the template %s has no thoughts", "/think：模板 %s 不支持思考"),
                         talk->speakers ? "file" : rwkv_template_name(talk->template));
    }
    talk->think = mode;
    return EXIT_OK;
}

static int set(chat *c, char *args) {
    char *value = cut_word(args);
    if (*args && *value) return chat_set(c, args, value);
    if (*args) return needs(c, "/set", "KEY VALUE");
    chat_show_settings(c);
    return EXIT_OK;
}

static void show_line(const char *name, const char *value) {
    printf("%-15s ", name);
    cli_put_text(stdout, value, strlen(value));
    putchar('\n');
}

static int show(chat *c, char *args) {
    (void)args;
    const conversation *talk = chat_now(c);
    char bytes[32];
    show_line("model", c->info.name);
    show_line("version", c->info.version);
    show_line("type", c->info.type);
    show_line("template", talk->speakers ? "file" : rwkv_template_name(talk->template));
    show_line("think", chat_think_name(talk->think));
    show_line("system", talk->system ? talk->system : "");
    show_line("branch", c->branches[c->current].name);
    printf("%-15s %zu\n", "turns", talk->n / 2);
    printf("%-15s %zu, %s\n", "snapshots", c->time.n_snapshots,
           cli_human_bytes(timeline_bytes(&c->time), bytes));
    chat_show_settings(c);
    return EXIT_OK;
}

/* ------------------------------------------------------------------ the rest */

/* Lines as they are, up to Ctrl-D or a line with /end. */
static int paste(chat *c, char *args) {
    text whole = {0};
    char *line = NULL;
    (void)args;
    if (c->terminal)
        chat_say(
            T("Paste the text; a line with /end ends it.", "请粘贴文本；单独一行 /end 结束。"));
    while (chat_read_line(c, "", &line) && strcmp(line, "/end")) {
        text_puts(&whole, line);
        text_puts(&whole, "\n");
        free(line);
        line = NULL;
    }
    free(line);
    int code = chat_ask(c, whole.n ? whole.s : "", whole.n, NULL);
    free(whole.s);
    return code;
}

static int tokens(chat *c, char *args) {
    const conversation *talk = chat_now(c);
    int32_t *ids = NULL;
    size_t n = 0, len;
    if (!*args) {
        printf(T("%zu tokens in %zu messages\n", "%zu 个词元，%zu 条消息\n"), talk->ids.n, talk->n);
        return EXIT_OK;
    }
    int code = cli_encode(c->tokenizer, args, strlen(args), false, &ids, &n);
    if (code) return chat_note(c, code);
    for (size_t i = 0; i < n; i++) {
        const char *s = rwkv_token_bytes(c->tokenizer, ids[i], &len);
        printf("%d:\"", ids[i]);
        cli_put_text(stdout, s, len);
        fputs(i + 1 < n ? "\" " : "\"", stdout);
    }
    printf(T("\n%zu tokens\n", "\n%zu 个词元\n"), n);
    free(ids);
    return EXIT_OK;
}

static int statistics(chat *c, char *args) {
    (void)args;
    chat_print_rates(&c->last);
    chat_print_rates(&c->total);
    return EXIT_OK;
}

static int leave(chat *c, char *args) {
    (void)args;
    c->quit = true;
    return EXIT_OK;
}

static int help(chat *c, char *args);

static const struct chat_command_row {
    const char *name, *args, *en, *zh;
    int (*run)(chat *c, char *args);
} commands[] = {
    {"/save", "NAME", "save the conversation (a name, or a path with '/')",
     "保存对话（名称，或含 '/' 的路径）", save},
    {"/load", "NAME", "go on with a saved conversation, as a new branch",
     "载入已保存的对话，作为新分支", load},
    {"/list", "", "saved conversations", "列出已保存的对话", list},
    {"/fork", "[NAME]", "copy the conversation to a new branch and go on there",
     "把对话复制为新分支并切换过去", fork_branch},
    {"/branch", "[NAME]", "list the branches, or go to one", "列出分支，或切换到某个分支",
     switch_branch},
    {"/rewind", "[N]", "take back the last N turns (1)", "撤回最后 N 轮（默认 1）", rewind_turns},
    {"/regen", "", "another answer to the last message", "重新回答最后一条消息", regenerate},
    {"/edit", "[TEXT]", "change the last message and ask again", "修改最后一条消息并重新提问",
     edit},
    {"/undo", "", "take back the last change, whichever it was", "撤销最近一次改动", undo},
    {"/system", "[TEXT]", "set the system text (- removes it), or show it",
     "设置系统指令（- 为删除），或查看", system_message},
    {"/think", "[MODE]", "on, off, short, long or plain", "思考方式：on、off、short、long 或 plain",
     think},
    {"/set", "[KEY VALUE]", "sampling and other settings, named as the options",
     "采样等设置，名称与命令行选项相同", set},
    {"/show", "", "model, template, settings", "显示模型、模板与设置", show},
    {"/read", "FILE", "put a file in front of the next message", "把文件内容附在下一条消息之前",
     read_file},
    {"/paste", "", "a message of many lines, up to a line with /end",
     "多行消息，以单独一行 /end 结束", paste},
    {"/export", "md|json [FILE]", "write the conversation as text", "导出对话文本", export},
    {"/tokens", "[TEXT]", "count the conversation's tokens, or show those of a text",
     "统计对话的词元，或显示文本的词元", tokens},
    {"/stats", "", "speed and counts: last answer, all answers", "速度与数量：最近一次与全部",
     statistics},
    {"/clear", "", "begin a new conversation", "开始新的对话", clear},
    {"/exit", "", "end (also Ctrl-D)", "退出（或 Ctrl-D）", leave},
    {"/help", "", "this list", "显示本列表", help},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static const struct alias {
    const char *name, *means;
} aliases[] = {{"/?", "/help"},
               {"/bye", "/exit"},
               {"/quit", "/exit"},
               {"/new", "/clear"},
               {"/reset", "/clear"}};

static int help(chat *c, char *args) {
    (void)c;
    (void)args;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        char left[32];
        snprintf(left, sizeof left, "%s %s", commands[i].name, commands[i].args);
        printf("  %-24s %s\n", left, T(commands[i].en, commands[i].zh));
    }
    fputs(T("\nMessages: \\n is a line end; \"\"\" begins and ends several lines, so does a \\ at "
            "the end;\n"
            "-temp=X and -top_p=X hold for one message; // in front sends a text that begins with "
            "/.\n"
            "ChatRWKV's commands:\n"
            "  +                        another answer          +reset         a new conversation\n"
            "  +gen TEXT                continue a text         +qa TEXT       a question on its "
            "own\n"
            "  +i TEXT                  follow an instruction   +qq TEXT       the same, as Q: and "
            "A:\n"
            "  ++                       the last of these again +++            its continuation\n"
            "  +prompt FILE             speakers and opening from a prompt file\n",
            "\n消息：\\n 表示换行；\"\"\" 开始并结束多行消息，行尾的 \\ 亦可续行；-temp=X 与 "
            "-top_p=X 只对\n"
            "一条消息有效；以 // 开头可发送以 / 开头的文本。ChatRWKV 的命令：\n"
            "  +              换个回答                +reset         重置对话\n"
            "  +gen 文本      续写文本                +qa 文本       独立的问题\n"
            "  +i 文本        按指令回答              +qq 文本       独立的问题，Q: A: 形式\n"
            "  ++             重做上一次自由生成      +++            继续上一次自由生成\n"
            "  +prompt 文件   从提示文件读取角色名与开场白\n"),
          stdout);
    return EXIT_OK;
}

const char *chat_command_name(size_t i) {
    return i < N_COMMANDS ? commands[i].name : NULL;
}

static int unknown(chat *c, const char *name) {
    nearest n = {0};
    for (size_t i = 0; i < N_COMMANDS; i++) cli_nearest(&n, name, commands[i].name);
    if (n.best) {
        return chat_fail(c, EXIT_USAGE,
                         T("unknown command %s; did you mean %s?", "未知命令 %s；是否想用 %s？"),
                         name, n.best);
    }
    return chat_fail(c, EXIT_USAGE,
                     T("unknown command %s; /help lists them", "未知命令 %s；/help 列出所有命令"),
                     name);
}

void chat_command(chat *c, const char *line) {
    char *name = chat_strdup(line), *args = cut_word(name);
    const char *wanted = name;
    for (size_t n = strlen(args); n && strchr(" \t", args[n - 1]); n--) args[n - 1] = '\0';
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (strcmp(aliases[i].name, name) == 0) wanted = aliases[i].means;
    }
    size_t i = 0;
    while (i < N_COMMANDS && strcmp(commands[i].name, wanted)) i++;
    if (i < N_COMMANDS)
        commands[i].run(c, args);
    else
        unknown(c, name);
    fflush(stdout);
    free(name);
}
