#!/bin/sh
# demo.sh RWKV [MODEL] - puts the vocabularies in place and chats with MODEL; without one, says how to
# get one.
set -eu
rwkv=$1
model=${2:-}

"$(dirname "$0")/vocab.sh" || echo "The vocabularies could not be fetched; --vocab FILE also names one." >&2
if [ -n "$model" ]; then
    exec "$rwkv" chat "$model"
fi
cat <<EOF
$("$rwkv" --version) is built: $rwkv

It needs a model. The author publishes them as .pth files under the name BlinkDL on Hugging Face and on
ModelScope. Project rwkv7-g1 has the newest (rwkv7-g1...-0.1b, -0.4b, -1.5b, -2.9b: about 0.4, 0.9, 3
and 6 GB); rwkv-7-world, rwkv-6-world, rwkv-5-world and rwkv-4-raven have the older ones. Then:

    make demo MODEL=path/to/rwkv7-g1....pth
EOF
