/* common.c - what all commands share: language, messages and exit codes, text for terminals,
 * progress, input, opening a model, signals. No RWKV in it beyond rwkv.h.
 */
#include "cli.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------ language */

static int language = -1;

lang cli_lang(void) {
    if (language < 0) {
        const char *names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
        const char *value = NULL;
        for (size_t i = 0; i < 3 && (!value || !*value); i++) value = getenv(names[i]);
        language = value && strncmp(value, "zh", 2) == 0 ? LANG_ZH : LANG_EN;
    }
    return (lang)language;
}

void cli_set_lang(lang l) {
    language = (int)l;
}

/* ------------------------------------------------------------------ messages */

/* Control bytes (but those in `keep`), C1 controls (0x9B is a terminal's CSI) and bytes that are no
 * UTF-8 as \xNN: neither names in messages nor a model's text can steer a terminal. */
static void put_escaped(FILE *to, const char *text, size_t n, const char *keep) {
    for (size_t i = 0; i < n;) {
        const unsigned char *p = (const unsigned char *)text + i;
        size_t len = cli_utf8_len(text + i, n - i);
        bool control = (p[0] < 0x20 && !(p[0] && strchr(keep, p[0]))) || p[0] == 0x7f;
        bool c1 = len == 2 && p[0] == 0xc2 && p[1] < 0xa0;
        if (len && !control && !c1) {
            fwrite(p, 1, len, to);
        } else {
            len = len ? len : 1;
            for (size_t k = 0; k < len; k++) fprintf(to, "\\x%02x", p[k]);
        }
        i += len;
    }
}

static void put_line(const char *text) {
    fputs("rwkv: ", stderr);
    put_escaped(stderr, text, strlen(text), "");
    fputc('\n', stderr);
}

int cli_fail(int code, const char *fmt, ...) {
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    put_line(line);
    return code;
}

static int exit_code(rwkv_status status) {
    static const int codes[] = {
        [RWKV_OK] = EXIT_OK,
        [RWKV_E_ARG] = EXIT_USAGE,
        [RWKV_E_NOMEM] = EXIT_SYSTEM,
        [RWKV_E_IO] = EXIT_SYSTEM,
        [RWKV_E_FORMAT] = EXIT_INPUT,
        [RWKV_E_UNSUPPORTED] = EXIT_INPUT,
        [RWKV_E_MODEL] = EXIT_INPUT,
        [RWKV_E_VOCAB] = EXIT_INPUT,
        [RWKV_E_TEXT] = EXIT_INPUT,
        [RWKV_E_STATE] = EXIT_INPUT,
        [RWKV_E_NUMERIC] = EXIT_NUMERIC,
        [RWKV_E_SPACE] = EXIT_SYSTEM,
        [RWKV_E_CANCELLED] = EXIT_INTERRUPTED,
    };
    return (size_t)status < sizeof codes / sizeof *codes ? codes[status] : EXIT_SYSTEM;
}

int cli_error(const rwkv_error *err) {
    put_line(err->message);
    return exit_code(err->code);
}

int cli_input_error(const rwkv_error *err, const char *path) {
    struct stat st;
    int code = cli_error(err);
    if (err->code == RWKV_E_NUMERIC) return EXIT_INPUT; /* weights that are no numbers */
    if (err->code != RWKV_E_IO) return code;
    bool usable = stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
    return usable ? code : EXIT_INPUT;
}

/* ------------------------------------------------------------------ text */

size_t cli_utf8_len(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    if (n == 0) return 0;
    if (p[0] < 0x80) return 1;
    size_t len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || n < len) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    /* overlong forms, surrogates, past U+10FFFF */
    bool wrong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                 (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return wrong ? 0 : len;
}

char *cli_valid_utf8(const char *s, size_t n, size_t *len) {
    char *out = malloc(n * 3 + 1);
    size_t k = 0;
    if (!out) return NULL;
    for (size_t i = 0; i < n;) {
        size_t c = cli_utf8_len(s + i, n - i);
        memcpy(out + k, c ? s + i : "\xEF\xBF\xBD", c ? c : 3);
        k += c ? c : 3;
        i += c ? c : 1;
    }
    out[k] = '\0';
    *len = k;
    return out;
}

void cli_put_text(FILE *to, const char *text, size_t n) {
    if (isatty(fileno(to))) {
        put_escaped(to, text, n, "\n\t");
    } else {
        fwrite(text, 1, n, to);
    }
}

static bool reader_gone(void) {
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP)) != 0;
}

int cli_close_output(int code) {
    static bool reported;
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    if (errno == EPIPE || reader_gone()) return code;
    if (!reported) {
        cli_fail(EXIT_SYSTEM, T("standard output: %s", "标准输出：%s"),
                 errno ? strerror(errno) : T("write failed", "写入失败"));
    }
    reported = true;
    return EXIT_SYSTEM;
}

char *cli_human_bytes(uint64_t n, char out[32]) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 999.5 && u < 5) {
        v /= 1000;
        u++;
    }
    snprintf(out, 32,
             u == 0    ? "%.0f %s"
             : v < 10  ? "%.2f %s"
             : v < 100 ? "%.1f %s"
                       : "%.0f %s",
             v, units[u]);
    return out;
}

/* ------------------------------------------------------------------ progress */

double cli_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void amount(char out[48], double n, const char *unit) {
    char bytes[32];
    if (strcmp(unit, "B") == 0) {
        snprintf(out, 48, "%s", cli_human_bytes((uint64_t)n, bytes));
    } else {
        snprintf(out, 48, "%.0f %s", n, unit);
    }
}

static void progress_line(const char *what, uint64_t done, uint64_t total, const char *unit,
                          double seconds) {
    char so_far[48], all[48] = "", rate[48], eta[32] = "";
    double per_second = seconds > 0 ? (double)done / seconds : 0;
    amount(so_far, (double)done, unit);
    amount(rate, per_second, unit);
    if (total) amount(all, (double)total, unit);
    if (total > done && per_second > 0) {
        uint64_t left = (uint64_t)((double)(total - done) / per_second);
        snprintf(eta, sizeof eta, "  ETA %u:%02u", (unsigned)(left / 60), (unsigned)(left % 60));
    }
    if (total) {
        fprintf(stderr, "\r\033[K%s %3.0f%%  %s / %s  %s/s%s", what,
                100.0 * (double)done / (double)total, so_far, all, rate, eta);
    } else {
        fprintf(stderr, "\r\033[K%s  %s  %s/s", what, so_far, rate);
    }
}

static void progress_json(const char *what, uint64_t done, uint64_t total, const char *unit,
                          double seconds) {
    json_t *o = json_pack("{s:s, s:I, s:I, s:s, s:f}", "progress", what, "done", (json_int_t)done,
                          "total", (json_int_t)total, "unit", unit, "seconds", seconds);
    if (o) json_dumpf(o, stderr, JSON_COMPACT | JSON_REAL_PRECISION(6));
    fputc('\n', stderr);
    json_decref(o);
}

/* Drawn at most ten times a second, first after 0.3 s: short work leaves no trace. */
void cli_progress(const char *what, uint64_t done, uint64_t total, const char *unit) {
    static double begin, last;
    static bool drawn;
    bool json = strcmp(cli_progress_mode(), "json") == 0;
    if (strcmp(cli_progress_mode(), "off") == 0 || (!json && !isatty(STDERR_FILENO))) return;
    double now = cli_seconds();
    bool end = !what || (total && done >= total);
    if (begin == 0) begin = last = now;
    if (json && what && (end || now - last >= 0.5)) {
        progress_json(what, done, total, unit, now - begin);
        last = now;
    } else if (!json && !end && now - begin > 0.3 && now - last > 0.1) {
        progress_line(what, done, total, unit, now - begin);
        last = now;
        drawn = true;
    }
    if (end) {
        if (drawn) fputs("\r\033[K", stderr);
        begin = 0;
        drawn = false;
    }
    fflush(stderr);
}

/* ------------------------------------------------------------------ input */

static int read_stdin(char **data, size_t *len) {
    char *buf = NULL;
    size_t n = 0, cap = 0;
    for (;;) {
        if (n == cap) {
            size_t more = cap ? cap * 2 : 65536;
            char *p = more > cap ? realloc(buf, more) : NULL;
            if (!p) {
                free(buf);
                return cli_fail(EXIT_SYSTEM,
                                T("standard input: out of memory", "标准输入：内存不足"));
            }
            buf = p;
            cap = more;
        }
        cli_interrupt_reads(true);
        size_t got = fread(buf + n, 1, cap - n, stdin);
        cli_interrupt_reads(false);
        n += got;
        if (got == 0 || cli_interrupted()) break;
    }
    if (ferror(stdin) || cli_interrupted()) {
        free(buf);
        if (cli_interrupted()) return EXIT_INTERRUPTED;
        return cli_fail(EXIT_INPUT, T("standard input: %s", "标准输入：%s"), strerror(errno));
    }
    buf[n] = '\0'; /* n < cap: the last read found nothing */
    *data = buf;
    *len = n;
    return EXIT_OK;
}

int cli_read_input(const char *path, char **data, size_t *len) {
    rwkv_error err = {0};
    void *file = NULL;
    if (strcmp(path, "-") == 0) return read_stdin(data, len);
    if (rwkv_file_read(path, 0, &file, len, &err) != RWKV_OK) return cli_input_error(&err, path);
    /* The library's allocator need not be malloc's. */
    *data = malloc(*len + 1);
    if (*data) {
        memcpy(*data, file, *len);
        (*data)[*len] = '\0';
    }
    rwkv_free(file);
    return *data ? EXIT_OK : cli_fail(EXIT_SYSTEM, T("%s: out of memory", "%s：内存不足"), path);
}

int cli_encode(const rwkv_tokenizer *tok, const char *text, size_t len, bool prompt_end,
               int32_t **ids, size_t *n) {
    const uint32_t flags = prompt_end ? RWKV_ENCODE_PROMPT : 0;
    rwkv_error err = {0};
    size_t count = 0;
    rwkv_status st = rwkv_encode(tok, text, len, flags, NULL, 0, &count, &err);
    if (st != RWKV_OK && st != RWKV_E_SPACE) return cli_error(&err);
    int32_t *out = malloc((count + 1) * sizeof *out); /* one to spare for the caller */
    if (!out)
        return cli_fail(EXIT_SYSTEM, T("out of memory for %zu tokens", "内存不足：%zu 个词元"),
                        count);
    st = rwkv_encode(tok, text, len, flags, out, count, &count, &err);
    if (st != RWKV_OK) {
        free(out);
        return cli_error(&err);
    }
    *ids = out;
    *n = count;
    return EXIT_OK;
}

static int add_id(json_int_t id, size_t limit, int32_t **ids, size_t *n) {
    if (id < 0 || (uint64_t)id >= limit) {
        return cli_fail(EXIT_INPUT,
                        T("token %zu: found id %lld; expected 0 to %zu",
                          "第 %zu 个词元：得到编号 %lld；应为 0 到 %zu"),
                        *n, (long long)id, limit ? limit - 1 : 0);
    }
    if ((*n & (*n - 1)) == 0) { /* grows at powers of two */
        int32_t *p = realloc(*ids, (*n ? *n * 2 : 1) * sizeof *p);
        if (!p) return cli_fail(EXIT_SYSTEM, T("out of memory for tokens", "内存不足"));
        *ids = p;
    }
    (*ids)[(*n)++] = (int32_t)id;
    return EXIT_OK;
}

static int parse_json_ids(const char *text, size_t len, size_t limit, int32_t **ids, size_t *n) {
    json_error_t e;
    json_t *root = json_loadb(text, len, 0, &e), *item;
    const json_t *list = json_is_object(root) ? json_object_get(root, "ids") : root;
    size_t i;
    int code = EXIT_OK;
    if (!root)
        code = cli_fail(EXIT_INPUT, T("ids: JSON, byte %d: %s", "编号：JSON，第 %d 字节：%s"),
                        e.position, e.text);
    else if (!json_is_array(list)) {
        code = cli_fail(EXIT_INPUT, T("ids: found JSON without a list; expected {\"ids\":[...]}",
                                      "编号：JSON 中没有列表；应为 {\"ids\":[...]}"));
    }
    json_array_foreach(list, i, item) {
        if (code) break;
        if (json_is_integer(item)) {
            code = add_id(json_integer_value(item), limit, ids, n);
        } else {
            code = cli_fail(EXIT_INPUT,
                            T("ids: item %zu is no whole number", "编号：第 %zu 项不是整数"), i);
        }
    }
    json_decref(root);
    return code;
}

int cli_parse_ids(const char *text, size_t len, size_t limit, int32_t **ids, size_t *n) {
    size_t i = 0;
    while (i < len && strchr(" \t\r\n,", text[i]) && text[i]) i++;
    if (i < len && (text[i] == '{' || text[i] == '[')) {
        return parse_json_ids(text + i, len - i, limit, ids, n);
    }
    while (i < len) {
        char word[24];
        size_t k = 0;
        while (i + k < len && k < sizeof word - 1 &&
               !(text[i + k] && strchr(" \t\r\n,", text[i + k]))) {
            word[k] = text[i + k];
            k++;
        }
        word[k] = '\0';
        char *end;
        errno = 0;
        long long id = strtoll(word, &end, 10);
        if (*end || end != word + k || errno || k == sizeof word - 1) {
            return cli_fail(EXIT_INPUT,
                            T("token %zu: found '%s'; expected a whole number",
                              "第 %zu 个词元：得到 '%s'；应为整数"),
                            *n, word);
        }
        int code = add_id(id, limit, ids, n);
        if (code) return code;
        i += k;
        while (i < len && text[i] && strchr(" \t\r\n,", text[i])) i++;
    }
    return EXIT_OK;
}

/* ------------------------------------------------------------------ model */

static const char *mapped_path;

/* A mapped file that shrinks raises SIGBUS (F9). Only write and _exit are safe here. */
static void on_bus_error(int signal_number) {
    static const char text[] = ": the file changed while it was in use (--no-mmap prevents this)\n";
    (void)signal_number;
    (void)!write(STDERR_FILENO, "rwkv: ", 6);
    (void)!write(STDERR_FILENO, mapped_path, strlen(mapped_path));
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_SYSTEM);
}

static void print_log(void *user, int level, const char *message) {
    (void)user;
    if (level >= 1) cli_fail(0, T("warning: %s", "警告：%s"), message);
}

int cli_open_model(rwkv_model **out, const char *path, const model_args *a) {
    rwkv_error err = {0};
    rwkv_model_options o = {
        .n_threads = a->threads,
        .flags = (a->no_mmap ? RWKV_MODEL_NO_MMAP : 0u) | (a->check ? RWKV_MODEL_CHECK : 0u) |
                 (a->force ? RWKV_MODEL_IGNORE_MEMORY : 0u) | (a->exact ? RWKV_MODEL_EXACT : 0u) |
                 (a->dense ? RWKV_MODEL_DENSE : 0u),
        .isa = a->isa,
        .vocab = a->vocab,
        .chat = a->chat,
        .group_norm_eps = a->group_norm_eps,
        .log = print_log,
    };
    struct sigaction bus = {.sa_handler = on_bus_error};
    mapped_path = path;
    sigaction(SIGBUS, &bus, NULL);
    if (rwkv_model_open(out, path, &o, &err) == RWKV_OK) return EXIT_OK;
    return cli_input_error(&err, err.file[0] ? err.file : path); /* perhaps the vocabulary */
}

const char *cli_demo_model(void) {
    static const char *const places[] = {RWKV_DEMO_DIR "/rwkv-demo-Q8_0.gguf",
                                         RWKV_DATA_DIR "/rwkv-demo-Q8_0.gguf"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], R_OK) == 0) return places[i];
    }
    return NULL;
}

int cli_open_model_or_demo(rwkv_model **out, const char *path, const model_args *a) {
    rwkv_info info;
    if (path) return cli_open_model(out, path, a);
    if (!(path = cli_demo_model())) {
        return cli_fail(EXIT_USAGE, T("no MODEL given, and the demo model is not installed",
                                      "未给出模型文件，也没有安装演示模型"));
    }
    int code = cli_open_model(out, path, a);
    if (code) return code;
    rwkv_model_info(*out, &info);
    fprintf(stderr,
            T("This is the demo model: %.1f M parameters, trained for rwkv.c on countries, words, "
              "sums and poems.\nReal models: the .pth files of BlinkDL/rwkv7-g1 on Hugging Face or "
              "ModelScope; then: rwkv chat FILE\n",
              "这是演示模型：%.1f M 参数，为 rwkv.c 训练，只懂国家、单词、算术和诗歌。\n"
              "真正的模型：Hugging Face 或 ModelScope 上 BlinkDL/rwkv7-g1 的 .pth 文件；然后：rwkv "
              "chat 文件\n"),
            (double)info.n_params / 1e6);
    return EXIT_OK;
}

rwkv_status cli_feed(rwkv_session *s, const int32_t *ids, size_t n, rwkv_error *err) {
    enum { PIECE = 256 };
    for (size_t i = 0; i < n && !cli_interrupted(); i += PIECE) {
        size_t k = n - i < PIECE ? n - i : PIECE;
        rwkv_status st = rwkv_session_eval(s, ids + i, k, err);
        if (st != RWKV_OK) return st;
        cli_progress(T("Reading the prompt", "读取提示"), i + k, n, T("tokens", "词元"));
    }
    if (cli_interrupted()) cli_progress(NULL, 0, 0, NULL);
    return RWKV_OK;
}

/* ------------------------------------------------------------------ Ctrl-C */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    if (interrupts) _exit(EXIT_INTERRUPTED);
    interrupts = 1;
}

/* Output goes on: a write that ended with EINTR would lose what stdio had gathered. */
void cli_catch_interrupt(void) {
    struct sigaction a = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &a, NULL);
}

void cli_interrupt_reads(bool on) {
    struct sigaction a;
    sigaction(SIGINT, NULL, &a);
    a.sa_flags = on ? 0 : SA_RESTART;
    sigaction(SIGINT, &a, NULL);
}

bool cli_interrupted(void) {
    return interrupts != 0;
}
void cli_clear_interrupt(void) {
    interrupts = 0;
}
