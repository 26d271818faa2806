"""path/net.onnx -> ModelSpec: a classifier where one picture goes in and one row of numbers comes out, else tensors by name.

Only the face of the graph is read here; it is looked through, tried and read by the exporter (exporter/trace/file).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from ...runtime.pictures.contract import (
    BYTES,
    CHANNELS,
    CHANNELS_FIRST,
    CHANNELS_LAST,
    FLOAT32,
    SIDES,
    ImageContract,
)
from ..graph_file import FileTensor, GraphFile
from ..spec import ModelSpec

if TYPE_CHECKING:
    import onnx

USUAL_PX = 224
TYPES = (FLOAT32, BYTES)  # of pictures
NOBODY = "said by whoever made the file"
ARRAYS = re.compile("bool|float(16|32|64)|u?int(8|16|32|64)")  # what numpy has


def spec(path: str, model_args: Mapping[str, Any]) -> ModelSpec:
    """The spec of a file. UserMistake: it is not there or no ONNX model, or takes what is no tensor of numbers."""
    if model_args:
        raise UserMistake(
            "An ONNX file takes no arguments",
            found=f"--model-arg {next(iter(model_args))}=...",
            expected="the file as it is",
            because="its network is built already",
            attempt="leave --model-arg out",
        )
    model = _parsed(Path(path))
    weights = {one.name for one in model.graph.initializer}
    inputs = tuple(_tensor(path, one, "input") for one in model.graph.input if one.name not in weights)
    outputs = tuple(_tensor(path, one, "output") for one in model.graph.output)
    if not inputs or not outputs:
        raise UserMistake(
            f"{path} is no network",
            found=f"{len(inputs)} inputs, {len(outputs)} outputs",
            expected="an input and an output at least",
            attempt="edgesmith inspect shows what the file holds",
        )
    version = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    file = GraphFile(os.path.abspath(path), version, inputs, outputs, _ends_in_softmax(model))
    told: dict[str, Any] = {"name": path, "family": "onnx_file", "paper": "none", "licence_code": NOBODY, "licence_weights": NOBODY,
            "parameters": _parameters(model), "file": file, "module": __name__}  # fmt: skip
    classes = classes_of(file)
    if not classes:
        return ModelSpec(**told, contract=ImageContract((USUAL_PX, USUAL_PX)), task="tensors", num_classes=0)
    contract, sides = _contract(file)
    return ModelSpec(
        **told, contract=contract, contract_assumed="an ONNX file", num_classes=classes, size_min=1, fixed_size=all(isinstance(side, int) for side in sides),
        dynamic_size=not any(isinstance(side, int) for side in sides), convolutional=_convolutional(model),
    )  # fmt: skip


def build(num_classes: int, image_size: tuple[int, int], **config: Any) -> Any:
    """There is no network behind a file; what a spec's module must have."""
    raise UserMistake(
        "An ONNX file has no PyTorch network",
        expected="a family, a name of timm, or a function of one's own",
        attempt="edgesmith export --model net.onnx, without PyTorch beside it",
    )


def classes_of(file: GraphFile) -> int:
    """How many classes a file tells apart: one picture in (``layout_of``), one row (N, C) out; 0 where it does not."""
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        return 0
    (taken,), (given,) = file.inputs, file.outputs
    row = given.shape or ()
    if not layout_of(taken) or len(row) != 2 or given.dtype != FLOAT32 or not isinstance(row[1], int):
        return 0
    return row[1]


def layout_of(taken: FileTensor) -> str:
    """NCHW or NHWC of an input that takes pictures, float32 or bytes of 1, 3 or 4 channels; "" of any other."""
    shape = taken.shape or ()
    if len(shape) != 4 or taken.dtype not in TYPES:
        return ""
    return CHANNELS_FIRST if shape[1] in CHANNELS else CHANNELS_LAST if shape[3] in CHANNELS else ""


def _contract(file: GraphFile) -> tuple[ImageContract, tuple[int | str, int | str]]:
    """What the file's input says of pictures, and its sides as they stand in it."""
    (taken,) = file.inputs
    layout, shape = layout_of(taken), taken.shape or ()
    high, wide = (shape[axis] for axis in SIDES[layout])
    channels = shape[1 if layout == CHANNELS_FIRST else 3]
    assert isinstance(channels, int)
    size = tuple(side if isinstance(side, int) else USUAL_PX for side in (high, wide))
    contract = replace(ImageContract((size[0], size[1])).with_channels(channels), layout=layout)
    return replace(contract.raw(), dtype=BYTES) if taken.dtype == BYTES else contract, (high, wide)


def _parsed(path: Path) -> onnx.ModelProto:
    """The protobuf without the weights beside it."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not path.is_file():
        around = [one.name for one in path.parent.glob("*.onnx")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, around, n=2)
        raise UserMistake(
            f"There is no ONNX file at {path}",
            found="a folder" if path.is_dir() else "nothing at that path",
            expected="a file that ends in .onnx",
            attempt=f"did you mean {' or '.join(near)}?" if near else "the path of the file",
        )
    try:
        return onnx.load(path, "protobuf", load_external_data=False)
    except (DecodeError, UnicodeDecodeError, OSError) as error:
        text = str(error).splitlines()
        raise UserMistake(
            f"{path} is not an ONNX model",
            found=f"{path.stat().st_size} bytes; {text[0][:200] if text else 'no more is known'}",
            expected="a whole ONNX file",
            because="a download or a copy that was cut off looks like this",
            attempt="edgesmith inspect tells engines, bundles and ONNX files apart",
        ) from None


def _tensor(path: str, value: onnx.ValueInfoProto, what: str) -> FileTensor:
    """UserMistake for sequences, maps, optional values and texts."""
    import onnx

    kind = value.type.WhichOneof("value") or "nothing"
    tensor = value.type.tensor_type
    texts = kind == "tensor_type" and tensor.elem_type == onnx.TensorProto.STRING
    if kind != "tensor_type" or texts or not tensor.elem_type:
        raise UserMistake(
            f"{path}: the {what} {value.name} is no tensor of numbers",
            found="texts" if texts else kind.removesuffix("_type"),
            expected="tensors of numbers in and out",
            because="an engine on a device takes and gives arrays",
            attempt="export the network without it: texts, sequences and maps are what is prepared before and made of it after",
        )
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except KeyError:
        dtype = f"type {tensor.elem_type}"
    if not ARRAYS.fullmatch(dtype):
        raise UserMistake(
            f"{path}: numpy has no arrays of the type of the {what} {value.name}",
            found=dtype,
            expected="float16, float32, float64, bool or whole numbers, in and out",
            because="what is not an array cannot be given to a graph on a device, nor taken from it",
            attempt="a Cast to float32 at that end of the graph",
        )
    if not tensor.HasField("shape"):
        return FileTensor(value.name, dtype, None)
    if any(one.HasField("dim_value") and one.dim_value < 1 for one in tensor.shape.dim):
        raise UserMistake(
            f"{path}: the {what} {value.name} holds no numbers",
            found="x".join(str(one.dim_value) for one in tensor.shape.dim),
            expected="sizes of 1 or more, or names where they are open",
            attempt="export the network with an example that holds some",
        )
    dims = enumerate(tensor.shape.dim)
    shape = tuple(
        one.dim_value if one.HasField("dim_value") else one.dim_param or f"{value.name}_{axis}" for axis, one in dims
    )
    return FileTensor(value.name, dtype, shape)


def _ends_in_softmax(model: onnx.ModelProto) -> bool:
    made = {name: node for node in model.graph.node for name in node.output}
    last = made.get(model.graph.output[0].name) if model.graph.output else None
    return last is not None and last.op_type == "Softmax" and last.domain in ("", "ai.onnx")


def _convolutional(model: onnx.ModelProto) -> bool:
    """Whether most of its products are convolutions: then another int8 form is fast on a CPU."""
    ops = [
        node.op_type for node in (*model.graph.node, *(one for function in model.functions for one in function.node))
    ]
    return ops.count("Conv") > ops.count("MatMul")


def _parameters(model: onnx.ModelProto) -> int:
    """Numbers in the weights, those beside the file too."""
    total = 0
    for one in model.graph.initializer:
        count = 1
        for size in one.dims:
            count *= size
        total += count
    return total
