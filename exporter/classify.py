"""``edgesmith run``: a bundle and pictures -> the best classes of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..runtime.session import load


def classify(
    bundle: str, images: Sequence[str], backend: str | None = None, threads: int | None = None, top: int = 5
) -> list[dict[str, Any]]:
    """One entry a picture, in the order given: its name, the time it took, and the ``top`` best classes."""
    with load(bundle, backend=backend, threads=threads) as session:
        answers = []
        for image in images:
            answer = session(image)
            guesses = [
                {"label": guess.label, "index": int(guess.index), "probability": float(guess.probability)}
                for guess in answer.top(top)
            ]
            answers.append({"image": str(image), "top": guesses})
    return answers
