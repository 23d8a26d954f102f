"""Boxes of a JPEG 2000 file: where its codestream begins, and what its values mean.

The layout is that of ISO/IEC 15444-1, Annex I, and the colour spaces are those of ISO/IEC 15444-2, Annex M.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap

from orbitune.errors import printable

SIGNATURES = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # a file of boxes, and a codestream alone
SYCC = "sYCC"

Buffer = bytes | mmap

_MOST_BOXES = 1000  # more would take seconds to read
_BY_NUMBER, _BY_PROFILE = 1, (2, 3)  # how a colour space is stated
_RGB_OR_GREY = (0, 16, 17, 21)  # 0 stands where a writer knew of none
_RGB_OR_GREY_PROFILES = (b"RGB ", b"GRAY")
_COLOUR_SPACES = {
    **{1: "YCbCr", 3: "YCbCr", 4: "YCbCr", 9: "PhotoYCC", 18: SYCC, 22: "YPbPr", 23: "YPbPr", 24: "e-sYCC"},
    **{11: "CMY", 12: "CMYK", 13: "YCCK", 14: "CIELab", 19: "CIEJab", 20: "e-sRGB"},
}
_Box = tuple[bytes, int, int]  # type, start and end of the content


@dataclass(frozen=True)
class Boxes:
    """What the boxes around a codestream state.

    Attributes:
        start: of the codestream, in bytes.
        has_palette: whether the values are indices into a palette.
        colour_space: of the values; None for RGB and grey, and where nothing is stated.
        is_reordered: whether the first bands are not red, green and blue in this order.
    """

    start: int = 0
    has_palette: bool = False
    colour_space: str | None = None
    is_reordered: bool = False


def read_boxes(data: Buffer) -> Boxes:
    """Read the boxes of a JPEG 2000; a codestream alone has none.

    Raises:
        ValueError: they are damaged, or hold several codestreams.
        struct.error: they are cut short.
    """
    if data[: len(SIGNATURES[1])] == SIGNATURES[1]:
        return Boxes()
    boxes = list(_boxes(data, 0, end=len(data)))
    inner = [each for name, *place in boxes if name == b"jp2h" for each in _boxes(data, *place)]
    starts = [start for name, start, _ in boxes if name.lower() == b"jp2c"]
    if len(starts) != 1:
        raise ValueError(f"it holds {len(starts)} codestreams, not one")
    spaces = [_colour_space(data[start:end]) for name, start, end in inner if name == b"colr"]
    return Boxes(
        start=starts[0],
        has_palette=any(name == b"pclr" for name, *_ in inner),
        colour_space=next(filter(None, spaces), None),
        is_reordered=any(_reorders(data[start:end]) for name, start, end in inner if name == b"cdef"),
    )


def _boxes(data: Buffer, place: int, end: int) -> Iterator[_Box]:
    """Yield the boxes in a part of a file."""
    for _ in range(_MOST_BOXES):
        if place == end:
            return
        length, name = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        stop = place + length if length else end
        if not start <= stop <= end:
            raise ValueError("its boxes are cut short")
        yield name, start, stop
        place = stop
    raise ValueError("it has too many boxes")


def _colour_space(content: bytes) -> str | None:
    """Return the colour space that a colour specification states; None for RGB and grey."""
    (method,) = struct.unpack_from("B", content)
    if method == _BY_NUMBER:
        (number,) = struct.unpack_from(">I", content, 3)
        return None if number in _RGB_OR_GREY else _COLOUR_SPACES.get(number, f"colour space {number}")
    space = content[19:23] if method in _BY_PROFILE else b""  # others are a vendor's own
    return None if space in _RGB_OR_GREY_PROFILES else printable(space.decode("latin-1").strip()) or None


def _reorders(content: bytes) -> bool:
    """Return whether channel definitions give a band a colour that is not its own."""
    (count,) = struct.unpack_from(">H", content)
    channels = struct.iter_unpack(">HHH", content[2 : 2 + 6 * count])  # band, kind (0: a colour) and colour
    return any(kind == 0 and 1 <= colour <= 3 and colour != band + 1 for band, kind, colour in channels)
