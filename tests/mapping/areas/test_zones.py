"""Hectares of each class in polygons."""

import csv

import numpy as np
import pyogrio
import pytest
import shapely

from orbitune.errors import DataError
from orbitune.mapping.areas.zones import measure_zones

pytest.importorskip("exactextract", reason="needs the extra geo")

CODES = np.repeat([[1, 2]], 20, 0).repeat(20, 1)


@pytest.fixture
def write_zones(tmp_path):
    """Writes boxes (left, bottom, right, top) in pixels, rows downwards."""

    def write_zones(boxes, name="fields.gpkg", crs="EPSG:32632", field="field"):
        x, y = 600_000, 5_500_000
        shapes = [shapely.box(x + 10 * a, y - 10 * b, x + 10 * c, y - 10 * d) for a, b, c, d in boxes]
        numbers = np.arange(1, len(boxes) + 1)
        pyogrio.raw.write(
            tmp_path / name, shapely.to_wkb(shapes), [numbers], [field], geometry_type="Polygon", crs=crs
        )
        return tmp_path / name

    return write_zones


def test_pixels_count_by_the_fraction_inside(write_map, write_zones, tmp_path):
    """Four and a half by two pixels of Forest, one and a half by two of River."""
    zones = write_zones([(15.5, 4, 21.5, 2), (0, 20, 40, 0)])
    measured = measure_zones(write_map(CODES), zones, out=tmp_path / "out.csv").fields
    assert measured["Forest"] == pytest.approx([0.09, 4], rel=1e-3)
    assert measured["River"] == pytest.approx([0.03, 4], rel=1e-3)
    assert (measured["Highway"] == 0).all() and measured["field"].tolist() == [1, 2]


def test_a_csv_has_the_fields_of_the_zones_and_the_hectares(write_map, write_zones, tmp_path):
    measure_zones(write_map(CODES), write_zones([(0, 20, 10, 0)]), out=tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert list(row) == ["field", "Forest", "River", "Highway", "not sure", "no data"]
    assert float(row["Forest"]) == pytest.approx(2, rel=1e-3)


def test_a_geopackage_has_the_polygons_too(write_map, write_zones, tmp_path):
    zones = write_zones([(0, 20, 10, 0), (30, 20, 40, 0)])
    measure_zones(write_map(CODES), zones, out=tmp_path / "out.gpkg")
    meta, _, geometries, values = pyogrio.raw.read(tmp_path / "out.gpkg")
    assert shapely.equals(shapely.from_wkb(geometries), shapely.from_wkb(pyogrio.raw.read(zones)[2])).all()
    assert values[list(meta["fields"]).index("River")] == pytest.approx([0, 2], rel=1e-3)


def test_a_zone_outside_has_no_area_and_one_without_data_says_so(write_map, write_zones, tmp_path):
    codes = CODES.copy()
    codes[:, 35:] = 0
    zones = write_zones([(100, 20, 110, 0), (30, 20, 40, 0)])
    measured = measure_zones(write_map(codes), zones, out=tmp_path / "out.csv").fields
    assert measured["no data"] == pytest.approx([0, 1], rel=1e-3)
    assert measured["River"] == pytest.approx([0, 1], rel=1e-3)


def test_maps_with_a_rotated_grid_are_measured(write_map, write_zones, tmp_path):
    from rasterio.transform import Affine

    turned = Affine.translation(600_000, 5_500_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
    measured = measure_zones(
        write_map(CODES, transform=turned), write_zones([(-90, 90, 90, -90)]), out=tmp_path / "out.csv"
    )
    assert measured.fields["Forest"] == pytest.approx([4], rel=1e-3)


def test_zones_that_cannot_be_measured_are_one_clear_line(write_map, write_zones, tmp_path):
    path = write_map(CODES)
    out = tmp_path / "out.csv"
    for zones, place, message in (
        (write_zones([(100, 20, 110, 0)], "far.gpkg"), out, "No polygon of"),
        (write_zones([(0, 20, 10, 0)], "taken.gpkg", field="Forest"), out, "already has a field Forest"),
        (write_zones([(0, 20, 10, 0)]), tmp_path / "out.txt", "must end in .csv or .gpkg"),
        (write_zones([(0, 20, 10, 0)]), tmp_path / "fields.gpkg", "must have different names"),
    ):
        with pytest.raises(DataError, match=message):
            measure_zones(path, zones, out=place)
    assert not out.exists()


def test_the_command_measures_and_names_the_file(orbitune, write_map, write_zones, tmp_path):
    out = tmp_path / "out.csv"
    code, said, _ = orbitune("map-zones", write_map(CODES), write_zones([(0, 20, 10, 0)]), "-o", out)
    assert (code, said) == (0, f"saved {out}, with 1 zones\n")


def test_a_polygon_that_crosses_itself_counts_the_ground_that_it_encloses(write_map, tmp_path):
    """A bow tie of two triangles, and a square with a loop: pixels, rows downwards."""
    rings = [[(0, 0), (10, 10), (10, 0), (0, 10)], [(0, 0), (10, 0), (10, 10), (5, 10), (5, 12), (0, 0)]]
    shapes = [shapely.Polygon([(600_000 + 10 * x, 5_500_000 - 10 * y) for x, y in ring]) for ring in rings]
    shapes = np.array(shapes)
    pyogrio.raw.write(
        tmp_path / "z.gpkg",
        shapely.to_wkb(shapes),
        [np.arange(2)],
        ["id"],
        geometry_type="Polygon",
        crs="EPSG:32632",
    )
    measured = measure_zones(write_map(CODES), tmp_path / "z.gpkg", out=tmp_path / "out.csv").fields
    enclosed = shapely.area(shapely.make_valid(shapes)) / 1e4
    assert measured["Forest"] == pytest.approx(enclosed, rel=1e-3) and enclosed[0] == 0.5
