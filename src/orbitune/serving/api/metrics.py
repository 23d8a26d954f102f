"""Metrics of the service in the format of Prometheus, for /api/metrics."""

from functools import partial
from typing import TYPE_CHECKING

from orbitune.inference.prediction import Prediction

if TYPE_CHECKING:
    from orbitune.serving.engines.micro_batches import MicroBatcher

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TILES = (1, 2, 4, 8, 12, 16)


class Metrics:
    """The metrics of one service, in a registry of their own.

    Attributes:
        content_type: of what `render` returns.
    """

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        self.content_type = CONTENT_TYPE_PLAIN_0_0_4
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "orbitune_requests", "Requests of the API.", ["path", "status"], registry=registry
        )
        self._seconds = Histogram(
            "orbitune_request_seconds",
            "Seconds from the headers of a request to its response, with those its body takes to arrive.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.predictions = Counter(
            "orbitune_predictions",
            "Images by model and outcome: sure, not_sure (out of distribution), not_judged (no OOD detector) "
            "or unreadable.",
            ["model", "outcome"],
            registry=registry,
        )
        self.batch_tiles = Histogram(
            "orbitune_batch_tiles",
            "Tiles computed together.",
            ["model"],
            buckets=_TILES,
            registry=registry,
        )
        self.batch_seconds = Histogram(
            "orbitune_batch_seconds",
            "Seconds that the model computed a batch.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "orbitune_waiting_images", "Images admitted and not answered yet.", ["model"], registry=registry
        )

    def of_model(self, name: str) -> "ModelMetrics":
        """Return the metrics of one model."""
        return ModelMetrics(self, name)

    def observe_request(self, path: str, *, status: int, seconds: float) -> None:
        """Count a request of the API.

        Args:
            path: one of the API's own paths.
            status: of the response.
            seconds: that it took.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def render(self) -> bytes:
        """Return all metrics as text."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)


class ModelMetrics:
    """The metrics of one model."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._outcomes = partial(metrics.predictions.labels, name)
        self._tiles, self._seconds = metrics.batch_tiles.labels(name), metrics.batch_seconds.labels(name)
        self._waiting = metrics.waiting.labels(name)

    def observe_queue(self, batcher: "MicroBatcher") -> None:
        """Read the number of waiting images off a queue from now on."""
        self._waiting.set_function(lambda: batcher.waiting)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count a batch of `size` tiles that took some seconds."""
        self._tiles.observe(size)
        self._seconds.observe(seconds)

    def count(self, prediction: Prediction) -> None:
        """Count a prediction by its outcome."""
        if prediction.error:
            outcome = "unreadable"
        elif prediction.sure is None:
            outcome = "not_judged"
        else:
            outcome = "sure" if prediction.sure else "not_sure"
        self._outcomes(outcome).inc()
