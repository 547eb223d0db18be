/* json.c - the JSON reader: events until the end or an error; a second pass skips whole values. */
#include "base/json.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

static void read_all(const uint8_t *data, size_t n, bool skip) {
    rw_json j;
    rw_json_event ev;
    rwkv_error err = {0};
    rwkv_status st = RWKV_OK;
    rw_json_init(&j, "input.json", data, n, 0);
    for (size_t events = 0;; events++) {
        fuzz_require(events <= n + 1, "there are no more events than bytes");
        st = rw_json_next(&j, &ev, &err);
        if (st != RWKV_OK || ev.kind == RW_JSON_END) break;
        uint64_t number;
        if (ev.kind == RW_JSON_NUMBER && !skip) (void)rw_json_u64(&j, &ev, &number, NULL);
        if (ev.kind == RW_JSON_KEY && skip && (st = rw_json_skip(&j, &err)) != RWKV_OK) break;
    }
    if (st != RWKV_OK) fuzz_check_error(st, &err, "input.json");
    rw_json_free(&j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    read_all(data, n, false);
    read_all(data, n, true);
    return 0;
}
