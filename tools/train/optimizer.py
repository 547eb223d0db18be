"""Muon for the hidden matrices: momentum, made orthogonal by five Newton-Schulz steps.

The matrices are dealt out over the processes; each makes its own and all exchange the results.
"""

import torch
import torch.distributed as dist


def orthogonal(g, steps=5):
    """Singular values near 1, the same singular vectors. The polynomial is the usual quintic."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16()
    flip = x.shape[0] > x.shape[1]
    if flip:
        x = x.t()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        s = x @ x.t()
        x = a * x + (b * s + c * s @ s) @ x
    return (x.t() if flip else x).float()


class Muon:
    def __init__(self, parameters, momentum=0.95):
        self.parameters, self.momentum = list(parameters), momentum
        self.moments = [torch.zeros_like(p) for p in self.parameters]
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.ranks = dist.get_world_size() if dist.is_initialized() else 1

    @torch.no_grad()
    def step(self, rate, decay):
        updates = torch.zeros(sum(p.numel() for p in self.parameters))
        at = 0
        for i, (p, m) in enumerate(zip(self.parameters, self.moments)):
            if i % self.ranks == self.rank:
                m.lerp_(p.grad, 1 - self.momentum)
                update = orthogonal(p.grad.lerp(m, self.momentum))
                scale = max(1, p.shape[0] / p.shape[1]) ** 0.5
                updates[at : at + p.numel()] = (update * scale).view(-1)
            at += p.numel()
        if self.ranks > 1:
            dist.all_reduce(updates)
        at = 0
        for p in self.parameters:
            p.mul_(1 - rate * decay)
            p.add_(updates[at : at + p.numel()].view_as(p), alpha=-rate)
            at += p.numel()
