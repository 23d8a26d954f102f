"""Parquet data sets in the hub's layout, read by the `datasets` library.

The columns of images and labels are found by type, as data sets name them freely. The library works on a copy
in the cache, which is removed afterwards.
"""

import errno
import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.errors import DataError, counted, first_line, printable
from orbitune.extras import require
from orbitune.sources.decode import BadImageError
from orbitune.sources.labels.label_sets import EncodedLabels, encode, from_codes
from orbitune.sources.labels.label_table import is_metadata
from orbitune.sources.manifest import SPLIT_NAMES, ColumnSelection, Manifest, is_hidden

if TYPE_CHECKING:
    from datasets import Dataset

MAX_ROWS = 10_000_000  # a file of a few kilobytes can claim any number
_LABEL_COLUMNS = ("label", "labels", "target", "targets", "class", "category")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parquet_files(folder: Path) -> list[str]:
    """Return the files of a Parquet data set, relative to its folder."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*.parquet")))
    files = [
        path.as_posix() for path in paths if not (any(map(is_hidden, path.parts)) or is_metadata(path.name))
    ]
    # The dataset card may hold class names and the list of splits.
    return [*files, "README.md"] if files and (folder / "README.md").is_file() else files


@contextmanager
def open_parquet(folder: Path, scratch: Path, *, selection: ColumnSelection) -> Iterator[Manifest]:
    """Yield the manifest of a Parquet data set, copied to `scratch` meanwhile.

    Raises:
        DataError: a file is damaged, there is no column of images or labels, or there are several
            configurations or columns and none is selected.
        OSError: there is no space for the working copy.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        splits, notes = _known_splits(_load_splits(folder, cache, config=selection.config))
        try:
            manifest = _build_manifest(splits, notes, selection=selection)
        except DataError:
            raise
        except Exception as error:  # of pyarrow or `datasets`, for damaged rows
            raise DataError(
                f"The rows of the parquet data set cannot be read ({first_line(error)}): download it again."
            ) from None
        yield manifest


def _build_manifest(
    splits: "dict[str, Dataset]", notes: tuple[str, ...], *, selection: ColumnSelection
) -> Manifest:
    """Return the manifest of the rows of all splits."""
    from datasets import Image, concatenate_datasets

    if len({tuple(sorted(part.features)) for part in splits.values()}) > 1:
        raise DataError("The splits of the parquet data set have different columns: give them the same.")
    whole = concatenate_datasets(list(splits.values()))
    column = _image_column(whole.features, selection.image_column)
    labels = _label_column(whole.features, selection.label_column)
    encoded = _labels(whole, labels, undivided=selection.undivided)
    images = whole.cast_column(column, Image(decode=False)).data.column(column)
    names = _row_names(whole, {name: len(part) for name, part in splits.items()})
    origin = np.repeat(
        [SPLIT_NAMES.get(name.lower(), "") for name in splits], list(map(len, splits.values()))
    )
    labelled = np.flatnonzero(encoded.labelled)

    def read(index: int) -> bytes:
        try:
            data = images[int(labelled[index])]["bytes"].as_py()
        except Exception as error:  # of pyarrow, for a damaged row
            raise BadImageError(f"cannot be read ({first_line(error)})") from None
        if data is None:
            raise BadImageError("holds no image, only the path of one")
        return data

    return Manifest(
        names=[names[i] for i in labelled],
        labels=encoded.labels[labelled],
        classes=encoded.classes,
        own_splits={n: np.flatnonzero(origin[labelled] == n) for n in dict.fromkeys(origin.tolist()) if n},
        unlabelled=tuple((names[i], "has no label") for i in np.flatnonzero(~encoded.labelled)),
        notes=(*notes, *encoded.notes),
        read=read,
    )


def column_in_parquet(path: Path, column: str, *, selection: ColumnSelection) -> list[tuple[str, Any]]:
    """Return the name of each row with its value of a column.

    Args:
        path: folder of the Parquet files.
        column: name of the column.
        selection: the configuration to read.

    Raises:
        DataError: as `open_parquet`, or there is no such column.
    """
    with tempfile.TemporaryDirectory() as cache:
        splits, _ = _known_splits(_load_splits(path, cache, config=selection.config))
        rows: list[tuple[str, Any]] = []
        for name, part in splits.items():
            chosen = _only([], part.features, chosen=column, what="group")
            values = part.data.column(chosen).to_pylist()
            rows += zip(_row_names(part, {name: len(part)}), values, strict=True)
        return rows


def _load_splits(folder: Path, cache: str, *, config: str | None) -> "dict[str, Dataset]":
    """Load the splits of one configuration that have rows."""
    require("train", "datasets", purpose="parquet data sets")
    from datasets import load_dataset
    from pyarrow.parquet import read_metadata

    links = Path(cache) / "links"  # to the Parquet files alone: `datasets` reads the most frequent file type
    files = parquet_files(folder)
    if "README.md" not in files or not _names_configurations(folder / "README.md"):
        files, config = _configuration_folder(files, config), None
    rows = 0
    for name in files:
        try:
            if name.endswith(".parquet"):
                rows += read_metadata(folder / name).num_rows
        except Exception:  # of pyarrow, several types
            raise DataError(f"{name} is damaged or not a Parquet file: download it again.") from None
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        (links / name).symlink_to((folder / name).resolve())
    if rows > MAX_ROWS:
        raise DataError(f"The parquet data set claims {rows:,} rows: pass at most {MAX_ROWS:,}.")
    try:
        with _quiet_datasets():
            splits = load_dataset(str(links), _configuration(str(links), config), cache_dir=cache)
    except DataError:
        raise
    except Exception as error:  # of a dozen types; a full disk is the cause of one
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _DISK_FULL:
            raise error.__cause__ from None
        reason = first_line(error).replace(f"{links}/", "")
        raise DataError(f"The parquet data set cannot be loaded ({reason}).") from None
    return {name: part for name, part in splits.items() if len(part)}


def _names_configurations(card: Path) -> bool:
    """Return whether a dataset card lists configurations."""
    from huggingface_hub import metadata_load
    from yaml import YAMLError

    try:
        return bool((metadata_load(card) or {}).get("configs"))
    except (OSError, ValueError, YAMLError):
        return True  # `datasets` reads the card too, and reports the fault


def _configuration_folder(files: Sequence[str], config: str | None) -> list[str]:
    """Return the files of a configuration with a folder, as in rgb/train.parquet.

    Raises:
        DataError: there are several and none was chosen, or the chosen one is missing.
    """
    parquet = [name for name in files if name.endswith(".parquet")]
    tops = sorted({name.split("/")[0] for name in parquet if "/" in name})
    flat = any("/" not in name for name in parquet)
    several = len(tops) > 1 and not flat and not any(top.lower() in SPLIT_NAMES for top in tops)
    if several:
        _expect_configuration(config, tops)
        return [name for name in parquet if name.startswith(f"{config}/")]
    if config not in (None, "default", *(tops if not flat else [])):
        _expect_configuration(config, ["default"])
    return list(files)


def _configuration(links: str, config: str | None) -> str | None:
    """Return the configuration to load: the chosen, the default or the only one."""
    from datasets import get_dataset_config_names, get_dataset_default_config_name

    names = get_dataset_config_names(links)
    if config is None and len(names) > 1:
        config = get_dataset_default_config_name(links)
    if len(names) > 1 or config is not None:
        _expect_configuration(config, names)
    return config


def _expect_configuration(config: str | None, names: Sequence[str]) -> None:
    """Raise a DataError if a configuration is not among the names."""
    if config not in names:
        wrong = f"no configuration {config}" if config else "several configurations"
        raise DataError(
            f"The parquet data set has {wrong}: choose one with --data-config, of "
            f"{', '.join(map(printable, names))}."
        )


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Silence warnings on missing card fields, and progress bars besides ours."""
    import datasets
    import huggingface_hub

    loggers = (datasets.logging, huggingface_hub.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.set_verbosity(logging.CRITICAL)  # errors reach the user through our own message
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _known_splits(splits: "dict[str, Dataset]") -> "tuple[dict[str, Dataset], tuple[str, ...]]":
    """Return the splits that Orbitune knows, and a note on others left out."""
    if not splits:
        raise DataError("The parquet data set holds no rows.")
    known = {name: part for name, part in splits.items() if name.lower() in SPLIT_NAMES}
    others = [f"{name} ({counted(len(part), 'tile')})" for name, part in splits.items() if name not in known]
    if not known or not others:
        return splits, ()
    return known, (f"left out what is neither train, validation nor test: {', '.join(others)}",)


def _image_column(features: dict[str, Any], chosen: str | None) -> str:
    """Return the column of images by type, as names vary: image, img, tile, ..."""
    from datasets import Image, Value

    binary = (Value("binary"), Value("large_binary"))
    found = [
        name
        for name, kind in features.items()
        if isinstance(kind, Image) or kind in binary or (isinstance(kind, dict) and "bytes" in kind)
    ]
    return _only(found, features, chosen=chosen, what="image")


def _label_column(features: dict[str, Any], chosen: str | None) -> str:
    """Return the label column, by its name or the type ClassLabel."""
    typed = [name for name, kind in features.items() if _class_names(kind) is not None]
    usual = [name for name in _LABEL_COLUMNS if name in features]
    if "label" in features and (not typed or "label" in typed):
        found = ["label"]
    else:
        found = list(dict.fromkeys([*typed, *usual]))
    return _only(found, features, chosen=chosen, what="label")


def _only(found: Sequence[str], features: dict[str, Any], *, chosen: str | None, what: str) -> str:
    """Return the chosen column, or the only one found.

    Raises:
        DataError: there is none, or several.
    """
    possible = found if what == "image" else list(features)
    if chosen in possible or (chosen is None and len(found) == 1):
        return chosen or found[0]
    if chosen:
        problem = f"no {what} column {chosen}"
    else:
        problem = f"several {what} columns ({', '.join(found)})" if found else f"no {what} column"
    raise DataError(
        f"The parquet data set has {problem} among {', '.join(map(printable, features))}: "
        f"choose one with --{what}-column."
    )


def _class_names(kind: Any) -> list[str] | None:
    """Return the class names of a feature, a ClassLabel or a list of them; None for others."""
    from datasets import ClassLabel

    element = getattr(kind, "feature", kind)
    return list(element.names) if isinstance(element, ClassLabel) else None


def _labels(whole: "Dataset", column: str, *, undivided: bool) -> EncodedLabels:
    """Return the labels of a column, several a tile if it holds lists."""
    values = whole.data.column(column).to_pylist()
    kind, words = whole.features[column], f"The column {column}"
    names = _class_names(kind)
    if names is None:
        return encode(values, words, undivided=undivided)
    sets = values if hasattr(kind, "feature") else [None if value is None else [value] for value in values]
    codes = np.array([-1 if code is None else code for each in sets for code in each or ()], np.int64)
    if len(codes) and codes.max() >= len(names):
        raise DataError(
            f"{words} holds {codes.max()}, and has names for {len(names)} classes only: name them all."
        )
    if sets is not values:
        labelled = np.array([value is not None for value in values], bool)
        labels = np.full(len(values), -1, np.int64)
        labels[labelled] = codes
        return EncodedLabels(labels, tuple(names), labels >= 0)
    if len(codes) and codes.min() < 0:
        raise DataError(f"{words} has a list with an empty label: leave it out.")
    return from_codes(values, codes, classes=tuple(names))


def _row_names(whole: "Dataset", sizes: dict[str, int]) -> list[str]:
    """Return the file name of each row, or a generated one such as train/000123."""
    made = [f"{split}/{row:06d}" for split, size in sizes.items() for row in range(size)]
    column = next((name for name in ("filename", "file_name") if name in whole.features), None)
    given = whole.data.column(column).to_pylist() if column else made
    return [str(name or other) for name, other in zip(given, made, strict=True)]
