import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, Study
from orbitune.errors import OrbituneError, RunError
from orbitune.resources import core_count
from orbitune.study.analysis import analyse_results
from orbitune.study.child_processes import run_command, run_module
from orbitune.study.grid import Grid
from orbitune.study.results import load_predictions


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    return Recipe(data=str(tiles), backbone=str(backbone), epochs=1, batch_size=16)


def study_of(recipe, folder, *methods):
    return Study(tuple(recipe.replace(method=m) for m in methods), folder, "orbitune study ...")


@pytest.fixture(scope="module")
def mistaken(recipe, tmp_path_factory):
    """The folder of a study that failed for a typo, and how it failed."""
    folder = tmp_path_factory.mktemp("study") / "s"
    with pytest.raises(RunError) as failure:
        study_of(recipe.replace(data="./tiels"), folder, "linear").run(lambda line: None)
    return folder, str(failure.value)


@pytest.fixture(scope="module")
def finished(recipe, mistaken):
    """The results of the study, corrected and of all three methods, its folder, and what it said."""
    folder, said = mistaken[0], []
    results = study_of(recipe, folder, "full", "linear", "lora").run(said.append)
    return results, folder, said


def with_plans_of(finished, folder):
    """A folder that knows what methods cost, so that a study in it plans no more."""
    shutil.copytree(finished[1] / "plans", folder / "plans")
    return folder


def test_a_study_runs_every_method_and_writes_the_report(finished):
    results, folder, _ = finished
    assert [(run["method"], run["status"]) for run in results["runs"]] == [
        *(("full", "done"), ("linear", "done"), ("lora", "done"))
    ]
    assert json.loads((folder / "results.json").read_text()) == results
    assert (folder / "report.html").stat().st_size > 10_000
    assert "| LoRA" in (folder / "report.md").read_text()


def test_the_plan_stands_beside_what_was_measured(finished):
    for run in finished[0]["runs"]:
        assert run["plan"]["parameters"] == run["result"]["parameters"]
        assert run["plan"]["peak_rss_bytes"] > 100e6


def test_a_finished_study_repeats_no_run(recipe, finished):
    results, folder, _ = finished
    before = {m: (folder / m / "result.json").stat().st_mtime_ns for m in ("full", "linear", "lora")}
    again = study_of(recipe, folder, "full", "linear", "lora").run(lambda line: None)
    assert before == {m: (folder / m / "result.json").stat().st_mtime_ns for m in before}
    assert again["runs"] == results["runs"]


def test_the_evidence_stands_beside_the_runs(finished):
    results, _, _ = finished
    methods = ["full", "linear", "lora"]
    assert [(each["group"], each["seeds"]) for each in results["summaries"]] == [(m, [0]) for m in methods]
    for run, summary in zip(results["runs"], results["summaries"], strict=True):
        assert summary["accuracy"]["mean"] == pytest.approx(run["result"]["test"]["accuracy"])
    assert [entry["method"] for entry in results["verdicts"]] == ["linear", "lora"]
    [checks] = results["alarms"]
    assert (checks["split"], len(checks["leaks"]), len(checks["baselines"])) == ("default", 3, 1)
    assert results["gaps"] == results["robustness"] == []


def test_the_tiles_on_which_methods_disagree_stand_there_too(finished, tmp_path):
    results, folder, _ = finished
    shutil.copytree(folder, tmp_path / "s")
    file = tmp_path / "s" / "linear" / "predictions.npz"
    with np.load(file) as arrays:
        kept = dict(arrays)
    # The methods tell these tiles apart too well to disagree by themselves.
    np.savez(file, **{**kept, "test_logits": np.roll(kept["test_logits"], 1, axis=1)})
    [disputed] = analyse_results(results, tmp_path / "s", lambda line: None)["disagreements"]
    assert (disputed["split"], len(disputed["tiles"])) == ("default", len(kept["test_labels"]))
    assert all(list(tile["predicted"]) == ["full", "linear", "lora"] for tile in disputed["tiles"])
    assert (tmp_path / "s" / disputed["image"]).is_file()


def test_where_the_tiles_are_gone_the_runs_are_judged_all_the_same(finished, tmp_path):
    results, folder, _ = finished
    shutil.copytree(folder, tmp_path / "s")
    for run in results["runs"]:
        file = tmp_path / "s" / run["name"] / "result.json"
        kept = json.loads(file.read_text())
        file.write_text(json.dumps({**kept, "recipe": {**kept["recipe"], "data": "./moved"}}))
    said = []
    found = analyse_results(results, tmp_path / "s", said.append)
    assert found["summaries"] == results["summaries"] and found["verdicts"] == results["verdicts"]
    assert found["alarms"] == found["disagreements"] == []
    assert "tiles of the default split were not looked at: There is no folder or zip" in said[-1]


def test_a_run_that_diverges_is_called_so_and_does_not_stop_the_rest(recipe, finished, tmp_path):
    recipes = (recipe.replace(method="full", learning_rate=1e30, epochs=9), recipe.replace(method="linear"))
    said = []
    results = Study(recipes, with_plans_of(finished, tmp_path), "orbitune study ...").run(said.append)
    assert [run["status"] for run in results["runs"]] == ["diverged", "done"]
    assert "not finite" in results["runs"][0]["error"]
    assert any("diverged: Training diverged" in line for line in said)
    assert "not finite" in (tmp_path / "report.md").read_text()
    assert results["test_reads"] == {"full": 0, "linear": 1}


def test_a_folder_with_a_study_of_another_recipe_is_left_as_it_is(recipe, finished):
    _, folder, _ = finished
    before = (folder / "results.json").read_bytes()
    with pytest.raises(RunError, match=r"another recipe \(epochs: 7, not 1\)"):
        study_of(recipe.replace(epochs=7), folder, "full", "lora").run(lambda line: None)
    assert (folder / "results.json").read_bytes() == before


def test_a_study_that_failed_for_a_typo_can_be_corrected(mistaken, finished):
    assert "no folder or zip" in mistaken[1]
    assert finished[1] == mistaken[0] and finished[0]["runs"][1]["status"] == "done"


def test_a_study_in_which_nothing_succeeds_says_why(recipe, tmp_path):
    with pytest.raises(RunError, match=r"No run of the study succeeded: .*no backbone folder"):
        study_of(recipe.replace(backbone="./nothing"), tmp_path, "linear").run(lambda line: None)


def test_methods_must_differ(recipe, tmp_path):
    with pytest.raises(OrbituneError, match="different methods"):
        study_of(recipe, tmp_path, "lora", "lora")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_is_stopped_or_killed_takes_its_run_along_and_goes_on(
    recipe, finished, tmp_path, number
):
    with_plans_of(finished, tmp_path / "s")
    long = recipe.replace(method="linear", epochs=3000)
    long.save(tmp_path / "r.yaml")
    command = [sys.executable, "-m", "orbitune", "study", "--recipe", str(tmp_path / "r.yaml")]
    process = subprocess.Popen(
        [*command, "--methods", "linear", "--out", str(tmp_path / "s")], stderr=subprocess.PIPE, text=True
    )
    run = tmp_path / "s" / "linear"
    while not (run / "checkpoint" / "state.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert "Stopped after step" in message  # the run saved its state
    before = json.loads((run / "log.jsonl").read_text().splitlines()[-1])["epoch"]
    time.sleep(1)
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["epoch"] == before  # and has ended
    again = subprocess.Popen(
        [*command, "--methods", "linear", "--out", str(tmp_path / "s")], stderr=subprocess.PIPE, text=True
    )
    assert any("going on after step" in line for line in again.stderr)
    again.kill()


def test_a_process_that_was_killed_is_told_from_one_that_failed(recipe, tmp_path):
    recipe.replace(epochs=10_000).save(tmp_path / "r.yaml")
    out = tmp_path / "run"
    killer = (
        'while [ ! -e $0/checkpoint/state.safetensors ]; do sleep 0.05; done; pkill -KILL -f -- "--out $0"'
    )
    with subprocess.Popen(["sh", "-c", killer, str(out)]), pytest.raises(RunError, match="SIGKILL"):
        run_command("train", tmp_path / "r.yaml", "--out", str(out))
    assert (out / "checkpoint").exists()


@pytest.fixture(scope="module")
def survivor(recipe, tmp_path_factory):
    """A study that was killed while it tuned, and again while it trained, and then went on to its end.

    Its results, its folder, and when the files were written that were finished before the second kill.
    """
    place = tmp_path_factory.mktemp("killed")
    recipe.replace(method="linear", epochs=60).save(place / "r.yaml")
    command = [
        *(
            sys.executable,
            "-m",
            "orbitune",
            "study",
            "--recipe",
            str(place / "r.yaml"),
            "--methods",
            "linear",
        ),
        *("--seeds", "2", "--tune", "2", "--jobs", "2", "--robustness", "5"),
        *("--out", str(place / "s"), "--json"),
    ]
    for moment in ("trials/linear/2", "linear-seed1"):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            while not (place / "s" / moment / "checkpoint" / "state.safetensors").exists():
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.005)
            process.kill()
    finished = {
        path: path.stat().st_mtime_ns
        for path in (place / "s").rglob("*.json")
        if path.name in ("trial.json", "result.json", "linear.json")
    }
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), place / "s", finished


def test_a_study_killed_twice_ends_as_one_that_was_not(recipe, survivor, tmp_path):
    results, folder, _ = survivor
    assert [(run["name"], run["status"]) for run in results["runs"]] == [
        *(("linear-seed0", "done"), ("linear-seed1", "done"))
    ]
    [rate] = [trial["learning_rate"] for trial in results["trials"] if trial["chosen"]]
    recipe.replace(method="linear", epochs=60, seed=1, learning_rate=rate).save(tmp_path / "r.yaml")
    options = ("--recipe", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "whole"), "--json")
    whole = run_module("orbitune", "train", *options, threads=max(1, core_count() // 2))
    assert whole["test"] == results["runs"][1]["result"]["test"]
    mine, theirs = (np.load(run / "predictions.npz") for run in (folder / "linear-seed1", tmp_path / "whole"))
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs.files)


def test_what_was_finished_before_a_kill_is_not_repeated(survivor):
    _, folder, finished = survivor
    assert {folder / "plans" / "linear.json", folder / "trials" / "linear" / "1" / "trial.json"} <= set(
        finished
    )
    assert finished == {path: path.stat().st_mtime_ns for path in finished}


def test_all_runs_of_a_method_use_the_rate_that_won_on_validation(survivor):
    results, _, _ = survivor
    best = max(results["trials"], key=lambda trial: trial["validation_accuracy"])
    assert [trial["status"] for trial in results["trials"]] == ["done", "done"]
    assert best["chosen"] or best["validation_accuracy"] == next(
        trial["validation_accuracy"] for trial in results["trials"] if trial["chosen"]
    )
    chosen = {trial["learning_rate"] for trial in results["trials"] if trial["chosen"]}
    assert {run["result"]["recipe"]["learning_rate"] for run in results["runs"]} == chosen


def test_the_test_split_was_read_once_by_each_run_and_by_no_trial(survivor):
    results, _, _ = survivor
    assert results["test_reads"] == {"linear-seed0": 1, "linear-seed1": 1}
    assert [trial["test_reads"] for trial in results["trials"]] == [0, 0]


def test_the_first_seed_is_tried_on_corrupted_tiles(survivor):
    results, folder, _ = survivor
    [entry] = results["robustness"]
    assert (entry["split"], entry["method"], entry["seed"], entry["count"]) == ("default", "linear", 0, 5)
    kept = json.loads((folder / "linear-seed0" / "robustness.json").read_text())
    assert {name: entry[name] for name in kept} == kept
    assert not (folder / "linear-seed1" / "robustness.json").exists()


def test_runs_side_by_side_divide_the_cores_and_their_times_are_marked(survivor, finished):
    engine = survivor[0]["engine"]
    threads = max(1, core_count() // 2)
    assert engine == {"name": "local", "jobs": 2, "threads": threads, "timings_comparable": False}
    assert survivor[0]["environment"]["threads"] == threads
    assert finished[0]["engine"]["timings_comparable"] is True
    assert "epoch 60/60" in (survivor[1] / "logs" / "linear-seed1.log").read_text()


def test_the_runs_of_a_split_line_up_for_statistics(survivor):
    results, folder, _ = survivor
    predictions = load_predictions(results, folder)
    assert predictions.seeds == {"linear": (0, 1)}
    accuracies = [run["result"]["test"]["accuracy"] for run in results["runs"]]
    assert predictions.correct["linear"].mean(axis=1).tolist() == pytest.approx(accuracies)


def test_a_report_of_several_runs_of_a_method_names_each(survivor):
    page = (survivor[1] / "report.md").read_text()
    assert "| linear probing seed0 |" in page and "| linear probing seed1 |" in page


def test_a_study_is_not_tuned_in_another_way_half_way(recipe, survivor):
    long = recipe.replace(method="linear", epochs=60)
    other = Study((long,), survivor[1], "orbitune study ...", Grid((0, 1)), trials=3)
    with pytest.raises(RunError, match=r"holds a study with other trials \(--tune 3, not 2\)"):
        other.run(lambda line: None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": "spark"}, "There is no engine 'spark'; there is: local, ray"),
        ({"trials": 1}, "two trials or more"),
        ({"jobs": 0}, "--jobs must be 1 or more"),
        ({"robustness": -1}, "--robustness takes a number of tiles"),
    ],
)
def test_a_setting_of_a_study_that_is_none_is_one_clear_line(recipe, tmp_path, values, message):
    with pytest.raises(OrbituneError, match=message):
        Study((recipe,), tmp_path, "orbitune study ...", **values)
