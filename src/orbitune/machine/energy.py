"""Energy of a run in joules, measured by GPU or processor counters.

NVIDIA's driver counts a GPU's energy (NVML, since Volta), Linux the processor's (RAPL, through powercap;
Khan et al. 2018, doi:10.1145/3177754, on how far it can be trusted). Both count all that runs on the device.
Where neither can be read, CPU seconds are reported instead, with the reason.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPU = "joules of the GPU"
PACKAGE = "joules of the processor package"
NOTHING = "CPU seconds: this machine shows no energy"
PARTLY = "CPU seconds: the energy of a part of this run was not measured"

RAPL = Path("/sys/class/powercap/intel-rapl")  # AMD's counters have the same name
_LAMP_WATTS = 10
_LONG = {"s": "seconds", "min": "minutes", "h": "hours"}


@dataclass(frozen=True)
class Counter:
    """An energy counter that grows until it wraps around to 0.

    Attributes:
        read: returns joules, or raises OSError.
        wraps: joules at which it wraps around; None if it does not.
    """

    read: Callable[[], float]
    wraps: float | None = None


class EnergyMeter:
    """Meter of the energy between two readings.

    Attributes:
        source: GPU, PACKAGE, or NOTHING.
    """

    def __init__(self, on_gpu: bool, rapl: Path = RAPL) -> None:
        """Find the counters of the device that computes, and take a first reading."""
        self._counters = gpu_counters(_gpu_uuids()) if on_gpu else package_counters(rapl)
        self._before: list[float] = []
        self.source = GPU if on_gpu else PACKAGE
        self.joules()

    def joules(self) -> float | None:
        """Return the joules since the last call; None once they cannot be read.

        A counter may wrap around once between two calls; those of RAPL do so after about 40 minutes at 100 W.
        """
        try:
            now = [counter.read() for counter in self._counters]
        except OSError:
            now, self._counters = [], []
        if not self._counters:
            self.source = NOTHING
            return None
        spent = sum(
            after - before + (counter.wraps or 0.0) * (after < before)
            for counter, before, after in zip(self._counters, self._before or now, now, strict=True)
        )
        self._before = now
        return spent


def package_counters(root: Path = RAPL) -> list[Counter]:
    """Return the RAPL counters of all packages; none if one cannot be read.

    Args:
        root: the folder with a folder `intel-rapl:N` for each, holding name, energy_uj, max_energy_range_uj.
    """
    try:
        zones = [
            zone for zone in sorted(root.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")
        ]
        counters = [_package(zone) for zone in zones]
        for counter in counters:
            counter.read()
    except (OSError, ValueError):
        return []
    return counters


def _package(zone: Path) -> Counter:
    return Counter(
        read=lambda: int(_text(zone / "energy_uj")) / 1e6,
        wraps=(int(_text(zone / "max_energy_range_uj")) + 1) / 1e6,
    )


def _text(file: Path) -> str:
    return file.read_text().strip()


def gpu_counters(uuids: Sequence[str]) -> list[Counter]:
    """Return the NVML counters of these GPUs; none if one cannot be read."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(uuid) for uuid in uuids]
        for handle in handles:
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError:
        return []

    def read(handle: Any) -> float:
        try:
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
        except pynvml.NVMLError as error:
            raise OSError(str(error)) from None

    return [Counter(lambda handle=handle: read(handle)) for handle in handles]  # type: ignore[misc]


def _gpu_uuids() -> list[str]:
    """Return the NVML names of the GPUs that the run computes on, one per process."""
    import torch

    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return [f"GPU-{torch.cuda.get_device_properties(index).uuid}" for index in range(count)]


def describe_cost(cpu_seconds: float, energy_joules: float | None) -> str:
    """Return the cost of a run in everyday terms.

    Args:
        cpu_seconds: of all processes, >= 0.
        energy_joules: None where energy was not measured.

    Returns:
        "like a 10 W lamp for 3.0 min" where joules are known, else "4.2 core-minutes".
    """
    if energy_joules is not None:
        number, unit = _duration(energy_joules / _LAMP_WATTS)
        return f"like a {_LAMP_WATTS} W lamp for {number} {unit}"
    number, unit = _duration(cpu_seconds)
    return f"{number} core-{_LONG[unit]}"


def _duration(seconds: float) -> tuple[str, str]:
    """Return a duration as text with at least two digits, and its unit: s, min or h."""
    unit, size = ("s", 1) if seconds < 90 else ("min", 60) if seconds < 5400 else ("h", 3600)
    number = seconds / size
    return (f"{number:.1f}" if number < 10 else f"{number:,.0f}"), unit
