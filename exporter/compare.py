"""``edgesmith compare A B``: two bundles, ONNX files or models by name, on the same inputs; A is the judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..models.registry import find
from ..runtime.bundle import open_bundle
from ..runtime.errors import UserMistake
from ..runtime.preprocess import ImageContract, preprocess
from . import arguments, verify
from .jump import first_jump
from .parity import session_runner
from .pictures import pictures
from .verify import Runner


@dataclass(frozen=True)
class Side:
    """One of the two: how to run it, the input it wants, and its graph file where it has one."""

    name: str
    run: Runner
    shape: tuple[int | str, ...]
    contract: ImageContract | None
    graph: Path | None
    close: Callable[[], None]


def compare(
    first: str,
    second: str,
    *,
    weights: str = "random",
    num_classes: int | None = None,
    precision: str = "fp32",
    data: str | None = None,
) -> dict[str, Any]:
    """Rows of agreement on seeded numbers and on pictures, and for two graphs the first node that differs.

    Raises UserMistake when one of the two cannot be opened or their inputs do not fit each other.
    """
    limit = arguments.precision(precision)
    judge = _open(first, weights, num_classes)
    other = _open(second, weights, num_classes)
    try:
        shape = _common_shape(judge, other)
        contract = judge.contract or other.contract or ImageContract(size=(shape[2], shape[3]))
        inputs = {"seeded": verify.seeded(shape)}
        if paths := [picture.path for picture in pictures(data)]:
            inputs["pictures"] = preprocess(paths, replace(contract, size=(shape[2], shape[3])))
        rows = []
        for kind, images in inputs.items():
            expected, found = (verify.run_all(side.run, images, shape[0]) for side in (judge, other))
            if expected.shape != found.shape:
                raise UserMistake(
                    "The two do not have the same outputs",
                    found=f"{first}: {expected.shape[1]} classes, {second}: {found.shape[1]}",
                    expected="the same number of classes",
                    attempt="--num-classes, where one of the two is the name of a model",
                )
            rows.append(verify.agreement("second", Path(other.name).name, kind, shape, expected, found, limit))
        difference = ""
        if judge.graph and other.graph and any(row.max_abs > 0 for row in rows):
            difference = str(_difference(judge.graph, other.graph, inputs["seeded"], limit) or "")
    finally:
        judge.close()
        other.close()
    return {
        "first": first,
        "second": second,
        "rows": [row.to_json() for row in rows],
        "agree": all(row.passed for row in rows),
        "first_difference": difference,
    }


def _difference(judge: Path, other: Path, images: np.ndarray, precision: str) -> Any:
    import onnx_ir

    return first_jump(onnx_ir.load(judge), onnx_ir.load(other), images, precision)


def _common_shape(judge: Side, other: Side) -> tuple[int, int, int, int]:
    """The one input shape that both take: a fixed size wins over an open one."""
    usual = (1, 3, 224, 224)
    sizes = []
    for ours, theirs, default in zip(judge.shape, other.shape, usual, strict=True):
        fixed = {size for size in (ours, theirs) if isinstance(size, int)}
        if len(fixed) > 1:
            raise UserMistake(
                "The two do not take the same input",
                found=f"{judge.name}: {arguments.spell(judge.shape)}, {other.name}: {arguments.spell(other.shape)}",
                expected="the same sizes, or open ones",
                attempt="export both with the same --image-size and --batch",
            )
        sizes.append(fixed.pop() if fixed else default)
    return (sizes[0], sizes[1], sizes[2], sizes[3])


def _open(name: str, weights: str, num_classes: int | None) -> Side:
    path = Path(name)
    if path.is_dir():
        return _open_bundle(path)
    if path.is_file():
        return _open_graph(path)
    if path.suffix in (".onnx", ".edge") or "/" in name:
        raise UserMistake(
            f"There is nothing at {name}",
            found="no file and no folder at that path",
            expected="a bundle, an ONNX file, or the name of a model",
            attempt="check the path; edgesmith list prints the names of the models",
        )
    return _open_model(name, weights, num_classes)


def _open_bundle(path: Path) -> Side:
    from ..runtime.load import load

    bundle = open_bundle(path)
    session = load(bundle)
    (spec,) = bundle.manifest["inputs"]
    return Side(str(path), session_runner(session), tuple(spec["shape"]), bundle.contract, bundle.graph, session.close)


def _open_graph(path: Path) -> Side:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 ONNX Runtime raises a dozen types for a file it cannot read
        raise UserMistake(
            f"{path} cannot be opened as an ONNX file",
            found=str(error).splitlines()[0][:200],
            expected="an ONNX graph that ONNX Runtime can load",
            attempt="edgesmith inspect, or export it again",
        ) from None
    taken, given = session.get_inputs(), session.get_outputs()
    if len(taken) != 1 or len(taken[0].shape) != 4:
        raise UserMistake(
            f"{path} is not an image classifier",
            found=f"inputs {[(one.name, one.shape) for one in taken]}",
            expected="one input of shape batch x 3 x height x width",
            attempt="compare files of classifiers",
        )

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(session.run([given[0].name], {taken[0].name: images})[0], np.float32)

    return Side(str(path), run, tuple(taken[0].shape), None, path, lambda: None)


def _open_model(name: str, weights: str, num_classes: int | None) -> Side:
    from ..models import create

    spec = find(name)
    module = create(spec.name, weights, num_classes)
    shape = ("batch", 3, *spec.contract.size)
    return Side(spec.name, verify.torch_runner(module), shape, spec.contract, None, lambda: None)
