#!/bin/bash
# Two flags of cv2.imdecode that mean something else for a TIFF.
# Guess: IMREAD_IGNORE_ORIENTATION (and IMREAD_UNCHANGED) give the pixels as they are stored, and IMREAD_ANYDEPTH changes the
# depth of the samples and nothing else.
# Seen: a TIFF's Orientation is applied under every flag, where a PNG's is left away as asked; a 16-bit grey TIFF whose 0 is
# white is shown right by IMREAD_COLOR and as a negative by IMREAD_COLOR | IMREAD_ANYDEPTH, while one of 8 bits is right by both.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import io
import struct

import cv2
import numpy as np
from PIL import Image

print(f"OpenCV {cv2.__version__}")
stored = np.random.RandomState(0).randint(0, 256, (6, 10, 3)).astype(np.uint8)


def saved(kind, **options):
    data = io.BytesIO()
    Image.fromarray(stored).save(data, kind, **options)
    return np.frombuffer(data.getvalue(), np.uint8)


exif = Image.Exif()
exif[274] = 6
as_stored = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
png, tiff = (cv2.imdecode(data, as_stored).shape[:2] for data in (saved("PNG", exif=exif), saved("TIFF", tiffinfo={274: 6})))
raw = cv2.imdecode(saved("TIFF", tiffinfo={274: 6}), cv2.IMREAD_UNCHANGED).shape[:2]
print(f"6 rows of 10 with orientation 6, asked to ignore it: PNG {png}, TIFF {tiff}; TIFF unchanged {raw}")
assert (png, tiff, raw) == ((6, 10), (10, 6), (10, 6))


def grey_tiff(samples, photometric):
    """Uncompressed, one strip; photometric 0: 0 is white (TIFF 6.0, PhotometricInterpretation)."""
    bits, height, width = samples.dtype.itemsize * 8, *samples.shape
    tags = ((256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 9 * 12 + 4),
            (277, 1), (278, height), (279, samples.nbytes))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    whole = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + samples.tobytes()
    return np.frombuffer(whole, np.uint8)


black = {}
for bits, kind in ((8, np.uint8), (16, np.uint16)):
    data = grey_tiff(np.full((4, 4), np.iinfo(kind).max, kind), 0)  # the highest sample is black
    usual, deep = (cv2.imdecode(data, flag) for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH))
    black[bits] = int(usual.max()), int(deep.max())
    print(f"{bits} bits, 0 is white, a black picture: IMREAD_COLOR {black[bits][0]}, with IMREAD_ANYDEPTH {black[bits][1]}")
assert black == {8: (0, 0), 16: (0, 65535)}
PY
