"""`evaluate --data` and the report of a run of a model that gives a tile several labels."""

import csv
import re

import numpy as np
import pytest
from commands import orbitune
from image_files import encode, write

from orbitune import Recipe, evaluate, train
from orbitune.assessment.records import Assessment
from orbitune.errors import DataError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.training.run_report.writer import write_run_report


@pytest.fixture(scope="module")
def unseen(label_set_run):
    """A list of the run's test tiles with their labels."""
    folder = label_set_run.parent / "tiles"
    table = (folder / "tiles.csv").read_text().splitlines()
    names = find_run_tiles(RunResult.load(label_set_run)).names
    lines = [table[1 + int(names[row][7:10])] for row in read_predictions(label_set_run, "test").indices]
    (folder / "unseen.csv").write_text("\n".join([table[0], *lines]))
    return folder / "unseen.csv"


def test_on_the_test_tiles_the_scores_are_those_of_the_run(label_set_run, unseen):
    new, test = evaluate(label_set_run, data=unseen, progress=False), RunResult.load(label_set_run).test
    assert new.scores.mean_average_precision == pytest.approx(test.mean_average_precision, abs=1e-6)
    assert (new.scores.micro_f1, new.macro_f1) == pytest.approx((test.micro_f1, test.macro_f1))
    assert new.macro_f1_interval == pytest.approx(test.intervals["macro_f1"], abs=1e-6)
    assert new.after.ece == pytest.approx(test.ece, abs=1e-4)
    for each, own in zip(new.scores.per_class, new.intervals, strict=True):
        assert own.recall[0] <= each.recall <= own.recall[1] + 1e-9


def test_the_command_prints_scores_and_lists_wrong_sets(label_set_bundle, unseen, tmp_path):
    truth = [line.split(",") for line in unseen.read_text().splitlines()[1:]]
    changed = unseen.with_name("changed.csv")
    rows = [[name, "class_2" if number < 5 else labels] for number, (name, labels) in enumerate(truth)]
    changed.write_text("\n".join(["file_name,labels", *(f"{name},{labels}" for name, labels in rows)]))
    out = tmp_path / "scores"
    done = orbitune("evaluate", label_set_bundle.folder, "--data", changed, "--out", out, "--quiet")
    changed.unlink()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("new data: mAP ") and "tiles are too few to judge it" in done.stdout
    files = {"errors.csv", "errors.png", "evaluation.json", "report.html"}
    assert {file.name for file in out.iterdir()} == files
    found = list(csv.DictReader((out / "errors.csv").open()))
    scores = Assessment.read(out / "evaluation.json").scores
    assert len(found) == round((1 - scores.accuracy) * scores.count)
    confidences = []
    for row in found:
        true, predicted, missing, wrong = (
            set(row[name].split("|")) - {"[]"} for name in ("truth", "prediction", "missing", "wrong")
        )
        assert missing == true - predicted and wrong == predicted - true
        probability, threshold = (float(row[f"worst_class_{name}"]) for name in ("probability", "threshold"))
        assert row["worst_class"] in (missing if probability < threshold else wrong)
        confidences.append(1 - probability if row["worst_class"] in missing else probability)
    assert confidences == sorted(confidences, reverse=True)
    page = (out / "report.html").read_text()
    shown = found[0]["worst_class"], 100 * float(found[0]["worst_class_probability"])
    assert re.search(rf"{shown[0]} is (missing|wrong): its probability was {shown[1]:.1f}.%", page)
    assert "Average precision" in page and str(tmp_path) not in page


def test_without_the_training_tiles_the_main_score_is_stated(label_set_bundle, label_set_run):
    data, sizes = label_set_run.parent / "tiles" / "tiles.csv", RunResult.load(label_set_run).data.sizes
    new = evaluate(label_set_bundle.folder, data=data, progress=False)
    assert (new.others.score, new.others.count) == ("mAP", sizes["test"])
    others = f"without them mAP is {new.others.value:.4f} ({new.others.count} tiles)"
    assert new.warnings()[0].endswith(others)


def test_tiles_of_one_label_can_be_scored_too(label_set_run, unseen):
    rows = [line.split(",") for line in unseen.read_text().splitlines()[1:]]
    single = [f"{name},{labels}" for name, labels in rows if "|" not in labels]
    file = unseen.with_name("single.csv")
    file.write_text("\n".join(["file_name,labels", *single]))
    new = evaluate(label_set_run, data=file, progress=False)
    file.unlink()
    assert new.scores.count == len(single) and sum(each.support for each in new.scores.per_class) == len(
        single
    )
    assert new.one_label and any("all other labels count as absent" in line for line in new.remarks())
    assert not evaluate(label_set_run, data=unseen, progress=False).one_label


def test_a_class_with_a_mark_in_its_name_is_one_class_to_a_model_of_one_label(run, tmp_path):
    """Text is one label where the task says so; a run of an earlier version has no task in its recipe."""
    for number in range(24):
        name, red = ("Sea", 0) if number % 2 else ("Sand; bare", 200)
        write(tmp_path / f"{number}.png", encode(np.full((16, 16, 3), (red, number, 90), np.uint8)))
        with (tmp_path / "list.csv").open("a") as file:
            file.write(("" if number else "file_name,label\n") + f"{number}.png,{name}\n")
    stored = Recipe.load(run / "recipe.yaml")
    recipe = stored.replace(data=str(tmp_path / "list.csv"), epochs=1)
    result = train(recipe, tmp_path / "run", progress=False)
    assert [each.name for each in result.test.per_class] == ["Sand; bare", "Sea"]
    assert evaluate(tmp_path / "run", data=tmp_path / "list.csv", progress=False).scores.count == 24
    earlier = result.model_copy(update={"recipe": result.recipe.replace(task=None)})
    assert find_run_tiles(earlier).classes == ("Sand; bare", "Sea")


def test_several_labels_are_refused_by_a_model_of_one(run, unseen):
    with pytest.raises(
        DataError, match=r"gives a tile one label, and \d+ of \d+ tiles of the data have several"
    ):
        evaluate(run, data=unseen, progress=False)


def test_unknown_labels_are_named_with_their_tiles(label_set_run, unseen):
    file = unseen.with_name("other.csv")
    file.write_text("file_name,labels\nmosaic_000.png,Glacier|class_0\nmosaic_001.png,Glacier\n")
    with pytest.raises(DataError, match=r"does not know 1 of the 2 classes of the data: Glacier \(2 tiles\)"):
        evaluate(label_set_run, data=file, progress=False)
    file.unlink()


def test_the_report_of_a_run_states_scores_thresholds_and_curves(label_set_run):
    page, result = write_run_report(label_set_run).read_text(), RunResult.load(label_set_run)
    assert f"mAP {100 * result.test.mean_average_precision:.1f}" in page
    for words in (
        "Average precision",
        "Threshold",
        "Mean average precision, %",
        "too few to judge calibration",
    ):
        assert words in page
    for row in result.test.per_class:
        assert f"{row.threshold:.3f}" in page
    assert str(label_set_run.parent) not in page
