/* search.c - finds the vocabulary of a model that does not carry its own: the file that the user
 * names, a file beside the model, the data directories; the size of the vocabulary says which one
 * is meant. */
#include "vocab.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PATH 4096
/* Embeddings have more rows than tokens: World 65536 for 65530, 20B 50304 for 50277. */
#define MAX_PADDING 128u

static const char WORLD_FILE[] = "rwkv_vocab_v20230424.txt", NEOX_FILE[] = "20B_tokenizer.json";

typedef struct search {
    size_t n_vocab;
    rwkv_tokenizer *found;
    bool nomem;
    rwkv_error refused; /* why the first file that exists was not taken */
} search;

/* True when the search is over. */
static bool try_file(search *s, const char *dir, size_t dir_len, const char *name) {
    char path[MAX_PATH];
    rwkv_error err = {0};
    rwkv_tokenizer *t = NULL;
    int len = snprintf(path, sizeof path, "%.*s%s", (int)dir_len, dir, name);
    if (len < 0 || (size_t)len >= sizeof path) return false;
    rwkv_status st = rwkv_tokenizer_open(&t, path, &err);
    if (st == RWKV_OK) {
        size_t size = rwkv_tokenizer_size(t);
        if (size <= s->n_vocab && s->n_vocab - size <= MAX_PADDING) {
            s->found = t;
            return true;
        }
        rw_fail(&err, RWKV_E_VOCAB, "%s has %zu tokens", path, size);
        rwkv_tokenizer_free(t);
    }
    s->nomem = st == RWKV_E_NOMEM;
    if (st != RWKV_E_IO && !s->refused.message[0]) s->refused = err;
    return s->nomem;
}

/* dir ends in a slash or is empty. */
static bool try_folder(search *s, const char *dir, size_t dir_len) {
    static const char *const names[] = {WORLD_FILE, "vocab.txt", NEOX_FILE, "tokenizer.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (try_file(s, dir, dir_len, names[i])) return true;
    }
    return false;
}

/* model.pth: model.vocab.txt, then the usual names in its folder. A model that is a folder has them
 * inside. */
static bool try_beside(search *s, const char *model_path) {
    const char *slash = strrchr(model_path, '/'), *name = slash ? slash + 1 : model_path;
    const char *dot = strrchr(name, '.');
    size_t len = strlen(model_path);
    char inside[MAX_PATH];
    int n = snprintf(inside, sizeof inside, "%s/", model_path);
    if (try_file(s, model_path, dot && dot > name ? (size_t)(dot - model_path) : len,
                 ".vocab.txt")) {
        return true;
    }
    if (n > 0 && (size_t)n < sizeof inside && try_folder(s, inside, (size_t)n)) return true;
    return try_folder(s, model_path, (size_t)(name - model_path));
}

static const char *usual_file(size_t n_vocab) {
    if (n_vocab >= 65530 && n_vocab <= 65536) return WORLD_FILE;
    return n_vocab >= 50254 && n_vocab <= 50304 ? NEOX_FILE : NULL;
}

static bool try_data_folders(search *s, const char *name) {
    char dir[MAX_PATH];
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int len = 0;
    if (xdg && xdg[0] == '/') {
        len = snprintf(dir, sizeof dir, "%s/rwkv/", xdg);
    } else if (home && home[0]) {
        len = snprintf(dir, sizeof dir, "%s/.local/share/rwkv/", home);
    }
    if (len > 0 && (size_t)len < sizeof dir && try_file(s, dir, (size_t)len, name)) return true;
#ifdef RWKV_DATA_DIR
    return try_file(s, RWKV_DATA_DIR "/", sizeof RWKV_DATA_DIR, name);
#else
    return false;
#endif
}

static rwkv_status open_named(rwkv_tokenizer **out, const char *path, size_t n_vocab,
                              rwkv_error *err) {
    rwkv_tokenizer *t = NULL;
    RW_TRY(rwkv_tokenizer_open(&t, path, err));
    size_t size = rwkv_tokenizer_size(t);
    if (size <= n_vocab) {
        *out = t;
        return RWKV_OK;
    }
    rwkv_tokenizer_free(t);
    return rw_fail(err, RWKV_E_VOCAB,
                   "%s: vocabulary of another model; found %zu tokens; expected at most %zu", path,
                   size, n_vocab);
}

rwkv_status rw_tokenizer_search(rwkv_tokenizer **out, const char *vocab, const char *model_path,
                                size_t n_vocab, rwkv_error *err) {
    if (vocab) return open_named(out, vocab, n_vocab, err);
    search s = {.n_vocab = n_vocab};
    const char *usual = usual_file(n_vocab);
    bool over =
        (model_path && try_beside(&s, model_path)) || (usual && try_data_folders(&s, usual));
    if (s.found) {
        *out = s.found;
        return RWKV_OK;
    }
    if (over) return rw_nomem(err, 0);
    if (n_vocab == 256) return rwkv_tokenizer_open(out, NULL, err);
    const char *but = s.refused.message[0] ? "; not usable: " : "";
    if (!usual) {
        return rw_fail(
            err, RWKV_E_VOCAB,
            "%s: no vocabulary of %zu tokens found beside the model; pass --vocab FILE%s%s",
            model_path ? model_path : "", n_vocab, but, s.refused.message);
    }
    return rw_fail(err, RWKV_E_VOCAB,
                   "%s: vocabulary %s found neither beside the model nor in ~/.local/share/rwkv "
                   "($XDG_DATA_HOME/rwkv); scripts/vocab.sh of the sources gets it there from "
                   "PyPI; or pass --vocab FILE%s%s",
                   model_path ? model_path : "", usual, but, s.refused.message);
}
