"""Files that are either whole or absent: everything is written under a temporary name and renamed."""

import json
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from orbitune.errors import OrbituneError, first_line

LARGEST_JSON = 64 << 20  # bytes; parsed, it takes about ten times that


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes that name when the block ends well, else it is removed.

    The block may write a file or make a folder. A full or read-only disk is an OrbituneError.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OrbituneError(f"Cannot write {path}: {error.strerror}.") from error
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        raise OrbituneError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}.") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, whole; not-a-number is refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the value of a JSON file, which another program may have written or damaged.

    Raises:
        OrbituneError: it is missing, larger than `LARGEST_JSON`, or no JSON: not UTF-8, nested too deeply, or
            with NaN or Infinity, which JSON does not have.
    """
    path = Path(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no regular file")  # a pipe would be waited for
        if found.st_size > LARGEST_JSON:
            raise ValueError(f"larger than {LARGEST_JSON >> 20} MB")
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise OrbituneError(f"Cannot read {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
        raise OrbituneError(f"{path} is not valid JSON ({reason}); it is damaged.") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has {name}")


def cache_dir() -> Path:
    """Return where decoded tiles, converted weights and kernels are kept: ORBITUNE_CACHE, else ~/.cache/orbitune.

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
                f"Cannot use the cache {path}: {error.strerror}. Set ORBITUNE_CACHE to another folder."
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
