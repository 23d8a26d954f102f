"""Bytes of a file become RGB pixels or an error, never silently cut."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from band_tiles import write_bands
from image_files import encode, jp2, png_header, tiff, tile
from PIL import Image

from orbitune.extras import MissingExtraError
from orbitune.sources import decode
from orbitune.sources.decode import (
    MAX_PIXELS,
    BadImageError,
    pixels_of_image,
    read_header,
    read_pixels,
    strict_decoding,
    to_uint8_tile,
)

pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")

RED = np.full((4, 6), 200, np.uint8)


def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_lossless_rgb_comes_out_as_it_went_in(kind):
    pixels = read_pixels(encode(rgb(), kind))
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, rgb())


def test_jpeg_is_decoded_as_pillow_does():
    data = encode(rgb(), "JPEG")
    np.testing.assert_array_equal(read_pixels(data), np.asarray(Image.open(io.BytesIO(data))))


def test_alpha_is_dropped_and_not_blended():
    pixels = np.dstack([rgb(), np.zeros((4, 6), np.uint8)])
    np.testing.assert_array_equal(read_pixels(encode(pixels)), rgb())


def test_a_palette_is_looked_up():
    image = Image.fromarray(rgb()).quantize(256)
    file = io.BytesIO()
    image.save(file, "PNG")
    np.testing.assert_array_equal(read_pixels(file.getvalue()), np.asarray(image.convert("RGB")))


def test_indices_of_16_bits_into_a_palette_are_no_colours():
    from rasterio.io import MemoryFile

    with MemoryFile() as file:
        profile = {"driver": "GTiff", "count": 1, "height": 4, "width": 6, "dtype": "uint16"}
        with file.open(**profile, photometric="palette") as raster:
            raster.write(RED.astype(np.uint16), 1)
            raster.write_colormap(1, {200: (255, 0, 0)})
        with pytest.raises(BadImageError, match="has a palette: save it as RGB"):
            read_pixels(file.read())


def test_grey_is_repeated_in_all_three_channels():
    pixels = read_pixels(encode(RED))
    np.testing.assert_array_equal(pixels, np.dstack([RED] * 3))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_values(kind):
    values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 1000
    data = encode(values, kind)
    assert read_header(data).high_bit_depth
    np.testing.assert_array_equal(read_pixels(data), np.dstack([values] * 3))


@pytest.mark.parametrize("options", [{}, {"photometric": "RGB"}, {"compress": "deflate"}])
def test_sixteen_bit_rgb_tiff_keeps_its_values(options):
    bands = np.arange(72, dtype=np.uint16).reshape(3, 4, 6) * 100
    data = tiff(bands, **options)
    assert read_header(data).high_bit_depth
    np.testing.assert_array_equal(read_pixels(data), np.moveaxis(bands, 0, 2))


def test_sixteen_bit_rgb_png_is_not_cut_to_eight_bits():
    from rasterio.io import MemoryFile

    bands = np.arange(72, dtype=np.uint16).reshape(3, 4, 6) * 100
    with MemoryFile() as file:
        with file.open(driver="PNG", count=3, height=4, width=6, dtype="uint16") as raster:
            raster.write(bands)
        data = file.read()
    np.testing.assert_array_equal(read_pixels(data), np.moveaxis(bands, 0, 2))


@pytest.mark.parametrize(("dtype", "most"), [(np.uint8, 255), (np.uint16, 65535)])
def test_jpeg_2000_keeps_its_values(dtype, most):
    bands = np.linspace(0, most, 3 * 16 * 16).reshape(3, 16, 16).astype(dtype)
    assert read_header(jp2(bands)).high_bit_depth == (dtype == np.uint16)
    np.testing.assert_array_equal(read_pixels(jp2(bands)), np.moveaxis(bands, 0, 2))


def test_jpeg_2000_of_more_values_than_are_decoded_at_once_is_refused(monkeypatch):
    data = jp2(np.zeros((3, 16, 16), np.uint8))
    monkeypatch.setattr(decode, "MAX_VALUES", 4 * 3 * 16 * 16 - 4)
    with pytest.raises(BadImageError, match="has 768 values in all bands, more than the 767 allowed"):
        read_header(data)


def test_of_many_bands_the_first_three_are_taken():
    bands = np.arange(13 * 24, dtype=np.uint16).reshape(13, 4, 6)
    with strict_decoding():
        np.testing.assert_array_equal(read_pixels(tiff(bands)), np.moveaxis(bands[:3], 0, 2))


NAMED = np.arange(4 * 24, dtype=np.uint8).reshape(4, 4, 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("blue", "green", "red"), [2, 1, 0]),
        (("B02", "B03", "B04", "B08"), [2, 1, 0]),
        (("green (560 nm)", "red", "blue"), [1, 0, 2]),
        (("Band 1", "Band 2", "Band 3"), [0, 1, 2]),
        (("B1", "B2", "B3"), [0, 1, 2]),
        ((None, "height", "b"), [0, 1, 2]),
    ],
)
def test_bands_with_the_names_of_colours_are_read_by_them(tmp_path, names, order, dtype):
    pixels = NAMED[: len(names)].astype(dtype)
    data = write_bands(tmp_path / "t.tif", pixels, names).read_bytes()
    np.testing.assert_array_equal(read_pixels(data), np.moveaxis(pixels[order], 0, 2))


@pytest.mark.parametrize("names", [("B08", "B04", "B03"), ("nir", "red", "green")])
def test_bands_with_other_names_are_no_colours(tmp_path, names):
    data = write_bands(tmp_path / "t.tif", NAMED[:3], names).read_bytes()
    with pytest.raises(
        BadImageError, match=f"has the bands {', '.join(names)}, not red, green and blue: choose"
    ):
        read_pixels(data)


def test_signed_sixteen_bit_values_are_kept():
    bands = np.full((3, 4, 6), 3000, np.int16)
    assert (read_pixels(tiff(bands)) == 3000).all()


def test_the_exif_orientation_is_ignored():
    image, file = Image.fromarray(rgb()), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(file, "PNG", exif=exif)
    np.testing.assert_array_equal(read_pixels(file.getvalue()), rgb())


def test_without_rasterio_the_error_names_what_to_install(monkeypatch):
    data = tiff(np.ones((3, 4, 6), np.uint16))
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'orbitune\[geo\]'") as caught:
        read_header(data)
    assert not isinstance(caught.value, BadImageError)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"not an image, but long enough to be looked at", "is no image of a known kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "is no image of a known kind"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "is (damaged|no image)"),
        (b"II*\0" + bytes(40), "is damaged"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "is damaged"),
        (tiff(np.ones((1, 4, 6), np.float32)), "holds floating-point values"),
        (tiff(np.ones((3, 4, 6), np.float32)), "holds floating-point values"),
        (png_header(20_000, 20_000), "has more than 89,478,485 pixels"),
    ],
)
def test_bad_bytes_are_a_reason(data, reason):
    with pytest.raises(BadImageError, match=reason):
        read_header(data)


def test_16_bit_values_in_cmyk_are_no_rgb():
    data = tiff(np.zeros((4, 16, 16), np.uint16), photometric="cmyk")
    for read in (read_header, read_pixels):
        with pytest.raises(BadImageError, match=r"^has colours in CMYK: save it as RGB$"):
            read(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_a_file_cut_short_is_damaged(kind):
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), kind)
    with pytest.raises(BadImageError, match="is damaged"):
        read_pixels(data[: len(data) // 2])


def test_a_sixteen_bit_file_cut_short_is_damaged():
    values = np.random.default_rng(0).integers(0, 65536, (64, 64), np.uint16)
    for data in (encode(values), tiff(np.stack([values] * 3), compress="deflate")):
        with pytest.raises(BadImageError, match="is damaged"):
            read_pixels(data[: len(data) // 2])


def test_values_outside_sixteen_bits_are_refused():
    with pytest.raises(BadImageError, match=r"outside 0\.\.65535"):
        read_pixels(tiff(np.full((1, 4, 6), -5, np.int16)))
    with pytest.raises(BadImageError, match=r"outside 0\.\.65535"):
        read_pixels(tiff(np.full((3, 4, 6), 70_000, np.int32)))


def test_the_range_in_which_pillow_only_warns_is_refused_too(monkeypatch):
    side = int(MAX_PIXELS**0.5) + 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # even if somebody switched the guard off
    with pytest.raises(BadImageError, match="more than the 89,478,485 allowed"):
        read_header(png_header(side, side))
    monkeypatch.undo()
    with strict_decoding(), pytest.raises(BadImageError, match="has more than 89,478,485 pixels"):
        read_header(png_header(side, side))


def test_two_bands_are_neither_grey_nor_rgb():
    with pytest.raises(BadImageError, match="has 2 bands"):
        read_header(tiff(np.ones((2, 4, 6), np.uint16)))


def test_fit_scales_sixteen_bits_linearly_and_clips():
    pixels = np.array([0, 500, 1000, 4000], np.uint16).reshape(1, 4, 1).repeat(3, 2)
    fitted = to_uint8_tile(pixels, (4, 1), scale_max=1000)
    assert fitted.dtype == np.uint8
    assert fitted[0, :, 0].tolist() == [0, 128, 255, 255]


def test_fit_leaves_eight_bits_of_the_right_size_alone():
    np.testing.assert_array_equal(to_uint8_tile(tile(99), (8, 8), scale_max=1), tile(99))


def test_fit_resizes_to_width_and_height():
    assert to_uint8_tile(tile(99), (5, 3), scale_max=1).shape == (3, 5, 3)
    assert (to_uint8_tile(tile(99), (5, 3), scale_max=1)[..., 0] == 99).all()


# --- hostile and odd files --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(0, 4), (4, 0), (0, 0)])
def test_an_image_without_pixels_is_bad(size):
    with pytest.raises(BadImageError):
        read_pixels(png_header(*size))
    with pytest.raises(BadImageError, match="has no pixels"):
        pixels_of_image(Image.new("RGB", size))


def test_large_images_are_converted_in_strips_to_the_same_pixels(monkeypatch):
    for mode in ("RGB", "P", "CMYK", "I;16"):
        image = Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6) * 999)
        if mode != "I;16":
            image = Image.fromarray(rgb()).convert(mode)
        whole = pixels_of_image(image)
        with monkeypatch.context() as patch:
            patch.setattr(decode, "STRIP_PIXELS", 12)
            np.testing.assert_array_equal(pixels_of_image(image), whole)


def test_an_image_far_smaller_than_the_tiles_is_not_enlarged():
    with pytest.raises(
        BadImageError, match=r"^is 1x1 pixels, too small beside tiles of 64x64: at least 16x16"
    ):
        to_uint8_tile(np.zeros((1, 1, 3), np.uint8), (64, 64), scale_max=255)
    with pytest.raises(BadImageError, match="is 64x15 pixels"):
        to_uint8_tile(np.zeros((15, 64, 3), np.uint8), (64, 64), scale_max=255)
    assert to_uint8_tile(np.zeros((16, 16, 3), np.uint8), (64, 64), scale_max=255).shape == (64, 64, 3)


def damaged_strips() -> list[bytes]:
    """TIFFs that do not unpack: one for Pillow, one for rasterio."""
    eight, file = np.zeros((64, 64, 3), np.uint8), io.BytesIO()
    eight[:] = np.random.default_rng(0).integers(0, 256, (64, 64, 3))
    Image.fromarray(eight).save(file, "TIFF", compression="tiff_deflate")
    sixteen = tiff(np.moveaxis(eight, 2, 0).astype(np.uint16) * 99, compress="deflate")
    broken = []
    for data in (bytearray(file.getvalue()), bytearray(sixteen)):
        data[400:464] = bytes(64)
        broken.append(bytes(data))
    return broken


def test_what_libtiff_and_gdal_say_of_a_file_does_not_reach_the_terminal(capfd):
    for data in damaged_strips():
        with ThreadPoolExecutor() as pool, pytest.raises(BadImageError, match="is damaged"):
            pool.submit(read_pixels, data).result()
    assert capfd.readouterr() == ("", "")


def test_a_damaged_raster_has_the_same_reason_at_each_reading(tmp_path):
    data = write_bands(
        tmp_path / "t.tif", np.arange(8 * 4096, dtype=np.uint16).reshape(8, 64, 64)
    ).read_bytes()
    reasons = set()
    for _ in range(2):
        with pytest.raises(BadImageError, match=r"^is damaged \(") as refused:
            read_pixels(data[:200])
        reasons.add(str(refused.value))
    assert len(reasons) == 1
