"""Dense prediction: texture of cells, the kernel head, and the cells that go to the network."""

from pathlib import Path

import numpy as np
import pytest

from orbitune.mapping.dense import DensePredictor, estimate_cells
from orbitune.mapping.dense_fit import fit_dense_head
from orbitune.mapping.grid import CellGrid, PixelWindow, select_cells
from orbitune.mapping.kernel_head import KernelHead
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.part_store import PartStore
from orbitune.mapping.texture import texture_features
from orbitune.mapping.worker import Worker


def window_of(pixels, *, stride, tile, valid=None):
    valid = np.ones(pixels.shape[:2], bool) if valid is None else valid
    return PixelWindow(pixels, valid, CellGrid(*pixels.shape[:2], stride, tile))


@pytest.fixture
def worker(bundle, fields):
    plan = plan_map(
        bundle.folder, [fields], paths={"map": Path("map.tif")}, options=MapOptions(stride=4, mode="dense")
    )
    worker = Worker(plan.spec)
    yield worker
    worker.close()


# --- texture ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_texture_is_the_statistics_of_the_pixels_of_a_tile(dtype):
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, top + 1, (96, 80, 4)).astype(dtype)
    found = texture_features(window_of(pixels, stride=16, tile=16))
    assert found.shape == (6, 5, 24)
    tile = pixels[32:48, 16:32].astype(float)
    across, down = (np.abs(np.diff(tile, axis=axis)).mean((0, 1)) for axis in (1, 0))
    ends = tile.min((0, 1)), tile.max((0, 1))
    expected = [tile.mean((0, 1)), *np.log1p([tile.std((0, 1)), across, down]), *ends]
    assert found[2, 1] == pytest.approx(np.concatenate(expected), rel=1e-5)


def test_overlapping_tiles_are_the_mean_and_the_deviation_of_their_blocks():
    pixels = np.random.default_rng(0).integers(0, 250, (112, 96, 3)).astype(np.uint8)
    blocks = texture_features(window_of(pixels, stride=16, tile=16))
    found = texture_features(window_of(pixels, stride=16, tile=64))
    assert found.shape == (4, 3, 36)
    tile = blocks[2:6, 1:5].reshape(16, -1)
    assert found[2, 1] == pytest.approx(np.concatenate([tile.mean(0), tile.std(0)]), rel=1e-3, abs=1e-3)


def test_single_pixels_have_a_texture():
    pixels = np.random.default_rng(0).integers(0, 250, (8, 8, 3)).astype(np.uint8)
    assert np.isfinite(texture_features(window_of(pixels, stride=1, tile=3))).all()


# --- the kernel head --------------------------------------------------------------------------------------


def test_a_head_predicts_what_follows_from_features_and_place():
    random = np.random.default_rng(0)
    features, places = random.normal(size=(600, 6)), random.integers(0, 40, (600, 2))
    values = np.column_stack([np.sin(features[:, 0]), features[:, 1], places[:, 0] / 20])
    head, _ = KernelHead.fit(features[:400], places[:400], values=values[:400], across=8.0)
    error = head(features[400:], places[400:]) - values[400:]
    assert (error.var(0) / values[400:].var(0) < [0.5, 0.3, 0.3]).all()


def test_values_left_out_are_those_of_a_head_without_the_cell():
    random = np.random.default_rng(0)
    features, places = random.normal(size=(40, 4)), np.zeros((40, 2), int)
    features = (features - features.mean(0)) / features.std(0)
    values = random.normal(size=(40, 2))
    values -= values.mean(0)  # the mean and the scale of all cells count
    _, left_out = KernelHead.fit(features, places, values=values, across=1.0)
    covariance = np.exp(-np.linalg.norm(features[:, None] - features, axis=2) / np.sqrt(4) / 2) / 2 + 0.5
    kept = np.arange(40) != 7
    inverse = np.linalg.inv(covariance[np.ix_(kept, kept)] + 0.03 * np.eye(39))
    assert left_out[7] == pytest.approx(covariance[7, kept] @ inverse @ values[kept], rel=2e-3)


# --- the predictor ----------------------------------------------------------------------------------------


def test_cells_in_doubt_are_predicted_by_the_network(worker):
    head = fit_dense_head(worker)
    window = worker.read_part(1)
    where = select_cells(window)
    exact = worker.tilewise.predict(window, where)
    found = DensePredictor(head, worker.tilewise).predict(window, where)
    estimated = estimate_cells(head.kernel, window, where=where)
    doubtful = worker.tilewise.margins(estimated) < head.margin
    assert 0.01 < doubtful.mean() < 0.5
    found, exact = found.probabilities, exact.probabilities
    assert np.array_equal(found[doubtful], exact[doubtful])
    assert np.array_equal(found[~doubtful], worker.tilewise.decide(estimated[~doubtful]).probabilities)
    assert not np.array_equal(found[~doubtful], exact[~doubtful])


def test_the_margin_is_how_far_another_code_is(worker):
    window = worker.read_part(0)
    measured = worker.tilewise.measure_tiles(window.tiles(select_cells(window)[:200]))
    margins = worker.tilewise.margins(measured)
    least = worker.tilewise.min_confidence
    codes = worker.tilewise.decide(measured).codes(least)
    assert (margins > 0).all()
    random = np.random.default_rng(0)
    shift = random.choice([-0.5, 0.5], measured.shape) * np.minimum(margins, 1)[:, None] * 0.99
    assert np.array_equal(worker.tilewise.decide(measured + shift).codes(least), codes)


def test_a_stored_head_is_the_same(worker, tmp_path):
    head, store = fit_dense_head(worker), PartStore(tmp_path)
    store.write_head(head)
    stored = store.read_head()
    for name, array in head.to_arrays().items():
        assert np.array_equal(stored.to_arrays()[name], array), name
    assert fit_dense_head(worker).to_arrays().keys() == head.to_arrays().keys()
