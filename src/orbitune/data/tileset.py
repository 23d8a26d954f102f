"""TileSet: all tiles of a data set, decoded once and memory-mapped ever after.

A store lies in the cache under a fingerprint of the files' content and the decoding, see
`orbitune.data.tile_store`; a second start only hashes the files.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from orbitune.data.checksummed_rows import ChecksummedRows, DamagedRowError
from orbitune.data.tile_store import invalidate_store, open_store
from orbitune.errors import DataError, printable
from orbitune.files import cache_dir
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.decode import (
    DECODER_VERSION,
    BadImageError,
    Header,
    read_header,
    read_pixels,
    strict_decoding,
    to_uint8_tile,
)
from orbitune.sources.manifest import NOTHING_SELECTED, ColumnSelection, Manifest
from orbitune.sources.registry import Source, find_source

LONGEST_SIDE = 512  # pixels; more than any backbone here reads, and the store stays small
WHITE_SAMPLE = 256  # tiles from which the 16-bit scale is taken
WHITE_QUANTILE = 0.995
_IN_FLIGHT = 256  # tiles read ahead, so that memory does not grow with the data

T = TypeVar("T")


@dataclass(frozen=True)
class TileSet:
    """Decoded tiles with their labels.

    Attributes:
        tiles: uint8 (N, H, W, 3), memory-mapped, read only.
        labels: int64 (N,), indices into `classes`.
        names: file name of each tile, relative to the data.
        classes: class names.
        own_splits: the data set's own splits, {} if none; int64 indices by train, validation or test.
        fingerprint: hex, of content and decoding: the same for a copy at another place.
        source: where the tiles come from, in words.
        notes: what was done to them that a user must know.
        skipped: (file name, reason) of what was left out with on_bad_image="skip".
        white: the 16-bit value that became 255; None where no tile had more than 8 bits.
        origin: the source they were read from; None if they were drawn by a program.
        rows: the same tiles in their file, with checksums; None where they lie in memory.
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
    white: int | None = None
    origin: Source | None = None
    rows: ChecksummedRows | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return copies of some tiles, uint8 (len(indices), H, W, 3), after checking their checksums.

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
    data: str, on_bad_image: str = "stop", progress: bool = True, selection: ColumnSelection | None = None
) -> TileSet:
    """Load a data set; the first time its files are decoded into the cache.

    Args:
        data: hub id, folder, zip, list of tiles (.csv, .tsv or .jsonl), or synthetic[:COUNT].
        on_bad_image: "stop" at the first file that is no labelled tile, or "skip" such files and list them.
        progress: show a bar while decoding, if stderr is a terminal.
        selection: what is taken of a data set with several configurations or columns.

    Raises:
        DataError: the data is not there, a file is bad, or the cache cannot be written.
    """
    source: Source | None = None
    if is_synthetic(data):
        if selection and selection != NOTHING_SELECTED:
            raise DataError("Synthetic tiles have no configurations or columns to choose from.")
        count = _synthetic_count(data)
        key, words = _synthetic_key(count), "synthetic"

        def build(folder: Path) -> None:
            _draw(folder, count)
    else:
        source = found = find_source(data, selection)
        key, words = f"{source.digest()} {DECODER_VERSION} {on_bad_image}", source.description

        def build(folder: Path) -> None:
            _decode(folder, found, _BadFiles(stop=on_bad_image == "stop"), progress)

    fingerprint = hashlib.sha256(key.encode()).hexdigest()
    stored = open_store(fingerprint, build)
    words += f", {len(stored['tiles']):,} tiles"
    return TileSet(**stored, fingerprint=fingerprint, source=words, origin=source)


# --- files of a store --------------------------------------------------------------------------------------


def _write_meta(
    folder: Path,
    labels: np.ndarray,
    names: Sequence[str],
    classes: Sequence[str],
    own_splits: dict[str, list[int]],
    notes: Sequence[str],
    skipped: Sequence[tuple[str, str]],
    white: int | None = None,
) -> None:
    np.save(folder / "labels.npy", labels)
    meta: dict[str, Any] = {"names": names, "classes": classes, "own_splits": own_splits, "notes": notes}
    meta |= {"skipped": skipped, "white": white}
    (folder / "meta.json").write_text(json.dumps(meta))


# --- synthetic tiles --------------------------------------------------------------------------------------


def _synthetic_count(data: str) -> int:
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
    from orbitune.data.synthetic import VERSION

    return f"synthetic {VERSION} {count}"


def _draw(folder: Path, count: int) -> None:
    from orbitune.data.synthetic import CLASSES, generate

    tiles, labels = generate(count)
    np.save(folder / "tiles.npy", tiles)
    names = [f"{CLASSES[label]}_{index}" for index, label in enumerate(labels)]
    note = "synthetic tiles, drawn by a program: scores on them say nothing about satellite images"
    _write_meta(folder, labels, names, CLASSES, {}, [note], [])


# --- decoding ---------------------------------------------------------------------------------------------


class _BadFiles:
    """What to do with files that are no tiles: raise at the first, or gather them."""

    def __init__(self, stop: bool) -> None:
        self.stop = stop
        self.found: list[tuple[str, str]] = []

    def add(self, name: str, reason: str) -> None:
        if self.stop:
            raise DataError(
                f"{printable(name)} {reason}. Mend or remove it, or leave such files out with "
                "--on-bad-image skip."
            )
        self.found.append((name, reason))


def _decode(folder: Path, source: Source, bad: _BadFiles, progress: bool) -> None:
    """Decode all files of a source into tiles.npy, labels.npy and meta.json."""
    with ProgressDisplay(progress) as display, source.open(folder) as listing, strict_decoding():
        task = display.task("decoding tiles", 2 * len(listing.names))  # their headers, then their pixels
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            work = _Work(listing, bad, pool, task)
            for name, reason in listing.unlabelled:
                bad.add(name, reason)
            if len(listing.classes) == 1:
                raise DataError(
                    f"There is only one class, {listing.classes[0]}: a classifier needs two or more."
                )
            headers = dict(work.each(read_header, range(len(listing.names))))
            _expect_some(headers, bad)
            size, notes = _common_size(headers.values())
            deep = [index for index, header in headers.items() if header.high_bit_depth]
            white = _white(listing, deep)
            if deep:
                notes += (
                    f"scaled the 16-bit values 0 to {white} of {len(deep):,} tiles to 0 to 255, the brighter "
                    f"half percent clipped (measured on {min(len(deep), WHITE_SAMPLE)} tiles)",
                )
            decoded = work.each(lambda data: to_uint8_tile(read_pixels(data), size, white), headers)
            kept = _write_tiles(folder / "tiles.npy", decoded, (len(headers), size[1], size[0], 3))
    _expect_some(kept, bad)
    place = {index: position for position, index in enumerate(kept)}
    own = {n: [place[i] for i in rows.tolist() if i in place] for n, rows in listing.own_splits.items()}
    names = [listing.names[index] for index in kept]
    notes = (*listing.notes, *notes)
    _write_meta(
        folder, listing.labels[kept], names, listing.classes, own, notes, bad.found, white if deep else None
    )


@dataclass(frozen=True)
class _Work:
    """Runs a function over the files of a listing in threads, and sorts out the bad ones."""

    listing: Manifest
    bad: _BadFiles
    pool: ThreadPoolExecutor
    task: ProgressTask

    def each(self, function: Callable[[bytes], T], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
        """(index, result) in order, without the bad files; only so many are read ahead."""

        def attempt(run: Sequence[int]) -> list[T | BadImageError]:
            return [self._attempt(function, index) for index in run]

        todo = list(indices)
        for start in range(0, len(todo), _IN_FLIGHT):
            block = todo[start : start + _IN_FLIGHT]
            runs = [block[i : i + 16] for i in range(0, len(block), 16)]
            for run, results in zip(runs, self.pool.map(attempt, runs), strict=True):
                for index, result in zip(run, results, strict=True):
                    if isinstance(result, BadImageError):
                        self.bad.add(self.listing.names[index], str(result))
                    else:
                        yield index, result
                self.task.advance(len(run))

    def _attempt(self, function: Callable[[bytes], T], index: int) -> T | BadImageError:
        try:
            return function(self.listing.read(index))
        except BadImageError as error:
            return error


def _expect_some(kept: Sequence[int] | dict[int, Header], bad: _BadFiles) -> None:
    if kept:
        return
    if not bad.found:
        raise DataError("There are no tiles: expected a folder for each class, such as Forest/tile.jpg.")
    name, reason = bad.found[0]
    raise DataError(
        f"None of the {len(bad.found):,} files is a labelled tile; the first, {printable(name)}, {reason}."
    )


def _common_size(headers: Iterable[Header]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """The most common width and height, the longer side capped; and notes on what is resized."""
    counts = Counter((header.width, header.height) for header in headers)
    width, height = common = counts.most_common(1)[0][0]
    shrink = min(1.0, LONGEST_SIDE / max(common))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    others = [f"{w}x{h}" for (w, h), _ in counts.most_common() if (w, h) != size]
    if not others:
        return size, ()
    number, total = sum(counts.values()) - counts[size], sum(counts.values())
    sizes = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
    limit = f" (the longer side is kept to {LONGEST_SIDE})" if shrink < 1 else ""
    return size, (f"resized {number:,} of {total:,} tiles from {sizes} to {size[0]}x{size[1]} pixels{limit}",)


def _white(listing: Manifest, deep: Sequence[int]) -> int:
    """The value of the 16-bit tiles that becomes 255: a high quantile over an even sample of them."""
    counts = np.zeros(65536, np.int64)
    for position in np.unique(np.linspace(0, len(deep) - 1, WHITE_SAMPLE).astype(int)) if deep else ():
        try:
            pixels = read_pixels(listing.read(deep[position]))
        except BadImageError:
            continue  # the next pass meets it again and deals with it
        counts += np.bincount(pixels.ravel(), minlength=65536)
    return max(1, int(np.searchsorted(counts.cumsum(), WHITE_QUANTILE * counts.sum())))


def _write_tiles(path: Path, decoded: Iterable[tuple[int, np.ndarray]], shape: tuple[int, ...]) -> list[int]:
    """Write tiles one after the other as .npy and return their indices.

    Plain writes, as a full disk is an error to them and a crash (SIGBUS) to a memory map.
    """
    kept = []
    with path.open("wb") as file:
        _write_header(file, shape)
        for index, pixels in decoded:
            file.write(np.ascontiguousarray(pixels).data)
            kept.append(index)
        file.seek(0)
        _write_header(file, (len(kept), *shape[1:]))
    return kept


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """The header of a uint8 .npy file, which numpy pads so that it can be written again in place."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
