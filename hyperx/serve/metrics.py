"""Metrics: what a service counts, in the text format of Prometheus."""

from collections.abc import Callable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hyperx.inference.states.statistics import Statistics

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_PARTS = tuple(part / 8 for part in range(1, 9))
_COUNTED = ("hits", "loaded", "misses", "evicted", "spilled", "failed")
_HELD = ("states", "bytes", "spilled_states", "spilled_bytes")


class Metrics:
    """The numbers of one service, in a registry of their own.

    Args:
        waiting: rows that wait now.
        statistics: of the bank now.
    """

    def __init__(
        self, waiting: Callable[[], int], statistics: Callable[[], Statistics]
    ) -> None:
        registry = self._registry = CollectorRegistry()

        def histogram(name: str, text: str, *labels: str, buckets: tuple = _SECONDS):
            return Histogram(
                f"hyperx_{name}", text, labels, buckets=buckets, registry=registry
            )

        self._requests = Counter(
            "hyperx_requests", "requests", ("route", "code"), registry=registry
        )
        self._seconds = histogram("request_seconds", "until answered", "route")
        self._batches = Counter(
            "hyperx_batches", "batches", ("task",), registry=registry
        )
        self._rows = Counter("hyperx_rows", "rows", ("task",), registry=registry)
        self._tokens = Counter("hyperx_tokens", "tokens written", registry=registry)
        self._fill = histogram("batch_fill", "used part of batches", buckets=_PARTS)
        self._waited = histogram("wait_seconds", "until a row was taken up")
        self._batch_seconds = histogram("batch_seconds", "of a batch", "task")
        queue = Gauge("hyperx_queue_rows", "rows that wait", registry=registry)
        queue.set_function(waiting)
        registry.register(_BankCollector(statistics))

    def request(self, route: str, code: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(route, str(code)).inc()
        self._seconds.labels(route).observe(seconds)

    def taken(self, task: str, fill: float, waited: list[float]) -> None:
        """Rows that had waited so many seconds are a batch now."""
        self._batches.labels(task).inc()
        self._rows.labels(task).inc(len(waited))
        self._fill.observe(fill)
        for seconds in waited:
            self._waited.observe(seconds)

    def computed(self, task: str, seconds: float) -> None:
        """A batch is done."""
        self._batch_seconds.labels(task).observe(seconds)

    def written(self, tokens: int) -> None:
        """So many tokens more were written."""
        self._tokens.inc(tokens)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)


class _BankCollector(Collector):
    """Reads the bank's statistics when it is asked."""

    def __init__(self, statistics: Callable[[], Statistics]) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        now = self._statistics()
        for names, family in (
            (_COUNTED, CounterMetricFamily),
            (_HELD, GaugeMetricFamily),
        ):
            for name in names:
                yield family(
                    f"hyperx_bank_{name}",
                    f"bank of task states: {name.replace('_', ' ')}",
                    value=getattr(now, name),
                )
