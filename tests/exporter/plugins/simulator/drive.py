"""One node through NVIDIA's own plugin code, in the order in which TensorRT's builder calls it.

create_plugin > output types > output shapes > types and tactics > configure > tactic > launch parameters > kernel
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from sizes import Argument, Arguments, Builder, Registry, Shape, Size

from edgesmith.exporter.plugins.pack.compile import entry_parameters
from edgesmith.runtime.plugins.schema import DOMAIN, VERSION, OpSchema

LAUNCH = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")
Case = Mapping[str, int]  # numbers of the open sizes


def creator(registry: Registry, schema: OpSchema) -> Any:
    return registry.get_creator(schema.name, VERSION, DOMAIN)


def make_plugin(trt: Any, registry: Registry, schema: OpSchema, attributes: Mapping[str, float]) -> Any:
    """The plugin of one node; fields in the order and of the types that the creator asks the parser for."""
    maker = creator(registry, schema)
    fields = [
        trt.PluginField(
            field.name,
            np.array([attributes[field.name]], np.int64 if field.type == trt.PluginFieldType.INT64 else np.float64),
            field.type,
        )
        for field in maker.field_names
    ]
    strict = trt.QuickPluginCreationRequest.STRICT_AOT
    phase = trt.TensorRTPhase.BUILD
    return maker.create_plugin(schema.name, DOMAIN, trt.PluginFieldCollection(fields), phase, strict)


def drive(
    trt: Any,
    registry: Registry,
    schema: OpSchema,
    t: str,
    shapes: Sequence[Sequence[int | str]],
    attributes: Mapping[str, float],
    cases: Sequence[Case],
) -> Iterator[dict[str, Any]]:
    """One record for every tactic of type ``t``: kernel, parameters of its PTX, and what is launched in every case.

    ``shapes`` of the inputs hold numbers, or names of open sizes; ``cases`` give those, smallest first.
    """
    plugin = make_plugin(trt, registry, schema, attributes).clone()  # a network works on clones
    builder, count = Builder(), len(schema.inputs)
    types = [getattr(trt, tensor.type_for(t)) for tensor in schema.inputs]
    types += plugin.get_output_data_types(list(types), [len(shape) for shape in shapes])
    inputs = [Shape([Size.named(s) if isinstance(s, str) else Size(s) for s in shape]) for shape in shapes]
    outputs = plugin.get_output_shapes(inputs, [], builder)
    descs = [_desc(trt, type_, sizes, cases) for type_, sizes in zip(types, [*inputs, *outputs], strict=True)]
    offered = plugin.get_supported_format_combinations(descs, count)
    rows = [offered[start : start + len(types)] for start in range(0, len(offered), len(types))]
    assert all(tensor.format == trt.TensorFormat.LINEAR for row in rows for tensor in row)
    # the network is strongly typed: TensorRT takes the row that has its types
    (row,) = [row for row in rows if [tensor.type for tensor in row] == types]
    plugin.configure_plugin(descs[:count], descs[count:])
    for tactic in plugin.get_valid_tactics() or [0]:
        plugin.set_tactic(tactic)
        launch, scalars = SimpleNamespace(), Arguments()
        plugin.get_launch_params(inputs, descs, count, launch, scalars, builder)
        entry, code = plugin.get_kernel([d.desc for d in descs[:count]], [d.desc for d in descs[count:]])
        assert all(isinstance(value, Argument) for value in scalars.values())
        assert list(scalars) == list(range(scalars.nbSymExprs))
        yield {
            "tactic": tactic,
            "entry": entry,
            "parameters": [kind for kind, _ in entry_parameters(code.decode(), entry)],
            "types": [tensor.type.name for tensor in row],
            "offered": len(rows),
            "launches": [
                {
                    **{name: getattr(launch, name).expr.at(case) for name in LAUNCH},
                    "scalars": [scalars[index].expr.at(case) for index in range(scalars.nbSymExprs)],
                    "outputs": [[size.at(case) for size in shape] for shape in outputs],
                }
                for case in cases
            ],
        }


def _desc(trt: Any, type_: Any, sizes: Sequence[Size], cases: Sequence[Case]) -> Any:
    """What TensorRT tells a plugin of one tensor while it builds: -1 where a size is open, and its bounds."""
    desc = trt.DynamicPluginTensorDesc()
    desc.desc.type, desc.desc.format = type_, trt.TensorFormat.LINEAR
    desc.desc.dims = trt.Dims([size.number if size.number is not None else -1 for size in sizes])
    smallest, usual, largest = cases[0], cases[len(cases) // 2], cases[-1]
    desc.min, desc.opt, desc.max = (trt.Dims([size.at(case) for size in sizes]) for case in (smallest, usual, largest))
    return desc
