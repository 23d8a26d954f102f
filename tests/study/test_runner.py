import json
import signal
import subprocess
import sys
import time

import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, Study
from orbitune.errors import OrbituneError, RunError
from orbitune.study.process import run_in_process


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    return Recipe(data=str(tiles), backbone=str(backbone), epochs=1, batch_size=16)


def study_of(recipe, folder, *methods):
    return Study(tuple(recipe.replace(method=m) for m in methods), folder, "orbitune study ...")


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    """The results of a study of all three methods, its folder, and what it said."""
    folder, said = tmp_path_factory.mktemp("study") / "s", []
    results = study_of(recipe, folder, "full", "linear", "lora").run(said.append)
    return results, folder, said


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


def test_a_failed_run_is_reported_and_does_not_stop_the_rest(recipe, tmp_path):
    recipes = (recipe.replace(method="full", learning_rate=1e30, epochs=9), recipe.replace(method="linear"))
    said = []
    results = Study(recipes, tmp_path, "orbitune study ...").run(said.append)
    assert [run["status"] for run in results["runs"]] == ["failed", "done"]
    assert "not finite" in results["runs"][0]["error"]
    assert any("failed: Training diverged" in line for line in said)
    assert "not finite" in (tmp_path / "report.md").read_text()


def test_a_folder_with_a_study_of_another_recipe_is_left_as_it_is(recipe, finished):
    _, folder, _ = finished
    before = (folder / "results.json").read_bytes()
    with pytest.raises(RunError, match=r"another recipe \(epochs: 7, not 1\)"):
        study_of(recipe.replace(epochs=7), folder, "full", "lora").run(lambda line: None)
    assert (folder / "results.json").read_bytes() == before


def test_a_study_that_failed_for_a_typo_can_be_corrected(recipe, tmp_path):
    with pytest.raises(RunError, match="no folder or zip"):
        study_of(recipe.replace(data="./tiels"), tmp_path, "linear").run(lambda line: None)
    results = study_of(recipe, tmp_path, "linear").run(lambda line: None)
    assert results["runs"][0]["status"] == "done"


def test_a_study_in_which_nothing_succeeds_says_why(recipe, tmp_path):
    with pytest.raises(RunError, match=r"No run of the study succeeded: .*no backbone folder"):
        study_of(recipe.replace(backbone="./nothing"), tmp_path, "linear").run(lambda line: None)


def test_methods_must_differ(recipe, tmp_path):
    with pytest.raises(OrbituneError, match="different methods"):
        study_of(recipe, tmp_path, "lora", "lora")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_study_that_is_stopped_or_killed_takes_its_run_along_and_goes_on(recipe, tmp_path, number):
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
        run_in_process("train", tmp_path / "r.yaml", "--out", str(out))
    assert (out / "checkpoint").exists()
