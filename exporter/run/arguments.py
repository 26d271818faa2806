"""Words on the command line -> values: sizes, batches, shapes, precisions, and the ``key=value`` habit of YOLO users.

Everything here is text in, plain values out; a word that cannot be used raises UserMistake with the nearest that can.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...runtime.errors import UserMistake
from .nouns import AXES, CHANNELS_FIRST, INPUT, Shapes

if TYPE_CHECKING:
    from ...runtime.pictures.contract import ImageContract

BATCH = re.compile(r"(\d+)(?:(?:\.\.|-|:)(\d+))?")
SIDE_LIMIT_PX = 8192
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
THREE_NUMBERS = ("--mean", "--std")  # one a channel, which timm's scripts take with spaces between


def nearest(word: str, known: Iterable[str]) -> str:
    """``'did you mean x, or y?'`` or an empty string."""
    import difflib  # here, as the tables below: help starts without them

    close = difflib.get_close_matches(word, list(known), n=2, cutoff=0.6)
    return f"did you mean {' or '.join(close)}?" if close else ""


def precision(word: str) -> str:
    """``half`` -> ``fp16``, ``8`` -> ``int8`` and so on."""
    from ...calibration.precisions import AUTO, PRECISIONS, SPELT_AUTO

    lowered, known = str(word).lower(), {name: (name, *row.spellings) for name, row in PRECISIONS.items()}
    known[AUTO] = SPELT_AUTO
    for name, spellings in known.items():
        if lowered in spellings:
            return name
    raise UserMistake(
        f"Unknown precision {word!r}",
        found=f"--precision {word}",
        expected="one of " + ", ".join(known) + " (also: half, float16, bfloat16)",
        attempt=nearest(lowered, (spelling for names in known.values() for spelling in names)) or "--precision fp16",
    )


def image_size(words: int | str | Iterable[int | str] | None) -> tuple[int, int] | None:
    """``224``, ``"256x320"``, ``(256, 320)`` -> (height, width) in pixels; None stays None (the model's own size)."""
    if words is None:
        return None
    parts = re.split(r"[x, ]+", words.strip()) if isinstance(words, str) else words
    texts = [str(part) for part in (parts if isinstance(parts, Iterable) else [parts])]
    if len(texts) not in (1, 2) or not all(re.fullmatch(r"[0-9]{1,9}", text) for text in texts):
        raise _bad_size(" ".join(texts)[:80], "one number, or height and width, in whole pixels")
    sides = [int(text) for text in texts]
    if not all(0 < side <= SIDE_LIMIT_PX for side in sides):
        raise _bad_size(" ".join(texts), f"sides from 1 to {SIDE_LIMIT_PX} pixels")
    return (sides[0], sides[-1])


def _bad_size(found: str, expected: str) -> UserMistake:
    return UserMistake(
        "That is not an image size",
        found=f"--image-size {found}",
        expected=expected,
        attempt="--image-size 224, or --image-size 256 320 for height and width",
    )


def batch(words: int | str) -> tuple[int, int]:
    """``1`` -> (1, 1); ``"1..8"`` (also ``1-8``, ``1:8``) -> (1, 8): the smallest and the largest batch."""
    match = BATCH.fullmatch(str(words).strip())
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if not match or not 1 <= low <= high <= 1024:
        raise UserMistake(
            "That is not a batch size",
            found=f"--batch {words}",
            expected="a number from 1 to 1024, or a range from small to large",
            attempt="--batch 1, or --batch 1..8 for a graph that takes any batch from 1 to 8",
        )
    return low, high


def shape(words: str, flag: str, input_name: str = INPUT, contract: ImageContract | None = None) -> tuple[int, ...]:
    """trtexec's spelling ``images:1x3x224x224`` (the name may be left out) -> (B, 3, H, W), or as the contract has it."""
    usual = contract.shape(1) if contract else (1, 3, 224, 224)
    axes = AXES[contract.layout] if contract else AXES[CHANNELS_FIRST]
    place = axes.index("channels")
    name, _, sizes = words.strip().rpartition(":")
    parts = sizes.lower().split("x")
    good = len(parts) == 4 and all(re.fullmatch(r"[1-9]\d*", part) for part in parts)
    if name not in ("", input_name):
        because = f"the only input is called {input_name!r}" + (
            f"; {hint}" if (hint := nearest(name, [input_name])) else ""
        )
    elif not good:
        because = f"the input has four axes: {', '.join(axes)}; here are {len(parts)}: {sizes or 'none'}"
    elif parts[place] != str(usual[place]):
        because = f"pictures have {usual[place]} channels here, so number {place + 1} is {usual[place]}"
    else:
        return tuple(int(part) for part in parts)
    raise UserMistake(
        f"--{flag} cannot be read",
        found=words,
        expected=f"{input_name}:"
        + "x".join(str(usual[place]) if axis == place else name.upper() for axis, name in enumerate(axes)),
        because=because,
        attempt=f"--{flag} {spell(usual, input_name)}",
    )


def shapes(
    size: tuple[int, int],
    batches: tuple[int, int],
    minimum: tuple[int, ...] | None = None,
    usual: tuple[int, ...] | None = None,
    maximum: tuple[int, ...] | None = None,
    *,
    contract: ImageContract | None = None,
) -> Shapes:
    """The three shapes of the input; given ones win over ``size`` and ``batches``, missing ones are filled in."""
    layout = contract.layout if contract else CHANNELS_FIRST
    usual = usual or (contract.shape(batches[0], size) if contract else (batches[0], 3, *size))
    minimum = minimum or (min(batches[0], usual[0]), *usual[1:])
    maximum = maximum or (max(batches[1], usual[0]), *usual[1:])
    for axis, low, middle, high in zip(AXES[layout], minimum, usual, maximum, strict=True):
        if not low <= middle <= high:
            raise UserMistake(
                f"The {axis} of the dynamic shapes does not grow from min to max",
                found=f"min {low}, opt {middle}, max {high}",
                expected="min <= opt <= max on every axis",
                attempt=f"--min-shapes {spell(minimum)} --max-shapes {spell(tuple(map(max, minimum, usual, maximum)))}",
            )
    return Shapes(minimum, usual, maximum, layout)


def spell(sizes: Iterable[int | str], input_name: str = INPUT) -> str:
    """(1, 3, 224, 224) -> ``images:1x3x224x224``."""
    return f"{input_name}:" + "x".join(map(str, sizes))


def flags(
    words: list[str], known: Mapping[str, bool], two_numbers: Collection[str] = ("--image-size", "--imgsz")
) -> list[str]:
    """Spell a command the strict way: ``precision=fp16`` -> ``--precision fp16``, ``--imgsz 256 320`` -> ``--imgsz 256x320``,
    ``--std 1 1 1`` -> ``--std 1,1,1``.

    ``known`` maps each flag to whether it takes a value. Raises UserMistake for a key that is no flag.
    """
    plain: list[str] = []
    for word in words:
        match = re.fullmatch(r"([A-Za-z][\w-]*)=(.*)", word)
        if not match or (plain and known.get(plain[-1])):  # behind a flag stands its value, whatever it looks like
            number = re.fullmatch(r"\d+", word)
            if number and len(plain) > 1 and plain[-2] in two_numbers and re.fullmatch(r"\d+", plain[-1]):
                plain[-1] += f"x{word}"
            elif len(plain) > 1 and plain[-2] in THREE_NUMBERS and NUMBER.fullmatch(word) and NUMBER.match(plain[-1]):
                plain[-1] += f",{word}"
            else:
                plain.append(word)
            continue
        flag, value = "--" + match[1].replace("_", "-"), match[2]
        if flag not in known:
            raise UserMistake(
                f"Unknown setting {match[1]!r}",
                found=word,
                expected="one of " + ", ".join(sorted(name[2:] for name in known if name.startswith("--"))),
                attempt=nearest(flag, known) or "edgesmith COMMAND --help lists the settings",
            )
        if known[flag]:
            plain += [flag, value.strip("[]()").replace(",", "x")] if flag in two_numbers else [flag, value]
        elif value.lower() in ("true", "1", "yes", "on"):
            plain.append(flag)
        elif (off := f"--no-{flag[2:]}") in known:
            plain.append(off)
    return plain


def check_word(flag: str, word: Any, known: tuple[Any, ...]) -> None:
    if word not in known:
        raise UserMistake(
            f"{flag} has no value {word}",
            found=f"{flag} {word}",
            expected="one of " + ", ".join(map(str, known)),
            attempt=nearest(str(word), map(str, known)) or f"leave {flag} out",
        )


def check_range(flag: str, value: float, low: float, high: float, hint: str) -> None:
    if not low <= value <= high:
        raise UserMistake(
            f"{flag} is out of range", found=f"{flag} {value:g}", expected=f"{low:g} to {high:g}", attempt=hint
        )
