"""The pictures of the report: what PyTorch and the bundle see in each, side by side, and how many pixels are the same.

pictures -> logits of both -> the class of each pixel -> drawn side by side -> JPEG files
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ....runtime.tasks.segmentation.places import classes
from ....runtime.tasks.segmentation.segments import Segments
from ...run.runners import run_all

if TYPE_CHECKING:
    from ....runtime.pictures.preprocess import ImageContract, Picture
    from ...run.runners import Runner

MOST = 3  # pictures: a report is read, not searched
PANEL_PX, GAP_PX = 640, 8  # the longer side of one panel at the most
QUALITY = 85  # of the JPEG


def side_by_side(
    inputs: Sequence[tuple[str, Picture]], judge: Runner, bundle: Runner, contract: ImageContract, labels: Sequence[str],
    batch: int = 1,
) -> tuple[dict[str, bytes], dict[str, Any]]:  # fmt: skip
    """(files of the bundle, ``segmentation_report`` of the manifest) for the first three of (name, path or RGB array)."""
    from ....runtime.pictures.preprocess import pixels, preprocess
    from ....runtime.tasks.segmentation.draw import draw

    files: dict[str, bytes] = {}
    told: list[dict[str, Any]] = []
    for number, (name, picture) in enumerate(inputs[:MOST], 1):
        image = _smaller(pixels(picture, 4 if contract.channels == 4 else 3))
        size, images = (image.shape[0], image.shape[1]), preprocess([image], contract)
        one, two = (classes(run_all(run, images, batch)[0], size, contract) for run in (judge, bundle))
        gap = np.full((size[0], GAP_PX, 3), 255, np.uint8)
        panels = [draw(image, Segments(found, labels, 0.0, 0.0, 0.0)) for found in (one, two)]
        drawn = np.concatenate([panels[0], gap, panels[1]], axis=1)
        file = f"pictures/{number}.jpg"
        files[file] = _jpeg(drawn)
        told.append(
            {"file": file, "name": name, "size": [drawn.shape[1], drawn.shape[0]], "same": float((one == two).mean())}
        )
    return files, {"pictures": told}


def _smaller(image: np.ndarray) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    scale = PANEL_PX / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    fine, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert fine, "a uint8 picture can always be written"
    return bytes(data)
