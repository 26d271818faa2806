"""How a run fares, as JSON: in a file that is replaced whole, or on a port of this machine alone; and told to systemd.

    {"state": "running", "bundle", "backend", "degraded", "degraded_s", "rolled_back", "frames", "dropped", "lost", "reconnected", "rebuilds",
     "since_last_frame_s", "frame_age_ms": {"p50", "p99"}, "infer_ms": {"p50", "p99"}, "building": share, "uptime_s", "time"}

States: starting, opening, loading, building, testing; ready, running, late (no answer for LATE_S); stopped, failed. A thread writes once a
second, whether frames come or not: a file whose ``time`` stands still is that of a process that is gone.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ...errors import UserMistake
from ...ground.files import replace_file
from ...ground.places import check_outside
from ...ground.scratch import sweep
from ...session.quantiles import RunningMedian
from .notify import Notify

if TYPE_CHECKING:
    from http.server import ThreadingHTTPServer

    from typing_extensions import Self

EVERY_S = 1.0
LATE_S = 5.0  # without an answer
READY, RUNNING, LATE, STOPPED, FAILED = "ready", "running", "late", "stopped", "failed"
WELL = (READY, RUNNING)
HERE = "127.0.0.1"
MOST_PORT = 65535


class Health:
    """What is known of a run; any thread may ask, the run's own thread tells."""

    def __init__(self, bundle: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun, self._lock = clock, clock(), threading.Lock()
        self._facts: dict[str, Any] = {
            "state": "starting",
            "bundle": bundle,
            "backend": "",
            "degraded": "",
            "rolled_back": "",
        }
        self._counts = {"frames": 0, "dropped": 0, "lost": 0, "reconnected": 0, "rebuilds": 0}
        self._age, self._infer = RunningMedian(), RunningMedian()
        self._last: float | None = None  # when the last answer was given
        self._busy: float | None = None  # since when one frame is being worked on
        self._building: float | None = None
        self._degraded: float | None = None  # since when another engine runs

    def stage(self, name: str, share: float | None = None) -> None:
        """A step of the start."""
        with self._lock:
            self._facts["state"], self._building = name, share

    def facts(self, **told: Any) -> None:
        """``backend``, ``degraded``, ``rolled_back``, and counts by their names."""
        with self._lock:
            if told.get("degraded") and self._degraded is None:
                self._degraded = self._clock()
            for name, value in told.items():
                (self._counts if name in self._counts else self._facts)[name] = value

    def begin(self) -> None:
        """A frame is there and is worked on from now."""
        self._busy = self._clock()

    def answered(self, age_ms: float | None, infer_ms: float | None) -> None:
        with self._lock:
            self._busy, self._last = None, self._clock()
            self._facts["state"], self._building = RUNNING, None
            self._counts["frames"] += 1
            for value, into in ((age_ms, self._age), (infer_ms, self._infer)):
                if value is not None:
                    into.add(value)

    def stuck(self, limit_s: float) -> bool:
        """Whether one frame has been worked on for longer than that; waiting for a frame is none of ours."""
        busy = self._busy
        return busy is not None and self._clock() - busy > limit_s

    def to_json(self) -> dict[str, Any]:
        with self._lock:
            now = self._clock()
            since = None if self._last is None else round(now - self._last, 3)
            facts = dict(self._facts)
            if facts["state"] == RUNNING and since is not None and since > LATE_S:
                facts["state"] = LATE
            times = {"frame_age_ms": _quantiles(self._age), "infer_ms": _quantiles(self._infer)}
            more = {"building": self._building} if self._building is not None else {}
            facts["degraded_s"] = None if self._degraded is None else round(now - self._degraded, 3)
            uptime_s = round(now - self._begun, 3)
            return {**facts, **self._counts, "since_last_frame_s": since, **times, **more, "uptime_s": uptime_s, "time": round(time.time(), 3)}  # fmt: skip

    @property
    def words(self) -> str:
        """One line for systemctl status."""
        now = self.to_json()
        degraded = f", degraded: {now['degraded']}" if now["degraded"] else ""
        if "building" in now:
            return f"building the engine, {now['building']:.0%}"
        return f"{now['state']} on {now['backend'] or '?'}, {now['frames']} frames, {now['dropped']} left out{degraded}"


def _quantiles(values: RunningMedian) -> dict[str, float] | None:
    return {"p50": round(values.value, 2), "p99": round(values.quantile(0.99), 2)} if values.count else None


class Reporter:
    """Within the block a thread says how ``health`` fares: to the file or port of ``--health``, and to systemd."""

    def __init__(
        self, health: Health, file: Path | None = None, port: int | None = None, notify: Notify | None = None,
        every_s: float = EVERY_S,
    ) -> None:  # fmt: skip
        self.health, self.notify, self._every_s = health, notify or Notify(), every_s
        self._file = file
        self._server = None if port is None else serve(health, port)
        self._ready, self._over = False, threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgesmith-health", daemon=True)

    @property
    def port(self) -> int | None:
        return None if self._server is None else int(self._server.server_address[1])

    def ready(self) -> None:
        """The start is over."""
        self._ready = True
        self.notify.ready()
        self.say()

    def say(self) -> None:
        """Now, beside what the thread says once a second."""
        if self._file is not None:
            with suppress(OSError):  # a disk that is full for a moment ends no run
                replace_file(self._file, json.dumps(self.health.to_json()).encode() + b"\n")
        if self.notify.listens:
            self.notify.status(self.health.words)
            if not self._ready:
                self.notify.more_time()
            elif self.notify.watchdog_s is not None and not self.health.stuck(self.notify.watchdog_s):
                self.notify.alive()

    def _run(self) -> None:
        wait_s = self._every_s
        if self.notify.watchdog_s is not None:
            wait_s = min(wait_s, self.notify.watchdog_s / 3)
        while not self._over.wait(wait_s):
            self.say()

    def __enter__(self) -> Self:
        self.say()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.health.stage(FAILED if error is not None and isinstance(error, Exception) else STOPPED)
        self.notify.stopping()
        self.say()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def place_of(where: str | None) -> tuple[Path | None, int | None]:
    """(file, port) of what was said: digits are a port. UserMistake for what is neither."""
    if where is None:
        return None, None
    if where.isascii() and where.isdecimal():
        if len(where) > len(str(MOST_PORT)) or int(where) > MOST_PORT:
            raise UserMistake(
                "--health with a port", found=where[:20], expected=f"0 to {MOST_PORT}; 0 takes a free one"
            )
        return None, int(where)
    path = Path(where).absolute()
    if not where or path.is_dir() or not path.parent.is_dir():
        raise UserMistake(
            "--health names a file that cannot be written",
            found=where or "an empty name",
            expected="a file in a folder that is there, or a port of this machine",
            attempt="--health /run/user/1000/edge.json, or --health 8081",
        )
    check_outside(path, "--health")
    sweep(path.parent)  # whether it can be written is not asked: a disk that is full is no reason not to start
    return path, None


def serve(health: Health, port: int) -> ThreadingHTTPServer:
    """GET / -> the JSON; 200 while it is ready or runs, 503 otherwise. On this machine alone: who shows it elsewhere puts a proxy before it.

    UserMistake where the port is taken.
    """
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0  # of a client that sends nothing
        server_version = "edgesmith"
        sys_version = ""

        def do_GET(self) -> None:
            found = health.to_json()
            content = json.dumps(found).encode() + b"\n"
            self.send_response(200 if found["state"] in WELL else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: Any) -> None:
            """Nothing: stderr is for the run."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A client that has left is no news."""

    try:
        server = Server((HERE, port), Handler)
    except OSError as error:
        raise UserMistake(
            f"--health {port}: that port cannot be had",
            found=error.strerror or str(error),
            expected="a port of this machine that nobody listens on",
            attempt="--health 0, which takes a free one",
        ) from None
    threading.Thread(target=server.serve_forever, name="edgesmith-health-port", daemon=True).start()
    return server
