"""Building of tile stores from sources and from synthetic tiles."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np

from orbitune.data.bad_files import BadFiles
from orbitune.data.band_tiles import TileForm, band_form, common_bands, why_other_bands
from orbitune.data.tile_store import StoreMetadata
from orbitune.errors import DataError, counted, printable
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.sources.band_names import COLOURS
from orbitune.sources.decode import (
    BadImageError,
    Header,
    read_header,
    read_pixels,
    strict_decoding,
    to_uint8_tile,
)
from orbitune.sources.manifest import Manifest
from orbitune.sources.multiband import read_band_header
from orbitune.sources.registry import Source

LONGEST_SIDE = 512  # pixels; more than the supported backbones read, and keeps the store small
SCALE_SAMPLE = 256  # tiles that the scaling of 16-bit values is estimated from
SCALE_QUANTILE = 0.995
READ_AHEAD = 256  # files, so that memory does not grow with the data set

T = TypeVar("T")


def build_synthetic(folder: Path, count: int) -> StoreMetadata:
    """Draw synthetic tiles into the files of a store.

    Args:
        folder: tiles.npy and labels.npy are written here.
        count: number of tiles.
    """
    from orbitune.data.synthetic import CLASSES, generate

    tiles, labels = generate(count)
    np.save(folder / "tiles.npy", tiles)
    np.save(folder / "labels.npy", labels)
    return StoreMetadata(
        names=[f"{CLASSES[label]}_{index}" for index, label in enumerate(labels)],
        classes=list(CLASSES),
        notes=["synthetic tiles, drawn by a program: scores on them say nothing about satellite images"],
    )


def decode_source(
    folder: Path,
    source: Source,
    *,
    bad: BadFiles,
    bands: Sequence[str] | None = None,
    progress: bool,
) -> StoreMetadata:
    """Decode all files of a source into the files of a store.

    Args:
        folder: tiles.npy and labels.npy are written here.
        source: the data set.
        bad: receives the files that are not labelled tiles.
        bands: names or numbers of the bands to read as they are; None for 8-bit red, green and blue.
        progress: show progress while decoding.

    Raises:
        DataError: there are no tiles, only one class, or a bad file while `bad.stop` is set.
    """
    with ProgressDisplay(progress) as display, source.open(folder) as manifest, strict_decoding():
        task = display.task("decoding tiles", 2 * len(manifest.names))  # their headers, then their pixels
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            decoder = _Decoder(manifest, bad, pool, task)
            headers = _read_headers(decoder, manifest, bad=bad, bands=bands)
            size, notes = _common_size(headers.values())
            form = (
                _rgb_form(manifest, headers, size=size)
                if bands is None
                else band_form(headers.values(), size, asked=bands)
            )
            shape = (len(headers), size[1], size[0], len(form.bands))
            decoded = decoder.map(form.decode, headers)
            kept = _write_tiles(folder / "tiles.npy", decoded, shape=shape, dtype=form.dtype)
    _require_tiles(kept, bad)
    np.save(folder / "labels.npy", manifest.labels[kept])
    row = {index: row for row, index in enumerate(kept)}
    return StoreMetadata(
        names=[manifest.names[index] for index in kept],
        classes=list(manifest.classes),
        own_splits={
            split: [row[index] for index in indices.tolist() if index in row]
            for split, indices in manifest.own_splits.items()
        },
        notes=[*manifest.notes, *notes, *form.notes],
        skipped=bad.found,
        scale_max=form.scale_max,
        bands=list(form.bands),
    )


def _read_headers(
    decoder: "_Decoder", manifest: Manifest, *, bad: BadFiles, bands: Sequence[str] | None
) -> dict[int, Header]:
    """Return the headers of the labelled tiles with common bands, by index."""
    bad.add_all(manifest.unlabelled)
    if len(manifest.classes) == 1:
        raise DataError(f"There is only one class, {manifest.classes[0]}: a classifier needs two or more.")
    read = read_header if bands is None else read_band_header
    headers: dict[int, Header] = dict(decoder.map(read, range(len(manifest.names))))
    _require_tiles(headers, bad)
    return headers if bands is None else _with_common_bands(headers, manifest, bad=bad)


def _with_common_bands(headers: dict[int, Header], manifest: Manifest, *, bad: BadFiles) -> dict[int, Header]:
    """Return the files with the bands that most have; the others are bad files."""
    bands = common_bands(headers.values())
    kept = {}
    for index, header in headers.items():
        if reason := why_other_bands(header, bands):
            bad.add(manifest.names[index], reason)
        else:
            kept[index] = header
    return kept


def _rgb_form(manifest: Manifest, headers: Mapping[int, Header], *, size: tuple[int, int]) -> TileForm:
    """Return how files are decoded into 8-bit tiles of red, green and blue."""
    deep = [index for index, header in headers.items() if header.high_bit_depth]
    scale_max = _estimate_scale_max(manifest, deep)
    return TileForm(
        bands=COLOURS,
        dtype="uint8",
        decode=lambda data: to_uint8_tile(read_pixels(data), size, scale_max=scale_max),
        notes=(_scaling_note(scale_max, len(deep)),) if deep else (),
        scale_max=scale_max if deep else None,
    )


def _scaling_note(scale_max: int, count: int) -> str:
    """Return the note on the scaling of 16-bit tiles."""
    return (
        f"scaled the 16-bit values 0 to {scale_max} of {counted(count, 'tile')} to 0 to 255, the brighter "
        f"half percent clipped (measured on {counted(min(count, SCALE_SAMPLE), 'tile')})"
    )


@dataclass(frozen=True)
class _Decoder:
    """Apply functions to the files of a manifest in threads."""

    manifest: Manifest
    bad: BadFiles
    pool: ThreadPoolExecutor
    task: ProgressTask

    def map(self, function: Callable[[bytes], T], indices: Iterable[int]) -> Iterator[tuple[int, T]]:
        """Yield (index, result) in order for all files that are not bad."""

        def attempt(run: Sequence[int]) -> list[T | BadImageError]:
            return [self._attempt(function, index) for index in run]

        todo = list(indices)
        for start in range(0, len(todo), READ_AHEAD):
            block = todo[start : start + READ_AHEAD]
            runs = [block[i : i + 16] for i in range(0, len(block), 16)]
            for run, results in zip(runs, self.pool.map(attempt, runs), strict=True):
                for index, result in zip(run, results, strict=True):
                    if isinstance(result, BadImageError):
                        self.bad.add(self.manifest.names[index], str(result))
                    else:
                        yield index, result
                self.task.advance(len(run))

    def _attempt(self, function: Callable[[bytes], T], index: int) -> T | BadImageError:
        """Return the result for one file, or why it is bad."""
        try:
            return function(self.manifest.read(index))
        except BadImageError as error:
            return error


def _require_tiles(kept: Sequence[int] | dict[int, Header], bad: BadFiles) -> None:
    """Raise a DataError if no tile is left."""
    if kept:
        return
    if not bad.found:
        raise DataError("There are no tiles: expected a folder for each class, such as Forest/tile.jpg.")
    name, reason = bad.found[0]
    raise DataError(
        f"None of the {len(bad.found):,} files is a labelled tile; the first, {printable(name)}, {reason}."
    )


def _common_size(headers: Iterable[Header]) -> tuple[tuple[int, int], tuple[str, ...]]:
    """Return the most common size, capped, and notes on what is resized."""
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
    return size, (
        f"resized {number:,} of {counted(total, 'tile')} from {sizes} to {size[0]}x{size[1]} pixels{limit}",
    )


def _estimate_scale_max(manifest: Manifest, deep: Sequence[int]) -> int:
    """Return the 16-bit value that becomes 255, a quantile of sampled tiles."""
    counts = np.zeros(65536, np.int64)
    for position in np.unique(np.linspace(0, len(deep) - 1, SCALE_SAMPLE).astype(int)) if deep else ():
        try:
            pixels = read_pixels(manifest.read(deep[position]))
        except BadImageError:
            continue  # the next pass handles it
        counts += np.bincount(pixels.ravel(), minlength=65536)
    return max(1, int(np.searchsorted(counts.cumsum(), SCALE_QUANTILE * counts.sum())))


def _write_tiles(
    path: Path, decoded: Iterable[tuple[int, np.ndarray]], *, shape: tuple[int, ...], dtype: str
) -> list[int]:
    """Write tiles one after the other as .npy, and return their indices.

    With plain writes, a full disk is an error; with a memory map it would be a crash (SIGBUS).
    """
    kept = []
    with path.open("wb") as file:
        _write_header(file, shape, dtype=dtype)
        for index, pixels in decoded:
            file.write(np.ascontiguousarray(pixels).data)
            kept.append(index)
        file.seek(0)
        _write_header(file, (len(kept), *shape[1:]), dtype=dtype)
    return kept


def _write_header(file: BinaryIO, shape: tuple[int, ...], *, dtype: str) -> None:
    """Write a .npy header, which numpy pads so that it can be rewritten in place."""
    stated = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, stated)
