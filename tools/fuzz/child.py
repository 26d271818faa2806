"""One process of the fuzz driver: uses mutants of one kind, one after another, and says of each how it ended.

    python child.py KIND.py FOLDER prepare
    python child.py KIND.py FOLDER SEED FIRST LAST

Told as JSON lines on the first standard output: {"index": 7} before, {"index": 7, "outcome": ..., "what": ...} after. What
the product prints goes nowhere. Mutant 7 of a seed is the same whichever process makes it.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ACCEPTED, REFUSED, TRACEBACK, OVER = "accepted", "refused", "traceback", "over"
MOST_BYTES = 10**9  # of memory that one mutant may take above what its process has before


def load_kind(path: Path) -> Any:
    """The module of a kind; what it imports from tests/helpers is found."""
    for place in (ROOT / "tests" / "helpers", path.parent):
        if str(place) not in sys.path:
            sys.path.insert(0, str(place))
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    assert spec is not None and spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def one(kind: Any, folder: Path, seed: str, index: int) -> tuple[str, str]:
    """(outcome, what): of a traceback its last place in our code, by which alike ones are known."""
    from edgesmith.runtime.errors import EdgesmithError

    with tempfile.TemporaryDirectory(prefix=f"edgesmith-fuzz-{kind.NAME}-") as target:
        path = kind.mutant(random.Random(f"{seed}/{kind.NAME}/{index}"), folder, Path(target))
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", category=RuntimeWarning, module="edgesmith")  # it is printed, as one
                kind.use(path)
        except EdgesmithError as error:
            return REFUSED, error.what
        except (Exception, RecursionError) as error:  # noqa: BLE001 - whatever comes is what is counted
            return TRACEBACK, place_of(error)
    return ACCEPTED, ""


def place_of(error: BaseException) -> str:
    """``TypeError in runtime/bundle/graphs.py:60 read_graphs: 'int' object is not iterable``."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/edgesmith/" in frame.filename or frame.filename.startswith(str(ROOT))]
    ours = [frame for frame in ours if "/tools/fuzz/" not in frame.filename] or frames
    file = ours[-1].filename.rpartition("/edgesmith/")[2].replace(f"{ROOT}/", "")
    return f"{type(error).__name__} in {file}:{ours[-1].lineno} {ours[-1].name}: {str(error)[:160]}"


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def batch(kind: Any, folder: Path, seed: str, first: int, last: int, tell: Any) -> None:
    """Mutants ``first`` to ``last`` - 1; it ends early after one that took too much, as the peak never falls."""
    one(kind, folder, seed, -1)  # the libraries are loaded, and counted with nobody
    for index in range(first, last):
        print(json.dumps({"index": index}), file=tell, flush=True)
        before = peak_bytes()
        outcome, what = one(kind, folder, seed, index)
        grown = peak_bytes() - before
        if grown > MOST_BYTES:
            outcome, what = OVER, f"{grown / 1e6:,.0f} MB"
        print(json.dumps({"index": index, "outcome": outcome, "what": what}), file=tell, flush=True)
        gc.collect(0)
        if outcome == OVER:
            return


def main(words: list[str]) -> None:
    tell = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    kind, folder = load_kind(Path(words[0])), Path(words[1])
    if words[2] == "prepare":
        kind.prepare(folder)
        return
    os.dup2(nowhere, 2)
    home = tempfile.mkdtemp(prefix="edgesmith-fuzz-cache-")
    os.environ["EDGESMITH_CACHE"] = home
    try:
        batch(kind, folder, words[2], int(words[3]), int(words[4]), tell)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
