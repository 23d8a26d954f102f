"""A study runs every method, resumes, and reports what it measured."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from orbitune import Recipe, Study, evaluate, report, train
from orbitune.errors import OrbituneError, RunError
from orbitune.integrity import read_checksummed_json
from orbitune.resources import core_count
from orbitune.study.analysis import analyse_runs
from orbitune.study.predictions import load_predictions
from orbitune.study.records import StudyResults
from orbitune.study.results import read_results

METHODS = ["full", "linear", "lora"]


@pytest.fixture(scope="module")
def mistaken(recipe, forked, tmp_path_factory):
    """The folder of a study that failed for its data, and its error."""
    folder = tmp_path_factory.mktemp("study") / "s"
    tiles = folder.parent / "tiels"
    (tiles / "a").mkdir(parents=True)
    (tiles / "a" / "x.png").write_bytes(b"damaged")
    with pytest.raises(RunError) as failure:
        Study(recipe.replace(data=str(tiles)), folder, methods=["linear"]).run(progress=False)
    return folder, str(failure.value)


@pytest.fixture(scope="module")
def finished(recipe, mistaken):
    """The results of the study, corrected and of all three methods, and its folder."""
    return Study(recipe, mistaken[0], methods=METHODS).run(progress=False), mistaken[0]


def with_plans_of(finished, folder):
    """A folder with the plans of the methods, so that a study in it plans no more."""
    shutil.copytree(finished[1] / "plans", folder / "plans")
    return folder


def test_a_study_runs_every_method_and_writes_the_report(finished):
    results, folder = finished
    assert [(run.method, run.status) for run in results.runs] == [(method, "done") for method in METHODS]
    assert json.loads((folder / "results.json").read_text()) == results.to_json()
    assert read_results(folder) == results
    assert (folder / "report.html").stat().st_size > 10_000
    assert "| LoRA" in (folder / "report.md").read_text()


def test_the_plan_stands_beside_what_was_measured(finished):
    for run in finished[0].runs:
        assert run.plan.parameters == run.finished.parameters
        assert run.plan.peak_rss_bytes > 100e6


def test_a_finished_study_repeats_no_run(recipe, finished, caplog):
    results, folder = finished
    files = [folder / method / "result.json" for method in METHODS]
    before = [file.stat().st_mtime_ns for file in files]
    caplog.set_level("INFO", logger="orbitune")
    again = Study(recipe, folder, methods=METHODS).run(progress=False)
    assert [file.stat().st_mtime_ns for file in files] == before
    assert again.runs == results.runs
    assert "3 of 3 runs were already finished" in caplog.messages


def test_changed_tiles_are_refused_before_a_further_run_trains(recipe, finished, tmp_path):
    tiles, folder = tmp_path / "tiles", tmp_path / "s"
    shutil.copytree(recipe.data, tiles)
    shutil.copytree(finished[1], folder)
    changed = recipe.replace(data=str(tiles))
    Study(changed, folder, methods=METHODS).run(progress=False)  # the same tiles at another place
    shutil.copy(tiles / "class_0" / "tile_0_0.png", tiles / "class_0" / "tile_0_99.png")
    with pytest.raises(RunError, match=r"The tiles and splits of .*full are no longer the same"):
        Study(changed, folder, methods=[*METHODS, "bitfit"]).run(progress=False)
    assert not (folder / "bitfit").exists()


def test_a_report_counts_the_test_reads_of_now(finished, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(finished[1], folder)
    evaluate(folder / "lora", progress=False)
    report(folder, progress=False)
    assert "LoRA read it twice" in (folder / "report.md").read_text()


def test_the_statistics_stand_beside_the_runs(finished):
    results, _ = finished
    assert [(each.group, each.seeds) for each in results.summaries] == [(method, [0]) for method in METHODS]
    for run, summary in zip(results.runs, results.summaries, strict=True):
        correct = np.trace(np.array(run.finished.test.confusion))
        assert summary.accuracy.mean == pytest.approx(correct / summary.test_tiles)
    assert [verdict.method for verdict in results.verdicts] == ["linear", "lora"]
    [checks] = results.leakage_checks
    assert (checks.split, len(checks.leaks), len(checks.baselines)) == ("default", 3, 1)
    assert results.gaps == results.robustness == []


def test_the_command_in_the_report_reproduces_the_study(recipe, finished, tmp_path):
    _, folder = finished
    command = f"orbitune study --recipe {folder}/recipes/full.yaml --methods full,linear,lora --out {folder}"
    assert command in (folder / "report.md").read_text()
    study = Study(recipe, tmp_path, methods=["lora"], seeds=[4], image_sizes=[16, 32], tune=3)
    assert "--seeds 4, --image-sizes 16,32 --tune 3 --out" in study.command


def test_a_report_of_one_split_names_it_by_where_it_comes_from_and_never_default(finished):
    _, folder = finished
    page = (folder / "report.md").read_text()
    assert "Split: the data has no splits: drew 60/20/20 at random, stratified, with seed 42." in page
    assert "test tiles of the split drawn at random with seed 42" in page
    assert "default split" not in page.lower()


def test_the_tiles_on_which_methods_disagree_stand_there_too(finished, tmp_path):
    results, folder = finished
    shutil.copytree(folder, tmp_path / "s")
    file = tmp_path / "s" / "linear" / "predictions.npz"
    with np.load(file) as arrays:
        stored = dict(arrays)
    # The methods tell these tiles apart too well to disagree by themselves.
    np.savez(file, **{**stored, "test_logits": np.roll(stored["test_logits"], 1, axis=1)})
    [disputed] = analyse_runs(results.runs, tmp_path / "s")["disagreements"]
    assert (disputed.split, len(disputed.tiles)) == ("default", len(stored["test_labels"]))
    assert all(list(tile.predicted) == METHODS for tile in disputed.tiles)
    assert (tmp_path / "s" / disputed.image).is_file()


def test_runs_are_compared_although_their_tiles_were_removed(finished, tmp_path, caplog):
    results, folder = finished
    shutil.copytree(folder, tmp_path / "s")
    for run in results.runs:
        file = tmp_path / "s" / run.name / "result.json"
        stored = json.loads(file.read_text())
        file.write_text(json.dumps({**stored, "recipe": {**stored["recipe"], "data": "./moved"}}))
    caplog.set_level("INFO", logger="orbitune")
    found = analyse_runs(results.runs, tmp_path / "s", design=results.design)
    assert found["summaries"] == results.summaries and found["verdicts"] == results.verdicts
    assert found["leakage_checks"] == found["disagreements"] == []
    name = "split drawn at random with seed 42"
    assert f"tiles of the {name} could not be checked: There is no folder" in caplog.messages[-1]


def test_a_run_that_diverges_is_reported_and_does_not_stop_the_rest(recipe, finished, tmp_path, caplog):
    recipes = [recipe.replace(method="full", learning_rate=1e30, epochs=9), recipe.replace(method="linear")]
    caplog.set_level("INFO", logger="orbitune")
    results = Study(recipes, with_plans_of(finished, tmp_path)).run(progress=False)
    assert [run.status for run in results.runs] == ["diverged", "done"]
    assert [run.name for run in results.failed] == ["full"]
    assert "not finite" in results.runs[0].error
    assert any("diverged: Training diverged" in message for message in caplog.messages)
    assert "not finite" in (tmp_path / "report.md").read_text()
    assert results.test_reads == {"full": 0, "linear": 1}


def test_a_folder_with_a_study_of_another_recipe_is_left_as_it_is(recipe, finished):
    _, folder = finished
    before = (folder / "results.json").read_bytes()
    with pytest.raises(RunError, match=r"another recipe \(--epochs: 7, not 1\)"):
        Study(recipe.replace(epochs=7), folder, methods=["full", "lora"]).run(progress=False)
    assert (folder / "results.json").read_bytes() == before


def test_a_study_that_failed_for_its_data_can_be_corrected(mistaken, finished):
    assert "No run of the study succeeded: There is only one class, a" in mistaken[1]
    assert finished[1] == mistaken[0] and finished[0].runs[1].status == "done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "./nothing"}, "no backbone folder"),
        ({"data": "./tiels"}, "no folder or zip"),
        ({"image_size": 17}, "image size of 17 does not suit"),
    ],
)
def test_a_study_of_what_is_not_there_is_refused_before_its_folder_is_made(recipe, tmp_path, change, message):
    with pytest.raises(OrbituneError, match=message):
        Study(recipe.replace(**change), tmp_path / "s").run(progress=False)
    assert not (tmp_path / "s").exists()


def test_progress_is_shown_only_where_it_is_asked_for(recipe, finished, capsys):
    _, folder = finished
    Study(recipe, folder, methods=METHODS).run(progress=False)
    assert capsys.readouterr().err == ""


def test_methods_must_differ(recipe, tmp_path):
    with pytest.raises(OrbituneError, match="--methods: lora is given twice"):
        Study(recipe, tmp_path, methods=["lora", "lora"])
    with pytest.raises(OrbituneError, match="Unknown tracker 'x'"):
        Study(recipe, tmp_path, methods=["lora"], track=["x"])
    with pytest.raises(OrbituneError, match="not both"):
        Study([recipe], tmp_path, methods=["lora"])


def study_command(folder, *options):
    recipe = ("--recipe", str(folder / "r.yaml"), "--methods", "linear")
    return [sys.executable, "-m", "orbitune", "study", *recipe, *options, "--out", str(folder / "s")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_is_interrupted_or_killed_stops_its_run_which_is_resumed(
    recipe, finished, tmp_path, number
):
    with_plans_of(finished, tmp_path / "s")
    recipe.replace(method="linear", epochs=3000).save(tmp_path / "r.yaml")
    process = subprocess.Popen(study_command(tmp_path), stderr=subprocess.PIPE, text=True)
    run = tmp_path / "s" / "linear"
    while not (run / "checkpoint" / "state.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Stopped after step" in message
    before = (run / "log.jsonl").read_text()
    time.sleep(1)
    assert (run / "log.jsonl").read_text() == before  # the run has ended too
    with subprocess.Popen(study_command(tmp_path), stderr=subprocess.PIPE, text=True) as again:
        assert any("resumed after step" in line for line in again.stderr)
        again.kill()


@pytest.fixture(scope="module")
def survivor(recipe, tmp_path_factory):
    """A study that was killed in a trial and in a run, then continued.

    Its results, its folder, and the modification times of what was finished before the second kill.
    """
    place = tmp_path_factory.mktemp("killed")
    recipe.replace(method="linear", epochs=60).save(place / "r.yaml")
    options = ("--seeds", "2", "--tune", "3", "--jobs", "2", "--robustness", "5", "--json")
    command = study_command(place, *options)
    for folder, logs in (("trials/linear/0.01-seed1", "trial-*.log"), ("linear-seed1", "linear-seed1.log")):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while not (place / "s" / folder / "checkpoint" / "state.safetensors").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            process.kill()
        # Its parent was killed, so the trial or run was interrupted.
        while not any("Stopped after step" in log.read_text() for log in (place / "s" / "logs").glob(logs)):
            time.sleep(0.02)
    finished = {
        path: path.stat().st_mtime_ns
        for path in (place / "s").rglob("*.json")
        if path.name in ("trial.json", "result.json", "linear.json")
    }
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return StudyResults.from_json(json.loads(done.stdout)), place / "s", finished


@pytest.mark.slow
def test_a_study_killed_twice_ends_as_one_that_was_not(recipe, survivor, tmp_path):
    results, folder, _ = survivor
    assert [(run.name, run.status) for run in results.runs] == [
        *(("linear-seed0", "done"), ("linear-seed1", "done"))
    ]
    [search] = results.searches
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, core_count() // 2))  # as each of the parallel runs
    whole = recipe.replace(method="linear", epochs=60, seed=1, learning_rate=search.chosen)
    result = train(whole, tmp_path / "whole", progress=False)
    torch.set_num_threads(threads)
    assert result.test == results.runs[1].finished.test
    mine, theirs = (np.load(run / "predictions.npz") for run in (folder / "linear-seed1", tmp_path / "whole"))
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs.files)


@pytest.mark.slow
def test_what_was_finished_before_a_kill_is_not_repeated(survivor):
    _, folder, finished = survivor
    trials = {folder / "trials" / "linear" / name / "trial.json" for name in ("0.003-seed0", "0.01-seed1")}
    assert {folder / "plans" / "linear.json", *trials} <= set(finished)
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


@pytest.mark.slow
def test_all_runs_of_a_method_use_the_learning_rate_chosen_on_validation(survivor):
    results, _, _ = survivor
    [search] = results.searches
    assert {trial.status for trial in results.trials} == {"done"}
    assert {trial.learning_rate for trial in results.trials if trial.chosen} == {search.chosen}
    assert {run.finished.recipe.learning_rate for run in results.runs} == {search.chosen}
    assert search.seeds == (0, 1) and search.epochs == 60


@pytest.mark.slow
def test_the_test_split_was_read_once_by_each_run_and_by_no_trial(survivor):
    results, _, _ = survivor
    assert results.test_reads == {"linear-seed0": 1, "linear-seed1": 1}
    assert {trial.test_reads for trial in results.trials} == {0}


@pytest.mark.slow
def test_the_first_seed_is_scored_on_corrupted_tiles(survivor):
    results, folder, _ = survivor
    [record] = results.robustness
    assert (record.split, record.method, record.seed, record.count) == ("default", "linear", 0, 5)
    stored = read_checksummed_json(folder / "linear-seed0" / "robustness.json")
    values = record.to_json()
    assert {name: values[name] for name in stored} == stored
    assert not (folder / "linear-seed1" / "robustness.json").exists()


@pytest.mark.slow
def test_parallel_runs_divide_the_cores_and_their_times_are_marked(survivor, finished):
    results, folder, _ = survivor
    threads = max(1, core_count() // 2)
    executor = results.executor
    assert (executor.name, executor.jobs, executor.threads) == ("local", 2, threads)
    assert not executor.timings_comparable
    assert results.environment.threads == threads
    assert finished[0].executor.timings_comparable
    log = (folder / "logs" / "linear-seed1.log").read_text()
    assert "epoch 60/60" in log and "resumed after step" in log


@pytest.mark.slow
def test_the_runs_of_a_split_line_up_for_statistics(survivor):
    results, folder, _ = survivor
    predictions = load_predictions(results.runs, folder)
    assert predictions.seeds == {"linear": (0, 1)}
    accuracies = results.summaries[0].accuracy.seeds
    assert predictions.correct["linear"].mean(axis=1).tolist() == pytest.approx(accuracies)


@pytest.mark.slow
def test_a_report_of_several_runs_of_a_method_names_each(survivor):
    page = (survivor[1] / "report.md").read_text()
    assert "| linear probing seed0 |" in page and "| linear probing seed1 |" in page


@pytest.mark.slow
def test_a_study_is_not_continued_with_another_number_of_trials(recipe, survivor):
    other = Study(recipe.replace(method="linear", epochs=60), survivor[1], seeds=2, tune=5)
    with pytest.raises(RunError, match=r"holds a study with other trials \(--tune 5, not 3\)"):
        other.run(progress=False)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"executor": "spark"}, "Unknown executor 'spark'. Choose from: local, ray"),
        ({"tune": 2}, "must be at least 3"),
        ({"jobs": 0}, "--jobs must be 1 or more"),
        ({"robustness": -1}, "--robustness takes a number of tiles"),
    ],
)
def test_an_invalid_setting_of_a_study_is_one_clear_line(tmp_path, values, message):
    with pytest.raises(OrbituneError, match=message):
        Study(Recipe(), tmp_path, **values)
