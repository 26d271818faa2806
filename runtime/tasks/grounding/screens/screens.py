"""From pictures and instructions to scores: the graphs of a bundle, one after the other.

    open    picture > resized, normalised > vision > image_embeds > prefix > keys, values, visual_sums      once a picture
    click   words > ids; ids + what is stored > instruction > scores > regions > click                      each instruction

Instructions of one size of screen go through the graph together, each with the stored arrays and the ``start`` of its own
screen, as many at once as fit into ``BATCH_BYTES`` of copies.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....errors import UserMistake
from ....pictures.preprocess import Picture, pixels, preprocess
from ...described import Runs
from ...task import Times
from .. import words, zoom
from ..answer import Click, click_of
from ..buckets import Bucket, nearest
from ..facts import INSTRUCTION, facts_of
from . import rotary
from .pool import Pool, budget_bytes
from .screen import Screen

BATCH_BYTES = 2**28
Pair = tuple[Screen, str]


class Screens:
    """The screens of one session."""

    def __init__(self, session: Runs, pool_mb: float | None = None) -> None:
        self._session, self.facts = session, facts_of(session.bundle)
        self.pool = Pool(budget_bytes(pool_mb))
        self._inputs = {spec.name: spec for spec in session.bundle.graphs[INSTRUCTION].inputs}
        self._reading = threading.Lock()
        self._words: tuple[words.Encode, tuple[str, ...]] | None = None
        least = min(self.facts.buckets, key=self.bytes_of)
        self.pool.check_room(self.bytes_of(least), f"even the smallest screen of this bundle, {least.words}")

    def bytes_of(self, bucket: Bucket) -> int:
        """What a screen of this size takes in the pool."""
        outputs = self._session.bundle.graphs[bucket.prefix].outputs
        return sum(math.prod(spec.shape[1:]) * np.dtype(spec.dtype).itemsize for spec in outputs)

    def open(self, picture: Picture) -> Screen:
        """Look at a picture: path, uint8 array (H, W, 3) in RGB, or picture of PIL.

        Raises:
            UserMistake: it cannot be read, has the shape of no screen, or the pool has no room for it.
        """
        array = pixels(picture)
        height, width = array.shape[:2]
        bucket = nearest(height, width, self.facts.buckets)
        self.pool.check_room(self.bytes_of(bucket), f"a screen of {bucket.words}")
        return Screen(self, array, bucket, self.start_of(bucket))

    def start_of(self, bucket: Bucket) -> int:
        """The position of the first token after a picture of this size."""
        return rotary.start(len(self.facts.template.before), bucket.grid)

    def look(self, picture: np.ndarray, bucket: Bucket) -> tuple[dict[str, np.ndarray], Times]:
        """(H, W, 3) uint8 RGB -> what the instruction graph reads of it."""
        started = time.perf_counter()
        batch = preprocess([picture], bucket.contract(self._session.bundle.contract))
        preprocess_ms = (time.perf_counter() - started) * 1e3
        embeds = self._session.run({"pixels": batch}, graph=bucket.vision)
        infer_ms = self._session.infer_ms
        stored = self._session.run(embeds, graph=bucket.prefix)
        return stored, Times(preprocess_ms, infer_ms + self._session.infer_ms)

    def click(self, pairs: Sequence[Pair], zoom: int | None = None) -> list[Click]:
        """(screen, instruction) pairs -> a click each, in their order; see ``Screen.click``."""
        _check_pairs(pairs, self)
        rows = self.rows([text for _, text in pairs])
        if zoom is not None:
            self._check_zoom({screen.image_size for screen, _ in pairs}, zoom)
        clicks: list[Click | None] = [None] * len(pairs)
        for bucket in dict.fromkeys(screen.bucket for screen, _ in pairs):
            mine = [at for at, (screen, _) in enumerate(pairs) if screen.bucket == bucket]
            most = self._at_once(bucket)
            for first in range(0, len(mine), most):
                part = mine[first : first + most]
                found = self._batch(bucket, [pairs[at] for at in part], [rows[at] for at in part])
                for at, click in zip(part, found, strict=True):
                    clicks[at] = click
        done = [click for click in clicks if click is not None]
        if zoom is not None:
            done = [self._again(*each, zoom) for each in zip(pairs, done, rows, strict=True)]
        return done

    def close(self) -> None:
        self.pool.close()

    # words

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Instructions -> the ids of their rows; UserMistake for the first that cannot be asked."""
        stops = self.facts.template.stop_words
        checked = [words.checked(text, stops) for text in texts]
        if not checked:
            return []
        encode, special = self._encoder()
        checked = [words.checked(text, special) for text in checked]
        _, most = self._inputs["tokens"].limits(1)
        return [words.ids_of(text, encode, self.facts.template, self.facts.vocabulary, most) for text in checked]

    def _encoder(self) -> tuple[words.Encode, tuple[str, ...]]:
        with self._reading:
            if self._words is None:
                self._words = words.encoder(self._session.bundle.held(self.facts.tokenizer, words.MOST_BYTES))
            return self._words

    # scores

    def scores(
        self,
        bucket: Bucket,
        stored: Sequence[Mapping[str, np.ndarray]],
        rows: Sequence[Sequence[int]],
        starts: Sequence[int] | None = None,
    ) -> np.ndarray:
        """What is stored of a screen and its ``start``, for each row of ids -> (rows, visual tokens)."""
        count = len(rows)
        spec = self._inputs["tokens"]
        tokens, lengths = words.batch(rows, least=spec.limits(1)[0])
        start = np.array(starts or [self.start_of(bucket)] * count, np.int64)
        feeds: dict[str, np.ndarray] = {"tokens": tokens, "lengths": lengths, "start": start}
        same = all(one is stored[0] for one in stored)
        for name in stored[0]:
            alone = same and self._inputs[name].shape[0] != spec.shape[0]  # the graph repeats it by itself
            feeds[name] = stored[0][name] if alone or count == 1 else np.concatenate([one[name] for one in stored])
        if "prefix_cos" in self._inputs:
            feeds |= self._tables(bucket)
        missing = max(spec.limits(0)[0] - count, 0)
        if missing:
            feeds = {n: a if n.startswith("prefix_") else _filled(a, missing) for n, a in feeds.items()}
        scores = self._session.run(feeds, graph=INSTRUCTION)["scores"][:count]
        if scores.shape != (count, bucket.tokens):
            raise UserMistake(
                f"the scores of {self._session.bundle.name} do not fit the screen",
                found=f"shape {scores.shape}",
                expected=f"{(count, bucket.tokens)}",
                because="the graph is not the one that the manifest describes",
                attempt="copy the bundle again, or export it again",
            )
        return scores.astype(np.float32, copy=False)

    def _tables(self, bucket: Bucket) -> dict[str, np.ndarray]:
        """By which the graph turns the bias of the keys, for the places before the instruction."""
        places = rotary.positions(len(self.facts.template.before), bucket.grid)
        cos, sin = rotary.tables(places, self.facts.sections, self.facts.theta)
        return {"prefix_cos": cos, "prefix_sin": sin}

    def _at_once(self, bucket: Bucket) -> int:
        """How many instructions of screens of this size go through the graph together."""
        _, most = self._inputs["tokens"].limits(0)
        room = max(BATCH_BYTES // max(self.bytes_of(bucket), 1), 1)
        return min(most or room, room)

    def _batch(self, bucket: Bucket, pairs: Sequence[Pair], rows: Sequence[Sequence[int]]) -> list[Click]:
        kept: dict[int, Mapping[str, np.ndarray]] = {}
        for screen, _ in pairs:
            if screen.key not in kept:
                kept[screen.key] = screen.stored()
        stored = [kept[screen.key] for screen, _ in pairs]
        scores = self.scores(bucket, stored, rows, [screen.start for screen, _ in pairs])
        infer_ms = self._session.infer_ms / len(rows)
        return [
            self._click(text, row, bucket, screen.image_size, infer_ms)
            for (screen, text), row in zip(pairs, scores, strict=True)
        ]

    def _click(
        self,
        text: str,
        scores: np.ndarray,
        bucket: Bucket,
        size: tuple[int, int],
        infer_ms: float,
        part: zoom.Crop | None = None,
    ) -> Click:
        started = time.perf_counter()
        click = click_of(text, scores.reshape(bucket.grid), self.facts.threshold, size, part)
        return replace(click, infer_ms=infer_ms, postprocess_ms=(time.perf_counter() - started) * 1e3)

    # the second look

    def _check_zoom(self, sizes: set[tuple[int, int]], factor: int) -> None:
        zoom.check_factor(factor)
        for size in sizes:  # how large the part is does not depend on the point
            zoom.bucket_for(zoom.crop(size, (0.5, 0.5)), factor, self.facts.buckets)

    def _again(self, pair: Pair, first: Click, row: Sequence[int], factor: int) -> Click:
        screen, text = pair
        part = zoom.crop(screen.image_size, first.point)
        bucket = zoom.bucket_for(part, factor, self.facts.buckets)
        stored, times = self.look(part.cut(screen.picture()), bucket)
        scores = self.scores(bucket, [stored], [row])
        infer_ms = first.infer_ms + times.infer_ms + self._session.infer_ms
        return self._click(text, scores[0], bucket, screen.image_size, infer_ms, part)


def _filled(array: np.ndarray, missing: int) -> np.ndarray:
    """A batch with its last row so many times more."""
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def _check_pairs(pairs: Any, desk: Screens) -> None:
    """UserMistake for what is no (screen, text), for a screen of another session, for one that is closed."""
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Sequence):
        raise UserMistake(
            "click takes (screen, instruction) pairs",
            found=type(pairs).__name__,
            attempt='session.click([(screen, "open the settings")]), or screen.click("open the settings")',
        )
    for pair in pairs:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], Screen):
            raise UserMistake("this is no (screen, instruction) pair", found=f"{pair!r}"[:80])
        if pair[0].desk is not desk:
            raise UserMistake("this screen was opened by another session", expected="a screen of this session's own")
        pair[0].check_open()
