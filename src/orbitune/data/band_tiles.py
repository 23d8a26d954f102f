"""Decoding of files into tiles with chosen bands, in their own bit depth."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from orbitune.data.transform import TileDtype
from orbitune.sources.band_names import find_bands
from orbitune.sources.decode import BadImageError, Header
from orbitune.sources.multiband import EUROSAT_BANDS, BandHeader, read_bands, resize_bands


@dataclass(frozen=True)
class TileForm:
    """How the files of a data set are decoded into tiles of one form.

    Attributes:
        bands: names of the bands of a tile, in their order.
        dtype: of the tiles.
        decode: returns the tile of a file's content; raises BadImageError.
        notes: remarks for the user.
        scale_max: 16-bit value that is scaled to 255; None where values stay as they are.
    """

    bands: tuple[str, ...]
    dtype: TileDtype
    decode: Callable[[bytes], np.ndarray]
    notes: tuple[str, ...] = ()
    scale_max: int | None = None


def common_bands(headers: Iterable[Header]) -> tuple[str, ...]:
    """Return the bands that most files have; with equal numbers, those of the first."""
    return Counter(header.bands for header in headers if isinstance(header, BandHeader)).most_common(1)[0][0]


def why_other_bands(header: Header, bands: tuple[str, ...]) -> str | None:
    """Return why a file has other bands than most; None if it has the same."""
    if not isinstance(header, BandHeader) or header.bands == bands:
        return None
    if len(header.bands) != len(bands):
        return f"has {len(header.bands)} bands, and other tiles {len(bands)}"
    return f"has the bands {', '.join(header.bands)}, and other tiles {', '.join(bands)}"


def band_form(headers: Iterable[Header], size: tuple[int, int], *, asked: Sequence[str]) -> TileForm:
    """Return how files are decoded into tiles of the chosen bands.

    Args:
        headers: of all files, read by `read_band_header`; all with the same bands.
        size: width and height of the tiles in pixels.
        asked: names or numbers of the bands.

    Returns:
        The form; its dtype is uint16 if a file has more than 8 bits.

    Raises:
        DataError: the files lack a band; the message lists those there are.
    """
    known = list(headers)
    every = common_bands(known)
    dtype: TileDtype = "uint16" if any(header.high_bit_depth for header in known) else "uint8"
    bands = tuple(every[number - 1] for number in find_bands(asked, every, whose="The data set"))

    def decode(data: bytes) -> np.ndarray:
        pixels = read_bands(data, bands)
        if pixels.dtype != dtype:
            raise BadImageError("has 8-bit values, and other tiles 16-bit ones")
        return resize_bands(pixels, size)

    notes = [f"bands: {', '.join(bands)}, of {len(every)} in the files"]
    if every == EUROSAT_BANDS:
        notes.append("13 bands without names are read in the order of EuroSAT: B01 to B12, then B8A")
    return TileForm(bands=bands, dtype=dtype, decode=decode, notes=tuple(notes))
