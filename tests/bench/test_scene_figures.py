"""Figures of maps: answers at labelled places, risk, agreement, time and memory."""

import json
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scenes import UTM, mosaic, write_scene

from orbitune.bench.figures import (
    adapt_gain,
    dense_agreement,
    dense_speedup,
    scene_accuracy,
    scene_memory,
    scene_risk,
    scene_time,
)
from orbitune.bench.figures.labelled_scenes import read_labelled_scenes
from orbitune.errors import OrbituneError
from orbitune.mapping.dense.fit import fit_dense_head
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.vector_io import VectorLayer, write_vector
from orbitune.mapping.worker import Worker

rasterio = pytest.importorskip("rasterio", reason="needs the extra geo")
shapely = pytest.importorskip("shapely", reason="needs the extra geo")

SIDE = 16  # pixels of a tile
GROUPS = {"warm": ["class_0"], "cold": ["class_1", "class_2"]}
LABELS = {"label 0": "warm", "label 1": "cold", "label 2": "cold"}
LEFT, TOP = 600_000, 5_500_000  # of scenes, in metres


def write_labelled_scene(folder, tiles, *, seed, shape="Point", raster=False):
    """Write a scene of 6 x 6 tiles with its labels, and return its index entry."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    classes = random.integers(0, 3, (6, 6))
    files = [sorted((tiles / f"class_{label}").glob("*.png")) for label in range(3)]
    chosen = [[np.asarray(Image.open(random.choice(files[c]))) for c in row] for row in classes]
    scene = write_scene(folder / "scene.tif", mosaic(np.array(chosen)))
    entry = {"file": scene.name, "bands": "1,2,3", "groups": LABELS}
    if raster:
        labels = np.kron(classes, np.ones((SIDE, SIDE))).astype(np.uint8)
        write_scene(folder / "labels.tif", labels[..., None])
        return {
            **entry,
            "labels": "labels.tif",
            "field": None,
            "groups": {"0": "warm", "1": "cold", "2": "cold"},
        }
    rows, columns = np.indices(classes.shape).reshape(2, -1)
    middles = shapely.points(LEFT + 160 * columns + 80.0, TOP - 160 * rows - 80.0)
    shapes = middles if shape == "Point" else shapely.buffer(middles, 40)
    names = np.array([f"label {label}" for label in classes.ravel()], object)
    write_vector(
        folder / "labels.gpkg", VectorLayer(folder, UTM, shapes, {"cover": names}), kind=shape, name="l"
    )
    return {**entry, "labels": "labels.gpkg", "field": "cover"}


@pytest.fixture(scope="module")
def labelled(tiles, tmp_path_factory):
    """A folder of three scenes, labelled by points, polygons and a raster."""
    folder = tmp_path_factory.mktemp("labelled")
    index = {
        "points": write_labelled_scene(folder / "points", tiles, seed=1),
        "polygons": write_labelled_scene(folder / "polygons", tiles, seed=2, shape="Polygon"),
        "raster": write_labelled_scene(folder / "raster", tiles, seed=3, raster=True),
    }
    (folder / "scenes.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def changed(labelled, tmp_path):
    """Return a function that makes a folder of the first scene alone.

    It takes changes to the scene's entry of the index.
    """

    def change(**values):
        entry = json.loads((labelled / "scenes.json").read_text())["points"]
        (tmp_path / "points").symlink_to(labelled / "points")
        (tmp_path / "scenes.json").write_text(json.dumps({"points": {**entry, **values}}))
        return str(tmp_path)

    return change


def test_answers_are_right_where_the_group_of_the_class_is_that_of_the_label(run, labelled):
    settings = {"groups": GROUPS, "not_sure": False}
    right = scene_accuracy.measure(str(run), str(labelled), answer="right", **settings)
    wrong = scene_accuracy.measure(str(run), str(labelled), answer="wrong", **settings)
    assert right["value"] > 0.9
    assert right["value"] + wrong["value"] == pytest.approx(1)
    details = dict(right["details"])
    assert list(details)[:3] == ["points", "polygons", "raster"] and "of 36 places" in details["polygons"]
    assert details["maps"] == "tile by tile, a label per 16 pixels from a window of 16"


def test_places_that_are_not_sure_are_neither_right_nor_wrong(run, labelled):
    scores = [
        scene_accuracy.measure(str(run), str(labelled), groups=GROUPS, answer=answer)["value"]
        for answer in ("right", "wrong")
    ]
    assert 0 < scores[0] < 1 and sum(scores) < 1


def test_labels_that_are_exchanged_make_the_answers_wrong(run, changed):
    folder = changed(groups={"label 0": "cold", "label 1": "warm", "label 2": "warm"})
    measured = scene_accuracy.measure(str(run), folder, groups=GROUPS, answer="wrong", not_sure=False)
    assert measured["value"] > 0.9


def test_labels_without_a_group_are_left_out(changed):
    [scene] = read_labelled_scenes(changed(groups={"label 0": "warm"}))
    assert set(scene.truth) == {"warm"} and 0 < len(scene.truth) < 36


def test_a_place_of_a_polygon_lies_within_it(labelled):
    points, polygons, _ = read_labelled_scenes(labelled)
    assert len(points.truth) == len(polygons.truth) == 36
    distances = shapely.distance(points.places.geometries, polygons.places.geometries)
    assert distances.max() < 40


def test_places_of_a_raster_are_the_centres_of_squares_of_one_label(labelled):
    import rasterio

    scene = read_labelled_scenes(labelled)[2]
    with rasterio.open(labelled / "raster" / "labels.tif") as file:
        values = file.read(1)
    expected = {
        (LEFT + 10 * column + 5, TOP - 10 * row - 5, {0: "warm"}.get(int(values[row, column]), "cold"))
        for row in range(8, 93, 8)
        for column in range(8, 93, 8)
        if (values[row - 3 : row + 4, column - 3 : column + 4] == values[row, column]).all()
    }
    x, y = shapely.get_coordinates(scene.places.geometries).T
    assert set(zip(x, y, scene.truth, strict=True)) == expected and len(expected) > 20


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ({"field": "colour"}, GROUPS, "has no field colour, which scenes.json names"),
        ({"groups": {"no label": "warm"}}, GROUPS, "No label in .* has a group in scenes.json"),
        ({"groups": {"label 0": "tepid"}}, GROUPS, "scenes.json has groups that the suite lacks: tepid"),
        ({}, {"warm": ["class_0"], "cold": ["class_1"]}, "groups of the suite lack .* the model: class_2"),
        ({"colour": 1}, GROUPS, "is no index of labelled scenes: points.colour"),
        ({"labels": "none.gpkg"}, GROUPS, "There is no file"),
    ],
)
def test_invalid_labels_are_one_line(run, changed, values, groups, message):
    with pytest.raises(OrbituneError, match=message) as error:
        scene_accuracy.measure(str(run), changed(**values), groups=groups, answer="right")
    assert "\n" not in str(error.value)


def test_a_folder_without_an_index_is_one_line(tmp_path):
    with pytest.raises(OrbituneError, match=r"Cannot read .*scenes\.json"):
        read_labelled_scenes(tmp_path)


@pytest.mark.parametrize(
    ("coverage", "risk"), [(0.01, 0), (0.2, 0), (0.4, 1 / 2), (0.6, 2 / 3), (1.0, 2 / 5)]
)
def test_risk_is_the_fraction_of_wrong_answers_among_the_highest_ranks(coverage, risk):
    rank, wrong = np.array([1, 5, 4, 3, 2]), np.array([0, 0, 1, 1, 0], bool)
    assert scene_risk.risk_at(rank, wrong, coverage=coverage) == pytest.approx(risk)


def test_ties_at_the_limit_count_by_their_mean():
    rank, wrong = np.array([9, 4, 4, 4, 4]), np.array([0, 1, 0, 0, 1], bool)
    assert scene_risk.risk_at(rank, wrong, coverage=0.6) == pytest.approx((2 * 0.5) / 3)


def test_the_risk_at_full_coverage_is_the_fraction_of_wrong_answers(run, changed):
    folder, settings = changed(), {"groups": GROUPS}
    risk = scene_risk.measure(str(run), folder, coverage=1.0, **settings)
    wrong = scene_accuracy.measure(str(run), folder, answer="wrong", not_sure=False, **settings)
    assert risk["value"] == pytest.approx(wrong["value"])
    assert "by default first" in dict(risk["details"])["ranked"]


@pytest.mark.slow
def test_a_bundle_adapted_to_exchanged_labels_gains_nearly_all_held_out_places(run, changed):
    folder = changed(groups={"label 0": "cold", "label 1": "warm", "label 2": "warm"})
    groups = {"warm": ["class_0"], "cold": ["class_1", "class_2"]}
    classes = {"warm": "class_0", "cold": "class_1"}
    measured = adapt_gain.measure(str(run), folder, groups=groups, classes=classes, points=10)
    assert measured["value"] > 50  # from nearly no right answer
    assert "held-out places in 8 draws" in dict(measured["details"])["points"]


def test_a_group_without_a_class_to_label_it_with_is_one_line(run, changed):
    groups = {"warm": ["class_0"], "cold": ["class_1", "class_2"]}
    with pytest.raises(OrbituneError, match="`classes` of adapt-gain lacks a class for cold"):
        adapt_gain.measure(str(run), changed(), groups=groups, classes={"warm": "class_0"}, points=10)


def test_a_draw_has_two_places_of_each_group_and_none_twice(changed):
    [scene] = read_labelled_scenes(changed())
    rare = replace(scene, places=replace(scene.places, fields={"group": np.array(["a", "b"] + ["c"] * 34)}))
    for seed in range(5):
        drawn = adapt_gain.draw_points(rare, 5, seed=seed)
        assert len(set(drawn.tolist())) == 5
        assert sorted(rare.truth[drawn]) == ["a", "b", "c", "c", "c"]


def test_cells_that_the_head_was_fitted_to_or_without_data_do_not_count(bundle, labelled, tmp_path):
    with rasterio.open(labelled / "points/scene.tif") as file:
        pixels = file.read().transpose(1, 2, 0)
    pixels[:, :32] = 0
    scene = write_scene(tmp_path / "scene.tif", pixels, nodata=0)
    options = MapOptions(stride=8, mode="dense")
    with closing(Worker(plan_map(bundle.folder, [scene], paths={}, options=options).spec)) as worker:
        counted = dense_agreement._held_out(worker)
        fitted = fit_dense_head(worker).cells
    assert not counted[tuple(fitted.T)].any() and not counted[:, :3].any()
    assert counted[1:-1, 5:-1].sum() + ((fitted > (0, 4)) & (fitted < (11, 11))).all(1).sum() == 10 * 6


def test_dense_maps_are_compared_on_a_scene_and_on_labelled_scenes(run, changed):
    folder = changed()
    both = dense_agreement.measure(
        str(run), f"{folder}/points/scene.tif", labelled_scenes=folder, without_most_frequent=True
    )
    names = [name for name, _ in both["details"]]
    assert names == ["scene", "points"]
    assert both["details"][0][1].startswith("dense, a label per 16 pixels")
    stated = [words.rpartition("value ")[2] for _, words in both["details"][:2]]
    each = [float(words.partition("%")[0]) / 100 for words in stated]
    assert both["value"] == pytest.approx(np.mean(each), abs=1e-3) and both["value"] > 0.5


def test_a_timed_scene_states_its_bands_and_how_it_was_labelled(run):
    measured = scene_time.measure(str(run), stride=16, bands=4, pixels=100)
    details = dict(measured["details"])
    assert measured["value"] > 0 and details["labels"] == "49"
    assert details["scene"].startswith("100 x 100 pixels, 4 bands, uint16")
    assert "test tiles side by side; the further bands repeat the first" in details["scene"]
    assert details["map"] == "tile by tile, a label per 16 pixels from a window of 16"


@pytest.mark.slow
def test_the_memory_of_a_map_is_that_of_its_own_process(run):
    measured = scene_memory.measure(str(run), stride=16, bands=4, pixels=100)
    assert 50e6 < measured["value"] < 5e9
    assert "4 bands" in dict(measured["details"])["scene"]


@pytest.mark.slow
def test_the_speed_up_of_dense_maps_states_both_times(run):
    measured = dense_speedup.measure(str(run), pixels=100)
    details = dict(measured["details"])
    assert measured["value"] > 0 and details["dense map"].startswith("dense, a label per 16 pixels")
    assert {"dense", "tiles", "labels"} <= set(details)
