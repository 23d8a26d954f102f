"""The C library of kernels, compiled at first use and kept in the cache."""

import ctypes
import functools
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbitune.cache import cache_dir, cache_folder, check_private
from orbitune.errors import OrbituneError
from orbitune.files import replacing
from orbitune.models.precision import has_instructions

SOURCES = sorted(Path(__file__).with_name("csrc").iterdir())
# Flags for this processor's own instructions; or, for tests, for a slow emulation of them in plain C.
NATIVE = ("-O3", "-march=native")
EMULATED = ("-O2", "-DORBITUNE_EMULATED", "-Wno-psabi")
_SHARED = ("-fopenmp", "-fPIC", "-shared")
_DIGEST = hashlib.sha256().digest_size
_VERSION_TIMEOUT = 10  # seconds
_building = threading.Lock()


class KernelsError(OrbituneError):
    """The compiled kernels cannot be built or loaded.

    Attributes:
        known: whether the cache already held this failure, so that it was reported before.
    """

    def __init__(self, reason: str, known: bool = False) -> None:
        super().__init__(reason)
        self.known = known


class OpenedLibrary(NamedTuple):
    """The library, or the reason why there is none."""

    library: ctypes.CDLL | None
    why_not: str | None


def library() -> ctypes.CDLL | None:
    """Return the compiled kernels, building them if needed; None if unavailable.

    They need Linux, a C compiler and a processor that multiplies bfloat16. Where these are present and the
    build fails, the first process warns with the compiler's reason. The cache remembers the failure, so later
    processes do not build again until the sources, the compiler, its version or its flags change.

    Raises:
        OrbituneError: another user owns the cache or may write to it.
    """
    return open_library().library


def why_unavailable() -> str | None:
    """Return why there are no compiled kernels on this machine, in words.

    Returns None if they can be used.
    """
    return open_library().why_not


@functools.cache
def open_library() -> OpenedLibrary:
    """Return the library, or the reason why there is none; decided once in a process."""
    if not sys.platform.startswith("linux"):
        return OpenedLibrary(None, f"they are built on Linux only, not on {sys.platform}")
    if not supports_kernels():
        return OpenedLibrary(
            None, "the processor has no AVX512-BF16 instructions, or oneDNN does not use them"
        )
    command = compiler()
    if command is None:
        return OpenedLibrary(None, "there is no C compiler; install gcc, or name a compiler in CC")
    try:
        return OpenedLibrary(load(command, NATIVE), None)
    except KernelsError as error:
        if not error.known:
            warnings.warn(f"{error} Training works without them, more slowly.", RuntimeWarning, stacklevel=2)
        return OpenedLibrary(None, str(error))


def compiler() -> list[str] | None:
    """Return the command of the C compiler, $CC or cc; None where there is none."""
    command = shlex.split(os.environ.get("CC") or "cc")
    found = shutil.which(command[0]) if command else None
    return [found, *command[1:]] if found else None


def load(command: Sequence[str], flags: Sequence[str]) -> ctypes.CDLL:
    """Load the kernels as `command` compiles them with `flags`, see `build_library`.

    Raises:
        KernelsError: they do not compile or cannot be loaded.
        OrbituneError: another user owns the cache or what lies there, or may write to it.
    """
    path = build_library(command, flags)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise _remembered(path, command, reason=f"The compiled kernels cannot be loaded: {error}.") from None


def build_library(command: Sequence[str], flags: Sequence[str]) -> Path:
    """Return the path of the library; compile it if missing or damaged.

    Raises:
        KernelsError: it does not compile, now or in an earlier process.
    """
    path = cache_folder("kernels") / f"{_fingerprint([*command, *flags])}.so"
    with _building:
        if not _is_whole(path):
            failure = _failure_file(path, command)
            if reason := _read_failure(failure):
                raise KernelsError(reason, known=True)
            with replacing(path) as temporary:
                _compile(command, flags, path=temporary, failure=failure)
    return path


def is_build_pending() -> bool:
    """Return whether the kernels are built when they are first needed.

    This builds nothing.

    Raises:
        OrbituneError: another user owns the cache or may write to it.
    """
    command = compiler()
    if not (sys.platform.startswith("linux") and supports_kernels() and command):
        return False
    path = cache_dir() / "kernels" / f"{_fingerprint([*command, *NATIVE])}.so"
    return not (_is_whole(path) or _failure_file(path, command).is_file())


def _is_whole(path: Path) -> bool:
    """Return whether a library is private and ends with the digest of its bytes."""
    if not path.is_file():
        return False
    check_private(path)
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def _compile(command: Sequence[str], flags: Sequence[str], *, path: Path, failure: Path) -> None:
    files = [source for source in SOURCES if source.suffix == ".c"]
    whole: list[str | Path] = [*command, *flags, *_SHARED, "-o", path, *files, "-lm"]
    try:
        # The compiler's temporary files lie beside the output, where they are removed even if it is killed.
        place = {**os.environ, "TMPDIR": str(path.parent)}
        done = subprocess.run(whole, capture_output=True, text=True, errors="replace", env=place)
    except OSError as error:
        reason = f"{command[0]} cannot be run to compile the kernels: {error.strerror}."
        raise _write_failure(failure, reason) from None
    if done.returncode or not path.exists():
        lines = done.stderr.splitlines() or ["no message"]
        line = next((line for line in lines if "error" in line), lines[0])
        reason = f"{shlex.join(command)} does not compile the kernels: {line.strip()}."
        if done.returncode < 0:  # killed, for want of memory or by the user: the next process tries again
            raise KernelsError(reason)
        raise _write_failure(failure, reason)
    with path.open("ab") as file:  # a loader reads no further than the library's own end
        file.write(hashlib.sha256(path.read_bytes()).digest())
    path.chmod(0o700)


def _failure_file(path: Path, command: Sequence[str]) -> Path:
    """Return the file that remembers a failed build by this version of the compiler."""
    return path.with_name(f"{path.stem}-{_compiler_version(command)}.failed")


def _compiler_version(command: Sequence[str]) -> str:
    """Return a digest of the compiler's version, or of the error of running it."""
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, timeout=_VERSION_TIMEOUT, stdin=subprocess.DEVNULL
        )
        text = done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        text = str(error).encode()
    return hashlib.sha256(text).hexdigest()[:8]


def _remembered(path: Path, command: Sequence[str], *, reason: str) -> KernelsError:
    """Return the error for a library that does not load.

    It is tried again, but reported once.
    """
    failure = _failure_file(path, command)
    return KernelsError(reason, known=True) if _read_failure(failure) else _write_failure(failure, reason)


def _read_failure(path: Path) -> str | None:
    """Return the reason of a remembered failure; None if there is none to read."""
    if not path.is_file():
        return None
    check_private(path)
    try:
        return str(json.loads(path.read_text())["reason"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _write_failure(path: Path, reason: str) -> KernelsError:
    """Remember a failure in the cache, and return it as an error."""
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"reason": reason}), encoding="utf-8")
            temporary.chmod(0o644)  # whatever the umask: others may not write to the cache
    except OrbituneError:  # a full disk: the next process tries again
        return KernelsError(reason)
    return KernelsError(f"{reason} It is not tried again until the compiler changes or {path} is removed.")


def _fingerprint(command: Sequence[str]) -> str:
    """Return a hash of all that a library depends on.

    The machines that use one cache may have different processors and compilers.
    """
    parts = (*(path.read_text() for path in SOURCES), *command, *_SHARED, _capabilities())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _capabilities() -> str:
    """Return the processor's capabilities as Linux lists them."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def supports_kernels() -> bool:
    """Return whether processor and torch have the instructions (AVX512-BF16)."""
    return "avx512_bf16" in _capabilities() and has_instructions(torch.bfloat16)


@functools.cache
def has_amx() -> bool:
    """Return whether the processor has matrix instructions (AMX), which oneDNN uses."""
    return "amx_bf16" in _capabilities()


def call(name: str, *arguments: Any) -> None:
    """Call a kernel with tensors as pointers (None as NULL) and integers as int64."""
    whole = library()
    assert whole is not None
    getattr(whole, name)(*(_argument(a) for a in arguments))


def _argument(value: Any) -> Any:
    if isinstance(value, Tensor):
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_int64(value) if isinstance(value, int) else value
