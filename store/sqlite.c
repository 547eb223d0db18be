/* sqlite.c - the store in one file, by SQLite.
 *
 * item has a narrow row per item, data its bytes under the same id, so that lists and touches never
 * walk over megabytes. One connection with all statements prepared, behind one mutex; other
 * processes may use the same file. WAL with synchronous=FULL: what was committed survives kill -9
 * and a power cut. secure_delete and an emptied WAL after deletions: no byte of what was deleted
 * stays in the files.
 *
 * A file is ours if its header carries APPLICATION_ID, which is read before SQLite may touch
 * anything. */
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    APPLICATION_ID = 0x52574b56 /* "RWKV" */,
    SCHEMA_VERSION = 1,
    BUSY_MS = 2000,
    TRIM_AT_ONCE = 64
};

static const char schema[] =
    "CREATE TABLE item(id INTEGER PRIMARY KEY, space TEXT NOT NULL, name TEXT NOT NULL,"
    "  generation INTEGER NOT NULL, used INTEGER NOT NULL, ttl INTEGER NOT NULL,"
    "  n_data INTEGER NOT NULL, n_bytes INTEGER NOT NULL, note BLOB NOT NULL, UNIQUE(space, name));"
    "CREATE INDEX item_used ON item(space, used, generation, n_bytes);"
    "CREATE INDEX item_ends ON item(used + ttl * 1000000) WHERE ttl > 0;"
    "CREATE TABLE data(id INTEGER PRIMARY KEY, data BLOB NOT NULL);"
    "CREATE TABLE counter(generation INTEGER NOT NULL);"
    "INSERT INTO counter VALUES(0);";

/* clang-format off */
typedef enum query_id {
    Q_BEGIN, Q_COMMIT, Q_ROLLBACK, Q_FIND, Q_READ, Q_COUNT, Q_COUNTED, Q_INSERT, Q_UPDATE,
    Q_UPDATE_NOTE, Q_DATA, Q_TOUCH, Q_DELETE, Q_DELETE_DATA, Q_LIST, Q_USAGE, Q_EXPIRED, Q_OLDEST,
    N_QUERIES
} query_id;
/* clang-format on */

/* in the order of enum column */
#define COLUMNS "i.id, i.generation, i.used, i.ttl, i.n_data, i.note"
enum column { C_ID, C_GENERATION, C_USED, C_TTL, C_N_DATA, C_NOTE, C_LAST };

static const char *const queries[N_QUERIES] = {
    [Q_BEGIN] = "BEGIN IMMEDIATE",
    [Q_COMMIT] = "COMMIT",
    [Q_ROLLBACK] = "ROLLBACK",
    [Q_FIND] = "SELECT " COLUMNS " FROM item i WHERE space = ? AND name = ?",
    [Q_READ] = "SELECT " COLUMNS
               ", d.data FROM item i JOIN data d ON d.id = i.id WHERE space = ? AND name = ?",
    [Q_COUNT] = "UPDATE counter SET generation = generation + 1",
    [Q_COUNTED] = "SELECT generation FROM counter",
    [Q_INSERT] = "INSERT INTO item(generation, used, ttl, n_data, n_bytes, note, space, name)"
                 " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
    [Q_UPDATE] =
        "UPDATE item SET generation = ?, used = ?, ttl = ?, n_data = ?, n_bytes = ?, note = ?"
        " WHERE space = ? AND name = ?",
    [Q_UPDATE_NOTE] =
        "UPDATE item SET generation = ?, used = ?, n_bytes = n_data + ?, note = ? WHERE id = ?",
    [Q_DATA] = "INSERT INTO data(id, data) VALUES(?, ?) ON CONFLICT(id) DO UPDATE SET data = "
               "excluded.data",
    [Q_TOUCH] = "UPDATE item SET used = ? WHERE id = ?",
    [Q_DELETE] = "DELETE FROM item WHERE id = ?",
    [Q_DELETE_DATA] = "DELETE FROM data WHERE id = ?",
    [Q_LIST] = "SELECT " COLUMNS
               ", i.name FROM item i WHERE space = ? ORDER BY used DESC, generation DESC",
    [Q_USAGE] = "SELECT count(*), coalesce(sum(n_bytes), 0) FROM item WHERE space = ?",
    [Q_EXPIRED] = "SELECT id FROM item WHERE ttl > 0 AND used + ttl * 1000000 <= ? LIMIT ?",
    [Q_OLDEST] = "SELECT id, n_bytes FROM item WHERE space = ? ORDER BY used, generation LIMIT ?",
};

typedef struct sqlite {
    store base;
    pthread_mutex_t lock;
    sqlite3 *db;
    char *path;
    sqlite3_stmt *q[N_QUERIES];
    int os; /* errno of the last query's system call; sqlite3_system_errno forgets it */
} sqlite;

/* ------------------------------------------------------------------ one statement */

/* A result for the last call's error; with a message that names the file. */
static store_result failed(sqlite *d, rwkv_error *err) {
    int code = sqlite3_extended_errcode(d->db), os = d->os;
    bool io = (code & 0xff) == SQLITE_IOERR;
    bool full = code == SQLITE_FULL || (io && (os == ENOSPC || os == EDQUOT || os == EFBIG));
    if (code == SQLITE_BUSY) {
        rw_fail_at(err, RWKV_E_IO, d->path, RWKV_NO_OFFSET, "locked by another program for %d s",
                   BUSY_MS / 1000);
    } else if (full) {
        rw_fail_at(err, RWKV_E_IO, d->path, RWKV_NO_OFFSET,
                   "no room on the disk; nothing was changed");
    } else {
        rw_fail_at(err, (code & 0xff) == SQLITE_CORRUPT ? RWKV_E_FORMAT : RWKV_E_IO, d->path,
                   RWKV_NO_OFFSET, "%s%s%s", sqlite3_errmsg(d->db), io && os ? ": " : "",
                   io && os ? strerror(os) : "");
    }
    return full ? STORE_FULL : STORE_FAILED;
}

/* Binds by types (i: int64_t; t: text; b: pointer and size_t) and makes the first step: SQLITE_ROW
 * or SQLITE_DONE when it went well. A statement that gave a row stays open until done(). */
static int query(sqlite *d, query_id id, const char *types, ...) {
    sqlite3_stmt *q = d->q[id];
    va_list args;
    int rc = SQLITE_OK;
    sqlite3_reset(q);
    va_start(args, types);
    for (int i = 0; types[i] && rc == SQLITE_OK; i++) {
        if (types[i] == 'i') {
            rc = sqlite3_bind_int64(q, i + 1, va_arg(args, int64_t));
        } else if (types[i] == 't') {
            rc = sqlite3_bind_text(q, i + 1, va_arg(args, const char *), -1, SQLITE_STATIC);
        } else {
            const void *data = va_arg(args, const void *);
            size_t n = va_arg(args, size_t);
            rc = sqlite3_bind_blob64(q, i + 1, n ? data : "", n, SQLITE_STATIC);
        }
    }
    va_end(args);
    errno = 0;
    if (rc == SQLITE_OK) rc = sqlite3_step(q);
    d->os = errno;
    if (rc != SQLITE_ROW) sqlite3_reset(q); /* keeps the connection's error code */
    return rc;
}

static void done(sqlite *d, query_id id) {
    sqlite3_reset(d->q[id]);
}

static int64_t number(sqlite *d, query_id id, int column) {
    return sqlite3_column_int64(d->q[id], column);
}

/* ------------------------------------------------------------------ transactions */

typedef struct row { /* what is known of an item inside a transaction; id 0: there is none */
    int64_t id, generation, used, ttl;
} row;

static store_result begin(sqlite *d, rwkv_error *err) {
    pthread_mutex_lock(&d->lock);
    if (query(d, Q_BEGIN, "") == SQLITE_DONE) return STORE_OK;
    store_result r = failed(d, err);
    pthread_mutex_unlock(&d->lock);
    return r;
}

/* Commits when r is STORE_OK, else rolls back; returns what came of it. */
static store_result end(sqlite *d, store_result r, rwkv_error *err) {
    if (r == STORE_OK && query(d, Q_COMMIT, "") != SQLITE_DONE) r = failed(d, err);
    if (!sqlite3_get_autocommit(d->db)) query(d, Q_ROLLBACK, "");
    pthread_mutex_unlock(&d->lock);
    return r;
}

static store_result run(sqlite *d, int rc, rwkv_error *err) {
    return rc == SQLITE_DONE ? STORE_OK : failed(d, err);
}

static store_result drop(sqlite *d, int64_t id, rwkv_error *err) {
    store_result r = run(d, query(d, Q_DELETE_DATA, "i", id), err);
    return r ? r : run(d, query(d, Q_DELETE, "i", id), err);
}

/* What has expired is removed on the way. */
static store_result find(sqlite *d, const char *space, const char *name, row *out,
                         rwkv_error *err) {
    *out = (row){0};
    int rc = query(d, Q_FIND, "tt", space, name);
    if (rc != SQLITE_ROW) return run(d, rc, err);
    *out = (row){number(d, Q_FIND, C_ID), number(d, Q_FIND, C_GENERATION),
                 number(d, Q_FIND, C_USED), number(d, Q_FIND, C_TTL)};
    done(d, Q_FIND);
    if (!store_expired(out->used, (uint64_t)out->ttl, store_now())) return STORE_OK;
    int64_t id = out->id;
    *out = (row){0};
    return drop(d, id, err);
}

/* Moves the log into the file and empties it: what was deleted must not live on in it. Best effort:
 * while another program reads, the next one does it. */
static void empty_log(sqlite *d) {
    pthread_mutex_lock(&d->lock);
    sqlite3_wal_checkpoint_v2(d->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    pthread_mutex_unlock(&d->lock);
}

/* ------------------------------------------------------------------ the interface */

static bool describe(sqlite *d, query_id id, const char *name, bool data, store_item *item) {
    sqlite3_stmt *q = d->q[id];
    const void *note = sqlite3_column_blob(q, C_NOTE),
               *bytes = data ? sqlite3_column_blob(q, C_LAST) : NULL;
    size_t n_note = (size_t)sqlite3_column_bytes(q, C_NOTE);
    size_t n_data = data ? (size_t)sqlite3_column_bytes(q, C_LAST) : 0;
    if (data && !bytes) bytes = "";
    if (!store_item_fill(item, name, note ? note : "", n_note, bytes, n_data)) return false;
    item->generation = (uint64_t)number(d, id, C_GENERATION);
    item->used = number(d, id, C_USED) / 1000000;
    item->n_data = (uint64_t)number(d, id, C_N_DATA);
    return true;
}

static store_result sqlite_get(store *s, const char *space, const char *name, bool data,
                               store_item *item, rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    query_id q = data ? Q_READ : Q_FIND;
    int64_t now = store_now();
    store_result r = STORE_OK;
    pthread_mutex_lock(&d->lock);
    int rc = query(d, q, "tt", space, name);
    if (rc == SQLITE_DONE) {
        r = STORE_NONE;
    } else if (rc != SQLITE_ROW) {
        r = failed(d, err);
    } else {
        uint64_t ttl = (uint64_t)number(d, q, C_TTL);
        int64_t used = number(d, q, C_USED), id = number(d, q, C_ID);
        if (store_expired(used, ttl, now)) {
            r = STORE_NONE;
        } else if (!describe(d, q, name, data, item)) {
            r = store_nomem(err, (size_t)number(d, q, C_N_DATA));
        } else if (data && item->n_data != (uint64_t)sqlite3_column_bytes(d->q[q], C_LAST)) {
            rw_fail_at(err, RWKV_E_FORMAT, d->path, RWKV_NO_OFFSET, "item '%s' has lost data",
                       name);
            store_item_free(item);
            r = STORE_FAILED;
        }
        done(d, q);
        /* If it cannot be marked (disk full), it was read all the same. */
        if (!r && now - used > store_grain(ttl)) query(d, Q_TOUCH, "ii", now, id);
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

static store_result write_item(sqlite *d, const store_write *w, const row *there,
                               uint64_t *generation, rwkv_error *err) {
    int64_t now = store_now(), counted, id = there->id;
    store_result r = run(d, query(d, Q_COUNT, ""), err);
    if (r) return r;
    if (query(d, Q_COUNTED, "") != SQLITE_ROW) return failed(d, err);
    counted = number(d, Q_COUNTED, 0);
    done(d, Q_COUNTED);
    *generation = (uint64_t)counted;
    if (w->keep_data) {
        return run(d,
                   query(d, Q_UPDATE_NOTE, "iiibi", counted, now, (int64_t)w->n_note, w->note,
                         w->n_note, id),
                   err);
    }
    r = run(d,
            query(d, id ? Q_UPDATE : Q_INSERT, "iiiiibtt", counted, now, (int64_t)w->ttl,
                  (int64_t)w->n_data, (int64_t)(w->n_data + w->n_note), w->note, w->n_note,
                  w->space, w->name),
            err);
    if (r) return r;
    if (!id) id = sqlite3_last_insert_rowid(d->db);
    return run(d, query(d, Q_DATA, "ib", id, w->data, w->n_data), err);
}

static store_result sqlite_put(store *s, const store_write *w, uint64_t *generation,
                               rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    uint64_t written = 0;
    row there;
    if (w->n_data > (size_t)sqlite3_limit(d->db, SQLITE_LIMIT_LENGTH, -1)) {
        rw_fail_at(err, RWKV_E_ARG, d->path, RWKV_NO_OFFSET,
                   "an item of %zu bytes; SQLite takes at most %d", w->n_data,
                   sqlite3_limit(d->db, SQLITE_LIMIT_LENGTH, -1));
        return STORE_FAILED;
    }
    store_result r = begin(d, err);
    if (r) return r;
    r = find(d, w->space, w->name, &there, err);
    if (r) return end(d, r, err);
    if (w->expected != STORE_ANY && w->expected != (uint64_t)there.generation) {
        *generation = (uint64_t)there.generation;
        return end(d, STORE_CONFLICT, err);
    }
    if (w->keep_data && !there.id) return end(d, STORE_NONE, err);
    r = end(d, write_item(d, w, &there, &written, err), err);
    if (!r) *generation = written;
    return r;
}

static store_result sqlite_remove(store *s, const char *space, const char *name, uint64_t expected,
                                  rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    row there;
    store_result r = begin(d, err);
    if (r) return r;
    r = find(d, space, name, &there, err);
    if (!r && !there.id) r = STORE_NONE;
    if (!r && expected != STORE_ANY && expected != (uint64_t)there.generation) r = STORE_CONFLICT;
    if (!r) r = drop(d, there.id, err);
    r = end(d, r, err);
    if (!r) empty_log(d);
    return r;
}

static store_result sqlite_touch(store *s, const char *space, const char *name, rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    row there;
    store_result r = begin(d, err);
    if (r) return r;
    r = find(d, space, name, &there, err);
    if (!r && !there.id) r = STORE_NONE;
    if (!r && store_now() - there.used > store_grain((uint64_t)there.ttl))
        r = run(d, query(d, Q_TOUCH, "ii", store_now(), there.id), err);
    return end(d, r, err);
}

static store_result sqlite_list(store *s, const char *space, store_items *out, rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    store_result r = STORE_OK;
    int64_t now = store_now();
    pthread_mutex_lock(&d->lock);
    int rc = query(d, Q_LIST, "t", space);
    for (; rc == SQLITE_ROW && !r; rc = sqlite3_step(d->q[Q_LIST])) {
        if (store_expired(number(d, Q_LIST, C_USED), (uint64_t)number(d, Q_LIST, C_TTL), now))
            continue;
        const char *name = (const char *)sqlite3_column_text(d->q[Q_LIST], C_LAST);
        store_item *item = store_items_add(out);
        if (!name || !item || !describe(d, Q_LIST, name, false, item))
            r = store_nomem(err, sizeof *item);
    }
    if (!r && rc != SQLITE_DONE) r = failed(d, err);
    done(d, Q_LIST);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static store_result sqlite_usage(store *s, const char *space, uint64_t *n_items, uint64_t *n_bytes,
                                 rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    store_result r = STORE_OK;
    pthread_mutex_lock(&d->lock);
    if (query(d, Q_USAGE, "t", space) == SQLITE_ROW) {
        *n_items = (uint64_t)number(d, Q_USAGE, 0);
        *n_bytes = (uint64_t)number(d, Q_USAGE, 1);
        done(d, Q_USAGE);
    } else {
        r = failed(d, err);
    }
    pthread_mutex_unlock(&d->lock);
    return r;
}

/* Removes up to TRIM_AT_ONCE items in one transaction; *more: there may be others. With space: the
 * ones used longest ago while the space has more than max_bytes; without: what has expired. */
static store_result trim_some(sqlite *d, const char *space, uint64_t max_bytes, bool *more,
                              size_t *dropped, rwkv_error *err) {
    int64_t ids[TRIM_AT_ONCE], bytes = INT64_MAX;
    size_t n = 0, limit = TRIM_AT_ONCE;
    query_id q = space ? Q_OLDEST : Q_EXPIRED;
    *more = false;
    store_result r = begin(d, err);
    if (r) return r;
    if (space) {
        if (query(d, Q_USAGE, "t", space) != SQLITE_ROW) return end(d, failed(d, err), err);
        bytes = number(d, Q_USAGE, 1);
        done(d, Q_USAGE);
    }
    int rc = space ? query(d, q, "ti", space, (int64_t)limit)
                   : query(d, q, "ii", store_now(), (int64_t)limit);
    while (rc == SQLITE_ROW && (!space || (uint64_t)bytes > max_bytes)) {
        ids[n++] = number(d, q, 0);
        if (space) bytes -= number(d, q, 1);
        rc = sqlite3_step(d->q[q]);
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) r = failed(d, err);
    done(d, q);
    for (size_t i = 0; i < n && !r; i++) r = drop(d, ids[i], err);
    *more = n == limit;
    *dropped += n;
    return end(d, r, err);
}

static store_result sqlite_trim(store *s, const char *space, uint64_t max_bytes, rwkv_error *err) {
    sqlite *d = (sqlite *)s;
    store_result r = STORE_OK;
    size_t dropped = 0;
    bool more = true;
    while (!r && more) r = trim_some(d, NULL, 0, &more, &dropped, err);
    for (more = space != NULL; !r && more;)
        r = trim_some(d, space, max_bytes, &more, &dropped, err);
    if (dropped) empty_log(d);
    return r;
}

/* ------------------------------------------------------------------ opening */

static void sqlite_close(store *s) {
    sqlite *d = (sqlite *)s;
    for (int i = 0; i < N_QUERIES; i++) sqlite3_finalize(d->q[i]);
    sqlite3_close(d->db);
    pthread_mutex_destroy(&d->lock);
    free(d->path);
    free(d->base.url);
    free(d);
}

/* The folder that the file is in, with those above it. */
static rwkv_status make_folder(const char *path, rwkv_error *err) {
    char *folder = strdup(path);
    rwkv_status st = folder ? RWKV_OK : rw_nomem(err, strlen(path));
    for (char *p = folder; !st && (p = strchr(p + 1, '/'));) {
        *p = 0;
        if (mkdir(folder, 0700) != 0 && errno != EEXIST && errno != EISDIR)
            st = rw_fail_errno(err, RWKV_E_IO, folder, errno, "cannot make the folder");
        *p = '/';
    }
    free(folder);
    return st;
}

/* Looks at the file before SQLite does: a foreign one must stay as it is. Creates a missing one,
 * private from its first instant (SQLite gives log and index the same mode). */
static rwkv_status check_file(const char *path, rwkv_error *err) {
    uint8_t head[100] = {0};
    struct stat st;
    rwkv_status status = RWKV_OK;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return rw_fail_errno(err, RWKV_E_IO, path, errno,
                             errno == EISDIR ? "the store is a file"
                                             : "cannot open the store for writing");
    }
    ssize_t n = fstat(fd, &st) ? -1 : S_ISREG(st.st_mode) ? pread(fd, head, sizeof head, 0) : 0;
    if (n < 0)
        status = rw_fail_errno(err, RWKV_E_IO, path, errno, "cannot read the store");
    else if (!S_ISREG(st.st_mode))
        status = rw_fail_at(err, RWKV_E_IO, path, RWKV_NO_OFFSET, "not a regular file");
    else if (n > 0 && (n < (ssize_t)sizeof head || memcmp(head, "SQLite format 3", 16) != 0))
        status = rw_fail_at(err, RWKV_E_FORMAT, path, 0,
                            "no SQLite database: another file, or a damaged store");
    uint32_t application = (uint32_t)head[68] << 24 | head[69] << 16 | head[70] << 8 | head[71];
    uint32_t version = (uint32_t)head[60] << 24 | head[61] << 16 | head[62] << 8 | head[63];
    if (!status && n > 0 && application != APPLICATION_ID) {
        status = rw_fail_at(err, RWKV_E_FORMAT, path, 68,
                            "an SQLite database of another program; found 0x%08x; expected 0x%08x",
                            application, APPLICATION_ID);
    } else if (!status && n > 0 && version != SCHEMA_VERSION) {
        status = rw_fail_at(err, RWKV_E_UNSUPPORTED, path, 60, "store of version %u; expected %d",
                            version, SCHEMA_VERSION);
    }
    close(fd);
    return status;
}

static rwkv_status sql_failed(sqlite *d, rwkv_error *err) {
    rwkv_error why = {0};
    failed(d, &why);
    if (err) *err = why;
    return why.code;
}

/* The first column of the first row, as text; "" if there is none. */
static rwkv_status ask(sqlite *d, const char *sql, char *answer, size_t cap, rwkv_error *err) {
    sqlite3_stmt *q = NULL;
    rwkv_status st = RWKV_OK;
    answer[0] = 0;
    int rc = sqlite3_prepare_v2(d->db, sql, -1, &q, NULL);
    if (rc == SQLITE_OK) rc = sqlite3_step(q);
    if (rc == SQLITE_ROW)
        snprintf(answer, cap, "%s", (const char *)sqlite3_column_text(q, 0));
    else if (rc != SQLITE_DONE)
        st = sql_failed(d, err);
    sqlite3_finalize(q);
    return st;
}

/* Tables and header in one transaction before WAL begins: the file is empty, or it is ours. */
static rwkv_status make_tables(sqlite *d, rwkv_error *err) {
    char sql[2048], answer[32];
    if (sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL)) return sql_failed(d, err);
    rwkv_status st = ask(d, "SELECT count(*) FROM sqlite_master", answer, sizeof answer, err);
    if (!st && strcmp(answer, "0") == 0) {
        snprintf(sql, sizeof sql, "%s PRAGMA application_id = %d; PRAGMA user_version = %d;",
                 schema, APPLICATION_ID, SCHEMA_VERSION);
        if (sqlite3_exec(d->db, sql, NULL, NULL, NULL)) st = sql_failed(d, err);
    }
    if (!st && sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL)) st = sql_failed(d, err);
    if (st) sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return st;
}

static rwkv_status prepare(sqlite *d, rwkv_error *err) {
    static const char settings[] =
        "PRAGMA page_size = 16384; PRAGMA secure_delete = ON; PRAGMA synchronous = FULL;"
        "PRAGMA fullfsync = ON; PRAGMA journal_size_limit = 67108864;";
    char answer[256];
    if (sqlite3_open_v2(d->path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL))
        return d->db ? sql_failed(d, err) : rw_nomem(err, 0);
    sqlite3_extended_result_codes(d->db, 1);
    sqlite3_busy_timeout(d->db, BUSY_MS);
    if (sqlite3_exec(d->db, settings, NULL, NULL, NULL)) return sql_failed(d, err);
    RW_TRY(make_tables(d, err));
    RW_TRY(ask(d, "PRAGMA journal_mode = WAL", answer, sizeof answer, err));
    if (strcmp(answer, "wal") != 0) {
        return rw_fail_at(err, RWKV_E_UNSUPPORTED, d->path, RWKV_NO_OFFSET,
                          "this file system cannot share memory, which SQLite's WAL needs");
    }
    /* Damage in the data is found when it is read; the narrow table is looked through at once. */
    RW_TRY(ask(d, "PRAGMA quick_check('item')", answer, sizeof answer, err));
    if (strcmp(answer, "ok") != 0)
        return rw_fail_at(err, RWKV_E_FORMAT, d->path, RWKV_NO_OFFSET, "damaged: %s", answer);
    for (int i = 0; i < N_QUERIES; i++) {
        if (sqlite3_prepare_v3(d->db, queries[i], -1, SQLITE_PREPARE_PERSISTENT, &d->q[i], NULL))
            return sql_failed(d, err);
    }
    return RWKV_OK;
}

rwkv_status store_open_sqlite(store **out, const char *where, rwkv_error *err) {
    static const store_backend backend = {sqlite_close, sqlite_get,  sqlite_put,   sqlite_remove,
                                          sqlite_touch, sqlite_list, sqlite_usage, sqlite_trim};
    if (!*where) return rw_fail(err, RWKV_E_ARG, "sqlite: needs a path after it");
    RW_TRY(make_folder(where, err));
    RW_TRY(check_file(where, err));
    sqlite *d = calloc(1, sizeof *d);
    if (!d || pthread_mutex_init(&d->lock, NULL)) {
        free(d);
        return rw_nomem(err, sizeof *d);
    }
    d->base.backend = &backend;
    d->path = realpath(where, NULL); /* ":memory:" and "file:..." are names of files here */
    rwkv_status st = d->path ? prepare(d, err)
                             : rw_fail_errno(err, RWKV_E_IO, where, errno, "cannot open the store");
    if (st) {
        sqlite_close(&d->base);
        return st;
    }
    *out = &d->base;
    return RWKV_OK;
}
