"""Every score names the split that it is of, in the same words, and the number of tiles."""

import json
import re
import shutil
from dataclasses import replace

import pytest
from commands import orbitune
from samples import tile_folder

from orbitune.assessment.evaluate import evaluate
from orbitune.bench.figures.scored_tiles import describe_tiles
from orbitune.data.splits import describe_origin
from orbitune.data.tileset import load_tiles
from orbitune.evaluation.run_result import RunResult
from orbitune.inference.bundle import Bundle
from orbitune.models.lineage.training_data import TrainingData, name_split

SPLIT = "split drawn at random with seed 42"


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    """Tiles with a folder for each split, and lists of a spatial one."""
    folder = tmp_path_factory.mktemp("listed") / "tiles"
    for split in ("train", "validation", "test"):
        tile_folder(folder / split, each=4)
    (folder / "splits").mkdir()
    for split in ("train", "val", "test"):
        (folder / "splits" / f"spatial-{split}.txt").write_text("")
    return load_tiles(str(folder), "stop", progress=False)


def test_a_split_is_named_by_where_it_comes_from(tiles, listed):
    plain = load_tiles(str(tiles), "stop", progress=False)
    own = "that the data come with"
    assert describe_origin(plain, None, seed=42) == "drawn at random with seed 42"
    assert describe_origin(listed, None, seed=42) == own
    assert describe_origin(listed, None, seed=42, split="random") == "drawn with seed 42"
    assert describe_origin(listed, None, seed=42, split="spatial") == own
    assert describe_origin(listed, None, seed=7, split="spatial", fold="2/5") == "drawn with seed 7"
    assert describe_origin(listed, None, seed=7, split="spatial", block_size=50.0) == "drawn with seed 7"


def test_a_split_that_the_data_lack_is_said_to_be_drawn(listed):
    partly = replace(
        listed, own_splits={"train": listed.own_splits["train"], "test": listed.own_splits["test"]}
    )
    assert describe_origin(partly, None, seed=3) == ("that the data come with, validation drawn with seed 3")


def test_lists_are_named_by_their_folder_or_files(listed, tmp_path):
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.txt").write_text("a")
    assert describe_origin(listed, str(tmp_path), seed=0) == f"of the lists in {tmp_path.name}"
    files = ",".join(
        f"{split}={tmp_path}/{name}.txt"
        for split, name in (("train", "train"), ("validation", "val"), ("test", "test"))
    )
    assert describe_origin(listed, files, seed=0) == "of the lists train.txt, val.txt, test.txt"


def test_the_name_of_a_split_has_its_kind_origin_and_fold():
    assert name_split("default", "that the data come with") == "split that the data come with"
    assert (
        name_split("spatial", "drawn with seed 1", fold="2/5") == "spatial split drawn with seed 1, fold 2/5"
    )
    assert name_split("random", None) == "random split"  # of an earlier version
    assert name_split("default", None) == "split"
    assert TrainingData(split="default", split_files="train=a.txt").split_name == "split of file lists"


@pytest.mark.parametrize(
    ("note", "name"),
    [
        (
            "own split: the train, validation and test lists that the data come with",
            "split that the data come with",
        ),
        ("the data has no splits: drew 60/20/20 at random, stratified, with seed 42", SPLIT),
        (
            "the data has no validation split: drew it from train, stratified, seed 7",
            "split that the data come with, some tiles drawn with seed 7",
        ),
        (
            "the data has no test and no validation split: drew it from train, stratified, seed 7",
            "split that the data come with, some tiles drawn with seed 7",
        ),
        ("no test tile of Forest", "split"),
    ],
)
def test_the_split_of_a_result_without_origin_is_named_by_the_note_on_it_and_never_default(note, name):
    assert TrainingData(split="default", notes=("a remark", note)).split_name == name


def test_records_and_commands_name_the_split_and_the_number_of_tiles(run, bundle, tmp_path):
    result = RunResult.load(run)
    assert (
        result.split_name
        == bundle.metadata.data.split_name
        == Bundle.open(run).metadata.data.split_name
        == SPLIT
    )
    assert json.loads((run / "result.json").read_text())["data"]["split_origin"] == SPLIT.removeprefix(
        "split "
    )
    copied = shutil.copytree(run, tmp_path / "run")
    printed = orbitune("evaluate", copied, "--quiet").stdout.splitlines()[0]
    assert re.search(rf"24 tiles\), macro-F1 [0-9.]+ \([0-9.]+ to [0-9.]+\), on the {SPLIT}$", printed)
    again = orbitune("train", "--recipe", run / "recipe.yaml", "--out", copied, "--quiet").stdout
    assert again.splitlines()[0] == printed
    listing = orbitune("adapters", "list", tmp_path).stdout
    assert re.search(rf"accuracy [0-9.]+%, macro-F1 [0-9.]+ +24 +{SPLIT}", listing)
    [row] = json.loads(orbitune("adapters", "list", tmp_path, "--json").stdout)
    assert (row["test_tiles"], row["split"]) == (24, SPLIT)


def test_the_model_card_names_the_split_above_its_scores_and_in_its_header(bundle):
    card = (bundle.folder / "README.md").read_text()
    assert f"## Scores\n\nOn the {SPLIT}:\n\n| split | tiles | accuracy" in card
    assert card.count(f"split: {SPLIT}\n") == 2  # validation and test in the model index
    assert f"- split: {SPLIT}, SHA-256" in card


def test_the_card_of_a_run_in_the_app_names_the_split(run):
    from orbitune.serving.service import PredictionService

    assert f"Scores on the {SPLIT}:" in PredictionService({"run": run}).models["run"].card


def test_captions_of_a_run_report_name_the_split_and_the_number_of_tiles(run, tmp_path):
    copied = shutil.copytree(run, tmp_path / "run")
    orbitune("report", copied)
    page = (copied / "report.html").read_text()
    for caption in (
        f"Scores of the kept weights, {SPLIT}",
        f"Scores of each class on the 24 test tiles of the {SPLIT}",
        f"The 24 test tiles of the {SPLIT}. Rows are true classes",
        f"Calibration on the 24 test tiles of the {SPLIT}",
        f"Solid: the 24 validation tiles of the {SPLIT}",
        f"Each epoch, on 72 training and 24 validation tiles of the {SPLIT}",
    ):
        assert caption in page


def test_new_data_are_said_to_be_scored_as_a_whole_or_by_a_split_of_their_own(run, tiles, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(tiles, tmp_path / "new" / split)
    whole = evaluate(run, data=tiles, progress=False)
    assert whole.split_name == f"whole of {tiles.name}"
    part = orbitune("evaluate", run, "--data", tmp_path / "new", "--split", "test", "--quiet")
    assert "120 tiles), macro-F1" in part.stdout and "on the test split that comes with new" in part.stdout


def test_figures_of_benchmarks_name_the_split(run):
    assert describe_tiles(RunResult.load(run), "test") == [["test tiles", f"24 of the {SPLIT}"]]
