"""Tiles of one group are in one split."""

import re

import numpy as np
import pytest
from pages import read_page
from scene_tiles import SCENES, tile_set

from orbitune import Recipe
from orbitune.data.splits import SPLITS, split_tiles
from orbitune.data.tileset import TileSet
from orbitune.errors import DataError, OrbituneError


def split(tiles, pattern, seed=0):
    return split_tiles(tiles, None, seed=seed, split="group", group_pattern=pattern)


@pytest.mark.parametrize("pattern", ["(scene[0-9]+)_", "scene[0-9]+", "/([^_]+)_"])
def test_a_scene_is_whole_in_one_split(pattern):
    tiles = tile_set()
    splits, notes = split(tiles, pattern)
    scenes = {name: {tiles.names[row].split("/")[1][:7] for row in splits[name]} for name in SPLITS}
    assert sum(map(len, scenes.values())) == len(set().union(*scenes.values())) == SCENES
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 72, "validation": 24, "test": 24}
    assert notes == (
        "group split: 20 groups of tiles, each whole in one split, 60.0%/20.0%/20.0%, stratified as groups "
        "allow, with seed 0",
    )


def test_the_pattern_of_the_documentation_keeps_a_scene_whole():
    page = read_page("guides/train.md")
    name = re.search(r"a name such as `([^`]+)`", page)[1]
    pattern = re.search(r"--group-pattern '([^']+)'", page)[1]
    assert re.search(pattern, name)[1] == "scene12"
    assert "20 groups of tiles" in split(tile_set(), pattern)[1][0]


def test_a_seed_gives_the_same_split_and_another_seed_another():
    first, again, other = (split(tile_set(), "scene[0-9]+", seed)[0]["test"] for seed in (1, 1, 2))
    assert first.tolist() == again.tolist() != other.tolist()


def test_folders_are_groups_too():
    with pytest.raises(DataError, match=r"finds 2 groups \(c0, c1\): a split needs 5 or more"):
        split(tile_set(), "^([^/]+)/")


def test_a_class_that_few_groups_have_is_noted():
    tiles = tile_set(classes=1)
    labels = np.where([name.startswith("c0/scene00") for name in tiles.names], 1, 0)
    rare = TileSet(**{**vars(tiles), "labels": labels, "classes": ("field", "mine")})
    noted = [split(rare, "scene[0-9]+", seed) for seed in range(5) if _trains_on_all(rare, seed)]
    assert noted and all("no test tile of mine" in notes for _, notes in noted)


def _trains_on_all(tiles, seed):
    try:
        split(tiles, "scene[0-9]+", seed)
    except DataError as error:
        assert "no training tile of mine" in str(error)
        return False
    return True


def test_names_that_do_not_match_are_one_line_with_a_count():
    with pytest.raises(
        DataError, match="--group-pattern c0/ finds no group in 60 of 120 tile names, such as"
    ):
        split(tile_set(), "c0/")


@pytest.mark.parametrize("pattern", ["c0/(scene[0-9]+)?|c1/", "/(x*)"])
def test_a_name_whose_group_is_optional_or_empty_has_no_group(pattern):
    with pytest.raises(DataError, match=r"finds no group in (60|120) of 120 tile names, such as c\d/scene"):
        split(tile_set(), pattern)


def test_too_few_tiles_of_a_class_are_not_called_too_few_groups():
    with pytest.raises(DataError, match=r"^No class has 5 tiles or more, which .*: add tiles\.$"):
        split(tile_set(scenes=4, each=1), "c[0-9]/scene[0-9]+")


def test_groups_of_unequal_size_are_a_warning_with_the_sizes_and_what_to_do():
    splits, notes = split(tile_set(), "scene(0|1[0-9])")
    sizes = "/".join(f"{len(splits[name]) / 120:.1%}" for name in SPLITS)
    assert f"warning: the group split is {sizes} instead of 60/20/20" in notes[1]
    assert notes[1].endswith("use smaller groups, or lists with --split-files")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"group_pattern": "scene"}, "group_pattern needs split group"),
        ({"group_pattern": "(scene"}, "group_pattern: must be a regular expression: missing"),
        ({"split": "group"}, "split group needs group_pattern"),
        ({"split": "group", "group_pattern": "a", "split_files": "x"}, "leave split_files out"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(values, message):
    with pytest.raises(OrbituneError, match=message):
        Recipe(**values)
