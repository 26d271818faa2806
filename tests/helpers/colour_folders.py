"""Pictures in folders that are their classes, which the small bundle tells apart; how many of them it gets wrong is known."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np


def write_colours(folder: Path, wrong: int) -> None:
    """Ten pictures of red, of green and of blue; the first ``wrong`` red ones are blue."""
    for number, name in enumerate(("red", "green", "blue")):
        (folder / name).mkdir(parents=True)
        for index in range(10):
            pixels = np.zeros((20, 20, 3), np.uint8)
            pixels[..., 2 if number == 0 and index < wrong else number] = 200
            cv2.imwrite(str(folder / name / f"{index}.png"), pixels[..., ::-1])
