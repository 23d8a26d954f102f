"""The store of a data set's decoded tiles: whole or absent, and checked when it is opened.

It is built beside its place and renamed. meta.json holds a checksum of each tile, which is compared whenever
the tile is read, and hashes of the other files. A damaged store is rebuilt.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.checksummed_rows import ChecksummedRows, checksums
from orbitune.errors import DataError, OrbituneError
from orbitune.files import cache_dir, cache_folder, scratch
from orbitune.integrity import file_hash, read_sealed_json, write_sealed_json

_META = "meta.json"
LARGEST_META = 1 << 30  # bytes: about a hundred for each tile


def invalidate_store(folder: Path) -> None:
    """Invalidate a damaged store, so that it is rebuilt when it is next opened."""
    (folder / _META).unlink(missing_ok=True)


def open_store(fingerprint: str, build: Callable[[Path], None]) -> dict[str, Any]:
    """Return what a store holds, built first where it is absent or damaged.

    Args:
        build: writes tiles.npy, labels.npy and meta.json into a folder.

    Returns:
        Attributes of `orbitune.data.tileset.TileSet`, by name.

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
    """Add to meta.json the checksum of each tile and hashes of the rest, by which damage is noticed."""
    tiles = np.load(folder / "tiles.npy", mmap_mode="r")
    size = tiles[0].nbytes
    with (folder / "tiles.npy").open("rb") as file:
        file.seek(tiles.offset)
        sums = [crc for _ in range(len(tiles)) for crc in checksums(file.read(size), size)]
    meta = json.loads((folder / _META).read_text())
    seal = _hashes(folder, name, tiles.offset)
    write_sealed_json(folder / _META, {**meta, "sums": sums, "seal": seal})


def _hashes(folder: Path, name: str, offset: int) -> dict[str, Any]:
    """Return what tells that a store is whole but for its tiles, which begin at `offset` of their file."""
    with (folder / "tiles.npy").open("rb") as file:
        header = hashlib.sha256(file.read(offset)).hexdigest()
    return {"store": name, "offset": offset, "header": header, "labels": file_hash(folder / "labels.npy")}


def _read(folder: Path) -> dict[str, Any] | None:
    """The fields of a store as TileSet takes them; None where it is absent or damaged."""
    try:
        meta = read_sealed_json(folder / _META, LARGEST_META)
        if meta["seal"] != _hashes(folder, folder.name, meta["seal"]["offset"]):
            return None  # before numpy reads damaged headers
        tiles = np.load(folder / "tiles.npy", mmap_mode="r")
        sums = np.array(meta["sums"], np.uint32)
        rows = ChecksummedRows(folder / "tiles.npy", tiles.offset, tiles[0].nbytes, sums)
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
