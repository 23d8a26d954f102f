"""Inputs of a prediction: files, folders, patterns, arrays, images, iterables.

Inputs are read batch by batch, so a folder of any size needs the memory of one batch.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orbitune.errors import DataError, printable
from orbitune.sources.decode import BadImageError, pixels_of_image, read_pixels, to_uint8_tile
from orbitune.sources.image_folder import is_side_file, list_files, read_file
from orbitune.sources.manifest import is_hidden

Name = str | int


@dataclass(frozen=True)
class ImageInput:
    """One image that is not read yet.

    Attributes:
        name: the path as it was given or found; the position, from 0, of an image without a path.
        read: returns its pixels, (H, W, 3), uint8 or uint16; raises BadImageError.
    """

    name: Name
    read: Callable[[], np.ndarray]


def expand(inputs: Any) -> Iterator[ImageInput]:
    """Yield every single image of the inputs, in order.

    Folders are searched with their subfolders, sorted by name.

    Args:
        inputs: a path (of a file or folder), a pattern such as `tiles/*.png`, a uint8 array (H, W, 3) or
            (N, H, W, 3), an image of Pillow, an `ImageInput`, or an iterable of these.
    """
    for position, (name, read) in enumerate(_each(inputs)):
        yield ImageInput(position if name is None else name, read)


def check_input_paths(inputs: Iterable[str]) -> None:
    """Check that every path or pattern names something to predict.

    Args:
        inputs: paths and glob patterns.

    Raises:
        DataError: the first that names nothing, or folders in which there is no image.
    """
    for name in inputs:
        if not _exists(name) and not _matches(name):
            raise DataError(f"There is no file or folder {printable(name)}, and no file matches it.")
        if next(_files(name), None) is None:
            raise DataError(
                f"There is nothing to predict in {printable(name)}: it contains no image, nor do its "
                "subfolders. Lists, notes and hidden files are ignored; name a file to have it read."
            )


def to_tile(image: ImageInput, size: tuple[int, int], *, scale_max: int | None) -> np.ndarray:
    """Decode an input and resize it as the training tiles were.

    Args:
        image: what to decode.
        size: width and height in pixels.
        scale_max: 16-bit value that is scaled to 255, see `Bundle.scale_max`.

    Returns:
        uint8 (size[1], size[0], 3).

    Raises:
        BadImageError: it is no usable image.
    """
    pixels = image.read()
    if pixels.dtype == np.uint16 and scale_max is None:
        raise BadImageError("has 16-bit values, but the model was trained on 8-bit tiles")
    return to_uint8_tile(pixels, size, scale_max=scale_max or 255)


def _each(inputs: Any) -> Iterator[tuple[str | None, Callable[[], np.ndarray]]]:
    """Yield path (or None) and reader of each image."""
    if isinstance(inputs, ImageInput):
        yield str(inputs.name), inputs.read
    elif isinstance(inputs, str | Path):
        for path in _files(str(inputs)):
            yield path, lambda path=path: read_pixels(read_file(Path(path)))  # type: ignore[misc]
    elif isinstance(inputs, Image.Image):
        yield None, lambda: pixels_of_image(inputs)
    elif isinstance(inputs, np.ndarray) and inputs.ndim != 4:
        yield None, lambda: _pixels(inputs)
    elif isinstance(inputs, Iterable):
        for each in inputs:
            yield from _each(each)
    else:
        yield None, lambda: _refuse(inputs)


def _files(name: str) -> Iterator[str]:
    """Yield the files that a path or a pattern means.

    If there are none, yield the name itself.
    """
    if _exists(name) and Path(name).is_dir():
        # An empty folder below has a name as well, with a closing slash.
        yield from (str(Path(name) / leaf) for leaf in list_files(Path(name)) if not leaf.endswith("/"))
    elif _exists(name) or not (found := _matches(name)):
        yield name
    else:
        for path in found:
            yield from _files(path)


def _exists(name: str) -> bool:
    """Return whether a path exists."""
    return os.path.exists(name)  # noqa: PTH110  # pathlib's raises for a name that is too long


def _matches(pattern: str) -> list[str]:
    """Return the matches of a pattern, without files that a folder's listing ignores."""
    if not glob.has_magic(pattern):
        return []
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    return [path for path in found if not is_hidden(Path(path).name) and not is_side_file(path)]


def _pixels(array: np.ndarray) -> np.ndarray:
    """Check that an array is one image."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise BadImageError(f"is an array {array.dtype} {array.shape}, not uint8 (height, width, 3)")
    return array


def _refuse(value: Any) -> np.ndarray:
    """Raise a BadImageError for a value that is no image."""
    raise BadImageError(f"is a {type(value).__name__}, not a path, an array or an image")
