"""A map lies on its scene's pixels, whatever their size and projection."""

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from scenes import mosaic, read_band, write_scene

DEGREE = 10 / 111_320  # degrees of latitude that are ten metres

PLACES = {
    "degrees, 7.5 m": ("EPSG:4326", Affine(0.75 * DEGREE, 0, 11, 0, -0.75 * DEGREE, 0.1)),
    "rotated, 6 m": (
        "EPSG:32632",
        Affine.translation(6e5, 5.5e6) * Affine.rotation(30) * Affine.scale(6, -6),
    ),
    "web mercator at 50 degrees": ("EPSG:3857", Affine(9, 0, 1_200_000, 0, -9, 6_446_000)),
    "wide pixels": ("EPSG:32632", Affine(20, 0, 6e5, 0, -4, 5.5e6)),
    "south up": ("EPSG:32632", Affine(7, 0, 6e5, 0, 7, 5.5e6)),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_files_have_size_transform_and_crs_of_the_scene(draw, grid, tmp_path, place):
    crs, transform = place
    pixels = mosaic(grid).repeat(2, 0).repeat(2, 1)[:149, :187]
    scene = write_scene(tmp_path / "s.tif", pixels, crs=crs, transform=transform)
    drawn = draw(scene, grid="scene")
    assert drawn.report.metadata.resampled_from_metres is not None
    for path in (drawn.path, tmp_path / "confidence.tif"):
        with rasterio.open(path) as file, rasterio.open(scene) as source:
            assert (file.shape, file.transform, file.crs) == (source.shape, source.transform, source.crs)
    assert (drawn.codes > 0).all()


def test_a_pixel_has_the_label_of_the_cell_around_its_centre(draw, grid, tmp_path):
    scene = write_scene(tmp_path / "s.tif", mosaic(grid).repeat(2, 0).repeat(2, 1)[:149, :187], metres=6)
    native, cells = draw(scene, grid="scene"), draw(scene)
    height, width = native.report.metadata.pixels
    rows = ((np.arange(149) + 0.5) * height / 149).astype(int) // 16
    columns = ((np.arange(187) + 0.5) * width / 187).astype(int) // 16
    assert np.array_equal(native.codes, cells.codes[np.ix_(rows, columns)])
    assert np.array_equal(native.confidence, cells.confidence[np.ix_(rows, columns)])


def test_gaps_are_those_of_the_scenes_own_pixels(draw, grid, tmp_path):
    pixels = mosaic(grid).repeat(2, 0).repeat(2, 1)
    pixels[60:63, 70:75] = 255  # thinner than a pixel of ten metres here and there
    pixels[100, 20] = 255
    gap = (pixels == 255).all(2)
    codes = draw(write_scene(tmp_path / "s.tif", pixels, metres=5), grid="scene", not_sure=False).codes
    assert np.array_equal(codes == 0, gap)


def test_polygons_and_areas_are_those_of_the_scenes_pixels(bundle, grid, tmp_path):
    import pyogrio

    from orbitune import map_scene

    scene = write_scene(tmp_path / "s.tif", mosaic(grid).repeat(2, 0).repeat(2, 1)[:149, :187], metres=5)
    paths = {"map": tmp_path / "m.tif", "polygons": tmp_path / "p.gpkg", "preview": tmp_path / "v.png"}
    report = map_scene(bundle.folder, scene, outputs=paths, progress=False)
    hectares = pyogrio.raw.read(paths["polygons"])[3][2]
    assert hectares.sum() == pytest.approx(149 * 187 * 25 / 1e4, rel=1e-3)
    assert sum(area.hectares for area in report.areas) == pytest.approx(hectares.sum())
    left, bottom, right, top = pyogrio.read_info(paths["polygons"])["total_bounds"]
    assert (left, top) == (600_000, 5_500_000) and (right, bottom) == (600_000 + 935, 5_500_000 - 745)


@pytest.mark.shared
def test_a_real_scene_in_degrees_keeps_its_grid(draw, shared):
    """Amsterdam, 6 m, as one file per band; one file is enough for the grid."""
    file = shared / "scenes" / "netherlands_amsterdam_l1c" / "B04.tif"
    if not file.exists():
        pytest.skip("needs the shared scenes")
    drawn = draw(file, grid="scene", bands=(1, 1, 1), scale="0:18000")
    with rasterio.open(file) as source, rasterio.open(drawn.path) as made:
        assert (made.shape, made.transform, made.crs) == (source.shape, source.transform, source.crs)
    assert read_band(drawn.path).any()
