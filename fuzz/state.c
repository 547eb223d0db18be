/* state.c - state blobs. The checksum is made right first, so that mutants reach the fields behind
 * it. */
#include "fuzz.h"
#include "support_models.h"
#include <math.h>

static rwkv_session *session;
static size_t n_state;

static void free_session(void) {
    rwkv_model *m = rwkv_session_model(session);
    rwkv_session_free(session);
    rwkv_model_free(m);
}

static void make_session(void) {
    rwkv_model *m = NULL;
    rwkv_model_options options = {.n_threads = 1, .flags = RWKV_MODEL_NO_MMAP};
    test_model *t = test_model_new(&test_small_shape);
    rw_buf file = test_model_bytes(t, AS_PTH, RW_F32);
    fuzz_require(!rwkv_model_open(&m, fuzz_file(file.data, file.len), &options, NULL),
                 "the model opens");
    fuzz_require(!rwkv_session_new(&session, m, NULL), "a session starts");
    n_state = rwkv_session_state_len(session);
    rw_buf_free(&file);
    test_model_free(t);
    atexit(free_session);
}

static void load(const uint8_t *blob, size_t n) {
    rwkv_error err = {0};
    rwkv_state_info info;
    rwkv_status st = rwkv_state_inspect(blob, n, &info, &err);
    if (st != RWKV_OK) fuzz_check_error(st, &err, NULL);
    uint64_t before = rwkv_session_n_tokens(session);
    st = rwkv_session_load(session, blob, n, &info, &err);
    if (st != RWKV_OK) {
        fuzz_check_error(st, &err, NULL);
        fuzz_require(rwkv_session_n_tokens(session) == before, "a refused blob changes nothing");
        return;
    }
    const float *state = rwkv_session_state(session);
    for (size_t i = 0; i < n_state; i++)
        fuzz_require(isfinite(state[i]), "a loaded state is finite");
    int32_t token = 1;
    (void)rwkv_session_eval(session, &token, 1, &err);
    rwkv_session_reset(session);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (!session) make_session();
    load(data, n);
    uint8_t *copy = malloc(n ? n : 1);
    fuzz_require(copy != NULL, "memory");
    memcpy(copy, data, n);
    test_state_seal(copy, n);
    load(copy, n);
    free(copy);
    return 0;
}
