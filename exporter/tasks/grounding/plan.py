"""The part of a plan that belongs to grounding: the screens that it will see, and how keys and values are stored."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ....runtime.errors import UserMistake
from ....runtime.tasks.grounding.resize import MOST_PIXELS, MOST_RATIO, MULTIPLE, SCREEN_PIXELS, screen_size
from ...run.arguments import check_word

CHOICES = ("screen", "kv_bits", "kv_scheme")
SCREENS = "1280x800,1920x1080"
KV_BITS, KV_SCHEMES = (16, 8, 4, 2), ("kivi", "rotatekv")
FEW_BITS = 16  # below it keys and values are codes of a scheme
MOST_BUCKETS = 8  # each has a vision tower and a prefix of its own
LARGEST_PIXELS = 2 * MOST_PIXELS  # of a screen: 6016 x 3384 is seen, 8k is not


@dataclass(frozen=True)
class Bucket:
    """Screens of one size as the network sees them; ``screen`` is (width, height) as it was asked for, ``size`` (height, width)."""

    screen: tuple[int, int]
    size: tuple[int, int]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of visual tokens."""
        return self.size[0] // MULTIPLE, self.size[1] // MULTIPLE

    @property
    def visual_tokens(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def name(self) -> str:
        """As graphs are called by it: width x height."""
        return f"{self.size[1]}x{self.size[0]}"


@dataclass(frozen=True)
class GroundingRule:
    """What an export decides beside precision and target; ``kv_bits`` None: those of floating point in the bundle's precision."""

    buckets: tuple[Bucket, ...]
    kv_bits: int | None = None
    kv_scheme: str = KV_SCHEMES[0]
    block: int | None = None  # weights of 4 bits that share a scale; None: the widest that fits

    def to_json(self) -> dict[str, Any]:
        return {
            "buckets": [
                {"screen": list(one.screen), "size": list(one.size), "grid": list(one.grid)} for one in self.buckets
            ],
            "kv_bits": self.kv_bits,
            "kv_scheme": self.kv_scheme,
            "block": self.block,
        }


def plan_grounding(choices: Mapping[str, Any]) -> GroundingRule:
    """The rule of an export; UserMistake for a screen that cannot be seen, and for bits or a scheme that there are not."""
    bits, scheme = choices.get("kv_bits"), choices.get("kv_scheme")
    if bits is not None:
        check_word("--kv-bits", bits, KV_BITS)
    if scheme is not None:
        check_word("--kv-scheme", scheme, KV_SCHEMES)
        if bits is None or bits >= FEW_BITS:
            raise UserMistake(
                "A scheme is for keys and values of few bits",
                found=f"--kv-scheme {scheme}" + (f" --kv-bits {bits}" if bits else ""),
                expected="--kv-bits 8, 4 or 2 beside it",
                because="of 16 bits they are stored as they are",
                attempt=f"--kv-bits 4 --kv-scheme {scheme}",
            )
    buckets: dict[tuple[int, int], Bucket] = {}
    asked = choices.get("screen")
    for screen in screens(SCREENS if asked is None else asked):
        found = Bucket(screen, screen_size(screen[1], screen[0]))
        buckets.setdefault(found.size, found)  # two screens that are seen alike share their graphs
    if len(buckets) > MOST_BUCKETS:
        raise UserMistake(
            "Too many screens for one bundle",
            found=f"{len(buckets)} sizes",
            expected=f"at most {MOST_BUCKETS}",
            because="each has a vision tower and a prefix of its own; a screen of another size is seen in the nearest",
            attempt="the sizes that occur most",
        )
    return GroundingRule(tuple(buckets.values()), bits, scheme or KV_SCHEMES[0])


def screens(asked: str | Iterable[Any]) -> list[tuple[int, int]]:
    """``"1280x800,1920x1080"``, or pairs of (width, height) -> pairs; UserMistake for what is no size of a screen."""
    if isinstance(asked, str):
        parts: list[Any] = [part for part in re.split(r"[,;\s]+", asked) if part]
    else:
        parts = list(asked)
        parts = [tuple(parts)] if parts and all(isinstance(one, int) for one in parts) else parts
    found = []
    for part in parts:
        sides = (
            re.split(r"[xX×]", part) if isinstance(part, str) else list(part) if isinstance(part, (tuple, list)) else []
        )
        if len(sides) != 2 or not all(re.fullmatch(r"[1-9]\d{0,4}", str(side)) for side in sides):
            raise _no_screen(str(part))
        width, height = (int(side) for side in sides)
        _check_screen(width, height)
        found.append((width, height))
    if not found:
        raise _no_screen(str(asked))
    return found


def _check_screen(width: int, height: int) -> None:
    """UserMistake for what has no visual token on a side, and for more pixels than can be told apart."""
    found = f"--screen {width}x{height}"
    if min(height, width) < MULTIPLE:
        raise UserMistake(
            "That is too small for a screen",
            found=found,
            expected=f"sides of {MULTIPLE} pixels and more",
            because=f"the network sees squares of {MULTIPLE} pixels",
            attempt=f"--screen {SCREENS}",
        )
    if max(height, width) > MOST_RATIO * min(height, width):
        raise UserMistake(
            "That is a strip, no screen",
            found=found,
            expected=f"a long side of at most {MOST_RATIO} times the short one",
            attempt=f"--screen {SCREENS}",
        )
    if height * width > LARGEST_PIXELS:
        raise UserMistake(
            "That screen has too many pixels",
            found=f"{found}, {height * width / 1e6:.1f} million pixels",
            expected=f"at most {LARGEST_PIXELS / 1e6:.1f} million",
            because=f"it is seen in {SCREEN_PIXELS / 1e6:.2f} million, in which the letters of a larger one are lost",
            attempt=f"one monitor at a time, or a smaller one of this shape: --screen {_smaller(width, height)}",
        )


def _smaller(width: int, height: int) -> str:
    """Half of each side, or a quarter, ..., until it can be seen."""
    while height * width > LARGEST_PIXELS:
        width, height = width // 2, height // 2
    return f"{width}x{height}"


def _no_screen(found: str) -> UserMistake:
    return UserMistake(
        "That is not the size of a screen",
        found=f"--screen {found}"[:120],
        expected="width x height in pixels, several with commas between",
        attempt=f"--screen {SCREENS}",
    )
