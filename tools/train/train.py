"""Trains the demo model for a given time: conversations of corpus.py -> a .pth with the author's names.

    torchrun --nproc_per_node 2 train.py --facts F --vocab V --out DIR --minutes 70

One process per core, one thread each, gradients averaged every step. The learning rate is a function of the
clock and ends at zero: the run always ends annealed, however busy the machine is. Only answers are
learned (and what ends them), not questions.
"""

import argparse
import json
import os
import random
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F

import wkv
from corpus import Corpus, render
from model import Model
from optimizer import Muon
from vocab import END, Tokenizer

RANKS = {"w": 32, "a": 32, "v": 32, "g": 64}
HIDDEN = ("receptance.weight", "key.weight", "value.weight", "output.weight")


def encode(turns, tokenizer):
    """Tokens of a conversation, and for each whether it is learned."""
    tokens, learned = [], []
    for i, (text, answer) in enumerate(render(turns)):
        part = tokenizer.encode(text)
        learned += [answer or (i > 0 and j == 0) for j in range(len(part))]
        tokens += part
    return tokens + [END], learned + [True]


class Batches:
    """Rows of whole conversations, the last one cut. Every row begins with one."""

    def __init__(self, corpus, tokenizer, rows, length, seed):
        self.corpus, self.tokenizer, self.rows, self.length = corpus, tokenizer, rows, length
        self.rng = random.Random(seed)

    def next(self):
        tokens, learned = [], []
        for _ in range(self.rows):
            row, mask = [], []
            while len(row) <= self.length:
                t, m = encode(self.corpus.document(self.rng), self.tokenizer)
                row += t
                mask += m
            tokens.append(row[: self.length + 1])
            learned.append(mask[: self.length + 1])
        tokens, learned = torch.tensor(tokens), torch.tensor(learned)
        return tokens[:, :-1], tokens[:, 1:], learned[:, 1:]


@torch.no_grad()
def exact(model, questions, tokenizer):
    """The share of questions whose whole answer is the most probable token at every place (greedy), and the
    answers' perplexity; by kind too."""
    model.eval()
    kinds = {}
    for at in range(0, len(questions), 64):
        part = questions[at : at + 64]
        rows = []
        for q in part:
            tokens, _ = encode(q["turns"], tokenizer)
            answer = tokenizer.encode(f" {q['turns'][-1][1]}\n\n")
            rows.append((tokens[:-1], len(tokens) - 1 - len(answer)))
        longest = max(len(t) for t, _ in rows)
        batch = torch.tensor([t + [END] * (longest - len(t)) for t, _ in rows])
        logits = model(batch)
        for q, row, (t, start) in zip(part, logits, rows):
            target = torch.tensor(t[start:])
            predicted = row[start - 1 : len(t) - 1]
            entry = kinds.setdefault(q["kind"], [0, 0, 0.0, 0])
            entry[0] += bool((predicted.argmax(-1) == target).all())
            entry[1] += 1
            entry[2] += F.cross_entropy(predicted, target, reduction="sum").item()
            entry[3] += len(target)
    model.train()
    return kinds


def main():
    p = argparse.ArgumentParser()
    for name in ("facts", "vocab", "out"):
        p.add_argument("--" + name, required=True)
    for name, value in (("minutes", 70.0), ("rate", 0.02), ("adam-rate", 0.003)):
        p.add_argument("--" + name, type=float, default=value)
    for name, value in (("width", 256), ("layers", 4), ("ffn", 1024), ("rows", 12), ("length", 256), ("seed", 1)):
        p.add_argument("--" + name, type=int, default=value)
    a = p.parse_args()
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(a.seed)
    if rank == 0:
        wkv.extension()
    dist.barrier()
    corpus, tokenizer = Corpus(a.facts), Tokenizer(a.vocab)
    model = Model(len(tokenizer.bytes), a.width, a.layers, a.ffn, RANKS)
    for block in model.blocks:
        block.compile()
    batches = Batches(corpus, tokenizer, a.rows, a.length, a.seed * 1000 + rank)
    questions = corpus.held_out()
    few = random.Random(5).sample(questions, 320)

    hidden = [q for n, q in model.named_parameters() if n.startswith("blocks") and n.endswith(HIDDEN)]
    ids = {id(q) for q in hidden}
    matrices = [q for q in model.parameters() if id(q) not in ids and q.dim() == 2]
    vectors = [q for q in model.parameters() if id(q) not in ids and q.dim() != 2]
    muon = Muon(hidden)
    adam = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0}],
                             lr=a.adam_rate, betas=(0.9, 0.98), eps=1e-10, fused=True)
    parameters = list(model.parameters())
    if rank == 0:
        os.makedirs(a.out, exist_ok=True)
        log = open(os.path.join(a.out, "log.jsonl"), "a")
        print(f"{sum(q.numel() for q in parameters)} parameters, {len(tokenizer.bytes)} ids, {ranks} processes", flush=True)

    def save(name):
        path = os.path.join(a.out, name)
        torch.save({k: v.clone() for k, v in model.state_dict().items()}, path + ".part")
        os.replace(path + ".part", path)

    step, tokens_seen, learned_seen, losses = 0, 0, 0, []
    begin = saved = time.time()
    while True:
        passed = torch.tensor((time.time() - begin) / (a.minutes * 60))
        dist.broadcast(passed, 0)  # all processes stop at the same step
        if passed >= 1:
            break
        scale = min(1.0, (step + 1) / 60) * (1 - passed.item())
        x, y, learned = batches.next()
        features = model.features(x)[learned]
        loss = F.cross_entropy(model.head(features), y[learned])
        loss.backward()
        flat = torch.cat([q.grad.view(-1) for q in parameters])
        dist.all_reduce(flat)
        flat /= ranks
        flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6)) if step < 30 else 1.0
        at = 0
        for q in parameters:
            q.grad = flat[at : at + q.numel()].view_as(q)
            at += q.numel()
        muon.step(a.rate * scale, 0.01)
        for group in adam.param_groups:
            group["lr"] = a.adam_rate * scale
        adam.step()
        for q in parameters:
            q.grad = None
        step += 1
        tokens_seen += x.numel() * ranks
        learned_seen += int(learned.sum()) * ranks
        losses.append(loss.item())
        if rank == 0 and (step % 20 == 0 or step < 5):
            entry = {"step": step, "seconds": round(time.time() - begin, 1), "tokens": tokens_seen, "learned": learned_seen,
                     "loss": round(sum(losses) / len(losses), 4)}
            losses = []
            if step % 200 == 0:
                kinds = exact(model, few, tokenizer)
                entry["held_out"] = round(sum(k[0] for k in kinds.values()) / len(few), 4)
            print(entry, flush=True)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            if time.time() - saved > 300:
                save("checkpoint.pth")
                saved = time.time()
    if rank == 0:
        save("model.pth")
        kinds = exact(model, questions, tokenizer)
        summary = {"step": step, "seconds": round(time.time() - begin, 1), "tokens": tokens_seen, "learned": learned_seen,
                   "parameters": sum(q.numel() for q in parameters),
                   "held_out": {k: [n, of, round(float(torch.tensor(s / t).exp()), 3)] for k, (n, of, s, t) in kinds.items()}}
        print(json.dumps(summary, indent=1), flush=True)
        log.write(json.dumps(summary) + "\n")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
