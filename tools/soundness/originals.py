"""The graphs that mutants are made of: six families, twenty networks of timm, and attention as people write it; traced once.

Random weights, small pictures; kept as ONNX in a folder, since tracing takes longer than everything else here.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parents[2]
TIMM = {  # name -> sides of the picture, further choices
    "resnet18": (32, {}),
    "mobilenetv3_small_050": (32, {}),
    "efficientnet_b0": (32, {}),
    "convnext_atto": (64, {}),
    "deit_tiny_patch16_224": (64, {"img_size": 64, "depth": 2}),
    "swin_tiny_patch4_window7_224": (56, {"img_size": 56, "window_size": 7, "depths": (2, 2)}),
    "pvt_v2_b0": (64, {}),
    "levit_128s": (224, {}),
    "mobilevit_xxs": (64, {}),
    "edgenext_xx_small": (64, {}),
    "beit_base_patch16_224": (64, {"img_size": 64, "depth": 2, "embed_dim": 96, "num_heads": 3}),
    "eva02_tiny_patch14_224": (56, {"img_size": 56, "depth": 2}),
    "cait_xxs24_224": (64, {"img_size": 64, "depth": 2}),
    "xcit_nano_12_p16_224": (64, {"img_size": 64, "depth": 2}),
    "mvitv2_tiny": (64, {"img_size": 64}),
    "maxvit_pico_rw_256": (64, {"img_size": 64}),
    "focalnet_tiny_srf": (64, {}),
    "poolformer_s12": (64, {}),
    "ghostnet_050": (64, {}),
    "repvit_m0_9": (64, {}),
}


def originals(folder: Path, only: str = "") -> Iterator[tuple[str, Path]]:
    """(name, file) of every graph; those that are not there yet are traced, and one that cannot be is said and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in _all().items():
        if only not in name:
            continue
        path = folder / f"{name}.onnx"
        if not path.exists():
            try:
                module, shape, is_open, outputs = make()
                _trace(module, shape, is_open, outputs, path)
            except (RuntimeError, ValueError, TypeError, ImportError) as error:
                print(f"left out: {name}: {str(error).splitlines()[0][:120]}", file=sys.stderr)
                continue
        yield name, path


def _all() -> dict[str, Callable[[], tuple[Any, tuple[int, ...], bool, tuple[str, ...]]]]:
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    import attention_forms

    from edgesmith.models.fixtures.fixtures import FIXTURES

    found: dict[str, Callable] = {}
    for spec in FIXTURES:
        for is_open in (False, True):
            found[f"{spec.name}{'-open' * is_open}"] = lambda spec=spec, is_open=is_open: _family(spec, is_open)
    for name, (size, choices) in TIMM.items():
        found[name] = lambda name=name, size=size, choices=choices: _timm(name, size, choices)
    for name in (*attention_forms.RIGHT, *attention_forms.NEAR):
        for label, batch, is_open in (("", 1, False), ("-three", 3, False), ("-open", 2, True)):
            found[f"form-{name}{label}"] = lambda name=name, batch=batch, is_open=is_open: (
                attention_forms.module(name), (batch, *attention_forms.IMAGE), is_open, ("logits",)
            )  # fmt: skip
    return found


def _family(spec: Any, is_open: bool) -> tuple[Any, tuple[int, ...], bool, tuple[str, ...]]:
    import torch

    torch.manual_seed(0)
    size = (64, 64) if spec.name == "damo_yolo_scenes" else spec.contract.size
    outputs = ("scores", "boxes") if spec.name == "damo_yolo_scenes" else ("logits",)
    return spec.build(), (2, 3, *size), is_open, outputs


def _timm(name: str, size: int, choices: dict[str, Any]) -> tuple[Any, tuple[int, ...], bool, tuple[str, ...]]:
    import timm
    import torch

    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, **choices), (2, 3, size, size), False, ("logits",)


def _trace(module: Any, shape: tuple[int, ...], is_open: bool, outputs: tuple[str, ...], path: Path) -> None:
    import onnx_ir as ir

    from edgesmith.exporter.run.nouns import Shapes
    from edgesmith.exporter.trace.trace import trace

    low, high = ((1, *shape[1:]), (4, *shape[1:])) if is_open else (shape, shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = trace(module.eval(), Shapes(low, shape, high), name=path.stem, outputs=outputs)
    draft = path.with_suffix(".part")
    onnx.save(ir.to_proto(graph.model), draft)
    draft.rename(path)
