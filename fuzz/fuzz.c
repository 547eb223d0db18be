/* fuzz.c - see fuzz.h. */
#include "fuzz.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64], path[80];

static void remove_folder(void) {
    unlink(path);
    rmdir(folder);
}

void fuzz_require(bool truth, const char *what) {
    if (truth) return;
    fprintf(stderr, "not true: %s\n", what);
    abort();
}

const char *fuzz_file(const uint8_t *data, size_t n) {
    static int fd = -1;
    if (fd < 0) {
        snprintf(folder, sizeof folder, "%s/rwkv-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
        fuzz_require(mkdtemp(folder) != NULL, "a temporary folder can be made");
        snprintf(path, sizeof path, "%s/input", folder);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        fuzz_require(fd >= 0, "a temporary file can be made");
        atexit(remove_folder);
    }
    fuzz_require(!ftruncate(fd, (off_t)n) && pwrite(fd, data, n, 0) == (ssize_t)n,
                 "the input can be written");
    return path;
}

void fuzz_check_error(rwkv_status st, const rwkv_error *err, const char *where) {
    fuzz_require(st == err->code, "the error has the status as its code");
    fuzz_require(err->message[0] != 0, "an error has a message");
    fuzz_require(!where || strstr(err->message, where), "the message has the path");
    for (const char *s = err->message; *s; s++)
        fuzz_require((unsigned char)*s >= 0x20 && *s != 0x7F, "the message has no control bytes");
}
