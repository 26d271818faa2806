"""What does each node cost? One node at a time in low precision, the rest in float32, and the noise at the output.

``noise`` is error energy over signal energy.  ``order`` is the order in which a budget gives nodes back.

One session a node: on DaViT-tiny (28 M weights, 224 pixels) opening costs 0.5 s and 16 pictures 1.1 s on two cores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...graph.run import Runner
from ..nouns import Site
from .accuracy import sqnr_db
from .evaluation import Distance, any_batch

if TYPE_CHECKING:
    import onnx_ir as ir

PICTURES = (16, 64)  # fewest and most of them: the facts ask for 64 where that is quick
WORK = 5e12  # MACs of a whole scan; more pictures than this allows are not worth the wait (two minutes on two cores)
OVERHEAD = (
    0.01  # share of the graph that a node costs beside its MACs when it goes back: its kernel and two conversions
)


@dataclass(frozen=True)
class Sensitivity:
    """One site quantised alone."""

    node: str
    op: str
    kind: str
    sqnr_db: float  # of the graph's output; inf: no change at all, -inf: not finite
    share: float  # of the graph's MACs

    @property
    def noise(self) -> float:
        """Error energy at the output over signal energy; inf when the output is not finite."""
        return 10 ** (-self.sqnr_db / 10)

    @property
    def worth(self) -> float:
        """Noise removed for the MACs given up when this node goes back to high precision."""
        return self.noise / (self.share + OVERHEAD)


def scan(
    sites: Sequence[Site],
    quantise_one: Callable[[Site], ir.Model],
    images: np.ndarray,
    reference: np.ndarray,
    *,
    runner: Callable[[ir.Model], Runner] | None = None,
    progress: Callable[[int, int], None] | None = None,
    distance: Distance = sqnr_db,
) -> tuple[Sensitivity, ...]:
    """Every site alone, worst first; ties keep the order of the graph.

    ``quantise_one(site)`` is the float32 graph with that one site quantised; ``images`` (n, 3, H, W); ``reference`` the
    float32 graph's outputs on them.  Q and DQ round as they are written (no integer kernels) unless ``runner`` says else.
    ``progress(done, total)`` after each site.  ``distance`` compares two graphs' answers in dB.
    """
    make = runner or any_batch
    rows = []
    for done, site in enumerate(sites, start=1):
        found = make(quantise_one(site))(images)
        rows.append(Sensitivity(site.node, site.op, site.kind, distance(reference, found), site.share))
        if progress is not None:
            progress(done, len(sites))
    return tuple(sorted(rows, key=lambda row: row.sqnr_db))


def pictures_for(sites: Sequence[Site]) -> int:
    """How many pictures a scan of these sites should take, by its work and not by the clock, so that it repeats."""
    total = max((site.macs / site.share for site in sites if site.share > 0), default=0.0)
    fewest, most = PICTURES
    return most if total == 0 else int(np.clip(WORK / (total * len(sites)), fewest, most))


def order(rows: Sequence[Sensitivity]) -> tuple[Sensitivity, ...]:
    """The order in which nodes go back: most noise removed per MAC first, ties as in the scan."""
    return tuple(sorted(rows, key=lambda row: (-row.worth, row.sqnr_db)))
