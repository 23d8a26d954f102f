"""Robustness is scored with a real classifier on every kind and severity."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from orbitune.data.sensor.corruptions import CORRUPTIONS, SEVERITIES
from orbitune.data.synthetic import CLASSES, generate
from orbitune.evaluation.robustness import EVALUATIONS, score_corruptions


@pytest.fixture(scope="module")
def scene():
    """A classifier of the mean and spread of the colours, and tiles it has not seen."""

    def features(tiles):
        return np.concatenate([tiles.mean(axis=(1, 2)), tiles.std(axis=(1, 2))], axis=1) / 50

    tiles, labels = generate(300)
    model = LogisticRegression(max_iter=2000).fit(features(tiles[:200]), labels[:200])
    return lambda batch: model.decision_function(features(batch)), tiles[200:], labels[200:]


@pytest.fixture(scope="module")
def scored(scene):
    seen: list[int] = []
    predict, tiles, labels = scene
    return score_corruptions(predict, tiles, labels=labels, batch_size=32, after_batch=seen.append), seen


def test_every_kind_and_severity_is_scored_with_progress(scored):
    result, seen = scored
    assert [kind.name for kind in result.corruptions] == list(CORRUPTIONS)
    assert all([s.severity for s in kind.severities] == list(SEVERITIES) for kind in result.corruptions)
    assert sum(seen) == 100 * EVALUATIONS and max(seen) == 32


def test_a_classifier_of_colours_loses_under_haze_and_means_are_means(scored):
    result, _ = scored
    assert result.count == 100
    assert result.clean.accuracy > 2 / len(CLASSES)
    kinds = {kind.name: kind for kind in result.corruptions}
    haze = [each.accuracy for each in kinds["haze"].severities]
    assert haze[-1] < result.clean.accuracy - 0.1
    assert kinds["haze"].mean == pytest.approx(np.mean(haze))
    assert result.mean == pytest.approx(np.mean([kind.mean for kind in kinds.values()]))


def test_the_loss_has_an_interval_over_the_tiles(scored):
    result, _ = scored
    low, high = result.loss_interval
    assert result.loss == pytest.approx((low + high) / 2)
    assert 0 < high - low < 4 / np.sqrt(result.count)  # the loss of a tile lies in -1..1


def test_one_tile_has_no_interval(scene):
    predict, tiles, labels = scene
    assert score_corruptions(predict, tiles[:1], labels=labels[:1]).loss_interval is None


def test_the_size_of_a_batch_changes_nothing_and_the_result_is_plain_json(scene, scored):
    result, _ = scored
    predict, tiles, labels = scene
    assert score_corruptions(predict, tiles, labels=labels, batch_size=100) == result
    assert json.loads(json.dumps(result.to_json(), allow_nan=False)) == result.to_json()
