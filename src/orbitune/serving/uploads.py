"""What strangers send: images, zips of images and scenes, within limits that are checked before unpacking."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from orbitune.errors import DataError
from orbitune.inference.image_inputs import Waiting
from orbitune.mapping.raster_io import import_rasterio
from orbitune.mapping.reader import RESOLUTION, Scene
from orbitune.sources.decode import BadImageError, read_header, read_pixels
from orbitune.sources.image_folder import read_file, zip_files

MAX_UPLOAD = 200 * 2**20  # bytes of one file, packed or not
MAX_PIXELS = 25_000_000  # of one image: a tile is thousands of times smaller
MAX_LOOSE = 1000  # files that are sent at once without a zip: what a call says of them fits `bodies.SMALL`
MAX_FILES = 10_000  # images of one request, in zips and beside them
MAX_UNPACKED = 2 * 2**30  # bytes, that the zips of one request claim to hold
MAX_SCENE = 4096  # pixels along the sides of a square scene; of another, as many in all
DRIVER = (
    "GTiff"  # of a scene, whatever its ending: other formats name files that would be read for a stranger
)
MAX_SCENE_BYTES = 2**30  # of all its bands, unpacked


def open_uploads(paths: Sequence[Path], stack: ExitStack) -> Iterator[Waiting]:
    """The images in some uploads, read one by one; zips stay open until the stack is closed.

    Raises:
        DataError: a zip is damaged or hostile, or there are more files than one request may have.
    """
    images: list[Waiting] = []
    unpacked = 0
    for path in paths:
        if path.suffix.lower() != ".zip":
            images.append(Waiting(path.name, lambda path=path: decode(read_file(path))))  # type: ignore[misc]
            continue
        entries, read = stack.enter_context(zip_files(path))
        files = [name for name in entries if not name.endswith("/")]
        unpacked += sum(entries[name].file_size for name in files)
        images += [
            Waiting(name, lambda name=name, read=read: decode(read(name)))  # type: ignore[misc]
            for name in files
        ]
        if unpacked > MAX_UNPACKED:
            raise DataError(
                f"{path.name} unpacks to more than {MAX_UNPACKED / 1e9:.1f} GB: send it in parts."
            )
    if len(images) > MAX_FILES:
        raise DataError(f"These are {len(images):,} files; send at most {MAX_FILES:,} at once.")
    return iter(images)


def decode(data: bytes):  # type: ignore[no-untyped-def]
    """Pixels of an image, (H, W, 3), uint8 or uint16; its size is judged by its header alone.

    Raises:
        BadImageError: it is no image, damaged, or too large.
    """
    header = read_header(data)
    if header.width * header.height > MAX_PIXELS:
        raise BadImageError(f"has {header.width * header.height:,} pixels, at most {MAX_PIXELS:,} are taken")
    return read_pixels(data)


def check_scene(path: Path, bands: tuple[int, ...] | None) -> None:
    """A DataError where a scene is no GeoTIFF or too large, by its header alone.

    Args:
        bands: that are to be read, see `Scene`.
    """
    rasterio = import_rasterio()
    try:
        with rasterio.open(path, driver=DRIVER) as file:
            blocks = [height * width for height, width in file.block_shapes]
            pixels = max(file.height * file.width, *blocks)
            size = pixels * sum(16 if "complex" in kind else np.dtype(kind).itemsize for kind in file.dtypes)
    except rasterio.errors.RasterioError:
        raise DataError(f"{path.name} is no GeoTIFF, or damaged.") from None
    if size > MAX_SCENE_BYTES:
        raise DataError(
            f"{path.name} unpacks to {size / 1e9:.1f} GB, at most {MAX_SCENE_BYTES / 1e9:.1f} are taken."
        )
    with Scene(path, bands, driver=DRIVER) as scene:
        pixels = max(pixels, scene.grid.height * scene.grid.width)
    if pixels > MAX_SCENE**2:
        raise DataError(
            f"{path.name} has {pixels:,} pixels at {RESOLUTION:g} m; at most {MAX_SCENE} x {MAX_SCENE} "
            "are taken here: cut it, or use orbitune map."
        )
