"""`plan`, `train`, `evaluate` and `methods`."""

import json
import re

import pytest
from commands import orbitune

from orbitune.models.methods import METHODS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere/at/all"], "nowhere/at/all"),
        (["--backbone", "./nothing"], "There is no backbone folder ./nothing"),
        (["--method", "lorra"], "Unknown method 'lorra'. Did you mean lora? Choose from: full, linear, lora"),
        (["--lora-targets", "qkv"], "no layer 'qkv' to adapt. Choose from: q (attention.q_proj)"),
        (["--image-size", "30"], "use 24 or 32"),
        (["--recipe", "missing.yaml"], "Cannot read the recipe missing.yaml"),
        (["--preset", "orignal"], "Unknown preset 'orignal'"),
        (["--preset", "original", "--fast-recipe"], "leave out --preset, or --fast-recipe"),
    ],
)
def test_invalid_input_is_one_line_on_stderr_and_exit_code_2(inputs, tmp_path, arguments, message):
    done = orbitune("train", *inputs, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_run_says_at_the_start_what_it_trains_on_and_how_it_is_computed(inputs, tmp_path):
    done = orbitune("train", *inputs, "--out", tmp_path / "run", "--precision", "fp32")
    lines = done.stderr.splitlines()
    assert (
        "lora on 36 train tiles of 3 classes, 12 validation and 12 test: split drawn at random with seed 42"
        in lines
    )
    assert lines.index("computed on cpu in fp32, on the fast path") < next(
        place for place, line in enumerate(lines) if line.startswith("epoch 1/1")
    )


def test_a_run_that_is_refused_leaves_no_folder(inputs, tmp_path):
    done = orbitune("train", *inputs, "--out", tmp_path / "run", "--method", "full", "--cache-frozen")
    assert done.returncode == 2 and "no frozen layers below the trained ones" in done.stderr
    assert not (tmp_path / "run").exists()


def test_with_json_an_error_is_json_too(inputs, tmp_path):
    done = orbitune("train", *inputs, "--method", "lorra", "--out", tmp_path / "run", "--json")
    assert done.returncode == 2
    assert "lorra" in json.loads(done.stdout)["error"]


def test_the_verbs_work_in_turn_from_prepare_to_evaluate(inputs, tmp_path):
    prepared = json.loads(orbitune("prepare", *inputs, "--json").stdout)
    assert prepared["data"]["sizes"] == {"train": 36, "validation": 12, "test": 12}

    planned = orbitune("plan", *inputs, "--methods", "lora").stdout
    assert re.search(r"parameters: adapter +3,072", planned)
    assert "peak memory" in planned

    trained = orbitune("train", *inputs, "--out", tmp_path / "run")
    assert "reloaded in another process" in trained.stdout, trained.stderr
    assert "epoch 1/1" in trained.stderr
    assert trained.stdout.splitlines()[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    assert (tmp_path / "run" / "report.html").is_file()

    evaluated = orbitune("evaluate", tmp_path / "run")
    assert evaluated.stdout.splitlines()[0] == trained.stdout.splitlines()[0]
    assert all(f"class_{label}" in evaluated.stdout for label in range(3))


def test_methods_are_listed_with_their_parameters_on_the_backbone(inputs):
    backbone = inputs[inputs.index("--backbone") + 1]
    listed = json.loads(orbitune("methods", "--backbone", backbone, "--classes", "3", "--json").stdout)
    assert [method["name"] for method in listed["methods"]] == list(METHODS)
    by_name = {method["name"]: method for method in listed["methods"]}
    assert by_name["linear"]["parameters"]["trainable"] == 32 * 3 + 3
    assert by_name["lora"]["learning_rate"] == 2e-3
    assert [name for name, method in by_name.items() if not method["merges"]] == ["full"]
    table = orbitune("methods", "--backbone", backbone, "--classes", "3").stdout.splitlines()
    assert len(table) == 1 + len(METHODS)
    assert "arXiv:2106.09685" in next(line for line in table if line.startswith("lora "))


def test_methods_are_listed_without_a_backbone():
    listed = json.loads(orbitune("methods", "--json").stdout)
    assert (listed["backbone"], listed["classes"]) == (None, None)
    assert [(each["name"], each["parameters"]) for each in listed["methods"]] == [(m, None) for m in METHODS]
    header, *rows = orbitune("methods").stdout.splitlines()
    assert "trained " not in header.split("what is")[0] and len(rows) == len(METHODS) + 1
    assert rows[-1].startswith("--backbone counts the trained parameters")


def test_synthetic_tiles_are_called_so_by_every_command_that_reports(inputs, tmp_path):
    synthetic = [*inputs, "--data", "synthetic:60", "--method", "linear"]
    for arguments in (
        ["prepare", *synthetic[:-2]],
        ["plan", *synthetic[:-2]],
        ["train", *synthetic, "--out", tmp_path / "run"],
        ["evaluate", tmp_path / "run"],
    ):
        assert "synthetic tiles" in orbitune(*arguments).stdout


def test_a_diverged_run_has_a_kind_of_error_of_its_own_in_json(inputs, tmp_path):
    hot = ("--method", "full", "--learning-rate", "1e30", "--epochs", "9")
    done = orbitune("train", *inputs, *hot, "--out", tmp_path / "run", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "diverged"
