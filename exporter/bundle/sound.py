"""Rewritten graph -> one that computes what the exported graph computes: a pass that changed the numbers is left out.

    rewritten, rows = rewrite_soundly(plan, exported, judge)                   a graph of pictures
    rewritten, rows = leave_out_wrong(plan, exported, rows_of, shapes, place)  any graph, whoever judges it

A pass of ours that is wrong on a network nobody wrote it for is a fault of ours, and no reason to send its user away. Where the
rewritten graph is off and the exported one is not, the guilty pass is found by halving the list of those that changed something.
The bundle's notes name it, and the first node where the numbers part. Where no pass is to blame, nothing is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from ...runtime.errors import EdgesmithError
from ...runtime.ground.limits import FP32
from ..engine.fused_ops import needed_types
from ..patterns import rewrite as passes
from ..run import runners
from ..run.nouns import ExportedGraph, LeftOut, RewrittenGraph
from ..tasks.task import Row
from .jump import first_jump

if TYPE_CHECKING:
    import onnx_ir as ir

    from ..plan.plan import Plan
    from .judge import Judge

Shape = tuple[int, ...]
AnyRow = TypeVar("AnyRow", bound=Row)


def rewrite_soundly(
    plan: Plan, exported: ExportedGraph, judge: Judge, verify_each: passes.VerifyEach | None = None
) -> tuple[RewrittenGraph, list[Row]]:
    """The graph after the passes of the plan, and its rows beside PyTorch at every shape that it promises to take.

    With ``verify_each`` nothing is left out: who asks for it wants to hear of the pass. Rows that do not hold are left for who
    reports them: the exported graph is off as well, or no single pass is guilty.

    Raises:
        EdgesmithError: the exported graph itself cannot be loaded.
    """
    if verify_each:
        return passes.rewrite(exported, plan.order, skip=plan.skip, plugins=plan.plugins, needs_kernel=needed_types(plan), verify_each=verify_each), []  # fmt: skip

    def rows_of(model: ir.Model, shapes: Sequence[Shape]) -> list[Row]:
        return judge.rows("rewritten", "ONNX Runtime", runners.graph_runner(model), FP32, list(shapes))

    def place(before: ir.Model, after: ir.Model, row: Row) -> str:
        images = next(iter(runners.in_batches(judge.inputs(row.shape)[row.inputs], row.shape[0])))
        jump = first_jump(before, after, images)
        return f", first at {jump}" if jump else ""

    shapes = runners.shapes_to_try(plan.shapes, plan.spec.size_multiple)
    return leave_out_wrong(plan, exported, rows_of, shapes, place)


def leave_out_wrong(
    plan: Plan,
    exported: ExportedGraph,
    rows_of: Callable[[ir.Model, Sequence[Shape]], list[AnyRow]],
    shapes: Sequence[Shape],
    place: Callable[[ir.Model, ir.Model, AnyRow], str] = lambda before, after, row: "",
) -> tuple[RewrittenGraph, list[AnyRow]]:
    """``rows_of`` holds a graph against its judge at some of ``shapes``; ``place`` says where two graphs part, for a row that failed.

    Raises:
        EdgesmithError: the exported graph itself cannot be loaded.
    """
    search = _Search(plan, exported, rows_of, shapes, place)
    left_out: list[LeftOut] = []
    attempt = search.attempt(())
    while attempt.wrong and (guilty := search.guilty([one.name for one in left_out], attempt)):
        left_out.append(guilty)
        attempt = search.attempt([one.name for one in left_out])
    if attempt.wrong and left_out:  # leaving some out did not help: the fault is not theirs
        left_out, attempt = [], search.attempt(())
    if attempt.rewritten is None:  # a pass that raises, on a graph that is wrong without it
        assert attempt.raised is not None
        raise attempt.raised
    return replace(attempt.rewritten, left_out=tuple(left_out)), attempt.rows


@dataclass(frozen=True)
class _Attempt(Generic[AnyRow]):
    """The passes run without some of them; ``rewritten`` is None where one raised."""

    rewritten: RewrittenGraph | None
    rows: list[AnyRow]
    ran: tuple[str, ...] = ()  # those that changed something, in their order
    raised: Exception | None = None
    unloadable: str = ""

    @property
    def wrong(self) -> bool:
        return self.rewritten is None or bool(self.unloadable) or not all(row.passed for row in self.rows)

    def why(self) -> str:
        """What is wrong with it, in words."""
        if self.raised is not None:
            return f"it stops with {type(self.raised).__name__}: {_first_line(self.raised)}"
        return f"its graph cannot be loaded: {self.unloadable}" if self.unloadable else "it changed the numbers"


class _Search(Generic[AnyRow]):
    """Tries of one export; the exported graph itself is tried when it is first asked for."""

    def __init__(
        self,
        plan: Plan,
        exported: ExportedGraph,
        rows_of: Callable[[ir.Model, Sequence[Shape]], list[AnyRow]],
        shapes: Sequence[Shape],
        place: Callable[[ir.Model, ir.Model, AnyRow], str],
    ) -> None:
        self.plan, self.exported = plan, exported
        self.rows_of, self.shapes, self.place = rows_of, shapes, place

    def attempt(self, without: Collection[str], shapes: Sequence[Shape] = ()) -> _Attempt[AnyRow]:
        """Rewrite without some passes, and compare."""
        plan, changed = self.plan, list[str]()
        try:
            rewritten = passes.rewrite(
                self.exported,
                plan.order,
                skip=tuple(dict.fromkeys((*plan.skip, *without))),
                plugins=plan.plugins,
                needs_kernel=needed_types(plan),
                on_pass=lambda record: changed.append(record.name) if record.count else None,
            )
        except EdgesmithError:
            raise
        except Exception as error:  # noqa: BLE001  a pass that meets a form nobody thought of may raise anything
            return _Attempt(None, [], tuple(dict.fromkeys(changed)), error)
        rows, unloadable = self._rows(rewritten.model, shapes or self.shapes)
        ran = tuple(record.name for record in rewritten.passes if record.count)
        return _Attempt(rewritten, rows, ran, unloadable=unloadable)

    def guilty(self, without: list[str], failed: _Attempt[AnyRow]) -> LeftOut | None:
        """The pass with which the graph goes wrong, where it is right without it and those that changed it later."""
        shapes = list(dict.fromkeys(row.shape for row in failed.rows if not row.passed)) or list(self.shapes[:1])
        rows, unloadable = self._rows(self.exported.model, shapes)
        if unloadable:
            raise EdgesmithError(
                "The graph that torch's exporter wrote cannot be loaded",
                found=unloadable,
                expected="a graph that ONNX Runtime runs as it was traced",
                because="no rewrite was looked at: the graph before them is not valid",
                attempt="another --opset, or another form of the layer that it names",
            )
        if not all(row.passed for row in rows):
            return None
        ran = list(failed.ran)
        if failed.raised is not None:  # the one that raised has not been counted
            every = [step for step in self._names() if step not in (*without, *self.plan.skip)]
            ran = [*ran, *(step for step in every if step not in ran)]
        if not ran or self.attempt([*without, *ran], shapes).wrong:  # without any of them it is wrong as well
            return None
        right, wrong = 0, len(ran)  # the first ``right`` passes make a right graph, the first ``wrong`` do not
        worst = failed
        while wrong - right > 1:
            middle = (right + wrong) // 2
            tried = self.attempt([*without, *ran[middle:]], shapes)
            if tried.wrong:
                wrong, worst = middle, tried
            else:
                right = middle
        name = ran[wrong - 1]
        return LeftOut(name, worst.why() + self._place([*without, *ran[right:]], worst, shapes))

    def _rows(self, model: ir.Model, shapes: Sequence[Shape]) -> tuple[list[AnyRow], str]:
        try:
            return self.rows_of(model, shapes), ""
        except EdgesmithError:
            raise
        except Exception as error:  # noqa: BLE001  the exceptions of ONNX Runtime share no base class but this one
            return [], _first_line(error)

    def _place(self, before: list[str], after: _Attempt[AnyRow], shapes: Sequence[Shape]) -> str:
        """Where both graphs run and one differs, in words."""
        reference = self.attempt(before, shapes).rewritten
        failed = [row for row in after.rows if not row.passed]
        if reference is None or after.rewritten is None or not failed:
            return ""
        return self.place(reference.model, after.rewritten.model, failed[0])

    def _names(self) -> list[str]:
        from ..patterns.order import passes_for

        return list(dict.fromkeys(step.__name__ for step in passes_for(self.plan.order, self.plan.plugins)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
