"""Whether the tiles of a source have one label or several, in its files and in what is stored of them."""

from collections.abc import Sequence
from pathlib import Path

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
