"""``edgesmith quant-report PATH``: what a quantised bundle or ONNX file holds, and what it costs on pictures.

A bundle brings its own account (``manifest["quantisation"]``); pictures judge it again.  Any other quantised ONNX file, of
whatever tool, is read (calibration/report/quantised_file.py) and measured against the float model that it came from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....models.registry import find
from ....runtime.bundle.bundle import Bundle, open_bundle
from ....runtime.errors import UserMistake
from ....runtime.ground.limits import FP32, quantised
from ....runtime.tasks.known import joined
from ...bundle.as_written import Run, apart_db, as_written
from ...run.foreign.read import bytes_of
from ...run.foreign.words import asked_of_engine
from ...run.runners import run_all
from ...tasks.known import find_export
from ..inspect.foreign.pictures import prepared, raw
from ..inspect.foreign.rounding import own_rounding, rounding_note
from ..inspect.foreign.tried import try_graph
from .runs import bundle_runner, file_runner, wide
from .sides import (
    File,
    Reference,
    answers_in,
    bundle_reference,
    open_file,
    open_reference,
    shape_of,
    task_in,
)

if TYPE_CHECKING:
    from ....calibration.pictures.images import ImageSet
    from ....graph.run import Runner
    from ....runtime.bundle.bundle import Bundle
    from ...tasks.task import ExportTask

Step = Callable[[str, int, int], None]
FEW = 8  # pictures on which the engine's own rounding is measured
SCANNED = 16  # pictures of a sensitivity scan
CLIPPED = 0.2  # share of clipped values from which the pictures must be of another kind


@dataclass(frozen=True)
class Asked:
    """The settings of the command."""

    ref: str | None = None
    model: str | None = None
    weights: str | None = None
    num_classes: int | None = None
    data: str | None = None
    eval_images: int = 1000
    max_drop: float | None = None
    sensitivity: bool = False
    images: str | None = None  # folder of the pictures that a COCO file names


def quant_report(path: str, asked: Asked, step: Step = lambda words, done, total: None) -> dict[str, Any]:
    """``kind``, ``path``, ``quantisation`` (as in a manifest) and ``met``: whether the budget holds, None without one.

    Raises:
        UserMistake: not quantised, no reference to compare with, inputs that do not fit, or no picture that can be used.
    """
    place = Path(path)
    if not place.exists():
        raise UserMistake(
            f"There is nothing at {path}",
            found="no file and no folder at that path",
            expected="a bundle that edgesmith export quantised, or a quantised ONNX file",
            attempt="check the path",
        )
    _check_asked(asked, place.is_dir())
    told = _bundle(place, asked, step) if place.is_dir() else _file(place, asked, step)
    if asked.max_drop is not None or told.get("budget"):
        told["budget"] = _budget(told, asked.max_drop)
    kind = "bundle" if place.is_dir() else "file"
    budget = told.get("budget") or {}
    return {"kind": kind, "path": str(place), "quantisation": told, "met": budget.get("met")}


def _check_asked(asked: Asked, bundle: bool) -> None:
    needs = {"--max-drop": asked.max_drop is not None and not bundle, "--sensitivity": asked.sensitivity}
    needs |= {"--ref": asked.ref is not None, "--model": asked.model is not None}
    wanting = [flag for flag, given in needs.items() if given]
    if wanting and asked.data is None:
        raise _needs_pictures(wanting[0], "it is measured on them")


def _needs_pictures(flag: str, because: str) -> UserMistake:
    return UserMistake(
        f"{flag} needs pictures",
        found=f"{flag} without --data",
        expected="--data with a folder, a list file or an .npz of pictures",
        because=because,
        attempt="--data photos/",
    )


def _no_account(path: Path, bundle: Bundle) -> UserMistake:
    """For a bundle in floating point, and for one whose weights alone were rounded, without pictures."""
    if quantised(bundle.precision):
        return UserMistake(
            f"{path} has no account of its places",
            found=f"a {find_export(bundle.task).noun} in {bundle.precision}, whose weights were rounded one by one",
            expected="a bundle that was calibrated on pictures",
            because="nothing was searched or measured place by place: how exact its weights are is told in a note for each kind",
            attempt=f"edgesmith inspect {path}, and {path / 'report.html'}: its rows of parity are what rounding costs",
        )
    return UserMistake(
        f"{path} is not quantised",
        found=f"a bundle in {bundle.precision}",
        expected="a bundle in int8, fp8, int4 or nvfp4",
        attempt=f"edgesmith export --model {bundle.manifest.get('model')}{find_export(bundle.task).quantised_by}",
    )


def _bundle(path: Path, asked: Asked, step: Step) -> dict[str, Any]:
    """The account in the manifest, with the accuracy measured again where there are pictures."""
    bundle = open_bundle(path)
    told = dict(bundle.manifest.get("quantisation") or {})
    if not told:
        raise _no_account(path, bundle)
    told["notes"] = list(told.get("notes") or [])
    if asked.data is None:
        if asked.max_drop is not None and not told.get("accuracy"):
            raise _needs_pictures("--max-drop", "no accuracy was measured when it was made")
        return {**told, "notes": [*told["notes"], *(bundle.manifest.get("notes") or [])]}
    data = told.get("data") or {}
    task = find_export(bundle.task)
    labels = task.class_names(bundle.labels, int(bundle.manifest.get("num_classes") or len(bundle.labels)))
    images = _pictures(
        asked, bundle.contract, labels, told["notes"], task, calibrated=int(data.get("images") or 128),
        judged=int(data.get("held_out") or 0),
    )  # fmt: skip
    shape = shape_of(bundle.picture_input.shape, bundle.contract)
    reference = (
        open_reference(asked.ref, asked.model, asked.weights, asked.num_classes, shape, face=bundle.contract.face)
        if asked.ref or asked.model
        else bundle_reference(bundle, asked.weights, shape)
    )
    batch = shape[0] or 32
    told["notes"] += reference.notes
    run, exact = bundle_runner(bundle, told["notes"]), as_written(bundle)
    if exact is not None:
        run = _exactly(bundle, exact, run, next(images.batches(shape[0] or FEW)), told)
    rule = task.rule_of(bundle)
    if task.in_graph(rule):
        run = _opened(run, task, len(bundle.labels))
    reference = replace(reference, task=task, rule=rule)  # the bundle's own thresholds count on both sides
    told["accuracy"] = _accuracy(reference, run, images, batch, asked.max_drop, told["notes"], step)
    if asked.sensitivity:
        _scan(open_file(bundle.graph, bundle.contract.face), told["nodes"], images, step, told["notes"], reference)
    return told


def _file(path: Path, asked: Asked, step: Step) -> dict[str, Any]:
    """The places of any quantised ONNX file, with what can be measured."""
    from ....calibration.report.file_figures import INNER, measure_places

    file = open_file(path)
    notes: list[str] = []
    told: dict[str, Any] = {"precision": file.precision, "form": file.form, "notes": notes, "sizes": {}}
    if asked.data is None:
        told["nodes"] = measure_places(file.model, file.places)
        notes.append("nothing was measured: --data with --ref or --model measures SQNR and accuracy")
        return told
    if not (asked.ref or asked.model):
        raise UserMistake(
            f"Nothing to compare {path} with",
            found="--data without --ref and without --model",
            expected="the float model that the file was made from",
            because="what quantisation cost is a difference",
            attempt="--ref model.onnx, or --model NAME --weights FILE",
        )
    task = find_export(find(asked.model).task) if asked.model else task_in(file.runnable)
    answers, told_apart = answers_in(file.runnable, task, path, asked.num_classes)
    file = file.answering(answers)
    reference = open_reference(
        asked.ref, asked.model, asked.weights, asked.num_classes, file.shape, tuple(answers.values())
    )
    notes += [*reference.notes, *told_apart]
    if file.takes.told:
        notes.append(f"{path.name} gets its pictures {file.takes.told}")
    reference = _same_pictures(file, reference)
    classes = reference.task.class_names([str(number) for number in range(reference.classes)], reference.classes)
    images = _pictures(asked, reference.contract, reference.labels or classes, notes, reference.task)
    few = next(images.batches(max(INNER, SCANNED)))
    try_graph(path, (file.shape[0] or len(few), *few.shape[1:]), (True, False))
    with asked_of_engine(path):
        told["nodes"] = measure_places(
            file.model,
            file.places,
            few,
            reference.graph,
            lambda done, total: step("one picture at a time", done, total),
        )
    notes += _clipping(told["nodes"])
    told["share"] = sum(row["share"] for row in told["nodes"])
    told["sizes"] = {FP32: bytes_of(reference.path), "quantised": bytes_of(path)} if reference.path else {}
    told["data"] = {
        "judged_on": images.source,
        "kind": images.kind,
        "held_out": len(images),
        "held_out_sha256": images.digest,
    }
    run = file_runner(file, notes)
    if rounding := own_rounding(file.runnable, few[:FEW]):
        told["engine"] = {"name": "ONNX Runtime", "rounding_db": rounding}
        notes.append(rounding_note(rounding))
    told["accuracy"] = _accuracy(reference, run, images, file.shape[0] or 8, asked.max_drop, notes, step)
    if asked.sensitivity:
        with asked_of_engine(path):
            _scan(file, told["nodes"], images, step, notes, reference)
    return told


def _same_pictures(file: File, reference: Reference) -> Reference:
    """The reference on what the file reads: where that are whole numbers, 0 to 255, it prepares its own from them."""
    known = raw(reference.contract)
    if reference.whole and not file.takes.whole:
        raise UserMistake(
            "The two do not take the same pictures",
            found=f"{file.path} takes floats, the reference whole numbers",
            expected="a float model that takes what the quantised file takes",
            attempt="--ref with the model that the file was made from",
        )
    if not file.takes.whole or reference.whole:
        return reference
    return replace(reference, contract=known, run=lambda images: reference.run(prepared(images, reference.contract)))


def _clipping(rows: list[dict[str, Any]]) -> list[str]:
    """What clipping of a fifth and more means: nobody chooses such a range on purpose."""
    cut = [row for row in rows if row.get("clipped", 0) > CLIPPED]
    if not cut:
        return []
    most = max(cut, key=lambda row: float(row["clipped"]))
    told = f"{most['node']} clips {most['clipped']:.0%} of what it reads"
    return [f"{told}: are these pictures prepared as those that it was calibrated with?"]


def _pictures(
    asked: Asked, contract: Any, labels: Any, notes: list[str], task: ExportTask, calibrated: int = 0, judged: int = 0
) -> ImageSet:
    """What to judge by: the pictures that did not calibrate, where we know how many did; else all that were drawn."""
    from ....calibration.pictures.images import open_data

    assert asked.data is not None
    count, held_out = (calibrated, asked.eval_images) if calibrated else (asked.eval_images, 0)
    data = open_data(
        asked.data,
        contract,
        labels=labels,
        count=count,
        held_out=held_out,
        images=asked.images,
        truths=task.judge.truths,
        keep_back=judged,
    )
    notes += [note for note in data.notes if "no held-out" not in note]
    if calibrated and not len(data.held_out):
        notes.append("judged on pictures that may have calibrated it: there are too few for others")
    return data.held_out if len(data.held_out) else data.calibration


def _accuracy(
    reference: Reference,
    run: Runner,
    images: ImageSet,
    batch: int,
    max_drop: float | None,
    notes: list[str],
    step: Step,
) -> dict[str, Any]:
    """Both models on all pictures."""
    from ....calibration.report.report import accuracy_report

    done = 0

    def counted(runner: Runner) -> Runner:
        def run_some(some: np.ndarray) -> np.ndarray:
            nonlocal done
            found = run_all(runner, some, batch)
            done += len(some)
            step("float and quantised", done, 2 * len(images))
            return found

        return run_some

    evaluation = reference.task.judge.evaluation(
        images, counted(reference.run), reference.rule, reference.contract, batch=batch
    )
    outputs = evaluation.shape

    def fitting(some: np.ndarray) -> np.ndarray:
        found = run(some)
        if wide(found.shape[1:]) == wide(outputs):  # (N, C, 1, 1) beside (N, C)
            found = found.reshape(len(found), *outputs)
        if found.ndim != len(outputs) + 1 or found.shape[-1] != outputs[-1]:
            raise UserMistake(
                "The two models do not have the same outputs",
                found=f"reference {outputs}, quantised {found.shape[1:]}",
                expected="the same number of classes",
                attempt="--ref with the model that the file was made from, or --num-classes",
            )
        return found

    notes += evaluation.notes(max_drop)
    return accuracy_report(evaluation.evaluate(counted(fitting)), evaluation.expected)


def _exactly(bundle: Bundle, exact: Run, usual: Runner, few: np.ndarray, told: dict[str, Any]) -> Runner:
    """The bundle as its graph is written, and a note of what its engine rounds by itself, on a ``few`` pictures."""

    def run(images: np.ndarray) -> np.ndarray:
        return joined(exact(images))

    batch = bundle.picture_input.shape[0]
    both = ({"": run_all(side, few, batch if isinstance(batch, int) else len(few))} for side in (run, usual))
    if (apart := apart_db(*both)) is not None:
        told["engine"] = {"name": bundle.target, "rounding_db": apart}
        told["notes"].append(rounding_note(apart, f"The engine of target {bundle.target}"))
    return run


def _opened(run: Runner, task: ExportTask, classes: int) -> Runner:
    """A graph that holds the last step of its task, as one that gives what the network gives."""
    return lambda images: task.opened(run(images), classes)


def _scan(
    file: File, rows: list[dict[str, Any]], images: ImageSet, step: Step, notes: list[str], reference: Reference
) -> None:
    """``output_sqnr_db`` of every row whose rounding can be switched."""
    from ....calibration.report.switches import scan_places

    shares = {row["node"]: row["share"] for row in rows}
    few = next(images.batches(SCANNED))
    found = scan_places(
        file.model, file.places, shares, few, lambda done, total: step("one node at a time", done, total),
        distance=reference.task.judge.distance,
    )  # fmt: skip
    if not found:
        notes.append("no sensitivity: the file has integer operators only, whose rounding cannot be switched off")
        return
    for row in rows:
        alone = next((one.sqnr_db for one in found if one.node == row["node"]), None)
        if alone is not None:
            row["output_sqnr_db"] = alone
    notes.append(
        f"sensitivity on {len(few)} pictures: one activation rounded alone, weights as in the file, against the same file "
        "with no activation rounded"
    )


def _budget(told: dict[str, Any], asked: float | None) -> dict[str, Any]:
    """The budget asked for, or the bundle's own, held against the accuracy just measured (or the one in the manifest)."""
    from ....calibration.budget.search import is_within

    old = dict(told.get("budget") or {})
    limit = asked if asked is not None else old["max_drop"]
    drop = ((told.get("accuracy") or {}).get("drop") or {}).get("points")
    met = old.get("met") if drop is None else is_within(drop, limit)
    return {**old, "max_drop": limit, "met": met}
