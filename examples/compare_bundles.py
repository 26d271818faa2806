"""Two bundles of one model, float32 and float16: how far apart are they, how accurate, how large?

You learn: `edgesmith.compare` for agreement, `edgesmith.evaluate` for accuracy on pictures of your own (a folder whose
sub-folders are the classes), and what `edgesmith.inspect` tells.

    python examples/compare_bundles.py
"""

import tempfile
from pathlib import Path

import edgesmith
from edgesmith.models.fixtures.digits import digits
from edgesmith.models.fixtures.fixtures import TRAINED
from edgesmith.runtime.pictures.file import write_image


def write_pictures(folder: Path, count: int) -> Path:
    """Held-out digits as PNG files, a sub-folder for each class."""
    pictures, labels = digits("held_out")
    for index in range(count):
        place = folder / f"digit {labels[index]}"
        place.mkdir(parents=True, exist_ok=True)
        write_image(place / f"{index}.png", pictures[index])
    return folder


def main(folder: Path) -> None:
    pictures = write_pictures(folder / "pictures", 200)
    bundles = []
    for precision in ("fp32", "fp16"):
        bundle = folder / f"{precision}.edge"
        edgesmith.export("smt_mnist", TRAINED / "smt_mnist.safetensors", precision=precision, out=bundle)
        bundles.append(bundle)

    agreement = edgesmith.compare(*bundles, precision="fp16", data=pictures / "digit 7")  # the first is the judge
    for row in agreement["rows"]:
        print(f"{row['inputs']:<9} max abs {row['max_abs']:.1e}, cosine {row['cosine']:.6f}")
    print("they agree" if agreement["agree"] else f"they part at {agreement['first_difference']}")

    accuracy = edgesmith.evaluate(bundles, pictures)
    for bundle, row in zip(bundles, accuracy["rows"], strict=True):
        weights = edgesmith.inspect(bundle)["graph"]["weights_bytes"]
        print(
            f"{row['name']:<10} top-1 {row['top1']:.1f} % of {row['pictures']} pictures, {weights / 1e6:.2f} MB of weights"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        main(Path(scratch))
