"""A Q/DQ file -> one graph in which every activation's rounding has a switch: a sensitivity scan without a graph a place.

    x > QuantizeLinear > DequantizeLinear > y     becomes     y = Where(switch, DequantizeLinear(...), x)

The switches are one more input of the graph, a vector of booleans.  Weights stay as they are in the file, so what a scan
finds is the cost of the activations alone, against the same file with all of them off.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.edit import add_constant, insert
from ...graph.run import Runner, open_session
from ...runtime.tasks.known import joined
from ..judge.accuracy import sqnr_db
from ..judge.evaluation import Distance
from ..judge.sensitivity import Sensitivity, scan
from ..nouns import Site
from .file_figures import full_batch
from .quantised_file import Place

if TYPE_CHECKING:
    import onnx_ir as ir

SWITCHES = "edgesmith_switches"


def scan_places(
    model: ir.Model,
    places: Sequence[Place],
    shares: dict[str, float],
    images: np.ndarray,
    progress: Callable[[int, int], None] | None = None,
    distance: Distance = sqnr_db,
) -> tuple[Sensitivity, ...]:
    """Every place with a switch alone, worst first; ``shares`` are those of the MACs by node. Empty where there is no Q/DQ."""
    switched, numbers = with_switches(model, places)
    able = [place for place in places if any(one.after in numbers for one in place.activations)]
    if not able:
        return ()
    session = open_session(switched, optimise=False)
    feed, outputs = str(model.graph.inputs[0].name), [str(output.name) for output in model.graph.outputs]

    def runner(on: Any) -> Runner:
        flags = np.zeros(len(numbers), bool)
        flags[list(on)] = True

        def run(images: np.ndarray) -> np.ndarray:
            found = []
            for image in images:
                feeds = {feed: full_batch(model, image), SWITCHES: flags}
                found.append(joined(dict(zip(outputs, session.run(outputs, feeds), strict=True)))[:1])
            return np.concatenate(found)

        return run

    def on(site: Site) -> Any:
        place = next(one for one in able if one.node == site.node)
        return {numbers[one.after] for one in place.activations if one.after in numbers}

    sites = [Site(one.node, one.op, "", "", (), 1, 1, 0, share=shares.get(one.node, 0.0)) for one in able]
    return scan(sites, on, images, runner(())(images), runner=runner, progress=progress, distance=distance)


def with_switches(model: ir.Model, places: Sequence[Place]) -> tuple[ir.Model, dict[str, int]]:
    """A copy with the further input, and for every rounded value the number of its switch."""
    import onnx_ir as ir

    model = model.clone()
    values = {str(value.name): value for node in model.graph for value in (*node.inputs, *node.outputs) if value}
    pairs = {one.after: one.before for place in places for one in place.activations if one.before and one.after}
    numbers: dict[str, int] = {}
    flags = ir.Value(name=SWITCHES, type=ir.TensorType(ir.DataType.BOOL))
    for name, exact in pairs.items():
        uses, before = list(values[name].uses()), values[exact]
        if not uses:  # a probe of an integer operator: it rounds whatever the switch says
            continue
        number, first = len(numbers), next(node for node in model.graph if any(use.node is node for use in uses))
        index = add_constant(model, f"{name}__index", np.int64(number))
        one = insert(
            first, "Gather", [flags, index], output=f"{name}__switch", name=f"{name}__switch", dtype=ir.DataType.BOOL
        )
        chosen = insert(
            first,
            "Where",
            [one, values[name], before],
            output=f"{name}__chosen",
            name=f"{name}__chosen",
            dtype=before.dtype,
        )
        for use in uses:
            use.node.replace_input_with(use.idx, chosen)
        numbers[name] = number
    flags.shape = ir.Shape((len(numbers),))
    model.graph.inputs.append(flags)
    return model, numbers
