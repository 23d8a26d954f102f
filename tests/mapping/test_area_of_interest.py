"""Maps confined to polygons: nothing outside is read or labelled."""

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from rasterio.transform import from_origin

from orbitune.errors import DataError
from orbitune.mapping.area_of_interest import AreaOfInterest
from orbitune.mapping.scene.mosaic import Mosaic
from orbitune.mapping.scene.raster_grid import RasterGrid

X, Y = 600_000, 5_500_000  # upper left corner of the scenes
TRIANGLE = shapely.Polygon([(X + 210, Y - 90), (X + 700, Y - 330), (X + 330, Y - 610)])
PLACE = from_origin(X, Y, 10, 10)


def write_area(path, *polygons, crs="EPSG:32632", kind="Polygon", layer=None, append=False):
    options = {"crs": crs, "append": append, **({"layer": layer} if layer else {})}
    pyogrio.raw.write(path, shapely.to_wkb(np.array(polygons, object)), [], [], geometry_type=kind, **options)
    return path


def project(shape, crs):
    transformer = Transformer.from_crs("EPSG:32632", crs, always_xy=True)
    return shapely.transform(shapely.segmentize(shape, 20), transformer.transform, interleaved=False)


def inside(shape, size=(80, 96)):
    return rasterize([shape], size, transform=PLACE).astype(bool)


def test_inside_is_the_map_of_the_whole_scene_and_outside_is_nothing(draw, scene, tmp_path):
    whole = draw(scene, grid="scene", stride=8)
    part = draw(scene, grid="scene", stride=8, aoi=write_area(tmp_path / "a.gpkg", TRIANGLE))
    within = inside(TRIANGLE)
    assert part.codes.shape == whole.codes.shape
    assert np.array_equal(part.codes, np.where(within, whole.codes, 0))
    assert np.array_equal(part.confidence, np.where(within, whole.confidence, 0))
    hectares = sum(area.hectares for area in part.report.areas)
    assert hectares == pytest.approx(within.sum() * 0.01, rel=2e-3)
    assert part.report.metadata.aoi == "a.gpkg"


@pytest.mark.parametrize(
    ("crs", "ending"), [("EPSG:4326", "geojson"), ("EPSG:3035", "gpkg"), ("EPSG:3857", "shp")]
)
def test_the_area_may_be_in_any_crs_and_format(draw, scene, tmp_path, crs, ending):
    path = write_area(tmp_path / f"area.{ending}", project(TRIANGLE, crs), crs=crs)
    codes = draw(scene, grid="scene", aoi=path).codes
    assert np.mean((codes > 0) != inside(TRIANGLE)) < 0.003  # pixels that an edge crosses


def test_a_grid_of_cells_keeps_each_cell_that_the_area_touches(draw, scene, tmp_path):
    whole = draw(scene, stride=8)
    part = draw(scene, stride=8, aoi=write_area(tmp_path / "a.gpkg", TRIANGLE))
    touched = rasterize([TRIANGLE], (10, 12), transform=from_origin(X, Y, 80, 80), all_touched=True).astype(
        bool
    )
    assert np.array_equal(part.codes, np.where(touched, whole.codes, 0))


def test_only_the_windows_that_hold_the_area_are_read(draw, scene, tmp_path, monkeypatch):
    read = []
    before = Mosaic.read_window

    def watched(self, top, left, **options):
        read.append((top, left, options["height"], options["width"]))
        return before(self, top, left, **options)

    monkeypatch.setattr(Mosaic, "read_window", watched)
    corners = [shapely.box(X + 20, Y - 60, X + 60, Y - 20), shapely.box(X + 400, Y - 780, X + 450, Y - 740)]
    drawn = draw(scene, aoi=write_area(tmp_path / "a.gpkg", *corners))
    assert [window[0] for window in read] == [0, 64]  # of five rows of cells, two hold a corner
    assert {(left, width) for _, left, _, width in read} == {(0, 48)}  # of 96 columns
    assert np.argwhere(drawn.codes).tolist() == [[0, 0], [4, 2]]


def test_a_dense_map_of_an_area_fits_and_labels_its_cells(draw, fields, tmp_path):
    area = shapely.box(X + 500, Y - 1500, X + 1500, Y - 500)
    drawn = draw(fields, grid="scene", stride=4, aoi=write_area(tmp_path / "a.gpkg", area))
    assert np.array_equal(drawn.codes > 0, inside(area, (192, 192)))
    assert drawn.report.agreement.fraction > 0.7


def test_an_interrupted_map_of_an_area_continues_to_the_same_bytes(bundle, scene, tmp_path, interrupt):
    from orbitune import map_scene

    area = write_area(tmp_path / "a.gpkg", TRIANGLE)
    options = {"aoi": area, "stride": 8}
    map_scene(bundle.folder, scene, outputs=tmp_path / "whole.tif", progress=False, **options)
    interrupt(scene, tmp_path / "m.tif", parts=2, **options)
    said = []
    map_scene(bundle.folder, scene, outputs=tmp_path / "m.tif", progress=False, **options, log=said.append)
    assert any(line.startswith("going on after 2 of") for line in said)
    assert (tmp_path / "m.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_the_file_of_the_area_is_never_written_over(bundle, scene, tmp_path):
    from orbitune import map_scene

    area = write_area(tmp_path / "a.gpkg", TRIANGLE)
    before = area.read_bytes()
    outputs = {"map": tmp_path / "m.tif", "polygons": area}
    with pytest.raises(DataError, match="must have different names"):
        map_scene(bundle.folder, scene, outputs=outputs, aoi=area, progress=False)
    assert area.read_bytes() == before


GRID = RasterGrid(80, 96, PLACE, "EPSG:32632", (10.0, 10.0))


def refusal(path):
    with pytest.raises(DataError) as told:
        AreaOfInterest.load(path, GRID)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_an_area_outside_the_scene_is_one_line(tmp_path):
    away = shapely.box(X - 500, Y, X - 100, Y + 400)
    assert refusal(write_area(tmp_path / "a.gpkg", away)).endswith("a.gpkg lies outside the scene.")
    pole = shapely.box(-30, -89, 30, -80)
    assert "lies outside" in refusal(write_area(tmp_path / "p.geojson", pole, crs="EPSG:4326"))


def test_an_area_without_polygons_is_one_line(tmp_path):
    points = write_area(tmp_path / "points.gpkg", shapely.Point(X + 50, Y - 50), kind="Point")
    assert refusal(points).startswith(f"There are no polygons in {points}")
    empty = write_area(tmp_path / "empty.gpkg")
    assert "There are no polygons" in refusal(empty)


def test_an_area_without_a_crs_is_one_line_that_says_how_to_set_it(tmp_path):
    path = write_area(tmp_path / "a.shp", TRIANGLE, crs=None)
    assert "has no coordinate reference system: set it first, such as with ogr2ogr" in refusal(path)


def test_an_area_of_several_layers_is_one_line_that_names_them(tmp_path):
    path = write_area(tmp_path / "a.gpkg", TRIANGLE, layer="fields")
    write_area(path, TRIANGLE, layer="woods", append=True)
    assert "several layers of polygons (fields, woods)" in refusal(path)


def test_what_is_no_vector_file_is_one_line(tmp_path):
    (tmp_path / "a.gpkg").write_text("no polygons")
    assert refusal(tmp_path / "a.gpkg").startswith(f"Cannot read {tmp_path}/a.gpkg: ")
    assert refusal(tmp_path / "none.gpkg") == f"There is no file {tmp_path}/none.gpkg."


def test_a_polygon_that_crosses_itself_and_one_that_covers_the_world_are_taken(tmp_path):
    bow = shapely.Polygon([(X, Y), (X + 400, Y - 400), (X + 400, Y), (X, Y - 400)])
    area = AreaOfInterest.load(write_area(tmp_path / "bow.gpkg", bow), GRID)
    assert shapely.from_wkb(area.wkb).area == pytest.approx(800)
    world = write_area(tmp_path / "w.geojson", shapely.box(-180, -90, 180, 90), crs="EPSG:4326")
    assert AreaOfInterest.load(world, GRID).bounds == (0, 0, 80, 96)


@pytest.mark.parametrize(("code", "pixel"), [("EPSG:32760", 10), ("EPSG:4326", 9.4e-5)])
def test_an_area_in_degrees_is_found_in_a_scene_across_the_antimeridian(tmp_path, code, pixel):
    """West of it and east of it, and in longitudes of 0 to 360."""
    x, y = Transformer.from_crs("EPSG:4326", code, always_xy=True).transform(180, -17)
    place = from_origin(x - 64 * pixel, y + 64 * pixel, pixel, pixel)
    grid = RasterGrid.measured(CRS.from_user_input(code).to_wkt(), place, height=128, width=128, name="fiji")
    found = {}
    for name, west in (("west", 179.996), ("east", -179.999), ("beyond", 180.001)):
        area = write_area(
            tmp_path / f"{name}.geojson", shapely.box(west, -17.003, west + 0.003, -17), crs="EPSG:4326"
        )
        found[name] = AreaOfInterest.load(area, grid).bounds
    (_, left, _, right), (_, start, _, end) = found["west"], found["east"]
    assert left < right <= 64 <= start < end and end - start == pytest.approx(32, abs=2)
    assert found["beyond"][1] == pytest.approx(start, abs=2)
