"""`evaluate --data` and the report of a run with several labels a tile."""

import csv

import numpy as np
import pytest
from commands import orbitune
from label_sets import drawn_parts, write_mosaics
from PIL import Image

from orbitune import evaluate
from orbitune.assessment.records import Assessment
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.training.run_report.writer import write_run_report


@pytest.fixture(scope="module")
def unseen(label_set_run, tmp_path_factory):
    """The run's test tiles and their labels as a list of their own."""
    folder = tmp_path_factory.mktemp("unseen")
    tiles, kept = find_run_tiles(RunResult.load(label_set_run)), read_predictions(label_set_run, "test")
    lines = ["file_name,labels"]
    for row, labels in zip(kept.indices, kept.labels, strict=True):
        Image.fromarray(tiles.tiles[row]).save(folder / tiles.names[row])
        names = "|".join(name for name, has in zip(tiles.classes, labels, strict=True) if has)
        lines.append(f"{tiles.names[row]},{names}")
    (folder / "tiles.csv").write_text("\n".join(lines))
    return folder / "tiles.csv"


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Mosaics whose classes are mixed up, so that most predictions are wrong."""
    parts = drawn_parts()
    names = list(parts)
    mixed = {name: parts[names[place - 1]] for place, name in enumerate(names)}
    return write_mosaics(tmp_path_factory.mktemp("noise") / "tiles", mixed, count=30, seed=5)


def test_on_the_tiles_of_the_test_split_the_scores_are_those_of_the_run(label_set_run, unseen):
    new, test = evaluate(label_set_run, data=unseen, progress=False), RunResult.load(label_set_run).test
    assert new.scores.micro_f1 == test.micro_f1 and new.accuracy == test.accuracy
    assert new.scores.mean_average_precision == pytest.approx(test.mean_average_precision, abs=1e-6)
    assert new.copies.count == 0


def test_wrong_sets_of_labels_are_listed_with_the_label_that_is_most_surely_wrong(
    label_set_run, noise, tmp_path
):
    done = orbitune("evaluate", label_set_run, "--data", noise, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "new data: mAP" in done.stdout and "precision (95 %)" in done.stdout
    new = Assessment.read(tmp_path / "out" / "evaluation.json")
    rows = list(csv.DictReader((tmp_path / "out" / "errors.csv").open()))
    assert len(rows) == round((1 - new.accuracy) * new.scores.count) > 0
    for row in rows:
        truth, said = (set(filter(None, row[name].split("|"))) for name in ("truth", "prediction"))
        assert row["wrong_on"] in truth ^ said
    confidences = [float(row["probability"]) for row in rows]
    assert confidences == sorted(confidences, reverse=True)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Most surely" in page and "Average precision" in page
    assert (tmp_path / "out" / "errors.png").is_file()


def test_a_model_of_one_label_a_tile_refuses_tiles_with_several(run, unseen):
    done = orbitune("evaluate", run, "--data", unseen)
    assert done.returncode == 2
    assert done.stderr == ("error: The labels of the data are lists, and the model gives a tile one label.\n")


def test_tiles_with_one_label_each_can_be_evaluated_by_a_model_of_several(label_set_run, tmp_path):
    for name, parts in drawn_parts(each=6).items():
        (tmp_path / name).mkdir()
        for number, part in enumerate(parts):
            Image.fromarray(np.tile(part, (2, 2, 1))).save(tmp_path / name / f"{number}.png")
    new = evaluate(label_set_run, data=tmp_path, progress=False)
    assert [row.support for row in new.scores.per_class] == [6, 6, 6]


def test_the_report_of_a_run_states_scores_thresholds_and_curves_of_several_labels(label_set_run):
    page, result = write_run_report(label_set_run).read_text(), RunResult.load(label_set_run)
    assert f"mAP {100 * result.test.mean_average_precision:.1f}" in page
    for words in ("Average precision", "Threshold", "Mean average precision, %", "frequency, %"):
        assert words in page
    for row in result.test.per_class:
        assert f"{row.threshold:.3f}" in page
    assert str(label_set_run.parent) not in page
