"""Patch heads: the class of each patch of a window that is smaller than a tile."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from orbitune.errors import ModelError
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.ood_fitting import draw_views
from orbitune.inference.patch_head import PATCH_HEAD_FILE, PatchHead, window_logits
from orbitune.training.evaluate import reopen

QUARTER, TILE = 4, 16  # sides of the smallest windows and of the tiles


@pytest.fixture(scope="module")
def halves(tiles):
    """Windows, the left half of one class and the right half of the next: uint8 (3, 16, 16, 3)."""
    first = [np.asarray(Image.open(tiles / f"class_{label}" / f"tile_{label}_0.png")) for label in range(3)]
    second = [first[1], first[2], first[0]]
    return np.stack([np.concatenate([a[:, :8], b[:, 8:]], 1) for a, b in zip(first, second, strict=True)])


def ask(bundle, windows):
    """Return the probabilities of each patch, (B, rows, columns, C), and those of the windows."""
    model, head = BundleModel(bundle), bundle.patch_head(QUARTER)
    features = model.patch_features(windows)
    of_patches = [window_logits(head.head, features[:, [n]]) for n in range(features.shape[1])]
    shape = (len(windows), model.patches, model.patches, -1)
    return np.exp(np.stack(of_patches, 1)).reshape(shape), np.exp(window_logits(head.head, features))


def test_each_patch_has_the_class_of_its_own_ground(sensor_bundle, halves):
    of_patches, _ = ask(sensor_bundle, halves)
    columns = of_patches.shape[2] // 2
    for label, window in enumerate(of_patches.argmax(-1)):
        assert (window[:, :columns] == label).mean() > 0.8
        assert (window[:, columns:] == (label + 1) % 3).mean() > 0.8


def test_the_answer_for_a_window_is_the_mean_of_those_for_its_patches(sensor_bundle, halves):
    of_patches, of_windows = ask(sensor_bundle, halves)
    assert np.allclose(of_windows, of_patches.mean((1, 2)), atol=1e-6)
    assert np.allclose(of_windows.sum(1), 1)


def test_few_views_of_validation_tiles_are_beyond_the_limits(sensor_bundle):
    _, setup = reopen(sensor_bundle.folder.parent / "sensor", False)
    tiles = setup.tiles.read(np.repeat(setup.splits["validation"], 10))
    head, model = sensor_bundle.patch_head(QUARTER), BundleModel(sensor_bundle)
    features = model.patch_features(draw_views(tiles, setup, seed=1))
    confidence = np.exp(window_logits(head.head, features).max(1))
    assert 0 < (confidence < head.min_confidence).mean() < 0.06
    assert 0 < head.out_of_distribution(features).mean() < 0.1


def test_windows_as_large_as_a_tile_are_left_to_the_classification_head(sensor_bundle):
    assert sensor_bundle.patch_head(TILE) is None and sensor_bundle.patch_head(TILE - 1)


def test_the_metadata_have_its_hash_and_the_model_card_explains_it(sensor_bundle, bundle):
    assert PATCH_HEAD_FILE in sensor_bundle.metadata.files
    cards = [(each.folder / "README.md").read_text() for each in (sensor_bundle, bundle)]
    assert [PATCH_HEAD_FILE in card for card in cards] == [True, False]


def test_a_model_that_has_seen_whole_tiles_alone_has_none(bundle):
    assert bundle.patch_head(QUARTER) is None and not (bundle.folder / PATCH_HEAD_FILE).exists()


def test_the_same_run_gives_the_same_head(sensor_bundle, tmp_path):
    again = build_bundle(sensor_bundle.folder.parent / "sensor", tmp_path / "again", progress=False)
    files = [each.folder / PATCH_HEAD_FILE for each in (again, sensor_bundle)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_windows_unlike_any_ground_are_out_of_distribution(sensor_bundle):
    rows, columns = np.mgrid[:TILE, :TILE]
    checks = np.repeat(255 * ((rows + columns) % 2)[..., None], 3, 2).astype(np.uint8)
    features = BundleModel(sensor_bundle).patch_features(checks[None])
    assert sensor_bundle.patch_head(QUARTER).out_of_distribution(features).all()


def test_a_head_is_read_as_it_was_written(sensor_bundle, tmp_path):
    head = sensor_bundle.patch_head(QUARTER)
    head.save(tmp_path)
    read = PatchHead.load(tmp_path)
    assert np.array_equal(read.head.weight, head.head.weight) and np.array_equal(
        read.head.bias, head.head.bias
    )
    assert np.array_equal(read.detector.whitening, head.detector.whitening)
    assert np.array_equal(read.detector.means, head.detector.means)
    numbers = [(each.min_confidence, each.temperature, each.detector.threshold) for each in (read, head)]
    assert numbers[0] == pytest.approx(numbers[1])


def test_a_damaged_file_is_named(sensor_bundle, tmp_path):
    folder = shutil.copytree(sensor_bundle.folder, tmp_path / "damaged")
    (folder / PATCH_HEAD_FILE).write_bytes(b"{}")
    with pytest.raises(ModelError, match=re.escape(PATCH_HEAD_FILE)):
        Bundle.open(folder).patch_head(QUARTER)
