"""Mutants of ONNX files, used by inspect, compare and quant-report: bytes, nodes, attributes, weights, types, shapes, data beside.

The originals are tiny: a float network, the same in Q/DQ form, with integer operators, with weights in blocks of four bits, in
fp16, with its weights beside it. A mutant has one to three changes; the valid float network is what it is compared with.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

NAME = "onnx_file"  # a module called onnx would stand in the way of the package
ODD_SIZES = (-(2**62), -1, 0, 1, 2, 5, 7, 2**15, 2**31, 2**40, 2**62)
ODD_NAMES = ("", "images", "logits", "w1", "nothing", "flat", "x" * 300, "\n", "ü")
OPS = ("Conv", "Gemm", "Relu", "Loop", "If", "Scan", "Reshape", "Expand", "Tile", "Concat", "Split", "Identity", "Attention",
       "QuantizeLinear", "MatMulNBits", "QLinearMatMul", "NonZero", "Cast", "TopK", "Range")  # fmt: skip
DOMAINS = ("", "ai.onnx", "com.microsoft", "edgesmith", "nobody", "ai.onnx.ml")
RNG = np.random.default_rng(3)


def prepare(folder: Path) -> None:
    """The valid originals, as ``NAME.onnx`` in ``folder``, and a few pictures."""
    from quantised_graphs import DYNAMIC, FLOAT, FLOAT_WEIGHTS, IMAGES, OPERATORS, QDQ, network

    for name, body in (("float", FLOAT), ("qdq", QDQ), ("weights", FLOAT_WEIGHTS), ("dynamic", DYNAMIC),
                       ("operators", OPERATORS)):  # fmt: skip
        onnx.save(network(body), folder / f"{name}.onnx")
    onnx.save(_blocks(), folder / "blocks.onnx")
    half = network(FLOAT)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(half, folder / "half.onnx")
    for name, body in (("beside", FLOAT), ("qdq_beside", QDQ)):
        place = f"{name}.onnx.data"
        onnx.save(network(body), folder / f"{name}.onnx", save_as_external_data=True, location=place, size_threshold=0)
    np.savez(folder / "images.npz", images=IMAGES)
    (folder / "photos").mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / "photos" / f"{number}.png"), RNG.integers(0, 256, (12, 12, 3)).astype(np.uint8))


def _blocks() -> onnx.ModelProto:
    from quantised_graphs import FLOAT, network

    model = network(
        FLOAT.replace(
            "MatMul(flat, w1)",
            "com.microsoft.MatMulNBits<K = 192, N = 16, bits = 4, block_size = 32>(flat, codes, steps)",
        )
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    arrays = {"codes": RNG.integers(0, 256, (16, 6, 16)).astype(np.uint8),
              "steps": RNG.uniform(0.01, 0.1, (16, 6)).astype(np.float32)}  # fmt: skip
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


def mutant(random: random.Random, folder: Path, target: Path) -> Path:
    """One damaged file in ``target``, with the pictures and the float network that it is used with."""
    source = random.choice(sorted(folder.glob("*.onnx")))
    for one in folder.glob("*.data"):
        shutil.copy(one, target)
    shutil.copy(folder / "float.onnx", target / "reference.onnx")
    shutil.copy(folder / "images.npz", target)
    shutil.copytree(folder / "photos", target / "photos")
    path = target / source.name
    data = source.read_bytes()
    if random.random() < 0.75:
        model = onnx.load_from_string(data)
        changes = SOFT if random.random() < 0.5 else CHANGES
        for _ in range(random.choice((1, 1, 2, 3))):
            random.choice(changes)(random, model)
        data = model.SerializeToString()
    else:
        data = _bytes(random, data)
    if source.stem.endswith("beside") and random.random() < 0.3:
        _data(random, target / f"{source.name}.data")
    path.write_bytes(data)
    return path


def use(path: Path) -> None:
    """As the commands do: a look, a comparison with the float network, the places, the cost on pictures.

    A command that refuses ends there, as it does for a user; the next one is tried all the same.
    """
    from edgesmith.exporter.commands.inspect import inspect, ops, screen
    from edgesmith.exporter.commands.inspect.compare import compare, table_rows
    from edgesmith.exporter.commands.quant_report import report
    from edgesmith.exporter.commands.quant_report import screen as report_screen
    from edgesmith.runtime.errors import EdgesmithError

    beside, pictures, photos = (str(path.with_name(name)) for name in ("reference.onnx", "images.npz", "photos"))
    ways: tuple[Callable[[], object], ...] = (
        lambda: list(screen.lines(inspect.inspect(path))),
        lambda: list(ops.lines(ops.inspect_ops(str(path)))),
        lambda: list(report_screen.lines(report.quant_report(str(path), report.Asked()))),
        lambda: table_rows(compare(str(path), beside, data=photos)),
        lambda: list(report_screen.lines(report.quant_report(
            str(path), report.Asked(ref=beside, data=pictures, sensitivity=True)))),
    )  # fmt: skip
    refused = None
    for way in ways:
        try:
            way()
        except EdgesmithError as error:
            refused = error if "is not quantised" not in error.what else refused
    if refused is not None:
        raise refused


def _bytes(random: random.Random, data: bytes) -> bytes:
    """Some bytes changed, lost, doubled, or the end cut off."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at, much = random.randrange(len(found)), random.choice((1, 1, 2, 8, 64))
        way = random.randrange(5)
        if way == 0:
            found[at] ^= 1 << random.randrange(8)
        elif way == 1:
            found[at : at + much] = random.randbytes(much)
        elif way == 2:
            del found[at : at + much]
        elif way == 3:
            found[at:at] = found[at : at + much]
        else:
            del found[max(at, 1) :]
        if not found:
            break
    return bytes(found)


def _data(random: random.Random, path: Path) -> None:
    """The file of weights is gone, cut off, or a folder."""
    way = random.randrange(3)
    held = path.read_bytes()
    path.unlink()
    if way == 1:
        path.write_bytes(held[: random.randrange(len(held))])
    elif way == 2:
        path.mkdir()


def _node(random: random.Random, model: onnx.ModelProto) -> onnx.NodeProto:
    return random.choice(model.graph.node) if model.graph.node else model.graph.node.add()


def _value(random: random.Random, model: onnx.ModelProto) -> onnx.ValueInfoProto:
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    return random.choice(values) if values else model.graph.input.add()


def _weight(random: random.Random, model: onnx.ModelProto) -> onnx.TensorProto:
    return random.choice(model.graph.initializer) if model.graph.initializer else model.graph.initializer.add()


def _names(random: random.Random, model: onnx.ModelProto) -> str:
    known = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return random.choice([*known, *ODD_NAMES])


def drop_node(random: random.Random, model: onnx.ModelProto) -> None:
    if model.graph.node:
        del model.graph.node[random.randrange(len(model.graph.node))]


def double_node(random: random.Random, model: onnx.ModelProto) -> None:
    model.graph.node.add().CopyFrom(_node(random, model))


def new_node(random: random.Random, model: onnx.ModelProto) -> None:
    names = [_names(random, model) for _ in range(random.randrange(4))]
    node = model.graph.node.add()
    node.CopyFrom(helper.make_node(random.choice(OPS), names, [random.choice(("new", "logits", "act", ""))],
                                   domain=random.choice(DOMAINS)))  # fmt: skip


def other_op(random: random.Random, model: onnx.ModelProto) -> None:
    node = _node(random, model)
    if random.random() < 0.5:
        node.op_type = random.choice((*OPS, ""))
    else:
        node.domain = random.choice(DOMAINS)


def rewire(random: random.Random, model: onnx.ModelProto) -> None:
    node = _node(random, model)
    side = node.input if random.random() < 0.7 else node.output
    way = random.randrange(4)
    if way == 0 or not side:
        side.append(_names(random, model))
    elif way == 1:
        del side[random.randrange(len(side))]
    else:
        side[random.randrange(len(side))] = _names(random, model)


def rename_node(random: random.Random, model: onnx.ModelProto) -> None:
    _node(random, model).name = random.choice((*ODD_NAMES, *(node.name for node in model.graph.node)))


def attribute(random: random.Random, model: onnx.ModelProto) -> None:
    node = _node(random, model)
    values = (
        random.choice(ODD_SIZES),
        0.5,
        float("nan"),
        "text",
        [1, -1],
        [0.5],
        ["a"],
        numpy_helper.from_array(np.ones(3)),
    )
    names = [one.name for one in node.attribute] or ["axis"]
    name = random.choice((*names, "axis", "K", "N", "bits", "block_size", "perm", "to", "transB", "alpha"))
    kept = [one for one in node.attribute if one.name != name or random.random() < 0.2]
    del node.attribute[:]
    node.attribute.extend(kept)
    if random.random() < 0.8:
        made = helper.make_attribute(name, random.choice(values))
        if random.random() < 0.2:
            made.type = random.randrange(15)
        node.attribute.append(made)


def sub_graph(random: random.Random, model: onnx.ModelProto) -> None:
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    _node(random, model).attribute.append(helper.make_attribute(random.choice(("body", "then_branch", "axis")), inner))


def weight_values(random: random.Random, model: onnx.ModelProto) -> None:
    tensor = _weight(random, model)
    if tensor.data_location == tensor.EXTERNAL or not tensor.raw_data:
        return
    way, held = random.randrange(4), tensor.raw_data
    if way == 0:
        tensor.raw_data = held[: random.randrange(len(held) + 1)]
    elif way == 1:
        tensor.raw_data = random.randbytes(len(held))
    elif way == 2:
        tensor.raw_data = b"\0" * len(held)
    else:
        tensor.raw_data = held + b"\0" * random.randrange(1, 9)


def weight_shape(random: random.Random, model: onnx.ModelProto) -> None:
    tensor = _weight(random, model)
    way = random.randrange(5)
    if way == 0 or not tensor.dims:
        tensor.dims.append(random.choice(ODD_SIZES))
    elif way == 1:
        tensor.dims[random.randrange(len(tensor.dims))] = random.choice(ODD_SIZES)
    elif way == 2:
        tensor.dims[:] = reversed(tensor.dims)
    elif way == 3:
        tensor.dims[:] = [int(np.prod([abs(size) for size in tensor.dims], dtype=np.float64)) % 2**40]
    else:
        tensor.CopyFrom(
            numpy_helper.from_array(np.zeros(random.choice(((0,), (), (1,), (3, 1))), np.float32), tensor.name)
        )


def weight_type(random: random.Random, model: onnx.ModelProto) -> None:
    _weight(random, model).data_type = random.choice((*range(27), 99, -1))


def weight_name(random: random.Random, model: onnx.ModelProto) -> None:
    _weight(random, model).name = _names(random, model)


def weight_gone(random: random.Random, model: onnx.ModelProto) -> None:
    if model.graph.initializer:
        del model.graph.initializer[random.randrange(len(model.graph.initializer))]


def outside(random: random.Random, model: onnx.ModelProto) -> None:
    tensor = _weight(random, model)
    if tensor.data_location != tensor.EXTERNAL:
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
    places = (
        "../secret",
        "/etc/passwd",
        "C:\\x",
        "",
        ".",
        "\0",
        "reference.onnx",
        "beside.onnx.data",
        "nothing.data",
        "a/b",
    )
    entries = {entry.key: entry.value for entry in tensor.external_data}
    key = random.choice(("location", "location", "offset", "length", "checksum"))
    entries[key] = random.choice(places) if key == "location" else str(random.choice((*ODD_SIZES, "x")))
    entries.setdefault("location", "beside.onnx.data")
    del tensor.external_data[:]
    for name, value in entries.items():
        tensor.external_data.add(key=name, value=value)


def declared_type(random: random.Random, model: onnx.ModelProto) -> None:
    kind = _value(random, model).type
    if random.random() < 0.2:
        kind.sequence_type.elem_type.tensor_type.elem_type = 1
    elif random.random() < 0.1:
        kind.Clear()
    else:
        kind.tensor_type.elem_type = random.choice((*range(24), 99))


def declared_shape(random: random.Random, model: onnx.ModelProto) -> None:
    shape = _value(random, model).type.tensor_type.shape
    way = random.randrange(4)
    if way == 0 and shape.dim:
        del shape.dim[random.randrange(len(shape.dim))]
    elif way == 1 or not shape.dim:
        shape.dim.add().dim_value = random.choice(ODD_SIZES)
    elif way == 2:
        shape.dim[random.randrange(len(shape.dim))].dim_value = random.choice(ODD_SIZES)
    else:
        shape.dim[random.randrange(len(shape.dim))].dim_param = random.choice(ODD_NAMES)


def declared_name(random: random.Random, model: onnx.ModelProto) -> None:
    _value(random, model).name = _names(random, model)


def declared_count(random: random.Random, model: onnx.ModelProto) -> None:
    side = random.choice((model.graph.input, model.graph.output))
    if side and random.random() < 0.4:
        del side[random.randrange(len(side))]
    else:
        side.add().CopyFrom(
            helper.make_tensor_value_info(_names(random, model), random.choice((1, 7, 8, 9, 10)), [1, 4])
        )


def opsets(random: random.Random, model: onnx.ModelProto) -> None:
    if model.opset_import and random.random() < 0.8:
        random.choice(model.opset_import).version = random.choice((*ODD_SIZES, 9, 13, 23, 28))
    elif random.random() < 0.5:
        del model.opset_import[:]
    else:
        model.opset_import.add(domain=random.choice(DOMAINS), version=random.choice(ODD_SIZES))


def version(random: random.Random, model: onnx.ModelProto) -> None:
    model.ir_version = random.choice((*ODD_SIZES, 3, 4, 13, 99))


def function(random: random.Random, model: onnx.ModelProto) -> None:
    node = _node(random, model)
    body = model.functions.add(domain=node.domain or "nobody", name=node.op_type or "f")
    body.input.extend(node.input)
    body.output.extend(node.output)
    body.opset_import.add(domain="", version=20)
    body.node.add().CopyFrom(node)
    node.domain = body.domain


def facts(random: random.Random, model: onnx.ModelProto) -> None:
    values = ("bf16", "int8", "", "\x1b[31m", "nothing")
    model.metadata_props.add(key=random.choice(("edgesmith.precision", "", "x")), value=random.choice(values))


def factor(random: random.Random, model: onnx.ModelProto) -> None:
    """Weights, scales and zero points of another size: what the shapes and types still allow."""
    tensor = _weight(random, model)
    if tensor.data_location == tensor.EXTERNAL or not tensor.raw_data or not tensor.dims and random.random() < 0.3:
        return
    array = numpy_helper.to_array(tensor)
    if array.dtype.kind == "f":
        array = array * array.dtype.type(random.choice((0, -1, 1e-30, 1e30, float("nan"), float("inf"), 3)))
    elif array.dtype.kind in "iu":
        array = np.full_like(array, random.choice((0, 1, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min)))
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))


def fewer(random: random.Random, model: onnx.ModelProto) -> None:
    """A weight cut, flattened or repeated along an axis, whole in itself: what reads it may not agree."""
    tensor = _weight(random, model)
    if tensor.data_location == tensor.EXTERNAL or not tensor.raw_data:
        return
    array = numpy_helper.to_array(tensor)
    ways = (array[:1] if array.ndim else array, array.reshape(-1), array[None], np.concatenate([array.ravel()] * 2),
            array.reshape(-1)[:0], array.T)  # fmt: skip
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(random.choice(ways)), tensor.name))


def picture_kind(random: random.Random, model: onnx.ModelProto) -> None:
    """Pictures of another type or layout, cast where they enter."""
    if not model.graph.input or not model.graph.node:
        return
    value = model.graph.input[0]
    old, value.name = value.name, "given"
    value.type.tensor_type.elem_type = random.choice((2, 3, 6, 7, 9, 10, 11, 16))
    if random.random() < 0.5:
        sizes = random.choice(
            ([1, 8, 8, 3], [1, 1, 8, 8], [1, 4, 8, 8], [2, 3, 8, 8], ["b", 3, "h", "w"], [1, 3, 8, 9])
        )
        value.CopyFrom(helper.make_tensor_value_info("given", value.type.tensor_type.elem_type, sizes))
    model.graph.node.insert(0, helper.make_node("Cast", ["given"], [old], to=1, name="entry"))


def wide_answer(random: random.Random, model: onnx.ModelProto) -> None:
    """The answer reshaped, cast or doubled on its way out."""
    steps = {"Reshape": ["shape"], "Cast": [], "Flatten": [], "Transpose": [], "Squeeze": [], "ArgMax": [], "Concat": ["late"],
             "Softmax": [], "NonZero": [], "Shape": [], "Expand": ["shape"], "Tile": ["shape"], "ReduceMean": []}  # fmt: skip
    op = random.choice(list(steps))
    for node in model.graph.node:
        node.output[:] = ["late" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(
        numpy_helper.from_array(
            np.array(
                random.choice(([-1], [-1, 2, 2], [1, -1], [0, 4, 1, 1], [4, 1], [1 << 14, 1 << 14], [1, 1 << 28]))
            ),
            "shape",
        )
    )
    more = {"Cast": {"to": random.choice((1, 6, 7, 9, 10, 11, 16))}, "Concat": {"axis": random.choice((0, 1))}}.get(
        op, {}
    )
    model.graph.node.append(helper.make_node(op, ["late", *steps[op]], ["logits"], name="exit", **more))
    if random.random() < 0.7 and model.graph.output:
        model.graph.output[0].type.tensor_type.ClearField("shape")
        model.graph.output[0].type.tensor_type.elem_type = random.choice((1, 7, 9, 10))


def second_answer(random: random.Random, model: onnx.ModelProto) -> None:
    names = [name for node in model.graph.node for name in node.output] or ["logits"]
    model.graph.output.append(onnx.ValueInfoProto(name=random.choice(names)))


CHANGES: tuple[Callable[[random.Random, onnx.ModelProto], None], ...] = (
    drop_node, double_node, new_node, other_op, other_op, rewire, rewire, rename_node, attribute, attribute, sub_graph,
    weight_values, weight_shape, weight_shape, weight_type, weight_name, weight_gone, outside, declared_type, declared_type,
    declared_shape, declared_shape, declared_name, declared_count, opsets, version, function, facts,
)  # fmt: skip
# what engines take more often than not: the file is then used to its end
SOFT = (
    factor,
    factor,
    fewer,
    picture_kind,
    picture_kind,
    wide_answer,
    second_answer,
    attribute,
    declared_shape,
    rewire,
    facts,
)
