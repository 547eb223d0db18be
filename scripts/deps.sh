#!/bin/sh
# Installs what the build needs and this machine lacks, with apt-get (Debian, Ubuntu) or brew (macOS).
# Silent and instant when nothing is missing. With --vocab also what scripts/vocab.sh downloads with; with
# --services the Redis, nginx and HAProxy that tests start for themselves (without them those are skipped).
set -eu

missing=
need_command() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need_library() { pkg-config --exists "$1" 2>/dev/null || missing="$missing $2"; }

case $(uname) in
Darwin)
    command -v cc >/dev/null 2>&1 || { echo "No C compiler: run xcode-select --install" >&2; exit 1; }
    need_command cmake cmake
    need_command ninja ninja
    need_command pkg-config pkgconf
    need_library libutf8proc utf8proc
    need_library jansson jansson
    need_library libedit libedit
    need_library libmicrohttpd libmicrohttpd
    need_library libcurl curl
    need_library sqlite3 sqlite
    need_library hiredis hiredis
    need_library cmocka cmocka
    ;;
*)
    need_command cc gcc
    need_command cmake cmake
    need_command ninja ninja-build
    need_command pkg-config pkg-config
    need_library libutf8proc libutf8proc-dev
    need_library jansson libjansson-dev
    need_library libedit libedit-dev
    need_library libmicrohttpd libmicrohttpd-dev
    need_library libcurl libcurl4-openssl-dev
    need_library sqlite3 libsqlite3-dev
    need_library hiredis libhiredis-dev
    need_library cmocka libcmocka-dev
    [ -f /usr/include/stdio.h ] || missing="$missing libc6-dev"
    ;;
esac
if [ "${1:-}" = --vocab ] && ! python3 -c 'import pip' 2>/dev/null; then
    missing="$missing $(if [ "$(uname)" = Darwin ]; then echo python; else echo python3-pip; fi)"
fi

if [ "${1:-}" = --services ]; then
    need_command redis-server "$(if [ "$(uname)" = Darwin ]; then echo redis; else echo redis-server; fi)"
    PATH=$PATH:/usr/sbin need_command nginx "$(if [ "$(uname)" = Darwin ]; then echo nginx; else echo nginx-light; fi)"
    PATH=$PATH:/usr/sbin need_command haproxy haproxy
fi

if [ -n "$missing" ]; then
    echo "Installing:$missing"
    if command -v apt-get >/dev/null 2>&1; then
        sudo=
        if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
        $sudo apt-get update -qq
        # shellcheck disable=SC2086
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    elif command -v brew >/dev/null 2>&1; then
        # shellcheck disable=SC2086
        brew install -q $missing
    else
        echo "No apt-get or brew here. Install by hand:$missing" >&2
        exit 1
    fi
fi

version=$(cmake --version | sed -n 's/^cmake version \([0-9]*\.[0-9]*\).*/\1/p')
if [ "$(printf '%s\n3.25\n' "$version" | sort -V | head -n 1)" != 3.25 ]; then
    echo "CMake $version is too old; 3.25 or newer is needed (Debian 12, Ubuntu 23.04 or newer have it)" >&2
    exit 1
fi
