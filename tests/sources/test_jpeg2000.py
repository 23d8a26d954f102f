"""JPEG 2000 files whose headers declare more than a decoder can bear are refused before it sees them."""

import struct

import numpy as np
import pytest
from image_files import coc, cod, codestream, encode, jp2, paletted_jp2, tile

pytest.importorskip("rasterio", reason="needs orbitune[geo]")

from orbitune.sources.codecs.jpeg2000 import find_fault, read_codestream
from orbitune.sources.decode import BadImageError, read_georeference, read_header, read_pixels
from orbitune.sources.multiband import has_many_bands, read_band_header, read_bands


def in_boxes(data: bytes) -> bytes:
    """A file of boxes around a codestream, which lasts to its end."""
    return b"\0\0\0\x0cjP  \r\n\x87\n" + struct.pack(">I4s", 0, b"jp2c") + data


@pytest.fixture
def unopened(monkeypatch):
    """rasterio may not open a file: it would take gigabytes to find that it cannot."""

    def fail(*arguments, **settings):
        raise AssertionError("a decoder sees the file")

    monkeypatch.setattr("rasterio.io.MemoryFile", fail)


@pytest.mark.parametrize("packed", [bytes, in_boxes])
@pytest.mark.parametrize("read", [read_header, read_pixels, read_band_header, read_georeference])
def test_what_would_exhaust_the_memory_is_refused_unopened(unopened, read, packed):
    with pytest.raises(BadImageError, match="has 3,901,500 tiles in all bands, more than the 4,096 allowed"):
        read(packed(codestream(255, tile=1, components=60)))


@pytest.mark.parametrize(
    "segments",
    [
        {"main": cod(2)},
        {"main": cod() + coc(2)},
        {"of_tile": cod(2)},
        {"of_tile": coc(2)},
        {"main": cod(precincts=b"\0")},
        {"main": cod(layers=65535)},
        {"main": b"\xff\x70" + cod(2)},
    ],
    ids=[
        "main",
        "component",
        "tile",
        "component of a tile",
        "precincts",
        "layers",
        "after what is no segment",
    ],
)
def test_more_code_blocks_than_a_tile_has_are_refused_wherever_they_are_declared(unopened, segments):
    assert find_fault(codestream(3000, tile=3000), most_values=10**7) is None
    with pytest.raises(BadImageError, match="code-blocks in all bands and layers, more than the 500,000"):
        read_header(codestream(3000, tile=3000, **segments))


def test_more_components_than_any_sensor_has_are_refused(unopened):
    with pytest.raises(BadImageError, match="has 16,000 tiles in all bands"):
        read_header(codestream(components=16_000))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_header_declares_what_gdal_has_written(dtype):
    found = read_codestream(jp2(np.zeros((13, 300, 200), dtype)))
    assert (found.values, found.tile_components) == (13 * 300 * 200, 13)
    assert found.bits == 13 * (8 * dtype().itemsize,)
    assert 13 * 4 * 5 <= found.packed_blocks <= 13 * 200


def test_files_up_to_the_limits_are_decoded():
    assert read_pixels(codestream(64, tile=1)).shape == (64, 64, 3)
    assert read_pixels(in_boxes(codestream(100, 100, 3, main=cod(2)))).shape == (100, 100, 3)


def test_indices_into_a_palette_are_no_colours():
    data = paletted_jp2(np.eye(16, dtype=np.uint8), {0: (255, 0, 0), 1: (0, 255, 0)})
    with pytest.raises(BadImageError, match="has a palette: save it as RGB"):
        read_pixels(data)


def described(content: bytes, *, name: bytes = b"colr", bands: int = 3) -> bytes:
    """A file of boxes of black, with a box of this name and content in its header."""
    box = struct.pack(">I4s", 8 + len(content), name) + content
    header = struct.pack(">I4s", 8 + len(box), b"jp2h") + box
    data = in_boxes(codestream(components=bands))
    return data[:12] + header + data[12:]


def numbered(space: int) -> bytes:
    """A colour specification by the number of a colour space."""
    return struct.pack(">3BI", 1, 0, 0, space)


def profiled(space: bytes, method: int = 2) -> bytes:
    """A colour specification by a profile."""
    return struct.pack(">3B16x4s108x", method, 0, 0, space)


def channels(*colours: int) -> bytes:
    """Definitions of the channels, by the colour (1 to 3) of each; 0 for opacity."""
    each = [struct.pack(">HHH", band, colour == 0, colour) for band, colour in enumerate(colours)]
    return struct.pack(">H", len(each)) + b"".join(each)


@pytest.mark.parametrize(("mode", "space"), [("YCbCr", "sYCC"), ("CMYK", "CMYK")])
def test_colours_that_gdal_does_not_convert_are_refused(mode, space):
    data = encode(tile(200, 32), "JPEG2000", mode)
    for read in (read_header, read_pixels, read_band_header):
        with pytest.raises(BadImageError, match=f"^has colours in {space}: save it as RGB$"):
            read(data)


@pytest.mark.parametrize(
    ("colours", "space"),
    [
        (numbered(14), "CIELab"),
        (numbered(24), "e-sYCC"),
        (numbered(99), "colour space 99"),
        (profiled(b"CMYK"), "CMYK"),
        (profiled(b"Lab ", method=3), "Lab"),
        (profiled(b"a\n b"), r"a\\n b"),
    ],
)
def test_so_is_any_other_colour_space_by_its_name(unopened, colours, space):
    with pytest.raises(BadImageError, match=f"^has colours in {space}: save it as RGB$"):
        read_pixels(described(colours))


@pytest.mark.parametrize(
    "colours",
    [
        *map(numbered, (0, 16, 17, 21)),
        *map(profiled, (b"RGB ", b"GRAY")),
        b"\2\0\0",  # an empty profile
        b"\4\0\0" + bytes(40),  # of a vendor
    ],
)
def test_rgb_grey_and_what_is_not_stated_are_read(colours):
    assert find_fault(described(colours), most_values=10**7) is None


def test_sycc_of_halved_chroma_is_read_as_gdal_writes_it(tmp_path):
    from rasterio.io import MemoryFile
    from rasterio.shutil import copy

    pixels = np.moveaxis(tile(200, 32), 2, 0)
    profile = {"driver": "GTiff", "count": 3, "height": 32, "width": 32, "dtype": "uint8"}
    with MemoryFile() as source:
        with source.open(**profile, photometric="rgb") as raster:
            raster.write(pixels)
        copy(source.name, tmp_path / "a.jp2", driver="JP2OpenJPEG", QUALITY="100", YCBCR420="YES")
    data = (tmp_path / "a.jp2").read_bytes()
    assert numbered(18) in data
    assert abs(read_pixels(data).astype(int) - tile(200, 32)).max() <= 3


@pytest.mark.parametrize("colours", [(3, 2, 1), (0, 1, 2, 3)], ids=["BGR", "ARGB"])
def test_bands_in_another_order_are_not_read_as_red_green_and_blue(colours):
    data = described(channels(*colours), name=b"cdef", bands=len(colours))
    for read in (read_header, read_pixels):
        with pytest.raises(BadImageError, match=r"^has its colours in another order: save it as RGB$"):
            read(data)


def test_red_green_and_blue_before_opacity_are_in_order():
    assert read_header(described(channels(1, 2, 3, 0), name=b"cdef", bands=4)).width == 16


def test_bands_in_another_order_are_read_by_their_names():
    """Blue, green, red and near infrared, as Sentinel-2 has them."""
    bands = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16)
    data = jp2(bands, colours=("blue", "green", "red", "undefined"))
    assert b"cdef" in data and has_many_bands(data)
    assert read_band_header(data).bands == ("blue", "green", "red", "4")
    assert np.array_equal(read_bands(data, ("B04", "B03", "B02", 4)), np.moveaxis(bands[[2, 1, 0, 3]], 0, 2))


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_values_of_few_bits_are_no_dark_image(bits):
    with pytest.raises(BadImageError, match=f"has {bits}-bit values: save it with 8 or 16 bits"):
        read_pixels(codestream(bits=bits))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (codestream()[:40], "its header is cut short"),
        (codestream(components=3)[:45], "its header is cut short"),
        (codestream(0), "it has no pixels"),
        (codestream(tile=0), "it has no pixels"),
        (codestream(main=b"\xff\x64\0\2"), "its coding is not stated, or too often"),
        (codestream(main=cod() * 10_001), "its coding is not stated, or too often"),
        (in_boxes(codestream())[:12], "it holds 0 codestreams, not one"),
        (in_boxes(codestream())[:12] + 1000 * struct.pack(">I4s", 8, b"free"), "it has too many boxes"),
        (in_boxes(b"\0" * 200), "it holds no codestream"),
        (in_boxes(codestream())[:12] + struct.pack(">I4s", 7, b"jp2c"), "its boxes are cut short"),
        (described(b""), "its header is cut short"),
        (described(b"\1"), "its header is cut short"),
        (described(b"\0", name=b"cdef"), "its header is cut short"),
        (described(b"\0\1\0", name=b"cdef"), "its header is cut short"),
        (
            in_boxes(codestream())[:12] + 2 * (struct.pack(">I4s", 8, b"jp2c")),
            "it holds 2 codestreams, not one",
        ),
    ],
)
def test_a_damaged_header_is_a_reason(unopened, data, reason):
    with pytest.raises(BadImageError, match=f"is damaged .{reason}."):
        read_header(data)
