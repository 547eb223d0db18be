#include "backend.h"

rwkv_status store_open_sqlite(store **out, const char *where, rwkv_error *err) {
    (void)out;
    return rw_fail(err, RWKV_E_UNSUPPORTED, "%s: SQLite is not built in yet", where);
}
