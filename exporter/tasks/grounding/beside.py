"""The part of ``compare`` that belongs to grounding: two bundles on the same screens, click by click.

The golden instructions of the first are asked of both, in every size that both have, on its golden screen and on pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.backends.load import load
from ....runtime.errors import UserMistake
from ....runtime.pictures.preprocess import pixels
from ....runtime.tasks.grounding.buckets import Bucket, nearest
from ....runtime.tasks.grounding.facts import Facts, facts_of
from ....runtime.tasks.grounding.verdict import compare, verdict
from ....runtime.tasks.grounding.words import MOST_BYTES
from ...run.pictures import pictures
from .golden import GoldenScreen, scores_of

if TYPE_CHECKING:
    from ....runtime.bundle.bundle import Bundle

Screens = list[tuple[str, np.ndarray, Bucket, Bucket]]  # what it is, pixels, the size in the first and in the second


def beside(first: Bundle, second: Bundle, precision: str, data: str | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows as ``compare`` shows them, and notes. UserMistake where the two do not read the same words, or have no size in common."""
    facts = facts_of(first), facts_of(second)
    _check_words(first, second, facts)
    golden = GoldenScreen.of(first)
    common = [(one, two) for one in facts[0].buckets for two in facts[1].buckets if one.size == two.size]
    if not common:
        raise UserMistake(
            "The two have no size of a screen in common",
            found="; ".join(
                f"{bundle.path.name}: {', '.join(one.words for one in told.buckets)}"
                for bundle, told in zip((first, second), facts, strict=True)
            ),
            expected="one size in both",
            attempt="export both with the same --screen",
        )
    alone = {one.words for told in facts for one in told.buckets} - {one.words for pair in common for one in pair}
    notes = [f"sizes of one of the two alone, not compared: {', '.join(sorted(alone))}"] if alone else []
    screens: Screens = [("golden", golden.picture, *pair) for pair in common]
    screens += [(picture.name, *_fitting(picture.path, common)) for picture in (pictures(data) if data else ())]
    with load(first) as one, load(second) as two:
        return list(_rows((one, two), facts, golden, screens, precision)), notes


def _rows(
    sessions: tuple[Any, Any], facts: tuple[Facts, Facts], golden: GoldenScreen, screens: Screens, precision: str
) -> Iterator[dict[str, Any]]:
    for name, picture, *buckets in screens:
        expected, found = (
            scores_of(session.screens(), bucket, session.screens().look(picture, bucket)[0], golden.rows)
            for session, bucket in zip(sessions, buckets, strict=True)
        )
        size, grid = buckets[0].size, buckets[0].grid
        figures = compare(expected, found, grid, facts[0].threshold)
        limit, passed = verdict(precision, min(told.kv_bits for told in facts), figures)
        yield {
            "output": f"clicks, {buckets[0].words}",
            "inputs": name,
            "count": len(golden.rows),
            "shape": [1, 3, *size],
            "cosine": figures["cosine"],
            "same_patch": figures["same_patch"],
            "point_px": (apart := figures["patches"] * size[0] / grid[0]),
            "told": f"the same patch in {figures['same_patch']:.0%}, points within {apart:.1f} px, scores within "
            f"{figures['share']:.1e} of the largest, cosine {figures['cosine']:.6f}",
            "limit": limit,
            "passed": passed,
            "verdict": "holds" if passed else "FAILS",
        }


def _fitting(path: Any, common: Sequence[tuple[Bucket, Bucket]]) -> tuple[np.ndarray, Bucket, Bucket]:
    picture = pixels(path)
    height, width = picture.shape[:2]
    one = nearest(height, width, [pair[0] for pair in common])
    return picture, one, next(two for mine, two in common if mine == one)


def _check_words(first: Bundle, second: Bundle, facts: tuple[Facts, Facts]) -> None:
    told = [
        (one.template, bundle.held(one.tokenizer, MOST_BYTES))
        for bundle, one in zip((first, second), facts, strict=True)
    ]
    if told[0] == told[1]:
        return
    raise UserMistake(
        "The two do not read the same words",
        found=f"{first.path.name} and {second.path.name}: "
        + ("another prompt" if told[0][0] != told[1][0] else "another tokenizer"),
        expected="two exports of one checkpoint, or of two with the same prompt and tokenizer",
        because="an instruction would be other ids for each",
        attempt="compare what was made from the same folder",
    )
