import numpy as np
import pytest

from orbitune.errors import ModelError
from orbitune.evaluation.ood import OODDetector

RANDOM = np.random.default_rng(0)
CENTRES = RANDOM.normal(size=(3, 16))


def features(count, spread=0.1, length=1.0):
    """Return features of three classes, directions that vary by `spread`."""
    labels = np.arange(count) % 3
    return (length * (CENTRES[labels] + spread * RANDOM.normal(size=(count, 16)))).astype(np.float32), labels


@pytest.fixture(scope="module")
def detector():
    return OODDetector.fit(*features(300), held_out=features(1000)[0], false_alarm_rate=0.05)


def test_the_threshold_gives_the_requested_false_positive_rate(detector):
    new = detector.scores(features(4000)[0])
    assert 0.03 < (new > detector.threshold).mean() < 0.07


def test_other_directions_lie_beyond_the_threshold(detector):
    other = RANDOM.normal(size=(200, 16)).astype(np.float32)
    assert (detector.scores(other) > detector.threshold).mean() > 0.95


def test_the_length_of_a_feature_plays_no_part(detector):
    some = features(50)[0]
    assert np.allclose(detector.scores(some), detector.scores(7 * some), rtol=1e-4)


def test_what_is_loaded_measures_as_what_was_saved(detector, tmp_path):
    detector.save(tmp_path / "l.safetensors")
    again = OODDetector.load(tmp_path / "l.safetensors", detector.threshold)
    some = features(50)[0]
    assert np.array_equal(again.scores(some), detector.scores(some))
    assert (tmp_path / "l.safetensors").stat().st_size < 2 * (16 * 17 // 2 + 3 * 16) + 300


def test_it_can_be_fitted_to_fewer_tiles_than_features():
    found = OODDetector.fit(*features(6), held_out=features(200)[0], false_alarm_rate=0.05)
    assert np.isfinite(found.scores(features(20)[0])).all()


def test_constant_features_are_handled():
    same = np.ones((9, 4), np.float32)
    found = OODDetector.fit(same, np.arange(9) % 3, held_out=same, false_alarm_rate=0.2)
    assert (found.scores(same) <= found.threshold).all()
    assert (found.scores(np.eye(4, dtype=np.float32)) > found.threshold).all()


def test_a_damaged_file_is_one_line(detector, tmp_path):
    file = tmp_path / "l.safetensors"
    detector.save(file)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelError, match="cannot be read"):
        OODDetector.load(file, 1.0)
