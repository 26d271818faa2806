"""``edgesmith eval`` of features: what the nearest pictures say of a picture's class, and how near a bundle is to the first row.

    folder whose sub-folders are the classes     nearest neighbours, each picture left out in its turn; and cosine
    pictures without classes                     cosine alone, of two rows at least

Neighbours: the k pictures whose features have the largest cosine vote, weighted by exp(cosine / 0.07) (Wu et al., Unsupervised Feature
Learning via Non-Parametric Instance Discrimination, 2018), with k = 20 as is usual for features (Caron et al., 2021). Maps and tokens
are averaged to one vector a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.backends.load import load
from ....runtime.coco.intervals import wilson
from ....runtime.errors import BackendUnavailable, UserMistake
from ....runtime.ground.limits import FP32
from ....runtime.pictures.preprocess import preprocess
from ....runtime.pictures.video import pictures
from ....runtime.tasks.evaluation import refuse_detector_settings, table
from ....runtime.tasks.features import cosines, pooled
from ..classification.evaluate import labelled
from ..eager import EAGER, eager

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle
    from ....runtime.tasks.evaluation import Asked, Progress

BATCH = 8  # pictures at a time where the bundle takes any number
NEIGHBOURS, TEMPERATURE = 20, 0.07
COLUMNS = ("", "precision", "20-NN top-1", "95 %", "cosine", "least", "pictures")
Vectors = Callable[[Sequence[str]], np.ndarray]  # pictures -> (n, C) float64


def evaluate(
    opened: Sequence[Bundle], data: str, asked: Asked, weights: str | None, save: str | None, progress: Progress | None
) -> dict[str, Any]:
    """One row a bundle, after one of PyTorch where ``weights`` is given: the checkpoint of the first bundle.

    Raises:
        UserMistake: what belongs to other tasks was given, or one row of pictures without classes, which nothing can judge.
    """
    expected = "--data with a folder of pictures; sub-folders that are classes are judged by their neighbours"
    refuse_detector_settings(asked, save, opened[0], "gives features", expected, "edgesmith run --save keeps features")
    notes: list[str] = []
    paths, truth = _pictures(data, asked, len(opened) + (weights is not None), notes)
    module = None if weights is None else eager(opened[0], weights)
    rows: list[dict[str, Any]] = []
    first: np.ndarray | None = None

    def judged(name: str, precision: str, backend: str, vectors: Vectors, batch: int) -> None:
        nonlocal first
        found = _all(vectors, paths, batch, name, progress)
        row = {"name": name, "precision": precision, "backend": backend, "pictures": len(found)}
        if truth is not None:
            row |= neighbours(found, truth)
        if first is not None and first.shape == found.shape:
            near = cosines(first, found)
            row |= {"cosine": float(near.mean()), "least_cosine": float(near.min())}
        first = found if first is None else first
        rows.append(row)

    if module is not None:
        from ...run.runners import torch_runner

        run, contract = torch_runner(module, asked.threads or 1), opened[0].contract
        judged(EAGER, FP32, "torch", lambda some: pooled(run(preprocess(list(some), contract))), BATCH)
    for bundle in opened:
        try:
            with load(bundle, backend=asked.backend, threads=asked.threads) as session:
                least, size = session.batch_sizes(BATCH)
                batch = max(least, min(size, BATCH))
                judged(bundle.path.name, bundle.precision, session.backend, partial(_answer, session), batch)
        except BackendUnavailable as error:
            if len(opened) == 1:
                raise
            why = str(error).splitlines()[0]
            rows.append({"name": bundle.path.name, "precision": bundle.precision, "why_not": why})
    return {"data": data, "notes": list(dict.fromkeys(notes)), "rows": rows}


def _answer(session: Any, paths: Sequence[str]) -> np.ndarray:
    return np.stack([one.pooled for one in session(list(paths))])


def neighbours(vectors: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """(n, C), (n,) -> the share of pictures whose neighbours, itself left out, vote for its class, in percent, and its interval."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    count, most = len(unit), min(NEIGHBOURS, len(unit) - 1)
    hits = 0
    for at in range(count):
        near = unit @ unit[at]
        near[at] = -np.inf
        chosen = np.argsort(-near, kind="stable")[:most]
        votes = np.bincount(truth[chosen], weights=np.exp(near[chosen] / TEMPERATURE))
        hits += int(votes.argmax() == truth[at])
    low, high = wilson(hits, count)
    return {"top1": 100 * hits / count, "low": low, "high": high}


def _pictures(data: str, asked: Asked, rows: int, notes: list[str]) -> tuple[list[str], np.ndarray | None]:
    """The pictures and, where the sub-folders are classes, the class of each."""
    folder = Path(data)
    names = sorted(one.name for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    if len(names) > 1 or not folder.is_dir():
        items, truth = labelled(data, names, asked.limit, notes)
        if len(items) < 2:
            raise UserMistake(f"{data} holds one picture", expected="pictures that can be neighbours")
        notes.append(f"{len(names)} classes, the sub-folders; {min(NEIGHBOURS, len(items) - 1)} neighbours vote")
        return [one.path for one in items], truth
    if rows < 2:
        raise UserMistake(
            "Features alone are not right or wrong",
            found=f"{data}: pictures without classes, and one bundle",
            expected="sub-folders that are classes, or two rows to compare: another bundle, or --weights for PyTorch",
            because="what they are good for is said by their neighbours' classes, or by how near others are",
            attempt="edgesmith eval FIRST SECOND --data PICTURES, or edgesmith compare FIRST SECOND",
        )
    paths = list(pictures([data]).paths)
    chosen = sorted(np.random.default_rng(0).permutation(len(paths))[: asked.limit].tolist())
    notes.append("no classes: sub-folders that are classes would be judged by nearest neighbours")
    return [paths[at] for at in chosen], None


def _all(vectors: Vectors, paths: Sequence[str], batch: int, name: str, progress: Progress | None) -> np.ndarray:
    found: list[np.ndarray] = []
    for at in range(0, len(paths), batch):
        found.append(vectors(paths[at : at + batch]))
        if progress is not None:
            progress(name, min(at + batch, len(paths)), len(paths))
    return np.concatenate(found)


def show(result: Mapping[str, Any]) -> str:
    """The result as text; the cosine is that with the first row."""
    body: list[tuple[str, ...]] = []
    for row in result["rows"]:
        if "why_not" in row:
            body.append((row["name"], row["precision"], row["why_not"]))
            continue
        top1 = (f"{row['top1']:.2f}", f"{row['low']:.1f}-{row['high']:.1f}") if "top1" in row else ("-", "")
        near = (f"{row['cosine']:.6f}", f"{row['least_cosine']:.6f}") if "cosine" in row else ("-", "-")
        body.append((row["name"], row["precision"], *top1, *near, str(row["pictures"])))
    return "\n".join([*table(COLUMNS, body), *(f"note: {note}" for note in result["notes"])])
