"""What may be asked of a bundle: arrays by name, or a picture. Read, run and answered by a thread of its crew.

No name or path in a request leads to a file: what is looked at are the bytes that came with it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from ...bundle.graphs import GraphSpec
from ...errors import UserMistake
from ...pictures.file import decode_image
from ...pictures.formats.headers import header
from ..run import TOLD, Asked
from . import tensors
from .model import Served

KINDS = ("JPEG", "PNG")  # few decoders stand open to the network
SHOWN_PX, QUALITY = 1280, 88  # of a picture that is drawn for people


@dataclass
class ArraysAsk:
    """The body of an inference request -> the body of its answer."""

    model: Served
    name: str  # as the client has it
    graph: GraphSpec
    body: bytes
    json_bytes: int | None
    question: tensors.Question | None = None

    def prepare(self) -> None:
        self.question = tensors.read_question(self.body, self.json_bytes, self.graph.inputs, self.graph.outputs)
        self.body = b""

    @property
    def key(self) -> Hashable:
        if self.model.batch == 1:
            return id(self)
        return tuple(sorted((name, array.dtype.str, array.shape[1:]) for name, array in self._feeds.items()))

    @property
    def rows(self) -> int:
        first = next(iter(self._feeds.values()), None)
        return first.shape[0] if first is not None and first.ndim else 1

    def run(self, several: Sequence[ArraysAsk]) -> list[tuple[bytes, int | None]]:
        session = self.model.session
        assert session is not None
        if len(several) == 1:
            return [self._answer(session.run(self._feeds, self.graph.name))]
        feeds = {name: np.concatenate([one._feeds[name] for one in several]) for name in self._feeds}
        results = session.run(feeds, self.graph.name)
        edges = np.cumsum([one.rows for one in several])[:-1]
        parts = {name: np.split(array, edges) for name, array in results.items()}
        return [one._answer({name: parts[name][place] for name in parts}) for place, one in enumerate(several)]

    @property
    def _feeds(self) -> dict[str, np.ndarray]:
        assert self.question is not None, "prepared before it is run"
        return self.question.feeds

    def _answer(self, results: Mapping[str, np.ndarray]) -> tuple[bytes, int | None]:
        assert self.question is not None
        head = {"model_name": self.name, "model_version": "1"}
        head |= {"id": self.question.id} if self.question.id is not None else {}
        return tensors.write_answer(head, results, self.question.outputs)


@dataclass
class PictureAsk:
    """A picture, and what ``edgesmith run`` would be told of it -> what it prints, and for people what it draws."""

    model: Served
    body: bytes
    told: Asked
    name: str  # stands in the answer and nowhere else
    for_people: bool
    picture: np.ndarray | None = None
    choices: dict[str, Any] = field(default_factory=dict)

    def prepare(self) -> None:
        bundle = self.model.bundle
        self.told.check()
        self.choices = self.model.task.choices(bundle, self.told.options())
        if self.model.task.arrays:
            self.model.task.check(bundle, self.choices)  # says what it takes instead
        if (kind := header(self.body).kind) not in KINDS:
            raise UserMistake(
                "this is not a JPEG or PNG picture",
                found=kind or f"{len(self.body):,} bytes of another kind",
                expected="the bytes of a JPEG or PNG file as the body of the request",
                attempt="curl --data-binary @photo.jpg",
            )
        self.picture = decode_image(self.body, "of the request", bundle.contract.channels == 4)
        self.body = b""

    @property
    def key(self) -> Hashable:
        return id(self) if self.model.batch == 1 else json.dumps(self.choices, sort_keys=True, default=repr)

    rows = 1

    def run(self, several: Sequence[PictureAsk]) -> list[dict[str, Any]]:
        session = self.model.session
        assert session is not None
        pictures = [one.picture for one in several if one.picture is not None]
        answers = session(pictures, **self.choices)
        return [one._told(answer) for one, answer in zip(several, answers, strict=True)]

    def _told(self, answer: Any) -> dict[str, Any]:
        task = self.model.task
        entry = {"image": self.name, **task.to_json(answer, self.told.top)}
        if not self.for_people:
            return entry
        assert self.picture is not None
        picture = self.picture[:, :, :3] if self.picture.ndim == 3 else self.picture
        ms = {step: round(float(getattr(answer, f"{step}_ms")), 3) for step in TOLD if hasattr(answer, f"{step}_ms")}
        kept = {"suffix": task.kept_as, "data": _base64(task.in_file(answer))} if task.kept_as else None
        return {
            "answer": entry,
            "lines": task.lines(answer, self.told.top).splitlines(),
            "short": task.in_short(answer),
            "drawn": _jpeg(task.draw(picture, answer)) if task.drawn else None,
            "file": kept,
            "ms": ms,
        }


def _jpeg(picture: np.ndarray) -> str:
    """uint8 (H, W, 3) RGB -> a data URL, no larger than a screen."""
    height, width = picture.shape[:2]
    share = SHOWN_PX / max(height, width)
    if share < 1:
        size = max(round(width * share), 1), max(round(height * share), 1)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    )
    assert done, "a picture in memory can always be written"
    return "data:image/jpeg;base64," + _base64(data.tobytes())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
