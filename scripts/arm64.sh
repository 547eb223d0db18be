#!/usr/bin/env bash
# Tests the arm64 kernels on an x86-64 Linux machine: cross compiler, qemu, and from Debian's arm64
# archive, unpacked under build-arm64/ and not installed, the two libraries that the tests need.
# qemu's "max" has every instruction set, cortex-a76 no i8mm, cortex-a72 no dot products either.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=()
for need in aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu qemu-aarch64:qemu-user; do
    command -v "${need%%:*}" >/dev/null || packages+=("${need#*:}")
done
[ -f /usr/aarch64-linux-gnu/include/stdio.h ] || packages+=(libc6-dev-arm64-cross)
if [ ${#packages[@]} -gt 0 ]; then
    sudo=
    if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

root=$PWD/build-arm64/root
if [ ! -f "$root/complete" ]; then # an index of our own: the system's architectures stay as they are
    apt=$PWD/build-arm64/apt
    mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
    cat >"$apt/apt.conf" <<CONF
APT::Architectures { "$(dpkg --print-architecture)"; "arm64"; };
APT::Sandbox::User "";
Dir::State::Lists "$apt/lists";
Dir::Cache "$apt/cache";
CONF
    export APT_CONFIG=$apt/apt.conf
    apt-get update -qq
    (cd "$apt" && apt-get download -qq libutf8proc2:arm64 libutf8proc-dev:arm64 libcmocka0:arm64 libcmocka-dev:arm64)
    unset APT_CONFIG
    for deb in "$apt"/*.deb; do dpkg-deb -x "$deb" "$root"; done
    rm -rf "$apt"
    touch "$root/complete"
fi

cmake --preset arm64
cmake --build --preset arm64 --target test_kernels
for cpu in max cortex-a76 cortex-a72; do
    QEMU_CPU=$cpu ctest --preset arm64 -R kernels
done
