/* driver.c - stands in for libFuzzer where the compiler has none: replays the files given, then
 * feeds simple mutants of them. Takes libFuzzer's -max_total_time= -runs= -seed= -timeout= and
 * -rss_limit_mb=. An input that crashes is left in crash-<name>, one that takes too long in
 * slow-<name>. */
#include "fuzz.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { MAX_SEEDS = 4096, LONGEST = 1 << 16 };

typedef struct blob {
    uint8_t *data;
    size_t n;
} blob;

static struct {
    blob seeds[MAX_SEEDS];
    size_t n_seeds;
    uint64_t rng, runs, limit_runs, limit_ns, timeout_ns;
    long rss_limit_mb;
    const char *name;
    const uint8_t *input; /* now being tried */
    size_t input_n;
} d = {.rng = 1, .limit_runs = UINT64_MAX, .limit_ns = UINT64_MAX, .timeout_ns = 10000000000u};

static void keep(const char *what) {
    char path[256];
    snprintf(path, sizeof path, "%s-%s", what, d.name);
    FILE *f = fopen(path, "wb");
    if (!f) return;
    fwrite(d.input, 1, d.input_n, f);
    fclose(f);
    fprintf(stderr, "the input (%zu bytes) is in %s\n", d.input_n, path);
}

static void keep_crash(void) {
    keep("crash");
}

/* Of the sanitizers' runtime, where there is one. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static uint64_t random_below(uint64_t n) {
    uint64_t z = (d.rng += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (z ^ z >> 31) % n;
}

static void add_seed(const char *path) {
    FILE *f = fopen(path, "rb");
    fuzz_require(f && d.n_seeds < MAX_SEEDS, path);
    blob *b = &d.seeds[d.n_seeds++];
    b->data = malloc(LONGEST);
    fuzz_require(b->data != NULL, "memory");
    b->n = fread(b->data, 1, LONGEST, f);
    fclose(f);
}

static void add_folder(const char *path) {
    char name[1024];
    DIR *dir = opendir(path);
    if (!dir) {
        fuzz_require(errno == ENOTDIR, path);
        add_seed(path);
        return;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.') add_seed(name);
    }
    closedir(dir);
}

static void try_input(const uint8_t *data, size_t n) {
    /* An allocation of exactly n bytes, so that reading past the end is seen. */
    uint8_t *copy = malloc(n ? n : 1);
    fuzz_require(copy != NULL, "memory");
    if (n) memcpy(copy, data, n);
    d.input = copy;
    d.input_n = n;
    uint64_t begin = rw_os_now_ns();
    LLVMFuzzerTestOneInput(copy, n);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    bool slow = rw_os_now_ns() - begin > d.timeout_ns;
    bool large = d.rss_limit_mb && use.ru_maxrss / 1024 > d.rss_limit_mb;
    if (slow || large) keep(slow ? "slow" : "large");
    fuzz_require(!slow && !large, "the input is handled in the time and memory allowed");
    free(copy);
    d.runs++;
}

/* Numbers that readers get wrong: edges of widths and of signs. */
static const uint64_t edges[] = {0,
                                 1,
                                 2,
                                 7,
                                 0x7F,
                                 0x80,
                                 0xFF,
                                 0x100,
                                 0x7FFF,
                                 0x8000,
                                 0xFFFF,
                                 0x10000,
                                 0x7FFFFFFF,
                                 0x80000000,
                                 0xFFFFFFFE,
                                 0xFFFFFFFF,
                                 0x100000000,
                                 0x4000000000000000,
                                 0x7FFFFFFFFFFFFFFF,
                                 0x8000000000000000,
                                 0xFFFFFFFFFFFFFFF8,
                                 UINT64_MAX};

static size_t mutate(uint8_t *p, size_t n) {
    size_t at = n ? random_below(n) : 0, len = 1 + random_below(random_below(8) ? 16 : 256);
    const blob *other = &d.seeds[random_below(d.n_seeds)];
    if (len > n - at) len = n - at;
    switch (n ? random_below(8) : 7) {
    case 0:
        p[at] ^= (uint8_t)(1u << random_below(8));
        return n;
    case 1:
        p[at] = (uint8_t)random_below(256);
        return n;
    case 2: { /* a field of 1, 2, 4 or 8 bytes */
        uint64_t v = edges[random_below(sizeof edges / sizeof *edges)];
        size_t width = (size_t)1 << random_below(4);
        memcpy(p + at, &v, width < n - at ? width : n - at);
        return n;
    }
    case 3: { /* a little more or less */
        int delta = (int)random_below(17) - 8;
        p[at] = (uint8_t)(p[at] + delta);
        return n;
    }
    case 4:
        memmove(p + at, p + at + len, n - at - len);
        return n - len;
    case 5: /* doubled */
        if (n + len > LONGEST) return n;
        memmove(p + at + len, p + at, n - at);
        return n + len;
    case 6:
        return random_below(4) ? n : at; /* cut */
    default: {                           /* a piece of another seed */
        if (!other->n) return n;
        size_t from = random_below(other->n), take = other->n - from;
        if (take > LONGEST - at) take = LONGEST - at;
        if (random_below(2) && take > len) take = len;
        memcpy(p + at, other->data + from, take);
        return at + take > n ? at + take : n;
    }
    }
}

static bool option(const char *arg, const char *name, uint64_t *value) {
    size_t n = strlen(name);
    if (strncmp(arg, name, n)) return false;
    *value = strtoull(arg + n, NULL, 10);
    return true;
}

int main(int argc, char **argv) {
    static uint8_t input[LONGEST];
    uint64_t v;
    const char *slash = strrchr(argv[0], '/');
    d.name = slash ? slash + 1 : argv[0];
    for (int i = 1; i < argc; i++) {
        if (option(argv[i], "-max_total_time=", &v))
            d.limit_ns = v ? v * 1000000000u : UINT64_MAX;
        else if (option(argv[i], "-runs=", &v))
            d.limit_runs = v;
        else if (option(argv[i], "-seed=", &v))
            d.rng = v;
        else if (option(argv[i], "-timeout=", &v))
            d.timeout_ns = v * 1000000000u;
        else if (option(argv[i], "-rss_limit_mb=", &v))
            d.rss_limit_mb = (long)v;
        else if (argv[i][0] != '-')
            add_folder(argv[i]);
    }
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(keep_crash);
    fuzz_require(d.n_seeds > 0, "there are seeds");
    try_input(input, 0);
    for (size_t i = 0; i < d.n_seeds; i++) try_input(d.seeds[i].data, d.seeds[i].n);
    uint64_t begin = rw_os_now_ns();
    while (d.runs < d.limit_runs && rw_os_now_ns() - begin < d.limit_ns) {
        const blob *seed = &d.seeds[random_below(d.n_seeds)];
        size_t n = seed->n;
        memcpy(input, seed->data, n);
        for (uint64_t k = 1 + random_below(random_below(4) ? 4 : 16); k > 0; k--)
            n = mutate(input, n);
        try_input(input, n);
    }
    printf("%s: %llu inputs from %zu seeds\n", d.name, (unsigned long long)d.runs, d.n_seeds);
    for (size_t i = 0; i < d.n_seeds; i++) free(d.seeds[i].data);
    return 0;
}
