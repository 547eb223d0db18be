"""Writes the table of docs/QUANTIZATION.md: what each type costs in size and keeps in quality.

    python quant_table.py ../../build/rwkv ../../models/demo > table.md

Every file is made from the F16 master by `rwkv convert`. Perplexity, KL and first choices are those of the
tokens of the held-out answers, from `rwkv logits`; accuracy is that of evaluate.py. Needs numpy.
"""

import os
import random
import subprocess
import sys
import tempfile

import numpy

import evaluate

TYPES = ("F16", "Q8_0", "Q6_K", "Q5_1", "Q5_K", "Q4_K", "Q4_0")
MEASURED = 300  # conversations whose logits are compared
PIECE = 40  # conversations in one sequence, as many turns later begin with what came before


def encode(program, model, questions):
    """[(ids, positions whose logits choose a token of an answer)]. The bytes 0, 1, 2 (ids 1, 2, 3) mark the end
    of a conversation and an answer's begin and end, and are taken out again."""
    pieces = []
    for at in range(0, len(questions), PIECE):
        text = ""
        for q in questions[at : at + PIECE]:
            for i, (question, answer) in enumerate(q["turns"]):
                last = i + 1 == len(q["turns"])
                answer = f" {answer}\n\n"
                text += f"User: {question}\n\nAssistant:" + (f"\x01{answer}\x02" if last else answer)
            text += "\0"
        out = subprocess.run([program, "tokenize", model], input=text.encode(), capture_output=True, check=True)
        ids, chosen, inside = [], [], False
        for token in map(int, out.stdout.split()):
            if token in (2, 3):
                inside = token == 2
                continue
            if inside:
                chosen.append(len(ids) - 1)
            ids.append(0 if token == 1 else token)
        pieces.append((ids, chosen))
    return pieces


def log_probabilities(program, model, pieces, folder):
    """Rows of log p at the chosen positions, and the tokens that followed."""
    rows, targets = [], []
    for ids, chosen in pieces:
        path = os.path.join(folder, "logits.f32")
        subprocess.run([program, "logits", model, "--tokens", "-", "--out", path, "--threads", "1"], check=True,
                       input=",".join(map(str, ids)).encode(), stdout=subprocess.DEVNULL)
        logits = numpy.fromfile(path, numpy.float32).reshape(len(ids), -1)[chosen].astype(numpy.float64)
        logits -= logits.max(1, keepdims=True)
        rows.append((logits - numpy.log(numpy.exp(logits).sum(1, keepdims=True))).astype(numpy.float32))
        targets += [ids[i + 1] for i in chosen]
    return numpy.concatenate(rows), numpy.array(targets)


def main():
    program, folder = sys.argv[1:3]
    master = os.path.join(folder, "rwkv-demo-F16.gguf")
    questions = evaluate.read(os.path.join(folder, "held-out.jsonl"))
    pieces = encode(program, master, random.Random(3).sample(questions, MEASURED))
    reference = None
    print("| type | file | perplexity | KL from F16 | same first choice | held-out facts | sums never trained |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for kind in TYPES:
            model = master
            if kind != "F16":
                model = os.path.join(scratch, kind + ".gguf")
                subprocess.run([program, "convert", master, model, "--type", kind], check=True,
                               stdout=subprocess.DEVNULL)
            logp, targets = log_probabilities(program, model, pieces, scratch)
            if reference is None:
                reference = logp
            perplexity = numpy.exp(-logp[numpy.arange(len(targets)), targets].mean(dtype=numpy.float64))
            p = numpy.exp(reference.astype(numpy.float64))
            kl = (p * (reference.astype(numpy.float64) - logp)).sum(1).mean()
            same = (logp.argmax(1) == reference.argmax(1)).mean()
            kinds = evaluate.score(questions, evaluate.ask(program, model, questions))
            facts = [kinds[k] for k in kinds if evaluate.is_fact(k)]
            right, asked = sum(n for n, _ in facts), sum(n for _, n in facts)
            sums = kinds["sum, never trained"]
            print(f"| {kind} | {os.path.getsize(model) / 1e6:.2f} MB | {perplexity:.4f} | {kl:.5f} | {100 * same:.2f} % "
                  f"| {100 * right / asked:.2f} % | {sums[0]}/{sums[1]} |", flush=True)


if __name__ == "__main__":
    main()
