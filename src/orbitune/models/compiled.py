"""The C library of compiled kernels, which the machine's compiler makes at first use."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbitune.files import cache_dir, replacing

_SOURCES = sorted(Path(__file__).with_name("csrc").iterdir())
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-shared")


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels, built and kept in the cache the first time; None where they cannot be had.

    The compiler refuses them for a processor that does not multiply bfloat16.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    path = cache_dir() / "kernels" / f"{_fingerprint(compiler)}.so"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                files = [path for path in _SOURCES if path.suffix == ".c"]
                command: list[str | Path] = [compiler, *_FLAGS, "-o", temporary, *files, "-lm"]
                subprocess.run(command, check=True, capture_output=True)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError):
        return None


def _fingerprint(compiler: str) -> str:
    """What a library depends on: a cache may be shared by machines with other processors."""
    parts = (*(path.read_text() for path in _SOURCES), compiler, *_FLAGS, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """What this processor can do, in Linux' words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@functools.cache
def multiplies_tiles() -> bool:
    """Whether this processor has instructions for whole matrices (AMX), which oneDNN uses."""
    return "amx_bf16" in _processor()


def compiled(x: Tensor) -> bool:
    """Whether the compiled kernels work on a tensor of this kind."""
    return x.device.type == "cpu" and x.dtype == torch.bfloat16 and library() is not None


def call(name: str, *arguments: Any) -> None:
    """Call a kernel with tensors as pointers (None as NULL) and integers as int64."""
    whole = library()
    assert whole is not None
    getattr(whole, name)(*(_argument(a) for a in arguments))


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_int64(value) if isinstance(value, int) else value
