"""Export a model from Python and ask the bundle about a picture.

You learn: what `edgesmith.export` gives back, how to see that the bundle computes what PyTorch computes, and how to ask it.

    python examples/export_and_run.py
"""

import tempfile
from pathlib import Path

import edgesmith
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED


def main(folder: Path) -> None:
    # a small SMT that learned handwritten digits; your own checkpoint goes in the same place
    result = edgesmith.export("smt_mnist", TRAINED / "smt_mnist.safetensors", out=folder / "digits.edge")
    for row in result.parity:
        print(
            f"{row.stage:<10} {row.inputs:<9} differs by {row.max_abs:.1e} at most: {'holds' if row.passed else 'FAILS'}"
        )

    pictures, labels = digits("held_out")  # uint8 (N, 28, 28, 3) RGB; a path or a picture of PIL is as good as an array
    with edgesmith.load(result.path) as session:
        answer = session(pictures[0])
        print(f"\nit is a {labels[0]}, and the bundle says:\n{answer}")
        print(f"in {answer.preprocess_ms:.1f} ms for the picture and {answer.infer_ms:.1f} ms for the network")
        best = [one.best.label for one in session(list(pictures[:100]))]  # a list is run in batches
    right = sum(label == f"digit {digit}" for label, digit in zip(best, labels[:100], strict=True))
    print(f"{right} of the first 100 are right")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
