"""Rounding that looks at the data: the codes of a weight that keep the *output* of a layer, not each weight by itself.

    y = x W^T,  x (tokens, K),  W (N, K),  H = E[x x^T] (K, K)       error of row n:  d_n H d_n^T,  d = dequantised - W

Rounding one weight down and a correlated one up costs less than two roundings to nearest.  Two steps, both in numpy:

- the columns are rounded in order and each one's error is pushed into those not yet rounded, with the inverse of H
  (Frantar et al., GPTQ, arXiv:2210.17323); the scale of a block is chosen when its first column is reached;
- then every code in turn moves to where the error of its row is least, the others held (coordinate descent, which never
  makes a row worse).

Rows are independent, so each keeps the best of all that was tried, plain rounding included: never worse than nearest.
"""

from __future__ import annotations

import numpy as np

from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP16, INT4
from ..nouns import WeightScales
from ..precisions import PRECISIONS, Codes
from .blocks import Grid, choose_scales, from_rows, int4_grid, to_rows
from .nvfp4 import BLOCK, fp4_grid, outer_scale, pack

DAMPING = 0.01  # of the mean of H's diagonal, added to it: the value of the paper
COLUMNS = 128  # rounded before what is left of the matrix is touched once; every block divides it
SWEEPS = 2  # of the second step; the third gains less than a tenth of what the first did
Rounded = tuple[np.ndarray, np.ndarray]  # codes (N, K) and scales (N, K / block), as floats


def round_to_data(
    array: np.ndarray, in_axis: int, moments: np.ndarray, *, block: int, precision: str = INT4, rule: str = "mse",
    low: str = FP16,
) -> WeightScales:  # fmt: skip
    """Codes of ``array`` (int4 or nvfp4) in blocks along ``in_axis``; ``moments`` is E[x x^T] (K, K) of the input.

    Raises:
        EdgesmithError: the moments are not those of this input, or not finite.
    """
    rows = to_rows(array, in_axis)  # (N, K)
    hessian = damped(moments, rows.shape[1])
    two_levels = PRECISIONS[precision].codes is Codes.E2M1
    outer = outer_scale(array) if two_levels else 1.0
    grid, block = (fp4_grid(outer), BLOCK) if two_levels else (int4_grid(low), block)
    tried = [_plain(rows, block, grid, rule, importance) for importance in (None, hessian.diagonal())]
    tried.append(_descend(rows, hessian, _pushed(rows, hessian, block, grid, rule), grid))
    best = np.stack([row_errors(rows, hessian, found) for found in tried]).argmin(axis=0)  # (N,)
    codes, scale = (np.stack(parts)[best, np.arange(len(rows))] for parts in zip(*tried, strict=True))
    why = f"{rule}, rounded to the data"
    if two_levels:
        return pack(array, in_axis, codes, scale, outer, why)
    return from_rows(array, in_axis, codes, scale, why)


def damped(moments: np.ndarray, size: int) -> np.ndarray:
    """H, symmetric and positive: directions that the few pictures did not show count a little too."""
    hessian = np.asarray(moments, np.float64)
    if hessian.shape != (size, size) or not np.isfinite(hessian).all():
        raise EdgesmithError(
            "These are no second moments of the input",
            found=f"shape {hessian.shape}" + ("" if np.isfinite(hessian).all() else ", not finite"),
            expected=f"({size}, {size}), finite",
        )
    return (hessian + hessian.T) / 2 + (DAMPING * hessian.diagonal().mean() + 1e-12) * np.eye(size)


def row_errors(rows: np.ndarray, hessian: np.ndarray, found: Rounded) -> np.ndarray:
    """(N,): mean squared error that the codes make in each output."""
    delta = found[0] * _steps(found) - rows
    return np.einsum("nk,nk->n", delta @ hessian, delta)


def _steps(found: Rounded) -> np.ndarray:
    """The scale of every code (N, K)."""
    codes, scale = found
    return np.repeat(scale.astype(np.float64), codes.shape[1] // scale.shape[1], axis=1)


def _plain(rows: np.ndarray, block: int, grid: Grid, rule: str, importance: np.ndarray | None) -> Rounded:
    scale = choose_scales(rows, block, grid, rule, importance)
    return grid.nearest(rows / np.repeat(scale, block, axis=1)), scale


def _pushed(rows: np.ndarray, hessian: np.ndarray, block: int, grid: Grid, rule: str) -> Rounded:
    """Column after column, errors pushed to the right."""
    rows = rows.copy()
    size = rows.shape[1]
    factor = np.linalg.cholesky(np.linalg.inv(hessian)).T  # upper: row j holds how the error of column j spreads
    codes, scale = np.zeros_like(rows), np.zeros((len(rows), size // block))
    for start in range(0, size, COLUMNS):
        end = min(start + COLUMNS, size)
        errors = np.zeros((len(rows), end - start))
        for column in range(start, end):
            if column % block == 0:
                here = slice(column, column + block)
                scale[:, column // block] = choose_scales(rows[:, here], block, grid, rule, hessian.diagonal()[here])[
                    :, 0
                ]
            step = scale[:, column // block]
            codes[:, column] = grid.nearest(rows[:, column] / step)
            error = (rows[:, column] - codes[:, column] * step) / factor[column, column]
            rows[:, column + 1 : end] -= np.outer(error, factor[column, column + 1 : end])
            errors[:, column - start] = error
        rows[:, end:] -= errors @ factor[start:end, end:]
    return codes, scale


def _descend(rows: np.ndarray, hessian: np.ndarray, found: Rounded, grid: Grid) -> Rounded:
    """Every code moves to its best value while the others stay, ``SWEEPS`` times over all columns."""
    codes, steps, curve = found[0].copy(), _steps(found), hessian.diagonal()
    slope = (codes * steps - rows) @ hessian  # half the gradient of each row's error, (N, K)
    for _ in range(SWEEPS):
        for start in range(0, rows.shape[1], COLUMNS):
            group = slice(start, start + COLUMNS)
            before, near = codes[:, group].copy(), slope[:, group].copy()
            inside, step = hessian[group, group], steps[:, group]
            for column in range(inside.shape[0]):
                old = codes[:, start + column]
                new = grid.nearest(old - near[:, column] / (curve[start + column] * step[:, column]))
                near += np.outer((new - old) * step[:, column], inside[column])
                codes[:, start + column] = new
            slope += ((codes[:, group] - before) * step) @ hessian[group]
    return codes, found[1]
