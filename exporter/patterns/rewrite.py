"""Exported graph -> rewritten graph: the passes of ORDER, each checked, counted, and its refusals kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from ...graph.edit import clone, name_apart
from ...graph.read import node_types
from ...runtime.errors import UserMistake
from ..run.arguments import nearest
from ..run.nouns import ExportedGraph, PassRecord, RewrittenGraph

if TYPE_CHECKING:
    import onnx_ir as ir

LEAST_OPSET = 13  # operators mean what the passes take them for: Softmax one axis, axes and widths as inputs

VerifyEach = Callable[["ir.Model", str], None]


def rewrite(
    exported: ExportedGraph,
    target: str,
    *,
    skip: Iterable[str] = (),
    plugins: Collection[str] = (),
    needs_kernel: tuple[str, ...] = (),
    verify_each: VerifyEach | None = None,
    on_pass: Callable[[PassRecord], None] | None = None,
) -> RewrittenGraph:
    """Run the passes of ``target`` ("cpu", "openvino", "rtx" or "tensorrt") on a copy of the exported graph.

    ``verify_each(model, pass_name)`` is called after every pass that changed the graph and raises when the numbers
    moved; ``on_pass`` hears of every pass as it ends. ``plugins`` names the fused ops to put in, ``needs_kernel`` the
    types in which each of them must have a kernel. A pass that cannot do without one of ``skip`` does not run either, and
    the notes say so.

    Raises:
        UserMistake: ``skip`` names a pass that does not exist, or the graph is of an opset before 13.
    """
    from .fuse.fused import Fuse
    from .order import passes_for, unmet

    steps = passes_for(target, plugins)
    check_skip(skip, target, plugins)
    if (version := exported.model.graph.opset_imports.get("", LEAST_OPSET)) < LEAST_OPSET:
        raise UserMistake(
            "The passes do not read graphs of this opset",
            found=f"opset {version}",
            expected=f"opset {LEAST_OPSET} or later",
            because="before, a Softmax without an axis runs over all axes behind the first, and axes are attributes",
            attempt="export with a later opset, or onnx.version_converter.convert_version(model, 13)",
        )
    model = clone(exported.model)
    before = node_types(model)
    records, ran, notes = [], set[str](), list[str]()
    for step in steps:
        if step.__name__ in skip:
            continue
        if need := unmet(step, ran):
            notes.append(f"{step.__name__} is left out too: it needs {need} before it")
            continue
        ran.add(step.__name__)
        work = step()
        if isinstance(work, Fuse):
            work.needs_kernel = needs_kernel
        record = work.run(model)
        if record.count:
            name_apart(model)
        records.append(record)
        if on_pass:
            on_pass(record)
        if verify_each and record.count:
            verify_each(model, record.name)
    return RewrittenGraph(
        model, exported.name, exported.shapes, target, _merged(records), before, node_types(model),
        exported.input_name, exported.output_names, tuple(dict.fromkeys(notes)),
    )  # fmt: skip


def _merged(records: list[PassRecord]) -> tuple[PassRecord, ...]:
    """One record a pass: clean-up runs several times and is one line in the report."""
    merged: dict[str, PassRecord] = {}
    for record in records:
        if seen := merged.get(record.name):
            refused = tuple(dict.fromkeys((*seen.refused, *record.refused)))
            record = PassRecord(record.name, seen.count + record.count, refused, seen.seconds + record.seconds)
        merged[record.name] = record
    return tuple(merged.values())


def check_skip(skip: Iterable[str], target: str, plugins: Collection[str] = ()) -> None:
    """UserMistake for a name that is no pass of the target."""
    from .order import passes_for

    known = list(dict.fromkeys(step.__name__ for step in passes_for(target, plugins)))
    for name in skip:
        if name not in known:
            raise UserMistake(
                f"No rewrite pass is called {name!r}",
                found=f"--skip {name}",
                expected="one of " + ", ".join(known),
                attempt=nearest(name, known) or "leave --skip out",
            )
