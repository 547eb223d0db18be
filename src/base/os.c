/* os.c - the few questions for the operating system: memory that may be used, cores, time. */
#include "base.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach/mach.h>
#include <sys/sysctl.h>
#endif

uint64_t rw_os_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rw_os_huge_pages(void *p, size_t bytes) {
#ifdef MADV_HUGEPAGE
    size_t page = (size_t)sysconf(_SC_PAGESIZE), skip = (page - (uintptr_t)p % page) % page;
    if (bytes > skip) (void)madvise((uint8_t *)p + skip, (bytes - skip) / page * page, MADV_HUGEPAGE);
#else
    (void)p;
    (void)bytes;
#endif
}

#if defined(__APPLE__)

uint64_t rw_os_memory_available(void) {
    vm_statistics64_data_t vm;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &n) != KERN_SUCCESS)
        return 0;
    uint64_t pages = (uint64_t)vm.free_count + vm.inactive_count + vm.purgeable_count;
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint32_t rw_os_physical_cores(void) {
    int n = 0;
    size_t size = sizeof n;
    /* performance cores where there are two kinds */
    if (sysctlbyname("hw.perflevel0.physicalcpu", &n, &size, NULL, 0) != 0 || n < 1)
        if (sysctlbyname("hw.physicalcpu", &n, &size, NULL, 0) != 0 || n < 1) return 1;
    return (uint32_t)n;
}

#else

/* The beginning of a small text file of the kernel; "" if it cannot be read. */
static void read_text(const char *path, char *text, size_t cap) {
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && len < cap - 1) {
        ssize_t n = read(fd, text + len, cap - 1 - len);
        if (n <= 0) break;
        len += (size_t)n;
    }
    if (fd >= 0) close(fd);
    text[len] = 0;
}

/* The unsigned number behind `key` in FOLDER/NAME; false if there is none ("max", "-1"). */
static bool file_number(const char *folder, const char *name, const char *key, uint64_t *out) {
    char path[1200], text[8192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    read_text(path, text, sizeof text);
    const char *at = strstr(text, key);
    if (!at) return false;
    at += strlen(key);
    at += strspn(at, " \t:");
    if (*at < '0' || *at > '9') return false;
    *out = strtoull(at, NULL, 10);
    return true;
}

/* ---- control groups: what one group still allows; UINT64_MAX: it sets no limit */

typedef uint64_t group_fn(const char *folder);

static uint64_t memory_left(const char *folder, const char *max, const char *now,
                            const char *cache) {
    uint64_t limit, used, cached = 0;
    if (!file_number(folder, max, "", &limit) || !file_number(folder, now, "", &used))
        return UINT64_MAX;
    file_number(folder, "memory.stat", cache, &cached); /* given back on demand */
    used = used > cached ? used - cached : 0;
    return limit > used ? limit - used : 0;
}

static uint64_t memory_v1(const char *folder) {
    return memory_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
                       "\ntotal_inactive_file");
}

static uint64_t memory_v2(const char *folder) {
    return memory_left(folder, "memory.max", "memory.current", "\ninactive_file");
}

static uint64_t cpus_v1(const char *folder) {
    uint64_t quota, period;
    if (!file_number(folder, "cpu.cfs_quota_us", "", &quota) || quota == 0) return UINT64_MAX;
    if (!file_number(folder, "cpu.cfs_period_us", "", &period) || period == 0) return UINT64_MAX;
    return (quota - 1) / period + 1;
}

static uint64_t cpus_v2(const char *folder) {
    uint64_t quota, period;
    if (!file_number(folder, "cpu.max", "", &quota) || quota == 0) return UINT64_MAX;
    if (!file_number(folder, "cpu.max", " ", &period) || period == 0) return UINT64_MAX;
    return (quota - 1) / period + 1;
}

/* The least that the group at root/path or one above it allows. A container may see a path of its
 * host here that it has no folder for: then only the root answers. */
static uint64_t least_above(const char *root, char *path, group_fn *allows) {
    uint64_t least = UINT64_MAX;
    char folder[1100];
    for (char *end = path + strlen(path); end; end = strrchr(path, '/')) {
        *end = 0;
        snprintf(folder, sizeof folder, "%s%s", root, path);
        uint64_t here = allows(folder);
        if (here < least) least = here;
    }
    return least;
}

/* Over the groups of this process. Lines of the file: "ID:CONTROLLERS:PATH"; version 2 is
 * "0::PATH". */
static uint64_t least_of_groups(const char *controller, group_fn *v1, group_fn *v2) {
    char text[8192], root[64], list[256], wanted[32], *next = text;
    uint64_t least = UINT64_MAX;
    snprintf(wanted, sizeof wanted, ",%s,", controller);
    read_text("/proc/self/cgroup", text, sizeof text);
    for (char *line; (line = strsep(&next, "\n"));) {
        strsep(&line, ":");
        char *controllers = strsep(&line, ":");
        if (!line) continue;
        snprintf(list, sizeof list, ",%s,", controllers);
        bool is_v2 = !*controllers;
        if (!is_v2 && !strstr(list, wanted)) continue;
        snprintf(root, sizeof root, "/sys/fs/cgroup%s%s", is_v2 ? "" : "/",
                 is_v2 ? "" : controller);
        uint64_t here = least_above(root, line, is_v2 ? v2 : v1);
        if (here < least) least = here;
    }
    return least;
}

uint64_t rw_os_memory_available(void) {
    uint64_t kib, group = least_of_groups("memory", memory_v1, memory_v2);
    if (!file_number("/proc", "meminfo", "MemAvailable", &kib))
        return group == UINT64_MAX ? 0 : group;
    return kib * 1024 < group ? kib * 1024 : group;
}

/* Hyper-threads share an arithmetic unit: of each core only the first that we may use counts. */
static bool is_first_sibling(unsigned cpu, const cpu_set_t *allowed) {
    char path[96], text[1024], *at = text;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", cpu);
    read_text(path, text, sizeof text);
    while (*at >= '0' && *at <= '9') { /* "0-1,64" */
        unsigned long from = strtoul(at, &at, 10), to = from;
        if (*at == '-') to = strtoul(at + 1, &at, 10);
        for (; from <= to && from < CPU_SETSIZE; from++)
            if (CPU_ISSET(from, allowed)) return from == cpu;
        if (*at == ',') at++;
    }
    return true;
}

/* No more than the processor time that a container may use. */
uint32_t rw_os_physical_cores(void) {
    uint32_t cores = 0;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
            if (CPU_ISSET(cpu, &allowed) && is_first_sibling(cpu, &allowed)) cores++;
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more of them than a cpu_set_t holds */
    if (cores == 0) cores = online > 0 ? (uint32_t)online : 1;
    uint64_t quota = least_of_groups("cpu", cpus_v1, cpus_v2);
    return quota < cores ? (uint32_t)quota : cores;
}

#endif
