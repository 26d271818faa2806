"""Does an answer depend on the pictures beside it? Asked of every bundle that takes several at a time.

    p beside copies of itself  against  p beside others, at the same place of a batch of the same size

The same kernels then run on the same numbers of ``p``, so nothing but a computation across the batch moves its answer, and no
rounding has to be allowed for, in whatever precision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...runtime.errors import ParityFailed
from ...runtime.ground.numbers import relative_error
from ..run.runners import Runner
from ..run.stages import Run, keep

if TYPE_CHECKING:
    from ..plan.plan import Plan
    from .judge import Judge

LIMIT = 1e-5  # relative error; sums that threads share may still come in another order
FAR = 4  # times a neighbour's numbers, so that a range taken over the batch shows


def moved_by_neighbours(run: Runner, picture: np.ndarray, other: np.ndarray, batch: int) -> float:
    """How far the answer to ``picture`` (3, H, W) moves, first and last in a batch beside ``other``: relative error."""
    own = np.repeat(picture[None], batch, axis=0)
    expected, moved = run(own), 0.0
    for place in (0, batch - 1):
        beside = np.repeat(FAR * other[None], batch, axis=0)
        beside[place] = picture
        moved = max(moved, relative_error(expected[place], run(beside)[place]))
    return moved


def check_neighbours(judge: Judge, bundle: Runner, run: Run) -> list[str]:
    """Notes, none where answers stand by themselves.

    Raises:
        ParityFailed: they do not, and the plan asks for the check; the artefacts are kept.
    """
    plan = judge.plan
    batch = batch_of(plan)
    if batch < 2:
        return []
    *_, images = judge.inputs(plan.shapes.opt).values()
    picture, other = (
        images[0],
        images[-1][::-1, :, ::-1],
    )  # mirrored, colours swapped: another picture where there is one only
    moved = moved_by_neighbours(bundle, picture, other, batch)
    if moved <= LIMIT:
        return []
    found = f"the answer to one picture moves by {moved:.1e} of its size when others stand beside it"
    if not plan.check:
        return [f"answers depend on the pictures beside them: {found}"]
    itself = moved_by_neighbours(judge.runner, picture, other, batch)
    raise ParityFailed(
        f"{plan.spec.name}: answers depend on the pictures beside them",
        found=f"{found}, in a batch of {batch}",
        expected=f"at most {LIMIT:g}",
        because="the network itself computes across the batch"
        if itself > LIMIT
        else "the graph computes something over the whole batch, such as the range of a tensor",
        attempt=f"--batch 1, or look at the graphs kept in {keep(run, plan.run_folder)}",
    )


def batch_of(plan: Plan) -> int:
    """The smallest batch of several pictures that the graph takes; 1 where it takes one at a time."""
    least, most = plan.shapes.min[0], plan.shapes.max[0]
    return max(least, min(2, most))
