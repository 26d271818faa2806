"""What decides the statistics of calibration, as one key: the graph with its weights, the images, the tensors, our version.

Nothing that leaves the numbers alone is part of it: metadata, doc strings, node names, where weights are stored; nor how
the statistics are used later, so that another range rule, smoothing strength or precision finds them again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ...runtime.ground.version import __version__
from ...runtime.pictures.preprocess import ImageContract

if TYPE_CHECKING:
    import onnx_ir as ir

FORMAT = 1  # of what is counted and how it is stored; another number makes every old file strange


class Images(Protocol):
    """What a pass needs of an image set (images.py): the same images in the same order, every time."""

    @property
    def digest(self) -> str: ...

    @property
    def contract(self) -> ImageContract | None: ...

    def __len__(self) -> int: ...

    def batches(self, size: int, start: int = 0) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True)
class Fingerprint:
    """All that decides the numbers of a pass over the images."""

    what: str  # "statistics" or "moments"
    name: str  # of the graph and of what goes in and out: not unique, for words to the user
    graph: str  # hex SHA-256 of the graph with its weights
    images: str  # hex SHA-256 of content, number and preprocessing of the images
    tensors: tuple[tuple[str, int], ...]  # observed tensor, its channel axis

    @property
    def key(self) -> str:
        """Hex SHA-256 of the facts, of FORMAT and of our version."""
        return hashlib.sha256(json.dumps([FORMAT, __version__, asdict(self)]).encode()).hexdigest()


def fingerprint(what: str, model: ir.Model, tensors: Mapping[str, int], images: Images) -> Fingerprint:
    """The facts of observing ``tensors`` (name -> channel axis) of a graph on these images."""
    contract = images.contract.to_json() if images.contract is not None else None
    fed = json.dumps([contract, images.digest, len(images)], sort_keys=True)
    ends = [str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)]
    return Fingerprint(
        what=what,
        name=" ".join([model.graph.name or "graph", *ends]),
        graph=graph_sha256(model),
        images=hashlib.sha256(fed.encode()).hexdigest(),
        tensors=tuple(sorted(tensors.items())),
    )


def graph_sha256(model: ir.Model) -> str:
    """Hex SHA-256 of all that the graph computes with: ops, edges by name, attributes, weights bit for bit."""
    digest = hashlib.sha256()
    for part in _parts(model):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()


def _parts(model: ir.Model) -> Iterator[Any]:
    yield from (_text("opset", *pair) for pair in sorted(model.graph.opset_imports.items()))
    yield from _graph_parts(model.graph)
    for identifier, function in sorted(model.functions.items()):
        yield _text("function", *identifier, *(value.name for value in function.inputs))
        yield from (_text("opset", *pair) for pair in sorted(function.opset_imports.items()))
        yield from _nodes(function)
        yield _text("returns", *(value.name for value in function.outputs))


def _graph_parts(graph: ir.Graph) -> Iterator[Any]:
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        yield from (_text(kind, value.name, value.dtype, value.shape) for value in values)
    for name, value in sorted(graph.initializers.items()):
        yield _text("initializer", name)
        if value.const_value is not None:
            yield from _tensor(value.const_value)
    yield from _nodes(graph)


def _nodes(graph: ir.Graph | ir.Function) -> Iterator[Any]:
    for node in graph:
        edges = ([value and value.name for value in node.inputs], [value.name for value in node.outputs])
        yield _text("node", node.domain, node.op_type, node.overload, *edges)
        for name, attribute in sorted(node.attributes.items()):
            yield _text("attribute", name, attribute.type, attribute.ref_attr_name)
            for item in attribute.value if isinstance(attribute.value, (list, tuple)) else [attribute.value]:
                if hasattr(item, "initializers"):  # a graph: the branch of an If, the body of a Loop
                    yield from _graph_parts(item)
                elif hasattr(item, "tobytes"):
                    yield from _tensor(item)
                else:
                    yield _text(item)


def _tensor(tensor: ir.TensorProtocol) -> Iterator[Any]:
    yield _text("tensor", tensor.dtype, tuple(tensor.shape))
    yield tensor.tobytes()


def _text(*facts: Any) -> bytes:
    return repr([fact if isinstance(fact, (list, tuple)) else str(fact) for fact in facts]).encode()
