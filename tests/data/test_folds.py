"""Folds of a cross-validation: each tile is tested once, and no group is divided."""

import numpy as np
import pytest
from scene_tiles import SCENES, tile_set

from orbitune import Recipe, train
from orbitune.data.splits import split_tiles
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, OrbituneError
from orbitune.fold import Fold


def folds(tiles, count, **options):
    return [split_tiles(tiles, None, seed=0, fold=str(fold), **options) for fold in Fold.all_of(count)]


@pytest.mark.parametrize("options", [{"split": "random"}, {"split": "group", "group_pattern": "scene[0-9]+"}])
@pytest.mark.parametrize("count", [3, 5, 8])
def test_each_tile_is_tested_once_and_validated_once_over_the_folds(options, count):
    tiles = tile_set()
    found = [splits for splits, _ in folds(tiles, count, **options)]
    for name in ("test", "validation"):
        rows = np.concatenate([splits[name] for splits in found])
        assert sorted(rows) == list(range(len(tiles.labels)))
    for splits in found:
        assert sorted(np.concatenate([*splits.values()])) == list(range(len(tiles.labels)))


def test_random_folds_are_stratified():
    for splits, _ in folds(tile_set(), 5, split="random"):
        assert [np.bincount(splits[name] // 60).tolist() for name in ("test", "validation")] == [[12, 12]] * 2


def test_tiles_with_several_labels_have_folds_too():
    labels = np.random.default_rng(0).random((120, 2)) < 0.5
    tiles = TileSet(**{**vars(tile_set()), "labels": labels.astype(np.uint8)})
    for options in ({"split": "random"}, {"split": "group", "group_pattern": "scene[0-9]+"}):
        found = [splits for splits, _ in folds(tiles, 4, **options)]
        assert sorted(np.concatenate([splits["test"] for splits in found])) == list(range(120))
    random = folds(tiles, 4, split="random")
    assert all(abs(labels[splits["test"]].mean(0) - labels.mean(0)).max() < 0.05 for splits, _ in random)


@pytest.mark.parametrize("count", [3, 12])
def test_rare_labels_are_in_the_training_and_test_tiles_of_every_fold(count):
    """Combinations of fewer tiles than folds, and five labels of as many tiles as folds among them."""
    common = np.repeat([[1, 0], [0, 1], [1, 1]], 10, axis=0)
    rare = np.repeat(np.eye(5, dtype=int), count, axis=0)
    labels = np.zeros((30 + len(rare), 7), np.uint8)
    labels[:30, :2], labels[30:, 2:] = common, rare
    tiles = TileSet(
        **vars(tile_set())
        | {"labels": labels, "classes": tuple("abcdefg"), "names": tuple(map(str, range(len(labels))))}
    )
    for splits, _ in folds(tiles, count, split="random"):
        assert all(labels[rows].any(0).all() for rows in splits.values())
        assert labels[splits["test"], 2:].sum(0).tolist() == [1] * 5


def test_a_group_is_whole_in_one_split_of_each_fold():
    tiles = tile_set()
    for splits, _ in folds(tiles, 4, split="group", group_pattern="scene[0-9]+"):
        scenes = [{tiles.names[row].split("/")[1][:7] for row in rows} for rows in splits.values()]
        assert sum(map(len, scenes)) == len(set().union(*scenes)) == SCENES


def test_the_ordinary_split_by_groups_is_the_first_of_five_folds():
    options = {"split": "group", "group_pattern": "scene[0-9]+"}
    ordinary, _ = split_tiles(tile_set(), None, seed=0, **options)
    first, notes = folds(tile_set(), 5, **options)[0]
    assert all(np.array_equal(ordinary[name], first[name]) for name in first)
    assert notes[0].startswith("group split: fold 1 of 5, 20 groups of tiles")


def test_classes_of_fewer_tiles_than_folds_are_named():
    with pytest.raises(DataError, match=r"Too few tiles for 7 folds: c0 \(6\), c1 \(6\)\. Ask for fewer"):
        folds(tile_set(scenes=2), 7, split="random")


def test_parts_of_half_the_size_are_warned_of_whatever_their_number():
    """Of ten parts of groups, one is half as large as the others."""
    tiles = tile_set(scenes=10, each=10, classes=1)
    kept = [row for row, name in enumerate(tiles.names) if "scene00" not in name or row % 2]
    fewer = {"tiles": tiles.tiles[kept], "labels": tiles.labels[kept]}
    tiles = TileSet(**{**vars(tiles), **fewer, "names": tuple(tiles.names[row] for row in kept)})
    warned = [
        any("instead of parts of equal size" in note for note in notes)
        for _, notes in folds(tiles, 10, split="group", group_pattern="scene[0-9]+")
    ]
    assert sum(warned) == 2  # the fold that tests it, and the one that validates with it


def test_fewer_groups_than_folds_are_an_error():
    with pytest.raises(DataError, match=r"finds 4 groups .*: 5 folds need as many or more"):
        folds(tile_set(scenes=4), 5, split="group", group_pattern="scene[0-9]+")


def test_groups_that_leave_a_split_empty_are_an_error():
    """Scenes of one class each, whose classes balance best if one part has no scene."""
    scenes = ["ccb", "bbbb", "aaaaaa", "bbbbbbb", "ddddd"]
    labels = np.array(["abcd".index(each) for scene in scenes for each in scene])
    names = tuple(f"scene{number}_{k}.png" for number, scene in enumerate(scenes) for k in range(len(scene)))
    tiles = TileSet(**{**vars(tile_set()), "labels": labels, "names": names, "classes": tuple("abcd")})
    for fold in (None, "3/5"):
        with pytest.raises(DataError, match=r"scene\. are too unequal: a split would be empty, as 5 groups"):
            split_tiles(tiles, None, seed=0, split="group", group_pattern="scene.", fold=fold)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fold": "6/5", "split": "random"}, "fold: must be one of the folds 1/5 to 5/5, not '6/5'"),
        ({"fold": "0/5", "split": "random"}, "fold: must be one of the folds 1/5 to 5/5, not '0/5'"),
        ({"fold": "1/2", "split": "random"}, "fold: must be of 3 folds or more"),
        ({"fold": "2of5", "split": "random"}, "fold: must be a fold and their number, such as 2/5"),
        ({"fold": "1/5"}, "fold needs split random, spatial or group, and no split_files"),
        ({"fold": "1/5", "split": "spatial", "split_files": "x"}, "fold needs split random"),
        ({"group_column": "scene"}, "group_column needs split group"),
        ({"split": "group", "group_column": "a", "group_pattern": "b"}, "or group_column, not both"),
    ],
)
def test_settings_of_a_split_that_do_not_fit_are_one_line(values, message):
    with pytest.raises(OrbituneError, match=message):
        Recipe(**values)


@pytest.mark.parametrize("values", [{}, {"split": "random"}, {"split": "spatial", "split_files": "x"}])
def test_a_block_size_without_effect_is_refused_for_new_runs_and_read_from_old_ones(values, tmp_path):
    Recipe(block_size=500.0, **values).save(tmp_path / "recipe.yaml")
    stored = Recipe.load(tmp_path / "recipe.yaml")
    with pytest.raises(OrbituneError, match="--block-size needs --split spatial, and no --split-files"):
        train(stored, tmp_path / "run")
    assert not (tmp_path / "run").exists()
