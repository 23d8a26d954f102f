"""Headers of JPEG 2000 files, read before a decoder sees them.

A decoder allocates memory for every tile, component and code-block that a header of a few bytes declares. The
layout of a codestream is that of ISO/IEC 15444-1, Annex A.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from orbitune.sources.codecs.jpeg2000_boxes import SIGNATURES, SYCC, Buffer, read_boxes

# A decoder takes about 1 KB for each tile of a component when it opens a file, and for each code-block.
MAX_TILE_COMPONENTS = 4096
MAX_PACKED_BLOCKS = 500_000
HAS_PALETTE = "has a palette: save it as RGB"

_CODING = re.compile(rb"\xff([\x52\x53])\0([\x09-\x2d])")  # COD or COC, with its length
_COD = b"\x52"
_MOST_CODINGS = 10_000  # more would take seconds to read
_HALVED_CHROMA = (1, 2, 2)  # columns, and rows, for each value of Y, Cb and Cr


@dataclass(frozen=True)
class Codestream:
    """What the headers of a codestream declare.

    Attributes:
        values: pixels times components.
        tile_components: tiles times components.
        packed_blocks: upper bound of the code-blocks of all tiles and components, times the quality layers.
        bits: of the values of each component.
    """

    values: int
    tile_components: int
    packed_blocks: int
    bits: tuple[int, ...]


@dataclass(frozen=True)
class _Coding:
    """How components are coded.

    Attributes:
        layers: quality layers.
        levels: of the wavelet transform.
        block: width and height of code-blocks, as exponents of 2.
        precincts: width and height by resolution, exponents of 4 bits each; empty where unlimited.
    """

    layers: int
    levels: int
    block: tuple[int, int]
    precincts: bytes

    def count_blocks(self, width: int, height: int) -> int:
        """Return an upper bound of the code-blocks of a tile of one component."""
        count = 0
        for resolution in range(self.levels + 1):
            detail = int(resolution > 0)  # three bands of half the size, which the first resolution has not
            shrink = self.levels - resolution + detail
            precinct = self.precincts[resolution] if self.precincts else 0xFF
            across = max(0, min(self.block[0], (precinct & 0xF) - detail))
            down = max(0, min(self.block[1], (precinct >> 4) - detail))
            # A span of n pixels that begins anywhere touches at most n / side + 2 blocks.
            count += (1 + 2 * detail) * ((width >> shrink + across) + 2) * ((height >> shrink + down) + 2)
        return count


def find_fault(data: bytes, *, most_values: int) -> str | None:
    """Return why a JPEG 2000 must not be decoded, to follow its name; None if it may.

    Args:
        data: content of a file of boxes, or a codestream.
        most_values: largest number of pixels times components.

    Raises:
        ValueError: as `read_codestream`.
    """
    found = read_codestream(data)
    for count, most, what in (
        (found.values, most_values, "values in all bands"),
        (found.tile_components, MAX_TILE_COMPONENTS, "tiles in all bands"),
        (found.packed_blocks, MAX_PACKED_BLOCKS, "code-blocks in all bands and layers"),
    ):
        if count > most:
            return f"has {count:,} {what}, more than the {most:,} allowed"
    bits = min(found.bits[:3])  # a mask may follow
    if bits < 8:
        return f"has {bits}-bit values: save it with 8 or 16 bits"
    if read_boxes(data).has_palette:
        return HAS_PALETTE
    space = find_unread_space(data)
    return f"has colours in {space}: save it as RGB" if space else None


def find_unread_space(data: Buffer) -> str | None:
    """Return the colour space of a JPEG 2000 that GDAL reads as if it were RGB; None for RGB and grey.

    GDAL converts sYCC if its chroma have half the columns and rows.

    Raises:
        ValueError: as `read_codestream`.
    """
    with _cut_short():
        boxes = read_boxes(data)
        if boxes.colour_space == SYCC:
            (count,) = struct.unpack_from(">H", data, boxes.start + 40)
            steps = struct.unpack_from("9B", data, boxes.start + 42) if count >= 3 else ()
            if steps[1::3] == steps[2::3] == _HALVED_CHROMA:
                return None
    return boxes.colour_space


def read_codestream(data: bytes) -> Codestream:
    """Read what a JPEG 2000 declares, from its headers alone.

    Args:
        data: content of a file of boxes, or a codestream.

    Raises:
        ValueError: it is damaged, or holds several codestreams.
    """
    with _cut_short():
        return _read_headers(data, read_boxes(data).start)


@contextmanager
def _cut_short() -> Iterator[None]:
    """Raise a ValueError where a header ends too early."""
    try:
        yield
    except struct.error:
        raise ValueError("its header is cut short") from None


def _read_headers(data: bytes, start: int) -> Codestream:
    """Read SIZ, which begins a codestream, and every COD and COC."""
    if not data.startswith(SIGNATURES[1], start):
        raise ValueError("it holds no codestream")
    # Image area, its offset, size of tiles and their offset, each across and down; then the components.
    right, bottom, left, top, width, height, tile_left, tile_top, count = struct.unpack_from(
        ">8IH", data, start + 8
    )
    components = struct.unpack_from(f"{3 * count}B", data, start + 42)  # bits, steps across and down
    if not (count and width and height and tile_left <= left < right and tile_top <= top < bottom):
        raise ValueError("it has no pixels")
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
    largest = min(width, right - left), min(height, bottom - top)
    codings = list(islice(_codings(data, start, components=count), _MOST_CODINGS + 1))
    if not 0 < len(codings) <= _MOST_CODINGS:
        raise ValueError("its coding is not stated, or too often")
    layers = max(each.layers for each in codings)
    blocks = max(each.count_blocks(*largest) for each in codings)
    return Codestream(
        values=(right - left) * (bottom - top) * count,
        tile_components=tiles * count,
        packed_blocks=tiles * count * blocks * layers,
        bits=tuple((each & 0x7F) + 1 for each in components[::3]),  # the highest bit: signed
    )


def _codings(data: bytes, start: int, *, components: int) -> Iterator[_Coding]:
    """Yield every COD and COC.

    They are searched for everywhere, as decoders differ in how they go from one segment to the next where a
    header breaks the standard. What merely looks like one adds to what is declared, and hides nothing.
    """
    for match in _CODING.finditer(data, start):
        content, layers = data[match.end() : match.start() + 2 + match[2][0]], 1
        if match[1] == _COD:
            layers, content = int.from_bytes(content[2:4], "big"), content[:1] + content[5:]
        else:
            content = content[1 if components < 257 else 2 :]  # after the number of the component
        if len(content) < 6:
            continue
        style, levels, across, down = content[:4]
        precincts = content[6:]
        # What breaks these rules no decoder takes.
        if levels <= 32 and max(across, down) <= 8 and len(precincts) == (style & 1) * (levels + 1):
            yield _Coding(layers, levels, (across + 2, down + 2), precincts)
