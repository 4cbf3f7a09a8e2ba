"""What ``/metrics`` shows, in Prometheus's text format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from limner.service.engine import Engine

_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0)


class Measures:
    """Counters of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "limner_requests_total",
            "Answered requests.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "limner_request_seconds",
            "Time to the end of an answer.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "limner_batch_faces",
            "Faces that shared a pass through the embedder.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "limner_requests_in_flight", "Requests under way.", registry=self.registry
        )

    def watch(self, engine: Engine) -> None:
        """Add gauges that are read from the engine when they are asked for."""

        def waiting() -> float:
            return engine.pool.waiting if engine.ready else 0

        for name, words, value in (
            ("limner_ready", "Whether photos can be answered.", lambda: float(engine.ready)),
            ("limner_photos_waiting", "Photos in the queue.", waiting),
            ("limner_people", "People in the gallery.", lambda: float(engine.people)),
            ("limner_jobs_open", "Jobs that wait or run.", lambda: float(engine.jobs.open)),
        ):
            Gauge(name, words, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return everything in Prometheus's text format."""
        return bytes(generate_latest(self.registry))
