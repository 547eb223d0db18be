/* zip.c - reads the directory of a PyTorch archive. In: the mapped file. Out: rw_zip.
 *
 * The central directory decides (local headers carry zeros where a data descriptor follows), but
 * where both speak they must agree, so that no other reader sees another archive in these bytes.
 * Refused: compression, encryption, several disks, comments (the directory must end the file),
 * bytes before the first entry, entries that overlap or are not in the order of the file, and names
 * that occur twice. */
#include "zip.h"

#include <string.h>

enum {
    LOCAL = 0x04034b50,
    CENTRAL = 0x02014b50,
    END = 0x06054b50,
    END64 = 0x06064b50,
    LOCATOR64 = 0x07064b50,
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    CENTRAL_SIZE = 46,
    FLAG_DESCRIPTOR = 0x0008, /* sizes and CRC follow the data, those of the local header are 0 */
    FLAG_UTF8 = 0x0800,
    EXTRA_ZIP64 = 1,
    WIDE16 = 0xFFFF /* as with WIDE32: the number is in the zip64 record */
};
#define WIDE32 0xFFFFFFFFu

/* What the end record says, twice: in 16 or 32 bits, and in 64 bits where the archive has them. */
typedef struct directory {
    uint64_t disks; /* sum of the disk numbers: 0 */
    uint64_t n_here, n, size, offset;
} directory;

/* The part that central and local header have in common. */
typedef struct header {
    uint16_t flags, method, name_len, extra_len;
    uint32_t crc;
    uint64_t packed, size;
} header;

static rwkv_status expect_signature(rw_reader *r, uint32_t expected, const char *what,
                                    rwkv_error *err) {
    uint64_t at = r->pos;
    uint32_t found;
    RW_TRY(rw_read_u32(r, &found, what, err));
    if (found != expected)
        return rw_read_fail(r, at, err, "zip: %s; found signature %08x; expected %08x", what, found,
                            expected);
    return RWKV_OK;
}

static rwkv_status skip(rw_reader *r, uint64_t n, const char *what, rwkv_error *err) {
    const uint8_t *ignored;
    return rw_read_bytes(r, n, &ignored, what, err);
}

static rwkv_status read_u16_wide(rw_reader *r, uint64_t *out, const char *what, rwkv_error *err) {
    uint16_t v;
    RW_TRY(rw_read_u16(r, &v, what, err));
    *out = v;
    return RWKV_OK;
}

static rwkv_status read_u32_wide(rw_reader *r, uint64_t *out, const char *what, rwkv_error *err) {
    uint32_t v;
    RW_TRY(rw_read_u32(r, &v, what, err));
    *out = v;
    return RWKV_OK;
}

static rwkv_status read_end(const rw_file *f, directory *d, rwkv_error *err) {
    rw_reader r = rw_reader_at(f, f->size < END_SIZE ? 0 : f->size - END_SIZE, f->size);
    uint64_t disk, comment, at = r.pos;
    uint32_t found;
    RW_TRY(rw_read_u32(&r, &found, "end of central directory", err));
    if (found != END)
        return rw_read_fail(&r, at, err,
                            "zip: end of central directory; found signature %08x; expected %08x "
                            "(is the end of the file missing?)",
                            found, END);
    RW_TRY(read_u16_wide(&r, &d->disks, "disk number", err));
    RW_TRY(read_u16_wide(&r, &disk, "disk number", err));
    d->disks += disk;
    RW_TRY(read_u16_wide(&r, &d->n_here, "entry count", err));
    RW_TRY(read_u16_wide(&r, &d->n, "entry count", err));
    RW_TRY(read_u32_wide(&r, &d->size, "directory size", err));
    RW_TRY(read_u32_wide(&r, &d->offset, "directory offset", err));
    RW_TRY(read_u16_wide(&r, &comment, "comment length", err));
    if (comment != 0)
        return rw_read_fail(&r, r.pos, err, "zip: comment; found length %u; expected 0",
                            (unsigned)comment);
    return RWKV_OK;
}

/* The record that the locator at `at` points to; it must end where the locator begins. */
static rwkv_status read_end64(const rw_file *f, uint64_t at, directory *d, uint64_t *begin,
                              rwkv_error *err) {
    rw_reader r = rw_reader_at(f, at, at + LOCATOR64_SIZE);
    uint64_t disk, disks, length;
    RW_TRY(expect_signature(&r, LOCATOR64, "zip64 locator", err));
    RW_TRY(read_u32_wide(&r, &disk, "disk number", err));
    RW_TRY(rw_read_u64(&r, begin, "zip64 record offset", err));
    RW_TRY(read_u32_wide(&r, &disks, "disk count", err));
    if (disk != 0 || disks != 1 || at < END64_SIZE || *begin != at - END64_SIZE)
        return rw_read_fail(&r, at, err,
                            "zip64 locator; found record offset %llu on %u disks; "
                            "expected %llu on 1",
                            (unsigned long long)*begin, (unsigned)disks,
                            (unsigned long long)(at < END64_SIZE ? 0 : at - END64_SIZE));
    r = rw_reader_at(f, *begin, at);
    RW_TRY(expect_signature(&r, END64, "zip64 end of central directory", err));
    RW_TRY(rw_read_u64(&r, &length, "zip64 record size", err));
    if (length != END64_SIZE - 12)
        return rw_read_fail(&r, *begin, err, "zip64 record size; found %llu; expected %d",
                            (unsigned long long)length, END64_SIZE - 12);
    RW_TRY(skip(&r, 4, "zip64 versions", err));
    RW_TRY(read_u32_wide(&r, &d->disks, "disk number", err));
    RW_TRY(read_u32_wide(&r, &disk, "disk number", err));
    d->disks += disk;
    RW_TRY(rw_read_u64(&r, &d->n_here, "entry count", err));
    RW_TRY(rw_read_u64(&r, &d->n, "entry count", err));
    RW_TRY(rw_read_u64(&r, &d->size, "directory size", err));
    return rw_read_u64(&r, &d->offset, "directory offset", err);
}

/* Finds the directory and checks that it fills the space up to its end record. */
static rwkv_status find_directory(const rw_file *f, directory *d, rwkv_error *err) {
    RW_TRY(read_end(f, d, err));
    uint64_t end = f->size - END_SIZE;
    rw_reader r = rw_reader_at(f, end, f->size);
    if (end >= LOCATOR64_SIZE && rw_le32(f->data + end - LOCATOR64_SIZE) == LOCATOR64) {
        directory narrow = *d;
        RW_TRY(read_end64(f, end - LOCATOR64_SIZE, d, &end, err));
        if (narrow.disks != d->disks || (narrow.n != WIDE16 && narrow.n != d->n) ||
            (narrow.n_here != WIDE16 && narrow.n_here != d->n_here) ||
            (narrow.size != WIDE32 && narrow.size != d->size) ||
            (narrow.offset != WIDE32 && narrow.offset != d->offset))
            return rw_read_fail(&r, r.pos, err, "zip: the two end records disagree");
    }
    uint64_t sum;
    if (d->disks != 0 || d->n_here != d->n)
        return rw_read_fail(&r, r.pos, err, "zip: the archive has several parts; expected one");
    if (!rw_add(d->offset, d->size, &sum) || sum != end)
        return rw_read_fail(&r, r.pos, err,
                            "zip: central directory; found %llu bytes at %llu; expected its end at "
                            "%llu",
                            (unsigned long long)d->size, (unsigned long long)d->offset,
                            (unsigned long long)end);
    if (d->n > RW_MAX_ZIP_ENTRIES || d->n > d->size / CENTRAL_SIZE)
        return rw_read_fail(&r, r.pos, err,
                            "zip: number of entries; found %llu; expected at most "
                            "%llu",
                            (unsigned long long)d->n,
                            (unsigned long long)(d->size / CENTRAL_SIZE < RW_MAX_ZIP_ENTRIES
                                                     ? d->size / CENTRAL_SIZE
                                                     : RW_MAX_ZIP_ENTRIES));
    return RWKV_OK;
}

static rwkv_status read_header(rw_reader *r, header *h, rwkv_error *err) {
    uint64_t at = r->pos;
    RW_TRY(skip(r, 2, "version needed", err));
    RW_TRY(rw_read_u16(r, &h->flags, "flags", err));
    RW_TRY(rw_read_u16(r, &h->method, "compression method", err));
    RW_TRY(skip(r, 4, "time", err));
    RW_TRY(rw_read_u32(r, &h->crc, "CRC", err));
    RW_TRY(read_u32_wide(r, &h->packed, "compressed size", err));
    RW_TRY(read_u32_wide(r, &h->size, "size", err));
    RW_TRY(rw_read_u16(r, &h->name_len, "name length", err));
    RW_TRY(rw_read_u16(r, &h->extra_len, "extra length", err));
    if (h->flags & ~(FLAG_DESCRIPTOR | FLAG_UTF8))
        return rw_read_fail(r, at, err,
                            "zip entry: flags; found %04x; expected 0808 at most "
                            "(encrypted or patched entries are not supported)",
                            h->flags);
    if (h->method != 0)
        return rw_read_fail(r, at, err,
                            "zip entry: compression method; found %u; expected 0 "
                            "(stored)",
                            h->method);
    return RWKV_OK;
}

/* Replaces those of the n numbers that are all ones by the 64-bit ones of the zip64 extra field,
 * where they stand in the same order. Leaves the reader behind the extra field. */
static rwkv_status widen(rw_reader *r, uint16_t extra_len, uint64_t *numbers[], size_t n,
                         rwkv_error *err) {
    uint64_t at = r->pos;
    RW_TRY(skip(r, extra_len, "zip extra field", err));
    rw_reader extra = {.path = r->path, .data = r->data, .pos = at, .end = r->pos};
    size_t next = 0;
    while (next < n && *numbers[next] != WIDE32) next++;
    while (next < n && rw_reader_left(&extra) > 0) {
        uint16_t id, length;
        RW_TRY(rw_read_u16(&extra, &id, "zip extra field", err));
        RW_TRY(rw_read_u16(&extra, &length, "zip extra field", err));
        rw_reader field = extra;
        RW_TRY(skip(&extra, length, "zip extra field", err));
        field.end = extra.pos;
        for (; id == EXTRA_ZIP64 && next < n; next++)
            if (*numbers[next] == WIDE32)
                RW_TRY(rw_read_u64(&field, numbers[next], "zip64 extra field", err));
    }
    if (next < n)
        return rw_read_fail(r, at, err,
                            "zip entry: a size or offset is FFFFFFFF, but there is no "
                            "zip64 extra field");
    return RWKV_OK;
}

/* Compares the local header at `at` with the directory and finds the entry's bytes behind it. */
static rwkv_status read_local(const rw_file *f, uint64_t at, uint64_t end, const header *central,
                              rw_zip_entry *e, rwkv_error *err) {
    rw_reader r = rw_reader_at(f, at, end);
    header h;
    const uint8_t *name;
    RW_TRY(expect_signature(&r, LOCAL, "local header", err));
    RW_TRY(read_header(&r, &h, err));
    RW_TRY(rw_read_bytes(&r, h.name_len, &name, "name of the entry", err));
    if (h.name_len != e->name_len || memcmp(name, e->name, e->name_len) != 0)
        return rw_read_fail(&r, at, err, "zip entry: local name; found %.*s; expected %.*s",
                            h.name_len, (const char *)name, (int)e->name_len, e->name);
    RW_TRY(widen(&r, h.extra_len, (uint64_t *[]){&h.size, &h.packed}, 2, err));
    bool later = (h.flags & FLAG_DESCRIPTOR) && h.size == 0 && h.packed == 0;
    if (h.flags != central->flags ||
        (!later && (h.size != e->size || h.packed != e->size || h.crc != e->crc)))
        return rw_read_fail(&r, at, err,
                            "zip entry %.*s: local header; found %llu bytes, flags "
                            "%04x, CRC %08x; expected %llu, %04x, %08x as in the central directory",
                            (int)e->name_len, e->name, (unsigned long long)h.size, h.flags, h.crc,
                            (unsigned long long)e->size, central->flags, e->crc);
    e->offset = r.pos;
    const uint8_t *ignored;
    return rw_read_bytes(&r, e->size, &ignored, "zip entry", err);
}

/* *free is where the entry before this one ends. */
static rwkv_status read_entry(rw_reader *r, const rw_file *f, uint64_t end, uint64_t *free,
                              rw_zip_entry *e, rwkv_error *err) {
    uint64_t at = r->pos, local, disk, comment;
    header h;
    const uint8_t *name;
    RW_TRY(expect_signature(r, CENTRAL, "central directory", err));
    RW_TRY(skip(r, 2, "version made by", err));
    RW_TRY(read_header(r, &h, err));
    RW_TRY(read_u16_wide(r, &comment, "comment length", err));
    RW_TRY(read_u16_wide(r, &disk, "disk number", err));
    RW_TRY(skip(r, 6, "file attributes", err));
    RW_TRY(read_u32_wide(r, &local, "local header offset", err));
    RW_TRY(rw_read_bytes(r, h.name_len, &name, "name of the entry", err));
    e->name = (const char *)name;
    e->name_len = h.name_len;
    RW_TRY(widen(r, h.extra_len, (uint64_t *[]){&h.size, &h.packed, &local}, 3, err));
    e->size = h.size;
    e->crc = h.crc;
    if (comment != 0 || disk != 0 || h.packed != h.size)
        return rw_read_fail(r, at, err,
                            "zip entry %.*s: found comment of %u bytes, disk %u, %llu "
                            "bytes packed; expected 0, 0, %llu",
                            h.name_len, e->name, (unsigned)comment, (unsigned)disk,
                            (unsigned long long)h.packed, (unsigned long long)h.size);
    if (memchr(e->name, 0, e->name_len))
        return rw_read_fail(r, at, err, "zip entry: the name holds a NUL byte");
    if (local < *free || (*free == 0 && local != 0))
        return rw_read_fail(r, at, err,
                            "zip entry %.*s: local header offset; found %llu; expected "
                            "%llu%s (entries in order, nothing before the first)",
                            h.name_len, e->name, (unsigned long long)local,
                            (unsigned long long)*free, *free ? " or more" : "");
    RW_TRY(read_local(f, local, end, &h, e, err));
    *free = e->offset + e->size; /* inside the file: read_local went there */
    return RWKV_OK;
}

rwkv_status rw_zip_open(rw_zip *z, const rw_file *f, rwkv_error *err) {
    directory d;
    uint64_t free = 0;
    memset(z, 0, sizeof *z);
    RW_TRY(find_directory(f, &d, err));
    rw_reader r = rw_reader_at(f, d.offset, d.offset + d.size);
    z->entries = rw_calloc((size_t)d.n, sizeof *z->entries);
    if ((d.n && !z->entries) || !rw_map_reserve(&z->by_name, (size_t)d.n))
        return rw_nomem(err, (size_t)d.n * sizeof *z->entries);
    for (; z->n_entries < d.n; z->n_entries++) {
        rw_zip_entry *e = &z->entries[z->n_entries];
        uint64_t at = r.pos;
        size_t existing;
        RW_TRY(read_entry(&r, f, d.offset, &free, e, err));
        if (!rw_map_put(&z->by_name, e->name, e->name_len, z->n_entries, &existing))
            return rw_nomem(err, e->name_len);
        if (existing != SIZE_MAX)
            return rw_read_fail(&r, at, err,
                                "zip entry %.*s occurs twice; its bytes are at %llu and "
                                "%llu",
                                (int)e->name_len, e->name,
                                (unsigned long long)z->entries[existing].offset,
                                (unsigned long long)e->offset);
    }
    if (rw_reader_left(&r) != 0)
        return rw_read_fail(&r, r.pos, err,
                            "zip: central directory; found %llu bytes after %llu "
                            "entries; expected none",
                            (unsigned long long)rw_reader_left(&r), (unsigned long long)d.n);
    return RWKV_OK;
}

void rw_zip_close(rw_zip *z) {
    rw_map_free(&z->by_name);
    rw_free(z->entries);
}

const rw_zip_entry *rw_zip_find(const rw_zip *z, const char *name, size_t len) {
    size_t i = rw_map_get(&z->by_name, name, len);
    return i == SIZE_MAX ? NULL : &z->entries[i];
}

rwkv_status rw_zip_check(const rw_zip_entry *e, const rw_file *f, rwkv_error *err) {
    uint32_t crc = rw_crc32(0, f->data + e->offset, (size_t)e->size);
    if (crc != e->crc)
        return rw_fail_at(err, RWKV_E_FORMAT, f->path, e->offset,
                          "zip entry %.*s: CRC; found %08x; expected %08x", (int)e->name_len,
                          e->name, crc, e->crc);
    return RWKV_OK;
}
