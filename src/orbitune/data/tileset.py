"""Tile sets: the decoded and memory-mapped tiles of a data set.

The decoded tiles lie in the cache under a fingerprint of the files' content and of the decoder, see
`orbitune.data.tile_store`. A second start only hashes the files.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.cache import cache_dir
from orbitune.data.bad_files import BadFiles
from orbitune.data.band_statistics import BandStatistics, compute_statistics, to_grey_levels
from orbitune.data.checksummed_rows import ChecksummedRows, DamagedRowError
from orbitune.data.labels.membership import membership
from orbitune.data.labels.reading import has_sets, leaves_out_group, may_have_sets
from orbitune.data.store_builder import build_synthetic, decode_source
from orbitune.data.tile_store import (
    StoreMetadata,
    find_store,
    invalidate_store,
    open_store,
    read_statistics,
    write_statistics,
)
from orbitune.data.transform import TileDtype
from orbitune.errors import DataError, counted
from orbitune.files import scratch
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.band_names import ALL, COLOURS, find_bands, is_rgb, wavelength
from orbitune.sources.decode import DECODER_VERSION
from orbitune.sources.manifest import ColumnSelection
from orbitune.sources.registry import Source, find_source

_BATCH = 256  # tiles read at a time


@dataclass(frozen=True)
class TileSet:
    """N decoded tiles with their labels.

    Attributes:
        tiles: uint8 or uint16 (N, H, W, C), memory-mapped, read-only.
        labels: int64 (N,), indices into `classes`; with several labels a tile, uint8 (N, classes) of 0 and 1.
        names: file name of each tile, relative to the data set.
        classes: class names.
        own_splits: indices of the splits that the data set defines, int64 by "train", "validation" or "test";
            empty if it defines none.
        fingerprint: hexadecimal, of the content and the decoder: the same for copies at other places.
        source: what the data set is, for people.
        notes: remarks for the user on how the tiles were read.
        skipped: (file name, reason) of files left out with on_bad_image="skip".
        scale_max: 16-bit value that was scaled to 255; None if values are those of the files.
        bands: names of the C bands; numbers for those without a name.
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
    bands: tuple[str, ...] = COLOURS
    origin: Source | None = None
    rows: ChecksummedRows | None = None

    @property
    def multi_label(self) -> bool:
        """Return whether a tile may have several labels, or none."""
        return self.labels.ndim == 2

    @property
    def membership(self) -> np.ndarray:
        """Return whether each tile has each class, bool (N, classes)."""
        return membership(self.labels, len(self.classes))

    @property
    def wavelengths(self) -> tuple[float | None, ...]:
        """Return the central wavelength of each band in nm; None where unknown."""
        return tuple(map(wavelength, self.bands))

    @property
    def dtype(self) -> TileDtype:
        """Return the dtype of the tiles."""
        return "uint8" if self.tiles.dtype == np.uint8 else "uint16"

    @property
    def is_rgb(self) -> bool:
        """Return whether these are 8-bit RGB tiles, as backbones read them."""
        return is_rgb(self.bands, self.dtype)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read tiles and verify their checksums.

        Args:
            indices: int (n,), of the tiles.

        Returns:
            A copy of them, uint8 or uint16 (n, H, W, C).

        Raises:
            DataError: the store was damaged since it was opened; it is rebuilt when it is next opened.
        """
        if not isinstance(self.tiles, np.memmap) or self.rows is None:
            return self.tiles[indices]
        out = np.empty((len(indices), *self.tiles.shape[1:]), self.tiles.dtype)
        try:
            self.rows.read(indices.tolist(), out.reshape(len(out), -1).view(np.uint8))
        except DamagedRowError as error:
            invalidate_store(self.rows.file.parent)
            raise DataError(
                f"The decoded tiles in {cache_dir()} were damaged, such as {self.names[error.row]}: run the "
                "same command again, which decodes them again."
            ) from None
        return out

    def read_grey_levels(self, indices: np.ndarray) -> np.ndarray:
        """Read tiles in 8 bits: RGB as it is, other bands scaled to their brightness.

        Args:
            indices: int (n,), of the tiles.

        Returns:
            uint8 (n, H, W, C).

        Raises:
            DataError: as `read`.
        """
        pixels = self.read(indices)
        return pixels if self.is_rgb else to_grey_levels(pixels, self.statistics(np.arange(len(self.labels))))

    def statistics(self, indices: np.ndarray) -> BandStatistics:
        """Return the statistics of each band over some tiles, cached in the store.

        Args:
            indices: int (n,), of the tiles, such as the training split; n >= 1.

        Raises:
            DataError: the store was damaged since it was opened.
        """
        ordered = np.sort(indices)
        key = hashlib.sha256(ordered.astype("<i8").tobytes()).hexdigest()
        folder = None if self.rows is None else self.rows.file.parent
        if folder is not None and (kept := read_statistics(folder, key)):
            return kept
        batches = (self.read(ordered[start : start + _BATCH]) for start in range(0, len(ordered), _BATCH))
        found = compute_statistics(batches)
        if folder is not None:
            write_statistics(folder, key, statistics=found)
        return found


def load_tiles(
    data: str,
    on_bad_image: str = "stop",
    *,
    bands: Sequence[str] | None = None,
    progress: bool = True,
    selection: ColumnSelection | None = None,
) -> TileSet:
    """Load a data set, and decode its files into the cache the first time.

    Args:
        data: hub id, folder, zip, list of tiles (.csv, .tsv or .jsonl), or synthetic[:COUNT].
        on_bad_image: "stop" at the first file that is not a labelled tile, or "skip" and list such files.
        bands: names or numbers of the bands to read, from 1 on, or `all` alone. None for all bands of
            GeoTIFFs with more than three, and else for red, green and blue in 8 bits.
        progress: show progress while decoding.
        selection: configuration and columns to read, where the data set has several.

    Raises:
        DataError: there is no such data set, a file is bad or lacks a band, or the cache cannot be written.
    """
    source: Source | None = None
    if is_synthetic(data):
        if selection and any(selection.chosen().values()):
            raise DataError("Synthetic tiles have no configurations or columns to choose from.")
        if bands is not None and find_bands(bands, COLOURS, whose="synthetic") != (1, 2, 3):
            raise DataError("Synthetic tiles are red, green and blue: leave out --bands.")
        count = _synthetic_count(data)
        key, description = _synthetic_key(count), "synthetic"

        def build(folder: Path) -> StoreMetadata:
            return build_synthetic(folder, count)

        stored = open_store(fingerprint := _hash(key), build)
    else:
        source = found = find_source(data, selection)
        key, description = f"{source.digest()} {DECODER_VERSION} {on_bad_image}", source.description
        if source.has_jpeg2000():
            key += " jpeg2000"  # stores of earlier versions skipped such files
        if bands is None and source.has_many_bands():
            bands = (ALL,)
        if bands is None and source.is_reordered():
            key += " colours by name"  # stores of earlier versions have them in the order of the file
        if bands is not None:
            key += f" bands {','.join(bands)}"
        with scratch() as temporary:
            if leaves_out_group(source, temporary):
                key += f" without {source.selection.group_column}"

        def build(folder: Path) -> StoreMetadata:
            bad = BadFiles(stop=on_bad_image == "stop")
            return decode_source(folder, found, bad=bad, bands=bands, progress=progress)

        fingerprint, stored = _open(found, key, build)
    description += f", {counted(len(stored['tiles']), 'tile')}"
    return TileSet(**stored, fingerprint=fingerprint, source=description, origin=source)


class _OneLabelError(Exception):
    """The tiles have one label each."""


def _open(source: Source, key: str, build: Callable[[Path], StoreMetadata]) -> tuple[str, dict[str, Any]]:
    """Return the fingerprint and the store of a source.

    Tiles of several labels have a fingerprint of their own. The other is also that of earlier versions, which
    read one label of each tile.
    """

    def build_sets(folder: Path) -> StoreMetadata:
        if not has_sets(source, folder):
            raise _OneLabelError
        return build(folder)

    one = _hash(key)
    several = _hash(f"{key} several labels{' undivided' if source.selection.undivided else ''}")
    stored = find_store(one)
    if find_store(several) or stored is None or may_have_sets(source, stored["classes"]):
        try:
            return several, open_store(several, build_sets)
        except _OneLabelError:
            pass
    return one, stored or open_store(one, build)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def find_tiles(fingerprint: str) -> TileSet | None:
    """Return the decoded tiles of a fingerprint from the cache; None if they are not there."""
    stored = find_store(fingerprint)
    return TileSet(**stored, fingerprint=fingerprint, source="tiles in the cache") if stored else None


def check_data(data: str, selection: ColumnSelection | None = None) -> None:
    """Check that there is a data set, without reading its tiles; one of the hub is downloaded.

    Args:
        data: as for `load_tiles`.
        selection: as for `load_tiles`.

    Raises:
        DataError: there is none.
    """
    if is_synthetic(data):
        _synthetic_count(data)
    else:
        find_source(data, selection)


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
