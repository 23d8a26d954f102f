"""Change between two maps."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from scenes import read_band

from orbitune.errors import DataError
from orbitune.mapping.areas.change import compare_maps
from orbitune.mapping.areas.estimation import map_areas
from orbitune.mapping.areas.sampling import draw_sample

BEFORE = np.repeat([[1, 2]], 20, 0).repeat(20, 1)
AFTER = np.where(np.arange(40) < 15, 1, 2) * np.ones((20, 1), int)  # five columns of Forest became River


def test_areas_go_from_class_to_class(write_map):
    report = compare_maps(write_map(BEFORE, "before.tif"), write_map(AFTER, "after.tif"))
    assert (report.before, report.after) == (("Forest", "River", "Highway", "not sure"),) * 2
    found = np.array(report.hectares)
    assert found[:2, :2] == pytest.approx(np.array([[3, 1], [0, 4]]), rel=1e-3)
    assert (report.changed_hectares, report.unchanged_hectares) == pytest.approx((1, 7), rel=1e-3)


def test_classes_are_compared_by_name(write_map):
    others = {0: "no data", 1: "River", 2: "Forest", 255: "not sure"}
    before = write_map(3 - BEFORE, "before.tif", names=others)
    assert compare_maps(before, write_map(BEFORE, "after.tif")).changed_hectares == 0


def test_an_earlier_map_of_another_grid_is_resampled(write_map):
    coarse = from_origin(600_000, 5_500_000, 20, 20)
    before = write_map(BEFORE[::2, ::2], "before.tif", transform=coarse)
    report = compare_maps(before, write_map(AFTER, "after.tif"))
    assert report.changed_hectares == pytest.approx(1, rel=1e-3)


def test_what_either_map_does_not_know_is_no_change(write_map):
    before, after = BEFORE.copy(), AFTER.copy()
    before[:5], after[-5:] = 255, 0
    report = compare_maps(write_map(before, "before.tif"), write_map(after, "after.tif"))
    assert report.changed_hectares == pytest.approx(0.5, rel=1e-3)
    assert sum(report.hectares[-1]) == pytest.approx(2, rel=1e-3)


def test_the_change_that_errors_alone_would_show_is_stated(write_map):
    """By hand: maps right at 90 and 80 of 100 tiles agree at 0.9 * 0.8 + 0.1 * 0.2."""
    one, other = (((right, 100 - right, 0), (100 - right, right, 0), (0, 0, 1)) for right in (90, 80))
    before = write_map(BEFORE, "before.tif", confusion=one)
    report = compare_maps(before, write_map(BEFORE, "after.tif", confusion=other))
    assert report.expected_false_hectares == pytest.approx(8 * 0.26, rel=1e-3)
    assert compare_maps(write_map(BEFORE, "none.tif"), before).expected_false_hectares is None


def test_the_map_of_change_has_the_transitions_and_can_be_sampled(write_map, tmp_path):
    after = AFTER.copy()
    after[:, 30:32] = 255
    out = tmp_path / "change.tif"
    compare_maps(write_map(BEFORE, "before.tif"), write_map(after, "after.tif"), out=out)
    codes = read_band(out)
    assert np.array_equal(codes, np.where(after == 255, 255, np.where(after != BEFORE, 2, 1)))
    with rasterio.open(out) as file:
        names = json.loads(file.tags()["CLASSES"])
    assert names["2"] == "Forest to River" and names["1"] == "unchanged"
    assert set(draw_sample(out, tmp_path / "points.gpkg", points=30)) == {
        "unchanged",
        "Forest to River",
        "not sure",
    }
    assert map_areas(out).areas[1].hectares == pytest.approx(1, rel=1e-3)


def test_maps_that_do_not_overlap_are_refused(write_map):
    far = write_map(AFTER, "far.tif", transform=from_origin(700_000, 5_500_000, 10, 10))
    with pytest.raises(DataError, match="do not overlap where they have data"):
        compare_maps(write_map(BEFORE, "before.tif"), far)


def test_a_map_of_change_is_no_map_to_compare(write_map, tmp_path):
    before, after = write_map(BEFORE, "before.tif"), write_map(AFTER, "after.tif")
    change = tmp_path / "change.tif"
    compare_maps(before, after, out=change)
    for pair in ((change, after), (before, change)):
        with pytest.raises(DataError, match=r"change.tif is a map of change: name a map that orbitune map"):
            compare_maps(*pair)


def test_the_map_of_change_does_not_replace_a_map(write_map):
    before = write_map(BEFORE, "before.tif")
    with pytest.raises(DataError, match="must have different names"):
        compare_maps(before, write_map(AFTER, "after.tif"), out=before)
    assert np.array_equal(read_band(before), BEFORE)


def test_the_map_of_change_is_a_geotiff_by_its_name_too(write_map, tmp_path):
    files = write_map(BEFORE, "before.tif"), write_map(AFTER, "after.tif")
    with pytest.raises(DataError, match=r"change.gpkg: the file of the map ends in .tif; give it such"):
        compare_maps(*files, out=tmp_path / "change.gpkg")


def test_the_command_prints_the_table_and_writes_the_map(orbitune, write_map, tmp_path):
    files = write_map(BEFORE, "before.tif"), write_map(AFTER, "after.tif")
    code, out, _ = orbitune("map-compare", *files, "-o", tmp_path / "change.tif")
    assert code == 0 and "changed 1 ha, unchanged 7 ha" in out and (tmp_path / "change.tif").is_file()
    code, out, _ = orbitune("map-compare", *files, "--json")
    assert code == 0 and json.loads(out) == compare_maps(*files).to_json()
