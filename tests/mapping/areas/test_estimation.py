"""Areas of a map by both estimators, and reference points that cannot be used."""

import json

import numpy as np
import pyogrio
import pytest

from orbitune.errors import DataError
from orbitune.mapping.areas.estimation import map_areas

CONFUSION = ((90, 10, 0), (5, 95, 0), (0, 2, 98))


def halves(unsure=0):
    """Half Forest and half River, 20 x 40 pixels, the last rows without a class."""
    codes = np.repeat([[1, 2]], 20, 0).repeat(20, 1)
    codes[len(codes) - unsure :] = 255
    return codes


def pixels(*blocks):
    """Pixels (row, column): `count` in a row from each (row, column)."""
    return [(row, column + step) for row, column, count in blocks for step in range(count)]


def test_without_points_areas_are_estimated_from_the_confusion_in_the_tags(write_map):
    report = map_areas(write_map(halves(), confusion=CONFUSION))
    forest, river, highway, _ = report.areas
    # Solved by hand: 0.9 f + 0.05 r = 0.5 with f + r = 1.
    assert forest.estimated_hectares / (forest.hectares + river.hectares) == pytest.approx(0.45 / 0.85)
    assert forest.low_hectares < forest.estimated_hectares < forest.high_hectares
    assert highway.hectares == 0 and highway.estimated_hectares == pytest.approx(0, abs=1e-9)
    assert "holds only if the model errs on this scene as on the test tiles" in report.notes[0]


def test_estimates_leave_out_what_is_not_sure_and_say_how_much(write_map):
    report = map_areas(write_map(halves(unsure=5), confusion=CONFUSION))
    classified = sum(area.hectares for area in report.areas[:-1])
    assert sum(area.estimated_hectares for area in report.areas[:-1]) == pytest.approx(classified)
    assert report.areas[-1].estimated_hectares is None
    assert report.notes[1] == "2 ha (25.0%) are not sure and in no estimate from test tiles"


def test_nothing_is_estimated_where_most_is_not_sure(write_map):
    report = map_areas(write_map(halves(unsure=11), confusion=CONFUSION))
    assert [area.estimated_hectares for area in report.areas] == [None] * 4
    [note] = report.notes
    assert note == "no estimate from test tiles: 4 ha (55.0%) are not sure, more than the model knows"


def test_cells_below_the_size_of_a_test_tile_do_not_narrow_the_interval_and_are_said_to_err_more(write_map):
    def forest(**settings):
        report = map_areas(write_map(halves(), confusion=CONFUSION, **settings))
        return report.areas[0].high_hectares - report.areas[0].low_hectares, " ".join(report.notes)

    (whole, said), (windows, warned) = forest(tile=8), forest(tile=2, confusion_tile=8)
    assert windows == pytest.approx(whole) and windows > forest(tile=2)[0]
    assert "the test tiles have 8 x 8 pixels, the windows of this map 2 x 2" in warned
    assert "windows of this map" not in said


def test_a_map_that_states_no_confusion_says_so(write_map):
    assert "does not state how its model confuses" in map_areas(write_map(halves())).notes[0]


def test_points_give_areas_and_accuracies(write_map, write_points):
    """By hand: of ten points on Forest two are River; on River all are right."""
    true = ["Forest"] * 8 + ["River"] * 12
    points = write_points(pixels((3, 2, 10), (3, 25, 10)), true_class=true)
    report = map_areas(write_map(halves(), confusion=CONFUSION), points)
    forest, river, highway = report.reference.classes
    total = sum(area.hectares for area in report.areas)
    assert forest.estimated_hectares == pytest.approx(0.4 * total)
    error = 0.5 * total * np.sqrt(0.8 * 0.2 / 9)
    assert forest.standard_error == pytest.approx(error)
    assert forest.high_hectares == pytest.approx(0.4 * total + 1.96 * error)
    assert (forest.users_accuracy, forest.producers_accuracy) == pytest.approx((0.8, 1))
    assert river.producers_accuracy == pytest.approx(0.5 / 0.6)
    assert report.reference.overall_accuracy == pytest.approx(0.9)
    assert highway.users_accuracy is None and highway.low_hectares is None
    assert report.areas[0].estimated_hectares is not None  # that from the test tiles stays


def test_the_table_shows_both_estimates(write_map, write_points):
    points = write_points(pixels((3, 2, 10), (3, 25, 10)), true_class=["Forest"] * 8 + ["River"] * 12)
    header, rows = map_areas(write_map(halves(), confusion=CONFUSION), points).table()
    assert header[3:5] == [
        "estimate from test tiles (95 % interval)",
        "estimate from reference points (95 % interval)",
    ]
    assert rows[0][5] == "80.0% ± 13.3%" and rows[3][3:] == ["", "", "", ""]


def test_points_may_lie_in_another_projection(write_map, write_points, tmp_path):
    import shapely
    from pyproj import Transformer

    places = pixels((3, 2, 10), (3, 25, 10))
    true = ["Forest"] * 8 + ["River"] * 12
    near = write_points(places, true_class=true)
    _, _, geometries, _ = pyogrio.raw.read(near)
    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    moved = shapely.transform(shapely.from_wkb(geometries), to_degrees.transform, interleaved=False)
    far = tmp_path / "far.geojson"
    labels = {"field_data": [np.array(true, object)], "fields": ["true_class"]}
    pyogrio.raw.write(far, shapely.to_wkb(moved), **labels, geometry_type="Point", crs="EPSG:4326")
    codes = write_map(halves())
    assert map_areas(codes, far).reference == map_areas(codes, near).reference


def test_unlabelled_and_outside_points_are_counted_and_left_out(write_map, write_points):
    true = ["Forest"] * 4 + ["River"] * 4 + [None, " ", "Forest"]
    places = [*pixels((3, 2, 4), (3, 25, 4), (9, 2, 2)), (500, 500)]
    report = map_areas(write_map(halves()), write_points(places, true_class=true))
    sample = report.reference
    assert (sample.points, sample.unlabelled, sample.outside) == (8, 2, 1)
    assert "2 points have no class and are left out" in report.notes
    assert "1 points lie where the map has no data and are left out" in report.notes


def test_points_that_repeat_others_are_counted_and_left_out(write_map, write_points):
    places = pixels((3, 2, 4), (3, 25, 4))
    once = write_points(places, "once.gpkg", true_class=["Forest"] * 4 + ["River"] * 4)
    twice = write_points(places * 2, "twice.gpkg", true_class=(["Forest"] * 4 + ["River"] * 4) * 2)
    map_file = write_map(halves())
    report, expected = map_areas(map_file, twice), map_areas(map_file, once).reference
    assert report.reference == expected.model_copy(update={"repeated": 8})
    assert "8 points repeat others and are left out" in report.notes


def test_points_of_two_classes_at_one_place_are_refused(write_map, write_points):
    places = [*pixels((3, 2, 4), (3, 25, 4)), (3, 2)]
    points = write_points(places, true_class=["Forest"] * 4 + ["River"] * 5)
    with pytest.raises(DataError, match=r"points of the classes Forest and River at one place: keep one\.$"):
        map_areas(write_map(halves()), points)


def test_points_near_those_that_the_model_was_adapted_to_are_counted_in_a_warning(
    write_map, write_points, orbitune
):
    """Windows of 2 pixels around a point overlap with those of points up to 3.5 pixels away."""
    from pyproj import Transformer

    to_degrees = Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
    adapted_at = to_degrees.transform(600_000 + 10 * 2.5, 5_500_000 - 10 * 3.5)  # pixel (3, 2)
    true = ["Forest"] * 8 + ["River"] * 12
    points = write_points(pixels((3, 2, 10), (3, 25, 10)), true_class=true)
    codes = write_map(halves(), adapted_at=(adapted_at,))
    report = map_areas(codes, points)
    assert [line.split(":")[0] for line in report.warnings] == [
        "4 of 20 reference points lie where the model was adapted to a labelled point"
    ]
    _, _, err = orbitune("map-areas", codes, "--reference", points)
    assert f"warning: {report.warnings[0]}" in err
    far = map_areas(codes, write_points(pixels((12, 2, 10), (12, 25, 10)), name="far.gpkg", true_class=true))
    assert far.warnings == () and far.reference == report.reference


def test_an_unsampled_not_sure_is_left_out_of_the_areas(write_map, write_points):
    true = ["Forest"] * 4 + ["River"] * 4
    points = write_points(pixels((3, 2, 4), (3, 25, 4)), true_class=true)
    report = map_areas(write_map(halves(unsure=5)), points)
    assert report.reference.hectares == pytest.approx(sum(area.hectares for area in report.areas[:-1]))
    assert report.notes[-2] == "no labelled point lies where the map is not sure: 2 ha are left out"


def test_points_drawn_from_another_map_keep_their_strata(write_map, write_points):
    """The sample was drawn from halves; this map calls everything Forest."""
    true = ["Forest"] * 4 + ["River"] * 6
    fields = {"map_class": ["Forest"] * 5 + ["River"] * 5, "weight": [0.5] * 10, "true_class": true}
    points = write_points(pixels((3, 2, 5), (3, 25, 5)), **fields)
    report = map_areas(write_map(np.ones((20, 40))), points)
    assert report.reference.overall_accuracy == pytest.approx(0.4)
    assert report.reference.classes[1].estimated_hectares == pytest.approx(0.6 * report.areas[0].hectares)


GOOD = ["Forest", "Forest", "River", "River"]


ADDED = {"map_class": ["Forest", None, "River", "River"], "weight": [0.5] * 4}
TWO_WEIGHTS = {"map_class": GOOD, "weight": [0.5, 0.4, 0.5, 0.5]}
ONE = ["Forest", None, "River", "River"]
SEA = ["Forest", "Sea", "River", "River"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label": GOOD}, "has no field true_class; its fields are: label. Name one with --field."),
        (
            {"true_class": SEA},
            "unknown class 'Sea'. Rename them to classes of the model: Forest, River, Highway.",
        ),
        ({"true_class": [None] * 4}, "No point of"),
        ({"true_class": ONE}, "Too few labelled points in classes of the map: Forest (1)."),
        ({"true_class": GOOD, "sampling": ["uncertainty"] * 4}, "were drawn where the map is least sure"),
        ({"true_class": GOOD, **ADDED}, "points without the map_class"),
        ({"true_class": GOOD, **TWO_WEIGHTS}, "points without the map_class"),
    ],
    ids=["no-field", "unknown", "unlabelled", "too-few", "uncertainty", "added", "weights"],
)
def test_points_that_cannot_be_used_are_one_clear_line(write_map, write_points, fields, message):
    points = write_points(pixels((3, 2, 2), (3, 25, 2)), **fields)
    with pytest.raises(DataError) as error:
        map_areas(write_map(halves()), points)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_points_without_a_crs_are_refused(write_map, write_points):
    points = write_points(pixels((3, 2, 2), (3, 25, 2)), name="p.fgb", crs=None, true_class=GOOD)
    with pytest.raises(DataError, match="has no coordinate reference system"):
        map_areas(write_map(halves()), points)


def test_a_field_without_points_is_refused(write_map):
    with pytest.raises(DataError, match="--field kind is of reference points: give their file with --ref"):
        map_areas(write_map(np.ones((4, 4), np.uint8)), field="kind")


def test_points_that_all_lie_elsewhere_are_refused(write_map, write_points):
    points = write_points([(900, 900)] * 4, true_class=GOOD)
    with pytest.raises(DataError, match=r"No point of .* lies on .* where it has data"):
        map_areas(write_map(halves()), points)


def test_files_that_are_no_points_are_refused(write_map, tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        map_areas(write_map(halves()), tmp_path / "absent.gpkg")
    (tmp_path / "text.gpkg").write_text("no package")
    with pytest.raises(DataError, match="Cannot read"):
        map_areas(write_map(halves()), tmp_path / "text.gpkg")


def test_a_raster_that_is_no_map_is_refused(tmp_path):
    from scenes import write_scene

    scene = write_scene(tmp_path / "scene.tif", np.ones((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="is not a map of Orbitune"):
        map_areas(scene)


def test_the_command_prints_what_python_returns(orbitune, write_map, write_points):
    codes = write_map(halves(), confusion=CONFUSION)
    points = write_points(pixels((3, 2, 10), (3, 25, 10)), true_class=["Forest"] * 8 + ["River"] * 12)
    code, out, _ = orbitune("map-areas", codes, "--reference", points, "--json")
    assert code == 0 and json.loads(out) == map_areas(codes, points).to_json()
    code, out, _ = orbitune("map-areas", codes, "--reference", points)
    assert "overall accuracy 90.0% ± 6.7% (standard error), from 20 reference points" in out
    code, _, err = orbitune("map-areas", codes, "--reference", points, "--field", "label")
    assert code == 2 and err.startswith("error: ") and len(err.splitlines()) == 1
