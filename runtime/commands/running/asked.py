"""The words of ``edgesmith run``, and what of them contradicts each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...bundle.trust import check_older
from ...errors import UserMistake
from ...errors.addresses import shown
from ...ground.regular import read_regular

if TYPE_CHECKING:
    from ..device.startup import Found, Wish

Where = tuple[Path | None, int | None]  # file or port of --health
PIPE = "-"
MOST_INSTRUCTIONS, MOST_INSTRUCTION_BYTES = 1_000, 2**22  # of a file


@dataclass(frozen=True)
class Asked:
    """The words of the command; None is "not said"."""

    bundle: str
    images: tuple[str, ...] = ()
    source: str | None = None
    save: str | None = None
    score: float | None = None
    iou: float | None = None
    max_detections: int | None = None
    top: int | None = None
    max_frames: int | None = None
    backend: str | None = None
    threads: int | None = None
    as_json: bool = False
    json_lines: bool = False
    force: bool = False
    agnostic_nms: bool = False
    reconnect: bool = False
    instruction: tuple[str, ...] = ()
    instructions: str | None = None  # a file, one a line
    zoom: int | None = None
    pool_mb: float | None = None
    masks: str | None = None
    keyring: str | None = None
    allow_older: bool = False
    health: str | None = None
    require_tensorrt: bool = False
    rollback: bool = False

    def check(self) -> None:
        """UserMistake for words that contradict each other or that no bundle can follow."""
        check_older(self.allow_older, self.keyring)
        if self.images and self.source is not None:
            raise UserMistake(
                "pictures and --source are two sources",
                found=f"{shown(self.images[0])} and --source {shown(self.source)}",
                expected="one of them",
                attempt=f"--source {shown(self.source)}",
            )
        if PIPE in self.images and len(self.images) > 1:
            raise UserMistake(
                "- is standard input, and a source of its own",
                found=f"- and {len(self.images) - 1} pictures",
                expected="- alone, or pictures",
                attempt=f"edgesmith run {self.bundle} -",
            )
        if self.reconnect and self.place is None:
            raise UserMistake(
                "--reconnect is for cameras and streams",
                found="pictures",
                expected="--source with a camera as 0, or the URL of a stream",
                attempt="leave --reconnect out",
            )
        if not self.images and self.source is None:
            raise UserMistake(
                "nothing to look at",
                found="no picture and no --source",
                expected="pictures, or --source with a video, a folder, a camera, a stream, or - for a pipe",
                attempt=f"edgesmith run {self.bundle} photo.jpg, or --source 0 for the camera",
            )
        if self.as_json and self.json_lines:
            raise UserMistake(
                "--json and --json-lines are two forms of the same answer",
                expected="--json for one document at the end, --json-lines for one line a frame",
                attempt="only --json-lines",
            )
        for flag, share, usual in (("--score", self.score, 0.3), ("--iou", self.iou, 0.7)):
            if share is not None and not 0 <= share <= 1:  # NaN fails too
                raise UserMistake(
                    f"{flag} is a share", found=f"{share:g}", expected="from 0 to 1", attempt=f"{flag} {usual}"
                )
        counts = {"--max-detections": self.max_detections, "--top": self.top, "--max-frames": self.max_frames}
        for flag, count in counts.items():
            if count is not None and count < 1:
                raise UserMistake(f"{flag} counts from 1", found=str(count), expected="1 or more", attempt=f"{flag} 5")

    @property
    def place(self) -> str | None:
        """The one source that is asked for; None where pictures are."""
        return PIPE if self.images == (PIPE,) else self.source

    def find(self) -> Found:
        """The bundle that is asked for; with ``--rollback`` the last good one where that cannot be opened."""
        from ..device.startup import find

        return find(self.bundle, self.wish(live=False, calls=0))

    def wish(self, live: bool, calls: int) -> Wish:
        """How to start: threads that wait awake are for frames that follow at once, a self-test is for who wants to know, and
        of several calls at once each has a processor of its own, which gets through more than one call on all of them.
        """
        from ..device.startup import Wish

        return Wish(
            self.backend, self.threads or (1 if calls > 1 else None), self.pool_mb, spin=not live, require=self.require_tensorrt,
            check=self.rollback or self.health is not None, rollback=self.rollback, keyring=self.keyring,
            allow_older=self.allow_older,
        )  # fmt: skip

    def health_place(self) -> Where:
        """Where ``--health`` leads; UserMistake before anything is opened."""
        if self.health is None:
            return None, None
        from ..device.health import place_of

        return place_of(self.health)

    def options(self) -> dict[str, Any]:
        """What belongs to some tasks and not to others."""
        told = {"score": self.score, "iou": self.iou, "max_detections": self.max_detections, "top": self.top}
        more: dict[str, Any] = {"agnostic_nms": self.agnostic_nms or None, "instruction": self.asked_for() or None}
        more |= {"zoom": self.zoom, "masks": self.masks}
        return told | {name: value for name, value in more.items() if value is not None}  # others may not know of them

    def asked_for(self) -> list[str]:
        """The instructions, those of the command line first."""
        return [*self.instruction, *(instructions_of(self.instructions) if self.instructions is not None else ())]


def instructions_of(path: str) -> list[str]:
    """The lines of a UTF-8 file, empty ones left out; UserMistake where it cannot be read or has none."""
    try:
        text = read_regular(path, MOST_INSTRUCTION_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserMistake(
            f"cannot read the instructions in {shown(path)}",
            found=getattr(error, "strerror", None) or "bytes that are no UTF-8",
            expected="a text file in UTF-8 with one instruction a line",
            attempt="check the path, and save the file as UTF-8",
        ) from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > MOST_INSTRUCTIONS:
        raise UserMistake(
            f"{shown(path)} is no list of instructions",
            found=f"{len(lines):,} lines that are not empty",
            expected=f"1 to {MOST_INSTRUCTIONS:,}, one instruction each",
            attempt="write one instruction a line"
            if not lines
            else f"split it into files of {MOST_INSTRUCTIONS:,} lines",
        )
    return lines
