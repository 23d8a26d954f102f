"""Tiles that a model, or one that it comes from, has seen are counted wherever it is scored on them."""

import json
import shutil

import numpy as np
import pytest
from commands import orbitune

from orbitune.adapters.merge_scores import score_merged
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.exporting.validation import ExportCheck
from orbitune.inference.bundle import Bundle
from orbitune.models.lineage.overlap import Overlap, SeenCounts, describe_seen
from orbitune.models.lineage.seen_file import SeenTiles, read_seen, save_seen
from orbitune.recipe import Recipe
from orbitune.training.evaluate import evaluate
from orbitune.training.run import train
from orbitune.training.setup import prepare_training


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    """A folder with the run `before`, and `after`, which starts from it and has another split."""
    place = tmp_path_factory.mktemp("seen")
    recipe = Recipe.load(run / "recipe.yaml").replace(epochs=1, learning_rate=None, image_size=None)
    train(recipe.replace(shots=4), place / "before", progress=False)
    changed = recipe.replace(backbone=str(place / "before"), split_seed=1)
    train(changed, place / "after", progress=False)
    return place


@pytest.fixture(scope="module")
def found(place):
    """By split of `after`: its tiles that `before` was trained on, and that validated it, bool."""
    before, after = (
        prepare_training(Recipe.load(place / name / "recipe.yaml"), progress=False).splits
        for name in ("before", "after")
    )
    return {
        split: tuple(np.isin(after[split], before[part]) for part in ("train", "validation"))
        for split in after
    }


WHOSE = "the backbone's runs (before)"


def test_a_run_scores_its_test_tiles_with_and_without_those_that_its_backbone_has_seen(place, found):
    result, kept = RunResult.load(place / "after"), read_predictions(place / "after", "test")
    trained, validated = found["test"]
    seen = result.test.seen
    assert (seen.trained, seen.validated) == (trained.sum(), validated.sum())
    assert min(seen.trained, seen.validated) > 0
    rest = ~(trained | validated)
    assert seen.others.count == rest.sum() >= 10
    assert seen.others.value == (kept.logits.argmax(1) == kept.labels)[rest].mean()
    data = result.data
    assert (data.seen["test"], data.validated) == (trained.sum(), {"test": validated.sum()})


def test_tiles_that_only_validated_both_runs_are_no_news(place, found):
    """The epoch of every run is chosen on its validation tiles."""
    seen = RunResult.load(place / "after").validation.seen
    assert (seen.trained, seen.validated) == (found["validation"][0].sum(), 0)


def test_a_run_on_a_pretrained_checkpoint_has_seen_nothing_before(place):
    result = RunResult.load(place / "before")
    assert result.test.seen is None and result.validation.seen is None
    assert (result.data.seen, result.data.validated) == ({}, {})


def test_training_and_scoring_again_print_one_line_with_counts_and_the_score_of_the_others(place, found):
    stored = RunResult.load(place / "after").test
    rest = f"without them accuracy is {stored.seen.others.value:.2%} ({stored.seen.others.count} tiles)"
    for command, whose in (
        (["train", "--recipe", place / "after" / "recipe.yaml", "--out", place / "after", "--quiet"], WHOSE),
        (["evaluate", place / "after", "--quiet"], "the model, or of one that it comes from"),
    ):
        done = orbitune(*command)
        line = done.stdout.splitlines()[1]
        assert line == (
            f"warning: {stored.seen.trained} of 24 test tiles were training tiles of {whose}, and "
            f"{stored.seen.validated} of 24 test tiles were validation tiles of {whose}, which choose epochs "
            f"and fit thresholds: the scores are too high; {rest}"
        )
    printed = json.loads(orbitune("evaluate", place / "after", "--quiet", "--json").stdout)
    assert printed["seen"] == stored.seen.to_json()


def test_the_tiles_that_a_run_itself_was_trained_or_validated_on_are_no_test_of_it(place):
    for split, way in (("train", "training"), ("validation", "validation")):
        done = orbitune("evaluate", place / "before", "--split", split, "--quiet")
        warning = done.stdout.splitlines()[1]
        count = RunResult.load(place / "before").data.sizes[split]
        assert warning.startswith(f"warning: {count} of {count} {split} tiles were {way} tiles of the model")
        assert warning.endswith("; there are no other tiles")
    assert "warning" not in orbitune("evaluate", place / "before", "--quiet").stdout


def test_scoring_test_tiles_says_that_the_validation_tiles_of_the_backbones_runs_are_not_recorded(
    place, caplog
):
    file = place / "before" / "training-tiles.json"
    kept = file.read_bytes()
    save_seen(place / "before", SeenTiles(read_seen(place / "before").trained, None))
    try:
        for split in ("test", "validation"):
            evaluate(place / "after", split, progress=False)
    finally:
        file.write_bytes(kept)
    assert [record.getMessage() for record in caplog.records] == [
        f"an earlier version did not record the validation tiles of {WHOSE}: whether 24 test tiles are among "
        "them is not known"
    ]


def test_a_run_without_a_list_of_tiles_knows_its_own(place, tmp_path):
    earlier = shutil.copytree(place / "after", tmp_path / "earlier")
    (earlier / "training-tiles.json").unlink()
    for split, way in (("train", "training"), ("validation", "validation")):
        done = orbitune("evaluate", earlier, "--split", split, "--quiet")
        count = RunResult.load(earlier).data.sizes[split]
        assert f"warning: {count} of {count} {split} tiles were {way} tiles of the model" in done.stdout


def test_an_export_check_knows_none_seen_from_not_known():
    values = {"tiles": 24, "agreement": 1.0, "largest_difference": 0.0, "bytes": 1, "latency": {}}
    line = "whether 24 validation tiles were training tiles of the runs is not known"
    assert ExportCheck(**values).describe_seen("the runs") == line
    assert ExportCheck(**values, seen=0).describe_seen("the runs") == ""


def test_a_bundle_warns_and_its_card_and_record_state_what_was_seen(place, found, tmp_path):
    done = orbitune("bundle", place / "after", "--out", tmp_path / "bundle", "--quiet")
    count = found["validation"][0].sum()
    assert (
        f"warning: {count} of 24 validation tiles were training tiles of {WHOSE}: *not sure* and the loss by "
        "storage rest on them"
    ) in done.stderr
    stored = RunResult.load(place / "after").test.seen
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.metadata.scores["test"].seen == stored
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert f"**{stored.describe('24 test tiles', WHOSE)}.**" in card
    assert f"warning: {stored.describe('24 test tiles', WHOSE)}" in done.stdout


def test_an_export_warns_of_validation_tiles_that_the_backbone_was_trained_on(place, found, tmp_path):
    done = orbitune("export", place / "after", "--to", "merged", "--out", tmp_path / "files", "--quiet")
    count = int(found["validation"][0].sum())
    assert (
        f"{count} of 24 validation tiles were training tiles of {WHOSE}: they say little about new tiles; "
        "without them it loses 0.00 points of accuracy ("
    ) in done.stderr
    record = json.loads((tmp_path / "files" / "validation.json").read_text())["formats"]["merged"]
    assert record["seen"] == count and record["losses_on_others"][0]["points_lost"] == 0
    again = orbitune("export", place / "before", "--to", "merged", "--out", tmp_path / "other", "--quiet")
    assert "training tiles" not in again.stderr


def test_a_merger_is_scored_without_the_tiles_that_one_parent_was_trained_on(place, run, tmp_path, capsys):
    recipe = Recipe.load(run / "recipe.yaml").replace(epochs=1, shots=4, split_seed=1)
    train(recipe, tmp_path / "other", progress=False)
    done = orbitune("adapters", "merge", place / "before", tmp_path / "other", "--out", tmp_path / "merged")
    splits = [
        prepare_training(Recipe.load(folder / "recipe.yaml"), progress=False).splits
        for folder in (place / "before", tmp_path / "other")
    ]
    for row, own, other in zip(
        Bundle.open(tmp_path / "merged").metadata.validations, splits, reversed(splits), strict=True
    ):
        assert row.seen == np.isin(own["validation"], other["train"]).sum() > 0
        assert (row.count, row.unseen.count) == (24, 24 - row.seen)
        assert f"warning: {row.seen} of 24 validation tiles of {row.tiles} w" in done.stderr


def test_whether_an_adapter_of_an_earlier_version_was_trained_on_the_tiles_is_said_not_to_be_known(
    place, tmp_path
):
    earlier = shutil.copytree(place / "before", tmp_path / "earlier")
    (earlier / "training-tiles.json").unlink()
    bundles = [Bundle.open(earlier)] * 3
    rows = score_merged([earlier, place / "before"], bundles, progress=False)
    assert [row.seen for row in rows] == [None, None]
    assert rows[0].warning() == (
        "whether an adapter was trained on the validation tiles of earlier is not known"
    )


def test_a_list_of_an_earlier_version_names_training_tiles_alone(tmp_path):
    save_seen(tmp_path, SeenTiles(np.array([1, 2], np.uint32), None))
    seen = read_seen(tmp_path)
    assert seen.validated is None
    assert SeenTiles.join([seen, SeenTiles(seen.trained, seen.trained)]).validated is None
    assert seen.find(np.array([2, 3], np.uint32)).any.tolist() == [True, False]


def test_a_tile_that_trained_and_validated_counts_once_as_trained():
    sums = np.array([5, 6, 7], np.uint32)
    overlap = SeenTiles(sums[:2], sums[1:]).find(sums)
    counts = SeenCounts.of(overlap)
    assert (counts.trained, counts.validated, counts.count) == (2, 1, 3)


def test_validation_tiles_alone_may_make_scores_too_high():
    overlap = Overlap(np.zeros(3, bool), np.array([True, False, False]))
    line = describe_seen({"3 test tiles": SeenCounts.of(overlap)}, "the model")
    assert line == (
        "1 of 3 test tiles was a validation tile of the model, which choose epochs and fit thresholds: the "
        "scores may be too high"
    )
