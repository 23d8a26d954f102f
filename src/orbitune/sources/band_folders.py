"""Folders of tiles with one file per band, as in BigEarthNet.

Labels come from a metadata table beside the tiles, from class folders, or from the JSON file of each tile.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

from orbitune.errors import DataError, printable
from orbitune.sources.band_files import files_by_band, is_raster_name, read_band_folder
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import class_folder_manifest, list_files, read_file
from orbitune.sources.labels.label_sets import encode, encode_sets
from orbitune.sources.labels.label_table import is_metadata, metadata_manifest
from orbitune.sources.labels.own_splits import own_splits
from orbitune.sources.manifest import ColumnSelection, Manifest

_JSON_KEYS = ("label", "labels")


def has_band_folders(path: Path) -> bool:
    """Return whether the first rasters below a folder are the bands of one tile."""
    if not path.is_dir():
        return False
    files = (name for name in list_files(path, is_raster_name) if not name.endswith("/"))
    folder, names = next(groupby(files, lambda name: str(PurePosixPath(name).parent)), ("", iter(())))
    return folder not in ("", ".") and files_by_band(names) is not None


def band_folder_files(path: Path) -> list[str]:
    """Return the relative names of all bands, tables and JSON files in a folder."""
    return [name for name in list_files(path, _is_part) if not name.endswith("/")]


@contextmanager
def open_band_folders(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of tiles with one file per band; `scratch` is not used.

    Raises:
        DataError: there are no labels, or a table or JSON file cannot be read.
    """
    files = band_folder_files(path)
    folders = {PurePosixPath(name).parent.as_posix() for name in files if is_raster_name(name)}
    tiles = sorted(folders - {"."})

    def read(name: str) -> bytes:
        return read_band_folder(path / name)

    def read_table(name: str) -> bytes:
        return read_file(path / name)

    if any(is_metadata(PurePosixPath(name).name) for name in files):
        tables = [name for name in files if is_metadata(PurePosixPath(name).name)]
        yield metadata_manifest(tables, tiles, read=read, read_table=read_table, selection=selection)
        return
    manifest = class_folder_manifest(tiles, read)
    if manifest.names and not selection.label_column:
        yield manifest
    else:
        yield _json_manifest(path, tiles, selection=selection)


def _is_part(name: str) -> bool:
    """Return whether a file is a band, a table of labels or a JSON file, by its name."""
    return is_raster_name(name) or is_metadata(name) or name.lower().endswith(".json")


def _json_manifest(path: Path, tiles: list[str], *, selection: ColumnSelection) -> Manifest:
    """Return the manifest of tiles that each have a JSON file with their labels."""
    keys = (selection.label_column,) if selection.label_column else _JSON_KEYS
    found = [_json_labels(path / tile, keys) for tile in tiles]
    column = f"The entry {' or '.join(map(str, keys))} of the JSON files"
    if any(isinstance(each, list) for each in found):
        sets = [each if each is None or isinstance(each, list) else [each] for each in found]
        encoded = encode_sets(sets, column)
    else:
        encoded = encode(found, column, undivided=selection.undivided)
    kept = [tile for tile, labelled in zip(tiles, encoded.labelled, strict=True) if labelled]
    if not kept:
        raise DataError(
            f"None of the {len(tiles):,} tiles has a label: make a folder for each class, write a "
            f"metadata.csv, or name the entry of their JSON files with --label-column."
        )
    return Manifest(
        names=kept,
        labels=encoded.labels[encoded.labelled],
        classes=encoded.classes,
        own_splits=own_splits(kept, {})[0],
        unlabelled=tuple(
            (tile, f"has no {' or '.join(map(str, keys))} in a JSON file")
            for tile, labelled in zip(tiles, encoded.labelled, strict=True)
            if not labelled
        ),
        notes=("labels from the JSON file of each tile", *encoded.notes),
        read=lambda index: read_band_folder(path / kept[index]),
    )


def _json_labels(tile: Path, keys: tuple[str | None, ...]) -> Any:
    """Return the label or the list of labels in the JSON file of a tile; None without such a file."""
    for file in sorted(tile.glob("*.json")):
        try:
            content = json.loads(read_file(file))
        except (BadImageError, ValueError, RecursionError):
            raise DataError(f"{printable(file.name)} is not a JSON file that can be read.") from None
        for key in keys:
            if isinstance(content, dict) and key in content:
                return content[key]
    return None
