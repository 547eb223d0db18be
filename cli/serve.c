/* serve.c - rwkv serve: options -> model, store, engine, HTTP; then waits for a signal.
 *
 * SIGTERM or SIGINT: no new work, /health says 503, what is running may end within 30 s; a second
 * signal ends it at once. Either way sessions are in the store and the exit code is 0. */
#include "cli.h"

#include "../server/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { DRAIN_SECONDS = 30, WORKERS = 4, MAX_STATES = 64 };

static model_args model_opts;
static const char *host = "127.0.0.1", *port = "8080", *socket_path, *key_file, *store_name,
                  *model_name, *access_log, *preset;
static opt_list hosts, origins, aliases, states;
static uint64_t cache_ram = 1024, cache_disk = 4096, session_ttl, session_quota;
static uint64_t max_tokens = 8192, max_prompt = 1u << 20;
static uint32_t lanes = 32, queue_len = 256, max_sessions = 1000;
static bool no_auth;

static const option_spec *options(void) {
    static option_spec table[48];
    static const option_spec own[] = {
        {"host", 0, OPT_STRING, &host, "ADDRESS", "address to listen on, default 127.0.0.1",
         "监听地址，默认 127.0.0.1", 0, 0},
        {"port", 0, OPT_STRING, &port, "N", "port, default 8080; 0: any free one",
         "端口，默认 8080；0：任选空闲端口", 0, 0},
        {"socket", 0, OPT_STRING, &socket_path, "PATH", "listen on a unix socket instead",
         "改为监听 unix 套接字", 0, 0},
        {"model-name", 0, OPT_STRING, &model_name, "NAME",
         "name in /v1/models; default: the file's", "/v1/models 中的名称；默认取自文件名", 0, 0},
        {"alias", 0, OPT_STRINGS, &aliases, "NAME", "another name for the model; may be repeated",
         "模型的别名；可多次给出", 0, 0},
        {"preset", 0, OPT_STRING, &preset, "NAME",
         "sampling of requests that say nothing; default: chat, for plain text default",
         "请求未指定时的采样预设；对话默认 chat，续写默认 default", 0, 0},
        {"", 0, OPT_HEADING, NULL, NULL, "Access", "访问", 0, 0},
        {"api-key-file", 0, OPT_STRING, &key_file, "FILE",
         "keys, one a line; also RWKV_API_KEYS=key,key",
         "密钥文件，每行一个；或 RWKV_API_KEYS=key,key", 0, 0},
        {"allowed-host", 0, OPT_STRINGS, &hosts, "NAME",
         "host name under which clients may ask; *: any", "允许客户端使用的主机名；*：任意", 0, 0},
        {"cors-origin", 0, OPT_STRINGS, &origins, "ORIGIN",
         "pages of this origin may ask, e.g. https://chat.example", "允许此来源的网页访问", 0, 0},
        {"insecure-no-auth", 0, OPT_FLAG, &no_auth, NULL, "allow other machines without any key",
         "允许其他机器不用密钥访问", 0, 0},
        {"access-log", 0, OPT_STRING, &access_log, "FILE",
         "a JSON line for each request, never its content; -: stderr",
         "每个请求记一行 JSON，不含内容；-：stderr", 0, 0},
        {"", 0, OPT_HEADING, NULL, NULL, "Sessions and cache", "会话与缓存", 0, 0},
        {"store", 0, OPT_STRING, &store_name, "URL",
         "memory: | FILE | redis://HOST; default: server.db in the data directory",
         "memory: | 文件 | redis://主机；默认为数据目录中的 server.db", 0, 0},
        {"state", 0, OPT_STRINGS, &states, "NAME=FILE",
         "initial state that requests may name; may be repeated",
         "请求可按名称使用的初始状态；可多次给出", 0, 0},
        {"cache-ram", 0, OPT_U64, &cache_ram, "MB", "memory for states of texts read, default 1024",
         "已读文本状态的内存缓存，默认 1024", 0, 1e9},
        {"cache-disk", 0, OPT_U64, &cache_disk, "MB", "the same in the store, default 4096",
         "存储中的同类缓存，默认 4096", 0, 1e9},
        {"session-ttl", 0, OPT_U64, &session_ttl, "SECONDS",
         "forget sessions unused for so long; default 0: never",
         "会话闲置多久后删除；默认 0：不删除", 0, 1e10},
        {"session-quota", 0, OPT_U64, &session_quota, "MB",
         "bytes of sessions of one key; default 0: no limit", "每个密钥的会话容量；默认 0：不限", 0,
         1e9},
        {"max-sessions", 0, OPT_UINT, &max_sessions, "N", "sessions of one key, default 1000",
         "每个密钥的会话数，默认 1000", 1, 1e6},
        {"", 0, OPT_HEADING, NULL, NULL, "Limits", "限制", 0, 0},
        {"lanes", 0, OPT_UINT, &lanes, "N", "answers at once, default 32", "同时回答数，默认 32", 1,
         1024},
        {"queue", 0, OPT_UINT, &queue_len, "N", "requests that may wait, default 256",
         "可排队的请求数，默认 256", 1, 1e6},
        {"max-tokens", 0, OPT_U64, &max_tokens, "N", "of one answer, default 8192",
         "每个回答的最多词元数，默认 8192", 1, 1e9},
        {"max-prompt", 0, OPT_U64, &max_prompt, "N", "tokens of one prompt, default 1048576",
         "每个提示的最多词元数，默认 1048576", 1, 1e9},
        {0},
    };
    return cli_join(table, 48, own, cli_model_specs(&model_opts), NULL);
}

/* ------------------------------------------------------------------ signals */

/* Blocked in every thread that is started from here on: they stay pending until they are asked for.
 */
static void block_signals(sigset_t *stops) {
    sigemptyset(stops);
    sigaddset(stops, SIGTERM);
    sigaddset(stops, SIGINT);
    pthread_sigmask(SIG_BLOCK, stops, NULL);
}

static bool signal_pending(void) {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) || sigismember(&pending, SIGINT);
}

/* ------------------------------------------------------------------ parts */

static int read_keys(auth *a) {
    rwkv_error err = {0};
    const char *list = getenv("RWKV_API_KEYS");
    struct stat st;
    if (list && auth_read_list(a, list, &err) != RWKV_OK) {
        return cli_fail(EXIT_USAGE, "RWKV_API_KEYS: %s", err.message);
    }
    if (list) unsetenv("RWKV_API_KEYS"); /* not for children and core files */
    if (key_file && auth_read_file(a, key_file, &err) != RWKV_OK) {
        return cli_input_error(&err, key_file);
    }
    if (key_file && stat(key_file, &st) == 0 && st.st_mode & 077) {
        cli_fail(0,
                 T("warning: %s: other users can read the keys; chmod 600",
                   "警告：%s：其他用户可读取密钥；请 chmod 600"),
                 key_file);
    }
    return EXIT_OK;
}

static bool is_loopback(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 ||
           strcmp(address, "localhost") == 0;
}

static int check_access(auth *a) {
    a->hosts = hosts.items;
    a->n_hosts = hosts.n;
    a->origins = origins.items;
    a->n_origins = origins.n;
    a->any_address = !is_loopback(host);
    int code = read_keys(a);
    if (code) return code;
    if (a->any_address && !socket_path && a->n_keys == 0 && !no_auth) {
        return cli_fail(
            EXIT_USAGE,
            T("serve: %s can be reached by other machines: give --api-key-file (or "
              "--insecure-no-auth)",
              "serve：其他机器可以访问 %s：请给出 --api-key-file（或 --insecure-no-auth）"),
            host);
    }
    return EXIT_OK;
}

/* $XDG_DATA_HOME/rwkv/server.db, which the store creates with its folder. */
static const char *default_store(char path[1024]) {
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/')
        snprintf(path, 1024, "%s/rwkv/server.db", data);
    else if (home && *home == '/')
        snprintf(path, 1024, "%s/.local/share/rwkv/server.db", home);
    else
        return "memory:";
    return path;
}

/* "dir/RWKV7-G1-0.1B-Q8_0.gguf" -> "RWKV7-G1-0.1B-Q8_0" */
static const char *name_of_file(const char *path, char name[128]) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    size_t k = 0;
    for (size_t i = 0; i < n && k < 127; i++) {
        if ((unsigned char)base[i] > 0x20 && base[i] != 0x7f) name[k++] = base[i];
    }
    name[k] = '\0';
    return k ? name : "rwkv";
}

static int read_states(server *s, named_state list[MAX_STATES]) {
    rwkv_error err = {0};
    s->states = list;
    for (size_t i = 0; i < states.n; i++) {
        char *text = strdup(states.items[i]), *equals = text ? strchr(text, '=') : NULL;
        named_state *st = &list[s->n_states];
        if (!equals) {
            free(text);
            return cli_fail(
                EXIT_USAGE,
                T("--state: found '%s'; expected NAME=FILE", "--state：得到 '%s'；应为 名称=文件"),
                states.items[i]);
        }
        *equals = '\0';
        st->name = text;
        s->n_states++;
        if (rwkv_file_read(equals + 1, s->max_blob, &st->data, &st->n, &err) != RWKV_OK ||
            rwkv_state_inspect(st->data, st->n, &st->info, &err) != RWKV_OK) {
            return cli_input_error(&err, equals + 1);
        }
        if (memcmp(st->info.fingerprint, s->info.fingerprint, sizeof st->info.fingerprint) != 0) {
            return cli_fail(EXIT_INPUT,
                            T("%s: this state is of another model", "%s：此状态属于另一个模型"),
                            equals + 1);
        }
    }
    return EXIT_OK;
}

static void log_line(void *user, int level, const char *message) {
    (void)user;
    if (level >= 1) cli_fail(0, T("warning: %s", "警告：%s"), message);
}

/* Room for a blob of the largest session: state, logits, header, and its tokens in the note. */
static size_t blob_limit(const rwkv_info *i) {
    return (size_t)i->state_bytes + i->n_vocab * sizeof(float) + (4u << 20) +
           (size_t)max_prompt * 2 * sizeof(int32_t);
}

static int describe_model(server *s, char name[128]) {
    rwkv_error err = {0};
    rwkv_model_info(s->model, &s->info);
    s->tokenizer = rwkv_model_tokenizer(s->model, &err);
    if (!s->tokenizer) return cli_error(&err);
    s->template = rwkv_model_template(s->model);
    s->model_name = model_name ? model_name : name_of_file(s->info.path, name);
    s->aliases = aliases.items;
    s->n_aliases = aliases.n;
    rwkv_sampling unused;
    if (preset && rwkv_sampling_preset(&unused, preset) != RWKV_OK) {
        return cli_fail(EXIT_USAGE, T("--preset: '%s' is unknown", "--preset：未知的 '%s'"),
                        preset);
    }
    s->preset = preset ? preset : *s->info.sampling ? s->info.sampling : NULL;
    s->max_tokens = max_tokens;
    s->max_prompt = max_prompt;
    s->max_blob = blob_limit(&s->info);
    s->started = time(NULL);
    const uint8_t *h = s->info.weights_hash;
    snprintf(s->fingerprint, sizeof s->fingerprint, "fp_%02x%02x%02x%02x%02x", h[0], h[1], h[2],
             h[3], h[4]);
    return EXIT_OK;
}

static int open_store(server *s) {
    char path[1024];
    rwkv_error err = {0};
    const char *url = store_name ? store_name : default_store(path);
    if (store_open(&s->store, url, &err) != RWKV_OK) return cli_input_error(&err, url);
    return EXIT_OK;
}

static int start_engine(server *s) {
    rwkv_error err = {0};
    const uint64_t mb = 1000000;
    engine_options o = {.max_lanes = lanes,
                        .max_queue = queue_len,
                        .cache_ram = cache_ram * mb,
                        .cache_disk = cache_disk * mb,
                        .session_ttl = session_ttl,
                        .session_quota = session_quota * mb,
                        .max_sessions = max_sessions,
                        .log = log_line};
    return engine_new(&s->engine, s->model, s->store, &o, &err) == RWKV_OK ? EXIT_OK
                                                                           : cli_error(&err);
}

static int open_log(FILE **out) {
    *out = NULL;
    if (!access_log) return EXIT_OK;
    *out = strcmp(access_log, "-") == 0 ? stderr : fopen(access_log, "ae");
    return *out ? EXIT_OK : cli_fail(EXIT_SYSTEM, "%s: %s", access_log, strerror(errno));
}

static int start_http(server *s, const auth *a, FILE *log) {
    rwkv_error err = {0};
    http_options o = {.host = host,
                      .port = port,
                      .socket = socket_path,
                      .auth = a,
                      .routes = server_routes,
                      .n_workers = WORKERS,
                      .max_state_body = s->max_blob / 3 * 4 + LIMIT_BODY,
                      .log = log,
                      .server = s,
                      .on_end = server_count};
    return http_start(&s->http, &o, &err) == RWKV_OK ? EXIT_OK : cli_error(&err);
}

/* ------------------------------------------------------------------ the command */

static void wait_and_drain(server *s, const sigset_t *stops) {
    const struct timespec pause = {.tv_nsec = 50000000};
    engine_stats st;
    int number;
    sigwait(stops, &number);
    cli_fail(
        0,
        T("stopping; running answers may end within %d s", "正在停止；进行中的回答最多再等 %d 秒"),
        DRAIN_SECONDS);
    atomic_store(&s->draining, true);
    http_drain(s->http);
    const double end = cli_seconds() + DRAIN_SECONDS;
    for (; !signal_pending() && cli_seconds() < end; nanosleep(&pause, NULL)) {
        engine_get_stats(s->engine, &st);
        if (st.jobs_queued + st.jobs_running == 0) break;
    }
    engine_drain(s->engine, 0);
}

static int serve(server *s, const char *path, auth *a) {
    static named_state fixed[MAX_STATES];
    char name[128];
    sigset_t stops;
    FILE *log = NULL;
    int code = check_access(a);
    if (!code) code = open_log(&log);
    if (!code) block_signals(&stops);
    if (!code) code = cli_open_model_or_demo(&s->model, path, &model_opts);
    if (!code) code = describe_model(s, name);
    if (!code) code = read_states(s, fixed);
    if (!code) code = open_store(s);
    if (!code) code = start_engine(s);
    if (!code) code = start_http(s, a, log);
    if (!code) {
        if (socket_path) {
            fprintf(stderr, T("rwkv: %s on unix:%s\n", "rwkv：%s，监听 unix:%s\n"), s->model_name,
                    socket_path);
        } else {
            fprintf(stderr, T("rwkv: %s on http://%s:%u\n", "rwkv：%s，监听 http://%s:%u\n"),
                    s->model_name, host, http_port(s->http));
        }
        wait_and_drain(s, &stops);
    }
    http_stop(s->http);
    engine_free(s->engine);
    store_close(s->store);
    for (size_t i = 0; i < s->n_states; i++) {
        free((char *)s->states[i].name);
        rwkv_free(s->states[i].data);
    }
    rwkv_model_free(s->model);
    if (log && log != stderr) fclose(log);
    return code;
}

static int run(int argc, char **argv) {
    static server s;
    auth a = {0};
    int n;
    bool helped;
    int code = cli_parse("serve", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n > 1) {
        return cli_fail(EXIT_USAGE, T("serve: expected one model file; see rwkv help serve",
                                      "serve：只需要一个模型文件；参见 rwkv help serve"));
    }
    code = serve(&s, n ? argv[1] : NULL, &a);
    auth_free(&a);
    return code;
}

const command cmd_serve = {
    "serve",
    "[MODEL] [OPTIONS]",
    "answer programs and people over HTTP, OpenAI-compatible",
    "通过 HTTP 提供服务，兼容 OpenAI 接口",
    run,
    options,
    "Point any OpenAI client at http://127.0.0.1:8080/v1. SIGTERM lets running answers end (30 "
    "s);\n"
    "a second one ends them. docs/SERVER.md describes all paths and limits.",
    "把任意 OpenAI 客户端指向 http://127.0.0.1:8080/v1。SIGTERM 会等待进行中的回答（30 秒）；\n"
    "第二次则立即结束。docs/SERVER.md 说明全部接口与限制。",
};
