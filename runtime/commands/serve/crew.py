"""The threads that run one bundle, and what waits for them.

A request is a ``Job``: handed in by ``submit``, taken by a worker, and told once, by a result or by an error. What the bundle may run
together is asked together: jobs with one ``key``, up to ``batch`` of their rows. Where such a run fails each job is run alone, so that
nobody gets the error of another.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

WINDOW_S = 0.002  # that a worker waits for more of what it may run together


class Ask(Protocol):
    """What is asked of a bundle; used by one thread at a time."""

    @property
    def key(self) -> Hashable:
        """What has the same may run together; known once it is prepared."""
        ...

    @property
    def rows(self) -> int:
        """How much of a batch it takes; known once it is prepared."""
        ...

    def prepare(self) -> None:
        """Bytes -> arrays; any error is this ask's alone."""
        ...

    def run(self, several: Sequence[Any]) -> Sequence[Any]:
        """The results of ``several`` asks with one key, of which this is the first."""
        ...


class Job:
    """One ask on its way."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.told: Future[Any] = Future()


class Crew:
    """``workers`` threads and their queue; ``ran`` is told (rows, seconds) of every run, and the error of one that failed."""

    def __init__(self, name: str, workers: int, batch: int, ran: Any) -> None:
        self.batch, self.ran = batch, ran
        self.running = 0  # jobs that a worker has taken
        self._waiting: deque[Job] = deque()
        self._change = threading.Condition()
        self._open = True
        self._threads = [
            threading.Thread(target=self._work, name=f"{name} {number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def submit(self, ask: Ask) -> Future[Any]:
        """The answer to come; one that is cancelled before a worker takes it is never run. RuntimeError after ``close``."""
        job = Job(ask)
        with self._change:
            if not self._open:
                raise RuntimeError("the crew has gone home")
            self._waiting.append(job)
            self._change.notify()
        job.told.add_done_callback(lambda told: self._forget(job) if told.cancelled() else None)
        return job.told

    def close(self) -> None:
        """Let the workers finish what waits, and end them."""
        with self._change:
            self._open = False
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _forget(self, job: Job) -> None:
        with self._change:
            if job in self._waiting:
                self._waiting.remove(job)

    def _work(self) -> None:
        while jobs := self._take():
            try:
                self._do(jobs)
            finally:
                with self._change:
                    self.running -= len(jobs)

    def _take(self) -> list[Job]:
        """The next job, and those that may come with it; none when it is time to go."""
        taken: list[Job] = []
        until = 0.0
        with self._change:
            while True:
                while self._waiting and len(taken) < self.batch:
                    job = self._waiting.popleft()
                    if job.told.set_running_or_notify_cancel():
                        taken.append(job)
                        self.running += 1
                if len(taken) >= self.batch or (taken and not self._open):
                    return taken
                if not taken:
                    if not self._open:
                        return []
                    self._change.wait()
                    until = time.monotonic() + WINDOW_S
                elif (left := until - time.monotonic()) <= 0 or not self._change.wait(left):
                    return taken

    def _do(self, jobs: Sequence[Job]) -> None:
        groups: dict[Hashable, list[list[Job]]] = {}
        for job in jobs:
            try:
                job.ask.prepare()
                key, rows = job.ask.key, job.ask.rows
            except Exception as error:  # noqa: BLE001 told to who asked
                job.told.set_exception(error)
                continue
            parts = groups.setdefault(key, [])
            if not parts or sum(one.ask.rows for one in parts[-1]) + rows > self.batch:
                parts.append([])
            parts[-1].append(job)
        for parts in groups.values():
            for part in parts:
                self._run(part)

    def _run(self, jobs: Sequence[Job]) -> None:
        started = time.perf_counter()
        asks = [job.ask for job in jobs]
        try:
            results = asks[0].run(asks)
        except Exception as error:  # noqa: BLE001 told to who asked
            if len(jobs) > 1:
                for job in jobs:
                    self._run([job])
                return
            self.ran(asks[0].rows, time.perf_counter() - started, error)
            jobs[0].told.set_exception(error)
            return
        self.ran(sum(ask.rows for ask in asks), time.perf_counter() - started, None)
        for job, result in zip(jobs, results, strict=True):
            job.told.set_result(result)
