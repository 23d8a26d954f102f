"""The random split of a study is that of the lists that the data come with, as for every other command."""

import shutil

import numpy as np
import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, Study, train
from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.study.grid import Grid
from orbitune.study.report import tiles_of_splits
from orbitune.study.results import read_results
from orbitune.training.setup import prepare_training


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """Tiles in the folders train, val and test."""
    place = tmp_path_factory.mktemp("own-lists")
    tiles = tile_folder(place / "all", each=20)
    for number, file in enumerate(sorted(tiles.rglob("*.png"))):
        split = ("train", "train", "train", "val", "test")[number % 5]
        target = place / "tiles" / split / file.parent.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.move(file, target / file.name)
    backbone = str(backbone_folder(place / "backbone"))
    return Recipe(data=str(place / "tiles"), backbone=backbone, epochs=1, batch_size=16)


@pytest.fixture(scope="module")
def finished(recipe, forked, tmp_path_factory):
    """The results of a study on the lists and on a redrawn split, and its folder."""
    folder = tmp_path_factory.mktemp("own-lists-study") / "s"
    study = Study(recipe, folder, methods=["linear"], splits=["random", "redrawn"])
    return study.run(progress=False), folder


def test_the_random_split_has_the_test_tiles_of_every_other_command_and_redrawn_has_others(recipe, finished):
    results, folder = finished
    own, drawn = (
        read_predictions(folder / f"linear-{name}", "test").indices for name in ("random", "redrawn")
    )
    for split, tested in (("default", own), ("random", drawn)):
        expected = prepare_training(recipe.replace(split=split), progress=False).splits["test"]
        assert np.array_equal(tested, expected)
    assert not np.array_equal(own, drawn)
    assert [run.split for run in results.runs] == results.splits == ["random", "redrawn"]
    assert [run.finished.recipe.split for run in results.runs] == ["default", "random"]


def test_the_first_page_says_once_what_each_split_is(finished):
    page, _, _ = (finished[1] / "report.md").read_text().partition("## Conclusions")
    own = "Random split: the train, validation and test lists that the data come with."
    drawn = "Redrawn split: drew 60/20/20 from all tiles, stratified, with seed 42."
    assert page.count(own) == page.count(drawn) == 1


def test_the_terminal_describes_the_tiles_of_every_split_and_says_what_they_share_once(finished):
    found = tiles_of_splits(finished[0])
    assert [part for part, _ in found] == ["the random split", "the redrawn split"]
    own, drawn = (data.notes for _, data in found)
    assert own[0].startswith("split: the train, validation and test lists")
    assert drawn == ("random split: drew 60/20/20 from all tiles, stratified, with seed 42",)


def test_a_study_of_an_earlier_version_that_drew_its_random_split_is_not_continued_with_another(
    recipe, tmp_path
):
    [spec] = Grid.of(splits=["random"]).runs([recipe.replace(method="linear")])
    study = Study(recipe, tmp_path / "s", methods=["linear"], splits=["random"])
    spec.recipe.save(study.folder.recipe_file(spec))
    train(spec.recipe, tmp_path / "s" / "linear", progress=False)
    with pytest.raises(RunError, match="default, not random"):
        study.run(progress=False)


def test_data_without_lists_and_folds_are_drawn(recipe, finished, tmp_path):
    specs = Grid.of(splits=["random"], folds=3).runs([recipe])
    assert {(spec.split, spec.recipe.split) for spec in specs} == {("random", "random")}
    tiles = tile_folder(tmp_path / "tiles", each=10)
    drawn = prepare_training(recipe.replace(data=str(tiles), split="random"), progress=False)
    assert any(note.startswith("random split: drew 60/20/20") for note in drawn.notes)


@pytest.mark.parametrize(
    ("splits", "settings", "message"),
    [
        (["random", "redrawn"], {}, "random and redrawn are the same split, as the data come with no lists"),
        (["default", "redrawn"], {}, "default and redrawn are the same split"),
        (["random", "redrawn"], {"folds": 3}, "random and redrawn are the same split, as folds are always"),
    ],
)
def test_splits_that_would_be_one_are_refused_before_anything_is_stored(
    recipe, tmp_path, splits, settings, message
):
    bare = recipe.replace(data=str(tile_folder(tmp_path / "tiles", each=10)))
    with pytest.raises(OrbituneError, match=message):
        Study(bare, tmp_path / "s", methods=["linear"], splits=splits, **settings).run(progress=False)
    assert not (tmp_path / "s").exists()


def test_the_default_split_and_the_random_one_are_both_the_lists_that_the_data_come_with(recipe, tmp_path):
    made = Study(recipe, tmp_path / "s", methods=["linear"], splits=["default", "random"])
    with pytest.raises(OrbituneError, match="default and random are the same split, as both are the lists"):
        made.run(progress=False)


def test_captions_of_a_study_name_the_split_its_origin_and_the_number_of_tiles(recipe, tmp_path):
    Study(recipe, tmp_path / "s", methods=["linear"], splits=["random", "redrawn"]).run(progress=False)
    page = (tmp_path / "s" / "report.md").read_text()
    names = {"random": "random split that the data come with", "redrawn": "redrawn split drawn with seed 42"}
    sizes = {run.split: run.finished.data.sizes for run in read_results(tmp_path / "s").runs}
    tested, validated = (
        " and ".join(f"{sizes[split][part]} {part} tiles of the {name}" for split, name in names.items())
        for part in ("test", "validation")
    )
    for caption in (
        f"Accuracy and cost of linear probing, on {tested}, one seed on each split",
        f"On {tested}. Bars are 95 % intervals.",
        f"Solid: on {validated}.",
        f"All finished runs, on {validated}, and on {tested}",
        *(f"F1 of each class on {tiles}" for tiles in tested.split(" and ")),
    ):
        assert caption in page
