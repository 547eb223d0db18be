"""Asks a model the held-out questions through `rwkv chat` and counts the answers that are right to the letter.

    python evaluate.py ../../build/rwkv MODEL ../../models/demo/held-out.jsonl [--show]

One program answers all of them, as its user would ask: a line is a message, /clear begins anew. In a
conversation of two questions the model goes on from its own first answer. Standard library only.
"""

import argparse
import json
import subprocess


def read(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def ask(program, model, questions):
    """The last answer of each conversation."""
    lines, last = [], []
    for q in questions:
        lines += ["/clear"] + [turn[0] for turn in q["turns"]]
        last.append(len(q["turns"]))
    command = [program, "chat", model, "-n", "80", "--threads", "1", "--progress", "off"]
    out = subprocess.run(command, input="\n".join(lines) + "\n", capture_output=True, text=True, check=True).stdout
    answers = [line for line in out.split("\n")][: sum(last)]
    assert len(answers) == sum(last), f"{len(answers)} answers to {sum(last)} questions"
    result, at = [], 0
    for n in last:
        at += n
        result.append(answers[at - 1])
    return result


def score(questions, answers):
    """{kind: [right, asked]}"""
    kinds = {}
    for q, a in zip(questions, answers):
        entry = kinds.setdefault(q["kind"], [0, 0])
        entry[0] += a.strip() == q["turns"][-1][1]
        entry[1] += 1
    return kinds


def is_fact(kind):
    """Sums, differences and products are calculated, not remembered."""
    return kind not in ("sum, never trained", "difference, never trained", "product")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("program")
    p.add_argument("model")
    p.add_argument("questions")
    p.add_argument("--show", action="store_true", help="print what was answered wrongly")
    a = p.parse_args()
    questions = read(a.questions)
    answers = ask(a.program, a.model, questions)
    kinds = score(questions, answers)
    if a.show:
        for q, answer in zip(questions, answers):
            if answer.strip() != q["turns"][-1][1]:
                print(f"{q['kind']}: {q['turns'][-1][0]} -> {answer} (expected {q['turns'][-1][1]})")
    print("| questions | right | asked | share |\n|---|---|---|---|")
    for kind, (right, asked) in kinds.items():
        print(f"| {kind} | {right} | {asked} | {100 * right / asked:.1f} % |")
    for name, chosen in (("facts, all kinds", is_fact), ("all", lambda kind: True)):
        right = sum(n for k, (n, _) in kinds.items() if chosen(k))
        asked = sum(n for k, (_, n) in kinds.items() if chosen(k))
        print(f"| **{name}** | {right} | {asked} | {100 * right / asked:.1f} % |")


if __name__ == "__main__":
    main()
