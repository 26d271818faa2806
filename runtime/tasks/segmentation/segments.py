"""The answer to a picture: a class for each of its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import one_line
from .places import unseen


@dataclass(frozen=True)
class Share:
    """A class and how much of the picture it covers, 0 to 1."""

    label: str
    index: int
    share: float


@dataclass(frozen=True, eq=False)
class Segments:
    """What the model says of one picture; ``str()`` is a small table."""

    classes: np.ndarray  # (H, W) uint8, of more than 255 classes uint16; the largest value of the type: not seen
    labels: Sequence[str]
    preprocess_ms: float  # for the batch that the picture was part of
    infer_ms: float
    postprocess_ms: float  # of this picture: from the logits to the class of each pixel

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.classes.shape[0], self.classes.shape[1]

    @property
    def shares(self) -> list[Share]:
        """The classes that are in the picture, largest first; equal ones in the order of their index."""
        counts = np.bincount(self.classes.ravel(), minlength=len(self.labels))[: len(self.labels)]
        order = np.argsort(-counts, kind="stable")
        return [Share(self.labels[i], int(i), float(counts[i] / self.classes.size)) for i in order if counts[i]]

    @property
    def unseen(self) -> float:
        """The share of the picture that a crop left out; it has no class."""
        return float((self.classes == unseen(self.classes)).mean())

    def __str__(self) -> str:
        return "\n".join(lines(self, len(self.labels)))


def lines(answer: Segments, most: int) -> list[str]:
    """The ``most`` largest classes, a line each, and what is not told in them."""
    shares = answer.shares
    told = [f"{one.share:9.2%}  {one_line(one.label)}" for one in shares[:most]]
    if rest := shares[most:]:
        told.append(f"{sum(one.share for one in rest):9.2%}  {len(rest)} more classes")
    if answer.unseen:
        told.append(f"{answer.unseen:9.2%}  outside of what the network sees")
    return told
