#!/bin/sh
# demo.sh RWKV [MODEL] - opens a chat with MODEL, after putting the vocabularies in place; without one, with
# the small model that ships with the sources, for which nothing is downloaded.
set -eu
rwkv=$1
model=${2:-}

if [ -z "$model" ]; then
    exec "$rwkv" chat
fi
"$(dirname "$0")/vocab.sh" || echo "The vocabularies could not be fetched; --vocab FILE also names one." >&2
exec "$rwkv" chat "$model"
