"""Dilated depthwise convolution as one op: the 7 x 7 of dilation 3 that is the long reach of large-kernel attention.

Paper: Guo et al., Visual Attention Network, arXiv:2202.09741, section 3.1. A candidate: no pass makes such a node until a GPU
has shown that a library's own convolution is slower. Stride 1, zeros around the picture, as many outputs as inputs.
"""

from __future__ import annotations

import numpy as np

from ....runtime.plugins.schema import TYPES, Attribute, OpSchema, Tensor
from ..declaration import FusedOp, Kernel, for_types

PICTURE = ("B", "channels", "H", "W")
SCHEMA = OpSchema(
    "DilatedDepthwiseConv",
    inputs=(
        Tensor("x", "T", PICTURE),
        Tensor("w", "T", ("channels", "1", "K", "K")),
        Tensor("b", "T", ("channels",)),
    ),
    outputs=(Tensor("out", "T", PICTURE),),
    attributes=(
        Attribute("dilation", "int", None, "rows and columns from one weight to the next"),
        Attribute("channels", "int", None, "of x; the body's Conv needs its number of groups as an attribute"),
    ),
)

# A function cannot make Conv's list of dilations from one number. So the pictures of equal remainders, y % dilation and
# x % dilation, become a batch: each is a dense convolution.
BODY = """
  d_i = Constant <value_int: int = @dilation> ()
  one = Constant <value_ints = [1]> ()
  d = Reshape (d_i, one)
  size = Shape <start = 2, end = 4> (x)
  shape = Shape (x)
  grow = Sub (d, one)
  size_up = Add (size, grow)
  small = Div (size_up, d)
  padded_size = Mul (small, d)
  missing = Sub (padded_size, size)
  none = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
  pads = Concat <axis = 0> (none, missing)
  padded = Pad <mode = "constant"> (x, pads)
  same = Constant <value_ints = [0, 0]> ()
  rest = Constant <value_ints = [-1]> ()
  h, w_1 = Split <axis = 0, num_outputs = 2> (small)
  channels_i = Constant <value_int: int = @channels> ()
  channels_1 = Reshape (channels_i, one)
  batch_1 = Shape <start = 0, end = 1> (x)
  split_shape = Concat <axis = 0> (batch_1, channels_1, h, d, w_1, d)
  split = Reshape (padded, split_shape)
  apart = Transpose <perm = [3, 5, 0, 1, 2, 4]> (split)
  many_shape = Concat <axis = 0> (rest, channels_1, small)
  many = Reshape (apart, many_shape)
  dense = Conv <auto_pad = "SAME_UPPER", group: int = @channels> (many, w, b)
  apart_shape = Concat <axis = 0> (d, d, batch_1, channels_1, small)
  dense_apart = Reshape (dense, apart_shape)
  woven = Transpose <perm = [2, 3, 4, 0, 5, 1]> (dense_apart)
  whole_shape = Concat <axis = 0> (batch_1, channels_1, padded_size)
  whole = Reshape (woven, whole_shape)
  axes = Constant <value_ints = [2, 3]> ()
  out = Slice (whole, same, size, axes)
"""


def reference(x: np.ndarray, w: np.ndarray, b: np.ndarray, *, dilation: int, channels: int) -> np.ndarray:
    """(B, C, H, W), (C, 1, K, K), (C,) -> (B, C, H, W); float64 inside.

    Raises:
        ValueError: K is even: the outputs would lie between the inputs.
    """
    k = w.shape[-1]
    if k % 2 == 0:
        raise ValueError(f"DilatedDepthwiseConv: a filter of {k} x {k} has no middle")
    height, width = x.shape[2:]
    border = dilation * (k // 2)
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (border, border), (border, border)))
    out = np.zeros(x.shape) + b.astype(np.float64)[:, None, None]
    for ky in range(k):
        for kx in range(k):
            top, left = ky * dilation, kx * dilation
            out += padded[:, :, top : top + height, left : left + width] * w[:, :, ky, kx, None].astype(np.float64)
    return out.astype(x.dtype)


KERNEL = Kernel(
    "dilated_depthwise_conv:dilated_depthwise_conv_kernel",
    grid=("cdiv(channels * W * cdiv(cdiv(H, dilation), ROWS) * dilation, BLOCK)", "B", "1"),
    scalars={"channels": "channels", "height": "H", "width": "W", "dilation": "dilation"},
    # 5 rows: with dilation 3 they divide VAN's pictures of 56, 28, 14 and 7 rows with few to spare
    variants=(
        *for_types({type_: {"K": 7, "ROWS": 5, "BLOCK": 128} for type_ in TYPES}, when="K == 7"),
        *for_types({type_: {"K": 5, "ROWS": 5, "BLOCK": 128} for type_ in TYPES}, when="K == 5"),
    ),
)
OP = FusedOp(
    SCHEMA,
    summary="Depthwise convolution with dilation, stride 1, zeros around the picture.",
    equation="out[b, c, y, x] = bias[c] + sum_ij w[c, i, j] x[b, c, y + (i - K // 2) dilation, x + (j - K // 2) dilation]",
    source="arXiv:2202.09741, section 3.1",
    body=BODY,
    reference=reference,
    kernel=KERNEL,
    wins="a candidate, and no pass uses it until a GPU has shown that it beats a library's own Conv",
)
