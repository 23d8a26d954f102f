"""Random splits of tiles with several labels keep the fractions of all of them."""

import numpy as np
import pytest

from orbitune.data.labels.stratification import draw_stratified
from orbitune.data.splits import SPLITS, draw_shots, split_tiles
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError

CLASSES = ("Forest", "River", "Pasture", "Mine")


def label_sets(count=400, seed=0):
    """Labels of decreasing frequency, the last one of about ten tiles; some tiles have none."""
    random = np.random.default_rng(seed)
    labels = (random.random((count, 4)) < [0.5, 0.3, 0.1, 0.02]).astype(np.uint8)
    labels[:5, 2:] = 1
    return labels


def tile_set(labels):
    return TileSet(
        tiles=np.zeros((len(labels), 1, 1, 3), np.uint8),
        labels=labels,
        names=tuple(f"scene{n % 25:02d}_{n}.png" for n in range(len(labels))),
        classes=CLASSES[: labels.shape[1]],
        own_splits={},
        fingerprint="",
        source="",
        notes=(),
        skipped=(),
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_split_has_its_fraction_of_every_class(seed):
    labels = label_sets(seed=seed)
    splits, notes = split_tiles(tile_set(labels), None, seed=seed)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(400))
    for name, fraction in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
        part = labels[splits[name]]
        assert len(part) == pytest.approx(400 * fraction, abs=8)
        assert part.sum(0) == pytest.approx(labels.sum(0) * fraction, abs=2)
        assert (part.sum(1) == 0).sum() == pytest.approx((labels.sum(1) == 0).sum() * fraction, abs=3)
    assert notes == (f"the data has no splits: drew 60/20/20 at random, stratified, with seed {seed}",)


@pytest.mark.parametrize("seed", range(10))
def test_a_class_of_three_tiles_is_in_every_split(seed):
    labels = label_sets(40, seed=seed)
    labels[:, 3] = 0
    labels[np.random.default_rng(seed).permutation(40)[:3], 3] = 1
    splits, _ = split_tiles(tile_set(labels), None, seed=seed)
    assert all(labels[rows].any(0).all() for rows in splits.values())


def test_a_class_of_two_tiles_is_refused_by_name():
    labels = label_sets(40)
    labels[:, 3] = 0
    labels[:2, 3] = 1
    with pytest.raises(DataError, match=r"Too few tiles to split: Mine \(2\)"):
        split_tiles(tile_set(labels), None, seed=0)


def test_a_seed_gives_the_same_draw_and_another_seed_another():
    members = label_sets().astype(bool)
    first, again, other = (draw_stratified(members, 80, seed=seed) for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_a_group_split_keeps_scenes_whole_and_classes_in_proportion():
    labels = label_sets()
    tiles = tile_set(labels)
    splits, _ = split_tiles(tiles, None, seed=0, split="group", group_pattern="scene[0-9]+")
    scenes = {name: {tiles.names[row][:7] for row in splits[name]} for name in SPLITS}
    assert sum(map(len, scenes.values())) == 25
    assert labels[splits["test"]].mean(0) == pytest.approx(labels.mean(0), abs=0.05)


def test_a_class_that_validation_lacks_is_noted_whatever_the_split(tmp_path):
    labels = np.array([[1, 0], [0, 1], [1, 1], [1, 0], [1, 0]], np.uint8)
    tiles = tile_set(labels)
    for name, rows in (("train", (0, 1)), ("val", (3,)), ("test", (2, 4))):
        (tmp_path / f"{name}.txt").write_text("\n".join(tiles.names[row] for row in rows))
    _, notes = split_tiles(tiles, str(tmp_path), seed=0)
    assert "no validation tile of River" in notes


def test_shots_are_at_least_so_many_tiles_of_each_class():
    labels = label_sets()
    tiles = tile_set(labels)
    few, more = (draw_shots(tiles, np.arange(400), shots=shots, seed=3) for shots in (2, 5))
    assert labels[few].sum(0).min() >= 2 and labels[more].sum(0).min() >= 5
    assert set(few) <= set(more) and len(set(more)) == len(more)
