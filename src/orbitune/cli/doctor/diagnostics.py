"""Diagnosis of the installation, as `orbitune doctor` prints it."""

import os
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from orbitune.cache import cache_dir, check_private
from orbitune.errors import OrbituneError
from orbitune.extras import EXTRAS, install_command, missing_modules
from orbitune.recipe_settings import DEFAULT_BACKBONE
from orbitune.resources import core_count, processor_name

PACKAGES = ("orbitune", "torch", "transformers", "peft", "numpy")
SUPPORTED_SYSTEMS = ("Linux", "Darwin")  # the classifiers of pyproject.toml
_LOW_DISK = 2_000_000_000  # bytes


@dataclass(frozen=True)
class Machine:
    """Processor, memory and GPU.

    Attributes:
        instructions: half-precision instructions and the vector extension that torch uses.
        cores: cores that this process may use, of `all_cores`.
        threads: threads that torch uses.
        memory_bytes: physical memory; None where the system does not state it.
        gpu: name of the GPU that torch can use, or None.
        unused_gpu: whether there is an NVIDIA GPU that this build of torch cannot use.
    """

    system: str
    processor: str
    instructions: tuple[str, ...]
    cores: int
    all_cores: int
    threads: int
    memory_bytes: int | None
    gpu: str | None
    unused_gpu: bool


@dataclass(frozen=True)
class Extra:
    """An extra of the package, its missing modules and how to install them."""

    name: str
    installed: bool
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class Kernels:
    """Compiled kernels of the fast path for the default precision, and the reason if they are not used.

    Attributes:
        variant: the vector extension that they use, or will use.
    """

    state: Literal["compiled", "not built yet", "not available"]
    reason: str | None
    variant: str | None = None


@dataclass(frozen=True)
class Cache:
    """A cache folder: its size, free disk space in bytes, and permission problems."""

    name: str
    path: str
    bytes: int
    free_bytes: int
    problem: str | None


@dataclass(frozen=True)
class BackboneState:
    """A backbone by name: whether it is on this machine, and else how to get it."""

    name: str
    is_default: bool
    available: bool
    how: str | None


@dataclass(frozen=True)
class Diagnosis:
    """All findings, and advice on what would make this installation better."""

    versions: dict[str, str | None]
    machine: Machine
    kernels: Kernels
    extras: tuple[Extra, ...]
    caches: tuple[Cache, ...]
    backbones: tuple[BackboneState, ...]
    advice: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Examine machine and installation; nothing is downloaded, built or written."""
    machine, kernels, caches = _machine(), _kernels(), _caches()
    extras = tuple(
        Extra(name, not absent, tuple(absent), install_command(name))
        for name, absent in ((name, missing_modules(name)) for name in EXTRAS)
    )
    return Diagnosis(
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        machine=machine,
        kernels=kernels,
        extras=extras,
        caches=caches,
        backbones=_backbones(),
        advice=tuple(_advice(machine, kernels, caches=caches)),
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _machine() -> Machine:
    import torch

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    halves = [name for name, present in capabilities.items() if present is True and _is_half(name)]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Machine(
        system=platform.system(),
        processor=processor_name(),
        instructions=(torch.backends.cpu.get_cpu_capability(), *sorted(halves)),
        cores=core_count(),
        all_cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=_memory_bytes(),
        gpu=gpu or ("Apple GPU (MPS)" if torch.backends.mps.is_available() else None),
        unused_gpu=gpu is None and shutil.which("nvidia-smi") is not None,
    )


def _is_half(instruction: str) -> bool:
    return any(part in instruction for part in ("bf16", "fp16", "amx"))


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _kernels() -> Kernels:
    """Look for the kernels without building them."""
    import torch

    from orbitune.models.precision import has_instructions

    try:
        from orbitune.fastpath.native import library  # `dispatch` would load transformers as well
        from orbitune.fastpath.native.variants import find_variant
    except ModuleNotFoundError:
        return Kernels("not available", "this installation has no fast path")
    dtype = torch.bfloat16 if has_instructions(torch.bfloat16) else torch.float32
    try:
        if library.is_build_pending(dtype):
            variant = find_variant(dtype)
            reason = "they are compiled when they are first needed, in a few seconds"
            return Kernels("not built yet", reason, variant.name if variant else None)
        opened = library.open_library(dtype)
    except (OrbituneError, OSError) as error:
        return Kernels("not available", str(error))
    if opened.library is None:
        return Kernels("not available", opened.why_not)
    return Kernels("compiled", None, opened.library.variant.name)


def _caches() -> tuple[Cache, ...]:
    from huggingface_hub.constants import HF_HUB_CACHE

    return _cache("Orbitune", cache_dir(), private=True), _cache("Hugging Face hub", Path(HF_HUB_CACHE))


def _cache(name: str, path: Path, *, private: bool = False) -> Cache:
    """Measure a cache folder, which may not exist yet.

    Check its permissions where code is loaded from it.
    """
    problem = None
    try:
        if private and path.exists():
            check_private(path)
        existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        free = shutil.disk_usage(existing).free
    except (OrbituneError, OSError) as error:
        problem, free = str(error), 0
    return Cache(name, str(path), _folder_bytes(path), free, problem)


def _folder_bytes(path: Path) -> int:
    """Return the bytes of all files below a folder.

    Links and unreadable folders are skipped.
    """
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118  # twice as fast
            except OSError:
                continue
    return total


def _backbones() -> tuple[BackboneState, ...]:
    from huggingface_hub import try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(DEFAULT_BACKBONE, "config.json"), str)
    how = None if cached else "downloaded from the Hugging Face hub when first used; needs a network once"
    absent = missing_modules("demo")
    return (
        BackboneState(DEFAULT_BACKBONE, True, cached, how),
        BackboneState("demo", False, not absent, install_command("demo") if absent else None),
    )


def _advice(machine: Machine, kernels: Kernels, *, caches: tuple[Cache, ...]) -> list[str]:
    advice = []
    if machine.system not in SUPPORTED_SYSTEMS:
        advice.append(f"{machine.system} is not supported; Linux and macOS are.")
    if machine.unused_gpu:
        advice.append("Install a CUDA build of PyTorch (pytorch.org): this build cannot use the NVIDIA GPU.")
    if machine.threads < machine.cores:
        limit = "OMP_NUM_THREADS" if "OMP_NUM_THREADS" in os.environ else "the environment"
        advice.append(f"torch uses {machine.threads} of {machine.cores} cores, limited by {limit}.")
    if machine.cores < machine.all_cores:
        advice.append(f"This process may use {machine.cores} of {machine.all_cores} cores.")
    if kernels.state == "not available" and kernels.reason and "C compiler" in kernels.reason:
        advice.append("Install a C compiler such as gcc: the compiled kernels make training faster.")
    advice += [f"{cache.name} cache: {cache.problem}" for cache in caches if cache.problem]
    advice += [
        f"The disk of {cache.path} has only {cache.free_bytes / 1e9:.1f} GB left."
        for cache in caches
        if not cache.problem and cache.free_bytes < _LOW_DISK
    ]
    return advice
