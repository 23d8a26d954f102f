"""Workers on a Ray cluster, each with a copy of the models."""

import queue
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from orbitune.errors import OrbituneError, RunError, first_line
from orbitune.machine.cluster import connect
from orbitune.resources import core_count
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute
from orbitune.serving.engines.model_copies import ModelCopies, ModelSource

_RETRIES = 3  # of a batch whose worker dies
_PING_SECONDS = 5.0  # longer than a batch takes


class RayWorkers:
    """Workers on the Ray cluster of RAY_ADDRESS, else on a local one.

    All machines must reach the models at the same paths. The process of the server keeps connections, queues
    and pages.

    Args:
        engines: the models by name, opened but not loaded here.
        count: number of workers; Ray spreads them over the machines, and they share its cores.

    Attributes:
        count: number of workers.

    Raises:
        OrbituneError: Ray is not installed or does not start, or the weights of a model cannot be loaded.
    """

    def __init__(self, engines: Mapping[str, Engine], count: int) -> None:
        self._ray = ray = connect(core_count())
        self.count = count
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            reserved = cores_of_worker([int(each.get("CPU", 0)) for each in nodes], count)
            threads = max(1, reserved)
            sources = {name: ModelSource.of(each, threads=threads) for name, each in engines.items()}
            remote = ray.remote(
                num_cpus=reserved,
                scheduling_strategy="SPREAD",
                max_restarts=-1,  # without an end: one that stays dead would fail whatever it is given
                max_task_retries=_RETRIES,
            )(_RayWorker)
            self._workers = [remote.remote(sources) for _ in range(count)]
            for problem in self._get([each.load_all.remote() for each in self._workers]):
                if problem:
                    raise RunError(problem)
        except BaseException:
            self.close()
            raise
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for each in self._workers:
            self._idle.put(each)

    def compute_with(self, name: str) -> Compute:
        """Return the function that computes tiles with a model."""
        return partial(self._compute, name)

    def check(self) -> bool:
        """Return whether all workers answer; Ray starts those again that have died."""
        pings = [each.ping.remote() for each in self._workers]
        try:
            self._ray.get(pings, timeout=_PING_SECONDS)
        except self._ray.exceptions.RayError:
            return False
        return True

    def close(self) -> None:
        """End the workers, and the connection to Ray."""
        self._ray.shutdown()

    def _compute(self, name: str, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        worker = self._idle.get()
        try:
            found: tuple[np.ndarray, np.ndarray | None] = self._get(worker.compute.remote(name, tiles))
            return found
        finally:
            self._idle.put(worker)

    def _get(self, reference: Any) -> Any:
        """Return the value of a finished task."""
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise RunError(f"Lost a Ray worker: {first_line(error)}.") from None


def cores_of_worker(cores: Sequence[int], count: int) -> int:
    """Return the most cores that each worker can have, all of them on one machine.

    Args:
        cores: of each machine.
        count: number of workers.

    Returns:
        0 if there are more workers than cores.
    """
    fitting = (each for each in range(max(cores), 0, -1) if sum(have // each for have in cores) >= count)
    return next(fitting, 0)


class _RayWorker(ModelCopies):
    """Copies of the models in a process of Ray."""

    def ping(self) -> None:
        """Answer."""

    def load_all(self) -> str | None:  # type: ignore[override]
        """Load all models; return a user error's message without Ray's traceback."""
        try:
            super().load_all()
        except OrbituneError as error:
            return str(error)
        return None
