"""Runs, bundles and studies of earlier versions open, predict and resume."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orbitune.assessment.evaluate import evaluate as assess
from orbitune.cli.main import main
from orbitune.errors import RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.evaluation.tasks.single_label import SingleLabel
from orbitune.fastpath.native import library
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.classifier import Classifier
from orbitune.models.factory import native_precision
from orbitune.recipe import Recipe
from orbitune.study.report_files import report
from orbitune.training.evaluate import evaluate
from orbitune.training.run import train
from orbitune.training.stored.integrity import check_run

STORED = Path(__file__).parent / "stored" / "0.1"
PREDICTED = json.loads((STORED / "predictions.json").read_text())


@pytest.fixture
def stored(tmp_path):
    """A copy of the stored folders, at another place than they were written."""
    return shutil.copytree(STORED, tmp_path / "stored")


def moved_recipe(stored, run):
    """The recipe of a stored run, with its tiles and backbone where they are now."""
    recipe = Recipe.load(stored / run / "recipe.yaml")
    return recipe.replace(data=str(stored / "tiles"), backbone=str(stored / "backbone"))


@pytest.mark.parametrize("name", PREDICTED)
def test_predictions_are_those_of_the_version_that_stored_the_model(stored, name):
    classifier = Classifier.from_pretrained(stored / name, backbone=stored / "backbone")
    files = [stored / each["input"] for each in PREDICTED[name]]
    for now, before in zip(classifier.predict(files), PREDICTED[name], strict=True):
        assert now.error is None
        assert dict(now.labels) == pytest.approx(dict(before["labels"]), abs=0.02)  # may compute in bf16
        if native_precision() == "bf16":  # as where they were stored: so small a model differs more in fp32
            assert now.sure == before["sure"]
            assert now.distance == (before["distance"] and pytest.approx(before["distance"], rel=0.05))


def test_a_finished_run_is_returned_and_evaluated(stored):
    run = stored / "run"
    kept = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    result = train(moved_recipe(stored, "run"), run, progress=False)
    assert len(result.history) == 3
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == kept
    scores = json.loads((STORED / "run" / "result.json").read_text())["validation"]
    assert evaluate(run, "validation", progress=False).accuracy == scores["accuracy"]


def test_a_finished_run_has_a_report_and_is_evaluated_on_new_data(stored):
    accuracy = json.loads((STORED / "run" / "result.json").read_text())["test"]["accuracy"]
    [page] = report(stored / "run")
    assert f"accuracy {100 * accuracy:.1f}&nbsp;%" in page.read_text()
    new = assess(stored / "run", data=stored / "tiles", backbone=stored / "backbone", progress=False)
    assert new.scores.count == sum(1 for _ in (stored / "tiles").rglob("*.png"))


def test_the_card_of_a_run_that_stored_no_interval_of_macro_f1_has_the_one_of_its_report(stored):
    run = stored / "run"
    train(moved_recipe(stored, "run"), run, progress=False)  # writes the paths of the copy
    build_bundle(run, stored / "made", progress=False)
    low, high = RunResult.load(run).test.interval_of_macro_f1
    card = (stored / "made" / "README.md").read_text()
    assert "| macro-F1 (95 % interval) |" in card and f"({low:.4f} to {high:.4f}) |" in card
    assert Bundle.open(STORED / "bundle").metadata.scores["test"].cells()["macro-F1"] == "1.0000"


def test_a_finished_run_is_verified_before_and_after_its_result_is_written_again(stored):
    run = stored / "run"
    check_run(run)
    train(moved_recipe(stored, "run"), run, progress=False)  # writes the paths of the copy
    check_run(run)
    log = run / "log.jsonl"
    log.write_text(log.read_text().replace('"epoch": 2', '"epoch": 3'))
    with pytest.raises(RunError, match=r"log\.jsonl is damaged"):
        check_run(run)


def test_an_interrupted_run_resumes_to_the_outputs_of_the_whole_one(stored, monkeypatch):
    # That version had no compiled kernels in fp32, which draw other dropout masks.
    closed = library.OpenedLibrary(None, "there is no C compiler")
    monkeypatch.setattr(library, "open_library", lambda dtype: closed)
    run = stored / "interrupted"
    result = train(moved_recipe(stored, "interrupted"), run, progress=False)
    assert len(result.history) == 3
    for split in ("validation", "test"):
        now, whole = (read_predictions(place, split) for place in (run, stored / "run"))
        logits = SingleLabel().storable(whole.logits)  # that version stored them as they were
        assert np.allclose(now.logits, logits, rtol=2**-7, atol=1e-4)


def test_the_report_of_a_study_is_written_again(stored, monkeypatch):
    study = stored / "study"
    monkeypatch.setattr("sys.argv", ["orbitune", "report", str(study)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    text = (study / "report.md").read_text()
    assert "LoRA" in text and "linear probing" in text
    assert (study / "report.html").is_file()
