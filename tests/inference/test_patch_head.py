"""Patch heads: the class of each patch of a window that is smaller than a tile."""

import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from samples import backbone_folder

from orbitune.errors import ModelError
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.ood_fitting import draw_views
from orbitune.inference.patch_head import Confidence, PatchHead, window_logits
from orbitune.models.backbones import find_backbone
from orbitune.models.files.checkpoint_files import PATCH_HEAD_FILE, hashed_files
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
    of_windows, _ = model.label_windows(head.head, windows)
    return np.exp(np.stack(of_patches, 1)).reshape(shape), np.exp(of_windows)


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
    logits, means = model.label_windows(head.head, draw_views(tiles, setup, seed=1))
    assert 0 < (np.exp(logits.max(1)) < head.min_confidence).mean() < 0.06
    assert 0 < head.out_of_distribution(means).mean() < 0.1


def test_windows_as_large_as_a_tile_are_left_to_the_classification_head(sensor_bundle):
    assert sensor_bundle.patch_head(TILE) is None and sensor_bundle.patch_head(TILE - 1)


def test_the_metadata_have_its_hash_and_the_model_card_explains_it(sensor_bundle, bundle):
    assert PATCH_HEAD_FILE in sensor_bundle.metadata.files
    cards = [(each.folder / "README.md").read_text() for each in (sensor_bundle, bundle)]
    assert [PATCH_HEAD_FILE in card for card in cards] == [True, False]


def test_it_is_no_part_of_the_hash_of_weights(sensor_bundle, tmp_path):
    with_head, without = (shutil.copytree(sensor_bundle.folder, tmp_path / name) for name in ("a", "b"))
    (without / PATCH_HEAD_FILE).unlink()
    assert hashed_files(with_head) == [with_head / file.name for file in hashed_files(without)]
    backbones = [find_backbone(str(backbone_folder(tmp_path / name))) for name in ("c", "d")]
    shutil.copy(with_head / PATCH_HEAD_FILE, backbones[0].folder)
    assert backbones[0].weights_hash == backbones[1].weights_hash


def test_a_model_that_has_seen_whole_tiles_alone_has_none(bundle):
    assert bundle.patch_head(QUARTER) is None and not (bundle.folder / PATCH_HEAD_FILE).exists()


def test_the_same_run_gives_the_same_head(sensor_bundle, tmp_path):
    again = build_bundle(sensor_bundle.folder.parent / "sensor", tmp_path / "again", progress=False)
    files = [each.folder / PATCH_HEAD_FILE for each in (again, sensor_bundle)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_windows_unlike_any_ground_are_out_of_distribution(sensor_bundle):
    rows, columns = np.mgrid[:TILE, :TILE]
    checks = np.repeat(255 * ((rows + columns) % 2)[..., None], 3, 2).astype(np.uint8)
    head = sensor_bundle.patch_head(QUARTER)
    _, means = BundleModel(sensor_bundle).label_windows(head.head, checks[None])
    assert head.out_of_distribution(means).all()


def test_a_head_is_read_as_it_was_written(sensor_bundle, tmp_path):
    head = sensor_bundle.patch_head(QUARTER)
    head.save(tmp_path)
    read = PatchHead.load(tmp_path)
    assert np.array_equal(read.head.weight, head.head.weight) and np.array_equal(
        read.head.bias, head.head.bias
    )
    assert np.array_equal(read.detector.whitening, head.detector.whitening)
    assert np.array_equal(read.detector.means, head.detector.means)
    confidence = [(each.confidence.temperature, each.confidence.offset) for each in (read, head)]
    assert confidence[0] == pytest.approx(confidence[1])
    limits = [(each.min_confidence, each.detector.threshold) for each in (read, head)]
    assert limits[0] == pytest.approx(limits[1])


def test_calibrated_confidence_is_how_often_the_class_is_right():
    random = np.random.default_rng(0)
    odds = np.exp(random.normal(0, 1, 20_000))
    right = random.random(20_000) < odds**2 / (odds**2 + 0.5)
    highest = odds / (1 + odds)
    confidence = Confidence.fit(highest, right)
    assert (confidence.temperature, confidence.offset) == pytest.approx((0.5, np.log(2)), abs=0.05)
    assert confidence(highest).mean() == pytest.approx(right.mean(), abs=0.005)
    assert np.isfinite(confidence(np.array([0.0, 1.0]))).all()


def test_a_damaged_file_is_named(sensor_bundle, tmp_path):
    (tmp_path / PATCH_HEAD_FILE).write_bytes(b"{}")
    with pytest.raises(ModelError, match=f"{PATCH_HEAD_FILE} cannot be read"):
        PatchHead.load(tmp_path)


@pytest.mark.parametrize("name", ["weight", "temperature", "threshold"])
def test_a_file_without_one_of_its_tensors_says_to_make_the_bundle_again(sensor_bundle, tmp_path, name):
    tensors = load_file(sensor_bundle.folder / PATCH_HEAD_FILE)
    del tensors[name]
    save_file(tensors, tmp_path / PATCH_HEAD_FILE)
    with pytest.raises(ModelError, match=f"lacks '{name}': make the bundle again"):
        PatchHead.load(tmp_path)


def test_a_number_that_is_none_is_a_damaged_file(sensor_bundle, tmp_path):
    tensors = load_file(sensor_bundle.folder / PATCH_HEAD_FILE)
    save_file(tensors | {"threshold": np.ones(3, np.float32)}, tmp_path / PATCH_HEAD_FILE)
    with pytest.raises(ModelError, match="cannot be read"):
        PatchHead.load(tmp_path)


def test_with_tta_the_answer_is_the_mean_over_flips_and_quarter_turns(sensor_bundle, halves):
    head, plain = sensor_bundle.patch_head(QUARTER), BundleModel(sensor_bundle)
    flipped = sensor_bundle.metadata.model_copy(update={"tta": "flips"})
    logits, means = BundleModel(Bundle(sensor_bundle.folder, flipped)).label_windows(head.head, halves)
    views = [np.rot90(each, turns, (1, 2)) for turns in range(4) for each in (halves, halves[:, ::-1])]
    of_views = [np.exp(plain.label_windows(head.head, view.copy())[0]) for view in views]
    assert np.allclose(np.exp(logits), np.mean(of_views, 0), atol=1e-5)
    assert np.array_equal(means, plain.label_windows(head.head, halves)[1])
