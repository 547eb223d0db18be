/* tokenizer.c - a vocabulary file (World grammar, its JSON form, or a Hugging Face tokenizer.json),
 * then its own bytes as text. Built twice, with different seeds. */
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

/* Encoding succeeds or names what cannot be spelt; ids decode to the text. */
static void round_trip(const rwkv_tokenizer *t, const char *text, size_t len) {
    rwkv_error err = {0};
    size_t need = 0, n = 0, at = 0, bytes;
    rwkv_status st = rwkv_encode(t, text, len, 0, NULL, 0, &need, &err);
    if (st != RWKV_OK && st != RWKV_E_SPACE) {
        fuzz_check_error(st, &err, NULL);
        return;
    }
    int32_t *ids = malloc((need + 1) * sizeof *ids);
    fuzz_require(ids != NULL, "memory");
    fuzz_require(rwkv_encode(t, text, len, 0, ids, need, &n, &err) == RWKV_OK && n == need,
                 "the count told is the count needed");
    for (size_t i = 0; i < n; i++) {
        fuzz_require(ids[i] >= 0 && (size_t)ids[i] < rwkv_tokenizer_size(t), "ids are in range");
        const char *s = rwkv_token_bytes(t, ids[i], &bytes);
        if (strcmp(rwkv_tokenizer_kind(t), "World")) continue; /* others normalise the text */
        fuzz_require(bytes <= len - at && !memcmp(text + at, s, bytes), "ids spell the text");
        at += bytes;
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char text[] =
        "The  quick\r\n\n brown caf\xc3\xa9 0123 \xe4\xbd\xa0\xe5\xa5\xbd\xff\0!";
    rwkv_tokenizer *t = NULL;
    rwkv_error err = {0};
    const char *path = fuzz_file(data, n);
    rwkv_status st = rwkv_tokenizer_open(&t, path, &err);
    if (st == RWKV_OK) {
        round_trip(t, text, sizeof text - 1);
        round_trip(t, (const char *)data, n < 1000 ? n : 1000);
    } else {
        fuzz_check_error(st, &err, path);
    }
    rwkv_tokenizer_free(t);
    return 0;
}
