#!/bin/sh
# make.sh [MINUTES] - does again all that made models/demo: packages, facts, vocabulary, training (65 minutes
# unless told otherwise; 0: none, the last run is used), conversion, the tables of docs/QUANTIZATION.md. On a Debian or Ubuntu machine with
# python3-venv, npm, g++, wordnet-base and a built rwkv (make). Works in build/ beside this file; the last
# step replaces the files of models/demo.
set -eu
cd "$(dirname "$0")"
minutes=${1:-65}
rwkv=../../build/rwkv
demo=../../models/demo
dictionary=${WNSEARCHDIR:-/usr/share/wordnet}

[ -x "$rwkv" ] || { echo "make.sh: build rwkv first (make)" >&2; exit 1; }
[ -f "$dictionary/data.noun" ] || { echo "make.sh: install wordnet-base" >&2; exit 1; }
mkdir -p build

# Packages
[ -d build/venv ] || python3 -m venv build/venv
. build/venv/bin/activate
pip install -q -r requirements.txt
[ -d build/node_modules/countries-list ] ||
    npm install --prefix build --ignore-scripts --no-audit --no-fund countries-list@3.4.1
countries=build/node_modules/countries-list/countries.min.json

export OMP_NUM_THREADS=1
if [ "$minutes" != 0 ]; then
    # Facts, questions that are held out, vocabulary
    python facts.py "$countries" "$dictionary" build/facts.json
    python corpus.py build/facts.json build/held-out.jsonl
    python vocab.py build/facts.json build/vocab.txt

    # Training. One process a core; freed memory is kept, since fresh pages cost more than the arithmetic.
    export MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456
    python wkv.py
    cores=$(getconf _NPROCESSORS_ONLN)
    nice -n 19 torchrun --nproc_per_node "$cores" train.py --facts build/facts.json --vocab build/vocab.txt \
        --out build/run --minutes "$minutes"
fi
python plot.py build/run/log.jsonl build/loss.svg

# The files that ship
cp build/run/model.pth build/rwkv.c-demo-7.4M.pth
for type in F16 Q8_0; do
    "$rwkv" convert build/rwkv.c-demo-7.4M.pth "build/rwkv-demo-$type.gguf" --type "$type" --force \
        --vocab build/vocab.txt --template world --sampling greedy
done
mkdir -p "$demo"
cp build/rwkv-demo-F16.gguf build/rwkv-demo-Q8_0.gguf build/held-out.jsonl "$demo"
cp build/loss.svg build/run/log.jsonl .

# What it can do, what types cost, how many activations are zero
python evaluate.py "$rwkv" "$demo/rwkv-demo-Q8_0.gguf" "$demo/held-out.jsonl" | tee build/accuracy.md
python quant_table.py "$rwkv" "$demo" | tee build/quantization.md
python zeros.py build/rwkv.c-demo-7.4M.pth build/vocab.txt "$demo/held-out.jsonl" | tee build/zeros.md
python quantization.py ../../docs/QUANTIZATION.md build/quantization.md build/zeros.md build/accuracy.md
