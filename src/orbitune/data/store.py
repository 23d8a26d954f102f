"""The store of a data set's decoded tiles: whole or absent, and checked when it is opened.

It is built beside its place and renamed. Beside the tiles lie a checksum of each, which is compared whenever
the tile is read, and the hashes of the small files. A store that was damaged is built anew.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.rows import Rows, checksums
from orbitune.errors import DataError, OrbituneError
from orbitune.files import cache_dir, cache_folder, scratch
from orbitune.integrity import file_hash, read_sealed_json, write_sealed_json

_SEAL = "seal.json"
_HASHED = ("labels.npy", "meta.json", "sums.npy")


def spoil_store(folder: Path) -> None:
    """Have a store that turned out to be damaged built anew when it is next opened."""
    (folder / _SEAL).unlink(missing_ok=True)


def open_store(fingerprint: str, build: Callable[[Path], None]) -> dict[str, Any]:
    """Return what a store holds, built first where it is absent or damaged.

    Args:
        build: writes tiles.npy, labels.npy and meta.json into a folder.

    Returns:
        Attributes of `orbitune.data.tiles.TileSet`, by name.

    Raises:
        DataError: the cache cannot be written, or not be trusted; or what `build` raises.
    """
    from filelock import FileLock

    try:
        folder = cache_folder("tiles") / fingerprint
    except OrbituneError as error:
        raise DataError(str(error)) from None
    stored = _read(folder)
    if stored is None:
        try:
            # A second process waits here and then finds the store of the first.
            with FileLock(folder.with_name(f".{folder.name}.lock")):
                if _read(folder) is None:
                    _build(folder, build)
        except OSError as error:
            raise DataError(
                f"Cannot keep the decoded tiles in {cache_dir()}: {error.strerror or error}. "
                "Free some space, or set ORBITUNE_CACHE to another folder."
            ) from None
        stored = _read(folder)
    if stored is None:
        raise DataError(f"The decoded tiles in {cache_dir()} cannot be read back: is the disk sound?")
    return stored


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    with scratch(folder.parent, folder.name) as place:
        new = place / folder.name
        new.mkdir()
        build(new)
        _seal(new, folder.name)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        new.replace(folder)


def _seal(folder: Path, name: str) -> None:
    """Write the checksum of each tile, and the hashes of all that is small, by which damage is noticed."""
    tiles = np.load(folder / "tiles.npy", mmap_mode="r")
    size = tiles[0].nbytes
    with (folder / "tiles.npy").open("rb") as file:
        file.seek(tiles.offset)
        sums = [crc for _ in range(len(tiles)) for crc in checksums(file.read(size), size)]
    np.save(folder / "sums.npy", np.array(sums, np.uint32))
    write_sealed_json(folder / _SEAL, _hashes(folder, name, tiles.offset))


def _hashes(folder: Path, name: str, offset: int) -> dict[str, Any]:
    """What the seal of a store holds; `offset` is where the tiles begin in their file."""
    with (folder / "tiles.npy").open("rb") as file:
        header = hashlib.sha256(file.read(offset)).hexdigest()
    files = {file: file_hash(folder / file) for file in _HASHED}
    return {"store": name, "offset": offset, "header": header, "files": files}


def _read(folder: Path) -> dict[str, Any] | None:
    """The fields of a store as TileSet takes them; None where it is absent or damaged."""
    try:
        seal = read_sealed_json(folder / _SEAL)
        if seal != _hashes(folder, folder.name, seal["offset"]):  # before numpy reads damaged headers
            return None
        meta = json.loads((folder / "meta.json").read_text())
        tiles = np.load(folder / "tiles.npy", mmap_mode="r")
        rows = Rows(folder / "tiles.npy", tiles.offset, tiles[0].nbytes, np.load(folder / "sums.npy"))
        labels = np.load(folder / "labels.npy")
        fields = {
            "tiles": tiles,
            "labels": labels,
            "names": tuple(meta["names"]),
            "classes": tuple(meta["classes"]),
            "own_splits": {name: np.array(rows, np.int64) for name, rows in meta["own_splits"].items()},
            "notes": tuple(meta["notes"]),
            "skipped": tuple((name, reason) for name, reason in meta["skipped"]),
            "white": meta.get("white"),
            "rows": rows,
        }
        whole = len(tiles) == len(labels) == len(meta["names"]) and rows.whole
    except (OrbituneError, OSError, ValueError, LookupError, TypeError, AttributeError, EOFError):
        return None
    return fields if whole else None
