/* chat.c - rwkv chat: options, and the loop over lines, from a terminal or a script.
 *
 *     line -> chat_line -> chat_command ("/...") | legacy_command ("+...") | chat_ask
 */
#include "chat.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static model_args model_opts;
static sampling_args sampling;
static const char *system_text, *think_name, *once, *state_file, *prompt_file;
static uint64_t max_tokens = UINT64_MAX; /* not given */
static uint32_t snapshot_mb = 512;
static bool stats, keep_thoughts;

static const option_spec *options(void) {
    static option_spec table[48];
    static const option_spec own[] = {
        {"once", 0, OPT_STRING, &once, "TEXT", "answer one question and end", "回答一个问题后退出",
         0, 0},
        {"system", 0, OPT_STRING, &system_text, "TEXT", "instruction before the conversation",
         "对话之前的系统指令", 0, 0},
        {"think", 0, OPT_STRING, &think_name, "HOW", "on off short long; plain: the bare prompt",
         "思考方式：on off short long；plain：不加任何标记", 0, 0},
        {"keep-thoughts", 0, OPT_FLAG, &keep_thoughts, NULL, "earlier thoughts stay in the history",
         "历史中保留先前的思考内容", 0, 0},
        {"tokens", 'n', OPT_U64, &max_tokens, "N",
         "at most N tokens per answer; 0: no limit; default 2048",
         "每次回答最多 N 个词元；0：不限；默认 2048", 0, 0},
        {"state", 0, OPT_STRING, &state_file, "FILE", "go on from a saved conversation or state",
         "从已保存的对话或状态继续", 0, 0},
        {"prompt", 0, OPT_STRING, &prompt_file, "FILE",
         "speakers and opening from a prompt file (JSON or ChatRWKV's .py)",
         "从提示文件（JSON 或 ChatRWKV 的 .py）读取角色名与开场白", 0, 0},
        {"snapshot-memory", 0, OPT_UINT, &snapshot_mb, "MB",
         "memory for states of earlier turns; default 512", "用于保存先前状态的内存；默认 512 MB",
         0, 1 << 20},
        {"stats", 0, OPT_FLAG, &stats, NULL, "speed and counts after each answer",
         "每次回答后显示速度与数量", 0, 0},
        {0},
    };
    return cli_join(table, 48, own, cli_sampling_specs(&sampling), cli_model_specs(&model_opts),
                    NULL);
}

/* ------------------------------------------------------------------ notices */

conversation *chat_now(chat *c) {
    return c->branches[c->current].talk;
}

void chat_say(const char *fmt, ...) {
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fflush(stdout);
    cli_put_text(stderr, line, strlen(line));
    fputc('\n', stderr);
}

int chat_note(chat *c, int code) {
    if (!c->terminal && c->code == EXIT_OK) c->code = code;
    return code;
}

int chat_fail(chat *c, int code, const char *fmt, ...) {
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    fflush(stdout);
    if (c->terminal) {
        chat_say("%s", line);
    } else {
        cli_fail(code, "%s", line);
    }
    return chat_note(c, code);
}

int chat_error(chat *c, const rwkv_error *err) {
    int code = err->code == RWKV_E_NUMERIC                           ? EXIT_NUMERIC
               : err->code == RWKV_E_NOMEM || err->code == RWKV_E_IO ? EXIT_SYSTEM
                                                                     : EXIT_INPUT;
    return chat_fail(c, code, "%s", err->message);
}

void chat_print_rates(const rates *r) {
    double prompt = r->prompt_seconds > 0 ? (double)r->prompt_tokens / r->prompt_seconds : 0;
    double answer = r->seconds > 0 ? (double)r->tokens / r->seconds : 0;
    chat_say(T("[read %llu tokens, %.1f/s; wrote %llu tokens, %.1f/s]",
               "[读取 %llu 个词元，%.1f/秒；生成 %llu 个词元，%.1f/秒]"),
             (unsigned long long)r->prompt_tokens, prompt, (unsigned long long)r->tokens, answer);
}

/* ------------------------------------------------------------------ lines */

bool chat_read_line(chat *c, const char *prompt, char **line) {
    static size_t cap;
    if (c->editor) {
        line_status st = editor_line(c->editor, prompt, line);
        if (st == LINE_INTERRUPT) {
            chat_say(T("(/exit or Ctrl-D ends the chat)", "（/exit 或 Ctrl-D 退出）"));
        }
        return st != LINE_END;
    }
    *line = NULL;
    cap = 0;
    cli_interrupt_reads(true);
    ssize_t n = getline(line, &cap, stdin);
    cli_interrupt_reads(false);
    if (n < 0) {
        free(*line);
        *line = NULL;
        return false;
    }
    while (n && ((*line)[n - 1] == '\n' || (*line)[n - 1] == '\r')) (*line)[--n] = '\0';
    return true;
}

/* Lines up to one that ends in """ (and, for a line that ends in a backslash, as long as they do).
 */
static void read_more(chat *c, const char *first, bool block, text *out) {
    char *line = chat_strdup(first);
    bool more = true;
    while (more) {
        size_t n = strlen(line);
        more = block ? n < 3 || strcmp(line + n - 3, "\"\"\"") : n && line[n - 1] == '\\';
        if (block && !more) n -= 3;
        if (!block && more) n--;
        text_add(out, line, n);
        free(line);
        line = NULL;
        if (more && (more = chat_read_line(c, "... ", &line))) text_puts(out, "\n");
    }
    free(line);
}

static void ask_attached(chat *c, const char *s, size_t n, const overrides *over) {
    text whole = {0};
    text_add(&whole, c->attached.s, c->attached.n);
    if (whole.n) text_puts(&whole, "\n");
    text_add(&whole, s, n);
    if (chat_ask(c, whole.s, whole.n, over) == EXIT_OK) c->attached.n = 0;
    free(whole.s);
}

void chat_line(chat *c, char *line) {
    text block = {0};
    overrides over = {0};
    size_t n = strlen(line);
    if (strncmp(line, "\"\"\"", 3) == 0) {
        read_more(c, line + 3, true, &block);
        ask_attached(c, block.s, block.n, NULL);
    } else if (line[0] == '/' && line[1] != '/') {
        chat_command(c, line);
    } else if (n && line[n - 1] == '\\') {
        read_more(c, line, false, &block);
        ask_attached(c, block.s, block.n, NULL);
    } else {
        if (!strchr(line, '\n')) legacy_newlines(line); /* a pasted text stays as it is */
        if (legacy_overrides(c, line, &over)) {
            const char *s = line[0] == '/' ? line + 1 : line;
            n = strlen(s);
            s = chat_trim(s, &n);
            char *trimmed = chat_resize(NULL, n + 1, 1);
            memcpy(trimmed, s, n);
            trimmed[n] = '\0';
            if (n && !legacy_command(c, trimmed, &over)) ask_attached(c, trimmed, n, &over);
            free(trimmed);
        }
    }
    free(block.s);
}

/* ------------------------------------------------------------------ command */

void chat_add_branch(chat *c, const char *name, conversation *talk) {
    char unique[160];
    snprintf(unique, sizeof unique, "%s", name);
    for (size_t i = 0, k = 2; i < c->n_branches; i++) {
        if (strcmp(c->branches[i].name, unique)) continue;
        snprintf(unique, sizeof unique, "%.130s-%zu", name, k++);
        i = SIZE_MAX; /* look again from the first */
    }
    c->branches = chat_resize(c->branches, c->n_branches + 1, sizeof *c->branches);
    c->branches[c->n_branches] = (branch){chat_strdup(unique), talk};
    c->current = c->n_branches++;
}

void chat_restart(chat *c) {
    conversation *talk = chat_now(c);
    conversation_checkpoint(talk);
    conversation_truncate(talk, 0);
}

static int set_up(chat *c, const rwkv_sampling *raw) {
    conversation *talk = conversation_new(rwkv_model_template(c->model));
    rwkv_error err = {0};
    int code = EXIT_OK;
    chat_add_branch(c, "main", talk);
    if (timeline_open(&c->time, c->model, (uint64_t)snapshot_mb * 1000000, &err) != RWKV_OK)
        return cli_error(&err);
    bool thinks = rwkv_template_thinks(talk->template);
    talk->think = thinks ? RWKV_THINK_OFF : RWKV_THINK_NONE;
    if (think_name && !chat_think_mode(think_name, &talk->think)) {
        return cli_fail(EXIT_USAGE,
                        T("--think: found '%s'; expected on, off, short, long or plain",
                          "--think：得到 '%s'；应为 on、off、short、long 或 plain"),
                        think_name);
    }
    if (talk->think != RWKV_THINK_NONE && !thinks) {
        return cli_fail(
            EXIT_USAGE,
            T("--think: the template %s has no thoughts", "--think：模板 %s 不支持思考"),
            rwkv_template_name(talk->template));
    }
    talk->keep_thoughts = keep_thoughts;
    if (state_file && (code = chat_load(c, state_file)) == EXIT_OK) {
        chat_settings_again(c, &sampling, raw);
        if (max_tokens != UINT64_MAX) c->max_tokens = c->free_tokens = max_tokens;
    }
    if (code == EXIT_OK && prompt_file) code = chat_load_prompt(c, prompt_file);
    if (code == EXIT_OK && system_text) {
        free(chat_now(c)->system);
        chat_now(c)->system = chat_strdup(system_text);
        code = chat_read_opening(c);
    }
    return code;
}

static volatile sig_atomic_t hung_up;

static void on_hang_up(int signal_number) {
    (void)signal_number;
    hung_up = 1;
}

static int loop(chat *c) {
    char *line = NULL;
    if (once) {
        overrides none = {0};
        return chat_ask(c, once, strlen(once), &none);
    }
    if (c->terminal && (c->editor = editor_open())) {
        struct sigaction a = {.sa_handler = on_hang_up};
        sigaction(SIGHUP, &a, NULL);
        chat_say(
            T("%s, template %s. /help lists the commands.", "%s，模板 %s。/help 列出所有命令。"),
            c->info.name,
            chat_now(c)->speakers ? "file" : rwkv_template_name(chat_now(c)->template));
    }
    while (!c->quit && chat_read_line(c, "> ", &line)) {
        chat_line(c, line);
        free(line);
        if (c->terminal) cli_clear_interrupt();
        if (cli_interrupted()) break;
    }
    if (c->editor && !c->quit) putchar('\n');
    editor_close(c->editor);
    if (hung_up && chat_now(c)->n) chat_save(c, "recovered");
    if (c->stats && c->n_branches) chat_print_rates(&c->total);
    return cli_interrupted() ? EXIT_INTERRUPTED : c->code;
}

static int run(int argc, char **argv) {
    chat c = {0};
    rwkv_error err = {0};
    int n;
    bool helped;
    int code = cli_parse("chat", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n > 1)
        return cli_fail(EXIT_USAGE, T("chat: expected one MODEL", "chat：只需一个模型文件"));
    cli_catch_interrupt();
    code = cli_open_model_or_demo(&c.model, n ? argv[1] : NULL, &model_opts);
    if (code) return code;
    rwkv_model_info(c.model, &c.info);
    c.max_tokens = max_tokens == UINT64_MAX ? 2048 : max_tokens;
    c.free_tokens = max_tokens == UINT64_MAX ? 250 : max_tokens;
    c.stats = stats;
    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (!(c.tokenizer = rwkv_model_tokenizer(c.model, &err))) code = cli_error(&err);
    const rwkv_sampling raw = sampling.how;
    if (code == EXIT_OK)
        code = cli_sampling_resolve(&sampling, *c.info.sampling ? c.info.sampling : "chat",
                                    c.tokenizer, c.info.n_vocab);
    c.sampling = sampling.how;
    if (code == EXIT_OK) code = set_up(&c, &raw);
    if (code == EXIT_OK) code = loop(&c);
    for (size_t i = 0; i < c.n_branches; i++) {
        free(c.branches[i].name);
        conversation_free(c.branches[i].talk);
    }
    free(c.branches);
    free(c.free_begin.v);
    free(c.free_end.v);
    free(c.attached.s);
    timeline_close(&c.time);
    rwkv_model_free(c.model);
    return cli_close_output(code);
}

const command cmd_chat = {
    "chat",
    "[MODEL] [OPTIONS]",
    "talk with a model; without MODEL, with the small demo that ships with rwkv",
    "与模型对话；不给出 MODEL 时使用自带的小型演示模型",
    run,
    options,
    "A line is a message; \"\"\" begins and ends one of several lines, and so does a backslash at "
    "the end\n"
    "of a line. Lines that begin with / are commands (/help), those with + the commands of "
    "ChatRWKV.\n"
    "Ctrl-C stops an answer; what was said stays. Without a terminal every line of stdin is a "
    "message\n"
    "and only answers go to stdout.",
    "每一行是一条消息；\"\"\" 开始并结束多行消息，行尾的反斜杠表示下一行继续。以 / 开头的行是命令\n"
    "（/help），以 + 开头的是 ChatRWKV 的命令。Ctrl-C "
    "停止回答，已说出的内容保留。标准输入不是终端时，\n"
    "每行是一条消息，只有回答写入标准输出。",
};
