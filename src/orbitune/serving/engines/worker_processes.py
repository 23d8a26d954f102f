"""Processes that compute, each with a copy of the models.

The process of the server keeps connections, queues and pages; the tiles of a batch go to an idle process. One
that dies is replaced, and its batch is computed again.
"""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from orbitune.resources import core_count
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute

_LOGGER = logging.getLogger("orbitune.app")
_ATTEMPTS = 2  # of a batch whose process dies


@dataclass(frozen=True)
class _Source:
    """What a process needs to open a model."""

    engine: type[Engine]
    source: str | Path
    backbone: str | None
    bands: Sequence[str] | None
    threads: int


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
        self._sources = {
            name: _Source(type(each), each.source, each.backbone, each.bands, threads)
            for name, each in engines.items()
        }
        self.count = count
        self._replacing = threading.Lock()
        self._pool = self._start()
        # A process is started for each call as long as none is idle.
        try:
            for loaded in [self._pool.submit(_load_all) for _ in range(count)]:
                loaded.result()
        except BaseException:
            self.close()
            raise

    def compute_with(self, name: str) -> Compute:
        """Return the function that computes tiles with a model."""
        return partial(self._compute, name)

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


# In the processes

_sources: dict[str, _Source] = {}
_loaded: dict[str, Compute] = {}


def _prepare(sources: dict[str, _Source]) -> None:
    """Remember the sources; leave interrupts to the server, and end when it dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_server, daemon=True).start()
    _sources.update(sources)


def _end_with_server() -> None:
    server = multiprocessing.parent_process()
    assert server
    server.join()
    os._exit(1)


def _load_all() -> None:
    for name in _sources:
        _load(name)


def _load(name: str) -> Compute:
    if name not in _loaded:
        of = _sources[name]
        _loaded[name] = of.engine(of.source, of.backbone, bands=of.bands, threads=of.threads).load()
    return _loaded[name]


def _compute(name: str, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    return _load(name)(tiles)
