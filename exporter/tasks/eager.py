"""PyTorch as a row beside the bundles that ``edgesmith eval`` measures: the checkpoint that the first was made from."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ...runtime.tasks.parts import Source

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle

EAGER = "PyTorch eager"


def eager(bundle: Bundle, weights: str) -> Any:
    """The module in eval mode."""
    from ...models import create, name_recorded

    classes = int(bundle.manifest.get("num_classes") or len(bundle.labels))
    told = bundle.manifest.get("weights") or {}
    averaged = bool(told.get("ema"))  # a bundle without the entry was made of the plain weights
    name, model_args = name_recorded(bundle.manifest)
    return create(name, weights, classes, bundle.contract.size, ema=averaged, model_args=model_args)


@functools.lru_cache(maxsize=1)
def eager_once(source: Source, weights: str) -> tuple[Bundle, Any]:
    """The bundle and its module, which the parts of one evaluation share that run in this process."""
    from ...runtime.bundle.bundle import open_bundle

    bundle = open_bundle(source.place)
    return bundle, eager(bundle, weights)
