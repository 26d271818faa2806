"""Edgesmith: from a PyTorch vision checkpoint to a verified bundle for an edge device.

The story, left to right: checkpoint -> torch model -> exported graph -> rewritten graph -> bundle -> runtime -> report.
Importing this module is free: torch, onnx and the engines are imported by the call that needs them.

``**unknown: NoReturn`` takes no value, so a type checker refuses a misspelt option, and where none runs it is a UserMistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .runtime.errors import refuse_unknown
from .runtime.ground.limits import FP32
from .runtime.ground.version import __version__

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from .calibration.judge.task import TaskJudge
    from .calibration.precisions import Precision
    from .exporter.commands.measure.sweep.flow import Progress as Cells
    from .exporter.patterns.base import Pattern
    from .exporter.pipeline import Result
    from .exporter.plan.quantised import Data
    from .exporter.plan.targets import Target
    from .exporter.run.stages import Progress
    from .exporter.tasks.task import ExportTask
    from .models.spec import ModelSpec
    from .runtime.bundle.bundle import Bundle
    from .runtime.commands.evaluation.evaluate import Progress as Counted
    from .runtime.session.session import Session
    from .runtime.tasks.task import Task

    Place = str | os.PathLike[str]
    P = TypeVar("P", bound=Pattern)

__all__ = [
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "export",
    "inspect",
    "load",
    "register_model",
    "register_pattern",
    "register_precision",
    "register_target",
    "register_task",
    "sweep",
]


def export(
    model: str,
    weights: Place | None = None,
    *,
    model_args: Mapping[str, Any] | Iterable[str] = (),
    task: str | None = None,
    ema: bool | None = None,
    target: str = "cpu",
    precision: str | None = None,
    gpu_arch: str | None = None,
    num_classes: int | None = None,
    labels: Place | None = None,
    image_size: int | str | Iterable[int] | None = None,
    mean: str | float | Iterable[float] | None = None,
    std: str | float | Iterable[float] | None = None,
    crop: float | None = None,
    resize: str | None = None,
    colour: str | None = None,
    fit: str | None = None,
    scale: str | float | None = None,
    channels: int | None = None,
    layout: str | None = None,
    input_dtype: str | None = None,
    contract: Place | None = None,
    batch: int | str | None = None,
    dynamic: bool = False,
    min_shapes: str | None = None,
    opt_shapes: str | None = None,
    max_shapes: str | None = None,
    opset: int | None = None,
    out: Place | None = None,
    nms: str | None = None,
    score: float | None = None,
    iou: float | None = None,
    max_detections: int | None = None,
    agnostic_nms: bool | None = None,
    screen: str | Iterable[Any] | None = None,
    kv_bits: int | None = None,
    kv_scheme: str | None = None,
    data: Data | None = None,
    images: Place | None = None,
    calib_images: int = 128,
    eval_images: int = 1000,
    max_drop: float | None = None,
    ranges: str = "best",
    smooth: float | None = None,
    block: int | None = None,
    int8_form: str = "auto",
    calib_cache: Place | None = None,
    plugins: str | Iterable[str] | None = "none",
    native_plugins: bool = False,
    skip: Iterable[str] = (),
    keep: bool = False,
    verify_each: bool = False,
    check: bool = True,
    overwrite: bool = False,
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
    **unknown: NoReturn,
) -> Result:
    """Export a model to a verified bundle; the settings are those of ``edgesmith export``, by the same names.

    ``data`` may also be an iterable of pictures, with labels or without: paths, uint8 arrays or (picture, label).

    Raises:
        UserMistake: something asked for cannot be done; nothing was written.
        ParityFailed: the graph does not compute what PyTorch computes, or the accuracy budget is missed.
    """
    settings = {**locals()}  # what was passed and nothing else: no other name is bound yet
    refuse_unknown(export, settings.pop("unknown"))
    from .exporter.pipeline import export as run

    return run(**settings)


def load(
    bundle: Place | Bundle,
    backend: str | None = None,
    threads: int | None = None,
    pool_mb: float | None = None,
    spin: bool = True,
    **unknown: NoReturn,
) -> Session:
    """Open a bundle for inference: ``load("smt.edge")("photo.jpg")`` gives the classes of the picture, best first.

    ``pool_mb``: of a bundle that takes instructions, the most that is kept of open screens (docs/grounding.md).
    ``spin=False`` lets threads of the engine sleep between calls, for sources and servers that call with pauses (docs/python.md).

    Raises:
        BundleRefused: the bundle does not hold.
        BackendUnavailable: the engine's library or device is not here; the text says what is missing.
    """
    refuse_unknown(load, unknown)
    from .runtime.backends.load import load as open_session

    return open_session(bundle, backend=backend, threads=threads, pool_mb=pool_mb, spin=spin)


def evaluate(
    bundles: Place | Sequence[Place],
    data: Place,
    *,
    images: Place | None = None,
    weights: Place | None = None,
    limit: int | None = None,
    score: float | None = None,
    iou: float | None = None,
    agnostic_nms: bool = False,
    ignore_label: int | None = None,
    reduce_labels: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    save: Place | None = None,
    report: Place | None = None,
    overwrite: bool = False,
    log: str | None = None,
    ray: str | None = None,
    progress: Counted | None = None,
    **unknown: NoReturn,
) -> dict[str, Any]:
    """Accuracy of bundles on your own set, mAP of detectors and top-1 of classifiers: what ``edgesmith eval --json`` prints.

    ``report`` writes a page for people, which replaces another file with ``overwrite`` only; ``log`` appends each row to
    "csv:FILE" or "mlflow:URI".

    Raises UserMistake for bundles of several tasks, and for whatever cannot be used.
    """
    given = {**locals()}
    refuse_unknown(evaluate, given.pop("unknown"))
    from .exporter.plan.kinds import check_call

    check_call(evaluate, given)
    from os import PathLike, fspath

    from .exporter.commands.measure.evaluate import Asked
    from .exporter.commands.measure.evaluate import evaluate as run

    several = [bundles] if isinstance(bundles, (str, PathLike)) else bundles
    asked = Asked(images, limit, score, iou, backend, threads, agnostic_nms, ignore_label, reduce_labels)
    checkpoint, results, page = (None if place is None else fspath(place) for place in (weights, save, report))
    return run(
        [fspath(one) for one in several],
        fspath(data),
        asked,
        weights=checkpoint,
        save=results,
        report=page,
        overwrite=overwrite,
        log=log,
        ray=ray,
        progress=progress,
    )


def bench(
    bundle: Place,
    *,
    weights: Place | None = None,
    model: str | None = None,
    against: str | None = None,
    rounds: int = 30,
    threads: int = 1,
    batch: int | None = None,
    clock: str = "wall",
    memory: bool = True,
    progress: Progress | None = None,
    **unknown: NoReturn,
) -> dict[str, Any]:
    """Measure a bundle beside PyTorch and the plain export, interleaved in one run: what ``edgesmith bench --json`` prints.

    Raises UserMistake for an unknown peer, a batch the graph does not take, or a checkpoint that is not the bundle's.
    """
    given = {**locals()}
    refuse_unknown(bench, given.pop("unknown"))
    from .exporter.plan.kinds import check_call

    check_call(bench, given)
    from os import fspath

    from .exporter.commands.measure.bench import bench as run

    return run(
        fspath(bundle), weights=None if weights is None else fspath(weights), model=model, against=against, rounds=rounds,
        threads=threads, batch=batch, clock=clock, memory=memory, progress=progress,
    )  # fmt: skip


def compare(
    first: Place,
    second: Place,
    *,
    weights: Place | None = None,
    num_classes: int | None = None,
    precision: str = FP32,
    data: Place | None = None,
    **unknown: NoReturn,
) -> dict[str, Any]:
    """How far two bundles, ONNX files or models lie apart on the same inputs: what ``edgesmith compare --json`` prints.

    Raises UserMistake when one of the two cannot be opened, or they do not fit each other.
    """
    given = {**locals()}
    refuse_unknown(compare, given.pop("unknown"))
    from .exporter.plan.kinds import check_call

    check_call(compare, given)
    from os import fspath

    from .exporter.commands.inspect.compare import compare as run

    return run(
        fspath(first), fspath(second), weights=None if weights is None else fspath(weights), num_classes=num_classes, precision=precision,
        data=None if data is None else fspath(data),
    )  # fmt: skip


def sweep(
    models: Place | Sequence[Place],
    *,
    target: str = "cpu",
    precision: str | None = None,
    out: Place = "sweep",
    limit_s: float = 1800.0,
    limit_mb: float = 6000.0,
    rounds: int = 10,
    threads: int = 1,
    again: bool = False,
    ray: str | None = None,
    progress: Cells | None = None,
    **unknown: NoReturn,
) -> dict[str, Any]:
    """Export and measure models x targets x precisions, each in a process of its own: what ``edgesmith sweep --json`` prints.

    ``models``: files with one model and its settings a line, or models. Rows that ``out`` has from before are kept; what a cell cannot do
    is a row with its ``exit_code``.

    Raises UserMistake for a line, a name, a target or a folder that cannot be used; nothing has run then.
    """
    given = {**locals()}
    refuse_unknown(sweep, given.pop("unknown"))
    from .exporter.plan.kinds import check_call

    check_call(sweep, given)
    from os import PathLike, fspath

    from .exporter.commands.measure.sweep.flow import Asked
    from .exporter.commands.measure.sweep.flow import sweep as run

    several = [models] if isinstance(models, (str, PathLike)) else models
    lines = [fspath(one) for one in several]
    return run(Asked(lines, target, precision, fspath(out), limit_s, limit_mb, rounds, threads, again, ray), progress)


def inspect(path: Place, *, gpu_arch: str | None = None, **unknown: NoReturn) -> dict[str, Any]:
    """What a bundle, an ONNX file or an engine holds: what ``edgesmith inspect --json`` prints; no GPU needed.

    Raises UserMistake where there is none of the three.
    """
    refuse_unknown(inspect, unknown)
    from .exporter.plan.kinds import check_call

    check_call(inspect, {"path": path, "gpu_arch": gpu_arch})
    from .exporter.commands.inspect.inspect import inspect as run

    return run(path, gpu_arch)


def register_model(spec: ModelSpec) -> ModelSpec:
    """Add a variant of a model, or a family of one's own: models/registry.py says how."""
    from .models.registry import register_model as register

    return register(spec)


def register_pattern(pattern: type[P], *, orders: Iterable[str] | None = None, after: str = "") -> type[P]:
    """Let a rewrite run in ``orders`` ("cpu", "rtx", ...; all of them unless told), behind the pass ``after``.

    Without ``after`` its turn comes as soon as what it names in ``runs_after`` has run (exporter/patterns/order.py). The
    class is given back, so this may stand above it as a decorator.
    """
    from .exporter.patterns.order import register_pattern as register

    register(pattern, after=after) if orders is None else register(pattern, orders=orders, after=after)
    return pattern


def register_precision(precision: Precision) -> Precision:
    """Add a precision, most often one that engines take for one of ours (``like``): calibration/precisions.py says how."""
    from .calibration.precisions import register_precision as register

    return register(precision)


def register_target(target: Target) -> Target:
    """Add a target on one of the engines, with the opsets and precisions of a device of one's own (exporter/plan/targets.py)."""
    from .exporter.plan.targets import register_target as register

    return register(target)


def register_task(task: Task, export: ExportTask | None = None, judge: TaskJudge | None = None) -> Task:
    """Add a task: its part on the device (runtime/tasks/task.py), and what an export and a quantisation of it need.

    ``export`` is an ``ExportTask`` (exporter/tasks/task.py), ``judge`` a ``TaskJudge`` (calibration/judge/task.py); a device
    needs neither. The same task twice changes nothing.
    """
    if export is None and judge is None:
        from .runtime.tasks.known import register_task as register_on_device

        return register_on_device(task)
    from .exporter.tasks.known import register_task as register

    return register(task, export, judge)
