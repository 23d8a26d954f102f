"""Files that are either whole or absent, and the private cache.

Everything is written in a temporary folder beside its place and renamed. A process holds a lock in each of
its temporary folders; what it leaves when it is killed is removed by the next process that writes there.
"""

import json
import os
import re
import shlex
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from orbitune.errors import OrbituneError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing that a killed process left is removed
    fcntl = None  # type: ignore[assignment]

_ENDING, _LOCK = ".tmp", "lock"
_STARTING = 60.0  # seconds after which a folder without a lock was left by a killed process
_FOREIGN = 86_400.0  # seconds after which a lock of another machine is believed to be free


# --- temporary folders ------------------------------------------------------------------------------------


@contextmanager
def scratch(parent: str | Path | None = None, name: str = "orbitune") -> Iterator[Path]:
    """Yield a new folder for this process alone; it is removed when the block ends.

    Where a process was killed in such a block, the next one that enters one in the same `parent` removes its
    folder. What tells the dead from the living is a lock and no process number: numbers are used again, and
    say nothing about other machines and containers that share the disk.

    Args:
        parent: an existing folder; the system's folder for temporary files where None.

    Raises:
        OSError: the folder cannot be made.
    """
    place = Path(parent or tempfile.gettempdir())
    remove_abandoned(place)
    folder = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=_ENDING, dir=place))
    with _removed(folder), _locked(folder):
        yield folder


@contextmanager
def _removed(folder: Path) -> Iterator[None]:
    try:
        yield
    finally:
        _remove(folder)


def remove_abandoned(parent: Path, recursive: bool = False) -> None:
    """Remove the temporary folders that killed processes left in a folder, or also below it."""
    pattern = f".*{_ENDING}"
    for folder in list(parent.rglob(pattern) if recursive else parent.glob(pattern)):
        with suppress(OSError):  # another process removes it, or it is another user's
            if _ours(folder) and _abandoned(folder):
                _remove(folder)


def _ours(folder: Path) -> bool:
    return re.fullmatch(r"\..*\.[a-z0-9_]{8}\.tmp", folder.name) is not None and folder.is_dir()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock in a folder until the block ends, or the process in whatever way."""
    # Locked before it has its name, so that no one finds it unlocked.
    new = folder / f"{_LOCK}.new"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, socket.gethostname().encode())
        if fcntl:
            with suppress(OSError):  # a filesystem without locks: nobody will take this one for abandoned
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(folder / _LOCK)
        yield
    finally:
        os.close(descriptor)


def _abandoned(folder: Path) -> bool:
    """Whether the process of a temporary folder is gone; where that cannot be known it is not.

    Raises:
        OSError: its lock is held, or the filesystem has no locks.
    """
    age = time.time() - folder.stat().st_mtime
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        return age > _STARTING
    try:
        # Some network filesystems keep locks to one machine.
        here = os.read(descriptor, 1024).decode() == socket.gethostname()
        if fcntl is None or not (here or age > _FOREIGN):
            return False
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove a temporary folder, the lock last: a kill in between leaves what is known to be abandoned."""
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name != _LOCK:
                _remove_any(path)
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _remove_any(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# --- files that are replaced whole ------------------------------------------------------------------------


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; what is there takes the name `path` when the block ends well.

    The temporary path has the same name, in a folder of its own beside `path`. The block may write a file or
    make a folder; it is on the disk before it takes its name, so a power cut leaves the old or the new one. A
    device such as /dev/stdout is written to directly.

    Raises:
        OrbituneError: it cannot be written, as on a full or read-only disk.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_of_dead_process(path)
        with scratch(path.parent, path.name) as folder:
            temporary = folder / path.name
            yield temporary
            _flush(temporary)
            if temporary.is_dir() and path.is_dir():
                path.rename(folder / f"{path.name}.old")
            temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise OrbituneError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error


def _remove_of_dead_process(path: Path) -> None:
    """Remove `.NAME.PID.tmp` of processes that are gone; earlier versions named their temporary files so."""
    for left in path.parent.glob(f".*{_ENDING}"):
        named = re.fullmatch(rf"\.{re.escape(path.name)}\.(\d+)\.tmp", left.name)
        if named and not (left / _LOCK).exists() and not _alive(int(named[1])):
            _remove_any(left)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def _flush(path: Path) -> None:
    """Have a file, or all files of a folder, written to the disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole; not-a-number is refused."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return a value as indented JSON; a ValueError where it holds not-a-number."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


# --- the cache --------------------------------------------------------------------------------------------


def cache_dir() -> Path:
    """Return the folder of decoded tiles, weights and kernels: ORBITUNE_CACHE, else ~/.cache/orbitune.

    The folder may not exist yet; see `cache_folder` for one to write to or load from.
    """
    return Path(os.environ.get("ORBITUNE_CACHE") or Path.home() / ".cache" / "orbitune").expanduser()


def cache_folder(*parts: str) -> Path:
    """Return a folder of the cache, created with mode 0700 where it is absent.

    What lies in the cache is loaded as code and weights, so nobody else may be able to put a file there.

    Raises:
        OrbituneError: it cannot be created; another user owns it, or one between it and `cache_dir`, or may
            write to it.
    """
    folder = cache_dir()
    for path in (folder, *(folder.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1))):
        try:
            path.mkdir(mode=0o700, parents=path == folder, exist_ok=True)
        except OSError as error:
            raise OrbituneError(
                f"Cannot use the cache {path}: {error.strerror}; set ORBITUNE_CACHE to another folder."
            ) from None
        check_private(path)
    return path


def check_private(path: Path) -> None:
    """Check that only this user (or root) can change a file or folder.

    Raises:
        OrbituneError: another user owns it or may write to it.
    """
    if not hasattr(os, "getuid"):
        return
    found = path.stat()
    if found.st_uid not in (os.getuid(), 0):
        raise OrbituneError(
            f"{path} belongs to another user and is not used. Set ORBITUNE_CACHE to a folder of your own."
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OrbituneError(
            f"Other users may write to {path}, so it is not used. If you trust what lies there, run "
            f"`chmod -R go-w {shlex.quote(str(path))}`; else remove it."
        )
