"""The share of zeros in the hidden layer of the channel mix, after relu squared, by layer.

    python zeros.py MODEL.pth build/vocab.txt ../../models/demo/held-out.jsonl

A column of ffn.value whose activation is zero need not be read: this share decides whether a kernel that
skips them pays.
"""

import sys

import torch

import evaluate
from model import Model
from train import RANKS, encode
from vocab import Tokenizer


@torch.no_grad()
def main():
    weights, tokenizer = torch.load(sys.argv[1]), Tokenizer(sys.argv[2])
    questions = evaluate.read(sys.argv[3])[::5]
    vocab, width = weights["emb.weight"].shape
    layers = 1 + max(int(k.split(".")[1]) for k in weights if k.startswith("blocks."))
    model = Model(vocab, width, layers, weights["blocks.0.ffn.key.weight"].shape[0], RANKS)
    model.load_state_dict(weights)
    model.eval()
    zeros, total = [0] * layers, 0

    def count(i):
        def hook(module, inputs, _):
            zeros[i] += int((module.hidden(inputs[0]) == 0).sum())
        return hook

    for i, block in enumerate(model.blocks):
        block.ffn.register_forward_hook(count(i))
    hidden = weights["blocks.0.ffn.key.weight"].shape[0]
    for q in questions:
        tokens = torch.tensor([encode(q["turns"], tokenizer)[0]])
        model.features(tokens)
        total += tokens.numel() * hidden
    print("| layer | zeros after relu² |\n|---|---|")
    for i, n in enumerate(zeros):
        print(f"| {i} | {100 * n / total:.1f} % |")
    print(f"| all | {100 * sum(zeros) / total / layers:.1f} % |")


if __name__ == "__main__":
    main()
