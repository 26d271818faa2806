"""What a grounding export made -> the files and the manifest of its bundle: several graphs, shared weights, tokenizer, golden file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...runtime.bundle.golden import GOLDEN, golden_bytes
from ...runtime.session.pixels import prepared
from ...runtime.tasks.grounding import resize
from ...runtime.tasks.grounding.facts import KEY
from ...runtime.tasks.grounding.regions import THRESHOLD
from ...runtime.tasks.grounding.words import batch
from ..bundle.pack import engine
from .write import WrittenGraph

if TYPE_CHECKING:
    from ...models.folders.folder import ModelFolder
    from ..plan.plan import Plan

TOKENIZER = "tokenizer.json"
MOST_TOKENS = 1024  # of an instruction with its template, in engines that ask for a limit


@dataclass(frozen=True)
class Golden:
    """One drawn screen, instructions as ids, and PyTorch's scores of them."""

    picture: np.ndarray
    rows: tuple[tuple[int, ...], ...]
    scores: np.ndarray

    def content(self, plan: Plan) -> bytes:
        tokens, lengths = batch(self.rows)
        outputs = {"scores": self.scores.astype(np.float32)}
        return golden_bytes(
            {"tokens": tokens, "lengths": lengths}, outputs, self.picture, prepared(self.picture, plan.contract)
        )


@dataclass(frozen=True)
class MadeGrounding:
    """Graphs in the order of the manifest, files of weights, and what the writing found out."""

    graphs: tuple[WrittenGraph, ...]
    weights: tuple[Path, ...]
    engines: dict[str, tuple[dict[str, Any], ...]]
    files: dict[str, Path]
    notes: tuple[str, ...]


def files(plan: Plan, folder: ModelFolder, made: MadeGrounding, golden: Golden) -> dict[str, bytes | Path]:
    """The files of the bundle by their name in it."""
    found: dict[str, bytes | Path] = {graph.path.name: graph.path for graph in made.graphs}
    for graph in made.graphs:
        found |= graph.bundled
    found |= {path.name: path for path in made.weights}
    found |= made.files
    return {**found, TOKENIZER: folder.tokenizer_json, GOLDEN: golden.content(plan)}


def manifest(plan: Plan, folder: ModelFolder, made: MadeGrounding) -> dict[str, Any]:
    """All but parity, stages and what the self-test measured, which follow."""
    spec, main = plan.spec, made.graphs[0]
    fused: dict[str, int] = {}
    passes: dict[str, int] = {}
    after: dict[str, int] = {}
    for graph in made.graphs:
        _add(fused, graph.fused)
        _add(passes, graph.passes)
        _add(after, graph.nodes)
    return {
        "name": plan.out.name.removesuffix(".edge"),
        "model": spec.name,
        "family": spec.family,
        "variant": spec.name,
        "paper": spec.paper,
        "licence": {"code": spec.licence_code, "weights": folder.licence},
        "weights": {"source": folder.source, "sha256": folder.sha256(), "seed": plan.seed, "ema": False},
        "task": spec.task,
        "target": plan.target.name,
        **engine(plan),
        "precision": plan.precision,
        "gpu_arch": plan.gpu_arch,
        "opset": max(graph.opset for graph in made.graphs),
        "graphs": {
            graph.name: {
                "file": graph.path.name,
                "inputs": bounded(plan, folder, graph),
                "outputs": list(graph.outputs),
                "engines": list(made.engines.get(graph.name, ())),
            }
            for graph in made.graphs
        },
        "input_contract": plan.contract.to_json(),
        **grounding(plan, folder),
        "rewrite": {
            "passes": [{"name": name, "count": count, "refused": [], "seconds": 0.0} for name, count in passes.items()],
            "skipped": [],
            "nodes_before": {},
            "nodes_after": dict(sorted(after.items(), key=lambda pair: -pair[1])),
            "fused": {"route": plan.plugin_route, "ops": fused} if fused else None,
        },
        "precision_report": {
            "precision": main.precision.get("precision", plan.rest),
            "casts": sum(graph.precision.get("casts", 0) for graph in made.graphs),
            "islands": [],
        },
        "quantisation": None,
        "parity": [],
        "benchmark": None,
        "notes": list(made.notes),
    }


def grounding(plan: Plan, folder: ModelFolder) -> dict[str, Any]:
    """What the device computes with (runtime/tasks/grounding/facts.py), under the key of the task."""
    prompt, shape, rule = folder.prompt, folder.shape, plan.rule
    return {
        KEY: {
            "template": {
                "before": list(prompt.before),
                "after": list(prompt.after),
                "vision_end": prompt.vision_end,
                "pointer_start": prompt.pointer_start,
                "pointer_pad": prompt.pointer_pad,
                "image_pad": prompt.image_pad,
                "stop_words": list(prompt.stop_words),
            },
            "buckets": [
                {
                    "screen": list(one.screen),
                    "size": list(one.size),
                    "grid": list(one.grid),
                    "vision": f"vision_{one.name}",
                    "prefix": f"prefix_{one.name}",
                }
                for one in rule.buckets
            ],
            "weighting": folder.weighting.name,
            "threshold": THRESHOLD,
            "kv": {"bits": rule.kv_bits, "scheme": rule.kv_scheme, "bias_left_out": True},
            "rope": {"theta": shape.theta, "sections": list(shape.sections)},
            "layers": shape.layers,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "hidden": shape.hidden,
            "vocabulary": shape.vocabulary,
            "pixels": {
                "multiple": resize.MULTIPLE,
                "min": resize.LEAST_PIXELS,
                "max": resize.MOST_PIXELS,
                "second_max": resize.SCREEN_PIXELS,
            },
            "tokenizer": TOKENIZER,
            "licence_note": folder.licence,
        }
    }


def bounded(plan: Plan, folder: ModelFolder, graph: WrittenGraph) -> list[dict[str, Any]]:
    """The inputs of a graph; where an engine is built, its open axes have a smallest, usual and largest size."""
    if not plan.target.engine.compiled and plan.target.builds_here:
        return [dict(one) for one in graph.inputs]
    return [{**one, **shapes} for one, shapes in zip(graph.inputs, limits(plan, folder, graph.inputs), strict=True)]


def limits(plan: Plan, folder: ModelFolder, inputs: Sequence[dict[str, Any]]) -> list[dict[str, list[int]]]:
    """{"min", "opt", "max"} of each input, from the sizes that the axes may have."""
    before = len(folder.prompt.before)
    tokens = [before + one.visual_tokens for one in plan.rule.buckets]
    least = len(folder.prompt.tail(())) + 1
    sizes = {
        "batch": (1, 1, _most_batch(folder, max(tokens))),
        "tokens": (least, least + 8, MOST_TOKENS),
        "prefix": (min(tokens), max(tokens), max(tokens)),
        "groups": tuple(-(-count // 64) for count in (min(tokens), max(tokens), max(tokens))),
    }
    return [
        {
            key: [axis if isinstance(axis, int) else sizes[axis][at] for axis in one["shape"]]
            for at, key in enumerate(("min", "opt", "max"))
        }
        for one in inputs
    ]


def _most_batch(folder: ModelFolder, tokens: int) -> int:
    """Instructions at once: as many as a tensor of keys may hold values (runtime/bundle/manifest.py), eight at most."""
    from ...runtime.bundle.manifest import MAX_ELEMENTS

    shape = folder.shape
    return max(1, min(8, MAX_ELEMENTS // (shape.layers * shape.kv_heads * tokens * shape.head_dim)))


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count
