"""What make test-arm compares: pictures, input contracts and bundles, and what this machine makes of them.

python tests/helpers/arm_cases.py FOLDER    writes them here, on x86; the tests in tests/arm read them on Arm

FOLDER/pictures     files of every kind that is read
FOLDER/bundles      one of each task
FOLDER/read.npz     the pictures as pixels, under their names
FOLDER/ready.npz    a picture after each contract, under its name
FOLDER/shown.npz    the same of the picture that an export keeps in the bundle
FOLDER/told.json    what run and test print of each bundle
FOLDER/made.json    by which machine and which versions
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

SCENE = str(Path(__file__).parents[1] / "data" / "bundles" / "scene.png")
LIBRARIES = ("numpy", "opencv-python-headless", "onnxruntime")
SIZES = ((480, 640), (300, 200), (37, 53), (700, 90))  # height, width: shrunk much and little, enlarged, narrow


def scenery(height: int, width: int, channels: int = 3) -> np.ndarray:
    """Smooth shapes with sharp noise on top, whole numbers only, so that every machine makes the same."""
    rng = np.random.default_rng(height * 7919 + width)
    coarse = rng.integers(0, 256, (height // 16 + 1, width // 16 + 1, channels))
    wide = coarse.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return np.clip(wide + rng.integers(-40, 41, wide.shape), 0, 255).astype(np.uint8)


def contracts() -> Iterator[tuple[str, Any]]:
    """Every way a picture is prepared, by a name; ``plain`` stands in those that OpenCV resizes."""
    from edgesmith.runtime.pictures.contract import ImageContract

    for resize in ("bicubic", "bilinear"):
        for antialias in (True, False):
            how = f"{'smooth' if antialias else 'plain'} {resize}"
            for fit in ("crop", "stretch", "letterbox"):
                yield f"{how}, {fit}", ImageContract((96, 128), resize, antialias, 0.9, fit)
    one, nothing = (1.0,), (0.0,)
    yield "grey", ImageContract((64, 64), mean=(0.5,), std=(0.25,), channels=1)
    yield "alpha", ImageContract((64, 64), mean=(0.5,) * 4, std=(0.25,) * 4, channels=4)
    yield (
        "BGR, levels",
        ImageContract((64, 64), mean=(103.5, 116.3, 123.7), std=(57.4, 57.1, 58.4), colour="BGR", scale=1),
    )
    yield "bytes", ImageContract((64, 64), mean=nothing * 3, std=one * 3, scale=1, dtype="uint8", layout="NHWC")
    yield "corner", ImageContract((64, 96), "bilinear", fit="letterbox", anchor="corner", crop_fraction=1.0)


@cache  # the slowest part of all under an emulator
def prepared() -> dict[str, np.ndarray]:
    """The tensor of each contract and size of picture."""
    from edgesmith.runtime.pictures.preprocess import preprocess

    return {
        f"{name}, {height} x {width}": preprocess(
            [scenery(height, width, 4 if contract.channels == 4 else 3)], contract
        )
        for name, contract in contracts()
        for height, width in SIZES
    }


def shown() -> dict[str, np.ndarray]:
    """Of each contract what a bundle keeps of its golden picture."""
    from edgesmith.runtime.session.pixels import prepared as kept

    return {name: kept(golden(contract), contract) for name, contract in contracts()}


def golden(contract: Any) -> np.ndarray:
    from edgesmith.exporter.bundle.golden import golden_picture

    return golden_picture(contract.size, channels=4 if contract.channels == 4 else 3)


def write_pictures(folder: Path) -> None:
    """JPEG in both samplings, grey, turned by EXIF; PNG of 8 and 16 bits, with alpha; WebP, BMP, TIFF."""
    from PIL import Image

    folder.mkdir()
    colours = scenery(123, 187)
    deep = (scenery(45, 61).astype(np.uint16) << 8) + 77
    for name, pixels, options in (
        ("even.jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, 90]),
        ("grey.jpg", scenery(60, 80, 1), []),
        ("plain.png", colours, []),
        ("alpha.png", scenery(40, 50, 4), []),
        ("deep.png", deep, []),
        ("whole.webp", colours, [cv2.IMWRITE_WEBP_QUALITY, 101]),
        ("lossy.webp", colours, [cv2.IMWRITE_WEBP_QUALITY, 80]),
        ("plain.bmp", colours, []),
        ("plain.tiff", colours, []),
    ):
        assert cv2.imwrite(str(folder / name), pixels, options), name
    Image.fromarray(colours).save(folder / "fine.jpg", quality=95, subsampling=0)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter to the right
    Image.fromarray(colours).save(folder / "turned.jpg", exif=turned)


def read(folder: Path) -> dict[str, np.ndarray]:
    """Each file as pixels."""
    from edgesmith.runtime.pictures.file import read_image

    return {path.name: read_image(path, path.name == "alpha.png") for path in sorted(folder.iterdir())}


def write_bundles(folder: Path) -> None:
    """One of each task, beside those of tests/data/bundles."""
    import triton_bundles
    from grounding_bundle import screenshot, write_grounding_bundle

    folder.mkdir()
    triton_bundles.write_bundles(folder)
    write_grounding_bundle(folder / "clicks.edge")
    cv2.imwrite(str(folder / "screen.png"), screenshot(red=(1, 1), green=(0, 0), blue=(2, 1))[:, :, ::-1])


def asked(folder: Path) -> dict[str, list[str]]:
    """What is asked of ``edgesmith run``, under the name of the bundle: classes, boxes, masks, features, clicks."""
    made = folder / "bundles"
    clicks = [str(made / "clicks.edge"), str(made / "screen.png"), "--instruction", "the red button"]
    return {name: [str(made / f"{name}.edge"), SCENE] for name in ("small", "boxes", "masks", "features")} | {
        "clicks": clicks
    }


def told(folder: Path) -> dict[str, dict[str, Any]]:
    """For each bundle what ``run`` and ``test`` print as JSON, and their exit codes."""
    from command_line import on_device

    found = {}
    for name, words in asked(folder).items():
        run, test = on_device("run", *words, "--json"), on_device("test", words[0], "--json")
        assert (run.code, test.code) == (0, 0), run.err + test.err + test.out
        found[name] = {"run": json.loads(run.out), "test": json.loads(test.out)}
    return found


def made_by() -> dict[str, str]:
    return {"machine": platform.machine(), **{name: version(name) for name in LIBRARIES}}


def write(folder: Path) -> None:
    folder.mkdir(parents=True)
    write_pictures(folder / "pictures")
    write_bundles(folder / "bundles")
    np.savez(folder / "read.npz", **read(folder / "pictures"))  # type: ignore[arg-type]
    np.savez(folder / "ready.npz", **prepared())  # type: ignore[arg-type]
    np.savez(folder / "shown.npz", **shown())  # type: ignore[arg-type]
    (folder / "told.json").write_text(json.dumps(told(folder)), encoding="utf-8")
    (folder / "made.json").write_text(json.dumps(made_by()), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
