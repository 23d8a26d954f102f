"""Maps of windows smaller than a tile, labelled from their patches."""

from functools import partial

import numpy as np
import pytest
import rasterio
from scenes import mosaic, write_labels, write_scene

from orbitune.errors import DataError, ModelError
from orbitune.mapping.adaptation.adapt import adapt
from orbitune.mapping.areas.estimation import map_areas
from orbitune.mapping.grid import NODATA, NOT_SURE, CellGrid
from orbitune.mapping.map_plan import _cell_bytes
from orbitune.mapping.pipeline import map_scene

WINDOW = 4


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """A scene of 96 x 96 pixels, and the class of each of its windows: strips 8 pixels wide."""
    truth = np.broadcast_to(np.arange(24) // 2 % 3, (24, 24))
    colours = (np.eye(3) * 120 + 60)[truth][..., None, None, :]
    pixels = np.random.default_rng(5).normal(np.broadcast_to(colours, (24, 24, WINDOW, WINDOW, 3)), 20)
    scene = write_scene(
        tmp_path_factory.mktemp("stripes") / "stripes.tif", mosaic(pixels.clip(0, 254)).astype(np.uint8)
    )
    return scene, truth


@pytest.fixture
def draw(sensor_bundle, draw_with):
    return partial(draw_with, sensor_bundle)


def test_windows_of_a_quarter_of_a_tile_are_labelled_by_themselves(draw, stripes):
    drawn = draw(stripes[0], not_sure=False)
    assert (drawn.codes - 1 == stripes[1]).mean() > 0.9
    stated = drawn.report.metadata
    assert (stated.mode, stated.tile, stated.stride, stated.patch_head) == ("tiles", WINDOW, WINDOW, True)
    how = "labels: every 4 pixels, tile by tile, from the patches of windows of 4 pixels, smoothed"
    assert drawn.said[-1] == how


def test_windows_that_overlap_are_dense_by_default(draw, stripes):
    stated = draw(stripes[0], stride=2).report.metadata
    assert (stated.mode, stated.tile, stated.stride, stated.patch_head) == ("dense", WINDOW, 2, True)


def test_maps_of_few_cells_are_tile_by_tile_by_default_as_half_would_be_fitted_to(draw, grid, tmp_path):
    small = write_scene(tmp_path / "s.tif", mosaic(grid)[:64, :64])
    assert draw(small, window=16, stride=4).report.metadata.mode == "tiles"
    assert draw(small, window=16, stride=4, mode="dense").report.metadata.mode == "dense"


def test_the_stated_confidence_is_how_often_the_labels_are_right(draw, stripes):
    drawn = draw(stripes[0], not_sure=False)
    right = (drawn.codes - 1 == stripes[1]).mean()
    assert drawn.report.metadata.quality.expected_accuracy == pytest.approx(right, abs=0.1)


def test_a_wrong_stride_is_told_which_strides_and_windows_there_are(draw, stripes):
    message = r"^--stride must be one of 4, 2 pixels for windows of 4 pixels, or 5 to 16, not 3\.$"
    with pytest.raises(DataError, match=message):
        draw(stripes[0], stride=3)
    assert draw(stripes[0], stride=5).report.metadata.tile == 5


def test_without_the_fast_path_small_windows_are_one_line(draw, stripes, monkeypatch):
    monkeypatch.setattr("orbitune.evaluation.network.fast_path", lambda: None)
    with pytest.raises(ModelError, match=r"^Windows smaller .* is not installed: use --window 16\.$"):
        draw(stripes[0])
    assert not draw(stripes[0], window=16).report.metadata.patch_head


def test_estimates_of_area_say_that_another_head_labelled_the_test_tiles(draw, stripes):
    notes = map_areas(draw(stripes[0], not_sure=False).path).notes
    stated = "16 x 16 pixels, the windows of this map 4 x 4, labelled by another head"
    assert any(stated in note for note in notes)


def test_windows_of_whole_tiles_are_labelled_as_tiles_are(draw, stripes):
    drawn = draw(stripes[0], window=16, stride=4)
    assert drawn.report.metadata.mode == "dense" and not drawn.report.metadata.patch_head


def test_cells_in_doubt_are_not_sure_only_if_they_may_be(draw, stripes):
    random = np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8)
    scene = write_scene(stripes[0].with_name("noise.tif"), random)
    doubtful = draw(scene).codes == NOT_SURE
    assert doubtful.mean() > 0.05
    assert not (draw(scene, not_sure=False).codes == NOT_SURE).any()


def test_cells_without_data_stay_so(draw, stripes, tmp_path):
    with rasterio.open(stripes[0]) as file:
        pixels = np.moveaxis(file.read(), 0, -1).copy()
    pixels[:12, :12] = 255
    drawn = draw(write_scene(tmp_path / "gap.tif", pixels, nodata=255), not_sure=False)
    assert (drawn.codes[:3, :3] == NODATA).all() and (drawn.codes == NODATA).sum() == 9


@pytest.mark.parametrize("mode", ["tiles", "dense"])
def test_a_killed_map_goes_on_to_the_same_bytes(sensor_bundle, stripes, interrupt, tmp_path, mode):
    settings = {"mode": mode, "stride": 2}
    once, twice = tmp_path / "once.tif", tmp_path / "twice.tif"
    map_scene(sensor_bundle.folder, stripes[0], outputs=once, progress=False, **settings)
    interrupt(stripes[0], twice, parts=1, source=sensor_bundle.folder, **settings)
    map_scene(sensor_bundle.folder, stripes[0], outputs=twice, progress=False, **settings)
    assert once.read_bytes() == twice.read_bytes()


def test_a_dense_map_agrees_with_the_map_tile_by_tile(draw, stripes):
    dense, single = (draw(stripes[0], mode=mode, not_sure=False) for mode in ("dense", "tiles"))
    assert (dense.codes == single.codes).mean() > 0.9
    assert dense.report.agreement.fraction > 0.9 and dense.report.metadata.patch_head


def test_the_memory_budget_counts_the_probabilities_of_each_cell(sensor_bundle):
    small, whole = (
        _cell_bytes(sensor_bundle, CellGrid(96, 96, 2, window), dense=False) for window in (WINDOW, 16)
    )
    assert small - whole == 20 * (len(sensor_bundle.classes) + 1)


def test_without_the_fast_path_a_bundle_is_adapted_too(sensor_bundle, stripes, tmp_path, monkeypatch):
    monkeypatch.setattr("orbitune.evaluation.network.fast_path", lambda: None)
    scene, truth = stripes
    cells = [(row, column) for row in range(1, 12, 2) for column in range(0, 24, 2)]
    points = write_labels(
        tmp_path / "points.gpkg",
        [(WINDOW * row + 2, WINDOW * column + 2) for row, column in cells],
        [f"class_{truth[cell]}" for cell in cells],
    )
    adapted = adapt(sensor_bundle.folder, scene, points=points, out=tmp_path / "adapted", progress=False)
    assert adapted.metadata.adaptation.scores.after.accuracy > 0.8


def test_an_adapted_bundle_has_a_head_for_all_windows(sensor_bundle, stripes, draw, draw_with, tmp_path):
    scene, truth = stripes
    cells = [(row, column) for row in range(1, 12, 2) for column in range(0, 24, 2)]
    names = ["class_1", "class_2", "class_0"]  # what the model calls otherwise
    points = write_labels(
        tmp_path / "points.gpkg",
        [(WINDOW * row + 2, WINDOW * column + 2) for row, column in cells],
        [names[truth[cell]] for cell in cells],
    )
    adapted = adapt(sensor_bundle.folder, scene, points=points, out=tmp_path / "adapted", progress=False)
    assert adapted.patch_head(WINDOW) is None
    before = draw(scene, not_sure=False, mode="tiles").codes
    wrong = np.mean([names[truth[cell]] != sensor_bundle.classes[before[cell] - 1] for cell in cells])
    assert adapted.metadata.adaptation.scores.before.accuracy == pytest.approx(1 - wrong, abs=0.1)
    after = draw_with(adapted, scene, not_sure=False, mode="tiles")
    assert not after.report.metadata.patch_head
    assert np.mean([names[truth[cell]] == adapted.classes[after.codes[cell] - 1] for cell in cells]) > 0.8
