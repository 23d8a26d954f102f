"""The store of a data set's decoded tiles in the cache.

A store is a folder with tiles.npy, labels.npy and meta.json. It is built in a temporary folder and renamed.
meta.json holds a checksum of each tile, which is compared whenever the tile is read, and hashes of the other
files. A damaged store, or one of another version, is rebuilt.
"""

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field, NonNegativeInt, Strict

from orbitune.cache import cache_dir, cache_folder
from orbitune.data.band_statistics import BandStatistics
from orbitune.data.checksummed_rows import ChecksummedRows, checksums
from orbitune.errors import DataError, OrbituneError
from orbitune.files import scratch
from orbitune.integrity import file_hash, read_checksummed_json
from orbitune.records import Record, StoredRecord, rename_keys
from orbitune.sources.band_names import COLOURS

MAX_META = 1 << 30  # bytes of meta.json, about a hundred for each tile

_META = "meta.json"


class StoreMetadata(Record):
    """Metadata of the N tiles of a store.

    Attributes:
        names: file name of each tile, relative to the data set.
        classes: class names.
        own_splits: rows of the splits that the data set defines.
        notes: remarks for the user on how the tiles were read.
        skipped: (file name, reason) of files that were left out.
        scale_max: 16-bit value that was scaled to 255; None if no tile had more than 8 bits.
        bands: names of the bands, in their order.
    """

    names: list[str]
    classes: list[str]
    own_splits: dict[str, list[NonNegativeInt]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
    skipped: list[Annotated[tuple[str, str], Strict(False)]] = Field(default_factory=list)
    scale_max: int | None = None
    bands: list[str] = Field(default_factory=lambda: list(COLOURS))


class FileHashes(Record):
    """Hashes of the files of a store other than the tiles.

    Attributes:
        store: name of the store's folder.
        offset: bytes before the first tile in tiles.npy.
        header: SHA-256 (hex) of these bytes.
        labels: SHA-256 (hex) of labels.npy.
    """

    store: str
    offset: NonNegativeInt
    header: str
    labels: str

    @classmethod
    def compute(cls, folder: Path, name: str, *, offset: int) -> "FileHashes":
        """Return the hashes of the files as they are now."""
        with (folder / "tiles.npy").open("rb") as file:
            header = hashlib.sha256(file.read(offset)).hexdigest()
        return cls(store=name, offset=offset, header=header, labels=file_hash(folder / "labels.npy"))


class StoredMetadata(StoreMetadata, StoredRecord):
    """The content of meta.json.

    Attributes:
        checksums: CRC-32 of each tile.
        hashes: of the other files.
        statistics: of the bands, by the hash of the tiles that they were computed from.
    """

    FORMAT: ClassVar[int] = 3
    UNVERSIONED: ClassVar[int | None] = 1

    checksums: list[NonNegativeInt]
    hashes: FileHashes
    statistics: dict[str, BandStatistics] = Field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content for JSON; RGB stores name neither bands nor statistics."""
        defaults = {"bands": list(COLOURS), "statistics": {}}
        plain = {name for name, value in defaults.items() if getattr(self, name) == value}
        return self.model_dump(mode="json", exclude=plain)

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert the metadata of version 0.1, with another name of a field.

        Raises:
            ValueError: the labels are from tables, whose column of splits version 2 did not read.
        """
        if any(note.startswith("labels from ") and ", column" in note for note in values.get("notes", ())):
            raise ValueError("the tables are to be read again")
        return rename_keys(values, {"white": "scale_max"})


def invalidate_store(folder: Path) -> None:
    """Mark a damaged store, so that it is rebuilt when it is next opened."""
    (folder / _META).unlink(missing_ok=True)


def read_statistics(folder: Path, key: str) -> BandStatistics | None:
    """Return the stored statistics of some tiles of a store; None if there are none.

    Args:
        folder: of the store.
        key: hash of the tiles.
    """
    try:
        return _read_metadata(folder).statistics.get(key)
    except (OrbituneError, ValueError):
        return None


def write_statistics(folder: Path, key: str, *, statistics: BandStatistics) -> None:
    """Store the statistics of some tiles in meta.json, unless it is read-only."""
    with suppress(OrbituneError, ValueError):
        meta = _read_metadata(folder)
        kept = {**meta.statistics, key: statistics}
        meta.model_copy(update={"statistics": kept}).write(folder / _META)


def _read_metadata(folder: Path) -> StoredMetadata:
    """Return the content of meta.json."""
    return StoredMetadata.from_json(read_checksummed_json(folder / _META, MAX_META))


def open_store(fingerprint: str, build: Callable[[Path], StoreMetadata]) -> dict[str, Any]:
    """Open a store, and build it if it is absent or damaged.

    Args:
        fingerprint: name of the store, hexadecimal.
        build: writes tiles.npy and labels.npy into a folder, and returns what else is known of them.

    Returns:
        Attributes of `orbitune.data.tileset.TileSet`, by name.

    Raises:
        DataError: the cache cannot be written or is not safe to use; or what `build` raises.
    """
    from filelock import FileLock

    try:
        folder = cache_folder("tiles") / fingerprint
    except OrbituneError as error:
        raise DataError(str(error)) from None
    stored = _read(folder)
    if stored is None:
        try:
            # A second process waits here, and then finds the store of the first.
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
        raise DataError(f"The decoded tiles in {cache_dir()} cannot be read back: check the disk.")
    return stored


def find_store(fingerprint: str) -> dict[str, Any] | None:
    """Return the content of a store, see `open_store`; None if it is absent or damaged."""
    try:
        return _read(cache_folder("tiles") / fingerprint)
    except OrbituneError:
        return None


def _build(folder: Path, build: Callable[[Path], StoreMetadata]) -> None:
    """Build a store in a temporary folder, and move it to its place."""
    with scratch(folder.parent, folder.name) as temporary:
        new = temporary / folder.name
        new.mkdir()
        _write_metadata(new, build(new), name=folder.name)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one
        new.replace(folder)


def _write_metadata(folder: Path, metadata: StoreMetadata, *, name: str) -> None:
    """Write meta.json, with the checksum of each tile and hashes of the other files."""
    tiles = np.load(folder / "tiles.npy", mmap_mode="r")
    size = tiles[0].nbytes
    with (folder / "tiles.npy").open("rb") as file:
        file.seek(tiles.offset)
        sums = [crc for _ in range(len(tiles)) for crc in checksums(file.read(size), size)]
    hashes = FileHashes.compute(folder, name, offset=tiles.offset)
    StoredMetadata(**metadata.model_dump(), checksums=sums, hashes=hashes).write(folder / _META)


def _read(folder: Path) -> dict[str, Any] | None:
    """Return the content of a store; None if it is absent or damaged."""
    try:
        meta = _read_metadata(folder)
        if meta.hashes != FileHashes.compute(folder, folder.name, offset=meta.hashes.offset):
            return None  # before numpy parses damaged headers
        tiles = np.load(folder / "tiles.npy", mmap_mode="r")
        sums = np.array(meta.checksums, np.uint32)
        rows = ChecksummedRows(folder / "tiles.npy", tiles.offset, tiles[0].nbytes, sums)
        labels = np.load(folder / "labels.npy")
        if not (len(tiles) == len(labels) == len(meta.names) and rows.whole):
            return None
    except (OrbituneError, OSError, ValueError, LookupError, TypeError, EOFError):
        return None
    return {
        "tiles": tiles,
        "labels": labels,
        "names": tuple(meta.names),
        "classes": tuple(meta.classes),
        "own_splits": {name: np.array(rows, np.int64) for name, rows in meta.own_splits.items()},
        "notes": tuple(meta.notes),
        "skipped": tuple(meta.skipped),
        "scale_max": meta.scale_max,
        "bands": tuple(meta.bands),
        "rows": rows,
    }
