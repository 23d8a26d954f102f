"""Micro-batching: tiles of concurrent requests are computed together.

One queue, from which each worker thread takes as many tiles as wait, up to a limit. A worker waits a few
milliseconds for tiles that are known to be coming (admitted, but not decoded yet), never for others: a single
request is computed at once.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np

from orbitune.errors import OrbituneError, counted

MAX_BATCH = 16  # tiles; larger batches are hardly faster on a CPU, and all tiles wait for the last
MAX_DELAY = 0.005  # seconds that a batch waits for tiles that are being decoded
MAX_WAITING = 256  # tiles admitted and not answered yet

# From tiles (N, H, W, C) to calibrated probabilities (N, classes), and OOD scores (N,) or None.
Compute = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
Answer = tuple[np.ndarray, float | None]  # probabilities (classes,) and OOD score of one tile


class QueueFullError(OrbituneError):
    """Too many tiles are waiting; the client should try again."""

    kind = "queue_full"


class MicroBatcher:
    """A queue of tiles, and the threads that compute them in batches.

    Args:
        compute: computes a batch; called by several threads if there are several.
        threads: number of batches computed at the same time.
        on_batch: called with the size of each batch and the seconds that it took.
    """

    def __init__(
        self,
        compute: Compute,
        *,
        threads: int = 1,
        on_batch: Callable[[int, float], None] = lambda size, seconds: None,
    ) -> None:
        self._compute, self._on_batch = compute, on_batch
        self._changed = threading.Condition()
        self._tiles: deque[tuple[np.ndarray, Future[Answer]]] = deque()
        self._admitted = self._arriving = 0
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Return the number of tiles admitted and not answered yet."""
        return self._admitted

    @contextmanager
    def admit(self, count: int) -> Iterator["Admission"]:
        """Reserve places for the tiles of one request, until the context is left.

        Tiles that are not computed by then are wanted no more, and leave the queue.

        Args:
            count: number of tiles.

        Raises:
            QueueFullError: too many tiles are waiting.
        """
        with self._changed:
            if self._closed:
                raise QueueFullError("The server is shutting down; try again.")
            if self._admitted + count > MAX_WAITING:
                raise QueueFullError(f"{counted(self._admitted, 'image')} wait already; try again.")
            self._admitted += count
            self._arriving += count
        admission = Admission(self, count)
        try:
            yield admission
        finally:
            admission.end()
            with self._changed:
                self._admitted -= count

    def close(self) -> None:
        """Compute what waits, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _arrive(self, count: int, *tiles: tuple[np.ndarray, "Future[Answer]"]) -> None:
        with self._changed:
            self._arriving -= count
            self._tiles.extend(tiles)
            self._changed.notify_all()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            # The tiles of a request that was cut off are cancelled.
            wanted = [each for each in batch if each[1].set_running_or_notify_cancel()]
            if not wanted:
                continue
            tiles, futures = zip(*wanted, strict=True)
            start = time.perf_counter()
            try:
                probabilities, distances = self._compute(np.stack(tiles))
            except Exception as error:
                for future in futures:
                    future.set_exception(error)
                continue
            self._on_batch(len(tiles), time.perf_counter() - start)
            for place, future in enumerate(futures):
                distance = None if distances is None else float(distances[place])
                future.set_result((probabilities[place], distance))

    def _next_batch(self) -> "list[tuple[np.ndarray, Future[Answer]]] | None":
        """Wait for tiles and take them from the queue; return None at the end."""
        with self._changed:
            while not self._tiles:
                if self._closed:
                    return None
                self._changed.wait()
            deadline = time.monotonic() + MAX_DELAY
            while self._arriving and len(self._tiles) < MAX_BATCH:
                if (left := deadline - time.monotonic()) <= 0:
                    break
                self._changed.wait(left)
            return [self._tiles.popleft() for _ in range(min(MAX_BATCH, len(self._tiles)))]


class Admission:
    """The places of one request in the queue of a `MicroBatcher`."""

    def __init__(self, batcher: MicroBatcher, count: int) -> None:
        self._batcher, self._left = batcher, count
        self._submitted: list[Future[Answer]] = []

    def submit(self, tile: np.ndarray) -> "Future[Answer]":
        """Add a tile (H, W, C) to the queue; its probabilities and OOD score will be the future's result."""
        future: Future[Answer] = Future()
        self._left -= 1
        self._submitted.append(future)
        self._batcher._arrive(1, (tile, future))
        return future

    def end(self) -> None:
        """Give up all places, and cancel the tiles that wait."""
        for future in self._submitted:
            future.cancel()
        self.withdraw(self._left)

    def withdraw(self, count: int) -> None:
        """Give up places: no batch waits for these tiles any longer.

        Args:
            count: number of tiles.
        """
        self._left -= count
        self._batcher._arrive(count)
