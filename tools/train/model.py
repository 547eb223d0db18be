"""RWKV-7 for training, with the names and shapes of the author's checkpoints.

tokens (batch, time) -> logits of chosen positions. Rows start from a zero state.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from wkv import recurrence

HEAD = 64
GROUP_EPS = 64e-5


def shift(x):
    """The token before, zero in front of the first."""
    return F.pad(x, (0, 0, 1, -1))


class Product(torch.autograd.Function):
    """x Wᵀ in bfloat16, three products in all; in and out are float32. Twice as fast on CPUs that have it."""

    @staticmethod
    def forward(ctx, x, weight):
        xb, wb = x.reshape(-1, x.shape[-1]).bfloat16(), weight.bfloat16()
        ctx.save_for_backward(xb, wb)
        return (xb @ wb.t()).float().view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, g):
        xb, wb = ctx.saved_tensors
        gb = g.reshape(-1, g.shape[-1]).bfloat16()
        return (gb @ wb).float().view(*g.shape[:-1], -1), (gb.t() @ xb).float()


class Linear(nn.Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, bias=False)

    def forward(self, x):
        return Product.apply(x, self.weight) if self.training else F.linear(x, self.weight)


def add_low_rank(owner, name, D, rank):
    """x W1, an activation, W2: matrices as (in, out), as the checkpoints have them."""
    owner.register_parameter(name + "1", nn.Parameter(torch.zeros(D, rank)))
    second = torch.empty(rank, D)
    nn.init.orthogonal_(second, gain=0.1 * max(1, math.sqrt(rank / D)))
    owner.register_parameter(name + "2", nn.Parameter(second))


class TimeMix(nn.Module):
    def __init__(self, layer, layers, D, ranks):
        super().__init__()
        self.layer, self.H = layer, D // HEAD
        depth = layer / max(1, layers - 1)  # 0 to 1
        rest = 1 - layer / layers  # 1 to almost 0
        i = torch.arange(D) / D
        for name, power in (("r", 0.2), ("w", 0.9), ("k", 0.7), ("v", 0.7), ("a", 0.9), ("g", 0.2)):
            self.register_parameter("x_" + name, nn.Parameter((1 - i ** (power * rest)).view(1, 1, D)))
        n = torch.arange(D)
        within = (n % HEAD - (HEAD - 1) / 2) / ((HEAD - 1) / 2)
        zigzag = within * within.abs()
        speed = -6 + 6 * (n / (D - 1)) ** (1 + depth ** 0.3)
        self.w0 = nn.Parameter((speed + 0.5 + zigzag * 2.5).view(1, 1, D))
        self.a0 = nn.Parameter((-0.19 + zigzag * 0.3 + (n / (D - 1) - 0.5) * 0.4).view(1, 1, D))
        add_low_rank(self, "w", D, ranks["w"])
        add_low_rank(self, "a", D, ranks["a"])
        add_low_rank(self, "g", D, ranks["g"])
        if layer > 0:
            self.v0 = nn.Parameter((0.73 - (n / (D - 1) - 0.5) * 0.4).view(1, 1, D))
            add_low_rank(self, "v", D, ranks["v"])
        self.k_k = nn.Parameter((0.71 - (n / (D - 1) - 0.5) * 0.1).view(1, 1, D))
        self.k_a = nn.Parameter(torch.full((1, 1, D), 1.02))
        self.r_k = nn.Parameter(torch.full((self.H, HEAD), -0.04))
        self.receptance = Linear(D, D)
        self.key = Linear(D, D)
        self.value = Linear(D, D)
        self.output = Linear(D, D)
        nn.init.uniform_(self.receptance.weight, -0.5 / D ** 0.5, 0.5 / D ** 0.5)
        nn.init.uniform_(self.key.weight, -0.05 / D ** 0.5, 0.05 / D ** 0.5)
        nn.init.uniform_(self.value.weight, -0.5 / D ** 0.5, 0.5 / D ** 0.5)
        nn.init.zeros_(self.output.weight)
        self.ln_x = nn.GroupNorm(self.H, D, eps=GROUP_EPS)
        nn.init.constant_(self.ln_x.weight, ((1 + layer) / layers) ** 0.7)

    def before(self, x, v_first):
        """Everything up to the recurrence."""
        B, T, D = x.shape
        heads = (B, T, self.H, HEAD)
        dx = shift(x) - x
        r = self.receptance(x + dx * self.x_r)
        k = self.key(x + dx * self.x_k)
        xv = x + dx * self.x_v
        v = self.value(xv)
        w = self.w0 + (torch.tanh((x + dx * self.x_w) @ self.w1) @ self.w2)
        w = torch.exp(-math.exp(-0.5) * torch.sigmoid(w))
        a = torch.sigmoid(self.a0 + ((x + dx * self.x_a) @ self.a1 @ self.a2))
        g = torch.sigmoid((x + dx * self.x_g) @ self.g1) @ self.g2
        if self.layer == 0:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(self.v0 + (xv @ self.v1 @ self.v2))
        kk = (k * self.k_k).view(heads)
        kk = kk * torch.rsqrt((kk * kk).sum(-1, keepdim=True) + 1e-12)
        k = k * (1 + (a - 1) * self.k_a)
        r, w, k, v = (t.view(heads) for t in (r, w, k, v))
        return r, w, k, v, -kk, kk * a.view(heads), g, v_first

    def after(self, y, r, k, v, g):
        B, T, H, N = y.shape
        m = y.mean(-1, keepdim=True)
        d = y - m
        y = d * torch.rsqrt((d * d).mean(-1, keepdim=True) + GROUP_EPS)
        y = y * self.ln_x.weight.view(H, N) + self.ln_x.bias.view(H, N)
        y = y + (r * k * self.r_k).sum(-1, keepdim=True) * v
        return self.output(y.view(B, T, H * N) * g)


class ChannelMix(nn.Module):
    def __init__(self, layer, layers, D, width):
        super().__init__()
        rest = 1 - layer / layers
        self.x_k = nn.Parameter((1 - (torch.arange(D) / D) ** (rest ** 4)).view(1, 1, D))
        self.key = Linear(D, width)
        self.value = Linear(width, D)
        nn.init.uniform_(self.key.weight, -0.5 / D ** 0.5, 0.5 / D ** 0.5)
        nn.init.zeros_(self.value.weight)

    def hidden(self, x):
        return torch.relu(self.key(x + (shift(x) - x) * self.x_k)) ** 2

    def forward(self, x):
        return self.value(self.hidden(x))


class Block(nn.Module):
    def __init__(self, layer, layers, D, width, ranks):
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(D)
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.att = TimeMix(layer, layers, D, ranks)
        self.ffn = ChannelMix(layer, layers, D, width)
        self.layer = layer

    def forward(self, x, v_first):
        if self.layer == 0:
            x = self.ln0(x)
        r, w, k, v, z, b, g, v_first = self.att.before(self.ln1(x), v_first)
        y = recurrence(r, w, k, v, z, b)
        x = x + self.att.after(y, r, k, v, g)
        x = x + self.ffn(self.ln2(x))
        return x, v_first


class Model(nn.Module):
    def __init__(self, vocab, D, layers, width, ranks):
        super().__init__()
        self.emb = nn.Embedding(vocab, D)
        self.blocks = nn.ModuleList(Block(i, layers, D, width, ranks) for i in range(layers))
        self.ln_out = nn.LayerNorm(D)
        self.head = Linear(D, vocab)
        nn.init.uniform_(self.emb.weight, -1e-4, 1e-4)
        nn.init.orthogonal_(self.head.weight, gain=0.5 * math.sqrt(max(1, vocab / D)))

    def features(self, tokens):
        x, v_first = self.emb(tokens), None
        for block in self.blocks:
            x, v_first = (block if self.training else block.forward)(x, v_first)
        return self.ln_out(x)

    def forward(self, tokens):
        return self.head(self.features(tokens))
