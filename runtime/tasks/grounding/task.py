"""The task of grounding: a screenshot and instructions in words -> the point to click for each.

    vision > prefix, once a picture > instruction, each time > scores (B, V) of the patches > regions > point

Its pictures stay open (``screens``): a second instruction costs only the last graph.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import BundleRefused, UserMistake, one_line
from ...report.kinds import refuse
from ..described import Described, Runs
from ..task import ImageSize, Task, Times
from . import facts, verdict
from .answer import Clicks
from .zoom import check_factor

if TYPE_CHECKING:
    from ...pictures.preprocess import Picture
    from ...report.parts import Parts
    from ..evaluation import Asked as Evaluation
    from ..evaluation import Load, Progress
    from ..selftest import SelfTestRow
    from .screens.screens import Screens


@dataclass(frozen=True)
class Asked:
    """What a call asks of each of its pictures."""

    instructions: tuple[str, ...]
    zoom: int | None


class GroundingTask(Task):
    """Patch scores (B, V), which sum to 1 -> a click for each instruction."""

    name = facts.KEY
    outputs = (verdict.SCORES,)
    # ONNX Runtime's rounding of what 8-bit weights multiply moved clicks: cosine 0.985 where 0.99 is asked
    exact_activations = True
    instructed = True

    def check_bundle(self, bundle: Described) -> None:
        from .report import TOLD

        refuse(bundle.path, TOLD(bundle.manifest))
        facts.check(bundle)

    def kept_files(self, bundle: Described) -> Sequence[str]:
        return (facts.facts_of(bundle).tokenizer,)

    def screens(self, session: Runs, pool_mb: float | None) -> Screens:
        from .screens.screens import Screens

        return Screens(session, pool_mb)

    def check(self, bundle: Described, choices: Mapping[str, Any]) -> Asked:
        given = {name: value for name, value in choices.items() if value is not None}
        instruction, zoom = given.pop("instruction", None), given.pop("zoom", None)
        super().check(bundle, given)
        texts = (instruction,) if isinstance(instruction, str) else tuple(instruction or ())
        if not texts:
            raise UserMistake(
                f"{bundle.name} needs an instruction beside the picture",
                found="none",
                expected="what to click, in words",
                attempt='session(picture, instruction="open the settings"), or session.open(picture).click(...)',
            )
        return Asked(texts, None if zoom is None else check_factor(zoom))

    def look(self, screens: Callable[[], Any], pictures: Sequence[Picture], chosen: Asked) -> list[Clicks]:
        desk: Screens = screens()
        desk.rows(chosen.instructions)  # a word that cannot be asked is told before a picture is looked at
        return [_clicks(desk, picture, chosen) for picture in pictures]

    def answers(
        self,
        bundle: Described,
        results: Mapping[str, np.ndarray],
        sizes: Sequence[ImageSize],
        chosen: Any,
        times: Times,
    ) -> NoReturn:
        raise NotImplementedError("one run of one graph is no answer here: see look")

    # the self-test

    def golden_inputs(self, bundle: Described) -> Sequence[str]:
        return verdict.INPUTS

    def golden_outputs(self, bundle: Described) -> Sequence[str]:
        return self.outputs

    def golden_graphs(self, bundle: Described) -> Sequence[str]:
        first = facts.facts_of(bundle).buckets[0]
        return first.vision, first.prefix, facts.INSTRUCTION

    def replay(
        self, screens: Callable[[], Any], inputs: Mapping[str, np.ndarray], picture: np.ndarray | None
    ) -> list[dict[str, np.ndarray]]:
        if picture is None:
            raise BundleRefused(
                "the golden file has no picture to look at", expected="edgesmith.picture", attempt="export it again"
            )
        desk: Screens = screens()
        bucket = desk.facts.buckets[0]
        stored = desk.look(picture, bucket)[0]
        rows = [ids[len(ids) - length :].tolist() for ids, length in zip(*map(inputs.get, verdict.INPUTS), strict=True)]
        return [{verdict.SCORES: desk.scores(bucket, [stored], [ids])} for ids in rows]

    def selftest_rows(
        self,
        bundle: Described,
        golden: Mapping[str, np.ndarray],
        parts: Sequence[Mapping[str, np.ndarray]],
        precision: str,
    ) -> list[SelfTestRow]:
        found = [part[verdict.SCORES] for part in parts]
        measured = (bundle.manifest.get("precision_report") or {}).get("golden_cosine")
        return [verdict.row(golden[verdict.SCORES], found, facts.facts_of(bundle), precision, measured)]

    def evaluate(
        self,
        bundles: Sequence[Described],
        data: str | os.PathLike[str],
        asked: Evaluation,
        load: Load,
        save: str | os.PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> NoReturn:
        raise UserMistake(
            f"{bundles[0].path} points, and there is no set of clicks that it could be judged on here",
            found=f"task {self.name}",
            expected="bundles of classifiers or detectors",
            attempt=f"edgesmith run {bundles[0].path} SCREENS/ --instructions FILE --json, and compare the points with your own",
        )

    # ``edgesmith run``

    def choices(self, bundle: Described, options: Mapping[str, Any]) -> dict[str, Any]:
        own = ("instruction", "zoom", "top")
        super().choices(bundle, {name: value for name, value in options.items() if name not in own})
        instructions, zoom = options.get("instruction"), options.get("zoom")
        if not instructions:
            raise UserMistake(
                f"{bundle.name} needs an instruction beside the picture",
                found="no --instruction",
                expected="what to click, in words",
                attempt='--instruction "open the settings", or --instructions FILE with one a line',
            )
        self.check(bundle, {"instruction": instructions, "zoom": zoom})
        return {"instruction": list(instructions), "zoom": zoom}

    def draw(self, image: np.ndarray, answer: Clicks) -> np.ndarray:
        from .draw import draw

        return draw(image, answer)

    def to_json(self, answer: Clicks, top: int | None) -> dict[str, Any]:
        return {
            "size": list(answer.image_size),
            "looked_at": list(answer.looked_at),
            "notes": list(answer.notes),
            "clicks": [click.to_json(top) for click in answer],
        }

    def served(self, bundle: Described) -> dict[str, tuple[str, tuple[int, ...]]]:
        return {
            "points": ("float32", (-1, 2)),
            "pixels": ("int32", (-1, 2)),
        }  # x, y: shares of the picture, and its pixels

    def in_arrays(self, answers: Sequence[Clicks]) -> dict[str, np.ndarray]:
        points = np.array([[click.point for click in answer] for answer in answers], np.float32)
        return {"points": points, "pixels": np.array([[click.pixels for click in one] for one in answers], np.int32)}

    def report(self, manifest: Mapping[str, Any]) -> Parts:
        from .report import parts

        return parts(manifest)

    def in_short(self, answer: Clicks) -> str:
        return "; ".join(f"{one_line(click.instruction)}: {click.code}" for click in answer)


def _clicks(desk: Screens, picture: Picture, chosen: Asked) -> Clicks:
    with desk.open(picture) as screen:
        clicks = screen.click(chosen.instructions, chosen.zoom)
    return Clicks(
        tuple(clicks),
        screen.image_size,
        screen.bucket.size,
        screen.notes,
        screen.preprocess_ms,
        screen.infer_ms + sum(click.infer_ms for click in clicks),
        sum(click.postprocess_ms for click in clicks),
    )
