#!/bin/bash
# Image.open(path) of an uncompressed TIFF whose Orientation lies on its side (5 to 8) gives its pixels out of order, while
# Image.open(file object) of the same bytes gives them right, as does the same picture with compression.
# Guess: a path and an open file are two names of one picture, and the decoder for uncompressed data is the safe one.
# Seen: grey, 16-bit grey and RGBA are mapped from the path with the sides already exchanged, so rows are cut at the wrong
# length, and the result even has the sides of the stored picture; no error, no warning. RGB is not mapped and is right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import numpy as np
import PIL
from PIL import Image

print(f"Pillow {PIL.__version__}")
stored = {
    "L": np.arange(60, dtype=np.uint8).reshape(6, 10),
    "I;16": np.arange(60, dtype=np.uint16).reshape(6, 10),
    "RGBA": np.arange(240, dtype=np.uint8).reshape(6, 10, 4),
    "RGB": np.arange(180, dtype=np.uint8).reshape(6, 10, 3),
}
for mode, pixels in stored.items():
    seen = np.rot90(pixels, -1)  # Orientation 6: 10 rows of 6
    for compression in ("raw", "tiff_lzw"):
        Image.fromarray(pixels).save("a.tif", tiffinfo={274: 6}, compression=compression)
        by_path = np.asarray(Image.open("a.tif"))
        with open("a.tif", "rb") as file:
            by_file = np.asarray(Image.open(file))
        right = np.array_equal(by_path, seen)
        print(f"{mode:5} {compression:9} by path {by_path.shape[:2]}: {'right' if right else 'out of order'}", end="; ")
        print(f"by open file {by_file.shape[:2]}: {'right' if np.array_equal(by_file, seen) else 'wrong'}")
        assert np.array_equal(by_file, seen)
        assert right == (compression != "raw" or mode == "RGB")
        # not even a turned or mirrored form of the right picture
        assert right or not any(np.array_equal(by_path, np.rot90(one, k)) for one in (pixels, pixels[::-1]) for k in range(4))
PY
