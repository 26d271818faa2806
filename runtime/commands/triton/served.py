"""What runs inside the server, in its python backend: one class for each kind of model of ours.

    Whole     IMAGE (n, 1) bytes [, INSTRUCTION]  ->  JSON (n, 1), and the arrays of the task
    Graph     the inputs of the one graph         ->  its outputs
    Prepare   IMAGE (n, 1) bytes                  ->  the input of the graph, sizes (n, 2)
    Answer    the outputs of the graph, sizes     ->  JSON (n, 1), and the arrays of the task

Each picture is asked for alone, so an answer does not depend on what else came at that moment; a request that cannot be answered
gets its error, and the others of the batch their answers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...backends.load import load
from ...bundle.bundle import Bundle
from ...bundle.golden import GOLDEN
from ...bundle.manifest import read_manifest
from ...errors import ParityFailed, UserMistake
from ...pictures.file import decode_image
from ...pictures.preprocess import as_channels, preprocess
from ...session.checks import at_least
from ...session.session import Session
from ...tasks.known import task_of
from ...tasks.task import Times
from .exchange import answered, check_numpy
from .models import BUNDLE, IMAGE, INSTRUCTION, JSON, SIZE

SESSION = ("score", "iou", "max_detections")  # what a session says of each call, whether it was chosen or not


class Served:
    """A model as Triton's python backend sees it: ``initialize``, ``execute`` for some requests, ``finalize``."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Raises what makes the model unavailable: a bundle that does not hold, a choice that it does not know, NumPy."""
        check_numpy()
        config = json.loads(args["model_config"])
        told = {name: row["string_value"] for name, row in config.get("parameters", {}).items()}
        self.batched = config["max_batch_size"] > 0
        self.choices = _choices(told.get("choices") or "{}")
        self.threads = int(told["threads"]) if told.get("threads") else None
        self.open(Path(args["model_repository"], args["model_version"], BUNDLE))

    def open(self, folder: Path) -> None:
        raise NotImplementedError

    def answer(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inputs of one request -> its outputs; raises for what has no answer."""
        raise NotImplementedError

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return [answered(request, self.answer) for request in requests]

    def finalize(self) -> None:
        pass

    def shaped(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays (n, ...), of one picture without the n where the model has no batch."""
        return {name: array if self.batched else array[0] for name, array in rows.items()}


class Whole(Served):
    def open(self, folder: Path) -> None:
        self.session = opened(folder, self.threads)
        self.bundle, self.task = self.session.bundle, task_of(self.session.bundle.task)
        if not self.task.instructed:
            self.task.choices(self.bundle, self.choices)  # one that is none is told when the model is loaded

    def answer(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = dict(self.choices)
        if self.task.instructed:
            options["instruction"] = [_text(one) for one in given[INSTRUCTION].reshape(-1)]
        asked = self.task.choices(self.bundle, options)
        channels = self.bundle.contract.channels

        def one(data: Any) -> Any:
            return self.session(decoded(data, channels), **asked)

        answers = each(one, given[IMAGE])
        return self.shaped(told(self.task, answers, options))

    def finalize(self) -> None:
        self.session.close()


class Graph(Served):
    def open(self, folder: Path) -> None:
        self.session = opened(folder, self.threads)

    def answer(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        feeds = {
            one.name: given[one.name].reshape(() if not one.shape else given[one.name].shape)
            for one in self.session.inputs
        }
        results = self.session.run(feeds)
        return {name: np.atleast_1d(array) for name, array in results.items()}

    def finalize(self) -> None:
        self.session.close()


class Prepare(Served):
    def open(self, folder: Path) -> None:
        self.bundle = described(folder)
        self.input = self.bundle.picture_input

    def answer(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        contract = self.bundle.contract
        pictures = each(lambda data: as_channels(decoded(data, contract.channels), contract.channels), given[IMAGE])
        rows = preprocess(pictures, contract)
        sizes = np.array([picture.shape[:2] for picture in pictures], np.int32)
        least, _ = self.input.limits(0)
        return {self.input.name: rows if self.batched else at_least(rows, least), SIZE: sizes}


class Answer(Served):
    def open(self, folder: Path) -> None:
        self.bundle = described(folder)
        self.task = task_of(self.bundle.task)
        asked = dict.fromkeys(SESSION) | self.task.choices(self.bundle, self.choices)
        self.asked = self.task.check(self.bundle, asked)

    def answer(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = {one.name: given[one.name] for one in self.bundle.outputs}
        answers: list[Any] = []
        for number, (height, width) in enumerate(given[SIZE].reshape(-1, 2).tolist()):
            own = {name: array[number : number + 1] if self.batched else array for name, array in results.items()}
            answers += self.task.answers(self.bundle, own, [(height, width)], self.asked, Times(0.0, 0.0))
        return self.shaped(told(self.task, answers, self.choices))


def opened(folder: Path, threads: int | None) -> Session:
    """A session that has passed its self-test: the first runs are slow, and what computes something else is not to answer at all."""
    session = load(folder, threads=threads)
    try:
        rows = session.self_test() if GOLDEN in session.bundle.manifest["files"] else []
        for row in rows:
            if not row.passed:
                raise ParityFailed(
                    f"{session.bundle.name} does not compute here what it computed where it was made",
                    found=f"{row.output}: {row.told}",
                    expected=row.limit,
                    attempt="edgesmith test on the bundle of this model, on this machine",
                )
    except BaseException:
        session.close()
        raise
    return session


def told(task: Any, answers: Sequence[Any], options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """JSON as ``edgesmith run --json`` has it, without the name of the picture, and the arrays of the task."""
    texts = [json.dumps(task.to_json(answer, options.get("top"))).encode() for answer in answers]
    return {JSON: np.array([[text] for text in texts], object), **task.in_arrays(answers)}


def decoded(data: Any, channels: int) -> np.ndarray:
    """The bytes of a JPEG, PNG, ... -> uint8 (H, W, C) as ``edgesmith run`` reads it."""
    return decode_image(bytes(data), "that was sent", alpha=channels == 4)


def described(folder: Path) -> Bundle:
    """A bundle without its graph: what stands before and behind that. BundleRefused where it is not what was written."""
    bundle = Bundle(folder.absolute(), read_manifest(folder))
    bundle.keep_words()
    return bundle


def each(make: Callable[[Any], Any], images: np.ndarray) -> list[Any]:
    """What is made of each picture of a request; UserMistake says which of several cannot be read."""
    found = []
    for number, data in enumerate(images.reshape(-1)):
        try:
            found.append(make(data))
        except UserMistake as error:
            if images.size == 1:
                raise
            what = f"picture {number} of the request, counted from 0: {error.what}"
            raise UserMistake(what, found=error.found, expected=error.expected) from None
    return found


def _choices(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserMistake(
            "the parameter choices of config.pbtxt cannot be read",
            found=text[:200],
            expected='options of edgesmith run as JSON, such as {"score": 0.5}',
        )
    return found


def _text(data: Any) -> str:
    try:
        return bytes(data).decode()
    except UnicodeDecodeError:
        raise UserMistake("an instruction is no text", found=repr(bytes(data))[:100], expected="UTF-8") from None
