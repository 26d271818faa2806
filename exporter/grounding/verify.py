"""Does the bundle answer what PyTorch answers? Judged end to end, as the device opens it, on one drawn screen and some instructions.

In floating point the judge is PyTorch in float32; where bfloat16 costs a checkpoint more than the usual limit, the bundle is held to
what PyTorch itself loses in bfloat16. An int4 bundle is held to PyTorch with the weights that its codes stand for,
which shows that the graphs are right: an engine that rounds further by itself is told not to for this row, and one more row tells
what it answers with its rounding. How far the bundle is from the checkpoint is told beside it, and is no pass or fail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...calibration.precisions import PRECISIONS
from ...runtime.errors import ParityFailed
from ...runtime.ground.limits import FP16, FP32, least_cosine
from ...runtime.pictures.preprocess import preprocess
from ...runtime.tasks.grounding.regions import THRESHOLD
from ...runtime.tasks.grounding.verdict import compare, verdict
from ..tasks.rows import Row, agreement

if TYPE_CHECKING:
    from ...runtime.session.session import Session
    from ..plan.plan import Plan
    from .judge import Judged

HELD, SAME, TOLD = "held", "same", "told, no limit"
SUM_ERROR = 1e-2  # of scores in the shortest types
CODES_COSINE = 0.99  # of a graph of few bits beside PyTorch with the same codes
PACKED_COSINE = {8: 0.99}  # with keys and values of few bits, whose error is not in the judge; of fewer it is told


@dataclass(frozen=True)
class GroundingRow(Row):
    """A row of parity: ``top1`` is the share of instructions with the same best patch, ``point_px`` how far the clicks are apart."""

    point_px: float = 0.0

    def __str__(self) -> str:
        share = self.max_abs / self.largest if self.largest else float("inf")
        return (
            f"scores within {share:.1e} of the largest, cosine {self.cosine:.6f}, the same patch in {self.top1:.0%}, "
            f"points within {self.point_px:.1f} px"
        )


def row(
    plan: Plan, stage: str, runner: str, inputs: str, expected: np.ndarray, found: np.ndarray, limit: str,
    own: np.ndarray | None = None,
) -> GroundingRow:  # fmt: skip
    """(n, V) scores of the judge and of a bundle; ``limit`` is HELD, SAME (computed twice by one bundle) or TOLD.

    ``own``: PyTorch in the type of the bundle, for which see ``within_own``.
    """
    bucket = plan.rule.buckets[0]
    shape = (1, 3, *bucket.size)
    largest = float(expected.max())
    if found.shape != expected.shape or not np.isfinite(found).all():
        return GroundingRow(
            stage, runner, inputs, shape, len(expected), np.inf, largest, -1.0, 0.0, 0.0, "finite scores", False, np.inf
        )
    figures = compare(expected, found, bucket.grid, THRESHOLD)
    words, passed = limit_of(plan, figures, limit)
    if own is not None:
        words, passed = within_own(figures, compare(expected, own, bucket.grid, THRESHOLD))
    point_px = figures["patches"] * bucket.size[0] / bucket.grid[0]
    return GroundingRow(
        stage, runner, inputs, shape, len(expected), float(np.abs(expected - found).max()), largest,
        figures["cosine"], figures["same_patch"], _shared(expected, found), words, passed, point_px,
    )  # fmt: skip


def limit_of(plan: Plan, figures: Mapping[str, Any], limit: str) -> tuple[str, bool]:
    packed = plan.rule.kv_bits < 16 and limit != SAME
    if limit == TOLD or (packed and plan.rule.kv_bits not in PACKED_COSINE):
        return TOLD, True
    if PRECISIONS[plan.precision].quantised or packed:
        whole = least_cosine(plan.precision) if plan.calibration else CODES_COSINE
        least = PACKED_COSINE[plan.rule.kv_bits] if packed else whole
        return f"cosine >= {least:g}", bool(figures["cosine"] >= least)
    as_if = FP16 if plan.precision == FP32 and plan.rule.kv_bits < 32 else plan.precision
    return verdict(as_if, 32, figures)


def within_own(figures: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, bool]:
    """No engine has to be better in a type than PyTorch is in it."""
    least = float(own["cosine"])
    return f"cosine >= {least:.6g}, that of PyTorch in this type", bool(figures["cosine"] >= least)


def _shared(expected: np.ndarray, found: np.ndarray) -> float:
    """Mean share of the five best patches in common."""
    best = [np.argsort(-side, axis=1, kind="stable")[:, :5] for side in (expected, found)]
    return float((best[0][:, :, None] == best[1][:, None]).any(axis=2).mean())


def looked(session: Session, picture: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The first size's visual tokens (V, D) of a picture, and what its prefix stores."""
    place = session.screens().facts.buckets[0]
    pixels = preprocess([picture], place.contract(session.bundle.contract))
    embeds = session.run({"pixels": pixels}, graph=place.vision)
    return embeds["image_embeds"][0], session.run(embeds, graph=place.prefix)


def parts(plan: Plan, runner: str, judge: Judged, image: np.ndarray, sums: np.ndarray) -> list[Row]:
    """Rows of the tower (each visual token) and of the prefix (each layer's S_l), which show where an error begins.

    They have no limit: what counts is the scores. For them top-1 and top-5 are of the largest channels.
    """
    shape = (1, 3, *plan.rule.buckets[0].size)
    pairs = {("vision", "visual tokens"): (judge.image, image), ("prefix", "layers' sums"): (judge.sums, sums)}
    found = [agreement(stage, runner, inputs, shape, *pair, plan.precision) for (stage, inputs), pair in pairs.items()]
    return [replace(one, limit=TOLD, passed=bool(np.isfinite(one.max_abs))) for one in found]


def check_others(session: Session, picture: np.ndarray, ids: list[int]) -> None:
    """Every size beside the first is opened and answers an instruction; ParityFailed where that is no numbers that sum to 1."""
    for bucket in session.screens().facts.buckets[1:]:
        stored, _ = session.screens().look(picture, bucket)
        found = session.screens().scores(bucket, [stored], [ids])
        if not np.isfinite(found).all() or abs(found.sum() - 1) > SUM_ERROR:
            raise ParityFailed(
                f"the graphs of {bucket.words} give no scores",
                found=f"a sum of {found.sum():.3g}, {int((~np.isfinite(found)).sum())} values that are no numbers",
                expected="finite scores that sum to 1",
                because="the graphs or the engine compute something else than at the first size",
                attempt="--precision fp32, to see whether it is the precision",
            )


def unrounded(session: Session, picture: np.ndarray, rows: list[list[int]]) -> np.ndarray:
    """The scores (n, V) of ``session.exactly()``, which is opened for them."""
    with session.start():
        return answers(session, looked(session, picture)[1], rows)


def answers(session: Session, stored: dict[str, np.ndarray], rows: list[list[int]]) -> np.ndarray:
    """The scores (n, V) of instructions as ids over a stored screen, each alone."""
    desk = session.screens()
    place = desk.facts.buckets[0]
    return np.asarray(np.concatenate([desk.scores(place, [stored], [ids]) for ids in rows]), np.float64)


def together(session: Session, stored: dict[str, np.ndarray], rows: list[list[int]]) -> np.ndarray:
    """The same in one batch: rows of other lengths are padded."""
    desk = session.screens()
    return np.asarray(desk.scores(desk.facts.buckets[0], [stored] * len(rows), rows), np.float64)
