/* loadtest.c - rwkv loadtest: many users at once against any OpenAI-compatible server.
 *
 *     users -> libcurl multi -> server-sent events -> times -> percentiles
 *
 * A user asks `turns` questions one after the other, each as soon as the answer before it has
 * ended, and sends its whole conversation every time, or with --sessions only what is new. Texts
 * are random words, different for every user, so that nobody profits from another's cache. A server
 * that is busy (429, 503) is asked again after the time it names. One thread; the time of an event
 * is when its bytes were read. */
#include "cli.h"

#include <curl/curl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TRIES = 20, MAX_LINE = 1 << 20 };

static const char *key_file, *socket_path, *model_name, *document;
static uint32_t n_users = 8, n_turns = 3, prompt_words = 100, max_tokens = 64, time_limit = 600;
static uint64_t seed = 1;
static bool sessions, as_json, ignore_end;

static const option_spec *options(void) {
    static const option_spec own[] = {
        {"users", 'u', OPT_UINT, &n_users, "N", "users at once, default 8", "并发用户数，默认 8", 1,
         20000},
        {"turns", 0, OPT_UINT, &n_turns, "N", "questions of each user, default 3",
         "每个用户的提问次数，默认 3", 1, 1e6},
        {"words", 'w', OPT_UINT, &prompt_words, "N", "words of a question, default 100",
         "每个问题的词数，默认 100", 1, 1e6},
        {"document", 'f', OPT_STRING, &document, "FILE",
         "a text that stands before every first question", "置于每个首次提问之前的文本", 0, 0},
        {"max-tokens", 'n', OPT_UINT, &max_tokens, "N", "tokens of an answer, default 64",
         "每个回答的词元数，默认 64", 1, 1e6},
        {"ignore-end", 0, OPT_FLAG, &ignore_end, NULL, "answers always have that many",
         "回答总是达到该长度", 0, 0},
        {"sessions", 0, OPT_FLAG, &sessions, NULL, "name a session and send only what is new",
         "使用会话，只发送新内容", 0, 0},
        {"api-key-file", 0, OPT_STRING, &key_file, "FILE",
         "keys, one a line; users take turns with them", "密钥文件，每行一个；用户轮流使用", 0, 0},
        {"socket", 0, OPT_STRING, &socket_path, "PATH", "connect to a unix socket",
         "连接 unix 套接字", 0, 0},
        {"model", 'm', OPT_STRING, &model_name, "NAME", "model to ask; default: the first",
         "模型名；默认取第一个", 0, 0},
        {"time", 0, OPT_UINT, &time_limit, "SECONDS", "stop after so long, default 600",
         "最长时间，默认 600 秒", 1, 1e6},
        {"seed", 0, OPT_U64, &seed, "N", "of the texts, default 1", "文本的随机种子，默认 1", 0, 0},
        {"json", 0, OPT_FLAG, &as_json, NULL, "one JSON object", "输出一个 JSON 对象", 0, 0},
        {0},
    };
    return own;
}

/* ------------------------------------------------------------------ numbers */

typedef struct samples {
    double *v;
    size_t n, cap;
} samples;

static void add_sample(samples *s, double v) {
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 1024;
        double *more = realloc(s->v, cap * sizeof *more);
        if (!more) return; /* a sample less */
        s->v = more;
        s->cap = cap;
    }
    s->v[s->n++] = v;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; the samples must be sorted. */
static double percentile(const samples *s, double p) {
    size_t i = (size_t)ceil(p * (double)s->n);
    return s->n ? s->v[i ? i - 1 : 0] : NAN;
}

typedef struct totals {
    samples first, later,
        gap; /* seconds to the first text of a user's first answer, of the others; between texts */
    uint64_t turns, prompt_tokens, cached_tokens, answer_tokens, busy, errors;
    char error[256]; /* the first */
    uint64_t rss_before, rss_peak, rss_after;
    double begin, seconds;
} totals;

/* ------------------------------------------------------------------ one user */

typedef struct text {
    char *s;
    size_t n, cap;
} text;

static bool text_add(text *t, const char *s, size_t n) {
    if (n > SIZE_MAX / 4 - t->n) return false;
    if (t->n + n + 1 > t->cap) {
        size_t cap = (t->n + n + 1) * 2;
        char *more = realloc(t->s, cap);
        if (!more) return false;
        t->s = more;
        t->cap = cap;
    }
    memcpy(t->s + t->n, s, n);
    t->n += n;
    t->s[t->n] = 0;
    return true;
}

typedef struct user {
    CURL *easy;
    struct curl_slist *headers;
    json_t *messages; /* of the conversation so far */
    char *body, session[64];
    text line, answer;
    uint64_t rng;
    uint32_t turn;
    int tries;
    double sent, last, resume; /* last: when text came; resume: waits until then, 0: does not */
    uint64_t answer_tokens;
    bool streaming, complete, failed, done;
    totals *all;
} user;

static uint64_t random_u64(uint64_t *s) { /* splitmix64 */
    uint64_t z = *s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Words of a few syllables, so that a vocabulary has its usual work with them. */
static bool add_words(text *t, uint64_t *rng, uint32_t n) {
    static const char *const syllables[] = {"ka",  "lo", "mi", "ren", "ta", "vu",  "so", "ne",
                                            "bar", "li", "do", "the", "an", "shi", "gu", "er"};
    for (uint32_t i = 0; i < n; i++) {
        uint64_t r = random_u64(rng);
        if (i && !text_add(t, i % 12 ? " " : ". ", i % 12 ? 1 : 2)) return false;
        for (unsigned k = 0; k < 1 + r % 3; k++) {
            const char *s = syllables[r >> (8 + 4 * k) & 15];
            if (!text_add(t, s, strlen(s))) return false;
        }
    }
    return text_add(t, "?", 1);
}

static void fail(user *u, const char *what) {
    if (u->all->errors++ == 0) snprintf(u->all->error, sizeof u->all->error, "%s", what);
    u->failed = true;
}

/* One event's data. */
static void take_event(user *u, const char *data, size_t n) {
    double now = cli_seconds();
    if (n == 6 && memcmp(data, "[DONE]", 6) == 0) {
        u->complete = true;
        return;
    }
    json_t *o = json_loadb(data, n, JSON_ALLOW_NUL, NULL);
    json_t *usage = json_object_get(o, "usage"), *error = json_object_get(o, "error");
    json_t *delta = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "delta");
    json_t *content = json_object_get(delta, "content");
    bool thought = json_string_length(json_object_get(delta, "reasoning_content")) > 0;
    if (!o) fail(u, "an event that is no JSON");
    if (error) {
        const char *message = json_string_value(json_object_get(error, "message"));
        fail(u, message ? message : "an error event");
    }
    if (json_string_length(content) > 0 || thought) {
        if (u->last == 0)
            add_sample(u->turn ? &u->all->later : &u->all->first, now - u->sent);
        else
            add_sample(&u->all->gap, now - u->last);
        u->last = now;
        u->answer_tokens++; /* if no usage comes */
        text_add(&u->answer, json_string_length(content) ? json_string_value(content) : "",
                 json_string_length(content));
    }
    if (json_is_object(usage)) {
        json_t *details = json_object_get(usage, "prompt_tokens_details");
        u->answer_tokens =
            (uint64_t)json_integer_value(json_object_get(usage, "completion_tokens"));
        u->all->prompt_tokens +=
            (uint64_t)json_integer_value(json_object_get(usage, "prompt_tokens"));
        u->all->cached_tokens +=
            (uint64_t)json_integer_value(json_object_get(details, "cached_tokens"));
    }
    json_decref(o);
}

/* Lines of the stream; before the status is known to be 200 the bytes are kept as the error's text.
 */
static size_t on_bytes(char *data, size_t size, size_t n, void *arg) {
    user *u = arg;
    long status = 0;
    n *= size;
    curl_easy_getinfo(u->easy, CURLINFO_RESPONSE_CODE, &status);
    if (u->line.n + n > MAX_LINE || !text_add(&u->line, data, n)) return 0;
    if (status != 200) return n;
    char *at = u->line.s, *end;
    while ((end = memchr(at, '\n', u->line.n - (size_t)(at - u->line.s)))) {
        size_t len = (size_t)(end - at);
        if (len && at[len - 1] == '\r') len--;
        if (len > 5 && memcmp(at, "data:", 5) == 0) {
            size_t skip = at[5] == ' ' ? 6 : 5;
            take_event(u, at + skip, len - skip);
        }
        at = end + 1;
    }
    u->line.n -= (size_t)(at - u->line.s);
    memmove(u->line.s, at, u->line.n);
    return n;
}

static bool make_question(user *u) {
    text t = {0};
    char *data = NULL;
    size_t n = 0;
    bool good = true;
    if (u->turn == 0 && document && cli_read_input(document, &data, &n) == EXIT_OK)
        good = text_add(&t, data, n) && text_add(&t, "\n", 1);
    free(data);
    good = good && add_words(&t, &u->rng, prompt_words);
    if (good && sessions) json_array_clear(u->messages);
    size_t len;
    char *valid = good ? cli_valid_utf8(t.s, t.n, &len) : NULL;
    json_t *m = valid ? json_pack("{s:s, s:s#}", "role", "user", "content", valid, (int)len) : NULL;
    free(valid);
    free(t.s);
    return m && json_array_append_new(u->messages, m) == 0;
}

/* The request for the question that stands last in messages. */
static bool make_body(user *u) {
    json_t *o =
        json_pack("{s:s, s:O, s:b, s:{s:b}, s:i}", "model", model_name, "messages", u->messages,
                  "stream", 1, "stream_options", "include_usage", 1, "max_tokens", (int)max_tokens);
    if (o && sessions) json_object_set_new(o, "session", json_string(u->session));
    if (o && ignore_end) json_object_set_new(o, "ignore_eos", json_true());
    free(u->body);
    u->body = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return u->body != NULL;
}

static bool send_question(user *u, CURLM *multi) {
    u->line.n = u->answer.n = 0;
    u->answer_tokens = 0;
    u->complete = u->failed = false;
    u->last = u->resume = 0;
    curl_easy_setopt(u->easy, CURLOPT_POSTFIELDS, u->body);
    curl_easy_setopt(u->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(u->body));
    u->sent = cli_seconds();
    return curl_multi_add_handle(multi, u->easy) == CURLM_OK;
}

/* After a transfer: the next turn, the same once more, or the end of this user. */
static bool next_step(user *u, CURLM *multi, CURLcode result) {
    long status = 0;
    curl_off_t wait = 0;
    char what[256];
    curl_easy_getinfo(u->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(u->easy, CURLINFO_RETRY_AFTER, &wait);
    if ((status == 429 || status == 503) && u->tries++ < MAX_TRIES) {
        u->all->busy++;
        u->resume = cli_seconds() + (wait > 0 && wait < 60 ? (double)wait : 1);
        return true;
    }
    if (result != CURLE_OK) {
        fail(u, curl_easy_strerror(result));
    } else if (status != 200) {
        snprintf(what, sizeof what, "HTTP %ld %.*s", status,
                 (int)(u->line.n < 230 ? u->line.n : 230), u->line.s ? u->line.s : "");
        fail(u, what);
    } else if (!u->complete && !u->failed) {
        fail(u, "the stream ended early");
    }
    if (u->failed) {
        u->done = true;
        return true;
    }
    u->all->turns++;
    u->all->answer_tokens += u->answer_tokens;
    u->tries = 0;
    if (++u->turn == n_turns) {
        u->done = true;
        return true;
    }
    size_t len;
    char *valid = cli_valid_utf8(u->answer.s ? u->answer.s : "", u->answer.n, &len);
    json_t *m =
        valid ? json_pack("{s:s, s:s#}", "role", "assistant", "content", valid, (int)len) : NULL;
    free(valid);
    return m && json_array_append_new(u->messages, m) == 0 && make_question(u) && make_body(u) &&
           send_question(u, multi);
}

/* ------------------------------------------------------------------ the server */

static char base[1024];

static CURL *new_easy(const char *path, struct curl_slist *headers) {
    char url[1200];
    CURL *c = curl_easy_init();
    if (!c) return NULL;
    snprintf(url, sizeof url, "%s%s", base, path);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    if (socket_path) curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, socket_path);
    return c;
}

static size_t on_text(char *data, size_t size, size_t n, void *arg) {
    text *t = arg;
    return t->n + n * size < MAX_LINE && text_add(t, data, n * size) ? n * size : 0;
}

/* The whole answer of a GET, malloc'd; NULL: none. */
static char *ask(const char *path, struct curl_slist *headers, char error[256]) {
    text t = {0};
    long status = 0;
    CURL *c = new_easy(path, headers);
    if (!c) return NULL;
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_text);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
    CURLcode r = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(c);
    if (r == CURLE_OK && status == 200 && t.s) return t.s;
    if (error)
        snprintf(error, 256, r ? "%s" : "%s: HTTP %ld", r ? curl_easy_strerror(r) : path, status);
    free(t.s);
    return NULL;
}

/* Resident memory that the server reports about itself; 0: it does not. */
static uint64_t server_rss(struct curl_slist *headers) {
    static const char *const names[] = {"process_resident_memory_bytes ", "rwkv_resident_bytes "};
    char *all = ask("/metrics", headers, NULL);
    uint64_t n = 0;
    for (char *at = all; at && !n; at = strchr(at, '\n')) {
        at += *at == '\n';
        for (int i = 0; i < 2; i++) {
            size_t len = strlen(names[i]);
            if (strncmp(at, names[i], len) == 0) n = (uint64_t)strtod(at + len, NULL);
        }
    }
    free(all);
    return n;
}

static int find_model(struct curl_slist *headers) {
    static char name[256];
    char error[256] = "";
    char *all = ask("/v1/models", headers, error);
    if (!all) return cli_fail(EXIT_INPUT, "%s/v1/models: %s", base, error);
    json_t *o = json_loads(all, 0, NULL);
    const char *id =
        json_string_value(json_object_get(json_array_get(json_object_get(o, "data"), 0), "id"));
    if (id) snprintf(name, sizeof name, "%s", id);
    json_decref(o);
    free(all);
    if (!*name)
        return cli_fail(EXIT_INPUT, T("%s/v1/models: lists no model", "%s/v1/models：没有模型"),
                        base);
    if (!model_name) model_name = name;
    return EXIT_OK;
}

/* Keys of the file as header lists; at least one list. */
static int read_keys(struct curl_slist ***out, size_t *n) {
    char *data = NULL, *rest = NULL, header[600];
    size_t len;
    int code = key_file ? cli_read_input(key_file, &data, &len) : EXIT_OK;
    *n = 0;
    *out = NULL;
    if (code) return code;
    char *line = data ? strtok_r(data, "\r\n", &rest) : NULL;
    do {
        struct curl_slist **more = realloc(*out, (*n + 1) * sizeof *more);
        if (!more) break;
        *out = more;
        more[*n] = curl_slist_append(NULL, "Content-Type: application/json");
        more[*n] = curl_slist_append(more[*n], "Expect:");
        snprintf(header, sizeof header, "Authorization: Bearer %s", line ? line : "");
        if (line) more[*n] = curl_slist_append(more[*n], header);
        ++*n;
    } while (line && (line = strtok_r(NULL, "\r\n", &rest)));
    free(data);
    return *n ? EXIT_OK : cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
}

/* ------------------------------------------------------------------ the test */

static bool new_user(user *u, size_t i, struct curl_slist *headers, totals *all) {
    u->all = all;
    u->headers = headers;
    u->rng = seed * 1000003 + i;
    u->messages = json_array();
    snprintf(u->session, sizeof u->session, "loadtest-%ld-%zu", (long)getpid(), i);
    u->easy = new_easy("/v1/chat/completions", headers);
    if (!u->easy || !u->messages) return false;
    curl_easy_setopt(u->easy, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(u->easy, CURLOPT_WRITEDATA, u);
    curl_easy_setopt(u->easy, CURLOPT_PRIVATE, u);
    curl_easy_setopt(u->easy, CURLOPT_CONNECTTIMEOUT, 60L);
    return make_question(u) && make_body(u);
}

static void drop_user(user *u, CURLM *multi) {
    if (u->easy) {
        curl_multi_remove_handle(multi, u->easy);
        curl_easy_cleanup(u->easy);
    }
    json_decref(u->messages);
    free(u->body);
    free(u->line.s);
    free(u->answer.s);
}

static bool collect(CURLM *multi) {
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(multi, &left))) {
        user *u = NULL;
        CURLcode result = m->data.result;
        if (m->msg != CURLMSG_DONE) continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&u);
        curl_multi_remove_handle(multi, u->easy);
        if (!next_step(u, multi, result)) return false;
    }
    return true;
}

static int drive(user *users, CURLM *multi, totals *all) {
    double rss_at = cli_seconds() + 1;
    int running;
    for (size_t i = 0; i < n_users; i++) {
        if (!send_question(&users[i], multi))
            return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
    }
    for (;;) {
        size_t open = 0;
        double now = cli_seconds();
        if (curl_multi_perform(multi, &running) != CURLM_OK || !collect(multi))
            return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        for (size_t i = 0; i < n_users; i++) {
            open += !users[i].done;
            if (users[i].resume > 0 && now >= users[i].resume && !send_question(&users[i], multi))
                return cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
        }
        if (!open || cli_interrupted()) return EXIT_OK;
        if (now - all->begin > time_limit)
            return cli_fail(EXIT_SYSTEM, T("the time is over", "时间已到"));
        if (now > rss_at) {
            uint64_t rss = all->rss_before ? server_rss(users[0].headers) : 0;
            if (rss > all->rss_peak) all->rss_peak = rss;
            rss_at = cli_seconds() + 1;
        }
        cli_progress(T("Turns", "轮次"), all->turns, (uint64_t)n_users * n_turns, T("turns", "轮"));
        curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
}

static json_t *stats_json(const samples *s) {
    if (!s->n) return json_null();
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)s->n, "p50", percentile(s, 0.5),
                     "p95", percentile(s, 0.95), "p99", percentile(s, 0.99), "max",
                     percentile(s, 1));
}

static int print_json(const totals *t) {
    json_t *o = json_pack(
        "{s:i, s:I, s:f, s:o, s:o, s:o, s:I, s:I, s:I, s:f, s:I, s:I, s:s}", "users", (int)n_users,
        "turns", (json_int_t)t->turns, "seconds", t->seconds, "first_token_s",
        stats_json(&t->first), "later_first_token_s", stats_json(&t->later), "between_texts_s",
        stats_json(&t->gap), "prompt_tokens", (json_int_t)t->prompt_tokens, "cached_tokens",
        (json_int_t)t->cached_tokens, "answer_tokens", (json_int_t)t->answer_tokens,
        "answer_tokens_per_s", t->seconds > 0 ? (double)t->answer_tokens / t->seconds : 0, "busy",
        (json_int_t)t->busy, "errors", (json_int_t)t->errors, "error", t->error);
    if (o && t->rss_before) {
        json_object_set_new(o, "server_rss",
                            json_pack("{s:I, s:I, s:I}", "before", (json_int_t)t->rss_before,
                                      "peak", (json_int_t)t->rss_peak, "after",
                                      (json_int_t)t->rss_after));
    }
    int failed = !o || json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(o);
    return failed ? EXIT_SYSTEM : EXIT_OK;
}

static void print_line(const char *what, const samples *s) {
    if (!s->n) return;
    printf("%-24s %8.1f %8.1f %8.1f %8.1f   (%zu)\n", what, 1e3 * percentile(s, 0.5),
           1e3 * percentile(s, 0.95), 1e3 * percentile(s, 0.99), 1e3 * percentile(s, 1), s->n);
}

static void print_table(const totals *t) {
    char a[32], b[32], c[32];
    printf(T("%llu of %llu turns in %.1f s: %.1f tokens/s answered, %.1f tokens/s read\n",
             "%llu / %llu 轮，用时 %.1f 秒：生成 %.1f 词元/秒，读取 %.1f 词元/秒\n"),
           (unsigned long long)t->turns, (unsigned long long)n_users * n_turns, t->seconds,
           (double)t->answer_tokens / t->seconds,
           (double)(t->prompt_tokens - t->cached_tokens) / t->seconds);
    printf(T("tokens: %llu answered; %llu in prompts, %llu of them not read again\n",
             "词元：生成 %llu；提示 %llu，其中 %llu 无需重读\n"),
           (unsigned long long)t->answer_tokens, (unsigned long long)t->prompt_tokens,
           (unsigned long long)t->cached_tokens);
    printf("%-24s %8s %8s %8s %8s\n", T("milliseconds", "毫秒"), "p50", "p95", "p99",
           T("most", "最大"));
    print_line(T("first text, first turn", "首个文本（首轮）"), &t->first);
    print_line(T("first text, later turns", "首个文本（后续）"), &t->later);
    print_line(T("between texts", "文本间隔"), &t->gap);
    if (t->rss_before) {
        printf(T("server's memory: %s before, %s at most, %s after\n",
                 "服务器内存：之前 %s，最大 %s，之后 %s\n"),
               cli_human_bytes(t->rss_before, a), cli_human_bytes(t->rss_peak, b),
               cli_human_bytes(t->rss_after, c));
    }
    if (t->busy)
        printf(T("asked again because the server was busy: %llu\n", "服务器繁忙而重试：%llu\n"),
               (unsigned long long)t->busy);
    printf(T("errors: %llu%s%s\n", "错误：%llu%s%s\n"), (unsigned long long)t->errors,
           t->errors ? ": " : "", t->error);
}

static int load_test(struct curl_slist **keys, size_t n_keys) {
    totals all = {0};
    CURLM *multi = curl_multi_init();
    user *users = calloc(n_users, sizeof *users);
    int code = multi && users ? find_model(keys[0]) : EXIT_SYSTEM;
    if (code == EXIT_OK) curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)n_users + 4);
    for (size_t i = 0; i < n_users && code == EXIT_OK; i++) {
        if (!new_user(&users[i], i, keys[i % n_keys], &all))
            code = cli_fail(EXIT_SYSTEM, T("out of memory", "内存不足"));
    }
    if (code == EXIT_OK) {
        all.rss_before = all.rss_peak = server_rss(keys[0]);
        all.begin = cli_seconds();
        code = drive(users, multi, &all);
        all.seconds = cli_seconds() - all.begin;
        all.rss_after = all.rss_before ? server_rss(keys[0]) : 0;
        if (all.rss_after > all.rss_peak) all.rss_peak = all.rss_after;
        cli_progress(NULL, 0, 0, NULL);
        samples *sorted[] = {&all.first, &all.later, &all.gap};
        for (int i = 0; i < 3; i++) {
            if (sorted[i]->n) qsort(sorted[i]->v, sorted[i]->n, sizeof(double), by_value);
        }
        if (as_json)
            print_json(&all);
        else
            print_table(&all);
        if (code == EXIT_OK && cli_interrupted()) code = EXIT_INTERRUPTED;
        if (code == EXIT_OK && all.errors) code = EXIT_INPUT;
    }
    for (size_t i = 0; users && i < n_users; i++) drop_user(&users[i], multi);
    free(users);
    curl_multi_cleanup(multi);
    free(all.first.v);
    free(all.later.v);
    free(all.gap.v);
    return code;
}

static int run(int argc, char **argv) {
    struct curl_slist **keys = NULL;
    size_t n_keys = 0, len;
    int n;
    bool helped;
    int code = cli_parse("loadtest", options(), argc, argv, &n, &helped);
    if (code || helped) return code;
    if (n != 1) return cli_fail(EXIT_USAGE, T("loadtest: expected URL", "loadtest：需要 URL"));
    snprintf(base, sizeof base, "%s%s", strstr(argv[1], "://") ? "" : "http://", argv[1]);
    len = strlen(base);
    while (len && base[len - 1] == '/') base[--len] = 0;
    if (len > 3 && strcmp(base + len - 3, "/v1") == 0) base[len - 3] = 0;
    cli_catch_interrupt();
    curl_global_init(CURL_GLOBAL_DEFAULT);
    code = read_keys(&keys, &n_keys);
    if (code == EXIT_OK) code = load_test(keys, n_keys);
    for (size_t i = 0; i < n_keys; i++) curl_slist_free_all(keys[i]);
    free(keys);
    curl_global_cleanup();
    return code;
}

const command cmd_loadtest = {
    "loadtest",
    "URL [OPTIONS]",
    "many users at once against a server: times, tokens/s, errors",
    "模拟多用户访问服务器：时延、速度、错误",
    run,
    options,
    "Any OpenAI-compatible server will do: rwkv loadtest http://127.0.0.1:8080 --users 8. The "
    "server's\n"
    "memory is shown if it says so under /metrics. Exit code 2 if an answer failed.",
    "适用于任何兼容 OpenAI 的服务器：rwkv loadtest http://127.0.0.1:8080 --users 8。若 /metrics "
    "提供，\n"
    "则显示服务器内存。有回答失败时退出码为 2。",
};
