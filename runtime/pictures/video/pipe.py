"""Pictures through a pipe: JPEG or PNG files one behind the other, as ``ffmpeg -f image2pipe`` writes them.

    ffmpeg -i clip.mkv -f image2pipe -c:v mjpeg -q:v 2 - | edgesmith run d.edge -

Where a picture ends stands in itself (the end marker of a JPEG, the chunk IEND of a PNG), so nothing but the picture on its
way is held, and of that at most ``MOST_BYTES``. Every picture is answered, in order: a writer that is faster waits.
Bytes that begin no picture, and a picture that cannot be decoded, are one lost frame; reading goes on at the next beginning.
"""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator
from typing import IO

from ...errors import UserMistake
from ..file import decode_image
from ..formats.headers import JPEG, PNG
from .frame import Frame, Source, unread

MOST_BYTES = 128 * 1024 * 1024  # of one picture: a PNG of 40 megapixels that does not compress
BLOCK = 1 << 16
BEGINNINGS = (JPEG + b"\xff", PNG)
ALONE = frozenset([0x00, 0x01, *range(0xD0, 0xD8), 0xFF])  # behind 0xFF: coded pixels, restart markers, fill bytes
START, END, CODED_PIXELS = 0xD8, 0xD9, 0xDA
FORMATS = (
    "JPEG or PNG pictures one behind the other: ffmpeg -i VIDEO -f image2pipe -c:v mjpeg -q:v 2 - | edgesmith run B -"
)


class Pipe(Source):
    """The pictures that standard input brings; ``stream`` is a binary one."""

    kind = "video"
    ahead = False  # whoever writes may wait for the answer

    def __init__(self, stream: IO[bytes], name: str = "standard input") -> None:
        super().__init__(name)
        self.bytes = _Bytes(stream)

    def __iter__(self) -> Iterator[Frame]:
        index = answered = 0
        damaged = False  # the one before: what cannot be read behind it is still the same
        while True:
            started = time.perf_counter()
            skipped = self.bytes.to_a_beginning()
            if skipped and not index:
                raise UserMistake(
                    f"{self.name} brings no pictures",
                    found=f"bytes that begin with {skipped!r}",
                    expected=FORMATS,
                    attempt="a video file by its name, --source clip.mp4",
                )
            if skipped and not damaged:
                yield unread(self.name, index, 1)
                index += 1
            if not self.bytes.held:
                break
            data = self.bytes.picture()
            try:
                image = decode_image(data, f"{index} of {self.name}", self.alpha, self.memory)
            except UserMistake:
                damaged = True
                yield unread(self.name, index, 1)
            else:
                damaged = False
                yield Frame(index, self.name, None, image, None, (time.perf_counter() - started) * 1e3)
                answered += 1
            index += 1
        if not answered:
            raise UserMistake(
                f"{self.name} brought no picture",
                found=f"{index} that cannot be read" if index else "its end, and nothing before it",
                expected=FORMATS,
                attempt="look at what the command before the | says",
            )


def standard_input() -> Pipe:
    """What ``-`` means; UserMistake where a person sits at it, or it is closed."""
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or sys.stdin.closed or sys.stdin.isatty():
        raise UserMistake(
            "- reads pictures from standard input",
            found="a terminal" if stream is not None and not sys.stdin.closed else "no standard input",
            expected=FORMATS,
            attempt="a command before the |, or the name of a video or picture",
        )
    return Pipe(stream)


class _Bytes:
    """A stream of which the beginning of the next picture is looked for, then its end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.held, self.ended = stream, bytearray(), False

    def to_a_beginning(self) -> bytes:
        """Skip what begins no picture; the first bytes of that, empty where there is none. ``held`` is empty at the end."""
        skipped = b""
        while True:
            places = [at for one in BEGINNINGS if (at := self.held.find(one)) >= 0]
            # the last bytes may be half of a beginning
            skip = min(places) if places else len(self.held) if self.ended else max(len(self.held) - len(PNG) + 1, 0)
            skipped = skipped or bytes(self.held[: min(skip, 12)])
            del self.held[:skip]
            if places or self.ended:
                return skipped
            self._more()

    def picture(self) -> bytes:
        """The picture that ``held`` begins with; where the stream ends in it, what there is of it."""
        end = self._end_of_png() if self.held.startswith(PNG) else self._end_of_jpeg()
        data = bytes(self.held[:end])
        del self.held[:end]
        return data

    def _end_of_png(self) -> int:
        at = len(PNG)
        while self._has(at + 8):
            length, name = int.from_bytes(self.held[at : at + 4], "big"), self.held[at + 4 : at + 8]
            at += 12 + length
            if name == b"IEND":
                return at if self._has(at) else len(self.held)
        return len(self.held)

    def _end_of_jpeg(self) -> int:
        at, coded = len(JPEG), False
        while self._has(at + 2):
            place = self.held.find(b"\xff", at)
            if place < 0 or (place != at and not coded):  # outside of coded pixels a segment follows at once
                if not coded:
                    return at
                at = len(self.held)
                continue
            at = place
            if not self._has(at + 2):
                break
            marker = self.held[at + 1]
            if marker == END:
                return at + 2
            if marker == START:  # of the next one: this one has no end
                return at
            if marker in ALONE:
                at += 1 if marker == 0xFF else 2
                continue
            if not self._has(at + 4):
                break
            coded = marker == CODED_PIXELS
            at += 2 + max(int.from_bytes(self.held[at + 2 : at + 4], "big"), 2)
        return len(self.held)

    def _has(self, count: int) -> bool:
        """Whether so many bytes are held, read as far as needed; False where the stream ends before."""
        while len(self.held) < count and not self.ended:
            if count > MOST_BYTES or len(self.held) > MOST_BYTES:
                raise UserMistake(
                    "a picture in the pipe is too large",
                    found=f"more than {MOST_BYTES:,} bytes without its end",
                    expected=f"at most {MOST_BYTES:,} bytes a picture",
                    attempt="smaller pictures, or -c:v mjpeg",
                )
            self._more()
        return len(self.held) >= count

    def _more(self) -> None:
        read = getattr(self.stream, "read1", self.stream.read)  # what there is, not a whole block
        try:
            block = read(BLOCK)
            if block is None:  # another program has made the pipe one that does not wait
                select.select([self.stream], [], [])
                return
        except OSError as error:
            raise UserMistake(
                "standard input cannot be read", found=error.strerror or str(error), expected=FORMATS
            ) from None
        self.held += block
        self.ended = not block
