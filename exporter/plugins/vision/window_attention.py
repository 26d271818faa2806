"""Window attention with its cut into windows inside: tokens of one window attend to each other, nothing is copied.

Paper: Ding et al., DaViT: Dual Attention Vision Transformers, arXiv:2204.03645 (spatial window attention: the windows
of Swin, arXiv:2103.14030, without shift, mask and position bias). The qkv layer has run on the whole map, padded to
multiples of the window; padded tokens take part as keys, as in the authors' code.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, Variant, for_types
from ..softmax import softmax

DIMS = (32, 16, 64)  # channels a head; 32 in every published DaViT

SCHEMA = OpSchema(
    "WindowAttention",
    inputs=(Tensor("qkv", "T", ("B", "Hm", "Wm", "3", "Hd", "D")),),
    outputs=(Tensor("y", "T", ("B", "Hm", "Wm", "Hd * D")),),
    attributes=(
        Attribute("scale", "float", None, "factor before the softmax"),
        Attribute("window", "int", 7, "rows and columns of a window; Hm and Wm are multiples of it"),
    ),
)

# (B, rows, S, columns, S, 3 Hd, D) > (3 Hd, B, rows, columns, S, S, D): seven axes, TensorRT takes eight.
# float32 inside, for the scores: their error is that of the result
BODY = """
  minus = Constant <value_ints = [-1]> ()
  one = Constant <value_ints = [1]> ()
  window_i = Constant <value_int: int = @window> ()
  side = Reshape (window_i, one)
  height = Shape <start = 1, end = 2> (qkv)
  width = Shape <start = 2, end = 3> (qkv)
  heads = Shape <start = 4, end = 5> (qkv)
  dim = Shape <start = 5, end = 6> (qkv)
  down = Div (height, side)
  across = Div (width, side)
  three = Constant <value_ints = [3]> ()
  planes = Mul (three, heads)
  channels = Mul (heads, dim)
  cut = Concat <axis = 0> (minus, down, side, across, side, planes, dim)
  x = Reshape (qkv, cut)
  x_windows = Transpose <perm = [5, 0, 1, 3, 2, 4, 6]> (x)
  tokens = Mul (side, side)
  batch = Shape <start = 0, end = 1> (qkv)
  windows_row = Mul (down, across)
  windows = Mul (batch, windows_row)
  apart = Concat <axis = 0> (three, heads, windows, tokens, dim)
  x_roles = Reshape (x_windows, apart)
  xf = Cast <to = 1> (x_roles)
  role_q = Constant <value_int = 0> ()
  role_k = Constant <value_int = 1> ()
  role_v = Constant <value_int = 2> ()
  q = Gather <axis = 0> (xf, role_q)
  k = Gather <axis = 0> (xf, role_k)
  v = Gather <axis = 0> (xf, role_v)
  k_t = Transpose <perm = [0, 1, 3, 2]> (k)
  products = MatMul (q, k_t)
  scale_f = Constant <value_float: float = @scale> ()
  scores = Mul (products, scale_f)
  attention = Softmax <axis = -1> (scores)
  y_windows = MatMul (attention, v)
  join = Concat <axis = 0> (heads, minus, down, across, side, side, dim)
  y_apart = Reshape (y_windows, join)
  y_map = Transpose <perm = [1, 2, 4, 3, 5, 0, 6]> (y_apart)
  sizes = Concat <axis = 0> (batch, height, width, channels)
  y_flat = Reshape (y_map, sizes)
  y = CastLike (y_flat, qkv)
"""


def reference(qkv: np.ndarray, *, scale: float, window: int = 7) -> np.ndarray:
    """(B, Hm, Wm, 3, Hd, D) -> (B, Hm, Wm, Hd * D); float64 inside, ValueError for a map that is not whole windows."""
    batch, height, width, _, heads, dim = qkv.shape
    if height % window or width % window:
        raise ValueError(f"a map of {height} x {width} is not cut into windows of {window} x {window}")
    y = np.empty((batch, height, width, heads * dim))
    for top in range(0, height, window):
        for left in range(0, width, window):
            here = np.s_[:, top : top + window, left : left + window]
            q, k, v = np.moveaxis(qkv[here].astype(np.float64).reshape(batch, -1, 3, heads, dim), 2, 0)
            scores = scale * np.einsum("bihd,bjhd->bhij", q, k)
            y[here] = np.einsum("bhij,bjhd->bihd", softmax(scores), v).reshape(batch, window, window, -1)
    return y.astype(qkv.dtype)


def _variants() -> tuple[Variant, ...]:
    """The 49 tokens of a 7 x 7 window are one tile of 64, in float32 two of 32; larger windows and heads take more."""
    made: tuple[Variant, ...] = ()
    for dim in DIMS:
        half, single = (32, 16) if dim == 64 else (64, 32)  # a larger tile spills
        tiles = {"float16": half, "bfloat16": half, "float32": single}
        constants = {type_: {"D": dim, "BLOCK": tile} for type_, tile in tiles.items()}
        made += for_types(constants, when=f"D == {dim}", stages=1)
    return made


OP = FusedOp(
    SCHEMA,
    summary="Attention inside each window of a padded map, straight from the packed output of the qkv layer.",
    equation="y[b, i, h] = sum_j softmax_j(scale q[b, i, h] . k[b, j, h]) v[b, j, h],  j in the window of i",
    source="arXiv:2204.03645, spatial window attention",
    body=BODY,
    reference=reference,
    kernel=Kernel(
        "window_attention:window_attention_kernel",
        grid=("(Hm // window) * (Wm // window) * cdiv(window * window, BLOCK)", "Hd", "B"),
        scalars={"rows": "Hm", "columns": "Wm", "heads": "Hd", "window": "window", "scale_bits": "scale"},
        variants=_variants(),
    ),
    wins="the plain graph copies q, k and v into windows and the result back into the map",
)
