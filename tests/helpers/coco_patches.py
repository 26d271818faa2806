"""An annotated set whose figures with the small detector are known by hand: coloured cells, and the boxes it gives them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from detection_bundle import LABELS, SIZE, STRIDE, cell_boxes, paint

CATEGORIES = {"red": 4, "green": 40, "blue": 90}


def write_patches(folder: Path, count: int = 12, missed: int = 0, scale: int = 1) -> Path:
    """``count`` pictures with a red cell and a blue one each, ``scale`` times the network's size; coco.json is returned.

    The detector finds every annotated box exactly; ``missed`` further green things are annotated that nobody can see.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        cells = {"red": number % 8, "blue": 15 - number % 4}
        if number < missed:
            cells["green"] = 10
        painted = [(label, cell) for label, cell in cells.items() if label != "green"]
        corners = [(cell % 4 * STRIDE, cell // 4 * STRIDE, label) for label, cell in painted]
        pixels = paint(*((x, y, x + STRIDE, y + STRIDE, label) for x, y, label in corners))
        pixels = np.repeat(np.repeat(pixels, scale, axis=0), scale, axis=1)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), pixels[:, :, ::-1])
        images.append({"id": 100 + number, "file_name": f"{number}.png", "width": SIZE * scale, "height": SIZE * scale})
        for label, cell in cells.items():
            x1, y1, x2, y2 = (np.clip(cell_boxes()[cell], 0, SIZE) * scale).tolist()
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": len(annotations), "image_id": 100 + number, "category_id": CATEGORIES[label], "bbox": box}
            )
    found = {"images": images, "annotations": annotations}
    found["categories"] = [{"id": CATEGORIES[label], "name": label.upper()} for label in LABELS]
    (folder / "coco.json").write_text(json.dumps(found))
    return folder / "coco.json"
