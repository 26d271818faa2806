"""PyTorch as a row beside the bundles that ``edgesmith eval`` measures: the checkpoint that the first was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...runtime.bundle.bundle import Bundle

EAGER = "PyTorch eager"


def eager(bundle: Bundle, weights: str) -> Any:
    """The module in eval mode."""
    from ...models import create

    name = str(bundle.manifest.get("model", bundle.name))
    averaged = bool(
        (bundle.manifest.get("weights") or {}).get("ema")
    )  # bundles without the entry were made of the plain weights
    return create(name, weights, len(bundle.labels), bundle.contract.size, ema=averaged)
