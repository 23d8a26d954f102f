"""Inputs of a prediction: files, folders, patterns, arrays, images, iterables.

Inputs are read batch by batch, so a folder of any size needs the memory of one batch.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orbitune.errors import DataError, printable
from orbitune.extras import MissingExtraError
from orbitune.sources.band_files import is_band_folder, read_band_folder
from orbitune.sources.band_names import COLOURS, check_count, is_rgb
from orbitune.sources.decode import BadImageError, pixels_of_image, read_pixels, to_uint8_tile
from orbitune.sources.image_folder import is_side_file, list_files, read_file
from orbitune.sources.manifest import is_hidden
from orbitune.sources.multiband import BandHeader, choose_band_numbers, read_bands, resize_bands
from orbitune.suggestions import missing

Name = str | int
Bands = Sequence[str] | None  # names or numbers; None for red, green and blue as images have them
Read = Callable[[Bands], np.ndarray]


@dataclass(frozen=True)
class ImageInput:
    """One image that is not read yet.

    Attributes:
        name: the path as it was given or found; the position, from 0, of an image without a path.
        read: returns the pixels of the bands of these names, (H, W, C), uint8 or uint16; for None, those of
            red, green and blue. Raises BadImageError.
    """

    name: Name
    read: Read


@dataclass(frozen=True)
class TileSpec:
    """The tiles that a model reads.

    Attributes:
        bands: their names, in order.
        dtype: uint8 or uint16.
        size: width and height in pixels.
        scale_max: 16-bit value that becomes 255; None for 8-bit tiles.
    """

    bands: tuple[str, ...]
    dtype: str
    size: tuple[int, int]
    scale_max: int | None

    @property
    def is_rgb(self) -> bool:
        """Return whether the model reads 8-bit red, green and blue."""
        return is_rgb(self.bands, self.dtype)


def expand(inputs: Any) -> Iterator[ImageInput]:
    """Yield every single image of the inputs, in order.

    Folders are searched with their subfolders, sorted by name.

    Args:
        inputs: a path (of a file or folder), a pattern such as `tiles/*.png`, an array (H, W, C) or
            (N, H, W, C) as the model reads it (RGB models: uint8, 3 bands), an image of Pillow, an
            `ImageInput`, or an iterable of these.
    """
    for position, (name, read) in enumerate(_expand_one(inputs)):
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
            if glob.has_magic(name):
                raise DataError(f"No file matches the pattern {printable(name)}.")
            raise DataError(missing("file or folder", name))
        if next(_files(name), None) is None:
            raise DataError(
                f"There is nothing to predict in {printable(name)}: it contains no image, nor do its "
                "subfolders. Lists, notes and hidden files are ignored; name a file to have it read."
            )


def check_bands(spec: TileSpec, asked: Sequence[str | int] | None) -> tuple[str, ...] | None:
    """Return the bands to read as text, for `to_tile`; None for the model's names.

    Raises:
        DataError: the model reads another number of bands.
    """
    if asked is None:
        return None
    check_count(len(asked), spec.bands)
    return tuple(map(str, asked))


def to_tile(image: ImageInput, spec: TileSpec, *, bands: Bands = None) -> np.ndarray:
    """Decode an input and resize it as the training tiles of a model were.

    Args:
        image: what to decode.
        spec: the tiles that the model reads.
        bands: names or numbers of the input's bands that the model's bands are read from, in their order;
            None for the model's own names.

    Returns:
        uint8 or uint16 (H, W, C), as the model reads it.

    Raises:
        BadImageError: it is no usable image, or lacks a band.
    """
    pixels = image.read(bands or (None if spec.is_rgb else spec.bands))
    if spec.dtype == "uint16" and pixels.dtype == np.uint8:
        raise BadImageError("has 8-bit values, but the model was trained on 16-bit tiles")
    if spec.dtype == "uint8" and pixels.dtype == np.uint16 and spec.scale_max is None:
        raise BadImageError("has 16-bit values, but the model was trained on 8-bit tiles")
    if spec.is_rgb:
        return to_uint8_tile(pixels, spec.size, scale_max=spec.scale_max or 255)
    return resize_bands(pixels, spec.size)


def decode_tile(image: ImageInput, spec: TileSpec, *, bands: Bands = None) -> np.ndarray | str:
    """Return an image as a model reads it, see `to_tile`, or the reason why it cannot.

    Args:
        image: what to decode.
        spec: the tiles that the model reads.
        bands: as for `to_tile`.

    Returns:
        uint8 or uint16 (H, W, C), or the end of a sentence that begins with the image's name.
    """
    try:
        return to_tile(image, spec, bands=bands)
    except (BadImageError, DataError, MissingExtraError) as error:
        return str(error)


def _expand_one(inputs: Any) -> Iterator[tuple[str | None, Read]]:
    """Yield path (or None) and reader of each image."""
    if isinstance(inputs, ImageInput):
        yield str(inputs.name), inputs.read
    elif isinstance(inputs, str | Path):
        for path in _files(str(inputs)):
            yield path, partial(_read_path, Path(path))
    elif isinstance(inputs, Image.Image):
        yield None, lambda bands: _choose_colours(pixels_of_image(inputs), bands)
    elif isinstance(inputs, np.ndarray) and inputs.ndim != 4:
        yield None, partial(_check_array, inputs)
    elif isinstance(inputs, Iterable):
        for each in inputs:
            yield from _expand_one(each)
    else:
        yield None, lambda bands: _refuse(inputs)


def _read_path(path: Path, bands: Bands) -> np.ndarray:
    """Return the pixels of a file, or of a folder with one file per band."""
    if is_band_folder(path):
        return read_bands(read_band_folder(path), bands or COLOURS)
    return decode(read_file(path), bands)


def decode(data: bytes, bands: Bands) -> np.ndarray:
    """Return the pixels of a file's content, see `ImageInput.read`.

    Args:
        data: content of the file.
        bands: names or numbers of bands; None for red, green and blue.

    Raises:
        BadImageError: it is no image, or lacks a band.
    """
    return read_pixels(data) if bands is None else read_bands(data, bands)


def _choose_colours(pixels: np.ndarray, bands: Bands) -> np.ndarray:
    """Return the chosen bands of an image (H, W, 3)."""
    if bands is None:
        return pixels
    height, width = pixels.shape[:2]
    numbers = choose_band_numbers(BandHeader(width, height, high_bit_depth=False), bands)
    return pixels[..., [number - 1 for number in numbers]]


def _files(name: str) -> Iterator[str]:
    """Yield the files that a path or a pattern means.

    If there are none, yield the name itself.
    """
    if _exists(name) and is_band_folder(Path(name)):
        yield name
    elif _exists(name) and Path(name).is_dir():
        # An empty folder below has a name as well, with a closing slash.
        paths = (Path(name) / leaf for leaf in list_files(Path(name)) if not leaf.endswith("/"))
        for folder, files in groupby(paths, lambda path: path.parent):
            yield from [str(folder)] if is_band_folder(folder) else map(str, files)
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


def _check_array(array: np.ndarray, bands: Bands) -> np.ndarray:
    """Check that an array is one image, with the bands of the model."""
    kinds, count = (("uint8",), 3) if bands is None else (("uint8", "uint16"), len(bands))
    if array.dtype.name not in kinds or array.ndim != 3 or array.shape[2] != count or not array.size:
        wanted = f"{' or '.join(kinds)} (height, width, {count})"
        raise BadImageError(f"is an array {array.dtype} {array.shape}, not {wanted}")
    return array


def _refuse(value: Any) -> np.ndarray:
    """Raise a BadImageError for a value that is no image."""
    raise BadImageError(f"is a {type(value).__name__}, not a path, an array or an image")
