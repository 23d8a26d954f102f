"""Cache of decoded tiles, weights and kernels; no other user can write to it."""

import os
import shlex
import stat
from pathlib import Path

from orbitune.errors import OrbituneError

ACTIVATIONS = "activations"  # folder of the activation caches


def cache_dir() -> Path:
    """Return the cache folder: ORBITUNE_CACHE, else ~/.cache/orbitune.

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
