"""Files that are written whole or not at all.

Everything is written in a temporary folder beside its place and renamed. A process holds a lock in each of
its temporary folders; what it leaves when it is killed is removed by the next process that writes there.
"""

import ctypes
import json
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from orbitune.errors import OrbituneError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing that a killed process left is removed
    fcntl = None  # type: ignore[assignment]

_ENDING, _LOCK, _OLD, _MODE = ".orbitune-tmp", ".orbitune-lock", ".orbitune-old", ".orbitune-mode"
_NAME = re.compile(r"\..*\.[a-z0-9_]{8}\.orbitune-tmp", re.DOTALL)
_MARK = b"lock of a temporary folder of orbitune, made on "  # followed by the name of the machine
_STALE_AFTER = 86_400.0  # seconds after which a lock of another machine is believed to be free
_LAST_PROCESS = 1 << 22  # the highest number that Linux gives


@contextmanager
def scratch(parent: str | Path | None = None, name: str = "orbitune") -> Iterator[Path]:
    """Yield a new folder for this process alone; it is removed when the block ends.

    If a process is killed in such a block, the next one that enters one in the same `parent` removes its
    folder. A lock shows whether the owner of a folder is alive. Process numbers cannot: they are reused, and
    they say nothing about other machines and containers that share the disk.

    Args:
        parent: an existing folder; the system's folder for temporary files where None.

    Raises:
        OSError: the folder cannot be made.
    """
    place = Path(parent or tempfile.gettempdir())
    remove_abandoned(place)
    folder, lock = _make(place, name)
    try:
        yield folder
    finally:
        remove_scratch(folder, lock)


def remove_abandoned(parent: Path, recursive: bool = False) -> None:
    """Remove the temporary folders that killed processes left.

    A folder is removed if its name is one of ours, this user owns it, no link leads to it, and the lock in it
    was written by `scratch` and is free; anything else stays. Without locks (Windows) nothing is removed.

    Args:
        parent: folder to search.
        recursive: whether to search its subfolders too.
    """
    if not fcntl:
        return
    for place, folders, _ in os.walk(parent):  # does not follow links
        for name in filter(_NAME.fullmatch, folders):
            with suppress(OSError):  # another process holds or removes it, or it is a link
                _remove_if_abandoned(place, name)
        if not recursive:
            break
        folders[:] = [name for name in folders if not _NAME.fullmatch(name)]


def _make(place: Path, name: str) -> tuple[Path, int]:
    """Return a new temporary folder and the descriptor of its lock, which is held."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name[:50]}.", suffix=_ENDING, dir=place))
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except FileNotFoundError:
            continue  # another process removed it: as long as it is empty it looks abandoned
        try:
            if _lock(lock):
                os.write(lock, _MARK + socket.gethostname().encode())
                return folder, lock
            os.close(lock)
        except BaseException:
            remove_scratch(folder, lock)
            raise


def _lock(lock: int) -> bool:
    """Lock a new file; False where another process has just taken it for abandoned."""
    if fcntl:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a filesystem without locks: nobody can take this one for abandoned
        return os.fstat(lock).st_nlink > 0
    return True


def remove_scratch(folder: Path, lock: int) -> None:
    """Remove a temporary folder of this process.

    Args:
        folder: the folder.
        lock: descriptor of its lock file; closed.
    """
    if not fcntl:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(OSError), _opened(folder.parent) as place, _opened(folder.name, place) as opened:
        _remove(folder.name, opened, place=place)
    os.close(lock)


def _remove_if_abandoned(parent: str, name: str) -> None:
    """Remove a temporary folder whose process is gone.

    Raises:
        OSError: it is in use, a link, or has no lock but holds files.
    """
    with _opened(parent) as place, _opened(name, place) as folder:
        if os.fstat(folder).st_uid == os.getuid():
            if _entries(folder):
                _remove_if_unlocked(name, folder, place=place)
            else:  # killed before it had a lock
                os.rmdir(name, dir_fd=place)


def _remove_if_unlocked(name: str, folder: int, *, place: int) -> None:
    lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_ours(lock, folder):
            _remove(name, folder, place=place)
    finally:
        os.close(lock)


@contextmanager
def _opened(folder: str | Path, place: int | None = None) -> Iterator[int]:
    """Open a folder; one in another open folder `place` must be no link."""
    no_link = 0 if place is None else os.O_NOFOLLOW
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | no_link, dir_fd=place)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_ours(lock: int, folder: int) -> bool:
    """Return whether a free lock was left by a dead process of this user."""
    found = os.fstat(lock)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        return False
    text = os.read(lock, 1024)
    if not text:  # killed before it was written
        return _entries(folder) == {_LOCK}
    if not text.startswith(_MARK):
        return False
    # Some network filesystems keep locks to one machine.
    here = text == _MARK + socket.gethostname().encode()
    return here or time.time() - os.fstat(folder).st_mtime > _STALE_AFTER


def _remove(name: str, folder: int, *, place: int) -> None:
    """Remove an open temporary folder, its lock last, so that a kill leaves it known."""
    _finish_replacement(folder, place)
    for each in _entries(folder) - {_LOCK}:
        _remove_entry(each, folder)
    os.unlink(_LOCK, dir_fd=folder)
    os.rmdir(name, dir_fd=place)


def _remove_entry(name: str, folder: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=folder)
        return
    with _opened(name, folder) as inner:
        for each in _entries(inner):
            _remove_entry(each, inner)
    os.rmdir(name, dir_fd=folder)


def _entries(folder: int) -> set[str]:
    """Return the names in an open folder."""
    return set(os.listdir(folder))


def _finish_replacement(folder: int, place: int) -> None:
    """Rename the new folder where a process was killed in the middle of a swap."""
    names = _entries(folder) - {_LOCK}
    if _OLD in names and len(names) == 2:
        [name] = names - {_OLD}
        try:
            os.stat(name, dir_fd=place, follow_symlinks=False)
        except FileNotFoundError:
            os.rename(name, name, src_dir_fd=folder, dst_dir_fd=place)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path.

    When the block ends without an error, what it wrote is flushed to disk and renamed to `path`: a power cut
    leaves the old or the new file. The temporary path has the same name, in a folder beside `path`. Files
    have the permissions that the umask gives, even if a library wrote them with mode 0600, as safetensors
    does. A device such as /dev/stdout is written to directly.

    Raises:
        OrbituneError: it cannot be written, as on a full or read-only disk.
    """
    path = Path(path)
    if os.path.exists(path) and not (path.is_file() or path.is_dir()):  # noqa: PTH110  False for a long name
        yield path
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_old_leftovers(path)
        with scratch(path.parent, path.name) as folder:
            temporary = folder / path.name
            yield temporary
            _apply_umask(temporary, folder)
            _flush(temporary)
            if temporary.is_dir() and path.is_dir():
                _replace_folder(temporary, path)
            else:
                temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise OrbituneError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error


def _apply_umask(path: Path, folder: Path) -> None:
    """Give safetensors' files of mode 0600 the mode of a file touched in `folder`."""
    files = [file for file in _files(path) if stat.S_IMODE(file.lstat().st_mode) == 0o600]
    if files:  # reading the umask itself would change it for other threads
        (folder / _MODE).touch()
        mode = stat.S_IMODE((folder / _MODE).stat().st_mode)
        (folder / _MODE).unlink()
        for file in files:
            file.chmod(mode)


def _files(path: Path) -> list[Path]:
    """Return a file, or all files of a folder."""
    return [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]


def _remove_old_leftovers(path: Path) -> None:
    """Remove `.NAME.PID.tmp` of dead processes, as earlier versions named them."""
    for left in path.parent.glob(".*.tmp"):
        named = re.fullmatch(rf"\.{re.escape(path.name)}\.([1-9]\d*)\.tmp", left.name)
        with suppress(OSError):  # another process removes it
            if named and left.lstat().st_uid == os.getuid() and _is_gone(int(named[1])):
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()


def _is_gone(process: int) -> bool:
    if process > _LAST_PROCESS:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # another user's
    return False


def _replace_folder(new: Path, path: Path) -> None:
    """Rename a new folder to an old one's name; the old one goes to its temp folder.

    Neither is lost if the process is killed: `_finish_replacement` completes the swap.
    """
    if swap_paths(new, path):
        return
    old = new.with_name(_OLD)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise


def swap_paths(one: Path, other: Path) -> bool:
    """Swap two files or folders in one step; return False where that is impossible."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE
    return rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _flush(path: Path) -> None:
    """Have a file, or all files of a folder, written to the disk."""
    for file in _files(path):
        # Windows flushes only what may be written.
        descriptor = os.open(file, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def holds_files(path: Path, besides: Collection[str] = ()) -> bool:
    """Return whether a path that exists is a file, or a folder with files neither hidden nor `besides`."""
    return not path.is_dir() or any(e.name[0] != "." and e.name not in besides for e in path.iterdir())


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole.

    Args:
        path: file to write or replace.
        text: written as UTF-8.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole; not-a-number is refused.

    Args:
        path: file to write or replace.
        value: anything that JSON can represent.
    """
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return a value as indented JSON; a ValueError where it holds not-a-number."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
