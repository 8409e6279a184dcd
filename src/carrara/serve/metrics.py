"""Figures for Prometheus, in a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from carrara.serve.record import Record

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counts requests by route and status, and tokens by model."""

    def __init__(self, waiting: Callable[[], int], under_way: Callable[[], int]) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("carrara_requests", "Requests.", ["route", "status"], registry=registry)
        self._tokens = Counter("carrara_tokens", "Tokens read and written.", ["model", "kind"], registry=registry)
        self._first = Histogram(
            "carrara_first_token_seconds", "Time to the first token.", ["model"], buckets=_SECONDS, registry=registry
        )
        self._seconds = Histogram(
            "carrara_request_seconds", "Time to the end of a request.", ["route"], buckets=_SECONDS, registry=registry
        )
        gauges = (
            ("carrara_waiting", "Requests that wait for others to be answered.", waiting),
            ("carrara_in_flight", "Requests under way, this one included.", under_way),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=registry).set_function(value)

    def add(self, record: Record) -> None:
        """Count a request that is over."""
        self._requests.labels(record.route, str(record.status)).inc()
        self._seconds.labels(record.route).observe(record.seconds)
        if record.prompt_tokens:  # else the engine may not know that model, and each name would be a series of its own
            self._tokens.labels(record.model, "prompt").inc(record.prompt_tokens)
            self._tokens.labels(record.model, "completion").inc(record.completion_tokens)
        if record.first_token is not None:
            self._first.labels(record.model).observe(record.first_token)

    def text(self) -> bytes:
        """All figures in Prometheus' text form."""
        return generate_latest(self._registry)
