"""Files that are either whole or absent: everything is written under a temporary name and renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from orbitune.errors import OrbituneError


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


def cache_dir() -> Path:
    """Where decoded tiles and converted weights are kept: ORBITUNE_CACHE, else ~/.cache/orbitune."""
    return Path(os.environ.get("ORBITUNE_CACHE") or Path.home() / ".cache" / "orbitune").expanduser()
