"""Timing of an arm's steps, and the matrix-product ceiling of the machine."""

import time

import torch

from orbitune.models.precision import DTYPES, linear, set_products

LEAST_STEPS = 3
_ROWS, _WIDTH = 4096, 768  # of the ceiling's product: about that of a layer of ViT-Base on a batch
_GPU_ROWS = 65_536
REPEATS, BLOCKS = 5, 6  # products in a block, and blocks of which the fastest counts


class Stopwatch:
    """Count of images and time of the steps after the warm-up, until time runs out.

    Attributes:
        images, steps: measured so far.
        wall, cpu: seconds of the measured steps; CPU seconds are summed over all threads of this process.
        step_seconds: of each measured step; on a GPU, steps may overlap.
    """

    def __init__(self, warmup: int, seconds: float) -> None:
        self.images, self.steps = 0, -warmup
        self.wall = self.cpu = 0.0
        self.step_seconds: list[float] = []
        self._seconds = seconds
        self._start = self._cpu_start = self._last = 0.0

    def step(self, images: int) -> bool:
        """Count a finished step; return whether another one is wanted."""
        self.steps += 1
        if self.steps < 0:
            return True
        if self.steps == 0:
            _wait_for_gpu()
            self._start, self._cpu_start = time.perf_counter(), time.process_time()
            self._last = self._start
            return True
        self.images += images
        now = time.perf_counter()
        self.step_seconds.append(now - self._last)
        self._last = now
        if now - self._start < self._seconds or self.steps < LEAST_STEPS:
            return True
        _wait_for_gpu()  # here and at the start only: an arm may let its steps overlap
        self.wall = time.perf_counter() - self._start
        self.cpu = time.process_time() - self._cpu_start
        return False


def matmul_ceiling(precision: str) -> float:
    """Measure the speed of a large matrix product, in operations per second.

    It uses all threads, or the GPU.
    """
    gpu = torch.cuda.is_available()
    device, rows = ("cuda", _GPU_ROWS) if gpu else ("cpu", _ROWS)
    set_products(torch.device(device), precision == "tf32")
    x = torch.randn(rows, _WIDTH, device=device, dtype=DTYPES[precision])
    weight = torch.randn(_WIDTH, _WIDTH, device=device, dtype=DTYPES[precision])
    fastest = float("inf")
    for _ in range(BLOCKS):
        start = time.perf_counter()
        for _ in range(REPEATS):
            linear(x, weight)
        _wait_for_gpu()
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * rows * _WIDTH * _WIDTH * REPEATS / fastest


def _wait_for_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
