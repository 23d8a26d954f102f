"""Samples of a map: allocation, random places, and the file that QGIS labels."""

import re
import shutil
import sqlite3

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from scenes import read_band, write_scene

from orbitune.errors import DataError, OrbituneError
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import map_areas
from orbitune.mapping.areas.sampling import allocate, draw_by_class, draw_sample


@pytest.fixture
def codes():
    """60 x 80 pixels, mostly Forest, some River and not sure, a corner without data."""
    values = np.ones((60, 80), np.uint8)
    values[:, 60:] = 2
    values[50:, :10] = 255
    values[:5, :5] = 0
    return values


def read(path):
    """Rows and columns of the pixels of a sample, and its fields."""
    meta, _, geometries, values = pyogrio.raw.read(path, layer="points")
    x, y = shapely.get_coordinates(shapely.from_wkb(geometries)).T
    fields = dict(zip(meta["fields"], values, strict=True))
    return np.floor((5_500_000 - y) / 10).astype(int), np.floor((x - 600_000) / 10).astype(int), fields


def test_a_sample_is_divided_in_proportion_with_a_minimum_for_rare_classes():
    assert allocate(300, np.array([0.9, 0.09, 0.01])).tolist() == [200, 50, 50]
    assert allocate(1000, np.array([0.5, 0.3, 0.2])).tolist() == [500, 300, 200]
    assert allocate(30, np.array([0.5, 0.3, 0.1, 0.1])).sum() == 30
    assert allocate(8, np.full(4, 0.25)).tolist() == [2, 2, 2, 2]
    with pytest.raises(DataError, match="--points must be at least 8: two for each class of the map"):
        allocate(7, np.full(4, 0.25))


def test_points_lie_in_the_middles_of_distinct_pixels_of_their_class(write_map, codes, tmp_path):
    drawn = draw_sample(write_map(codes), tmp_path / "points.gpkg", points=100)
    rows, columns, fields = read(tmp_path / "points.gpkg")
    assert sum(drawn.values()) == len(set(zip(rows, columns, strict=True))) == 100
    names = {1: "Forest", 2: "River", 255: "not sure"}
    assert [names[code] for code in codes[rows, columns]] == fields["map_class"].tolist()
    assert list(drawn) == ["Forest", "River", "not sure"]
    assert [value for value in fields["true_class"] if value is not None] == []


def test_weights_are_the_fractions_of_the_map(write_map, codes, tmp_path):
    draw_sample(write_map(codes), tmp_path / "points.gpkg", points=50)
    _, _, fields = read(tmp_path / "points.gpkg")
    stated = dict(zip(fields["map_class"], fields["weight"], strict=True))
    assert stated["River"] == pytest.approx(1200 / 4775, rel=1e-3)
    assert sum(stated.values()) == pytest.approx(1)


def test_every_pixel_of_a_class_is_drawn_equally_often(write_map):
    class_map = ClassMap.open(write_map(np.repeat([[1, 2]], 4, 0).repeat(3, 1)))
    rng = np.random.default_rng(0)
    hits = np.zeros((4, 6))
    for _ in range(150):
        rows, columns, _, _ = draw_by_class(class_map, 8, rng=rng)
        hits[rows, columns] += 1
    assert hits.sum() == 1200 and abs(hits - 50).max() < 4 * np.sqrt(150 * 1 / 3 * 2 / 3)


def test_the_seed_decides(write_map, codes, tmp_path):
    path = write_map(codes)
    places = []
    for seed in (1, 1, 2):
        draw_sample(path, out := tmp_path / f"{len(places)}.gpkg", points=40, seed=seed)
        places.append(read(out)[:2])
    assert np.array_equal(places[0], places[1]) and not np.array_equal(places[0], places[2])


def test_the_estimate_of_a_labelled_sample_is_near_the_truth(write_map, codes, tmp_path):
    """The truth is the map with a tenth of the Forest turned into River."""
    truth = codes.copy()
    truth[:, :6][codes[:, :6] == 1] = 2
    truth[codes == 255] = 3
    draw_sample(write_map(codes), tmp_path / "points.gpkg", points=400)
    label(tmp_path / "points.gpkg", truth)
    report = map_areas(tmp_path / "map.tif", tmp_path / "points.gpkg").reference
    for code, row in enumerate(report.classes, 1):
        true = (truth == code).sum() / 100
        assert abs(row.estimated_hectares - true) < 4 * max(row.standard_error, 0.01)
    assert report.hectares == pytest.approx(47.75, rel=1e-3)


def test_a_sample_of_a_map_of_another_area_is_refused(write_map, codes, tmp_path):
    points = tmp_path / "points.gpkg"
    draw_sample(write_map(codes), points, points=60)
    label(points, np.where(codes == 255, 3, codes))
    edges, part = codes.copy(), codes.copy()
    edges[-1:, :20], part[30:] = 0, 0
    assert map_areas(write_map(edges, "edges.tif"), points).reference.points
    with pytest.raises(DataError, match=r"was drawn from a map of 48 ha, and .*part.tif has 24 ha with data"):
        map_areas(write_map(part, "part.tif"), points)


def label(path, truth):
    """Fill the field true_class, as a person would in QGIS."""
    rows, columns, _ = read(path)
    names = {1: "Forest", 2: "River", 3: "Highway"}
    meta, _, geometries, values = pyogrio.raw.read(path, layer="points")
    values[list(meta["fields"]).index("true_class")] = np.array(
        [names[code] for code in truth[rows, columns].tolist()], object
    )
    pyogrio.raw.write(
        path, geometries, values, list(meta["fields"]), layer="points", geometry_type="Point", crs=meta["crs"]
    )


def test_a_class_of_a_single_pixel_needs_a_single_point(write_map, tmp_path):
    codes = np.ones((30, 30), np.uint8)
    codes[7, 9] = 2
    draw_sample(write_map(codes), tmp_path / "points.gpkg", points=20)
    label(tmp_path / "points.gpkg", codes)
    report = map_areas(tmp_path / "map.tif", tmp_path / "points.gpkg").reference
    assert report.classes[1].estimated_hectares == pytest.approx(0.01, rel=1e-3)


def test_qgis_finds_a_list_of_the_classes(write_map, codes, tmp_path):
    from xml.etree import ElementTree

    draw_sample(write_map(codes), tmp_path / "points.gpkg", points=20)
    with sqlite3.connect(tmp_path / "points.gpkg") as database:
        [(layer, style, default)] = database.execute(
            "SELECT f_table_name, styleQML, useAsDefault FROM layer_styles"
        )
    form = ElementTree.fromstring(style)
    field = form.find("fieldConfiguration/field")
    assert (layer, default, field.get("name")) == ("points", 1, "true_class")
    assert field.find("editWidget").get("type") == "ValueMap"
    values = [each.get("value") for each in field.findall(".//Option[@type='QString']")]
    assert values == ["Forest", "River", "Highway"]


def write_confidence(path, percent, **profile):
    write_scene(path, percent[:, :, None], **profile)
    with rasterio.open(path, "r+") as file:
        file.update_tags(UNIT="percent")
    return path


@pytest.mark.parametrize("by", ["class", "uncertainty"])
@pytest.mark.parametrize("points", [0, -5])
def test_a_sample_without_points_is_refused(write_map, codes, tmp_path, by, points):
    confidence = write_confidence(tmp_path / "confidence.tif", codes)
    with pytest.raises(DataError, match=f"--points takes the number of points to draw, .* not {points}."):
        draw_sample(write_map(codes), tmp_path / "points.gpkg", points=points, by=by, confidence=confidence)


def test_by_uncertainty_the_least_sure_place_of_a_tile_is_drawn(write_map, codes, tmp_path):
    percent = np.full(codes.shape, 90, np.uint8)
    percent[codes == 255] = 0
    percent[20, 33], percent[21, 33], percent[40, 70] = 30, 31, 35
    confidence = write_confidence(tmp_path / "confidence.tif", percent)
    path = write_map(codes, tile=10)
    draw_sample(path, tmp_path / "points.gpkg", points=3, by="uncertainty", confidence=confidence)
    rows, columns, fields = read(tmp_path / "points.gpkg")
    assert codes[rows[0], columns[0]] == 255
    assert list(zip(rows[1:].tolist(), columns[1:].tolist(), strict=True)) == [(20, 33), (40, 70)]
    assert fields["confidence"].tolist() == [0, 30, 35]
    assert set(fields["sampling"]) == {"uncertainty"} and "weight" not in fields


def test_by_uncertainty_needs_the_confidence_of_this_map(write_map, codes, tmp_path):
    path = write_map(codes)
    with pytest.raises(DataError, match="--by uncertainty needs --confidence"):
        draw_sample(path, tmp_path / "points.gpkg", by="uncertainty")
    other = write_confidence(tmp_path / "other.tif", codes[:10])
    far = write_confidence(tmp_path / "far.tif", codes, crs="EPSG:32633")
    for confidence, message in (
        (other, "does not lie on the grid of"),
        (far, "does not lie on the grid of"),
        (path, "map.tif is no confidence: name the one that orbitune map wrote with"),
    ):
        with pytest.raises(DataError, match=message):
            draw_sample(path, tmp_path / "points.gpkg", by="uncertainty", confidence=confidence)
    assert not (tmp_path / "points.gpkg").exists()


def test_by_uncertainty_the_confidence_of_another_map_on_its_grid_is_refused(draw, scene, tmp_path):
    own = draw(scene).path
    class_map = shutil.copy(own, tmp_path / "own.tif")
    other = draw(scene, not_sure=False).path.with_name("confidence.tif")
    with pytest.raises(DataError, match=r"confidence.tif is of another map than .*own.tif: name its own\.$"):
        draw_sample(class_map, tmp_path / "p.gpkg", by="uncertainty", confidence=other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "^--seed: must be at least 0, not -1"),
        ({"seed": 2**32}, "^--seed: must be below 4294967296, not 4294967296"),
        ({"confidence": "c.tif"}, "^--confidence is for --by uncertainty: pass both, or neither"),
    ],
)
def test_invalid_options_are_refused_before_the_map_is_read(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        draw_sample(tmp_path / "none.tif", tmp_path / "points.gpkg", **options)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two\nlines.gpkg", "Cannot write .*two\\\\nlines.gpkg: choose a name without a line break"),
        (f"{'n' * 243}.gpkg", "its name has 248 bytes; choose one of at most 247"),
        (f"{'n' * 251}.gpkg", "its name has 256 bytes; choose one of at most 247"),
        ("points.gpkg", "exists; choose another --out"),
        ("map.tif", "ends in .gpkg"),
        ("p.csv", "ends in .gpkg"),
    ],
)
def test_labelled_points_and_maps_are_never_written_over(write_map, codes, tmp_path, name, message):
    path = write_map(codes)
    draw_sample(path, labelled := tmp_path / "points.gpkg", points=20)
    before = path.read_bytes(), labelled.read_bytes()
    with pytest.raises(OrbituneError, match=message):
        draw_sample(path, tmp_path / name, points=20)
    assert (path.read_bytes(), labelled.read_bytes()) == before and not (tmp_path / "p.csv").exists()


def test_a_map_with_fewer_places_than_points_is_said(orbitune, write_map, codes, tmp_path):
    out = tmp_path / "points.gpkg"
    code, _, err = orbitune("map-sample", write_map(codes), "--points", 1_000_000, "-o", out)
    assert code == 0 and re.fullmatch(r"warning: the map has places for [\d,]+ of 1,000,000 points\n", err)


def test_a_map_without_data_gives_no_points(write_map, tmp_path):
    with pytest.raises(DataError, match="has no data to draw points from"):
        draw_sample(write_map(np.zeros((4, 4))), tmp_path / "points.gpkg")


def test_the_command_draws_and_says_how_to_go_on(orbitune, write_map, codes, tmp_path):
    out = tmp_path / "points.gpkg"
    code, said, _ = orbitune("map-sample", write_map(codes), "--points", 30, "-o", out)
    assert code == 0 and out.is_file() and "fill the field true_class" in said
    code, _, err = orbitune("map-sample", tmp_path / "map.tif", "--by", "margin", "-o", tmp_path / "b.gpkg")
    assert (code, err) == (2, "error: Unknown --by 'margin'. Choose from: class, uncertainty.\n")
    assert read_band(tmp_path / "map.tif").shape == codes.shape
