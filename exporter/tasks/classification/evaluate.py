"""``edgesmith eval`` of classifiers: top-1 and top-5 on a folder whose sub-folders are the classes, PyTorch beside the bundles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.errors import BackendUnavailable, UserMistake
from ....runtime.ground.limits import FP32
from ....runtime.ground.numbers import class_logits
from ....runtime.pictures.preprocess import preprocess
from ....runtime.tasks.classification import class_names, softmax
from ....runtime.tasks.evaluation import refuse_detector_settings, table
from ....runtime.tasks.parts import Source, opened_once, source_of
from ..eager import EAGER, eager, eager_once
from .figures import Judged, Picture, Rows

if TYPE_CHECKING:
    from ....calibration.pictures.items import PictureFile
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Load, Progress

BATCH = 8  # pictures at a time where the bundle takes any number
OF_CLASS = {"precision": "precision", "recall": "recall", "f1": "F1"}
COLUMNS = ("", "precision", "top-1", "95 %", "top-5", "pictures")
Logits = Callable[[Sequence[str]], np.ndarray]  # pictures -> (n, C)


def evaluate(
    opened: Sequence[Bundle],
    data: str,
    asked: Asked,
    weights: str | None,
    save: str | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Top-1 and top-5 on pictures whose folders or list say what they show."""
    expected = "--data with a folder whose sub-folders are the classes"
    refuse_detector_settings(asked, save, opened[0], "classifies", expected)
    _check_data(data)
    module = None if weights is None else eager(opened[0], weights)
    notes: list[str] = []
    names = [tuple(class_names(one.labels, int(one.manifest.get("num_classes") or len(one.labels)))) for one in opened]
    sets = {labels: labelled(data, labels, asked.limit, notes) for labels in dict.fromkeys(names)}
    found = Rows(notes)
    if module is not None:
        pictures = _pictures(*sets[names[0]])
        judged = _eager_judged(opened[0], module, pictures, asked, weights, progress)
        found.add({"name": EAGER, "precision": FP32, "backend": "torch"}, judged, pictures, names[0])
    rows = found.rows
    for bundle, labels in zip(opened, names, strict=True):
        row, pictures = {"name": bundle.path.name, "precision": bundle.precision}, _pictures(*sets[labels])
        try:
            judged, backend = _bundle_judged(bundle, pictures, asked, progress)
        except BackendUnavailable as error:
            if len(opened) == 1:
                raise
            rows.append(row | {"why_not": str(error).splitlines()[0]})
        else:
            found.add(row | {"backend": backend}, judged, pictures, labels)
    return {"data": data, "notes": list(dict.fromkeys(notes)), "rows": rows}


def _check_data(data: str) -> None:
    """UserMistake for what calibrates and does not evaluate, and for what does neither, in words of an evaluation."""
    from ....runtime.pictures.formats.suffixes import readable

    place = Path(data)
    suffix = "" if place.is_dir() else place.suffix.lower()
    if data == "random" and not place.exists():
        found, attempt = "random, which has no classes", "a folder of your pictures"
    elif suffix in (".npz", ".npy"):
        found = f"{data}: arrays"
        attempt = "save them as files; quant-report measures the accuracy of a quantised bundle on arrays as well"
    elif not place.exists():
        found, attempt = f"{data}: nothing at that path", "check the spelling and the folder you are in"
    elif suffix == ".json":
        found, attempt = (
            f"{data}: annotated boxes, and this bundle does not detect",
            "a folder whose sub-folders are the classes",
        )
    elif suffix not in ("", ".txt", ".lst", ".list", *readable()):
        found = f"{data}: a {suffix} file"
        attempt = "unpack an archive first; a table becomes a .txt with a path and a class on each line"
    else:
        return
    raise UserMistake(
        f"{data} does not say what the pictures show",
        found=found,
        expected="picture files in sub-folders that are the classes, or a list file .txt with labels",
        attempt=attempt,
    )


def labelled(
    data: str, labels: Sequence[str], limit: int | None, notes: list[str]
) -> tuple[list[PictureFile], np.ndarray]:
    """Pictures that can be read, and the class of each; UserMistake where the source does not say the classes."""
    from ....calibration.pictures.draw import Checker, shuffled
    from ....calibration.pictures.items import PictureFile
    from ....calibration.pictures.sources import open_source
    from ....runtime.pictures.preprocess import ImageContract

    opened = open_source(data, ImageContract(size=(32, 32)), tuple(labels), 0, 0, 0)
    pool = opened.validation or opened.pool
    notes += opened.notes
    if pool.labels is None or (pool.names and not isinstance(pool.item(0), PictureFile)):
        raise UserMistake(
            f"{data} does not say what the pictures show",
            found="; ".join(opened.notes) or f"{len(pool.names)} pictures without a class",
            expected="picture files in sub-folders named like the classes of the bundle, or a list file with labels",
            attempt=f"sub-folders {', '.join(list(labels)[:3])}{' ...' if len(labels) > 3 else ''}",
        )
    chosen = sorted(shuffled(len(pool.names), 0)[:limit])
    checker = Checker(pool)
    fine = [index for index, usable in zip(chosen, checker(chosen), strict=True) if usable]
    if checker.skipped:
        some = ", ".join(f"{one.name} ({one.why.splitlines()[0][:60]})" for one in checker.skipped[:3])
        notes.append(f"{len(checker.skipped)} pictures cannot be read and do not count: {some}")
    if not fine:
        raise UserMistake(f"no picture of {data} can be used", found=f"{len(chosen)} that cannot be read")
    if len(fine) < len(pool.names) - len(checker.skipped):
        notes.append(f"{len(fine)} of {len(pool.names)} pictures, drawn with a fixed seed")
    items = [item for index in fine if isinstance(item := checker.items[index], PictureFile)]
    return items, np.array([pool.labels[index] for index in fine])


def _bundle_judged(
    bundle: Bundle, pictures: Sequence[Picture], asked: Asked, progress: Progress | None
) -> tuple[list[Judged], str]:
    """What the bundle says of every picture, and the name of its backend."""
    from ....runtime.backends.load import load

    name = bundle.path.name
    with load(bundle, backend=asked.backend, threads=asked.threads) as session:
        least, size = session.batch_sizes(BATCH)
        batch, backend = max(least, min(size, BATCH)), session.backend
        if asked.spread is None:
            return _judged(_answers(session), pictures, batch, name, progress), backend
    about = (source_of(bundle), load, backend, asked.threads, batch)
    return asked.spread(_bundle_part, about, pictures, batch, name, progress), backend


def _bundle_part(
    source: Source, load: Load, backend: str, threads: int | None, batch: int, pictures: Sequence[Picture]
) -> list[Judged]:
    """Some of the pictures, in a process of their own."""
    return _judged(_answers(opened_once(source, load, backend, threads)), pictures, batch, "", None)


def _eager_judged(
    bundle: Bundle, module: Any, pictures: Sequence[Picture], asked: Asked, weights: str | None,
    progress: Progress | None,
) -> list[Judged]:  # fmt: skip
    if asked.spread is None:
        return _judged(_classify(bundle, module, asked.threads), pictures, BATCH, EAGER, progress)
    about = (source_of(bundle), weights, asked.threads)
    return asked.spread(_eager_part, about, pictures, BATCH, EAGER, progress)


def _eager_part(source: Source, weights: str, threads: int | None, pictures: Sequence[Picture]) -> list[Judged]:
    """The same by PyTorch, which makes the network anew in this process."""
    bundle, module = eager_once(source, weights)
    return _judged(_classify(bundle, module, threads), pictures, BATCH, "", None)


def _answers(session: Any) -> Logits:
    return lambda paths: np.stack([one.logits for one in session(list(paths))])


def _classify(bundle: Bundle, module: Any, threads: int | None) -> Logits:
    from ...run.runners import torch_runner

    run, contract = torch_runner(module, threads or 1), bundle.contract
    return lambda paths: run(preprocess(list(paths), contract))


def _pictures(items: Sequence[PictureFile], truth: np.ndarray) -> list[Picture]:
    """Each with its class, as another process finds it."""
    return [(os.path.abspath(item.path), int(known)) for item, known in zip(items, truth, strict=True)]


def _judged(
    answer: Logits, pictures: Sequence[Picture], batch: int, name: str, progress: Progress | None
) -> list[Judged]:
    """Picture by picture: of equal logits the first counts, a NaN is wrong."""
    judged: list[Judged] = []
    for at in range(0, len(pictures), batch):
        some = pictures[at : at + batch]
        logits = class_logits(answer([path for path, _ in some]))
        order = np.argsort(-logits, axis=1, kind="stable")
        ranks = (order == np.array([known for _, known in some])[:, None]).argmax(axis=1)
        finite = np.isfinite(logits).all(axis=1)
        sure = softmax(np.where(finite[:, None], logits, 0)).max(axis=1)
        for rank, found, confidence, known in zip(ranks, order[:, 0], sure, finite, strict=True):
            one = Judged(int(rank), int(found), float(confidence)) if known else Judged(logits.shape[1], -1, 0.0)
            judged.append(one)
        if progress is not None:
            progress(name, len(judged), len(pictures))
    return judged


def show(result: dict[str, Any], per_class: bool = False) -> str:
    """The result as text, with ``per_class`` a table of the classes below it."""
    body = [
        (row["name"], row["precision"], row["why_not"]) if "why_not" in row else
        (row["name"], row["precision"], f"{row['top1']:.2f}", f"{row['low']:.1f}-{row['high']:.1f}", f"{row['top5']:.2f}",
         str(row["pictures"]))
        for row in result["rows"]
    ]  # fmt: skip
    lines = table(COLUMNS, body)
    for row in result["rows"] if per_class else ():
        told = [(label, str(one["support"]), *_percents(one)) for label, one in row.get("per_class", {}).items()]
        lines += ["", *table((f"class, {row['name']}", "support", *OF_CLASS.values()), told)] if told else []
    return "\n".join([*lines, *(f"note: {note}" for note in result["notes"])])


def _percents(told: dict[str, Any]) -> list[str]:
    return ["-" if told[key] is None else f"{told[key]:.1f}" for key in OF_CLASS]
