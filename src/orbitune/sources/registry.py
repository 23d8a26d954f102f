"""Find data sets and recognise their format, on disk or on the hub.

The format is recognised from the files, without a flag, and opened as a `Manifest`: names, labels and a
function that reads each file. To add a format, add one entry to `SOURCE_FORMATS`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from orbitune.errors import DataError, OrbituneError, printable
from orbitune.hub import snapshot
from orbitune.integrity import file_hash
from orbitune.recipe_paths import SYNTHETIC
from orbitune.sources.band_files import is_band_folder, is_jpeg2000_name, is_raster_name
from orbitune.sources.band_folders import band_folder_files, has_band_folders, open_band_folders
from orbitune.sources.decode import BadImageError
from orbitune.sources.hub_ids import KNOWN_DATA, means_path, near_ids
from orbitune.sources.image_folder import (
    LISTS,
    list_files,
    only_zip,
    open_folder,
    open_zip,
    read_file,
    zip_files,
)
from orbitune.sources.labels.label_table import (
    METADATA,
    column_in_files,
    column_in_list,
    column_in_zip,
    has_metadata,
    is_metadata,
    listed_files,
    metadata_and_images,
    open_list,
    open_metadata_folder,
    open_metadata_zip,
    zip_has_metadata,
)
from orbitune.sources.manifest import (
    NOTHING_SELECTED,
    ColumnSelection,
    Manifest,
    ReadColumn,
    open_regular,
)
from orbitune.sources.multiband import has_many_bands, is_reordered
from orbitune.sources.parquet import column_in_parquet, open_parquet, parquet_files
from orbitune.suggestions import missing


class OpenSource(Protocol):
    """The function of a source format that opens a data set."""

    def __call__(
        self, path: Path, scratch: Path, /, *, selection: ColumnSelection
    ) -> AbstractContextManager[Manifest]:
        """Open a data set's manifest; its files may be read until the context ends.

        Args:
            path: the folder or file.
            scratch: folder for working copies, removed at the end.
            selection: the configuration and columns to read.

        Raises:
            DataError: the data set is damaged, or lacks what the selection names.
        """


@dataclass(frozen=True)
class SourceFormat:
    """One format of data sets, such as a folder of class folders.

    Attributes:
        title: its name in messages.
        matches: whether a path is in this format; the first match in `SOURCE_FORMATS` is taken.
        files: names of the files that together are the content, relative to `root`.
        open: reads what is there into a manifest.
        root: the folder or file that `files` are relative to; by default the path itself.
        selects: fields of `ColumnSelection` that apply to it.
        hub_files: patterns of the files to download when such a data set lies on the hub.
        column: reads a column of its tables; None for a format without tables.
        quick_labels: whether its labels are read without a copy of the images.
    """

    title: str
    matches: Callable[[Path], bool]
    files: Callable[[Path, ColumnSelection], Sequence[str]]
    open: OpenSource
    root: Callable[[Path], Path] = lambda path: path
    selects: tuple[str, ...] = ()
    hub_files: tuple[str, ...] = ()
    column: ReadColumn | None = None
    quick_labels: bool = True


@dataclass(frozen=True)
class Source:
    """A data set that was found.

    Attributes:
        format: its format.
        path: the folder or file.
        description: what it is, for people.
        selection: the configuration and columns that are read.
    """

    format: SourceFormat
    path: Path
    description: str
    selection: ColumnSelection = NOTHING_SELECTED

    @cached_property
    def _files(self) -> list[str]:
        """Names of the files, sorted, relative to the root."""
        return sorted(self.format.files(self.path, self.selection))

    def digest(self) -> str:
        """Return the SHA-256 (hex) of all files' names and contents.

        Copies of a data set at other places have the same digest, however their labels are read.
        """
        root = self.format.root(self.path)
        with ThreadPoolExecutor() as pool:
            digests = pool.map(lambda name: _hash_file(root / name, name), self._files)
            parts: list[object] = [self.format.title, *zip(self._files, digests, strict=True)]
        chosen = self.selection.chosen()
        if any(value is not None for value in chosen.values()):
            parts.append(chosen)
        text = json.dumps(parts)
        return hashlib.sha256(text.encode()).hexdigest()

    def has_many_bands(self) -> bool:
        """Return whether its first raster has over three bands, or is one of a tile; not in parquet."""
        rasters = [name for name in self._files if is_raster_name(name)]
        if rasters and is_band_folder((self.format.root(self.path) / rasters[0]).parent):
            return True
        return self._first_raster(has_many_bands)

    def is_reordered(self) -> bool:
        """Return whether its first raster has its colours in another order than red, green, blue."""
        return self._first_raster(is_reordered)

    def _first_raster(self, ask: Callable[[bytes], bool]) -> bool:
        """Return the answer about the content of its first raster that can be read; False for none."""
        if self.path.suffix.lower() == ".zip":
            with zip_files(self.path, wanted=is_raster_name) as (entries, read):
                return _first(ask, entries, read=read)
        root = self.format.root(self.path)
        return _first(ask, self._files, read=lambda name: read_file(root / name))

    def has_jpeg2000(self) -> bool:
        """Return whether a file is named as a JPEG 2000; parquet data sets are not searched."""
        if self.path.suffix.lower() == ".zip":
            with zip_files(self.path, wanted=is_jpeg2000_name) as (entries, _):
                return any(map(is_jpeg2000_name, entries))
        return any(map(is_jpeg2000_name, self._files))

    def open(self, scratch: Path) -> AbstractContextManager[Manifest]:
        """Open the manifest.

        Args:
            scratch: a folder for working copies, which are removed when the context ends.
        """
        return self.format.open(self.path, scratch, selection=self.selection)

    def column(self, name: str) -> list[tuple[str, Any]]:
        """Return the name of each tile with its value of a column of the data set's tables.

        Args:
            name: of the column.

        Raises:
            DataError: the format has no tables, there is no such column, or a table is damaged.
        """
        if self.format.column is None:
            raise DataError(
                f"A {self.format.title} has no columns: use --group-pattern, or add metadata.csv."
            )
        return self.format.column(self.path, name, selection=self.selection)


def _column_in_folder(path: Path, column: str, /, *, selection: ColumnSelection) -> list[tuple[str, Any]]:
    """Read a column of the metadata files in a folder, see `ReadColumn`."""
    names = list(list_files(path, is_metadata))
    return column_in_files(names, column, read=lambda name: read_file(path / name), selection=selection)


def _first(ask: Callable[[bytes], bool], names: Iterable[str], *, read: Callable[[str], bytes]) -> bool:
    """Return the answer about the first of these rasters that can be read; False for none."""
    for name in filter(is_raster_name, names):
        try:
            return ask(read(name))
        except BadImageError:
            continue
    return False


def find_source(
    data: str, selection: ColumnSelection | None = None, *, names: Sequence[str] = (SYNTHETIC,)
) -> Source:
    """Find a data set and recognise its format.

    Args:
        data: path of a folder, zip or list, or a hub id, which is downloaded or found in the hub's cache.
        selection: configuration and columns to read, where the data set offers several.
        names: built-in data that the caller reads too, to suggest for a mistyped name.

    Raises:
        DataError: there is no such data set, its format is not known, or it has nothing to select.
    """
    selection = selection or NOTHING_SELECTED
    path, prefix = _expand_user(data), ""
    if "/" in data and not means_path(data, "dataset"):
        path, prefix = _download(data), f"hub data set {data}: "
    if not os.path.exists(path):  # noqa: PTH110  # pathlib's raises for a name that is too long
        advice = "check the path (a hub id looks like owner/name)"
        raise DataError(missing("folder or zip", data, advice=advice, names=[*names, *KNOWN_DATA]))
    path = only_zip(path) or path
    for source_format in SOURCE_FORMATS:
        if source_format.matches(path):
            _check_selection(source_format, selection)
            return Source(source_format, path, prefix + source_format.title, selection)
    raise DataError(
        f"{printable(data)} is neither a folder nor a zip, nor a list (.csv, .tsv, .jsonl) of tiles: pass "
        "one of these as --data."
    )


def _expand_user(data: str) -> Path:
    """Return the path with `~` expanded."""
    try:
        return Path(data).expanduser()
    except RuntimeError:
        raise DataError(
            f"There is no folder {printable(data)}, as no user has this name: check the path."
        ) from None


def _check_selection(source_format: SourceFormat, selection: ColumnSelection) -> None:
    """Raise a DataError for a selection that does not apply to the format."""
    for name, value in selection.chosen().items():
        if value is not None and name not in source_format.selects:
            option = "data-config" if name == "config" else name.replace("_", "-")
            what = "configurations" if name == "config" else "columns"
            raise DataError(f"A {source_format.title} has no {what} to choose from: leave out --{option}.")


def _is_list(path: Path) -> bool:
    """Return whether a path is a table of tiles."""
    return path.suffix.lower() in LISTS and path.is_file()


def _download(name: str) -> Path:
    """Return the folder of a hub data set, downloaded where the hub's cache lacks it."""
    patterns = dict.fromkeys(pattern for each in SOURCE_FORMATS for pattern in each.hub_files)
    try:
        return snapshot(name, "dataset", patterns=list(patterns))
    except OrbituneError as error:
        raise DataError(f"{missing('folder', name, names=near_ids(name, KNOWN_DATA))} {error}") from None


def _hash_file(path: Path, name: str) -> str:
    """Return a file's SHA-256 (hex), or why it cannot be read."""
    if name.endswith("/"):  # an empty folder
        return ""
    try:
        return file_hash(path, opened=open_regular)
    except BadImageError as error:
        return str(error)
    except OSError as error:
        return f"unreadable: {error.strerror}"


_COLUMNS = ("label_column", "image_column")
_IMAGES = ("*.[jJ][pP2]*", "*.[pP][nN][gG]", "*.[tT][iI][fF]*", "*.webp", "*.bmp", "*.gif")
_TABLES = tuple(f"*{name}" for name in METADATA)

SOURCE_FORMATS = (
    SourceFormat(
        "parquet data set",
        lambda path: path.is_dir() and bool(parquet_files(path)),
        lambda path, _: parquet_files(path),
        open_parquet,
        selects=("config", *_COLUMNS),
        hub_files=("*.parquet", "README.md", "splits/*.txt"),
        column=column_in_parquet,
        quick_labels=False,
    ),
    SourceFormat(
        "folder of tiles with one file per band",
        has_band_folders,
        lambda path, _: band_folder_files(path),
        open_band_folders,
        selects=_COLUMNS,
        hub_files=("*.[tT][iI][fF]*", "*.json", *_TABLES),
        column=_column_in_folder,
    ),
    SourceFormat(
        "folder of images with metadata",
        has_metadata,
        lambda path, _: metadata_and_images(path),
        open_metadata_folder,
        selects=_COLUMNS,
        hub_files=(*_IMAGES, *_TABLES),
        column=_column_in_folder,
    ),
    SourceFormat(
        "folder of class folders",
        Path.is_dir,
        lambda path, _: list(list_files(path)),
        open_folder,
        hub_files=(*_IMAGES, "splits/*.txt"),
    ),
    SourceFormat(
        "zip of images with metadata",
        zip_has_metadata,
        lambda path, _: [""],
        open_metadata_zip,
        selects=_COLUMNS,
        hub_files=("*.zip",),
        column=column_in_zip,
    ),
    SourceFormat(
        "zip of class folders",
        lambda path: path.suffix.lower() == ".zip",
        lambda path, _: [""],
        open_zip,
        hub_files=("*.zip",),
    ),
    SourceFormat(
        "list of tiles",
        _is_list,
        listed_files,
        open_list,
        root=lambda path: path.parent,
        selects=_COLUMNS,
        column=column_in_list,
    ),
)
