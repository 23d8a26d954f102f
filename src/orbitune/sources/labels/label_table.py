"""Labels from tables: metadata files beside images, or a table that lists tiles.

A row has one label, a list of them, or a 0 or 1 for each class. Metadata files follow the hub's convention
(https://huggingface.co/docs/hub/datasets-image): a column file_name holds paths relative to the table's
folder, and the table labels all images in that folder and below, whatever their folders are called.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from orbitune.errors import DataError, printable
from orbitune.sources.band_files import is_band_folder, is_raster_name, read_band_folder
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import list_files, read_file, should_be_image, zip_files
from orbitune.sources.labels.label_columns import read_labels
from orbitune.sources.labels.label_sets import encode
from orbitune.sources.labels.own_splits import own_splits, split_column
from orbitune.sources.manifest import ColumnSelection, Manifest
from orbitune.sources.tables import SourceTable, parse_table

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

_Read = Callable[[str], bytes]  # the content of a file by its name
_FILE_COLUMNS = ("file_name", "filename", "file", "image", "path")


@dataclass(frozen=True)
class _LabelRows:
    """Rows of a table.

    Attributes:
        table: its name.
        rows: (name, label or labels).
        splits: values of the column of splits by name; empty without such a column.
        column, class_columns, origin: as of `ColumnLabels`.
    """

    table: str
    rows: list[tuple[str, Any]]
    splits: dict[str, Any]
    column: str
    class_columns: list[str]
    origin: str


def is_metadata(name: str) -> bool:
    """Return whether a file is a metadata file of the hub's convention, by its name."""
    return name.lower() in METADATA


def has_metadata(folder: Path) -> bool:
    """Return whether a folder holds a metadata file, at any depth."""
    return folder.is_dir() and any(True for _ in _metadata_in(folder))


def zip_has_metadata(path: Path) -> bool:
    """Return whether a path is a zip archive with a metadata file."""
    if path.suffix.lower() != ".zip" or not path.is_file():
        return False
    with zip_files(path, wanted=is_metadata) as (entries, _):
        return any(not name.endswith("/") for name in entries)


def _metadata_in(folder: Path) -> Iterator[str]:
    """Return the names of metadata files in a folder and below."""
    return (name for name in list_files(folder, is_metadata) if not name.endswith("/"))


def metadata_and_images(folder: Path) -> list[str]:
    """Return the relative names of metadata files and images in a folder."""
    return [name for name in list_files(folder, _is_part) if not name.endswith("/")]


def _is_part(name: str) -> bool:
    """Return whether a file is a metadata file or should be an image, by its name."""
    return is_metadata(name) or should_be_image(name)


@contextmanager
def open_metadata_folder(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of a folder of images with metadata files.

    Raises:
        DataError: a metadata file is damaged, or has no column of labels.
    """
    yield _from_metadata(metadata_and_images(path), lambda name: read_file(path / name), selection=selection)


@contextmanager
def open_metadata_zip(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of a zip of images with metadata files.

    Raises:
        DataError: as `open_metadata_folder` and `orbitune.sources.image_folder.zip_files`.
    """
    with zip_files(path, wanted=_is_part) as (entries, read):
        yield _from_metadata([name for name in entries if not name.endswith("/")], read, selection=selection)


def listed_files(table: Path, selection: ColumnSelection) -> list[str]:
    """Return the relative names of a table and of the files that it lists.

    Args:
        table: CSV, TSV or JSON lines file.
        selection: columns to read.

    Returns:
        Relative file names.
    """
    names = (name for name, _ in _labelled_names(_read(table), "", selection=selection).rows)
    return [table.name, *(file for name in names for file in _files_of(table.parent, name))]


def _files_of(folder: Path, name: str) -> list[str]:
    """Return the files of a tile: its own name, or the bands in its folder; none where it is missing."""
    if not is_band_folder(folder / name):
        return [name] if _is_tile(folder / name) else []
    files = sorted((folder / name).iterdir())
    return [f"{name}/{entry.name}" for entry in files if is_raster_name(entry.name)]


@contextmanager
def open_list(path: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of the tiles that a table lists; `scratch` is not used.

    Raises:
        DataError: as `open_metadata_folder`.
    """
    table = _labelled_names(_read(path), "", selection=selection)
    there = {name for name, _ in table.rows if _is_tile(path.parent / name)}
    yield _build_manifest(
        [table],
        sorted(there),
        read=lambda name: _read_tile(path.parent / name),
        selection=selection,
    )


def _is_tile(path: Path) -> bool:
    """Return whether a path is a file, or a folder with one file per band."""
    try:
        return path.is_file() or is_band_folder(path)
    except OSError:  # the name is too long for a file
        return False


def _read_tile(path: Path) -> bytes:
    """Return the content of a file, or the stacked bands of a folder."""
    return read_band_folder(path) if path.is_dir() else read_file(path)


def _from_metadata(names: Sequence[str], read: _Read, *, selection: ColumnSelection) -> Manifest:
    """Return the manifest of images with labels in metadata files."""
    tables = [name for name in names if is_metadata(PurePosixPath(name).name)]
    images = [name for name in names if not is_metadata(PurePosixPath(name).name)]
    return metadata_manifest(tables, images, read=read, read_table=read, selection=selection)


def metadata_manifest(
    tables: Sequence[str],
    tiles: Sequence[str],
    *,
    read: _Read,
    read_table: _Read,
    selection: ColumnSelection,
) -> Manifest:
    """Return the manifest of tiles with labels in metadata files.

    Args:
        tables: names of the metadata files.
        tiles: names of the tiles.
        read: returns the bytes of a tile.
        read_table: returns the bytes of a metadata file.
        selection: columns to read.

    Raises:
        DataError: as `open_metadata_folder`.
    """
    parsed = []
    for name in tables:
        table = _parse(name, read_table)
        parsed.append(_labelled_names(table, name[: name.rfind("/") + 1], selection=selection))
    return _build_manifest(parsed, tiles, read=read, selection=selection)


def _build_manifest(
    tables: Sequence[_LabelRows], images: Sequence[str], *, read: _Read, selection: ColumnSelection
) -> Manifest:
    """Return the manifest of images and the rows of the tables that label them."""
    there, values = set(images), {}
    unlabelled = []
    for table in tables:
        absent = (
            f"is listed in {table.table}, but is not there, relative to the table's folder, with its ending"
        )
        unlabelled += [(name, absent) for name, _ in table.rows if name not in there]
        for name, value in table.rows:
            if name in values:
                raise DataError(f"{printable(name)} is listed twice, in {table.table}: list it once.")
            values[name] = value
    listed = [name for name in images if name in values]
    names_of_tables = ", ".join(table.table for table in tables)
    column = f"The column {' or '.join(dict.fromkeys(each.column for each in tables))} of {names_of_tables}"
    encoded = encode([values[name] for name in listed], column, undivided=selection.undivided)
    stated = dict.fromkeys(name for table in tables for name in table.class_columns)
    unused = [printable(name) for name in stated if name not in encoded.classes]
    left_out = (f"no tile has the label {', '.join(unused)}: left out",) if unused else ()
    unlabelled += [(name, f"is not listed in {names_of_tables}") for name in images if name not in values]
    unlabelled += [
        (name, f"has no label in {names_of_tables}")
        for name, labelled in zip(listed, encoded.labelled, strict=True)
        if not labelled
    ]
    kept = [name for name, labelled in zip(listed, encoded.labelled, strict=True) if labelled]
    stated_splits = {name: split for table in tables for name, split in table.splits.items()}
    splits, split_notes = own_splits(kept, stated_splits)
    return Manifest(
        names=kept,
        labels=encoded.labels[encoded.labelled],
        classes=encoded.classes,
        own_splits=splits,
        unlabelled=tuple(unlabelled),
        notes=(*_origins(tables), *encoded.notes, *left_out, *split_notes),
        read=lambda index: read(kept[index]),
    )


def _origins(tables: Sequence[_LabelRows]) -> list[str]:
    """Return notes on the tables and columns that the labels are from."""
    tables_of: dict[str, list[str]] = {}
    for table in tables:
        tables_of.setdefault(table.origin, []).append(table.table)
    return [f"labels from {', '.join(names)}, {origin}" for origin, names in tables_of.items()]


def column_in_files(
    files: Sequence[str], column: str, *, read: _Read, selection: ColumnSelection
) -> list[tuple[str, Any]]:
    """Return the name of each tile with its value of a column of the metadata files.

    Args:
        files: names of the files of a data set; those that are no metadata files are left out.
        column: name of the column, other than that of the labels.
        read: returns the bytes of a file.
        selection: as for `metadata_manifest`.

    Raises:
        DataError: a metadata file is damaged, or lacks the column.
    """
    tables = [name for name in files if is_metadata(PurePosixPath(name).name)]
    return [
        pair
        for name in tables
        for pair in _column_rows(
            _parse(name, read), column, folder=name[: name.rfind("/") + 1], selection=selection
        )
    ]


def column_in_zip(path: Path, column: str, *, selection: ColumnSelection) -> list[tuple[str, Any]]:
    """Return the name of each tile of a zip with its value of a column, as `column_in_files`."""
    with zip_files(path, wanted=is_metadata) as (entries, read):
        return column_in_files(list(entries), column, read=read, selection=selection)


def column_in_list(path: Path, column: str, *, selection: ColumnSelection) -> list[tuple[str, Any]]:
    """Return the name of each tile of a list with its value of a column, as `column_in_files`."""
    return _column_rows(_read(path), column, folder="", selection=selection)


def _column_rows(
    table: SourceTable, column: str, *, folder: str, selection: ColumnSelection
) -> list[tuple[str, Any]]:
    """Return (name, value) of each row, with `folder` before the name."""
    found = table.find_column(column, [], content="groups", option="--group-column")
    values = table.columns[found]
    files = table.columns[_file_column(table, selection)]
    return [
        (folder + _normalise_path(name, table.name), value) for name, value in zip(files, values, strict=True)
    ]


def _file_column(table: SourceTable, selection: ColumnSelection) -> str:
    """Return the column of file names."""
    beside = is_metadata(PurePosixPath(table.name).name)
    usual = list(_FILE_COLUMNS)
    if "file_name" in table.columns:
        usual = ["file_name"]
    elif beside and (others := [name for name in table.columns if name.endswith("_file_name")]):
        usual = others
    return table.find_column(selection.image_column, usual, content="file names", option="--image-column")


def _labelled_names(table: SourceTable, folder: str, *, selection: ColumnSelection) -> _LabelRows:
    """Return the rows of a table, with `folder` before the names."""
    beside = is_metadata(PurePosixPath(table.name).name)
    files = _file_column(table, selection)
    option = "--label-column"
    if beside:
        option += f", or rename {table.name} to have the folders as classes"
    split = split_column(table, besides=selection.label_column)
    no_classes = [name for name in (files, split, selection.group_column) if name]
    labels = read_labels(table, no_classes, chosen=selection.label_column, option=option)
    names = [folder + _normalise_path(name, table.name) for name in table.columns[files]]
    rows = list(zip(names, labels.values, strict=True))
    splits = dict(zip(names, table.columns[split], strict=True)) if split else {}
    return _LabelRows(table.name, rows, splits, labels.column, labels.class_columns, labels.origin)


def _normalise_path(name: Any, table: str) -> str:
    """Return a path with slashes; raise a DataError if it leaves its folder."""
    text = name.strip().replace("\\", "/") if isinstance(name, str) else ""
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if not parts or "\0" in text:
        raise DataError(f"{table} has a row without a file name: give each row one.")
    if text.startswith("/") or ".." in parts or ":" in parts[0]:
        raise DataError(
            f"{table} lists {printable(text)[:200]}: names with .. and absolute ones are not read; write "
            "them relative to the folder of the table."
        )
    return "/".join(parts)


def _read(path: Path) -> SourceTable:
    """Read and parse a table."""
    return _parse(path.name, lambda _: read_file(path))


def _parse(name: str, read: _Read) -> SourceTable:
    """Read and parse a table of a data set."""
    try:
        return parse_table(name, read(name))
    except BadImageError as error:
        raise DataError(f"{name} {error}.") from None
