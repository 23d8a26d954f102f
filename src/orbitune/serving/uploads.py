"""Uploads from untrusted clients, with limits checked before unpacking."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.georeference import RESOLUTION
from orbitune.errors import DataError
from orbitune.extras import MissingExtraError
from orbitune.inference.image_inputs import ImageInput, decode
from orbitune.mapping.scene.raster_io import import_rasterio
from orbitune.mapping.scene.reader import Scene
from orbitune.sources.decode import BadImageError, read_header
from orbitune.sources.image_folder import read_file, zip_files
from orbitune.sources.multiband import read_band_header

MAX_UPLOAD_BYTES = 200 * 2**20  # of one file, packed or not
MAX_IMAGE_BYTES = 32 * 2**20  # of the images of a request to the JSON API
MAX_PIXELS = 25_000_000  # of one image; a tile is thousands of times smaller
# Files in one request outside a zip: their description must fit `body_limits.MAX_BYTES_WITHOUT_FILES`.
MAX_FILES_AT_ONCE = 1000
MAX_IMAGES = 10_000  # in one request, inside and outside zips
MAX_UNPACKED_BYTES = 2 * 2**30  # declared by all zips of one request
MAX_SCENE_SIDE = 4096  # pixels; the limit is on the area, so a long narrow scene may exceed it
MAX_SCENE_BYTES = 2**30  # of all bands, unpacked
# Scenes are opened as GeoTIFF only, whatever their ending: a VRT, for one, names other files to read.
SCENE_DRIVER = "GTiff"


def read_uploads(paths: Sequence[Path], stack: ExitStack) -> Iterator[ImageInput]:
    """Return the images of uploaded files and zips, each decoded when it is needed.

    Args:
        paths: image files and zips.
        stack: keeps the zips open until it is closed.

    Raises:
        DataError: a zip is damaged or unsafe, or there are too many files.
    """
    images: list[ImageInput] = []
    unpacked = 0
    for path in paths:
        if path.suffix.lower() != ".zip":
            images.append(ImageInput(path.name, _image_reader(read_file, path)))
            continue
        entries, read = stack.enter_context(zip_files(path))
        files = [name for name in entries if not name.endswith("/")]
        unpacked += sum(entries[name].file_size for name in files)
        images += [ImageInput(name, _image_reader(read, name)) for name in files]
        if unpacked > MAX_UNPACKED_BYTES:
            limit = MAX_UNPACKED_BYTES / 1e9
            raise DataError(f"{path.name} unpacks to more than {limit:.1f} GB: send it in parts.")
    if len(images) > MAX_IMAGES:
        raise DataError(f"These are {len(images):,} files; send at most {MAX_IMAGES:,} at once.")
    return iter(images)


def _image_reader(read: Callable[[Any], bytes], name: Any) -> Callable[[Sequence[str] | None], np.ndarray]:
    """Return a function that decodes the given bands of a file or of a zip's entry."""
    return lambda bands: decode_image(read(name), bands)


def decode_image(data: bytes, bands: Sequence[str] | None = None) -> np.ndarray:
    """Decode an image, after its header shows that it is not too large.

    Args:
        data: content of the file.
        bands: names or numbers of the bands to read; None for red, green and blue.

    Returns:
        uint8 or uint16 (H, W, bands).

    Raises:
        BadImageError: not an image, damaged, too large, without one of the bands, or of a kind whose decoder
            is not installed.
    """
    try:
        header = read_header(data) if bands is None else read_band_header(data)
        if header.width * header.height > MAX_PIXELS:
            pixels = header.width * header.height
            raise BadImageError(f"has {pixels:,} pixels, at most {MAX_PIXELS:,} are taken")
        return decode(data, bands)
    except MissingExtraError as error:
        raise BadImageError(f"cannot be read by this server: {str(error).removesuffix('.')}") from None


def check_scene(path: Path) -> None:
    """Check by the header that a scene is a GeoTIFF and not too large.

    Args:
        path: the scene.

    Raises:
        DataError: not a GeoTIFF, damaged, or too large.
    """
    rasterio = import_rasterio()
    try:
        with rasterio.open(path, driver=SCENE_DRIVER) as file:
            blocks = [height * width for height, width in file.block_shapes]
            pixels = max(file.height * file.width, *blocks)
            size = pixels * sum(16 if "complex" in kind else np.dtype(kind).itemsize for kind in file.dtypes)
    except rasterio.errors.RasterioError:
        raise DataError(f"{path.name} is not a GeoTIFF, or is damaged.") from None
    if size > MAX_SCENE_BYTES:
        limit = MAX_SCENE_BYTES / 1e9
        raise DataError(f"{path.name} unpacks to {size / 1e9:.1f} GB, at most {limit:.1f} are taken.")
    with Scene(path, (1,), driver=SCENE_DRIVER) as scene:
        pixels = max(pixels, scene.grid.height * scene.grid.width)
    if pixels > MAX_SCENE_SIDE**2:
        raise DataError(
            f"{path.name} has {pixels:,} pixels at {RESOLUTION:g} m; at most {MAX_SCENE_SIDE} x "
            f"{MAX_SCENE_SIDE} are taken here: crop it, or use `orbitune map`."
        )
