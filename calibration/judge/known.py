"""The judges that there are, ours and those of others, by the name of their task."""

from __future__ import annotations

from ...runtime.errors import UserMistake
from ...runtime.ground.registry import Registry
from .classification import ClassificationJudge
from .detection import DetectionJudge
from .features import FeaturesJudge
from .segmentation import SegmentationJudge
from .task import TaskJudge

JUDGES: Registry[TaskJudge] = Registry(
    "judge",
    {one.name: one for one in (ClassificationJudge(), DetectionJudge(), FeaturesJudge(), SegmentationJudge())},
)


def find_judge(task: str) -> TaskJudge:
    """The judge of a task; UserMistake where nobody said how its answers are judged."""
    if task not in JUDGES:
        raise UserMistake(
            f"A model for {task} cannot be quantised",
            found=f"the task {task}, without a judge",
            expected="a judge for each of " + ", ".join(JUDGES),
            because="what quantisation costs is measured by the answers of the task",
            attempt="--precision fp16, or edgesmith.register_task(..., judge=...)",
        )
    return JUDGES[task]
