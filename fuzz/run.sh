#!/bin/sh
# run.sh BUILD SECONDS - builds all fuzz targets in BUILD and runs each for SECONDS; stops at the first
# finding, whose input lies in BUILD/fuzz. Inputs that reached new code are kept in BUILD/fuzz/found.
set -eu
build=$1
seconds=$2
here=$(cd "$(dirname "$0")" && pwd)

compiler=cc
if command -v clang >/dev/null 2>&1; then compiler=clang; fi # it has libFuzzer
[ -f "$build/build.ninja" ] ||
    cmake -S "$here/.." --preset fuzz -B "$build" -DCMAKE_C_COMPILER="$compiler" >/dev/null
cmake --build "$build"
cd "$build/fuzz"
./fuzz_seeds seeds
for seeds in seeds/*/; do
    target=$(basename "$seeds")
    mkdir -p "found/$target"
    echo "== $target, $seconds s"
    "./fuzz_$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 "found/$target" "$seeds" \
        >"$target.log" 2>&1 || { tail -n 60 "$target.log"; exit 1; }
    tail -n 1 "$target.log"
done
echo "No findings."
