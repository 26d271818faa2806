"""What can be asked of an export that starts at an ONNX file, and whether the file can be read: before anything is run.

The file has its weights, its classes and its sizes; what contradicts them is refused in words.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...calibration.precisions import AUTO, QDQ_OPSET, quantised_names
from ...graph.read import is_op
from ...models.graph_file import GraphFile
from ...models.labels import numbers
from ...runtime.errors import UserMistake
from ...runtime.ground.limits import BF16, FP32
from ...runtime.plugins.schema import DOMAIN
from ..run import arguments
from ..run.foreign.read import check_beside, look_through, too_old, unsound
from ..run.nouns import AXES, Shapes

if TYPE_CHECKING:
    import onnx

    from ...models.registry import ModelSpec
    from .settings import Settings
    from .targets import Target

OPSETS_READ = range(11, 27)
LEAST_OPSET = 13  # of the passes (patterns/rewrite.py)
OPEN_BATCH = (1, 8)  # what a file with an open batch is exported for, unless --batch says otherwise
STANDARD = ("", "ai.onnx")
BY_CHANCE = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli")
HAS = {  # settings that a checkpoint has use for -> why a file has none
    "weights": "its weights are in it",
    "ema": "its weights are in it",
    "seed": "its weights are in it",
    "model_args": "its network is built already",
    "num_classes": "its classes are counted in its output",
}


def check_asked(spec: ModelSpec, asked: Settings) -> None:
    """UserMistake for a setting that a file has no use for."""
    for name, why in HAS.items():
        value = getattr(asked, name)
        if not value and value is not False:
            continue
        flag = "--" + name.replace("_", "-")
        raise UserMistake(
            f"{spec.name} takes no {flag}",
            found=f"{flag} {value}",
            expected="an ONNX file without it",
            because=why,
            attempt=f"leave {flag} out",
        )


def check_file(file: GraphFile, target: Target, precision: str) -> None:
    """UserMistake for a graph that is not sound, or that this target and precision cannot be made of."""
    path = Path(file.path)
    model, why, beside = look_through(path)
    if why:
        raise unsound(path, why)
    check_beside(path, beside)
    if file.opset < OPSETS_READ[0]:
        raise too_old(path, file.opset, OPSETS_READ[0], "before, limits and sizes are attributes")
    if file.opset > OPSETS_READ[-1]:
        raise UserMistake(
            f"{path} is written in an opset that is not read yet",
            found=f"opset {file.opset}",
            expected=f"{OPSETS_READ[0]} to {OPSETS_READ[-1]}",
            because="an operator may mean something else in an opset that came later",
            attempt="export the network in opset 20",
        )
    known = {*STANDARD, DOMAIN, *target.engine.domains, *(one.domain for one in model.functions)}
    for node in nodes_of(model):
        if node.domain not in known:
            raise _unknown(path, node, target)
        if is_op(node, BY_CHANCE):
            raise UserMistake(
                "The file computes by chance",
                found=f"{node.op_type} {node.name or node.output[0]!r}",
                expected="a network that gives the same answer twice",
                because="nothing can be held against an answer that differs from run to run",
                attempt="export the network without it, or with the numbers as an input",
            )
        if training := _trains(node, model):
            raise training
        if precision != FP32 and (inner := next((one.name for one in node.attribute if one.HasField("g")), "")):
            raise UserMistake(
                f"{path} has a graph inside a graph",
                found=f"{node.op_type} {node.name!r}, {inner}; --precision {precision}",
                expected=f"--precision {FP32} for a file with branches or loops",
                because="types are decided node by node, and control flow is not followed",
                attempt=f"--precision {FP32}, or export the network without the branch",
            )


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the graph, of graphs inside it and of functions."""
    for nodes in (model.graph.node, *(one.node for one in model.functions)):
        for node in nodes:
            yield from _with_inner(node)


def _with_inner(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    yield node
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            for inner in graph.node:
                yield from _with_inner(inner)


def _unknown(path: Path, node: onnx.NodeProto, target: Target) -> UserMistake:
    return UserMistake(
        f"Target {target.name} does not know an operator of {path}",
        found=f"{node.domain}.{node.op_type}, node {node.name or node.output[0]!r}",
        expected="operators of ONNX" + "".join(f", or of {one}" for one in sorted(target.engine.domains)),
        because="nobody here can say what it computes",
        attempt="a file that has it as a model-local function of standard operators",
    )


def _trains(node: onnx.NodeProto, model: onnx.ModelProto) -> UserMistake | None:
    """The refusal of a BatchNormalization or Dropout that is written as in training."""
    values = {one.name: one.i for one in node.attribute}
    batch_norm = is_op(node, "BatchNormalization") and (values.get("training_mode") or len(node.output) > 1)
    switch = node.input[2] if is_op(node, "Dropout") and len(node.input) > 2 else ""
    drops = any(
        one.name == switch and one.int32_data[:1] + list(one.raw_data[:1]) == [1] for one in model.graph.initializer
    )
    if not batch_norm and not (switch and drops):
        return None
    return UserMistake(
        "The file computes as in training",
        found=f"{node.op_type} {node.name or node.output[0]!r} in training mode",
        expected="a network in evaluation mode",
        because="its answer to one picture would depend on the others of the batch, or on chance",
        attempt="model.eval() before torch.onnx.export, and training=TrainingMode.EVAL",
    )


def file_opset(file: GraphFile, target: Target, precision: str, asked: int | None) -> int:
    """The opset to read the file in: its own wherever the passes and the precision can do with it."""
    least = LEAST_OPSET
    if precision in (*quantised_names(), AUTO):
        least = QDQ_OPSET
    if precision == BF16:
        least = target.opset
    return min(max(asked or file.opset, least), target.max_opset)


def file_shapes(spec: ModelSpec, asked: Settings) -> Shapes:
    """The smallest, usual and largest input: what the file fixes, and for what it leaves open what was asked."""
    file = spec.file
    assert file is not None
    taken = file.inputs[0]
    declared = taken.shape or ()
    said = arguments.image_size(asked.image_size)
    size = said or spec.contract.size
    batches = OPEN_BATCH if asked.batch is None else arguments.batch(asked.batch)
    if file.batch is not None:
        batches = (file.batch, file.batch) if asked.batch is None and not asked.dynamic else batches
    flags = {"min-shapes": asked.min_shapes, "opt-shapes": asked.opt_shapes, "max-shapes": asked.max_shapes}
    minimum, usual, maximum = (
        arguments.shape(words, flag, taken.name, spec.contract) if words else None for flag, words in flags.items()
    )
    shapes = arguments.shapes(size, batches, minimum, usual, maximum, contract=spec.contract)
    for axis, fixed in enumerate(declared):
        found = (shapes.min[axis], shapes.opt[axis], shapes.max[axis])
        if isinstance(fixed, int) and set(found) != {fixed}:
            what = AXES[shapes.layout][axis]
            raise UserMistake(
                f"The {what} that was asked for is not that of the file",
                found=f"{found[0]}" + (f" to {found[2]}" if found[2] != found[0] else ""),
                expected=f"{fixed}: {taken}",
                because="the file was written for this size",
                attempt=f"leave {'--batch' if axis == 0 else '--image-size'} out, or export the network again with the axis open",
            )
    return shapes


def file_notes(spec: ModelSpec, shapes: Shapes, labelled: bool) -> tuple[str, ...]:
    """What nobody said and was assumed."""
    file = spec.file
    assert file is not None
    notes = []
    if not labelled and (names := spec.labels()) != numbers(spec.num_classes):
        notes.append(
            f"assumed, since {len(names)} classes are as many as ImageNet's: the names of ImageNet (--labels says others)"
        )
    if file.probabilities:
        notes.append("the file ends in a softmax: what it gives is shown as probabilities")
    if file.batch is None and shapes.min[0] != shapes.max[0]:
        notes.append(f"the batch of the file is open: exported for {shapes.min[0]} to {shapes.max[0]}")
    return tuple(notes)
