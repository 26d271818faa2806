"""Which engines can compute the fused ops of a bundle; apart from the rest of the chapter, which few sessions need."""

from __future__ import annotations

from ..bundle.bundle import Bundle
from ..bundle.engines import ENGINES
from ..errors import BundleRefused

ROUTES = ("aot", "native")


def check_engine(bundle: Bundle, backend: str) -> None:
    """Whether this backend can compute the fused ops of the graph, said before a library says it in its own words.

    Raises:
        BundleRefused: the graph has fused ops without bodies and this is not TensorRT, or this is OpenVINO, which reads none.
    """
    rewrite, asked = bundle.manifest.get("rewrite"), bundle.manifest.get("plugins")
    fused = rewrite.get("fused") if isinstance(rewrite, dict) else None
    told = asked or fused
    route = told.get("route") if isinstance(told, dict) else None
    if route == "native" and not ENGINES[backend].plugins:
        because = (
            "its graph has fused ops and not their bodies: TensorRT with the C++ plugin runs it, and nothing else does"
        )
        attempt = "run it on the device; for another engine export again without --native-plugins"
    elif route in (*ROUTES, "function") and not ENGINES[backend].bodies:
        because = "its graph has fused ops, and OpenVINO reads neither them nor the bodies that the model carries"
        attempt = "backend='onnxruntime' runs the bodies; for OpenVINO export again with --target openvino"
    else:
        return
    raise BundleRefused(
        f"{backend} cannot run {bundle.name}",
        found=f"a bundle for target {bundle.target} with fused ops by route {route}",
        because=because,
        attempt=attempt,
    )
