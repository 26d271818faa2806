"""Synthetic scenes to detect things in: shapes over photographs, with exact boxes; what the detection fixture learns.

    index, split, size -> uint8 (H, W, 3) RGB, boxes (n, 4) x1 y1 x2 y2 in pixels, classes (n,) counted from 0
    python -m edgesmith.models.scenes FOLDER --count 200 --split held_out  ->  pictures and coco.json, in FOLDER

A box is that of the part that shows: what another thing covers or the border cuts off does not count, and what would
hardly show is not drawn at all. Every draw comes from (seed, split, index).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from .fixtures import SCENE_LABELS
from .scenes_ground import ground
from .scenes_shapes import Contours, apart, area, colour, coverage, fill, outline, placed

CATEGORY_IDS = (1, 2, 3, 5, 8, 13, 21, 34)  # of coco.json: with gaps, as COCO's own are
SPLITS = ("train", "held_out", "calibration")
MOST = 9  # things a scene
SMALLEST_PX = 14  # of a thing before others cover it; the largest takes half of the shorter side
LEAST_BOX_PX = 8  # the side of what shows; every box holds a cell of the finest stride
LEAST_SHOWN = 0.5  # of a thing's area


@dataclass(frozen=True, eq=False)
class Thing:
    """One shape where it is; ``mask`` is its coverage and ``visible`` what nothing opaque hides, both (H, W)."""

    label: int
    contours: Contours
    mask: np.ndarray  # uint8
    line_px: int
    opacity: float
    visible: np.ndarray  # bool

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2; the last row and column that show are inside."""
        rows, columns = np.flatnonzero(self.visible.any(axis=1)), np.flatnonzero(self.visible.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def arrange(rng: np.random.Generator, size: tuple[int, int], most: int = MOST) -> list[Thing]:
    """The things of a scene, the topmost first; ``most`` are tried."""
    covered = np.zeros(size, bool)
    things: list[Thing] = []
    for _ in range(0 if rng.random() < 0.03 else rng.integers(1, most + 1)):
        label = int(rng.integers(len(SCENE_LABELS)))
        longest = SMALLEST_PX * (min(size) / 2 / SMALLEST_PX) ** rng.random()  # the smaller, the more of them
        aspect = 1.5 ** rng.uniform(-1, 1)
        radius = longest / 2 * min(1, aspect), longest / 2 * min(1, 1 / aspect)
        centre = rng.uniform(0, size[1]), rng.uniform(0, size[0])
        turn = rng.uniform(-0.3, 0.3) if rng.random() < 0.5 else rng.uniform(-np.pi, np.pi)
        contours = placed(SCENE_LABELS[label], centre, radius, turn)
        line_px = int(rng.integers(1, 2 + longest // 24)) if rng.random() < 0.4 else 0
        opacity = 1.0 if rng.random() < 0.7 else rng.uniform(0.45, 0.9)
        mask = coverage(contours, size)
        if line_px:
            mask = np.maximum(mask, outline(contours, size, line_px))
        visible = (mask >= 128) & ~covered
        if visible.sum() < LEAST_SHOWN * max(area(contours), (mask >= 128).sum()):
            continue
        thing = Thing(label, contours, mask, line_px, opacity, visible)
        x1, y1, x2, y2 = thing.box
        if min(x2 - x1, y2 - y1) < LEAST_BOX_PX:
            continue
        things.append(thing)
        if opacity == 1.0:
            covered |= mask >= 128
    return things


def _blend(image: np.ndarray, mask: np.ndarray, paint: np.ndarray, opacity: float) -> None:
    """``paint`` (H, W, 3) or one colour over ``image``, in place, where ``mask`` covers."""
    x, y, width, height = cv2.boundingRect(mask)
    part = np.s_[y : y + height, x : x + width]
    weight = mask[part][..., None].astype(np.float32) * np.float32(opacity / 255)
    image[part] += weight * ((paint[part] if paint.ndim == 3 else paint) - image[part])


def _paint(rng: np.random.Generator, image: np.ndarray, thing: Thing) -> None:
    """The thing over ``image``; its colour stands apart from what it covers, if at times only a little."""
    below = image[thing.visible].mean(axis=0)
    base = apart(rng, below, rng.choice((25, 50, 90)))
    _blend(image, thing.mask, fill(rng, base, image.shape[:2]), thing.opacity)
    if thing.line_px:
        line = outline(thing.contours, thing.mask.shape, thing.line_px)
        _blend(image, line, apart(rng, base, 60), thing.opacity)


def _distract(rng: np.random.Generator, image: np.ndarray, count: int) -> None:
    """Lines, arcs and strokes of writing: things with edges that have no box."""
    height, width = image.shape[:2]
    for _ in range(count):
        mask = np.zeros((height, width), np.uint8)
        x, y, u, v = (int(part) for part in rng.integers(0, (width, height, width, height)))
        thick = int(rng.integers(1, 4))
        kind = rng.integers(0, 3)
        if kind == 0:
            cv2.line(mask, (x, y), (u, v), 255, thick, cv2.LINE_AA)
        elif kind == 1:
            axes = int(rng.integers(6, width // 3)), int(rng.integers(6, height // 3))
            start = int(rng.integers(0, 360))
            cv2.ellipse(mask, (x, y), axes, u % 180, start, start + int(rng.integers(40, 160)), 255, thick, cv2.LINE_AA)
        else:
            letters = "".join(chr(code) for code in rng.integers(ord("A"), ord("z") + 1, rng.integers(1, 6)))
            cv2.putText(mask, letters, (x - 20, y), v % 8, float(rng.uniform(0.4, 1.4)), 255, thick, cv2.LINE_AA)
        _blend(image, mask, colour(rng), rng.uniform(0.5, 1.0))


def _degrade(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A camera's faults: blur, noise, the artefacts of JPEG. float32 -> uint8."""
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.5)))
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(2, 16), image.shape)
    picture = np.rint(image).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return picture


def scene(
    index: int, split: str = "train", size: int | tuple[int, int] = 256, seed: int = 0, most: int = MOST
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Picture uint8 (H, W, 3) RGB, boxes float32 (n, 4), classes int64 (n,); ``size`` is a side or (height, width)."""
    shape = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    things = arrange(rng, shape, most)
    image = ground(rng, split, shape).astype(np.float32)
    _distract(rng, image, int(rng.integers(0, 5)))
    for thing in reversed(things):
        _paint(rng, image, thing)
    picture = _degrade(rng, image)
    boxes = np.array([thing.box for thing in things], np.float32).reshape(-1, 4)
    return picture, boxes, np.array([thing.label for thing in things], np.int64)


def write_scenes(
    folder: str | Path, count: int, split: str = "held_out", size: int | tuple[int, int] = 256, seed: int = 0
) -> Path:
    """``count`` pictures (PNG) in ``folder`` and their coco.json, whose path is returned; an area is that of the box."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(count):
        picture, boxes, classes = scene(index, split, size, seed)
        name, image_id = f"{split}_{index:06d}.png", 100 + 3 * index
        cv2.imwrite(str(root / name), np.ascontiguousarray(picture[..., ::-1]))
        images.append({"id": image_id, "file_name": name, "height": picture.shape[0], "width": picture.shape[1]})
        for (x1, y1, x2, y2), label in zip(boxes.tolist(), classes.tolist(), strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": CATEGORY_IDS[label],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": name} for i, name in zip(CATEGORY_IDS, SCENE_LABELS, strict=True)]
    path = root / "coco.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    import argparse

    parser = argparse.ArgumentParser(prog="python -m edgesmith.models.scenes", description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--split", choices=SPLITS, default="held_out")
    parser.add_argument("--size", default="256", help="side in pixels, or HEIGHTxWIDTH")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    sides = tuple(int(side) for side in options.size.split("x"))
    print(write_scenes(options.folder, options.count, options.split, (sides[0], sides[-1]), options.seed))


if __name__ == "__main__":
    main()
