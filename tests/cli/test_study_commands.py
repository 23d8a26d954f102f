"""`study` and `report`."""

import json

import pytest
from commands import orbitune
from label_sets import drawn_parts, write_mosaics
from pages import STUDY


@pytest.mark.slow
def test_a_study_with_a_failed_run_ends_with_exit_code_1_and_pure_json(inputs, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "linear-seed0").write_text("in the way")
    done = orbitune("study", *inputs, "--methods", "linear", "--seeds", 2, "--out", tmp_path, "--json")
    assert done.returncode == 1
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == ["failed", "done"]


def test_a_report_is_written_again_from_the_results_alone(tmp_path):
    (tmp_path / "results.json").write_bytes((STUDY / "results.json").read_bytes())
    done = orbitune("report", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.md").read_bytes() == (STUDY / "report.md").read_bytes()
    assert (tmp_path / "report.html").exists()
    (tmp_path / "empty").mkdir()
    assert "or a study (results.json)" in orbitune("report", tmp_path / "empty").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "two"], "--seeds takes whole numbers"),
        (
            ["--splits", "spatial,rnadom"],
            "--splits: Unknown split 'rnadom'. Did you mean random? "
            "Choose from: default, random, spatial, group, redrawn.",
        ),
        (["--tune", "2"], "--tune must be at least 3"),
        (["--backbones", "a"], "--backbones compares two or more: for one, pass --backbone a."),
        (["--folds", "50", "--split", "random"], "Too few tiles for 50 folds: class_0 (20), class_1 (20)"),
        (
            ["--folds", "5", "--split", "group", "--group-pattern", "class_."],
            "finds 3 groups (class_0, class_1",
        ),
        (["--folds", "5", "--split", "group", "--group-column", "scene"], "class folders has no columns"),
        (["--folds", "70", "--split", "spatial"], "Too few tiles for 70 folds: 60 in all"),
        (["--loss", "bce"], "The tiles have one label each, for which --loss is cross-entropy, not bce."),
        (["--best-by", "map"], "for which --best-by is accuracy"),
        (["--task", "multi-label"], "Studies compare methods on tiles of one label each"),
    ],
)
def test_an_invalid_grid_of_a_study_is_one_line(inputs, tmp_path, arguments, message):
    done = orbitune("study", *inputs, "--methods", "linear", "--out", tmp_path / "s", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_a_study_of_several_labels_is_refused_before_it_is_planned(inputs, tmp_path):
    file = write_mosaics(tmp_path / "mosaics", drawn_parts(), count=6)
    done = orbitune("study", *inputs, "--data", file, "--methods", "linear", "--out", tmp_path / "s")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "Studies compare methods on tiles of one label each, and these have several" in done.stderr
    assert not (tmp_path / "s").exists()


def test_class_weights_of_other_classes_are_refused_before_anything_is_planned(inputs, tmp_path):
    (tmp_path / "weights.csv").write_text("class_0,1\nclass_9,2\n")
    done = orbitune("train", *inputs, "--class-weights", tmp_path / "weights.csv", "--out", tmp_path / "run")
    assert done.returncode == 2 and "class_9 is no class of the data" in done.stderr
    assert not (tmp_path / "run").exists()


def test_no_report_is_written_if_one_of_the_folders_holds_no_results(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "results.json").write_bytes((STUDY / "results.json").read_bytes())
    done = orbitune("report", tmp_path / "study", tmp_path / "studi")
    assert done.stderr == f"error: There is no folder {tmp_path}/studi; did you mean {tmp_path}/study?\n"
    assert [file.name for file in (tmp_path / "study").iterdir()] == ["results.json"]


@pytest.mark.parametrize("place", ["tiles", "file.txt"])
def test_a_study_is_not_mixed_with_other_files(inputs, tmp_path, place):
    (tmp_path / "tiles").mkdir()
    (tmp_path / "tiles" / "a.png").touch()
    (tmp_path / "file.txt").touch()
    done = orbitune("study", *inputs, "--methods", "linear", "--out", tmp_path / place)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: {tmp_path / place} exists and is not a study of Orbitune. Choose another --out.\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split", "random", "--fold", "1/50"], "Too few tiles for 50 folds"),
        (["--split", "group", "--group-column", "scene"], "A folder of class folders has no columns"),
        (["--split", "group", "--group-pattern", "zzz"], "finds no group in 60 of 60 tile names"),
    ],
)
def test_a_run_is_refused_before_anything_heavy_is_loaded(inputs, tmp_path, options, message):
    done = orbitune("train", *inputs, *options, "--out", tmp_path / "run")
    assert done.returncode == 2 and message in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_power_of_a_study_is_printed_before_anything_runs(inputs, tmp_path):
    study = ("study", *inputs, "--methods", "full,lora", "--seeds", 3, "--out", tmp_path / "s", "--power")
    stated = ("--accuracy", 96, "--spread", 0.1, "--discordant", 3)
    done = orbitune(*study, *stated, "--margin", 1)
    assert done.returncode == 0, done.stderr
    assert "LoRA against full fine-tuning" in done.stdout and "within 1 point" in done.stdout
    plan = json.loads(orbitune(*study, *stated, "--json").stdout)
    [compared] = plan["comparisons"]
    assert 0 <= compared["chances"][0]["chance"] < 0.8 and compared["seeds"] == 3
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--power"], "--power needs to know how runs vary"),
        (["--pilot", "nothing"], "--pilot is of --power"),
        (["--margin", "wide"], "--margin takes points, or those of each split"),
        (["--power", "--pilot", "nothing"], "There is no folder nothing"),
    ],
)
def test_power_and_margins_that_mean_nothing_are_one_line(inputs, tmp_path, arguments, message):
    done = orbitune("study", *inputs, "--methods", "full,lora", "--out", tmp_path / "s", *arguments)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
