"""The build of the C kernels at first use, kept in the cache."""

import ctypes
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from orbitune.cache import cache_dir, cache_folder, check_private
from orbitune.errors import OrbituneError
from orbitune.fastpath.native.variants import CSRC
from orbitune.files import replacing

SOURCES = sorted(CSRC.glob("*.[ch]"))
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


def is_build_pending(flags: Sequence[str]) -> bool:
    """Return whether kernels with these flags are built when they are first needed.

    This builds nothing.

    Raises:
        OrbituneError: another user owns the cache or may write to it.
    """
    command = compiler()
    if not command:
        return False
    path = cache_dir() / "kernels" / f"{_fingerprint([*command, *flags])}.so"
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
    parts = (*(path.read_text(encoding="utf-8") for path in SOURCES), *command, *_SHARED, platform.machine())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
