/* options.c - command lines. A command's table of option_spec drives the parser, the help text and
 * the search for the name the user meant.
 *
 *     argv -> cli_parse -> targets of the table, positional arguments -> cli_*_resolve -> library
 */
#include "cli.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define N_OF(a) (sizeof(a) / sizeof((a)[0]))

/* Edit distance; names longer than the table are never near. */
static size_t distance(const char *a, const char *b) {
    size_t row[40], n = strlen(a), m = strlen(b);
    if (n >= N_OF(row) || m >= N_OF(row)) return SIZE_MAX;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

/* Near enough: at most a third of the letters differ, or one begins with the other. */
void cli_nearest(nearest *n, const char *wanted, const char *candidate) {
    size_t len = strlen(wanted), d = distance(wanted, candidate);
    if (len >= 3 && strncmp(wanted, candidate, len) == 0) d = 1;
    if (d > len / 3 + 1 || d >= strlen(candidate)) return;
    if (n->best && n->distance <= d) return;
    *n = (nearest){candidate, d};
}

const option_spec *cli_join(option_spec *out, size_t cap, ...) {
    const option_spec *table;
    size_t n = 0;
    va_list args;
    va_start(args, cap);
    while ((table = va_arg(args, const option_spec *))) {
        for (; table->name; table++) {
            assert(n + 1 < cap);
            out[n++] = *table;
        }
    }
    va_end(args);
    out[n] = (option_spec){0};
    return out;
}

/* ------------------------------------------------------------------ one option */

static int bad_value(const char *cmd, const option_spec *o, const char *value,
                     const char *expected) {
    return cli_fail(EXIT_USAGE,
                    T("%s: --%s: found '%s'; expected %s", "%s：--%s：得到 '%s'；应为 %s"), cmd,
                    o->name, value, expected);
}

static int bad_range(const char *cmd, const option_spec *o, const char *value) {
    char expected[80];
    snprintf(expected, sizeof expected, T("a number from %g to %g", "%g 到 %g 之间的数"), o->min,
             o->max);
    return bad_value(cmd, o, value, expected);
}

static int set_unsigned(const char *cmd, const option_spec *o, const char *value) {
    char *end;
    errno = 0;
    uint64_t v = strtoull(value, &end, 10);
    bool whole = *value >= '0' && *value <= '9' && *end == '\0' && errno == 0;
    if (!whole || (o->kind == OPT_UINT && v > UINT32_MAX)) {
        return bad_value(cmd, o, value, T("a whole number", "整数"));
    }
    bool ranged = o->min != 0 || o->max != 0;
    if (ranged && ((double)v < o->min || (double)v > o->max)) return bad_range(cmd, o, value);
    if (o->kind == OPT_UINT) {
        *(uint32_t *)o->target = (uint32_t)v;
    } else {
        *(uint64_t *)o->target = v;
    }
    return EXIT_OK;
}

static int set_float(const char *cmd, const option_spec *o, const char *value) {
    char *end;
    float v = strtof(value, &end);
    if (end == value || *end || !isfinite(v)) return bad_value(cmd, o, value, T("a number", "数"));
    bool ranged = o->min != 0 || o->max != 0;
    if (ranged && ((double)v < o->min || (double)v > o->max)) return bad_range(cmd, o, value);
    *(float *)o->target = v;
    return EXIT_OK;
}

static int set_option(const char *cmd, const option_spec *o, const char *value) {
    switch (o->kind) {
    case OPT_STRING:
        *(const char **)o->target = value;
        return EXIT_OK;
    case OPT_STRINGS: {
        opt_list *list = o->target;
        if (list->n == N_OF(list->items)) {
            return cli_fail(
                EXIT_USAGE,
                T("%s: --%s may be given at most %zu times", "%s：--%s 最多可给出 %zu 次"), cmd,
                o->name, list->n);
        }
        list->items[list->n++] = value;
        return EXIT_OK;
    }
    case OPT_UINT:
    case OPT_U64:
        return set_unsigned(cmd, o, value);
    case OPT_FLOAT:
        return set_float(cmd, o, value);
    default:
        return EXIT_OK;
    }
}

/* ------------------------------------------------------------------ parser */

static const char *language_name, *progress_mode;
const char *cli_progress_mode(void) {
    return progress_mode ? progress_mode : "auto";
}

static const option_spec common_options[] = {
    {"lang", 0, OPT_STRING, &language_name, "LANG", "language of messages: en or zh",
     "界面语言：en 或 zh", 0, 0},
    {"progress", 0, OPT_STRING, &progress_mode, "HOW", "progress on stderr: auto, json or off",
     "进度显示（stderr）：auto、json 或 off", 0, 0},
    {"help", 'h', OPT_FLAG, NULL, NULL, "show this help", "显示本帮助", 0, 0},
    {0},
};
const option_spec *cli_common_specs(void) {
    return common_options;
}

static int check_common(const char *cmd) {
    if (language_name) {
        if (strncmp(language_name, "zh", 2) && strncmp(language_name, "en", 2)) {
            return bad_value(cmd, &common_options[0], language_name, "en, zh");
        }
        cli_set_lang(language_name[0] == 'z' ? LANG_ZH : LANG_EN);
    }
    const char *p = cli_progress_mode();
    if (strcmp(p, "auto") && strcmp(p, "json") && strcmp(p, "off")) {
        return bad_value(cmd, &common_options[1], p, "auto, json, off");
    }
    return EXIT_OK;
}

/* "top_p" is "top-p". */
static bool same_name(const char *own, const char *given, size_t len) {
    if (len == 0 || strlen(own) != len) return false;
    for (size_t i = 0; i < len; i++) {
        if (own[i] != (given[i] == '_' ? '-' : given[i])) return false;
    }
    return true;
}

static const option_spec *find_long(const option_spec *table, const char *name, size_t len) {
    for (; table->name; table++) {
        if (same_name(table->name, name, len)) return table;
    }
    return NULL;
}

static const option_spec *find_letter(const option_spec *table, char letter) {
    for (; table->name; table++) {
        if (table->letter == letter) return table;
    }
    return NULL;
}

static int unknown_option(const char *cmd, const option_spec *specs, const char *arg, size_t len) {
    char name[64];
    nearest n = {0};
    size_t dashes = arg[1] == '-' ? 2 : 1;
    snprintf(name, sizeof name, "%.*s", (int)(len - dashes > 60 ? 60 : len - dashes), arg + dashes);
    for (const option_spec *o = specs; o->name; o++) {
        if (o->kind != OPT_HEADING) cli_nearest(&n, name, o->name);
    }
    for (const option_spec *o = common_options; o->name; o++) cli_nearest(&n, name, o->name);
    if (n.best) {
        return cli_fail(EXIT_USAGE,
                        T("%s: unknown option '%.*s'; did you mean --%s?",
                          "%s：未知选项 '%.*s'；是否想用 --%s？"),
                        cmd, (int)len, arg, n.best);
    }
    return cli_fail(
        EXIT_USAGE,
        T("%s: unknown option '%.*s'; see rwkv help %s", "%s：未知选项 '%.*s'；参见 rwkv help %s"),
        cmd, (int)len, arg, cmd);
}

/* Finds the option that `arg` (with its dashes) names. *value is what follows '=' or a letter, or
 * NULL. A single dash may begin a long name, as in rwkv.cpp's "-temp=1". */
static const option_spec *match(const option_spec *specs, const char *arg, const char **value) {
    bool two = arg[1] == '-';
    const char *name = arg + (two ? 2 : 1), *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    *value = equals ? equals + 1 : NULL;
    if (len > 1 || two) {
        const option_spec *o = find_long(specs, name, len);
        if (!o) o = find_long(common_options, name, len);
        if (o || two) return o;
    }
    const option_spec *o = find_letter(specs, name[0]);
    if (!o) o = find_letter(common_options, name[0]);
    *value = name[1] == '\0' ? NULL : name[1] == '=' ? name + 2 : name + 1;
    if (o && o->kind == OPT_FLAG && *value) return NULL; /* "-ex": letters are not bundled */
    return o;
}

int cli_parse(const char *cmd, const option_spec *specs, int argc, char **argv, int *n_args,
              bool *helped) {
    int n = 0;
    bool literal = false;
    *helped = false;
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *value;
        if (literal || arg[0] != '-' || arg[1] == '\0') {
            argv[++n] = argv[i];
            continue;
        }
        if (strcmp(arg, "--") == 0) {
            literal = true;
            continue;
        }
        const option_spec *o = match(specs, arg, &value);
        if (!o) return unknown_option(cmd, specs, arg, strcspn(arg, "="));
        if (o->kind == OPT_FLAG) {
            if (value) {
                return cli_fail(EXIT_USAGE, T("%s: --%s takes no value", "%s：--%s 不带值"), cmd,
                                o->name);
            }
            if (o->target) {
                *(bool *)o->target = true;
            } else {
                *helped = true;
            }
            continue;
        }
        if (!value) value = ++i < argc ? argv[i] : NULL;
        if (!value) {
            return cli_fail(EXIT_USAGE, T("%s: --%s needs a value: %s", "%s：--%s 需要一个值：%s"),
                            cmd, o->name, o->value);
        }
        int code = set_option(cmd, o, value);
        if (code) return code;
    }
    *n_args = n;
    int code = check_common(cmd);
    if (code == EXIT_OK && *helped) cli_print_help(stdout, cli_find_command(cmd));
    return code;
}

/* ------------------------------------------------------------------ shared tables */

const option_spec *cli_model_specs(model_args *a) {
    static option_spec table[11];
    const option_spec specs[] = {
        {"", 0, OPT_HEADING, NULL, NULL, "Model", "模型", 0, 0},
        {"vocab", 0, OPT_STRING, &a->vocab, "FILE", "vocabulary, if the model's own is not wanted",
         "词表文件（不使用模型自带的词表）", 0, 0},
        {"template", 0, OPT_STRING, &a->chat, "NAME", "chat template: world g1 raven pile raw",
         "对话模板：world g1 raven pile raw", 0, 0},
        {"threads", 't', OPT_UINT, &a->threads, "N", "threads; default: one per physical core",
         "线程数；默认每个物理核一个", 1, 1024},
        {"isa", 0, OPT_STRING, &a->isa, "NAME", "kernels: scalar, avx2 ...; default: the best",
         "计算内核：scalar、avx2……；默认最优", 0, 0},
        {"exact", 0, OPT_FLAG, &a->exact, NULL, "all arithmetic in float32; slower",
         "全部用 float32 计算；较慢", 0, 0},
        {"no-mmap", 0, OPT_FLAG, &a->no_mmap, NULL,
         "read the file into memory instead of mapping it", "把文件读入内存，而不是映射", 0, 0},
        {"check", 0, OPT_FLAG, &a->check, NULL, "look at every weight; refuse NaN and infinity",
         "检查每个权重；拒绝 NaN 和无穷大", 0, 0},
        {"force", 0, OPT_FLAG, &a->force, NULL, "load even if memory seems too small",
         "即使内存看似不足也加载", 0, 0},
        {"gn-eps", 0, OPT_FLOAT, &a->group_norm_eps, "X", "epsilon of the group norm, v5 and later",
         "组归一化的 epsilon（v5 及以后）", 1e-12, 1},
        {0},
    };
    _Static_assert(N_OF(table) == N_OF(specs), "table has room for every row");
    memcpy(table, specs, sizeof specs);
    return table;
}

const option_spec *cli_sampling_specs(sampling_args *a) {
    static option_spec table[19];
    rwkv_sampling *h = &a->how;
    const option_spec specs[] = {
        {"", 0, OPT_HEADING, NULL, NULL, "Sampling", "采样", 0, 0},
        {"preset", 0, OPT_STRING, &a->preset, "NAME",
         "default creative conservative mechanical chat greedy; others refine it",
         "预设：default creative conservative mechanical chat greedy；其余选项在其上修改", 0, 0},
        {"temp", 0, OPT_FLOAT, &h->temperature, "X", "temperature; 0: always the most probable",
         "温度；0：总取最可能的词元", 0, 1000},
        {"top-p", 0, OPT_FLOAT, &h->top_p, "X", "keep the most probable up to this sum; 1: off",
         "只保留累计概率达到此值的词元；1：关闭", 0, 1},
        {"top-k", 0, OPT_UINT, &h->top_k, "N", "keep the N most probable; 0: off",
         "只保留最可能的 N 个；0：关闭", 0, 0},
        {"min-p", 0, OPT_FLOAT, &h->min_p, "X", "drop below X times the best; 0: off",
         "去掉低于最大概率 X 倍的词元；0：关闭", 0, 1},
        {"typical", 0, OPT_FLOAT, &h->typical_p, "X", "locally typical sampling; 1: off",
         "局部典型采样；1：关闭", 0, 1},
        {"presence", 0, OPT_FLOAT, &h->presence, "X",
         "penalty once for every token generated before", "存在惩罚：对已生成的词元各减一次", -100,
         100},
        {"frequency", 0, OPT_FLOAT, &h->frequency, "X", "penalty times the token's count",
         "频率惩罚：乘以词元次数", -100, 100},
        {"decay", 0, OPT_FLOAT, &h->penalty_decay, "X", "counts shrink by this each step; 1: never",
         "每步次数的衰减系数；1：不衰减", 0, 1},
        {"repeat-penalty", 0, OPT_FLOAT, &h->repeat_penalty, "X",
         "divides logits of seen tokens; 1: off", "已出现词元的 logit 除以此值；1：关闭", 0.01,
         100},
        {"mirostat", 0, OPT_UINT, &h->mirostat, "N",
         "2: mirostat 2.0 instead of truncation; 0: off", "2：用 mirostat 2.0 代替截断；0：关闭", 0,
         2},
        {"tau", 0, OPT_FLOAT, &h->mirostat_tau, "X", "mirostat's surprise in bits",
         "mirostat 的目标惊异度（比特）", 0, 100},
        {"eta", 0, OPT_FLOAT, &h->mirostat_eta, "X", "mirostat's learning rate",
         "mirostat 的学习率", 0, 10},
        {"seed", 0, OPT_STRING, &a->seed, "N", "same seed, same text; default: a new one",
         "相同种子得到相同文本；默认每次不同", 0, 0},
        {"order", 0, OPT_STRING, &a->order, "NAME",
         "reference: temperature after truncation; temperature: before",
         "reference：截断之后用温度；temperature：之前", 0, 0},
        {"bias", 0, OPT_STRINGS, &a->bias, "ID=X", "add X to a token's logit (-inf bans it)",
         "给某词元的 logit 加 X（-inf 即禁用）", 0, 0},
        {"ban", 0, OPT_STRINGS, &a->ban, "ID|TEXT", "never choose this token, by id or exact text",
         "禁用某词元：编号或其完整文本", 0, 0},
        {0},
    };
    _Static_assert(N_OF(table) == N_OF(specs), "table has room for every row");
    memset(a, 0, sizeof *a);
    a->how = (rwkv_sampling){.temperature = NAN,
                             .top_p = NAN,
                             .top_k = UINT32_MAX,
                             .min_p = NAN,
                             .typical_p = NAN,
                             .presence = NAN,
                             .frequency = NAN,
                             .penalty_decay = NAN,
                             .repeat_penalty = NAN,
                             .mirostat = UINT32_MAX,
                             .mirostat_tau = NAN,
                             .mirostat_eta = NAN};
    memcpy(table, specs, sizeof specs);
    return table;
}

/* ------------------------------------------------------------------ sampling */

static int unknown_preset(const char *name) {
    char list[256] = "";
    for (size_t i = 0; rwkv_sampling_preset_name(i); i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, " %s", rwkv_sampling_preset_name(i));
    }
    return cli_fail(
        EXIT_USAGE,
        T("--preset: found '%s'; expected one of:%s", "--preset：得到 '%s'；应为其中之一：%s"),
        name, list);
}

static int add_bias(sampling_args *a, int32_t id, float bias) {
    if (a->how.n_bias == N_OF(a->entries)) return cli_fail(EXIT_USAGE, "--bias: too many");
    a->entries[a->how.n_bias++] = (rwkv_logit_bias){id, bias};
    return EXIT_OK;
}

/* "ID=X"; X may be -inf. */
static int read_bias(sampling_args *a, const char *text, uint32_t n_vocab) {
    char *end, *end2 = NULL;
    errno = 0;
    unsigned long id = strtoul(text, &end, 10);
    float x = *end == '=' ? strtof(end + 1, &end2) : NAN;
    if (errno || end == text || *text == '-' || isnan(x) || end2 == end + 1 || *end2 ||
        x == INFINITY) {
        return cli_fail(
            EXIT_USAGE,
            T("--bias: found '%s'; expected ID=NUMBER", "--bias：得到 '%s'；应为 编号=数"), text);
    }
    if (id >= n_vocab) {
        return cli_fail(
            EXIT_USAGE,
            T("--bias: found id %lu; expected less than %u", "--bias：得到编号 %lu；应小于 %u"), id,
            n_vocab);
    }
    return add_bias(a, (int32_t)id, x);
}

static int read_ban(sampling_args *a, const char *text, const rwkv_tokenizer *tok,
                    uint32_t n_vocab) {
    char *end;
    int32_t id;
    size_t n;
    rwkv_error err = {0};
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text >= '0' && *text <= '9' && !*end && !errno) {
        if (number < n_vocab) return add_bias(a, (int32_t)number, -INFINITY);
        return cli_fail(
            EXIT_USAGE,
            T("--ban: found id %lu; expected less than %u", "--ban：得到编号 %lu；应小于 %u"),
            number, n_vocab);
    }
    if (!tok) {
        return cli_fail(EXIT_USAGE, T("--ban: text needs a vocabulary; give an id",
                                      "--ban：文本需要词表；请给出编号"));
    }
    rwkv_status st = rwkv_encode(tok, text, strlen(text), 0, &id, 1, &n, &err);
    if (st != RWKV_OK && st != RWKV_E_SPACE) return cli_error(&err);
    if (n != 1) {
        return cli_fail(EXIT_USAGE,
                        T("--ban: '%s' is %zu tokens, not one; ban them by id",
                          "--ban：'%s' 是 %zu 个词元而非一个；请按编号禁用"),
                        text, n);
    }
    return add_bias(a, id, -INFINITY);
}

static int read_seed(sampling_args *a) {
    if (!a->seed) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        a->how.seed = ((uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec) ^ (uint64_t)getpid()
                                                                                 << 40;
        return EXIT_OK;
    }
    const option_spec o = {"seed", 0, OPT_U64, &a->how.seed, "N", NULL, NULL, 0, 0};
    return set_unsigned("rwkv", &o, a->seed);
}

static void keep(float *to, float given) {
    if (!isnan(given)) *to = given;
}

int cli_sampling_resolve(sampling_args *a, const char *preset, const rwkv_tokenizer *tok,
                         uint32_t n_vocab) {
    const rwkv_sampling given = a->how;
    rwkv_sampling *h = &a->how;
    if (a->preset) preset = a->preset;
    if (rwkv_sampling_preset(h, preset) != RWKV_OK) return unknown_preset(preset);
    keep(&h->temperature, given.temperature);
    keep(&h->top_p, given.top_p);
    keep(&h->min_p, given.min_p);
    keep(&h->typical_p, given.typical_p);
    keep(&h->presence, given.presence);
    keep(&h->frequency, given.frequency);
    keep(&h->penalty_decay, given.penalty_decay);
    keep(&h->repeat_penalty, given.repeat_penalty);
    keep(&h->mirostat_tau, given.mirostat_tau);
    keep(&h->mirostat_eta, given.mirostat_eta);
    if (given.top_k != UINT32_MAX) h->top_k = given.top_k;
    if (given.mirostat != UINT32_MAX) h->mirostat = given.mirostat;
    if (h->mirostat == 1) {
        return cli_fail(EXIT_USAGE, T("--mirostat: found 1; expected 0 or 2",
                                      "--mirostat：得到 1；应为 0 或 2"));
    }
    if (a->order) {
        bool reference = strcmp(a->order, "reference") == 0;
        if (!reference && strcmp(a->order, "temperature")) {
            return cli_fail(EXIT_USAGE,
                            T("--order: found '%s'; expected reference or temperature",
                              "--order：得到 '%s'；应为 reference 或 temperature"),
                            a->order);
        }
        h->order = reference ? RWKV_ORDER_REFERENCE : RWKV_ORDER_TEMPERATURE;
    }
    int code = read_seed(a);
    h->bias = a->entries;
    h->n_bias = 0;
    for (size_t i = 0; code == EXIT_OK && i < a->bias.n; i++)
        code = read_bias(a, a->bias.items[i], n_vocab);
    for (size_t i = 0; code == EXIT_OK && i < a->ban.n; i++)
        code = read_ban(a, a->ban.items[i], tok, n_vocab);
    return code;
}
