/* sessions_missing.c - until the engine has sessions: there are none. To be removed with that merge. */
#include <stdlib.h>
#include "engine.h"
void session_info_free(session_info *i){free(i->note);}
store_result session_get(engine *e, const char *t, const char *n, session_info *o, rwkv_error *err){return STORE_NONE;}
store_result session_list(engine *e, const char *tenant, bool (*fn)(void *user, const session_info *i), void *user, rwkv_error *err){return STORE_OK;}
store_result session_fork(engine *e, const char *tenant, const char *name, const char *to, rwkv_error *err){return STORE_NONE;}
submit_result session_rewind(engine *e, const char *tenant, const char *name, uint64_t n_turns, job_event_fn on_event, void *user, rwkv_error *err){return SUBMIT_REFUSED;}
store_result session_set_note(engine *e, const char *tenant, const char *name, uint64_t generation, const void *note, size_t n_note, rwkv_error *err){return STORE_NONE;}
store_result session_rename(engine *e, const char *tenant, const char *name, const char *to, rwkv_error *err){return STORE_NONE;}
store_result session_delete(engine *e, const char *tenant, const char *name, rwkv_error *err){return STORE_NONE;}
store_result session_export(engine *e, const char *tenant, const char *name, void **data, size_t *n, rwkv_error *err){return STORE_NONE;}
store_result session_import(engine *e, const char *tenant, const char *name, const void *data, size_t n, rwkv_error *err){return STORE_NONE;}
