"""Memory, time, cores and devices: what a machine has, and what a user allows."""

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.errors import ModelError, OrbituneError, as_written, first_line

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

_SECONDS = {"s": 1, "min": 60, "h": 3600}


def parse_bytes(text: str) -> int:
    """Return the number of bytes that text such as "1.5GB" or "800MB" names.

    Raises:
        OrbituneError: the text is something else.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError  # start-up time

    try:
        return int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise OrbituneError(f"--memory-budget takes bytes such as 1.5GB, not {as_written(text)}.") from None


def parse_seconds(text: str) -> float:
    """Return the number of seconds that text such as "90s", "30min" or "2h" names.

    Raises:
        OrbituneError: the text is something else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text)
    if not match:
        raise OrbituneError(f"--time-budget takes a duration such as 90s or 2h, not {as_written(text)}.")
    return float(match[1]) * _SECONDS[match[2]]


def limit_openmp_spinning() -> None:
    """Limit OpenMP spin-waiting, before its library is loaded.

    Long spins are about 20 times slower on shared cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_name() -> str:
    """Return the model of the processor as the system names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def make_accelerator() -> "Accelerator":
    """Return the device and processes as accelerate finds them."""
    import torch
    from accelerate import Accelerator

    return Accelerator(
        # Explicitly, or accelerate would not see torchrun's processes on a machine without a GPU.
        cpu=not (torch.cuda.is_available() or torch.backends.mps.is_available())
    )


def find_device(name: "str | torch.device | None" = None) -> "torch.device":
    """Return a device of torch.

    Args:
        name: such as cpu, cuda or cuda:1; None for the GPU if there is one.

    Raises:
        ModelError: there is no such device.
    """
    import torch

    if name is None:
        name = next((kind for kind in ("cuda", "mps") if getattr(torch, kind).is_available()), "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises both for a GPU that is not there
        raise ModelError(f"The device {name} cannot be used: {first_line(error)}.") from None
    return device
