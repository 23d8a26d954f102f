"""Cost of a run: wall and CPU seconds by phase, energy, peak memory."""

import mmap
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orbitune.machine.energy import GPU, NOTHING, PACKAGE, PARTLY, EnergyMeter

_JOULES = {GPU: "gpu_joules", PACKAGE: "package_joules"}
_IMPORTED = time.perf_counter()


class Meter:
    """Sum of seconds by phase and of joules; a resumed run adds to stored totals.

    `run_seconds` is the wall time of all processes that worked on a run, from their start. Energy is counted
    from when the meter was made, in all phases.
    """

    _first_in_process = True

    def __init__(self, totals: dict[str, float] | None = None, energy: EnergyMeter | None = None) -> None:
        """Start, or continue from earlier totals."""
        self.totals = dict(totals or {})
        self._energy = energy or EnergyMeter(on_gpu=False)
        self._joules = _JOULES.get(self._energy.source)
        if self.totals and self._joules not in self.totals:
            self._joules = None  # they cannot be added to what another counter, or none, measured of this run
        # What came before belongs to the first run of a process: its start, and reading the data.
        self._counted = 0.0 if Meter._first_in_process else process_seconds()
        Meter._first_in_process = False

    def update_totals(self) -> None:
        """Bring `run_seconds` and the energy up to now."""
        now = process_seconds()
        self._add("run_seconds", now - self._counted)
        self._counted = now
        joules = self._energy.joules()
        if joules is None or self._joules is None:
            self._joules = None
            self.totals = self.seconds()
        else:
            self._add(self._joules, joules)

    def energy(self) -> dict[str, float | str | None]:
        """Return `energy_joules` (None if unknown) and `energy_source` of the whole run."""
        source = self._energy.source
        if self._joules is None:
            return {"energy_joules": None, "energy_source": NOTHING if source == NOTHING else PARTLY}
        return {"energy_joules": self.totals.get(self._joules, 0.0), "energy_source": source}

    def seconds(self) -> dict[str, float]:
        """Return the totals that are seconds."""
        return {name: total for name, total in self.totals.items() if name not in _JOULES.values()}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a block as part of the phase `name`."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self._add(f"{name}_seconds", time.perf_counter() - wall)
            self._add("cpu_seconds", time.process_time() - cpu)

    def _add(self, name: str, amount: float) -> None:
        self.totals[name] = self.totals.get(name, 0.0) + amount


def process_seconds() -> float:
    """Return the age of this process in seconds.

    Elsewhere than on Linux, it is the time since this module was imported.
    """
    status = Path("/proc/self/stat")
    if not status.exists():
        return time.perf_counter() - _IMPORTED
    started = int(status.read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_rss_bytes() -> int:
    """Return the highest resident memory of this process so far, in bytes.

    On Linux this is VmHWM, which starts anew with the program; ru_maxrss would inherit the parent's. It is 0
    on systems that do not state it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss_bytes() -> int:
    """Return the resident memory of this process in bytes; outside Linux its peak."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return peak_rss_bytes()
    return int(status.read_text().split()[1]) * mmap.PAGESIZE


def reset_peak_rss() -> None:
    """Reset the peak memory to what is resident now (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_cuda_bytes() -> int | None:
    """Return torch's peak GPU memory in bytes; None without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder, in bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
