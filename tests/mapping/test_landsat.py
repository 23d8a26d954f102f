"""Landsat Collection 2 products: their files, band names and encoding."""

import shutil

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scenes import write_scene

from orbitune.errors import DataError
from orbitune.mapping.scene.radiometry import choose_scaling
from orbitune.mapping.scene.reader import Scene

LANDSAT_8 = "LC08_L2SP_195025_20220301_20220308_02_T1"
LANDSAT_7 = "LE07_L2SP_195025_20020301_20200916_02_T1"
PLACE = {"crs": "EPSG:32632", "transform": from_origin(324_645, 5_194_515, 30, 30), "nodata": 0}


@pytest.fixture(scope="module")
def reflectance(shared):
    """Surface reflectance of four bands at 30 m, float (4, 80, 80)."""
    with rasterio.open(shared / "scenes/switzerland_vaumarcus_offset1000/concise.tif") as file:
        pixels = file.read(window=((100, 340), (100, 340))).astype(float) / 10_000 - 0.1
    return pixels.reshape(4, 80, 3, 80, 3).mean((2, 4))


def write_product(folder, name, bands):
    """Write a product of bands by file name, with the layers that come with them."""
    folder.mkdir()
    for band, values in bands.items():
        numbers = ((values + 0.2) / 2.75e-5).round().astype(np.uint16)
        numbers[:5] = 0
        write_scene(folder / f"{name}_{band}.TIF", numbers[..., None], **PLACE)
    for layer in ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_B10"):
        pixels = np.full((80, 80, 1), 21_824, np.uint16)
        write_scene(folder / f"{name}_{layer}.TIF", pixels, **PLACE)
    (folder / f"{name}_MTL.txt").write_text("GROUP = LANDSAT_METADATA_FILE\n")
    return folder


@pytest.fixture(scope="module")
def product(reflectance, tmp_path_factory):
    blue, green, red, infrared = reflectance
    names = ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7")
    bands = dict(zip(names, (blue, blue, green, red, infrared, red, green), strict=True))
    return write_product(tmp_path_factory.mktemp("landsat") / "product", LANDSAT_8, bands)


def test_a_product_is_read_as_surface_reflectance(product, reflectance):
    with Scene(product) as scene:
        encoding = scene.recognise_encoding(scene.sample())
        scaling = choose_scaling(encoding, scale_max=None)
        numbers, valid = scene.read_rows(0, 80)
        pixels = scaling(numbers)
    assert scene.selection.names == ("red", "green", "blue")
    assert scene.selection.source == "of the Landsat product"
    assert (encoding.kind, encoding.certainty, encoding.level) == ("scaled numbers", "stated", "L2A")
    assert encoding.evidence == ("Landsat Collection 2 Level-2",)
    expected = (reflectance[[2, 1, 0], 5:] / 0.275 * 255).clip(0, 255).transpose(1, 2, 0)
    assert np.abs(pixels[5:] - expected).max() <= 0.52
    assert not valid[:5].any() and valid[5:].all()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_is_read_without_unpacking(product, tmp_path, kind):
    archive = shutil.make_archive(str(tmp_path / LANDSAT_8), kind, product)
    with Scene(product) as folder, Scene(archive) as packed:
        assert np.array_equal(folder.sample(), packed.sample())
        assert [file.name for file in packed.files] == [f"{LANDSAT_8}.{kind}"]


def test_bands_are_named_by_their_wavelengths(product, reflectance):
    with Scene(product, ["nir08", "B04", "swir16"]) as scene:
        assert scene.selection.roles() == ("B8A", "B04", "B11")
        infrared = scene.read_rows(0, 80)[0][0] * 2.75e-5 - 0.2
    assert np.allclose(infrared[5:], reflectance[3, 5:], atol=2e-5)


def test_the_number_of_a_band_of_landsat_is_not_taken_for_that_of_sentinel_2(product):
    there = "coastal, blue, green, red, nir08, swir16, swir22"
    with pytest.raises(DataError, match=f"has no band B5: it has {there}"):
        Scene(product, ["B5", "B4", "B3"])


def test_bands_of_landsat_7_have_other_numbers(reflectance, tmp_path):
    blue, green, red, infrared = reflectance
    bands = {"SR_B1": blue, "SR_B2": green, "SR_B3": red, "SR_B4": infrared}
    folder = write_product(tmp_path / "product", LANDSAT_7, bands)
    with Scene(folder) as scene:
        numbers = scene.read_rows(0, 80)[0] * 2.75e-5 - 0.2
    assert np.allclose(numbers[:, 5:], reflectance[[2, 1, 0], 5:], atol=2e-5)


def test_a_level_1_product_is_refused_in_one_line(tmp_path):
    for band in (2, 3, 4):
        pixels = np.full((40, 40, 1), 9000, np.uint16)
        write_scene(tmp_path / f"LC08_L1TP_195025_20220301_20220308_02_T1_B{band}.TIF", pixels, **PLACE)
    with pytest.raises(DataError, match=r"is a Landsat Level-1 product, .* get the Level-2 product"):
        Scene(tmp_path)


def test_a_product_is_mapped_and_stores_its_encoding(draw, product):
    drawn = draw(product, stride=16)
    assert drawn.report.metadata.encoding.evidence == ("Landsat Collection 2 Level-2",)
    assert any(line.startswith("resampled from 30 x 30 m") for line in drawn.said)
    assert drawn.codes[1:].all()
