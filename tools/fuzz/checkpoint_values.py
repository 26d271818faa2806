"""What may stand in the place of a tensor, of a recorded setting, and around a state dict; written by PyTorch itself."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from typing import Any

Random = random_module.Random


def is_plain(value: Any) -> bool:
    """Whether the value is still one that the kinds below can be made of."""
    return (
        type(value).__name__ in ("Tensor", "Parameter")
        and str(value.dtype) == "torch.float32"
        and (
            not value.is_nested
            and value.device.type == "cpu"
            and str(value.layout) == "torch.strided"
            and value.numel() < 10**6
        )
    )


KINDS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda t, v: v.to_sparse(),
    lambda t, v: t.eye(4).to_sparse_csr(),
    lambda t, v: v.to("meta"),
    lambda t, v: t.quantize_per_tensor(v.float(), 0.1, 0, t.qint8),
    lambda t, v: t.nested.nested_tensor([t.ones(2), t.ones(3)]),
    lambda t, v: t._neg_view(v.float()),
    lambda t, v: v.to(t.complex64).conj(),
    lambda t, v: v.reshape(-1)[:0] if v.ndim == 0 else v[..., :0],
    lambda t, v: t.zeros(1).expand(10**9, 10),
    lambda t, v: t.tensor(0.0).expand(v.shape),
    lambda t, v: t.zeros(3, 0, 7),
    lambda t, v: v.to(t.float8_e4m3fn),
    lambda t, v: v.to(t.int64),
    lambda t, v: v.double() * 1e300,
    lambda t, v: v * float("nan"),
    lambda t, v: t.tensor(3.0),
    lambda t, v: v.t() if v.ndim == 2 else v.flip(0),
    lambda t, v: t.arange(10.0).as_strided((3, 3), (1, 2)),
    lambda t, v: {"a": v},
    lambda t, v: None,
    lambda t, v: v.half(),
    lambda t, v: t.ones(*([1] * 40)),
)


def _deep(depth: int) -> Any:
    made: Any = 3
    for _ in range(depth):
        made = [made]
    return made


def _ring() -> Any:
    ring: dict[str, Any] = {}
    ring["again"] = ring
    return ring


VALUES: tuple[Callable[[], Any], ...] = (
    lambda: _deep(400), _ring, lambda: 10**400, lambda: -(10**5000), lambda: float("nan"), lambda: "9" * 5000, lambda: "\ud800",
    list, dict, lambda: [1, "a", None], lambda: {"0": "a", "1": 3}, lambda: {1e400: 2}, lambda: True, lambda: b"x",
    lambda: [1e308, 1e-320, 0.5], lambda: (0, 0, 0), lambda: 10**9, lambda: {"IMG_SIZE": 10**7, "MEAN": "a"}, lambda: "x" * 100_000,
    lambda: {"a": 999_999}, lambda: 0, lambda: -5, lambda: [28, 28.5], lambda: {(1, 2): 3},
)  # fmt: skip
SHAPES: tuple[Callable[[Random, dict[Any, Any]], dict[Any, Any]], ...] = (
    lambda r, c: {r.choice(("model", "net", "a.b", "ema", "", "params")): c},
    lambda r, c: {**c, "model_ema": c.get("state_dict")},
    lambda r, c: {**c, "other": c.get("state_dict"), "state_dict": 3},
    lambda r, c: {f"{r.choice(('x.', '.', '..', '_orig_mod.'))}{k}": v for k, v in c.items()},
    lambda r, c: {**c, "again": c},
    lambda r, c: {k: v for k, v in c.items() if r.random() < 0.5},
    lambda r, c: {
        **c,
        "state_dict": {3: 4, None: 5, **(c.get("state_dict") if isinstance(c.get("state_dict"), dict) else {})},
    },
)
