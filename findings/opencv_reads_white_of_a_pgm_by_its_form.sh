#!/bin/bash
# What cv2.imdecode makes of white in a PGM, whose header names the value that is white (maxval).
# Guess: samples are scaled so that white is 255, in the written-out form (P2) and in the binary one (P5) alike, as Pillow does.
# Seen: P2 is scaled (and rounded down), P5 of the same samples is handed out as it is stored: white of 100 is a dark grey. Above
# 255 neither is scaled. A PAM of maxval 1 with TUPLTYPE GRAYSCALE, a byte a sample, is taken for a packed bitmap.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import io

import cv2
import numpy as np
from PIL import Image

print(f"OpenCV {cv2.__version__}, Pillow {Image.__version__}")


def opencv(data):
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags).ravel().tolist()


def pillow(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")).ravel().tolist()


text, binary = b"P2\n2 1\n100\n50 100\n", b"P5\n2 1\n100\n" + bytes([50, 100])
print(f"samples 50 and 100, white is 100: OpenCV P2 {opencv(text)}, P5 {opencv(binary)}; Pillow {pillow(text)}, {pillow(binary)}")
assert (opencv(text), opencv(binary)) == ([127, 255], [50, 100])
assert pillow(text) == pillow(binary) == [128, 255]

text, binary = b"P2\n1 1\n1023\n1023\n", b"P5\n1 1\n1023\n\x03\xff"
print(f"white is 1023: OpenCV P2 {opencv(text)}, P5 {opencv(binary)}")
assert opencv(text) == opencv(binary) == [1023]

pam = b"P7\nWIDTH 8\nHEIGHT 2\nDEPTH 1\nMAXVAL 1\nTUPLTYPE GRAYSCALE\nENDHDR\n" + bytes([1] * 16)
print(f"PAM, white everywhere: OpenCV {opencv(pam)}")
assert 0 in opencv(pam)
PY
