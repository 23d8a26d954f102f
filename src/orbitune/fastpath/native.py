"""The C library of compiled kernels, which the machine's compiler makes at first use."""

import ctypes
import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbitune.cache import cache_folder, check_private
from orbitune.errors import OrbituneError
from orbitune.files import replacing
from orbitune.models.precision import has_instructions

_SOURCES = sorted(Path(__file__).with_name("csrc").iterdir())
# What the kernels are compiled for: this processor's own instructions; or any processor, by a stand-in that
# writes the instructions out in C. It is slow, and for tests.
NATIVE = ("-O3", "-march=native")
STAND_IN = ("-O2", "-DORBITUNE_STAND_IN", "-Wno-psabi")
_SHARED = ("-fopenmp", "-fPIC", "-shared")
_DIGEST = hashlib.sha256().digest_size
_building = threading.Lock()


class KernelsError(OrbituneError):
    """Kernels that this machine cannot compile or load."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, built and kept in the cache the first time; None where they cannot be had.

    They want Linux, a C compiler and a processor that multiplies bfloat16. Where there are all of these and
    the kernels do not compile, one warning says why.

    Raises:
        OrbituneError: another user owns the cache, or may write to it.
    """
    command = compiler()
    if command is None or not suits_processor():
        return None
    try:
        return load(command, NATIVE)
    except KernelsError as error:
        warnings.warn(f"{error} Steps take longer without them.", RuntimeWarning, stacklevel=2)
        return None


def compiler() -> list[str] | None:
    """Return the command of the machine's C compiler, as CC says; None where there is none."""
    command = shlex.split(os.environ.get("CC") or "cc")
    found = shutil.which(command[0]) if command and sys.platform.startswith("linux") else None
    return [found, *command[1:]] if found else None


def load(command: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    """Return the kernels as `command` compiles them with some flags, see `built`.

    Raises:
        KernelsError: they do not compile, or cannot be loaded.
        OrbituneError: another user owns the cache or what lies there, or may write to it.
    """
    path = built(command, flags)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise KernelsError(f"The compiled kernels cannot be loaded: {error}.") from None


def built(command: Sequence[str], flags: Sequence[str]) -> Path:
    """Return the file of the kernels; it is compiled where the cache has none, or a damaged one."""
    path = cache_folder("kernels") / f"{_fingerprint([*command, *flags])}.so"
    with _building:
        if not _is_whole(path):
            with replacing(path) as temporary:
                _compile(command, flags, temporary)
    return path


def _is_whole(path: Path) -> bool:
    """Return whether a library is private and unchanged: its last bytes are its digest."""
    if not path.is_file():
        return False
    check_private(path)
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def _compile(command: Sequence[str], flags: Sequence[str], path: Path) -> None:
    files = [source for source in _SOURCES if source.suffix == ".c"]
    whole: list[str | Path] = [*command, *flags, *_SHARED, "-o", path, *files, "-lm"]
    try:
        # Its own temporary files lie beside the output, where they are removed though it is killed.
        place = {**os.environ, "TMPDIR": str(path.parent)}
        done = subprocess.run(whole, capture_output=True, text=True, errors="replace", env=place)
    except OSError as error:
        raise KernelsError(f"{command[0]} cannot be run: {error.strerror}.") from None
    if done.returncode or not path.exists():
        lines = done.stderr.splitlines() or ["it says nothing"]
        reason = next((line for line in lines if "error" in line), lines[0])
        raise KernelsError(f"{shlex.join(command)} does not compile the kernels: {reason.strip()}.")
    with path.open("ab") as file:  # a loader reads no further than the library's own end
        file.write(hashlib.sha256(path.read_bytes()).digest())
    path.chmod(0o700)


def _fingerprint(command: Sequence[str]) -> str:
    """What a library depends on: a cache may be shared by machines with other processors."""
    parts = (*(path.read_text() for path in _SOURCES), *command, *_SHARED, _processor())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _processor() -> str:
    """What this processor can do, in Linux' words."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def suits_processor() -> bool:
    """Return whether this processor has the kernels' instructions, and torch uses them."""
    return "avx512_bf16" in _processor() and has_instructions(torch.bfloat16)


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
