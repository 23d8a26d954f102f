"""Tile sets: the decoded and memory-mapped tiles of a data set.

The decoded tiles lie in the cache under a fingerprint of the files' content and of the decoder, see
`orbitune.data.tile_store`. A second start only hashes the files.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.cache import cache_dir
from orbitune.data.checksummed_rows import ChecksummedRows, DamagedRowError
from orbitune.data.store_builder import BadFiles, build_synthetic, decode_source
from orbitune.data.tile_store import StoreMetadata, invalidate_store, open_store
from orbitune.errors import DataError
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.decode import DECODER_VERSION
from orbitune.sources.manifest import NOTHING_SELECTED, ColumnSelection
from orbitune.sources.registry import Source, find_source


@dataclass(frozen=True)
class TileSet:
    """N decoded tiles with their labels.

    Attributes:
        tiles: uint8 (N, H, W, 3), memory-mapped, read-only.
        labels: int64 (N,), indices into `classes`.
        names: file name of each tile, relative to the data set.
        classes: class names.
        own_splits: indices of the splits that the data set defines, int64 by "train", "validation" or "test";
            empty if it defines none.
        fingerprint: hexadecimal, of the content and the decoder: the same for copies at other places.
        source: what the data set is, for people.
        notes: remarks for the user on how the tiles were read.
        skipped: (file name, reason) of files left out with on_bad_image="skip".
        scale_max: 16-bit value that was scaled to 255; None if no tile had more than 8 bits.
        origin: the source they were read from; None for synthetic tiles.
        rows: the same tiles in their file, with checksums; None for tiles in memory.
    """

    tiles: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    classes: tuple[str, ...]
    own_splits: dict[str, np.ndarray]
    fingerprint: str
    source: str
    notes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    scale_max: int | None = None
    origin: Source | None = None
    rows: ChecksummedRows | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read tiles and verify their checksums.

        Args:
            indices: int (n,), of the tiles.

        Returns:
            A copy of them, uint8 (n, H, W, 3).

        Raises:
            DataError: the store was damaged since it was opened; it is rebuilt when it is next opened.
        """
        if not isinstance(self.tiles, np.memmap) or self.rows is None:
            return self.tiles[indices]
        out = np.empty((len(indices), *self.tiles.shape[1:]), np.uint8)
        try:
            self.rows.read(indices.tolist(), out.reshape(len(out), self.rows.row_bytes))
        except DamagedRowError as error:
            invalidate_store(self.rows.file.parent)
            raise DataError(
                f"The decoded tiles in {cache_dir()} were damaged, such as {self.names[error.row]}: run the "
                "same command again, which decodes them again."
            ) from None
        return out


def load_tiles(
    data: str,
    on_bad_image: str = "stop",
    *,
    progress: bool = True,
    selection: ColumnSelection | None = None,
) -> TileSet:
    """Load a data set, and decode its files into the cache the first time.

    Args:
        data: hub id, folder, zip, list of tiles (.csv, .tsv or .jsonl), or synthetic[:COUNT].
        on_bad_image: "stop" at the first file that is not a labelled tile, or "skip" and list such files.
        progress: show progress while decoding.
        selection: configuration and columns to read, where the data set has several.

    Raises:
        DataError: there is no such data set, a file is bad, or the cache cannot be written.
    """
    source: Source | None = None
    if is_synthetic(data):
        if selection and selection != NOTHING_SELECTED:
            raise DataError("Synthetic tiles have no configurations or columns to choose from.")
        count = _synthetic_count(data)
        key, description = _synthetic_key(count), "synthetic"

        def build(folder: Path) -> StoreMetadata:
            return build_synthetic(folder, count)
    else:
        source = found = find_source(data, selection)
        key, description = f"{source.digest()} {DECODER_VERSION} {on_bad_image}", source.description

        def build(folder: Path) -> StoreMetadata:
            return decode_source(folder, found, bad=BadFiles(stop=on_bad_image == "stop"), progress=progress)

    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    stored = open_store(fingerprint, build)
    description += f", {len(stored['tiles']):,} tiles"
    return TileSet(**stored, fingerprint=fingerprint, source=description, origin=source)


def _synthetic_count(data: str) -> int:
    """Return the number of tiles in synthetic[:COUNT]."""
    from orbitune.data.synthetic import DEFAULT_COUNT

    _, colon, count = data.partition(":")
    if not colon:
        return DEFAULT_COUNT
    if not count.isdecimal() or int(count) == 0:
        raise DataError(
            f"{data} is not synthetic:COUNT with COUNT a number of tiles, such as synthetic:2000."
        )
    return int(count)


def _synthetic_key(count: int) -> str:
    """Return what the fingerprint of synthetic tiles is made from."""
    from orbitune.data.synthetic import VERSION

    return f"synthetic {VERSION} {count}"
