"""``edgesmith run BUNDLE inputs.npz``: arrays by name in, arrays by name out; for bundles whose task is to take such.

An .npz holds each input under its name; an .npy is the one input of a graph that has one. ``--save out.npz`` keeps the outputs,
else their types, sizes and ranges are printed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...bundle.bundle import Bundle
from ...errors import UserMistake, one_line
from ...errors.addresses import shown
from ...ground.places import check_output
from .service import service

if TYPE_CHECKING:
    from ..device.startup import Found
    from .asked import Asked, Where

FORMS = (".npz", ".npy")


def run_arrays(asked: Asked, found: Found, where: Where) -> int:
    """Answer each file; the exit code. With ``--save`` there is one file, since it names one. It starts and tells its health as any run."""
    files = [*asked.images, *([asked.source] if asked.source is not None else [])]
    save = _place(asked, files)
    feeds = {path: read_arrays(path, found.bundle) for path in files}
    told: list[dict[str, Any]] = []
    with service(asked.bundle, asked.wish(live=False, calls=0), found, where) as (session, health):
        for path, given in feeds.items():
            health.begin()
            results = session.run(given)
            health.answered(None, session.infer_ms)
            told.append({"arrays": path, "outputs": _described(results), "infer_ms": round(session.infer_ms, 3)})
            if asked.json_lines:
                print(json.dumps(told[-1]), flush=True)
            elif not asked.as_json:
                print("\n".join([shown(path), *lines(results)]), flush=True)
            if save is not None:
                _write(save, results)
    if asked.as_json:
        print(json.dumps(told, indent=2))
    if save is not None:
        print(f"saved {save}", file=sys.stderr)
    return 0


def read_arrays(path: str, bundle: Bundle) -> dict[str, np.ndarray]:
    """The arrays of a file by name; nothing in it is unpickled. UserMistake where it holds none."""
    place, names = Path(path), [spec.name for spec in bundle.inputs]
    wanted = f"an .npz with {', '.join(map(one_line, names))}" + (", or an .npy" if len(names) == 1 else "")
    if place.suffix.lower() not in FORMS or not place.is_file():
        raise UserMistake(
            f"{bundle.name} takes arrays, and {shown(path)} holds none",
            found="nothing at that path" if not place.exists() else f"a file that ends in {place.suffix or 'nothing'}",
            expected=wanted,
            attempt="numpy.savez('inputs.npz', "
            + ", ".join(f"{name}=..." for name in names if name.isidentifier())
            + ")",
        )
    try:
        with place.open("rb") as file:
            found = np.load(file, allow_pickle=False)
            if not isinstance(found, np.ndarray):
                return {name: found[name] for name in found.files}
    except Exception as error:  # noqa: BLE001 a damaged zip or header is any exception of its parser
        raise _unreadable(path, str(error) or type(error).__name__, wanted) from None
    if len(names) != 1:
        raise _unreadable(path, f"one array for {len(names)} inputs", wanted)
    return {names[0]: found}


def _unreadable(path: str, found: str, wanted: str) -> UserMistake:
    return UserMistake(
        f"cannot read arrays from {shown(path)}",
        found=found.splitlines()[0][:200],
        expected=wanted,
        attempt="numpy.savez writes such a file",
    )


def _place(asked: Asked, files: list[str]) -> Path | None:
    """Where the outputs go, asked before anything runs."""
    if asked.save is None:
        return None
    place = Path(asked.save)
    if place.suffix.lower() != ".npz" or len(files) != 1:
        raise UserMistake(
            "--save keeps the outputs of one file in one .npz",
            found=f"--save {shown(asked.save)}, {len(files)} files",
            expected="one file of inputs, and a name that ends in .npz",
            attempt="--save outputs.npz",
        )
    if os.path.lexists(place) and not asked.force:
        raise UserMistake(
            f"{shown(asked.save)} exists already",
            found="a file at that path",
            attempt="--force to replace it, or another name",
        )
    check_output(place, "--save")
    return place


def _write(place: Path, results: Mapping[str, np.ndarray]) -> None:
    from ...ground.files import replace_file

    replace_file(place, _npz(results))


def _npz(results: Mapping[str, np.ndarray]) -> bytes:
    import io

    buffer = io.BytesIO()
    arrays: Any = dict(results)
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _described(results: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"name": name, "dtype": str(one.dtype), "shape": list(one.shape), **_range(one)}
        for name, one in results.items()
    ]


def _range(array: np.ndarray) -> dict[str, float]:
    if not array.size:
        return {}
    numbers = array.astype(np.float64)
    return {"min": float(numbers.min()), "max": float(numbers.max()), "mean": float(numbers.mean())}


def lines(results: Mapping[str, np.ndarray]) -> list[str]:
    """Each output for people."""
    told = []
    for one in _described(results):
        shape = " x ".join(map(str, one["shape"])) or "one number"
        seen = f", {one['min']:.6g} to {one['max']:.6g}, mean {one['mean']:.6g}" if "min" in one else ""
        told.append(f"  {one_line(one['name'])}  {one['dtype']} {shape}{seen}")
    return told
