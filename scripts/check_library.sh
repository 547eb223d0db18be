#!/bin/sh
# check_library.sh STATIC SHARED - what librwkv must not do, read from its symbols: print, exit, abort,
# install signal handlers, start programs, keep writable globals, export names that are not rwkv_*.
set -eu
static=$1
shared=$2
status=0
complain() {
    echo "librwkv $1:" >&2
    echo "$2" | sed 's/^/    /' >&2
    status=1
}

banned='exit _exit _Exit quick_exit atexit abort raise kill signal sigaction sigprocmask
printf fprintf dprintf vprintf vfprintf vdprintf sprintf vsprintf puts fputs putchar putc fputc fwrite perror
psignal error err warn syslog stdout stderr stdin __assert_fail
__printf_chk __fprintf_chk __dprintf_chk __vfprintf_chk __vprintf_chk __sprintf_chk __vsprintf_chk
system popen fork vfork posix_spawn posix_spawnp execl execlp execle execv execvp execve dlopen
socket connect getaddrinfo setlocale chdir umask srand rand strtok strcpy strcat gets atoi atol atof alloca
__strcpy_chk __strcat_chk'
used=$(nm -u "$static" 2>/dev/null | awk 'NF == 2 {print $2}' | sed 's/@.*//' | sort -u)
bad=$(for name in $banned; do echo "$name"; done | sort -u | { grep -Fx "$used" || true; })
[ -z "$bad" ] || complain "uses what a library must leave to the program" "$bad"

if [ "$(uname)" = Linux ]; then
    # Constant tables with pointers lie in .data.rel.ro, which is read-only once loaded.
    bad=$(objdump -t "$static" | sed 's/ \.hidden//' |
          awk 'NF > 4 && $(NF-2) ~ /^(\*COM\*|\.(data|bss|tdata|tbss)(\.[^r].*)?)$/ && $(NF-1) !~ /^0+$/' |
          { grep -Ev '__(asan|ubsan|tsan|sanitizer|odr|gcov|prof)|\.L' || true; })
    [ -z "$bad" ] || complain "has writable globals" "$bad"
    bad=$(nm -D --defined-only "$shared" | awk '{print $3}' |
          { grep -Ev '^(rwkv_.*|_init|_fini|_edata|_end|__bss_start)$' || true; })
    [ -z "$bad" ] || complain "exports names of its own" "$bad"
fi
exit $status
