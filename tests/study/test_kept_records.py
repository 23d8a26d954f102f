"""A study that keeps the records of its runs alone is reported and goes on from them, on any machine."""

import json
import shutil

import numpy as np
import pytest

from orbitune import Study
from orbitune.assessment.evaluate import evaluate as assess
from orbitune.errors import ModelError, OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import Predictions, read_predictions, write_predictions
from orbitune.evaluation.tasks.single_label import SingleLabel
from orbitune.inference.bundle import Bundle
from orbitune.models.files.run_weights import holds_weights
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.study import runner, stages
from orbitune.study.corrupted_runs import score_corrupted
from orbitune.study.report.run_origins import run_origins
from orbitune.study.report.view_model import ReportView
from orbitune.study.report_files import report
from orbitune.study.results import read_results
from orbitune.training.evaluate import evaluate
from orbitune.training.run import train

METHODS = ["full", "linear"]
RECORD = {"environment.json", "inputs.json", "log.jsonl", "predictions.npz", "recipe.yaml", "result.json"}


@pytest.fixture(scope="module")
def finished(recipe, forked, tmp_path_factory):
    """The results of a study that keeps records, and its folder."""
    folder = tmp_path_factory.mktemp("records") / "s"
    return Study(recipe, folder, methods=METHODS, seeds=2, keep="records").run(progress=False), folder


@pytest.fixture
def elsewhere(recipe, finished, tmp_path):
    """The recipe and the study, with data and backbone, on what could be another machine."""
    for place, name in ((recipe.data, "tiles"), (recipe.backbone, "backbone"), (finished[1], "s")):
        shutil.copytree(place, tmp_path / name)
    paths = {"data": str(tmp_path / "tiles"), "backbone": str(tmp_path / "backbone")}
    return recipe.replace(**paths), tmp_path / "s"


def test_a_record_has_no_weights(finished):
    results, folder = finished
    for run in results.runs:
        assert {file.name for file in (folder / run.name).iterdir()} == RECORD
        assert run.environment.code and run.environment.orbitune


@pytest.mark.parametrize(
    "use",
    [
        lambda run, recipe: Bundle.open(run),
        lambda run, recipe: evaluate(run, progress=False),
        lambda run, recipe: assess(run, data=recipe.data, progress=False),
        lambda run, recipe: open_backbone(str(run)),
        lambda run, recipe: train(RunResult.load(run).recipe, run, progress=False),
        lambda run, recipe: report(run, progress=False),
    ],
    ids=["bundle", "evaluate", "assess", "backbone", "train", "report"],
)
def test_what_needs_the_weights_says_so_in_one_line(recipe, finished, use):
    run = finished[1] / "full-seed0"
    with pytest.raises((RunError, ModelError), match="results of a run without its weights") as caught:
        use(run, recipe)
    assert "\n" not in str(caught.value)


def test_a_study_goes_on_where_data_and_backbone_lie_elsewhere(elsewhere, finished, caplog):
    recipe, folder = elsewhere
    caplog.set_level("INFO", logger="orbitune")
    again = Study(recipe, folder, methods=METHODS, seeds=2, keep="records").run(progress=False)
    assert "4 of 4 runs were already finished" in caplog.messages
    assert [run.finished.test for run in again.runs] == [run.finished.test for run in finished[0].runs]
    assert {run.finished.recipe.data for run in again.runs} == {recipe.data}
    assert again.leakage_checks  # of the tiles at their new place


def test_records_alone_are_kept_of_the_runs_of_this_session_only(recipe, forked, tmp_path, caplog):
    caplog.set_level("INFO", logger="orbitune")
    Study(recipe, tmp_path / "s", methods=["linear"], seeds=[0, 1]).run(progress=False)
    Study(recipe, tmp_path / "s", methods=["linear"], seeds=[0, 1, 2], keep="records").run(progress=False)
    assert [holds_weights(tmp_path / "s" / f"linear-seed{seed}") for seed in (0, 1, 2)] == [True, True, False]
    assert "removed the weights of 1 run, trained in this session (--keep records)" in caplog.messages


def test_only_what_is_scored_with_corruptions_keeps_its_weights_until_then(
    recipe, forked, tmp_path, monkeypatch
):
    folder, kept = tmp_path / "s", []

    def look(*arguments, **settings):
        kept.extend(seed for seed in (0, 1) if holds_weights(folder / f"linear-seed{seed}"))
        return score_corrupted(*arguments, **settings)

    monkeypatch.setattr(runner, "score_corrupted", look)
    made = Study(recipe, folder, methods=["linear"], seeds=2, keep="records", robustness=5)
    assert len(made.run(progress=False).robustness) == 1
    assert kept == [0] and not holds_weights(folder / "linear-seed0")


def test_a_study_refuses_other_tiles_under_the_recipe_of_its_records(elsewhere):
    recipe, folder = elsewhere
    next((folder.parent / "tiles").rglob("*.png")).unlink()
    with pytest.raises(RunError, match=r"tiles .*no longer the same"):
        Study(recipe, folder, methods=METHODS, seeds=2).run(progress=False)


def test_the_report_computes_all_statistics_from_the_records(finished, tmp_path):
    """Also those that an earlier version had not stored, and without the tiles."""
    results, place = finished
    folder = shutil.copytree(place, tmp_path / "s")
    values = json.loads((folder / "results.json").read_text())
    for verdict in values["verdicts"]:
        verdict.update(p_equal=None, equal=None)
    (folder / "results.json").write_text(json.dumps({**values, "gaps": [], "summaries": []}))
    report(folder)
    assert read_results(folder).verdicts == results.verdicts
    assert read_results(folder).summaries == results.summaries
    assert read_results(folder).leakage_checks == results.leakage_checks


def test_the_report_of_a_study_that_lacks_predictions_keeps_its_statistics(finished, tmp_path, caplog):
    folder = shutil.copytree(finished[1], tmp_path / "s")
    shutil.rmtree(folder / "full-seed1")
    predictions = folder / "linear-seed0" / "predictions.npz"
    predictions.write_bytes(predictions.read_bytes()[:1000])
    report(folder)
    assert read_results(folder) == finished[0]
    assert "predictions of 2 of 4 runs are missing or damaged" in caplog.text
    assert "such as full-seed1" in caplog.text


def test_all_runs_of_a_study_have_the_precision_of_those_on_record(elsewhere, monkeypatch):
    """Also on a processor that would choose another."""
    recipe, folder = elsewhere
    recorded = RunResult.load(folder / "full-seed0").recipe.precision
    other = {"bf16": "fp32", "fp32": "bf16"}[recorded]
    chosen = []
    run_tasks = stages.run_tasks

    def record(executor, tasks, **more):
        chosen.extend(task.arguments for task in tasks)
        run_tasks(executor, tasks, **more)

    monkeypatch.setattr(stages, "run_tasks", record)
    shutil.rmtree(folder / "linear-seed1")
    shutil.rmtree(folder / "plans")
    results = Study(recipe, folder, methods=METHODS, seeds=2).run(progress=False)
    assert {run.finished.recipe.precision for run in results.runs} == {recorded} != {other}
    assert all(words[words.index("--precision") + 1] == recorded for words in chosen)


def test_records_of_several_precisions_are_refused(elsewhere):
    recipe, folder = elsewhere
    run = folder / "full-seed0"
    kept = RunResult.load(run).recipe
    kept.replace(precision={"bf16": "fp32", "fp32": "bf16"}[kept.precision]).save(run / "recipe.yaml")
    with pytest.raises(RunError, match=r"holds runs of several precisions .*full-seed0"):
        Study(recipe, folder, methods=METHODS, seeds=2).run(progress=False)


def test_runs_of_other_code_or_processors_are_named(finished):
    results, _ = finished
    assert run_origins(results) == []
    first = results.runs[0]
    old = first.environment.model_copy(update={"code": "0123456789ab", "processor": "Other 7"})
    mixed = results.model_copy(
        update={"runs": [first.model_copy(update={"environment": old}), *results.runs[1:]]}
    )
    code, processor = run_origins(mixed)
    assert "(code 0123456789ab): full fine-tuning seed0" in code
    assert "costs are not comparable: Other 7: full fine-tuning seed0" in processor


def test_runs_on_other_numbers_of_threads_are_named_and_their_costs_not_compared(finished):
    results, _ = finished
    first = results.runs[0]
    alone = first.environment.model_copy(update={"threads": 7})
    mixed = results.model_copy(
        update={"runs": [first.model_copy(update={"environment": alone}), *results.runs[1:]]}
    )
    [threads] = run_origins(mixed)
    assert "costs are not comparable: 7 threads: full fine-tuning seed0" in threads
    assert ReportView(results).costs_comparable and not ReportView(mixed).costs_comparable


def test_an_unknown_choice_of_what_to_keep_is_refused(recipe, tmp_path):
    with pytest.raises(OrbituneError, match=r"--keep 'nothing'.*all, records"):
        Study(recipe, tmp_path / "s", keep="nothing")


def confident(tiles, classes=10, seed=0):
    """Logits as a good model gives them, and labels."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, classes, tiles)
    logits = drawn.normal(0, 3, (tiles, classes))
    logits[np.arange(tiles), labels] += 8
    return logits.astype(np.float32), labels


def test_rounded_logits_change_no_label_and_hardly_a_calibration():
    task = SingleLabel()
    logits, labels = confident(5400)
    logits[:50, 1] = logits[:50].max(1) - np.float32(1e-6)  # nearly ties
    stored = task.storable(logits)
    assert np.array_equal(stored, stored.astype(np.float16)) and np.array_equal(task.storable(stored), stored)
    assert np.array_equal(stored.argmax(1), logits.argmax(1))
    exact, rounded = (task.score_calibration(each, labels) for each in (logits, stored))
    for name in ("ece", "brier", "loss"):
        assert getattr(rounded, name) == pytest.approx(getattr(exact, name), abs=1e-3)
    assert task.fit_decision(stored, labels).temperature == pytest.approx(
        task.fit_decision(logits, labels).temperature, abs=1e-3
    )


def test_predictions_of_eurosat_take_less_than_140_kilobytes(tmp_path):
    parts, order = {}, np.random.default_rng(0).permutation(27_000)
    for number, part in enumerate(("validation", "test")):
        logits, labels = confident(5400, seed=number)
        rows = np.sort(order[5400 * number :][:5400])
        parts[part] = Predictions(rows, labels, SingleLabel().storable(logits))
    write_predictions(tmp_path, parts, recipe_hash="0123456789ab")
    assert (tmp_path / "predictions.npz").stat().st_size < 140_000
    kept = read_predictions(tmp_path, "test")
    for name, array in vars(parts["test"]).items():
        assert np.array_equal(getattr(kept, name), array) and getattr(kept, name).dtype == array.dtype
