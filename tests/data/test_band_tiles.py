"""Tile sets of more bands than red, green and blue."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from band_tiles import NAMES, band_tile_folder, cut_scene, write_bands
from image_files import encode, jp2, tile, write

from orbitune.data.tileset import load_tiles
from orbitune.errors import DataError
from orbitune.sources.decode import DECODER_VERSION
from orbitune.sources.multiband import EUROSAT_BANDS
from orbitune.sources.registry import find_source

pytest.importorskip("rasterio")


@pytest.fixture
def folder(tmp_path):
    return band_tile_folder(tmp_path / "tiles", each=4)


def test_tiles_keep_their_bands_names_and_16_bits(folder):
    tiles = load_tiles(str(folder), progress=False)
    assert tiles.tiles.shape == (12, 16, 16, 5) and tiles.tiles.dtype == np.uint16
    assert tiles.bands == NAMES and tiles.wavelengths[:2] == (664.6, 559.8)
    assert not tiles.is_rgb and tiles.scale_max is None
    import rasterio

    with rasterio.open(folder / tiles.names[5]) as file:
        expected = np.moveaxis(file.read(), 0, 2)
    np.testing.assert_array_equal(tiles.tiles[5], expected)
    np.testing.assert_array_equal(tiles.read(np.array([5, 0]))[0], expected)


def test_jpeg_2000_of_more_than_three_bands_is_read_whole(tmp_path):
    bands = np.arange(4 * 16 * 16, dtype=np.uint16).reshape(4, 16, 16)
    for name in ("Forest", "Sea"):
        write(tmp_path / name / f"{name}.jp2", jp2(bands))
    tiles = load_tiles(str(tmp_path), progress=False)
    assert len(tiles.bands) == 4
    np.testing.assert_array_equal(tiles.tiles[0], np.moveaxis(bands, 0, 2))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("more", [False, True])
def test_stores_of_versions_that_skipped_jpeg_2000_files_are_not_read_in_their_place(tmp_path, packed, more):
    for name in ("Forest", "Sea"):
        write(tmp_path / "tiles" / name / "0.png", encode(tile(size=16)))
        if more:
            write(tmp_path / "tiles" / name / "1.JP2", jp2(np.zeros((3, 16, 16), np.uint8)))
    data = (
        shutil.make_archive(str(tmp_path / "tiles"), "zip", tmp_path / "tiles")
        if packed
        else tmp_path / "tiles"
    )
    earlier = hashlib.sha256(f"{find_source(str(data)).digest()} {DECODER_VERSION} skip".encode()).hexdigest()
    tiles = load_tiles(str(data), "skip", progress=False)
    assert (len(tiles.labels), tiles.fingerprint == earlier) == ((4, False) if more else (2, True))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("names", [("blue", "green", "red"), ("red", "green", "blue")])
def test_stores_of_versions_that_did_not_read_colours_by_name_are_not_read_in_their_place(
    tmp_path, packed, names
):
    pixels = np.arange(3 * 16 * 16, dtype=np.uint16).reshape(3, 16, 16).astype(np.uint8)
    for label in ("Forest", "Sea"):
        write_bands(tmp_path / "tiles" / label / f"{label}.tif", pixels, names)
    data = (
        shutil.make_archive(str(tmp_path / "tiles"), "zip", tmp_path / "tiles")
        if packed
        else tmp_path / "tiles"
    )
    earlier = hashlib.sha256(f"{find_source(str(data)).digest()} {DECODER_VERSION} stop".encode()).hexdigest()
    tiles = load_tiles(str(data), progress=False)
    by_name = names[0] == "red"
    assert (tiles.fingerprint == earlier) == by_name
    np.testing.assert_array_equal(tiles.tiles[0], np.moveaxis(pixels if by_name else pixels[::-1], 0, 2))


def test_bands_are_chosen_by_name_alias_or_number(folder):
    every = load_tiles(str(folder), progress=False)
    some = load_tiles(str(folder), bands=("nir", "B04", "5"), progress=False)
    assert some.bands == ("B08", "B04", "B11")
    np.testing.assert_array_equal(some.tiles, every.tiles[..., [3, 0, 4]])
    assert some.fingerprint != every.fingerprint


def test_thirteen_bands_without_names_are_in_the_order_of_eurosat(tmp_path):
    folder = band_tile_folder(tmp_path / "tiles", bands=None, count=13, each=1)
    tiles = load_tiles(str(folder), progress=False)
    assert tiles.bands == EUROSAT_BANDS and tiles.bands[-1] == "B8A"
    assert any("order of EuroSAT" in note for note in tiles.notes)
    rgb = load_tiles(str(folder), bands=("B04", "B03", "B02"), progress=False)
    np.testing.assert_array_equal(rgb.tiles, tiles.tiles[..., [3, 2, 1]])


def test_bands_without_names_have_numbers(tmp_path):
    folder = band_tile_folder(tmp_path / "tiles", bands=None, count=4, each=1, dtype="uint8")
    tiles = load_tiles(str(folder), bands=("all",), progress=False)
    assert tiles.bands == ("red", "green", "blue", "4")  # as GDAL marks four 8-bit bands
    assert tiles.tiles.dtype == np.uint8


def test_tiles_of_red_green_and_blue_are_as_before(folder, tmp_path):
    write(tmp_path / "rgb/a/1.png", encode(tile(1)))
    write(tmp_path / "rgb/b/2.png", encode(tile(2)))
    tiles = load_tiles(str(tmp_path / "rgb"), progress=False)
    assert tiles.is_rgb and tiles.bands == ("red", "green", "blue")
    stored = json.loads((tiles.rows.file.parent / "meta.json").read_text())
    assert "bands" not in stored and "statistics" not in stored


def test_statistics_are_those_of_the_training_tiles_and_are_kept(folder):
    tiles = load_tiles(str(folder), progress=False)
    train = np.array([7, 1, 4])
    found = tiles.statistics(train)
    pixels = tiles.tiles[np.sort(train)].reshape(-1, 5).astype(float)
    np.testing.assert_allclose(found.mean, pixels.mean(0))
    np.testing.assert_allclose(found.std, pixels.std(0))
    np.testing.assert_allclose(found.median, np.percentile(pixels, 50, axis=0, method="inverted_cdf"))
    assert found.tiles == 3
    again = load_tiles(str(folder), progress=False)
    stored = json.loads((again.rows.file.parent / "meta.json").read_text())
    assert again.statistics(train) == found and len(stored["statistics"]) == 1


def test_tiles_of_other_sizes_are_resized_in_16_bits(folder):
    write_bands(folder / "class_0" / "large.tif", np.full((5, 32, 32), 3000, np.uint16), NAMES)
    tiles = load_tiles(str(folder), progress=False)
    index = tiles.names.index("class_0/large.tif")
    assert (tiles.tiles[index] == 3000).all()


def test_a_tile_with_another_number_of_bands_is_named(folder):
    write_bands(folder / "class_0" / "a.tif", np.ones((4, 16, 16), np.uint16))
    with pytest.raises(DataError, match=r"^class_0/a.tif has 4 bands, and other tiles 5\. Fix or remove"):
        load_tiles(str(folder), progress=False)
    tiles = load_tiles(str(folder), "skip", progress=False)
    assert len(tiles.tiles) == 12 and tiles.skipped == (("class_0/a.tif", "has 4 bands, and other tiles 5"),)


def test_8_bits_among_16_are_named(folder):
    write_bands(folder / "class_0" / "a.tif", np.ones((5, 16, 16), np.uint8), NAMES)
    with pytest.raises(DataError, match="has 8-bit values, and other tiles 16-bit ones"):
        load_tiles(str(folder), progress=False)


@pytest.mark.parametrize("band", ["B12", "7", "swir2"])
def test_a_band_that_does_not_exist_lists_those_there_are(folder, band):
    with pytest.raises(DataError, match=f"no band {band}: it has B04, B03, B02, B08, B11"):
        load_tiles(str(folder), bands=("B04", band), progress=False)


def test_bands_of_an_rgb_image_are_red_green_and_blue(tmp_path):
    for name in "ab":
        write(tmp_path / f"rgb/{name}/1.png", encode(tile(7)))
    with pytest.raises(DataError, match="no band B08: it has red, green, blue"):
        load_tiles(str(tmp_path / "rgb"), bands=("B04", "B08"), progress=False)
    tiles = load_tiles(str(tmp_path / "rgb"), bands=("blue", "B04"), progress=False)
    assert tiles.tiles[0, 0, 0].tolist() == [40, 7]


def test_synthetic_tiles_have_no_other_bands():
    with pytest.raises(DataError, match=r"no band B08: it has red, green, blue"):
        load_tiles("synthetic:10", bands=("B08",), progress=False)


def test_windows_of_a_real_scene_of_eight_bands(shared, tmp_path):
    scene = shared / "scenes" / "germany_leipzig_mlr3" / "leipzig_raster.tif"
    folder = cut_scene(scene, tmp_path / "leipzig", ("water", "city", "field"))
    tiles = load_tiles(str(folder), progress=False)
    assert tiles.bands == ("B02", "B03", "B04", "B06", "B07", "B08", "B11", "ndvi")
    assert tiles.wavelengths[-1] is None and tiles.tiles.dtype == np.uint16
    assert 1000 < tiles.statistics(np.arange(len(tiles.tiles))).median[5] < 4000
