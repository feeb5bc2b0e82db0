"""Counters of one app, in Prometheus' text form. Each app has a registry of its own: two may live in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What one app counts.

    Args:
        build: constant labels: which Luthier serves which weights.
        queue_depth: returns how many rows wait now.
    """

    def __init__(self, *, build: dict[str, str], queue_depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.requests = Counter(
            "luthier_http_requests", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.latency = Histogram(
            "luthier_http_request_seconds",
            "From a request's first byte to its answer's last.",
            ["route"],
            buckets=LATENCY_S,
            registry=registry,
        )
        self.rows = Counter("luthier_rows", "Rows asked for.", ["outcome"], registry=registry)
        self.batches = Histogram("luthier_batch_rows", "Rows scored together.", buckets=BATCH_ROWS, registry=registry)
        Gauge("luthier_queue_rows", "Rows that wait to be scored.", registry=registry).set_function(queue_depth)
        Gauge("luthier_build", "Always 1; its labels say what is served.", list(build), registry=registry).labels(
            **build
        ).set(1)
        for outcome in ("answered", "bad", "refused"):
            self.rows.labels(outcome)

    def count_rows(self, outcome: str, rows: int) -> None:
        """Count rows that were `answered`, were `bad`, or were `refused` with their request."""
        self.rows.labels(outcome).inc(rows)

    def text(self) -> bytes:
        """Return all numbers in Prometheus' text form."""
        return generate_latest(self.registry)


class MetricsMiddleware:
    """Counts requests and times them. Paths that are no route share one label, so strangers cannot make new ones.

    Args:
        app: the rest.
        metrics: where to count.
        routes: the paths that are counted by name.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, routes: Iterable[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._routes = frozenset(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500
        begun = time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            route = path if path in self._routes else OTHER
            method = scope["method"] if scope["method"] in {"GET", "HEAD", "POST"} else OTHER
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - begun)
