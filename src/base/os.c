/* os.c - the few questions for the operating system: memory that may be used, cores, time. */
#include "base.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

#if defined(__APPLE__)

uint64_t rw_os_memory_available(void) {
    vm_statistics64_data_t vm;
    mach_msg_type_number_t n = HOST_VM_INFO64_COUNT;
    if (host_statistics64(mach_host_self(), HOST_VM_INFO64, (host_info64_t)&vm, &n) != KERN_SUCCESS) return 0;
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

/* The first unsigned number after `key` in a small text file; false if there is none ("max"). */
static bool file_number(const char *path, const char *key, uint64_t *out) {
    char text[8192];
    FILE *f = fopen(path, "re");
    if (!f) return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    char *at = strstr(text, key);
    if (!at) return false;
    at += strlen(key);
    at += strspn(at, " \t:");
    char *end;
    *out = strtoull(at, &end, 10);
    return end != at;
}

/* What a control group still allows, where one limits this process (v2, then v1). */
static uint64_t cgroup_left(void) {
    static const char *const pairs[][2] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"},
    };
    for (size_t i = 0; i < 2; i++) {
        uint64_t limit, used, cached = 0;
        if (!file_number(pairs[i][0], "", &limit) || !file_number(pairs[i][1], "", &used)) continue;
        file_number(i == 0 ? "/sys/fs/cgroup/memory.stat" : "/sys/fs/cgroup/memory/memory.stat", "inactive_file",
                    &cached);
        used = used > cached ? used - cached : 0;
        return limit > used ? limit - used : 0;
    }
    return UINT64_MAX;
}

uint64_t rw_os_memory_available(void) {
    uint64_t kib = 0, group = cgroup_left();
    if (!file_number("/proc/meminfo", "MemAvailable", &kib)) return 0;
    return kib * 1024 < group ? kib * 1024 : group;
}

/* Hyper-threads share an arithmetic unit: count each core once, among the processors we may run on. */
uint32_t rw_os_physical_cores(void) {
    uint32_t cores = 0;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (long cpu = 0; cpu < online; cpu++) {
        char path[96];
        uint64_t first = 0;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list", cpu);
        if (!file_number(path, "", &first) || first == (uint64_t)cpu) cores++;
    }
    return cores ? cores : 1;
}

#endif
