"""One screenshot that was looked at: any number of instructions may be asked of it.

    with session.open("shot.png") as screen:
        click = screen.click("open the settings")
        one, two = screen.click(["the save button", "the search field"])

Its keys and values are in the pool of the session. Where they went to make room, the next click computes them again, from the
picture, which is kept as PNG.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, overload

import cv2
import numpy as np

from ....errors import UserMistake
from ...task import Times
from ..answer import Click
from ..buckets import Bucket, told
from .pool import Pool

if TYPE_CHECKING:
    from typing_extensions import Self

_NUMBERS = itertools.count()


class Desk(Protocol):
    """What a screen needs of the session that opened it."""

    @property
    def pool(self) -> Pool: ...
    def look(self, picture: np.ndarray, bucket: Bucket) -> tuple[Mapping[str, np.ndarray], Times]: ...
    def click(self, pairs: Sequence[tuple[Any, str]], zoom: int | None = None) -> list[Click]: ...


class Screen:
    """An open screen; any number of threads may click on it. Close it, or use it in a ``with`` block."""

    def __init__(self, desk: Desk, picture: np.ndarray, bucket: Bucket, start: int) -> None:
        self.desk, self.bucket = desk, bucket
        self.start = start  # the position of the first token after the picture
        self.image_size = picture.shape[0], picture.shape[1]  # (height, width)
        self.notes = told(*self.image_size, bucket)  # what the resize does to it
        self.key = next(_NUMBERS)
        arrays, times = desk.look(picture, bucket)
        self.preprocess_ms, self.infer_ms = times.preprocess_ms, times.infer_ms
        self._png = _packed(picture)
        self._closed = False
        self._computing = threading.Lock()  # once, however many threads ask
        desk.pool.put(self.key, arrays, self.what)

    @property
    def what(self) -> str:
        return f"a screen of {self.image_size[1]} x {self.image_size[0]} pixels"

    @property
    def is_kept(self) -> bool:
        """Whether the next click finds what was computed; else it computes it again."""
        return self.key in self.desk.pool

    @overload
    def click(self, instruction: str, zoom: int | None = None) -> Click: ...
    @overload
    def click(self, instruction: list[str] | tuple[str, ...], zoom: int | None = None) -> list[Click]: ...
    def click(self, instruction: str | list[str] | tuple[str, ...], zoom: int | None = None) -> Click | list[Click]:
        """Where to click for an instruction; for a list of them a list, all in one batch.

        ``zoom``: 2 or 4, look again at the surroundings of the point, enlarged.

        Raises:
            UserMistake: an empty or too long instruction, a closed screen, a bundle that cannot zoom.
        """
        if isinstance(instruction, str):
            return self.desk.click([(self, instruction)], zoom)[0]
        return self.desk.click([(self, text) for text in instruction], zoom)

    def pin(self) -> None:
        """Keep what was computed until ``unpin``, whatever else is opened; where it went, it is computed again now."""
        self.check_open()
        self.desk.pool.pin(self.key)
        try:
            self.stored()
        except BaseException:
            self.desk.pool.unpin(self.key)
            raise

    def unpin(self) -> None:
        self.desk.pool.unpin(self.key)

    def stored(self) -> Mapping[str, np.ndarray]:
        """Keys, values and sums of this screen, from the pool or computed again."""
        with self._computing:
            self.check_open()
            arrays = self.desk.pool.get(self.key)
            if arrays is None:
                arrays, _ = self.desk.look(self.picture(), self.bucket)
                self.desk.pool.put(self.key, arrays, self.what)
            return arrays

    def picture(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as it was given."""
        bgr = np.asarray(cv2.imdecode(self._png, cv2.IMREAD_COLOR))
        return np.ascontiguousarray(bgr[:, :, ::-1])

    def check_open(self) -> None:
        if self._closed:
            raise UserMistake("this screen is closed", attempt="session.open(picture) opens it again")

    def close(self) -> None:
        """Forget what was computed; waits for a computation that is running."""
        with self._computing:
            self._closed = True
            self.desk.pool.drop(self.key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _packed(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB as the bytes of a PNG: a screenshot takes a tenth of its pixels so."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[:, :, ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise UserMistake("the picture cannot be kept", found=f"shape {picture.shape}", expected="(height, width, 3)")
    return np.asarray(data)
