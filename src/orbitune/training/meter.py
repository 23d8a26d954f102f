"""What a run costs: wall time and CPU seconds by phase, and peak memory of this process."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_IMPORTED = time.perf_counter()


class Meter:
    """Adds up wall and CPU seconds by phase; checkpoints keep the totals, so a resumed run adds to them.

    `run_seconds` are all seconds of the processes that worked on a run, from their cold start on.
    """

    _first = True

    def __init__(self, totals: dict[str, float] | None = None) -> None:
        self.totals = dict(totals or {})
        # What came before belongs to the first run of a process: its start, and reading the data.
        self._counted = 0.0 if Meter._first else process_seconds()
        Meter._first = False

    def count_run(self) -> None:
        """Bring `run_seconds` up to now."""
        now = process_seconds()
        self._add("run_seconds", now - self._counted)
        self._counted = now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a block as part of the phase `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._add(f"{name}_seconds", time.perf_counter() - wall)
            self._add("cpu_seconds", time.process_time() - cpu)

    def _add(self, name: str, seconds: float) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + seconds


def process_seconds() -> float:
    """How long this process has lived: on Linux since it was started, elsewhere since it came here first."""
    status = Path("/proc/self/stat")
    if not status.exists():
        return time.perf_counter() - _IMPORTED
    started = int(status.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, in bytes.

    On Linux this is VmHWM, which starts anew with the program; ru_maxrss would inherit the parent's.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_rss() -> None:
    """Let the peak start anew from what is resident now, where the system allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_cuda_bytes() -> int | None:
    """Highest memory that torch allocated on the GPU, in bytes; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def folder_bytes(folder: Path) -> int:
    """Size of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def environment() -> dict[str, object]:
    """The software and hardware a figure was measured on; no names of machines or people."""
    import platform
    from importlib.metadata import version

    import torch

    return {
        **{name: version(name) for name in ("orbitune", "torch", "transformers", "peft")},
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    import platform

    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()
