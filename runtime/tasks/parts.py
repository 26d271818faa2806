"""A part of an evaluation in another process: the bundle is opened there, once, since no session travels."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from ..errors import UserMistake
from .described import Described
from .evaluation import Load


@dataclass(frozen=True)
class Source:
    """A bundle as another process opens it."""

    place: str  # the same on every machine
    seal: str  # hash of its manifest, and so of all its files


def source_of(bundle: Described) -> Source:
    return Source(str(bundle.path.absolute()), _seal(bundle))


def _seal(bundle: Described) -> str:
    return str(bundle.manifest.get("manifest_sha256"))


@functools.lru_cache(maxsize=1)
def opened_once(source: Source, load: Load, backend: str | None, threads: int | None) -> Any:
    """A session that the parts of one evaluation share which run in this process.

    UserMistake where the bundle at that place is another one than was asked about.
    """
    session = load(source.place, backend=backend, threads=threads)
    if _seal(session.bundle) != source.seal:
        session.close()
        raise UserMistake(
            "Two processes of one evaluation see different bundles",
            found=f"another bundle at {source.place} than there was when the evaluation began",
            expected="the same files on every machine, for as long as it runs",
            attempt="run it again",
        )
    return session
