"""The log of a run as a picture: loss of the learned tokens (log scale) and held-out questions right.

    python plot.py build/run/log.jsonl loss.svg
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 640, 320, 50, 40, 20, 50
LOWEST, HIGHEST = 0.003, 10  # of the loss


def main():
    rows = [json.loads(line) for line in open(sys.argv[1])]
    rows = [r for r in rows if "loss" in r]
    most = rows[-1]["tokens"]
    inner = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(tokens):
        return LEFT + inner[0] * tokens / most

    def y_loss(loss):
        part = math.log(max(loss, LOWEST) / LOWEST) / math.log(HIGHEST / LOWEST)
        return TOP + inner[1] * (1 - part)

    def y_share(share):
        return TOP + inner[1] * (1 - share)

    def line(points, color):
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        return f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{path}"/>'

    def label(px, py, text, anchor="middle", color="#333"):
        return f'<text x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}" fill="{color}">{text}</text>'

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="11">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for loss in (0.01, 0.1, 1, 10):
        parts.append(f'<path d="M{LEFT} {y_loss(loss):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(label(LEFT - 6, y_loss(loss) + 4, f"{loss:g}", "end", "#1f5fa8"))
    for share in (0, 0.5, 1):
        parts.append(label(WIDTH - RIGHT + 6, y_share(share) + 4, f"{100 * share:.0f} %", "start", "#b0521c"))
    for i in range(5):
        parts.append(label(x(most * i / 4), HEIGHT - BOTTOM + 16, f"{most * i / 4e6:.1f} M"))
    parts.append(label(LEFT + inner[0] / 2, HEIGHT - 6, "tokens"))
    parts.append(line([(x(r["tokens"]), y_loss(r["loss"])) for r in rows], "#1f5fa8"))
    held = [(x(r["tokens"]), y_share(r["held_out"])) for r in rows if "held_out" in r]
    parts.append(line(held, "#b0521c"))
    parts.append(label(LEFT + 8, TOP + 12, "loss of answers", "start", "#1f5fa8"))
    parts.append(label(WIDTH - RIGHT - 8, TOP + 50, "held-out questions right", "end", "#b0521c"))
    open(sys.argv[2], "w").write("\n".join(parts + ["</svg>"]) + "\n")


if __name__ == "__main__":
    main()
