"""What is counted of a server, in the text format of Prometheus (prometheus_client writes it)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64)
PREFIX = "edgesmith"


class Figures:
    """One registry, of this server alone; told by its threads and by the crews."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        told = ["model"]
        more: dict[str, Any] = {"namespace": PREFIX, "registry": self.registry}
        self._requests = Counter("requests", "Requests that came to an end, by status.", ["model", "code"], **more)
        self._refused = Counter("refused", "Requests refused for want of room or time.", ["model", "why"], **more)
        self._seconds = Histogram(
            "request_seconds", "From the whole request to its answer.", told, buckets=SECONDS, **more
        )
        self._run_seconds = Histogram("run_seconds", "One run, of one or more rows.", told, buckets=SECONDS, **more)
        self._rows = Histogram("run_rows", "Rows that ran together.", told, buckets=ROWS, **more)
        self._waiting = Gauge("queue_requests", "Requests that wait for a worker.", told, **more)
        self._running = Gauge("running_requests", "Requests that a worker has.", told, **more)
        self._ready = Gauge("ready", "1 where the model takes requests.", told, **more)
        self._degraded = Gauge("degraded", "1 after a run in which the engine gave up.", told, **more)

    def ended(self, model: str, code: int) -> None:
        self._requests.labels(model, str(code)).inc()

    def refused(self, model: str, why: str) -> None:
        self._refused.labels(model, why).inc()

    def answered(self, model: str, seconds: float) -> None:
        self._seconds.labels(model).observe(seconds)

    def ran(self, model: str, rows: int, seconds: float) -> None:
        self._run_seconds.labels(model).observe(seconds)
        self._rows.labels(model).observe(rows)

    def text(self, models: Iterable[Any]) -> tuple[bytes, str]:
        """(the page, its content type), with the state of the models as it is now."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

        for model in models:
            health = model.health()
            self._waiting.labels(model.name).set(health["waiting"])
            self._running.labels(model.name).set(health["running"])
            self._ready.labels(model.name).set(model.is_ready)
            self._degraded.labels(model.name).set(health["degraded"] is not None)
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
