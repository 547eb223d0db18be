#include "backend.h"

rwkv_status store_open_redis(store **out, const char *url, rwkv_error *err) {
    (void)out;
    (void)url;
    return rw_fail(err, RWKV_E_UNSUPPORTED, "Redis is not built in yet");
}
