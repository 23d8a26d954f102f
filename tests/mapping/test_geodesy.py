"""Areas in hectares under any coordinate reference system, and their table."""

import json

import numpy as np
import pyogrio
import pyproj
import pytest
import rasterio
from rasterio.transform import Affine, from_origin
from scenes import mosaic, read_band, write_scene

from orbitune.errors import DataError
from orbitune.mapping.areas.area_records import ClassArea
from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene.geodesy import PixelAreas, pixel_size
from orbitune.mapping.scene.reader import Scene

FEET = "EPSG:2263"  # New York, in US survey feet
PLACES = {  # by name: CRS, upper left corner, and units of a pixel of 10 m on the ground
    "utm": ("EPSG:32632", 600_000, 5_500_000, 10),
    "web mercator at 50 north": ("EPSG:3857", 1_000_000, 6_446_276, 15.56),
    "web mercator at 70 south": ("EPSG:3857", -5_000_000, -11_068_715, 29.2),
    "degrees": ("EPSG:4326", 11, 50, 1e-4),
    "equal area": ("EPSG:3035", 4_300_000, 3_200_000, 10),
    "feet": (FEET, 980_000, 200_000, 32.8),
    "grads from Paris": ("EPSG:4807", 2, 54, 1e-4),
    "polar": ("EPSG:3413", -200_000, 100_000, 10),
    "across the antimeridian": ("EPSG:3857", 20_036_508, 6_446_276, 15.56),
}


def by_geodesics(crs, transform, row, column):
    """Square metres of a pixel from its geodesic polygon, a hundred times larger."""
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    corners = [(column + x, row + y) for x, y in ((-50, -50), (50, -50), (50, 50), (-50, 50))]
    degrees = [to_degrees.transform(*(transform @ corner)) for corner in corners]
    return abs(pyproj.Geod(ellps="WGS84").polygon_area_perimeter(*zip(*degrees, strict=True))[0]) / 1e4


@pytest.mark.parametrize("place", PLACES)
def test_a_pixel_has_its_area_on_the_ground_everywhere_in_a_scene(place):
    crs, left, top, side = PLACES[place]
    transform = from_origin(left, top, side, side)
    areas = PixelAreas.measure(rasterio.CRS.from_user_input(crs).to_wkt(), transform, height=3000, width=4000)
    for row, column in ((60, 60), (1500, 2000), (2940, 3900), (2000, 300)):
        expected = by_geodesics(crs, transform, row, column)
        assert areas.window(row, 1)[0, column] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("place", PLACES)
def test_the_resolution_of_a_scene_is_metres_on_the_ground(place):
    crs, left, top, side = PLACES[place]
    wkt = rasterio.CRS.from_user_input(crs).to_wkt()
    across, down = pixel_size(wkt, from_origin(left, top, side, side), height=100, width=100)
    assert down == pytest.approx(10, rel=0.12) and across == pytest.approx(10, rel=0.4)
    assert across * down == pytest.approx(
        by_geodesics(crs, from_origin(left, top, side, side), 50, 50), rel=0.01
    )


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 6e5, 0, 10, 5.5e6),  # south up
        Affine.translation(6e5, 5.5e6) @ Affine.rotation(30) @ Affine.scale(10, -10),
    ],
)
def test_turned_scenes_have_the_same_areas(transform):
    areas = PixelAreas.measure(rasterio.CRS.from_epsg(32632).to_wkt(), transform, height=50, width=60)
    assert areas.window(0, 50) == pytest.approx(100.05, rel=1e-3)


def test_the_area_before_a_corner_is_the_sum_of_pixels():
    transform = from_origin(1e6, 9e6, 300, 300)
    areas = PixelAreas.measure(rasterio.CRS.from_epsg(3857).to_wkt(), transform, height=400, width=300)
    whole = areas.window(0, 400)
    rows, columns = np.array([0, 1, 17, 400, 399]), np.array([5, 1, 211, 300, 0])
    sums = [whole[:row, :column].sum() for row, column in zip(rows, columns, strict=True)]
    assert areas.above_left(rows, columns) == pytest.approx(sums)
    assert whole.max() > 1.02 * whole.min()


@pytest.mark.parametrize("crs", ["EPSG:4978", 'LOCAL_CS["a drawing",UNIT["metre",1]]'])
def test_invalid_coordinates_are_one_line(crs, tmp_path):
    file = write_scene(tmp_path / "s.tif", np.ones((20, 20, 3), np.uint8), crs=crs)
    with pytest.raises(DataError, match="has no georeference"):
        Scene(file)


def test_a_scene_beyond_its_projection_is_one_line(tmp_path):
    far = from_origin(5e7, 5e7, 10, 10)
    file = write_scene(tmp_path / "s.tif", np.ones((20, 20, 3), np.uint8), crs="EPSG:3035", transform=far)
    with pytest.raises(DataError, match=r"^Cannot tell where .*s\.tif lies"):
        Scene(file)


def test_in_web_mercator_a_tile_covers_as_much_ground_as_in_training(
    draw, scene, grid, tmp_path, scene_codes
):
    place = from_origin(1_000_000, 6_446_276, 15.56, 15.56)  # 10 m at 50 degrees north
    drawn = draw(write_scene(tmp_path / "m.tif", mosaic(grid), crs="EPSG:3857", transform=place))
    assert drawn.report.metadata.resampled_from_metres is None
    assert np.array_equal(drawn.codes, scene_codes)
    fine = from_origin(1_000_000, 6_446_276, 10, 10)  # 6.4 m
    drawn = draw(write_scene(tmp_path / "f.tif", mosaic(grid), crs="EPSG:3857", transform=fine), grid="scene")
    assert drawn.report.metadata.resampled_from_metres == pytest.approx((6.43, 6.43), rel=0.01)
    assert "resampled from 6.4 x 6.4 m per pixel" in drawn.said[1]
    assert sum(row.hectares for row in drawn.report.areas) == pytest.approx(80 * 96 * 6.43**2 / 1e4, rel=0.01)


def test_a_scene_whose_pixels_differ_on_the_ground_is_warned_of(draw, grid, tmp_path):
    high = from_origin(0, 85, 0.05, 0.05)
    drawn = draw(
        write_scene(tmp_path / "s.tif", mosaic(grid), crs="EPSG:4326", transform=high), resolution=1000
    )
    assert any(
        "m on the ground, and those of the training tiles are all alike" in w for w in drawn.report.warnings
    )


# --- the table and the files ------------------------------------------------------------------------------


@pytest.fixture
def ragged(grid, tmp_path):
    """A scene in Web Mercator, whose edge of nodata is slanted, with a hole."""
    pixels = np.maximum(mosaic(grid), 1)
    rows, columns = np.indices(pixels.shape[:2])
    pixels[
        (columns < 8 + rows // 3) | (rows + columns > 160) | ((rows - 40) ** 2 + (columns - 60) ** 2 < 30)
    ] = 0
    place = from_origin(1_000_000, 6_446_276, 15.56, 15.56)
    return write_scene(tmp_path / "ragged.tif", pixels, crs="EPSG:3857", transform=place, nodata=0)


def recount(file):
    """Hectares of each code, from the pixels of a map alone."""
    with rasterio.open(file) as opened:
        codes = opened.read(1)
        crs, transform = opened.crs.to_wkt(), opened.transform
    each = [by_geodesics(crs, transform, row, codes.shape[1] // 2) for row in range(len(codes))]
    return {code: ((codes == code).sum(1) * each).sum() / 1e4 for code in np.unique(codes) if code}


@pytest.mark.parametrize("shape", ["scene", "cells"])
@pytest.mark.parametrize(
    "request_", [{"stride": 16}, {"stride": 8}, {"stride": 4, "mode": "dense", "not_sure": False}]
)
def test_the_table_and_the_polygons_are_the_pixels_of_the_file(bundle, ragged, tmp_path, request_, shape):
    outputs = {"map": tmp_path / "m.tif", "polygons": tmp_path / "p.gpkg"}
    report = map_scene(bundle.folder, ragged, outputs=outputs, grid=shape, **request_, progress=False)
    found = recount(outputs["map"])
    names = {name: code for code, name in enumerate(report.metadata.classes, 1)} | {"not sure": 255}
    assert (255 in found) == request_.get("not_sure", True) and len(found) > 1
    for row in report.areas:
        assert row.hectares == pytest.approx(found.get(names[row.name], 0), rel=1e-3)
    total = sum(row.hectares for row in report.areas)
    assert [row.fraction for row in report.areas] == pytest.approx(
        [row.hectares / total for row in report.areas]
    )
    codes, _, hectares = pyogrio.raw.read(outputs["polygons"])[3]
    for row in report.areas:
        assert hectares[codes == names[row.name]].sum() == pytest.approx(row.hectares)


def test_pixels_that_the_scene_does_not_have_are_in_no_polygon(bundle, ragged, tmp_path):
    outputs = {"map": tmp_path / "m.tif", "polygons": tmp_path / "p.gpkg"}
    map_scene(bundle.folder, ragged, outputs=outputs, progress=False)
    from rasterio.features import rasterize

    with rasterio.open(outputs["map"]) as file:
        codes, transform = file.read(1), file.transform
    import shapely

    _, _, geometries, (values, *_) = pyogrio.raw.read(outputs["polygons"])
    shapes = zip(shapely.from_wkb(geometries), values.tolist(), strict=True)
    drawn = rasterize(shapes, codes.shape, transform=transform, dtype="int32")
    assert np.array_equal(drawn, codes)


def test_a_map_that_went_on_has_the_same_table(bundle, ragged, tmp_path, monkeypatch):
    from orbitune.mapping.outputs import writer

    out = tmp_path / "m.tif"
    whole = map_scene(bundle.folder, ragged, outputs=out, stride=8, progress=False)
    monkeypatch.setattr(writer, "write_map", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        map_scene(bundle.folder, ragged, outputs=out, stride=8, progress=False)
    monkeypatch.undo()
    assert (tmp_path / ".m.tif.parts").is_dir()
    said = []
    again = map_scene(bundle.folder, ragged, outputs=out, stride=8, progress=False, log=said.append)
    assert again.areas == whole.areas and any(line.startswith("going on after") for line in said)
    assert {path.name for path in tmp_path.iterdir()} == {"ragged.tif", "m.tif", "m.tif.aux.xml", "m.qml"}


def test_json_has_the_areas_of_the_file(orbitune, bundle, ragged, tmp_path):
    code, out, _ = orbitune("map", bundle.folder, ragged, "--out", tmp_path / "m.tif", "--json", "--quiet")
    rows = {row["name"]: row["hectares"] for row in json.loads(out)["areas"]}
    assert code == 0 and rows["not sure"] == pytest.approx(recount(tmp_path / "m.tif").get(255, 0), rel=1e-3)


# --- not sure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_", [{"stride": 16}, {"stride": 8, "mode": "dense"}, {"stride": 2}])
def test_with_not_sure_off_no_cell_is_not_sure_at_the_edge_of_nodata_either(draw, ragged, request_):
    on, off = (draw(ragged, not_sure=each, **request_) for each in (True, False))
    assert (on.codes == 255).any() and not (off.codes == 255).any()
    assert np.array_equal(on.codes == 0, off.codes == 0)
    assert (off.confidence[off.codes > 0] > 0).all()
    assert off.report.areas[-1] == ClassArea(name="not sure", hectares=0, fraction=0)


def test_a_dense_head_never_not_sure_stays_so(draw, tmp_path):
    noise = np.random.default_rng(0).integers(0, 250, (96, 96, 3)).astype(np.uint8)
    noise[40:60] = np.indices((20, 96)).sum(0)[..., None] % 2 * 249
    drawn = draw(write_scene(tmp_path / "s.tif", noise), stride=4, not_sure=False, grid="scene")
    assert set(np.unique(read_band(drawn.path))) <= {1, 2, 3}
