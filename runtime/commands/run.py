"""``edgesmith run``: frames -> session -> lines, JSON, drawn pictures or a video, and how long it took.

Both commands, the full one and the device's, read their words into ``Asked`` and call ``run``.

A picture that is not there is a mistake before the first one is looked at. One that is there and cannot be read is told
and left out, the others get their answers, and the exit code is 2 in the end; if none can be read, that is all there is. So it
is with the frames of a video or a camera. Nothing that is kept here grows with their number.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

from ..errors import EdgesmithError, UserMistake, one_line
from ..errors.addresses import shown, shown_in
from ..ground import signals
from ..session.quantiles import RunningMedian
from ..tasks.known import task_of
from . import streams
from .running.ahead import answered, at_once
from .running.asked import Asked

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from ..tasks.task import Task
    from .device.health import Health

Make = Callable[[Any, Any], Any]  # frame, answer -> a picture to save, or the bytes of a file
TOLD = ("preprocess", "infer", "postprocess")  # by an answer, as far as it knows them
LATENCIES = ("read", *TOLD, "draw", "save")


def run(asked: Asked) -> int:
    """Do what was asked; the exit code. Answers go to stdout, everything else to stderr."""
    asked.check()
    place = asked.health_place()
    found = asked.find()
    bundle = found.bundle
    choices = task_of(bundle.task).choices(bundle, asked.options())
    if task_of(bundle.task).arrays:
        from .running.arrays import run_arrays

        return run_arrays(asked, found, place)
    from ..pictures.video import frames, pictures
    from ..pictures.video.capture import quiet
    from ..pictures.video.memory import Memory
    from .running.service import service

    quiet()
    with ExitStack() as stack:
        source = stack.enter_context(
            frames(asked.place, asked.reconnect) if asked.place is not None else pictures(asked.images)
        )
        calls = _at_once(asked, source, bundle)
        wish = asked.wish(live=source.kind == "live", calls=calls)
        session, health = stack.enter_context(service(asked.bundle, wish, found, place))
        bundle = session.bundle
        choices = task_of(bundle.task).choices(bundle, asked.options())  # after a rollback it is another
        source.alpha = bundle.contract.channels == 4
        if len(bundle.graphs) == 1:  # else a picture may stay open behind its answer
            source.memory = Memory()
        outs = list(_savers(asked, task_of(bundle.task), source))
        code = _Run(asked, choices, session, source, outs, health, calls).to_the_end()
    streams.forgive()  # a reader that has seen enough is no fault
    return code


def _at_once(asked: Asked, source: Any, bundle: Bundle) -> int:
    """How many answers are made at once; 0: one after the other, where a frame waits for an answer, or a picture is for several graphs."""
    if not source.ahead or source.count == 1 or len(bundle.graphs) > 1:
        return 0
    return at_once(asked.threads)


def _savers(asked: Asked, task: Task, source: Any) -> Iterator[tuple[Any, Make]]:
    """Where the frames go, and what is made of each and its answer; what writes them is imported by those who save."""
    if asked.save is None and asked.masks is None:
        return
    from ..pictures.save import saver

    if asked.save is not None:
        make = task.draw if task.drawn else lambda _, answer: task.in_file(answer)
        yield saver(asked.save, source, asked.force, "" if task.drawn else task.kept_as), make
    if asked.masks is not None:
        if asked.save is not None and os.path.realpath(asked.save) == os.path.realpath(asked.masks):
            raise UserMistake(
                "--save and --masks name one place",
                found=shown(asked.masks),
                expected="a place of its own for each, since their files may have the same names",
                attempt="--masks with another name",
            )
        yield saver(asked.masks, source, asked.force, task.kept_as, "--masks"), lambda _, answer: task.in_file(answer)


class _Run:
    """One run: what was asked, what is open, what came out so far."""

    def __init__(
        self,
        asked: Asked,
        choices: dict[str, Any],
        session: Any,
        source: Any,
        outs: list[Any],
        health: Health | None = None,
        calls: int = 0,
    ) -> None:
        self.asked, self.choices, self.session, self.source, self.outs = asked, choices, session, source, outs
        self.health, self.calls = health, calls
        self.task = task_of(session.bundle.task)
        self.unit = "picture" if source.kind == "pictures" else "frame"
        self.document = _Document() if asked.as_json else None
        self.first_broken: UserMistake | None = None
        self.broken = self.lost = 0  # pictures that are there and could not be read, frames that were damaged
        self.times: dict[str, RunningMedian] = defaultdict(RunningMedian)
        self.ages = RunningMedian()  # of frames of a camera or a stream, when they were answered
        self.done = 0
        self.started = self.told = time.perf_counter()

    def to_the_end(self) -> int:
        code = 0
        try:
            self._frames()
        except KeyboardInterrupt:
            code = signals.exit_code()
        except BrokenPipeError:  # the reader of our lines has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except BaseException as error:
            with suppress(EdgesmithError):
                self._finish("stopped early")
            if not (isinstance(error, EdgesmithError) and self.document and self.document.begun):
                raise
            self.document.add({"error": _fields(error)})  # the answers until then are told: one document holds both
            self.document.end()
            _tell(str(error))
            return error.exit_code
        if self.first_broken and not self.done and not code:
            self._finish()
            raise self.first_broken
        if self.document:
            self.document.end()
        self._finish(signals.told() if code else "")
        self._summary()
        if self.first_broken and not code:
            missed, unit = (self.lost, "frames") if self.lost else (self.broken, "pictures")
            _tell(f"{missed} of {missed + self.done} {unit} could not be read: {self.first_broken.what}")
            code = UserMistake.exit_code
        return code

    def _frames(self) -> None:
        with closing(answered(self.source, self._answer, self.calls)) as answers:
            for frame, answer in answers:
                if frame.outage_s is not None:
                    self._outage(frame)
                elif frame.error is not None:
                    self._broken(frame)
                else:
                    self._one(frame, answer)
                if self.done + self.broken == self.asked.max_frames or self._nobody_reads():
                    break

    def _answer(self, image: Any) -> Any:
        """Of one picture; in a thread of its own where several are made at once."""
        if self.health:
            self.health.begin()
        return self.session(image, **self.choices)

    def _nobody_reads(self) -> bool:
        """Whether the output is lost and nothing else is asked for: what is saved is saved to the end, if there is one.

        A reader that leaves ends a video, which is kept as far as it came; pictures all get theirs.
        """
        error = streams.lost()
        if error is None or not self.outs:
            return error is not None
        ends = self.source.kind == "pictures" or (
            self.source.kind == "video" and not isinstance(error, BrokenPipeError)
        )
        return not ends

    def _one(self, frame: Any, answer: Any) -> None:
        age_ms = None if frame.taken_s is None else (time.perf_counter() - frame.taken_s) * 1e3
        latency_ms = {"read": frame.read_ms}
        latency_ms |= {step: getattr(answer, f"{step}_ms") for step in TOLD if hasattr(answer, f"{step}_ms")}
        for out, make in self.outs:
            started = time.perf_counter()
            made = make(frame.image, answer)
            finished = time.perf_counter()
            out.add(frame, made)
            took = {"draw": (finished - started) * 1e3, "save": (time.perf_counter() - finished) * 1e3}
            latency_ms |= {step: took_ms + latency_ms.get(step, 0.0) for step, took_ms in took.items()}
        for name, value in latency_ms.items():
            self.times[name].add(value)
        if age_ms is not None:
            self.ages.add(age_ms)
        self.done += 1
        self._show(frame, answer, latency_ms, age_ms)
        if self.health:
            counts = {"dropped": self.source.dropped, "lost": self.lost, "reconnected": self.source.outages}
            self.health.facts(**counts)
            self.health.answered(age_ms, latency_ms.get("infer"))

    def _show(self, frame: Any, answer: Any, latency_ms: dict[str, float], age_ms: float | None) -> None:
        if self.asked.json_lines:
            entry = {**self._entry(frame, answer, timed=True), "latency_ms": latency_ms}
            if age_ms is not None:
                entry |= {"age_ms": age_ms, "dropped": self.source.dropped}
            print(json.dumps(_rounded(entry)), flush=True)
        elif self.document:
            self.document.add(self._entry(frame, answer, timed=self.unit == "frame"))
        elif self.unit == "picture":
            print(one_line(frame.name))
            print(self.task.lines(answer, self.asked.top), flush=True)
        else:
            at = "" if frame.time_s is None else f"  {frame.time_s:.2f} s"
            print(f"frame {frame.index}{at}  {self.task.in_short(answer)}", flush=True)
        lines_seen = sys.stdout.isatty() and not (self.asked.as_json or self.asked.json_lines)
        if not lines_seen and sys.stderr.isatty() and time.perf_counter() - self.told > 1:
            self.told = time.perf_counter()
            of = f" of {self.source.count}" if self.source.count else ""
            print(f"\r{self.unit} {self.done}{of} ", end="", file=sys.stderr, flush=True)

    def _entry(self, frame: Any, answer: Any, timed: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {"image" if self.unit == "picture" else "source": frame.name}
        if timed:
            entry |= {"frame": frame.index, "time_s": frame.time_s}
        kept = [str(out.place(frame)) for out, _ in self.outs if getattr(out, "kept_as", "")]
        return entry | self.task.to_json(answer, self.asked.top) | ({"file": kept[0]} if kept else {})

    def _broken(self, frame: Any) -> None:
        first = self.first_broken is None
        self.first_broken = self.first_broken or frame.error
        self.lost += frame.lost
        self.broken += not frame.lost
        entry: dict[str, Any] = {"image" if self.unit == "picture" else "source": frame.name}
        entry |= {"error": _fields(frame.error)}
        if frame.lost:
            entry |= {"frame": frame.index, "lost": frame.lost}
        if self.asked.json_lines:
            print(json.dumps({**entry, "frame": frame.index}), flush=True)
        elif self.document:
            self.document.add_broken(entry)
        if self.source.count != 1 and (first or not frame.lost):  # a bad line loses frames for hours
            _tell(str(frame.error))

    def _outage(self, frame: Any) -> None:
        """The source was lost and is there again: told at once, and no error."""
        outage_s = round(frame.outage_s, 1)
        entry = {"source": frame.name, "frame": frame.index, "reconnected": self.source.outages, "outage_s": outage_s}
        if self.asked.json_lines:
            print(json.dumps(entry), flush=True)
        elif self.document:
            self.document.add(entry)
        _tell(f"{frame.name} was lost for {outage_s:.1f} s and is there again, {self.source.outages} times so far")

    def _finish(self, why: str = "") -> None:
        """Close what is being saved and say what became of it."""
        kept = ", ".join(filter(None, (out.finish() for out, _ in self.outs)))
        self.outs = []
        if why:
            _tell(f"{why} after {self.done} {self.unit}s" + (f"; kept {kept}" if kept else ""))
        elif kept:
            print(f"saved {kept}", file=sys.stderr)
        for note in self.source.notes:
            _tell(note)

    def _summary(self) -> None:
        if not self.done:
            return
        took_s = time.perf_counter() - self.started
        parts = [f"{name} {self.times[name].value:.1f}" for name in LATENCIES if name in self.times]
        plural = "s" if self.done > 1 else ""
        speed = f"{self.done} {self.unit}{plural} in {took_s:.2f} s, {self.done / max(took_s, 1e-9):.1f} fps"
        live = ""
        if self.ages.count:
            ages, infer = self.ages, self.times.get("infer")
            live = f"; p99 infer {infer.quantile(0.99):.1f}" if infer else ""
            live += f"; age of a frame when answered {ages.value:.1f}, p99 {ages.quantile(0.99):.1f}"
            live += f"; {self.source.dropped} left out"
        print(f"{speed}; median ms: {', '.join(parts)}{live}", file=sys.stderr)


def _rounded(value: Any) -> Any:
    """Floats of a line with as many digits as they are worth."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


class _Document:
    """A JSON list on stdout whose entries are written as they come, as ``json.dumps(entries, indent=2)`` would.

    It begins with the first answer: where there is none, the error is the document.
    """

    def __init__(self) -> None:
        self.begun = False
        self._before: list[dict[str, Any]] = []

    def add_broken(self, entry: dict[str, Any]) -> None:
        if self.begun:
            self.add(entry)
        else:
            self._before.append(entry)

    def add(self, entry: dict[str, Any]) -> None:
        before, self._before = self._before, []
        for each in [*before, entry]:
            self._write(each)

    def _write(self, entry: dict[str, Any]) -> None:
        text = json.dumps(entry, indent=2).replace("\n", "\n  ")
        print(",\n  " if self.begun else "[\n  ", end=text, flush=True)
        self.begun = True

    def end(self) -> None:
        print("\n]" if self.begun else "[]", flush=True)


def _fields(error: EdgesmithError) -> dict[str, str]:
    told = {"what": error.what, "found": error.found, "expected": error.expected}
    return {key: value for key, value in told.items() if value}


def _tell(text: str) -> None:
    print(f"edgesmith: {shown_in(text)}", file=sys.stderr)
