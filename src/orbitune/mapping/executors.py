"""Executors that label the parts of a map: this process, or a Ray cluster.

An executor yields each part as it is finished, in any order.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from orbitune.errors import DataError, OrbituneError, first_line
from orbitune.mapping.dense.predictor import DenseFit
from orbitune.mapping.job_spec import JobSpec
from orbitune.mapping.worker import Worker

LabelledPart = tuple[int, np.ndarray]  # number of the part, and what `Worker.label` returned


class Executor(Protocol):
    """A function that labels parts of a map, in any order."""

    def __call__(
        self, worker: Worker, fit: DenseFit | None, *, numbers: Sequence[int]
    ) -> Iterator[LabelledPart]:
        """Label the parts of these numbers and yield each as it is finished."""


def run_local(worker: Worker, fit: DenseFit | None, *, numbers: Sequence[int]) -> Iterator[LabelledPart]:
    """Label parts in this process; a thread reads the next part meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(worker.read_part, number) for number in numbers[:1]]
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            window = waiting.pop().result()
            if following is not None:
                waiting.append(reader.submit(worker.read_part, following))
            yield number, worker.label(window)


def run_on_ray(worker: Worker, fit: DenseFit | None, *, numbers: Sequence[int]) -> Iterator[LabelledPart]:
    """Label parts on the Ray cluster of RAY_ADDRESS, else on a local one.

    All machines must reach the scene and the model at the same paths. Parts come back through Ray.

    Args:
        worker: the local worker, whose job spec is sent to Ray's workers.

    Raises:
        OrbituneError: Ray is not installed or does not start, or a machine cannot read its inputs.
    """
    from orbitune.machine.cluster import connect
    from orbitune.resources import core_count

    spec = worker.spec
    ray = connect(core_count())
    try:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        count = min(max(1, cpus // spec.threads), len(numbers))
        # Ray restarts a worker that dies, and gives it the same part again.
        remote = ray.remote(num_cpus=min(spec.threads, cpus), max_restarts=3, max_task_retries=3)(_RayWorker)
        idle = [remote.remote(spec, fit) for _ in range(count)]
        queue = iter(numbers)
        running: dict[Any, Any] = {}
        while True:
            while idle and (number := next(queue, None)) is not None:
                actor = idle.pop(0)
                running[actor.label.remote(number)] = actor
            if not running:
                return
            (ready,), _ = ray.wait(list(running), num_returns=1)
            idle.append(running.pop(ready))
            yield _result(ray, ready)
    finally:
        ray.shutdown()


EXECUTORS: dict[str, Executor] = {"local": run_local, "ray": run_on_ray}


class _RayWorker:
    """A worker in a process of Ray."""

    def __init__(self, spec: JobSpec, fit: DenseFit | None) -> None:
        self._arguments = (spec, fit)
        self._worker: Worker | None = None

    def label(self, number: int) -> LabelledPart | str:
        """Return a labelled part, or a user error's message without Ray's traceback."""
        try:
            self._worker = self._worker or Worker(*self._arguments)
            return number, self._worker.label(self._worker.read_part(number))
        except OrbituneError as error:
            return str(error)


def _result(ray: Any, reference: Any) -> LabelledPart:
    """Return the value of a finished task, or raise its error as a DataError."""
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise DataError(f"Lost a Ray worker: {first_line(error)}.") from None
    if isinstance(result, str):
        raise DataError(result)
    return result
