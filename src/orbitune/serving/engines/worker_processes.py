"""Processes of this machine that compute, each with a copy of the models.

The process of the server keeps connections, queues and pages; the tiles of a batch go to an idle process. One
that dies is replaced, and its batch is computed again.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import numpy as np

from orbitune.resources import core_count
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute
from orbitune.serving.engines.model_copies import ModelCopies, ModelSource

_LOGGER = logging.getLogger("orbitune.app")
_ATTEMPTS = 2  # of a batch whose process dies


class WorkerProcesses:
    """Processes that compute the models of a service.

    Args:
        engines: the models by name, opened but not loaded here.
        count: number of processes; they share the cores.

    Attributes:
        count: number of processes.

    Raises:
        OrbituneError: the weights of a model cannot be loaded.
    """

    def __init__(self, engines: Mapping[str, Engine], count: int) -> None:
        threads = max(1, core_count() // count)
        self._sources = {name: ModelSource.of(each, threads=threads) for name, each in engines.items()}
        self.count = count
        self._replacing = threading.Lock()
        self._pool = self._start()
        # A process is started for each call as long as none is idle.
        try:
            for loaded in [self._pool.submit(_load_all) for _ in range(count)]:
                loaded.result()
                self._loaded = loaded
        except BaseException:
            self.close()
            raise

    def compute_with(self, name: str) -> Compute:
        """Return the function that computes tiles with a model."""
        return partial(self._compute, name)

    def check(self) -> bool:
        """Return whether all processes live and one has the models; those that do not live are replaced."""
        pool, loaded = self._pool, self._loaded
        try:
            pool.submit(_do_nothing)
        except BrokenProcessPool:
            self._replace(pool)
            return False
        return loaded.done() and loaded.exception() is None

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.count, context, _prepare, (self._sources,))

    def _compute(self, name: str, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        for left in reversed(range(_ATTEMPTS)):
            pool = self._pool
            try:
                return pool.submit(_compute, name, tiles).result()
            except BrokenProcessPool:
                self._replace(pool)
                if not left:
                    raise
        raise AssertionError

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        """Start new processes in place of those of a broken pool, once."""
        with self._replacing:
            if self._pool is broken:
                _LOGGER.warning("a process that computes has died; it is replaced")
                broken.shutdown(wait=False)
                self._pool = self._start()
                self._loaded = self._pool.submit(_load_all)


# In the processes

_copies: ModelCopies


def _prepare(sources: dict[str, ModelSource]) -> None:
    """Remember the sources; leave interrupts to the server, and end when it dies."""
    global _copies
    _copies = ModelCopies(sources)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_server, daemon=True).start()


def _end_with_server() -> None:
    server = multiprocessing.parent_process()
    assert server
    server.join()
    os._exit(1)


def _do_nothing() -> None:
    pass


def _load_all() -> None:
    _copies.load_all()


def _compute(name: str, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    return _copies.compute(name, tiles)
