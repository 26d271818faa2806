"""Pictures of a set as small ones inside the page, so that it stays one file."""

from __future__ import annotations

import base64
from collections.abc import Iterable

import cv2

from ...errors import UserMistake
from ...pictures.file import read_image
from ..page import Html, escaped, join, tag

LONGEST = 128  # px of the longer side
QUALITY = 80  # of the JPEG; about 4 kB each


def gallery(shown: Iterable[tuple[str, str]]) -> Html:
    """(path, what is said of it), side by side; a picture that is gone since then is its words alone."""
    cards = [
        Html(f'<figure style="margin:0;width:9rem">{_small(path)}<figcaption class="soft">{escaped(words)}</figcaption></figure>')
        for path, words in shown
    ]  # fmt: skip
    return Html(f'<div style="display:flex;flex-wrap:wrap;gap:.8rem">{join(cards)}</div>') if cards else Html("")


def _small(path: str) -> Html:
    try:
        pixels = read_image(path)
    except UserMistake:
        return tag("p", "not to be read any more")
    scale = LONGEST / max(pixels.shape[:2])
    height, width = (max(1, round(side * min(scale, 1.0))) for side in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    source = base64.b64encode(data).decode()
    return Html(
        f'<img alt="{escaped(path)}" title="{escaped(path)}" width="{width}" height="{height}" '
        f'src="data:image/jpeg;base64,{source}">'
    )
