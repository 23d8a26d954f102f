"""What strangers send: images and zips of images, within limits that are checked before unpacking."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from orbitune.data.class_folders import read_file, zip_files
from orbitune.data.decode import BadImageError, read_header, read_pixels
from orbitune.deploy.inputs import Waiting
from orbitune.errors import DataError

MAX_UPLOAD = 200 * 2**20  # bytes of one file, packed or not
MAX_PIXELS = 25_000_000  # of one image: a tile is thousands of times smaller
MAX_FILES = 10_000  # of one request, in zips and beside them
MAX_UNPACKED = 2 * 2**30  # bytes, that the zips of one request claim to hold


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
