"""Dense maps: which cells are in doubt, and are labelled tile by tile."""

from dataclasses import replace

import numpy as np
import pytest

from orbitune.mapping.dense import fit
from orbitune.mapping.dense.predictor import dense_features, margins
from orbitune.mapping.grid import select_cells
from orbitune.mapping.map_plan import plan_map
from orbitune.mapping.options import MapOptions
from orbitune.mapping.worker import Worker


@pytest.fixture
def worker(request, bundle, fields):
    options = MapOptions(stride=getattr(request, "param", 4), mode="dense", not_sure=False)
    worker = Worker(plan_map(bundle.folder, [fields], paths={}, options=options).spec)
    yield worker
    worker.close()


def predict(worker, margin):
    window = worker.read_part(0)
    found = fit.fit_dense_head(worker)
    worker.use_dense(replace(found, margin=margin))
    return window, worker.label(window)


def test_a_margin_is_the_difference_of_the_two_highest_probabilities():
    assert margins(np.array([[0.2, 0.7, 0.1], [0.5, 0.5, 0]])) == pytest.approx([0.5, 0])


def test_cells_within_the_margin_are_labelled_tile_by_tile(worker):
    tilewise = worker.label(worker.read_part(0))
    window, all_in_doubt = predict(worker, margin=1)
    assert np.array_equal(all_in_doubt, tilewise)
    _, none_in_doubt = predict(worker, margin=-1)
    where = tuple(select_cells(window, False).T)
    assert (none_in_doubt[1] != tilewise[1])[where].mean() > 0.5  # another confidence, by another head


@pytest.mark.parametrize("worker, cells", [(4, 500), (8, 288), (16, 72)], indirect=["worker"])
def test_the_head_is_fitted_to_500_cells_or_half_of_a_small_scene_none_twice(worker, cells):
    fitted = fit.fit_dense_head(worker).cells
    assert len(fitted) == len(np.unique(fitted, axis=0))
    assert 0.95 * cells <= len(fitted) <= cells  # blocks overlap, and no more than half of one is drawn


@pytest.mark.parametrize("worker", [4, 8, 16], indirect=True)
def test_cells_have_the_features_in_a_block_that_they_are_labelled_from(worker):
    part = worker.spec.rows
    for row, column in np.random.default_rng(0).integers([worker.spec.cells.rows] * 2, size=(10, 2)).tolist():
        top, left, rows, columns = fit._block_around(worker, row, column)
        block = dense_features(worker.network, worker.read_cells(top, left, rows=rows, columns=columns))
        whole = dense_features(worker.network, worker.read_part(row // part))
        expected = whole[row % part, column]
        assert np.allclose(block[row - top, column - left], expected, atol=1e-3 * np.abs(expected).max())


def features_of(codes, error):
    """Features that tell the codes apart but for a fraction `error` of the cells, which look like others."""
    random = np.random.default_rng(0)
    seen = np.where(random.random(len(codes)) < error, (codes + 1) % 3, codes)
    return (np.eye(3)[seen] * 3 + random.normal(0, 0.5, (len(codes), 3))).astype(np.float32)


def choose_margin(features, codes):
    return fit._choose_margin(features, np.eye(4)[codes], squares=np.arange(len(codes)) // 10)


def test_no_cell_is_in_doubt_where_the_head_repeats_the_predictions():
    codes = np.random.default_rng(1).integers(3, size=600)
    assert choose_margin(features_of(codes, 0), codes) == 0


def test_cells_are_in_doubt_until_nine_of_ten_of_the_rarer_ones_agree():
    codes = np.random.default_rng(1).choice(3, p=[0.6, 0.2, 0.2], size=2000)
    features, predicted = features_of(codes, 0.3), np.eye(4)[codes]
    margin = choose_margin(features, codes)
    found = fit.LinearHead.fit(features, predicted)(features)
    rarer = codes != 0
    wrong = rarer & (found.argmax(1) != codes)
    assert wrong[rarer].mean() > 0.2
    assert (wrong & (margins(found) > margin))[rarer].mean() == pytest.approx(0.1, abs=0.03)


def test_all_cells_are_in_doubt_where_that_cannot_be_measured():
    codes = np.random.default_rng(1).integers(3, size=40)
    assert fit._choose_margin(features_of(codes, 0), np.eye(4)[codes], squares=np.full(40, 2)) == 1


@pytest.mark.parametrize("worker", [4], indirect=True)
def test_the_halves_lie_in_different_squares_of_the_scene(worker, monkeypatch):
    given = []
    monkeypatch.setattr(fit, "_choose_margin", lambda *_, squares: given.append(squares) or 0)
    row, column = fit.fit_dense_head(worker).cells.T
    assert np.array_equal(given[0], row // 7 + column // 7)


def test_predictions_of_one_class_leave_no_doubt():
    codes = np.zeros(100, int)
    assert choose_margin(features_of(codes, 0), codes) == 0
