"""Parquet data sets in the hub's layout, read by the `datasets` library from a copy that is then removed.

Image and label are found by type, as data sets name their columns freely.
"""

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.decode import BadImageError
from orbitune.data.listing import SPLIT_NAMES, Listing, hidden
from orbitune.errors import DataError, first_line

if TYPE_CHECKING:
    from datasets import Dataset

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parquet_files(folder: Path) -> list[str]:
    """The files of a parquet data set, relative to its folder; none if it holds no parquet file."""
    paths = (path.relative_to(folder) for path in sorted(folder.rglob("*.parquet")))
    files = [path.as_posix() for path in paths if not any(map(hidden, path.parts))]
    # The data set's card may hold the class names and the list of splits.
    return [*files, "README.md"] if files and (folder / "README.md").is_file() else files


@contextmanager
def open_parquet(folder: Path, scratch: Path) -> Iterator[Listing]:
    """The listing of a parquet data set, with a working copy of all rows in `scratch` until the block ends.

    Raises:
        DataError: damaged files, or no column of images or labels.
        OSError: no room for the working copy.
    """
    from datasets import Image, concatenate_datasets

    with tempfile.TemporaryDirectory(dir=scratch) as cache:
        splits, notes = _known_splits(_load_splits(folder, cache))
        whole = concatenate_datasets(list(splits.values()))
        column = _image_column(whole.features)
        labels, classes = _labels(whole)
        images = whole.cast_column(column, Image(decode=False)).data.column(column)
        names = _row_names(whole, {name: len(part) for name, part in splits.items()})
        origin = np.repeat(
            [SPLIT_NAMES.get(name.lower(), "") for name in splits], list(map(len, splits.values()))
        )
        labelled = np.flatnonzero(labels >= 0)

        def read(index: int) -> bytes:
            data = images[int(labelled[index])]["bytes"].as_py()
            if data is None:
                raise BadImageError("holds no image, only the path of one")
            return data

        yield Listing(
            names=[names[i] for i in labelled],
            labels=labels[labelled],
            classes=classes,
            own_splits={
                n: np.flatnonzero(origin[labelled] == n) for n in dict.fromkeys(origin.tolist()) if n
            },
            unlabelled=tuple((names[i], "has no label") for i in np.flatnonzero(labels < 0)),
            notes=notes,
            read=read,
        )


def _load_splits(folder: Path, cache: str) -> "dict[str, Dataset]":
    from datasets import load_dataset
    from pyarrow import ArrowException
    from pyarrow.parquet import read_metadata

    links = Path(cache) / "links"  # to these files alone: `datasets` reads what kind of file is most frequent
    for name in parquet_files(folder):
        try:
            if name.endswith(".parquet"):
                read_metadata(folder / name)
        except (ArrowException, OSError):
            raise DataError(f"{name} is damaged or no parquet file: fetch it again.") from None
        (links / name).parent.mkdir(parents=True, exist_ok=True)
        (links / name).symlink_to((folder / name).resolve())
    try:
        with _quiet_datasets():
            splits = load_dataset(str(links), cache_dir=cache)
    except Exception as error:  # of a dozen types; a full disk comes as the cause of one
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _DISK_FULL:
            raise error.__cause__ from None
        reason = first_line(error).replace(f"{links}/", "")
        raise DataError(f"The parquet data set cannot be loaded ({reason}).") from None
    return {name: part for name, part in splits.items() if len(part)}


@contextmanager
def _quiet_datasets() -> Iterator[None]:
    """Silence remarks on missing card fields, and bars that would run across ours."""
    import datasets
    import huggingface_hub

    loggers = (datasets.logging, huggingface_hub.logging)
    levels = [logger.get_verbosity() for logger in loggers]
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.set_verbosity_error()
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _known_splits(splits: "dict[str, Dataset]") -> "tuple[dict[str, Dataset], tuple[str, ...]]":
    """Leave out splits that are none of the three, unless there are no others; and say so."""
    if not splits:
        raise DataError("The parquet data set holds no rows.")
    known = {name: part for name, part in splits.items() if name.lower() in SPLIT_NAMES}
    others = [f"{name} ({len(part):,} tiles)" for name, part in splits.items() if name not in known]
    if not known or not others:
        return splits, ()
    return known, (f"left out what is neither train, validation nor test: {', '.join(others)}",)


def _image_column(features: dict[str, Any]) -> str:
    """The one column of images: by type, as data sets name it image, img, tile, ..."""
    from datasets import Image, Value

    found = [
        name
        for name, kind in features.items()
        if isinstance(kind, Image) or kind == Value("binary") or (isinstance(kind, dict) and "bytes" in kind)
    ]
    if len(found) != 1:
        what = "several image columns" if found else "no image column"
        raise DataError(f"The parquet data set has {what} among {', '.join(features)}: it needs one.")
    return found[0]


def _labels(whole: "Dataset") -> tuple[np.ndarray, tuple[str, ...]]:
    """int64 (N,) labels, -1 where there is none, and the class names."""
    from datasets import ClassLabel

    found = [name for name, kind in whole.features.items() if isinstance(kind, ClassLabel)]
    named = [name for name in ("label", "labels") if name in whole.features]
    column = next(iter(found if len(found) == 1 else named), None)
    if column is None:
        raise DataError(
            f"The parquet data set has no label column among {', '.join(whole.features)}: "
            "it needs one of type ClassLabel, or one named label."
        )
    values = whole.data.column(column).to_pylist()
    if column in found:
        return np.array([-1 if v is None else v for v in values], np.int64), tuple(
            whole.features[column].names
        )
    kinds = sorted({value for value in values if isinstance(value, str | int) and value != -1})
    index = {value: i for i, value in enumerate(kinds)}
    return np.array([index.get(value, -1) for value in values], np.int64), tuple(map(str, kinds))


def _row_names(whole: "Dataset", sizes: dict[str, int]) -> list[str]:
    """The file name of each row, else a made one such as train/000123."""
    made = [f"{split}/{row:06d}" for split, size in sizes.items() for row in range(size)]
    column = next((name for name in ("filename", "file_name") if name in whole.features), None)
    given = whole.data.column(column).to_pylist() if column else made
    return [name or other for name, other in zip(given, made, strict=True)]
