"""JPEG 2000 files whose headers declare more than a decoder can bear are refused before it sees them."""

import struct

import numpy as np
import pytest
from image_files import coc, cod, codestream, jp2, paletted_jp2

pytest.importorskip("rasterio", reason="needs orbitune[geo]")

from orbitune.sources.codecs.jpeg2000 import find_fault, read_codestream
from orbitune.sources.decode import BadImageError, read_georeference, read_header, read_pixels
from orbitune.sources.multiband import read_band_header


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
    assert found.bits == 13 * (8 * dtype().itemsize,) and not found.has_palette
    assert 13 * 4 * 5 <= found.packed_blocks <= 13 * 200


def test_files_up_to_the_limits_are_decoded():
    assert read_pixels(codestream(64, tile=1)).shape == (64, 64, 3)
    assert read_pixels(in_boxes(codestream(100, 100, 3, main=cod(2)))).shape == (100, 100, 3)


def test_indices_into_a_palette_are_no_colours():
    data = paletted_jp2(np.eye(16, dtype=np.uint8), {0: (255, 0, 0), 1: (0, 255, 0)})
    with pytest.raises(BadImageError, match="has a palette: save it as RGB"):
        read_pixels(data)


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
        (
            in_boxes(codestream())[:12] + 2 * (struct.pack(">I4s", 8, b"jp2c")),
            "it holds 2 codestreams, not one",
        ),
    ],
)
def test_a_damaged_header_is_a_reason(unopened, data, reason):
    with pytest.raises(BadImageError, match=f"is damaged .{reason}."):
        read_header(data)
