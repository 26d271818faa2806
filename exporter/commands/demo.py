"""``make demo``: the whole line on real input, with the commands a user would type, printed before they run.

SMT at full size has random weights here (nothing is downloaded), which is honest for speed and parity and says nothing
of classes; so a small SMT that this project trained on handwritten digits then shows that the answers are right.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from ...models.fixtures.fixtures import TRAINED
from ...runtime.ground.limits import FP16
from ..run.pictures import packaged_pictures

FOLDER = Path("demo.run")


def run(*words: str) -> None:
    """Print and run one command in this process; stop the demo when it does not end well."""
    from .cli import main

    print(f"\n$ edgesmith {shlex.join(words)}", flush=True)
    try:
        main(list(words))
    except SystemExit as leave:
        if leave.code:
            sys.exit(f"the demo stops here: exit code {leave.code}")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    bundle = str(FOLDER / "smt_tiny.edge")
    run("export", "--model", "smt", "--target", "cpu", "--out", bundle, "--force")
    if photographs := packaged_pictures():
        run("run", bundle, str(photographs[0].path))
        print("random weights: these labels mean nothing, the time and the agreement with PyTorch do")
    run("bench", bundle, "--against", "eager,plain", "--rounds", os.environ.get("DEMO_ROUNDS", "20"))
    small = str(FOLDER / "smt_mnist.edge")
    run(
        "export",
        "--model",
        "smt_mnist",
        "--weights",
        os.path.relpath(TRAINED / "smt_mnist.safetensors"),
        "--precision",
        FP16,
        "--out",
        small,
        "--force",
    )
    digit, label = write_digit(FOLDER / "digit.png")
    run("run", small, str(digit), "--top", "3")
    print(f"the picture was held out from training; it is a {label}")
    print(f"\nbundle   {bundle}\nreport   {bundle}/report.html")


def write_digit(path: Path, index: int = 0) -> tuple[Path, int]:
    """Write a held-out handwritten digit as a picture; its path and what it is."""
    import cv2

    from ...models.fixtures.digits import digits

    images, labels = digits("held_out")
    cv2.imwrite(str(path), images[index])
    return path, int(labels[index])


if __name__ == "__main__":
    main()
