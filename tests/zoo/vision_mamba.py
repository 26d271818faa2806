"""Vision Mamba: a selective state space reads the tokens forwards and backwards.

Papers: Zhu et al., Vision Mamba, arXiv:2401.09417; Gu and Dao, Mamba, arXiv:2312.00752; products by chunks as in Dao and Gu,
Transformers are SSMs, arXiv:2405.21060.

    h_t = exp(D_t A) h_{t-1} + D_t B_t x_t;   y_t = C_t h_t + S x_t

A graph with a step for every token would be a Loop of N. Inside a chunk of c tokens, with L the running sum of D A,

    y_t = C_t exp(L_t) h + sum over s <= t of C_t exp(L_t - L_s) D_s B_s x_s;   h' = exp(L_c) h + sum over s of exp(L_c - L_s) D_s B_s x_s

so that only N / c steps follow one another, and they are written out.
"""

import torch
from torch import Tensor, nn


class SelectiveScan(nn.Module):
    """(B, N, E) -> (B, N, E), N a multiple of the chunk; the state is E x n."""

    upto: Tensor

    def __init__(self, dim: int, state: int, chunk: int) -> None:
        super().__init__()
        self.state, self.chunk = state, chunk
        self.step, self.bc = nn.Linear(dim, dim), nn.Linear(dim, 2 * state, bias=False)
        self.log_a = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(dim, 1))  # (E, n)
        self.skip = nn.Parameter(torch.ones(dim))
        self.register_buffer("upto", torch.ones(chunk, chunk).tril().bool()[None, :, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        delta = nn.functional.softplus(self.step(x))  # (B, N, E)
        before, after = self.bc(x).split(self.state, dim=-1)  # B and C, (B, N, n) each
        decay = delta.unsqueeze(-1) * -self.log_a.exp()  # (B, N, E, n)
        fed = (delta * x).unsqueeze(-1) * before.unsqueeze(-2)  # (B, N, E, n)
        carried, told = torch.zeros_like(fed[:, 0]), []  # (B, E, n)
        parts = (part.split(self.chunk, dim=1) for part in (decay, fed, after))
        for decay_, fed_, after_ in zip(*parts, strict=True):
            run = decay_.cumsum(1)  # (B, c, E, n)
            apart = run.unsqueeze(2) - run.unsqueeze(1)  # (B, t, s, E, n)
            weights = torch.where(self.upto, apart, -torch.inf).exp()
            state = (weights * fed_.unsqueeze(1)).sum(2) + run.exp() * carried.unsqueeze(1)  # (B, t, E, n)
            told.append((state * after_.unsqueeze(-2)).sum(-1))  # (B, c, E)
            carried = state[:, -1]
        return torch.cat(told, dim=1) + self.skip * x


class MambaBlock(nn.Module):
    """(B, N, C) -> (B, N, C)."""

    def __init__(self, dim: int, state: int, chunk: int) -> None:
        super().__init__()
        self.norm, self.inside, self.outside = nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.Linear(2 * dim, dim)
        self.convs = nn.ModuleList(nn.Conv1d(2 * dim, 2 * dim, 4, padding=3, groups=2 * dim) for _ in range(2))
        self.scans = nn.ModuleList(SelectiveScan(2 * dim, state, chunk) for _ in range(2))

    def _way(self, x: Tensor, index: int) -> Tensor:
        mixed = self.convs[index](x.transpose(1, 2))[..., : x.shape[1]]  # causal
        return self.scans[index](nn.functional.silu(mixed).transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        inner, gate = self.inside(self.norm(x)).chunk(2, dim=-1)  # (B, N, E) each
        both = self._way(inner, 0) + self._way(inner.flip(1), 1).flip(1)
        return x + self.outside(both * nn.functional.silu(gate))


class VisionMamba(nn.Module):
    """(B, 3, H, W) -> (B, classes)."""

    def __init__(self, dim: int, state: int, chunk: int, num_classes: int) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 8, stride=8)
        self.block = MambaBlock(dim, state, chunk)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)  # (B, N, C)
        return self.head(self.norm(self.block(x)).mean(1))


def make(num_classes: int = 10) -> nn.Module:
    return VisionMamba(dim=16, state=4, chunk=8, num_classes=num_classes)
