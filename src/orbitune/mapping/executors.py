"""Where the parts of a map are worked on: in this process, or by Ray on many machines.

An engine yields parts as they are done, in any order; who asks keeps them.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from orbitune.errors import DataError, OrbituneError
from orbitune.mapping.dense import DenseHead
from orbitune.mapping.worker import Order, Worker

Done = tuple[int, np.ndarray]  # the number of a part, and its codes and confidence


def local(worker: Worker, numbers: Sequence[int]) -> Iterator[Done]:
    """In this process; a thread reads the next part while one is computed."""
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(worker.read, number) for number in numbers[:1]]
        for number, following in zip(numbers, [*numbers[1:], None], strict=True):
            part = waiting.pop().result()
            if following is not None:
                waiting.append(reader.submit(worker.read, following))
            yield number, worker.label(part)


def on_ray(order: Order, readout: DenseHead | None, numbers: Sequence[int]) -> Iterator[Done]:
    """On the cluster that RAY_ADDRESS names, else in Ray's own processes on this machine.

    The scene and the model must be readable at the same paths everywhere; parts come back through Ray.

    Raises:
        OrbituneError: Ray is not installed or does not start, or a machine cannot read what it needs.
    """
    from orbitune.cluster import connect
    from orbitune.resources import core_count

    ray = connect(core_count())
    try:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        actors = max(1, cpus // order.threads)
        # A worker that dies is started anew, and its part is done again.
        remote = ray.remote(num_cpus=min(order.threads, cpus), max_restarts=3, max_task_retries=3)(_RayWorker)
        workers = [remote.remote(order, readout) for _ in range(min(actors, len(numbers)))]
        queue = iter(numbers)
        running: dict[Any, Any] = {}

        def hand_out(worker: Any) -> None:
            if (number := next(queue, None)) is not None:
                running[worker.label.remote(number)] = worker

        for worker in workers:
            hand_out(worker)
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            worker = running.pop(ready)
            yield _result(ray, ready)
            hand_out(worker)
    finally:
        ray.shutdown()


class _RayWorker:
    """A worker in a process of Ray."""

    def __init__(self, order: Order, readout: DenseHead | None) -> None:
        self._arguments = (order, readout)
        self._worker: Worker | None = None

    def label(self, number: int) -> Done | str:
        """A part, or what the user must mend."""
        try:
            self._worker = self._worker or Worker(*self._arguments)
            return number, self._worker.label(self._worker.read(number))
        except OrbituneError as error:
            return str(error)


def _result(ray: Any, reference: Any) -> Done:
    try:
        result = ray.get(reference)
    except ray.exceptions.RayError as error:
        raise DataError(f"A worker of Ray was lost: {str(error).splitlines()[0]}") from None
    if isinstance(result, str):
        raise DataError(result)
    return result
