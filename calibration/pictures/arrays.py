"""Arrays of an .npz, an .npy, or the caller -> the pictures that may be drawn.

    images | x | x_train           uint8 (N, H, W, 1|3|4) or (N, H, W), or float as the graph takes it, preprocessed already
    labels | y | y_train           (N,) class numbers or names; may be missing
    val_images | x_val | x_test    and val_labels | y_val | y_test: the held-out pictures; may be missing

Nothing is unpickled. An .npy is mapped, not read; an .npz is read as a whole, up to ``MAX_ARRAY_BYTES``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runtime.errors import UserMistake
from ...runtime.ground.regular import check_regular
from ...runtime.pictures.contract import FLOAT32
from ...runtime.pictures.depth import eight_bits, to_bytes_words, value_range
from ...runtime.pictures.preprocess import ImageContract
from .items import Opened, PictureArray, Pool
from .labels import class_numbers

MAX_ARRAY_BYTES = 8 * 1024**3
KEYS = {
    "images": ("images", "x", "x_train"),
    "labels": ("labels", "y", "y_train"),
    "val_images": ("val_images", "x_val", "x_test"),
    "val_labels": ("val_labels", "y_val", "y_test"),
}
SLACK = 0.05  # of a range of about 2 to 5
BYTES_OF = "uint8 (N, H, W, 3) or (N, H, W)"
LAYOUTS = f"{BYTES_OF}, or preprocessed float32 (N, 3, H, W)"


def open_arrays(path: Path, contract: ImageContract, labels: Sequence[str]) -> Opened:
    """The pictures of an .npz or .npy; UserMistake for a broken file, an unknown key and arrays that are no pictures."""
    try:
        check_regular(path)
        if path.suffix.lower() == ".npy":
            return from_arrays(
                {"images": np.load(path, mmap_mode="r", allow_pickle=False)}, str(path), contract, labels
            )
        with zipfile.ZipFile(path) as archive:
            held_bytes = sum(entry.file_size for entry in archive.infolist())
        if held_bytes > MAX_ARRAY_BYTES:
            raise UserMistake(
                f"the arrays in {path} are too large",
                found=f"{held_bytes:,} bytes unpacked",
                expected=f"at most {MAX_ARRAY_BYTES:,} bytes",
                because="an .npz is held in memory as a whole",
                attempt="save the pictures as .npy, which is read piece by piece, or store fewer",
            )
        with np.load(path, allow_pickle=False) as archive:
            wanted = {key for names in KEYS.values() for key in names}
            arrays = {name: archive[name] for name in archive.files if name.casefold() in wanted}
            return from_arrays(arrays, str(path), contract, labels, archive.files)
    except UserMistake:
        raise
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        pickled = "allow_pickle" in str(error)
        raise UserMistake(
            f"cannot read the arrays in {path}",
            found="Python objects (a pickle)"
            if pickled
            else str(error).splitlines()[0][:120]
            if str(error)
            else "no end",
            expected=LAYOUTS,
            because="loading objects runs code from the file" if pickled else "",
            attempt="save plain arrays of one shape" if pickled else "copy or write the file again",
        ) from None


def from_arrays(
    arrays: Mapping[str, Any], source: str, contract: ImageContract, labels: Sequence[str], keys: Sequence[str] = ()
) -> Opened:
    """Named arrays -> pools; ``keys`` are all names that the file has, for the error."""
    plain = {name.casefold(): values for name, values in arrays.items()}
    found = {what: next((plain[key] for key in names if key in plain), None) for what, names in KEYS.items()}
    if found["images"] is None:
        raise UserMistake(
            f"{source} has no array of pictures",
            found="arrays " + ", ".join(list(keys or arrays)[:8]) if keys or arrays else "no array at all",
            expected=" or ".join(KEYS["images"]) + f": {LAYOUTS}",
            attempt="np.savez(path, images=..., labels=...)",
        )
    notes: list[str] = []

    def pool(images: Any, numbers: Any, what: str) -> Pool:
        images = as_array(images)
        check_pictures(images, f"{what} of {source}", contract)
        if images.dtype.kind == "f":
            notes.extend(check_values(images, f"{what} of {source}", contract))
        elif images.dtype == np.uint16:  # the depth of the set, before that of each picture
            eight_bits(_spread(images)[..., :3] if images.ndim == 4 else _spread(images), f"the {what} of {source}")
        known = None
        if numbers is not None:
            known = class_numbers(as_array(numbers), len(images), labels, source)
        names = [f"{what} {index}" for index in range(len(images))]
        return Pool(names, known or [None] * len(images), known, lambda index: PictureArray(images[index]))

    train = pool(found["images"], found["labels"], "picture")
    held = None if found["val_images"] is None else pool(found["val_images"], found["val_labels"], "held-out picture")
    return Opened(source, "arrays", train, held, tuple(notes))


def as_array(value: Any) -> np.ndarray:
    """A numpy array, or anything with ``.numpy()`` such as a torch tensor (taken off its device and its graph)."""
    if isinstance(value, np.ndarray):
        return value
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    if not hasattr(value, "numpy"):
        return np.asarray(value)
    try:
        return np.asarray(value.numpy())
    except (TypeError, RuntimeError) as error:
        raise UserMistake(
            "a tensor cannot be used", found=str(error).splitlines()[0], attempt="tensor.float() if it is bfloat16"
        ) from None


def check_pictures(images: np.ndarray, where: str, contract: ImageContract) -> None:
    """UserMistake when the shape or the type of an array is not that of pictures."""
    floats, shape = images.dtype.kind == "f", images.shape
    if floats:
        fits = images.ndim == 4 and contract.dtype == FLOAT32 and shape == contract.shape(len(images))
    else:
        fits = images.dtype in (np.uint8, np.uint16) and (
            images.ndim == 3 and shape[2] > 4 or images.ndim == 4 and shape[3] in (1, 3, 4)
        )
    if not fits or 0 in shape:
        _, *sides = map(str, contract.shape(1))
        prepared = f"(N, {', '.join(sides)})"
        attempt = ""
        if not floats and images.ndim == 4 and shape[1] in (1, 3):
            attempt = "images.transpose(0, 2, 3, 1) puts the channels last"
        elif not floats and images.ndim == 3 and shape[2] in (3, 4):
            attempt = "images[None] if this is one picture"
        elif images.dtype.kind in "biu" and images.ndim in (3, 4):
            attempt = to_bytes_words(_spread(images)).replace("image", "images")
        elif floats and images.ndim == 4:
            attempt = f"preprocess to {prepared}, or give the pictures as uint8"
            attempt = attempt if contract.dtype == FLOAT32 else "give the pictures as uint8"
        said = value_range(_spread(images)) if 0 not in shape and images.ndim in (3, 4) else ""
        raise UserMistake(
            f"the {where} cannot be used",
            found=f"{images.dtype} of shape {shape}" + (f", {said}" if said else ""),
            expected=BYTES_OF + (f", or preprocessed float32 {prepared}" if contract.dtype == FLOAT32 else ""),
            attempt=attempt,
        )


def _spread(images: np.ndarray) -> np.ndarray:
    """Up to 64 pictures, evenly spread: what a whole array is judged by."""
    return np.asarray(images[:: max(1, len(images) // 64)][:64])


def check_values(images: np.ndarray, where: str, contract: ImageContract) -> list[str]:
    """Notes on whether floats, as the graph takes them, may have gone through ``contract``, judged by up to 64 pictures.

    UserMistake where they went through another one.
    """
    sample = _spread(images).astype(np.float32)
    sample = sample[np.isfinite(sample)]  # single pictures with NaN are skipped later, by name
    if not sample.size:
        return []
    low, high = float(sample.min()), float(sample.max())
    ends = (np.outer((0, 255), (contract.scale,) * contract.channels) - contract.mean) / contract.std
    lowest, highest = float(ends.min()), float(ends.max())
    said = f"values from {low:.3g} to {high:.3g}"
    farthest, due = max(-low, high), max(-lowest, highest)
    unlike = farthest > 10 * due or 0 < 10 * farthest < due  # 255 where 2.6 is due, or 2.6 where 255 is
    # the ranges that other ways to prepare give, where the model's is another one: pictures in 0..1 have no mean and std
    shares = 0 <= low and high <= 1 and not (lowest >= -SLACK and highest <= 1 + SLACK)
    symmetric = abs(low + 1) < SLACK > abs(high - 1) and not (abs(lowest + 1) < SLACK > abs(highest - 1))
    if unlike or symmetric or (shares and (low < 2 * SLACK or high > 1 - 2 * SLACK)):  # with black or white in it
        raise UserMistake(
            f"the {where} are not preprocessed" + ("" if unlike else " as the model's are"),
            found=said,
            expected=f"values from {lowest:.3g} to {highest:.3g}, after the model's scale, mean and std",
            because="ranges collected from other values would fit no picture",
            attempt="give them as uint8 and they are preprocessed here",
        )
    slack = (highest - lowest) / 2
    if shares or low < lowest - slack or high > highest + slack:
        return [f"{where}: {said}, where the model's preprocessing gives {lowest:.3g} to {highest:.3g}"]
    return []
