"""Maps of models that read other bands than red, green and blue."""

import numpy as np
import pytest
import rasterio
from band_tiles import NAMES, cut_scene, write_bands
from PIL import Image
from safe_products import write_safe
from samples import backbone_folder
from scenes import read_band

from orbitune.errors import DataError
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.classifier import Classifier
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.pipeline import map_scene
from orbitune.recipe import Recipe
from orbitune.training.run import train

ROWS, COLUMNS = 4, 5


@pytest.fixture(scope="module")
def tile_files(band_place):
    """Twenty training tiles, the classes mixed."""
    files = sorted((band_place / "tiles").rglob("*.tif"))
    return [files[n] for n in np.random.default_rng(0).permutation(len(files))[: ROWS * COLUMNS]]


@pytest.fixture(scope="module")
def pixels(tile_files):
    """The tiles side by side, uint16 (5, 64, 80)."""
    tiles = []
    for file in tile_files:
        with rasterio.open(file) as opened:
            tiles.append(opened.read())
    grid = np.stack(tiles).reshape(ROWS, COLUMNS, 5, 16, 16)
    return grid.transpose(2, 0, 3, 1, 4).reshape(5, 16 * ROWS, 16 * COLUMNS)


@pytest.fixture
def map_bands(band_bundle, tmp_path):
    """Maps a scene with a pixel for each cell, one a tile; report, codes and lines."""

    def map_bands(scene, **options):
        said: list[str] = []
        settings = {"grid": "cells", "window": 16, "progress": False, "log": said.append, **options}
        report = map_scene(band_bundle.folder, scene, outputs=tmp_path / "map.tif", **settings)
        return report, read_band(tmp_path / "map.tif"), said

    return map_bands


def codes_of(folder, files):
    """Codes of the classes that a model gives single tiles, int (N,)."""
    classifier = Classifier(folder)
    return np.array([1 + classifier.classes.index(row.labels[0][0]) for row in classifier.predict(files)])


# --- bands by name ----------------------------------------------------------------------------------------


def test_bands_are_found_by_name_in_any_order(map_bands, band_place, pixels, tile_files, tmp_path):
    names = ("B11", "B01", "B08", "B02", "B03", "B04")
    order = [4, 0, 3, 2, 1, 0]  # B01 holds something else
    report, codes, said = map_bands(write_bands(tmp_path / "s.tif", pixels[order], names), not_sure=False)
    assert np.array_equal(codes.ravel(), codes_of(band_place / "bundle", tile_files))
    assert {1, 2, 3} <= set(codes.ravel().tolist())
    assert "bands: B04 6, B03 5, B02 4, B08 3, B11 1 (by their names)" in said
    metadata = report.metadata
    assert metadata.model_bands == metadata.band_names == NAMES and metadata.bands == (6, 5, 4, 3, 1)


@pytest.mark.parametrize(
    "names",
    [
        ("red", "green", "blue", "nir", "swir16"),
        ("665 nm", "560 nm", "492 nm", "833 nm", "1.61 um"),
        ("Band 1 (664.6 Nanometers)", "559.8 nm", "492.4 nm", "842 nm", "1613.7 nanometers"),
    ],
)
def test_bands_are_found_by_colours_and_wavelengths(map_bands, pixels, tmp_path, names):
    expected = map_bands(write_bands(tmp_path / "named.tif", pixels, NAMES))[1]
    report, codes, _ = map_bands(write_bands(tmp_path / "s.tif", pixels, names))
    assert np.array_equal(codes, expected) and report.metadata.band_names == NAMES


def test_bands_are_found_by_the_wavelengths_in_their_metadata(map_bands, pixels, tmp_path):
    expected = map_bands(write_bands(tmp_path / "named.tif", pixels, NAMES))[1]
    scene = write_bands(tmp_path / "s.tif", pixels[::-1])
    with rasterio.open(scene, "r+") as file:
        for band, micrometres in enumerate((1.6137, 0.8328, 0.4924, 0.5598, 0.6646), 1):
            file.update_tags(band, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=micrometres)
    report, codes, _ = map_bands(scene)
    assert np.array_equal(codes, expected) and report.metadata.bands == (5, 4, 3, 2, 1)


def test_bands_without_names_are_given_by_number(map_bands, pixels, tmp_path):
    expected = map_bands(write_bands(tmp_path / "named.tif", pixels, NAMES))[1]
    scene = write_bands(tmp_path / "s.tif", pixels[::-1])
    with pytest.raises(DataError, match=r"s\.tif has no bands B04, B03, B02, B08, B11: it has 1 to 5\. The"):
        map_bands(scene)
    report, codes, _ = map_bands(scene, bands=(5, 4, 3, 2, 1))
    assert np.array_equal(codes, expected) and report.metadata.bands_source == "given"
    assert np.array_equal(map_bands(write_bands(tmp_path / "n.tif", pixels), bands=["all"])[1], expected)


def test_missing_bands_are_one_line_that_names_them(map_bands, pixels, tmp_path):
    scene = write_bands(tmp_path / "s.tif", pixels[:3], NAMES[:3])
    with pytest.raises(DataError) as refused:
        map_bands(scene)
    assert str(refused.value) == (
        f"{scene} has no bands B08, B11: it has B04, B03, B02. The model reads B04, B03, B02, B08, B11: "
        "name them so with --bands."
    )
    with pytest.raises(DataError, match=r"^--bands names 3 bands, and the model reads 5: B04, B03, B02, B08"):
        map_bands(scene, bands=("B04", "B03", "B02"))


# --- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encode", "offset"),
    [
        (lambda numbers: (numbers / 10_000).astype(np.float32), 0),
        (lambda numbers: numbers.astype(np.float32), 0),
        (lambda numbers: (numbers * 6.5535).astype(np.uint16), 0),
        (lambda numbers: numbers + 1000, -1000),
    ],
)
def test_scenes_of_other_encodings_are_brought_to_the_numbers_of_the_tiles(
    map_bands, pixels, tmp_path, encode, offset
):
    expected = map_bands(write_bands(tmp_path / "numbers.tif", pixels, NAMES))[1]
    scene = write_bands(tmp_path / "s.tif", encode(pixels), NAMES)
    if offset:
        with rasterio.open(scene, "r+") as file:
            file.offsets = [offset] * 5
    report, codes, said = map_bands(scene)
    assert (codes == expected).mean() >= 0.95
    assert report.metadata.scaling.top == 10_000 and "become 0 to 10000 (to digital numbers" in said[0]


def test_a_given_range_becomes_0_to_10000(map_bands, pixels, tmp_path):
    expected = map_bands(write_bands(tmp_path / "numbers.tif", pixels, NAMES))[1]
    scene = write_bands(tmp_path / "s.tif", (pixels // 20).astype(np.uint8), NAMES)
    with pytest.raises(
        DataError, match=r"s\.tif has 8-bit values, and the model was trained on 16-bit tiles"
    ):
        map_bands(scene)
    _, codes, said = map_bands(scene, scale="0:500")
    assert (codes == expected).mean() >= 0.9
    assert said[0] == "scaling: 0 to 500 in each band become 0 to 10000 (given)"
    with pytest.raises(DataError, match="A model of 16-bit tiles takes no percentiles: give the values of"):
        map_bands(scene, scale="2%:98%")


def test_brightness_unlike_the_training_tiles_is_warned_of_by_the_names_of_the_bands(
    map_bands, pixels, tmp_path
):
    pixels = pixels.copy()
    pixels[3] += 8000
    warnings = map_bands(write_bands(tmp_path / "s.tif", pixels, NAMES), not_sure=False)[0].warnings
    assert warnings[0].startswith("B08 is ") and "check --bands and --scale" in warnings[0]


def test_a_safe_product_with_bands_of_20_m_is_mapped_by_its_metadata(map_bands, pixels, tmp_path):
    place = {"crs": "EPSG:32632", "transform": rasterio.transform.from_origin(600_000, 5_500_000, 10, 10)}
    bands = dict(zip(NAMES, pixels + 1000, strict=True))
    bands["B11"] = np.ascontiguousarray(bands["B11"][::2, ::2])
    report, codes, _ = map_bands(
        write_safe(tmp_path, bands, level="L2A", offset=-1000, **place), scale="none"
    )
    assert codes.shape == (ROWS, COLUMNS) and (codes > 0).all()
    metadata = report.metadata
    assert metadata.band_names == NAMES and metadata.encoding.certainty == "stated"
    assert metadata.scaling.low == (1000.0,) * 5 and metadata.scaling.high == (11_000.0,) * 5


# --- everything that follows ------------------------------------------------------------------------------


def test_a_dense_map_of_an_area_and_a_mosaic_follow(map_bands, pixels, tmp_path):
    """Fields of three tiles, 192 pixels wide in two files."""
    import pyogrio.raw
    import shapely

    fields = np.tile(pixels[:, :48, :48], (1, 2, 4))
    west = write_bands(tmp_path / "west.tif", fields[:, :, :100], NAMES)
    place = rasterio.transform.from_origin(600_900, 5_500_000, 10, 10)
    east = write_bands(tmp_path / "east.tif", fields[::-1, :, 90:], NAMES[::-1], transform=place)
    area = shapely.box(600_200, 5_499_200, 601_700, 5_499_900)
    pyogrio.raw.write(
        tmp_path / "a.gpkg", shapely.to_wkb([area]), [], [], geometry_type="Polygon", crs="EPSG:32632"
    )
    whole = map_bands(write_bands(tmp_path / "whole.tif", fields, NAMES), stride=8)[1]
    assert np.array_equal(map_bands([west, east], stride=8)[1], whole)
    part = map_bands([west, east], stride=8, aoi=tmp_path / "a.gpkg")[1]
    assert np.array_equal(part[part > 0], whole[part > 0]) and 0 < (part > 0).mean() < 0.8
    report, dense, _ = map_bands([west, east], stride=4, mode="dense")
    assert report.agreement.fraction > 0.5 and dense.shape == (24, 48)


def test_the_tags_say_what_was_read_and_those_of_rgb_maps_are_as_before(
    map_bands, draw, scene, pixels, tmp_path
):
    report, _, _ = map_bands(write_bands(tmp_path / "s.tif", pixels, NAMES))
    opened = ClassMap.open(tmp_path / "map.tif")
    assert opened.metadata == report.metadata and opened.metadata.model_bands == NAMES
    stored = draw(scene).report.metadata.to_json()
    assert "model_bands" not in stored and "top" not in stored["scaling"]


@pytest.mark.parametrize(("names", "colours"), [(NAMES, True), (("B8A", "B12", "B11", "B08", "B07"), False)])
def test_the_preview_shows_colours_or_the_first_band(names, colours, pixels):
    from orbitune.data.preview import rgb_preview

    shown = rgb_preview(pixels.transpose(1, 2, 0), names)
    assert shown.dtype == np.uint8 and shown.min() == 0 and shown.max() == 255
    assert (shown[..., 0] == shown[..., 1]).all() != colours


def test_the_app_maps_with_the_bands_of_the_model_and_shows_its_colours(band_bundle, pixels, tmp_path):
    from orbitune.mapping.options import MapOptions
    from orbitune.serving.map_function import map_upload
    from orbitune.serving.service import PredictionService
    from orbitune.serving.storage import Storage

    scene = write_bands(tmp_path / "s.tif", pixels[[2, 1, 0, 3, 4]], ("B02", "B03", "B04", "B08", "B11"))
    storage = Storage()
    try:
        done = map_upload(
            PredictionService({"bands": band_bundle.folder}).get_model(None),
            scene,
            options=MapOptions(),
            storage=storage,
            on_progress=lambda done, parts: None,
        )
        with rasterio.open(done.archive.parent / "scene.tif") as file:
            shown = file.read()
    finally:
        storage.close()
    assert done.report.metadata.bands == (3, 2, 1, 4, 5)
    assert [np.corrcoef(shown[n].ravel(), pixels[n].ravel())[0, 1] > 0.95 for n in range(3)] == [True] * 3


# --- real scenes ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leipzig(shared, tmp_path_factory):
    """A model of the eight bands of a real scene, and the scene."""
    scene = shared / "scenes" / "germany_leipzig_mlr3" / "leipzig_raster.tif"
    place = tmp_path_factory.mktemp("leipzig")
    tiles = cut_scene(scene, place / "tiles", ("dark", "middle", "bright"), side=16)
    recipe = {"data": str(tiles), "backbone": str(backbone_folder(place / "backbone")), "epochs": 6}
    recipe |= {"batch_size": 16, "learning_rate": 1e-2, "precision": "fp32", "augment": "flips"}
    train(Recipe.make(recipe), place / "run", progress=False)
    return build_bundle(place / "run", place / "bundle", progress=False).folder, scene


def test_a_real_scene_of_eight_bands_has_the_labels_of_its_tiles(leipzig, tmp_path):
    folder, scene = leipzig
    outputs = {"map": tmp_path / "m.tif", "preview": tmp_path / "p.png"}
    report = map_scene(folder, scene, outputs=outputs, grid="cells", not_sure=False, progress=False)
    codes = read_band(tmp_path / "m.tif")
    tiles = {int(f.stem.split("_")[-1]): f for f in (folder.parent / "tiles").rglob("*.tif")}
    expected = codes_of(folder, [tiles[n] for n in sorted(tiles)]).reshape(12, 9)
    assert (codes[:12, :9] == expected).mean() > 0.97  # bf16, batches of another size
    assert report.metadata.model_bands[-1] == "ndvi" and report.warnings == ()
    assert np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).std() > 10


def test_bands_of_20_m_are_brought_to_the_10_m_of_the_others(shared, tmp_path):
    """A model of BigEarthNet's patches, of which one is mapped; two bands have 20 m."""
    patches = sorted((shared / "scenes/bigearthnet_tiny").iterdir())
    for number, patch in enumerate(patches):
        (tmp_path / "tiles" / f"class_{number % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tiles" / f"class_{number % 2}" / patch.name).symlink_to(patch)
    recipe = {"data": str(tmp_path / "tiles"), "backbone": str(backbone_folder(tmp_path / "backbone"))}
    recipe |= {"epochs": 1, "batch_size": 4, "precision": "fp32", "augment": "none", "split": "random"}
    train(Recipe.make(recipe), tmp_path / "run", progress=False)
    report = map_scene(tmp_path / "run", patches[0], outputs=tmp_path / "m.tif", grid="cells", progress=False)
    assert report.metadata.band_names == ("B02", "B03", "B04", "B08", "B11", "B12")
    assert report.metadata.pixels == (120, 120)
    assert read_band(tmp_path / "m.tif") == codes_of(tmp_path / "run", [patches[0]])


def test_8_bit_tiles_of_other_bands_need_a_scene_of_8_bits_or_a_range(shared, tmp_path):
    real = shared / "scenes" / "sentinel2_l1c_beaufort_utm18n_10m.tif"
    with rasterio.open(real) as file:
        crop = file.read(window=((600, 760), (600, 760)))
    eight = write_bands(tmp_path / "eight.tif", crop, ("B04", "B03", "B02", "B08"))
    tiles = cut_scene(eight, tmp_path / "tiles", ("a", "b"), side=16)
    for file in tiles.rglob("*.tif"):
        with rasterio.open(file) as opened:
            values, names = opened.read().astype(np.uint8), opened.descriptions
        write_bands(file, values, names)
    recipe = {"data": str(tiles), "backbone": str(backbone_folder(tmp_path / "backbone")), "epochs": 1}
    recipe["bands"] = ("B04", "B03", "B02", "B08")
    train(Recipe.make({**recipe, "precision": "fp32", "augment": "none"}), tmp_path / "run", progress=False)
    outputs = tmp_path / "m.tif"
    map_scene(tmp_path / "run", eight, outputs=outputs, grid="cells", progress=False)
    expected = read_band(outputs)
    assert (expected > 0).all()
    deep = write_bands(tmp_path / "deep.tif", crop.astype(np.uint16) * 100, ("B04", "B03", "B02", "B08"))
    with pytest.raises(
        DataError, match=r"deep\.tif has other than 8-bit values, and the model was trained on"
    ):
        map_scene(tmp_path / "run", deep, outputs=outputs, progress=False)
    map_scene(tmp_path / "run", deep, outputs=outputs, grid="cells", scale="0:25500", progress=False)
    assert np.array_equal(read_band(outputs), expected)
