import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import orbitune
from samples import backbone_folder, tile_folder

from orbitune.models.methods import METHODS
from orbitune.recipe import DEFAULT_BACKBONE, LoraSettings, Recipe


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Options that name a small data set and a small backbone."""
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    return ["--data", str(tiles), "--backbone", str(backbone), "--epochs", "1", "--batch-size", "16"]


def started(*arguments, **environment):
    """The command line in a process of its own, whose libraries read these variables when they are loaded."""
    return subprocess.run(
        [sys.executable, "-m", "orbitune", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_every_setting_of_a_recipe_is_an_option_with_its_help():
    text = " ".join(orbitune("train", "--help-all").stdout.split())
    fields = {n: f for n, f in Recipe.model_fields.items() if n != "lora"}
    fields |= {f"lora_{n}": f for n, f in LoraSettings.model_fields.items()}
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert field.description in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere/at/all"], "nowhere/at/all"),
        (["--backbone", "./nothing"], "There is no backbone folder ./nothing"),
        (["--epochs", "0"], "epochs: must be at least 1, not 0"),
        (["--method", "lorra"], "Unknown method 'lorra'. Choose from: full, linear, lora"),
        (["--lora-targets", "qkv"], "no layer 'qkv' to adapt; there is: q (attention.q_proj)"),
        (["--image-size", "30"], "use 24 or 32"),
        (["--recipe", "missing.yaml"], "Cannot read the recipe missing.yaml"),
        (["--preset", "orignal"], "Unknown preset 'orignal'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_exit_code_2(inputs, tmp_path, arguments, message):
    done = orbitune("train", *inputs, "--out", tmp_path / "run", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_with_json_a_mistake_is_json_too(inputs, tmp_path):
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
    assert "reloaded in a fresh process" in trained.stdout, trained.stderr
    assert "epoch 1/1" in trained.stderr

    evaluated = orbitune("evaluate", tmp_path / "run")
    assert evaluated.stdout.splitlines()[0] == trained.stdout.splitlines()[0]
    assert all(f"class_{label}" in evaluated.stdout for label in range(3))


def test_leaks_are_looked_for_only_if_asked(inputs, tmp_path):
    tiles = tile_folder(tmp_path / "tiles")
    for row in range(20):  # so many copies that some lie in another split than their original
        source = tiles / "class_0" / f"tile_0_{row}.png"
        (tiles / "class_0" / f"copy_{row}.png").write_bytes(source.read_bytes())
    asked = ["prepare", *inputs, "--data", tiles, "--check-leaks"]
    assert "test tiles are near-duplicates of train tiles" in orbitune(*asked).stdout
    leaks = json.loads(orbitune(*asked, "--json").stdout)["leaks"]
    assert [leak["splits"] for leak in leaks][1] == ["train", "test"] and leaks[1]["identical"] > 0
    assert "leaks" not in json.loads(orbitune(*asked[:-1], "--json").stdout)


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


def test_options_go_before_the_recipe_file_and_the_file_before_the_preset(tmp_path):
    from orbitune.cli.options import make_recipe

    (tmp_path / "r.yaml").write_text("epochs: 5\nbatch_size: 7\nlora: {rank: 2}\n")
    recipe = make_recipe(tmp_path / "r.yaml", "original", {"batch_size": 9}, {"alpha": 4}, "lora")
    assert (recipe.batch_size, recipe.epochs, recipe.image_size) == (9, 5, 224)
    assert (recipe.lora.rank, recipe.lora.alpha) == (2, 4)
    assert recipe.learning_rate == 5e-4


def test_the_rate_of_a_recipe_file_is_not_carried_over_to_another_method(tmp_path):
    from orbitune.cli.options import make_recipe

    (tmp_path / "r.yaml").write_text("method: lora\nlearning_rate: 0.002\n")
    assert make_recipe(tmp_path / "r.yaml", None, {}, {}, "lora").learning_rate == 0.002
    assert make_recipe(tmp_path / "r.yaml", None, {}, {}, "full").learning_rate is None


def test_a_real_folder_is_not_called_synthetic_for_its_name(tmp_path, inputs):
    tile_folder(tmp_path / "synthetic_aperture")
    done = orbitune("prepare", *inputs, "--data", tmp_path / "synthetic_aperture", "--json")
    assert json.loads(done.stdout)["data"]["synthetic"] is False


def test_synthetic_tiles_are_called_so_by_every_command_that_reports(inputs, tmp_path):
    synthetic = [*inputs, "--data", "synthetic:60", "--method", "linear"]
    for arguments in (
        ["prepare", *synthetic[:-2]],
        ["plan", *synthetic[:-2]],
        ["train", *synthetic, "--out", tmp_path / "run"],
        ["evaluate", tmp_path / "run"],
    ):
        assert "synthetic tiles" in orbitune(*arguments).stdout


def test_a_study_with_a_failed_run_ends_with_exit_code_1_and_pure_json(inputs, tmp_path):
    (tmp_path / "linear-seed0").write_text("in the way")
    done = orbitune("study", *inputs, "--methods", "linear", "--seeds", 2, "--out", tmp_path, "--json")
    assert done.returncode == 1
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == ["failed", "done"]


def test_a_report_is_written_again_from_the_results_alone(tmp_path):
    kept = Path(__file__).parents[2] / "docs" / "results" / "eurosat-vit-tiny-112"
    (tmp_path / "results.json").write_bytes((kept / "results.json").read_bytes())
    done = orbitune("report", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.md").read_bytes() == (kept / "report.md").read_bytes()
    assert (tmp_path / "report.html").exists()
    assert "no results.json" in orbitune("report", tmp_path / "nothing").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "two"], "--seeds takes whole numbers"),
        (["--splits", "random,odd"], "Invalid recipe: split"),
        (["--tune", "1"], "--tune needs two trials or more"),
    ],
)
def test_a_mistake_in_the_grid_of_a_study_is_one_line(inputs, tmp_path, arguments, message):
    done = orbitune("study", *inputs, "--methods", "linear", "--out", tmp_path / "s", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_run_that_diverged_is_told_apart_with_json(inputs, tmp_path):
    hot = ("--method", "full", "--learning-rate", "1e30", "--epochs", "9")
    done = orbitune("train", *inputs, *hot, "--out", tmp_path / "run", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["kind"] == "diverged"


def test_a_hub_id_without_a_network_says_what_to_do_instead(inputs, tmp_path):
    done = started("prepare", *inputs, "--backbone", "owner/name", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE is set" in done.stderr and "pass the folder" in done.stderr


def test_the_default_backbone_without_a_network_names_one_that_needs_none(tmp_path):
    done = started("methods", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert DEFAULT_BACKBONE in done.stderr
    assert "--backbone demo, after pip install 'orbitune[demo]'" in done.stderr


def test_a_backbone_in_the_hubs_cache_is_used_without_a_network(inputs, tmp_path):
    cached = tmp_path / "hub" / "models--owner--name"
    backbone_folder(cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    done = started(
        "prepare", *inputs, "--backbone", "owner/name", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "hub")
    )
    assert done.returncode == 0, done.stderr
    assert "ViT checkpoint owner/name" in done.stdout
