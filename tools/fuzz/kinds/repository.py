"""Repositories of Triton for ``edgesmith triton --check``: configs, programs, bundles and warm-up data, damaged, moved or away."""

from __future__ import annotations

import random as random_
import re
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from json_damage import TEXTS, damaged_text

NAME = "repository"
CONFIG = "config.pbtxt"
NUMBERS = ("-1", "0", "1", "8", "2147483648", "1e9", "99999999999999999999", '"x"', "true", "{}", "nan")


def prepare(folder: Path) -> None:
    from triton_bundles import write_bundles

    from edgesmith.runtime.commands.triton.command import write
    from edgesmith.runtime.commands.triton.options import Asked

    write(Asked(tuple(map(str, write_bundles(folder))), str(folder / "repository")))


def mutant(random: random_.Random, folder: Path, target: Path) -> Path:
    place = target / "repository"
    shutil.copytree(folder / "repository", place)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        configs = [path for path in sorted(place.rglob(CONFIG)) if path.is_file()]
        others = [path for path in sorted(place.rglob("*")) if path.name != CONFIG]
        if configs and random.random() < 0.7:
            _text(random, random.choice(configs))
        elif others:
            _file(random, random.choice(others))
    return place


def _text(random: random_.Random, path: Path) -> None:
    """Another word, number or line in a config."""
    text, kind = path.read_text(errors="replace"), random.randrange(6)
    lines = text.splitlines() or [""]
    at = random.randrange(len(lines))
    if kind == 0:
        path.write_bytes(damaged_text(random, text.encode()))
        return
    if kind == 1:
        del lines[at]
    elif kind == 2:
        lines.insert(at, lines[random.randrange(len(lines))])
    elif kind == 3:
        lines[at] = re.sub(
            r'"[^"]*"',
            lambda _: '"' + random.choice(TEXTS)[:300].replace("\\", "").replace('"', "").replace("\n", " ") + '"',
            lines[at],
        )
    elif kind == 4:
        lines[at] = re.sub(r"-?\d+", lambda _: random.choice(NUMBERS), lines[at])
    else:
        lines[at] = re.sub(
            r"(TYPE|KIND)_\w+",
            lambda _: random.choice(("TYPE_STRING", "TYPE_FP32", "TYPE_INVALID", "KIND_GPU", "x")),
            lines[at],
        )
    path.write_text("\n".join(lines), errors="replace")


def _file(random: random_.Random, path: Path) -> None:
    """A file damaged, away, or something else in its place."""
    if path.is_dir():
        shutil.rmtree(path)
        if random.random() < 0.5:
            path.write_bytes(b"x")
        return
    kind = random.randrange(4)
    content = path.read_bytes()
    path.unlink()
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(random.choice(("/dev/null", "/etc/hostname", "..", path.name)))
    elif kind == 3:
        path.write_bytes(damaged_text(random, content))


def use(path: Path) -> None:
    from edgesmith.runtime.commands.triton.check.report import check, show
    from edgesmith.runtime.errors import EdgesmithError

    result = check(str(path))
    if not show(result).encode() or result["faults"]:
        raise EdgesmithError("faults were told")
