"""Whether the tiles of a source have one label or several, in its files and in what is stored of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from orbitune.errors import DataError
from orbitune.sources.band_folders import band_folder_files, open_band_folders
from orbitune.sources.labels.label_sets import is_divided
from orbitune.sources.registry import Source


def may_have_sets(source: Source, classes: Sequence[str]) -> bool:
    """Return whether tiles that were stored with one label each may have several.

    Earlier versions took text such as Forest|River as one class, and the first label of a JSON file alone.

    Args:
        source: of the tiles.
        classes: that are stored.
    """
    if source.format.open is open_band_folders:
        return any(name.lower().endswith(".json") for name in band_folder_files(source.path))
    return not source.selection.undivided and any(map(is_divided, classes))


def has_sets(source: Source, scratch: Path) -> bool:
    """Return whether its tiles have several labels or none; reads all labels.

    Args:
        source: the data set.
        scratch: folder for working copies.
    """
    with source.open(scratch) as manifest:
        return manifest.labels.ndim == 2


def leaves_out_group(source: Source, scratch: Path) -> bool:
    """Return whether the classes depend on the group column, which would be one of them; reads all labels.

    Args:
        source: the data set.
        scratch: folder for working copies.
    """
    selection = source.selection  # columns that are named are not guessed
    if selection.group_column is None or selection.label_column or not source.format.quick_labels:
        return False
    whole = replace(source, selection=replace(source.selection, group_column=None))
    with source.open(scratch) as manifest:
        classes = manifest.classes
    try:
        with whole.open(scratch) as manifest:
            return manifest.classes != classes
    except DataError:  # it is neither a class nor known
        return True
