"""The recurrence of RWKV-7 for training: our C++ operator on CPUs, plain PyTorch elsewhere.

Per head:  s = S z;  S = S diag(w) + s b' + v k';  y = S r  (S: value channel x key channel).
`plain` is the definition; it runs on any device and is slow. `python wkv.py` compares both.
"""

import os

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
_extension = None


def extension():
    """Compiles wkv.cpp on first use."""
    global _extension
    if _extension is None:
        from torch.utils.cpp_extension import load

        flags = ["-O3", "-march=native", "-ffast-math", "-fopenmp"]
        _extension = load("rwkv_wkv7", [os.path.join(HERE, "wkv.cpp")], extra_cflags=flags,
                          extra_ldflags=["-fopenmp"])
    return _extension


def plain(r, w, k, v, z, b):
    """All (batch, time, head, N)."""
    B, T, H, N = r.shape
    S = torch.zeros(B, H, N, N, device=r.device, dtype=r.dtype)
    out = []
    for t in range(T):
        s = S @ z[:, t, :, :, None]
        S = S * w[:, t, :, None, :] + s @ b[:, t, :, None, :] + v[:, t, :, :, None] @ k[:, t, :, None, :]
        out.append((S @ r[:, t, :, :, None])[..., 0])
    return torch.stack(out, 1)


@torch.library.custom_op("rwkv::wkv7", mutates_args=())
def wkv7(r: torch.Tensor, w: torch.Tensor, k: torch.Tensor, v: torch.Tensor, z: torch.Tensor,
         b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    y, states = extension().forward(*[x.contiguous() for x in (r, w, k, v, z, b)])
    return y, states


@wkv7.register_fake
def _(r, w, k, v, z, b):
    B, T, H, N = r.shape
    return torch.empty_like(r, memory_format=torch.contiguous_format), r.new_empty(B, H, (T + 15) // 16, N, N)


@torch.library.custom_op("rwkv::wkv7_backward", mutates_args=())
def wkv7_backward(dy: torch.Tensor, states: torch.Tensor, r: torch.Tensor, w: torch.Tensor,
                  k: torch.Tensor, v: torch.Tensor, z: torch.Tensor, b: torch.Tensor
                  ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor,
                             torch.Tensor]:
    g = extension().backward(*[x.contiguous() for x in (dy, states, r, w, k, v, z, b)])
    return tuple(g)


@wkv7_backward.register_fake
def _(dy, states, r, w, k, v, z, b):
    return tuple(torch.empty_like(r, memory_format=torch.contiguous_format) for _ in range(6))


def _setup(ctx, inputs, output):
    ctx.save_for_backward(output[1], *inputs)


def _backward(ctx, dy, dstates):
    return wkv7_backward(dy, *ctx.saved_tensors)


wkv7.register_autograd(_backward, setup_context=_setup)


def recurrence(r, w, k, v, z, b):
    if r.device.type == "cpu":
        return wkv7(r, w, k, v, z, b)[0]
    return plain(r, w, k, v, z, b)


def check():
    torch.manual_seed(1)
    shape = (2, 37, 3, 64)
    r, w, k, v, z, b, dy = (torch.randn(shape) for _ in range(7))
    w = 0.55 + 0.45 * torch.sigmoid(w)
    z = torch.nn.functional.normalize(z, dim=-1)
    b = -z * torch.sigmoid(b)
    ours = [x.clone().requires_grad_() for x in (r, w, k, v, z, b)]
    theirs = [x.double().clone().requires_grad_() for x in (r, w, k, v, z, b)]
    y, y64 = recurrence(*ours), plain(*theirs)
    y.backward(dy)
    y64.backward(dy.double())
    worst = ((y - y64).abs().max() / y64.abs().max()).item()
    for name, a, c in zip("rwkvzb", ours, theirs):
        worst = max(worst, ((a.grad - c.grad).abs().max() / c.grad.abs().max()).item())
    print(f"wkv: largest relative difference of output and gradients {worst:.2g}")
    assert worst < 1e-5, "the operator differs from its definition"


if __name__ == "__main__":
    check()
