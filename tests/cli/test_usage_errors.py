"""What is wrong with the options of a command: one line in the words of the command line, and exit code 2."""

import json

import pytest
from commands import orbitune


def message_of(*arguments):
    """The one line of a command that is refused."""
    done = orbitune(*arguments)
    assert done.returncode == 2 and done.stdout == "", done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "0"], "--epochs: must be at least 1, not 0."),
        (["--learning-rate", "-1"], "--learning-rate: must be above 0, not -1.0."),
        (["--image-size", "nativ"], "or native or auto, not 'nativ'; did you mean native?"),
        (["--lora-rank", "0"], "--lora-rank: must be at least 1, not 0."),
        (["--lora-bias", "al"], "--lora-bias: must be none, all or lora_only, not 'al'; did you mean all?"),
        (["--augment", "flip"], "--augment: must be sensor, flips or none, not 'flip'; did you mean flips?"),
        (["--fold", "6/5"], "--fold: must be one of the folds 1/5 to 5/5, not '6/5'."),
        (["--fold", "2/5"], "--fold needs --split random, spatial or group, and no --split-files."),
        (["--epochs", "4", "--restarts", "5"], "--restarts must rise, from 1 to below --epochs (4), not 5."),
        (["--restarts", "5"], "--restarts must rise, from 1 to below --epochs (3, the default), not 5."),
        (["--cache-frozen", "--no-fast"], "--cache-frozen cannot be combined with --no-fast."),
        (["--class-weights", "balancd"], "did you mean balanced?"),
        (["--group-column", "scene"], "--group-column needs --split group."),
    ],
)  # fmt: skip
def test_a_setting_is_named_by_its_option(options, message):
    assert message_of("train", *options).endswith(message)


def test_a_setting_of_a_recipe_file_is_named_as_it_is_there(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("epochs: 0\nlearnig_rate: 1\nlora: {rank: 0}\n")
    assert message_of("train", "--recipe", file, "--lora-alpha", 0) == (
        "lora.rank of r.yaml: must be at least 1, not 0; --lora-alpha: must be above 0, not 0; epochs of "
        "r.yaml: must be at least 1, not 0; learnig_rate of r.yaml: unknown setting; did you mean "
        "learning_rate?"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--lr", 1], "There is no option --lr; did you mean --lora-rank or --learning-rate?"),
        (["train", "--bach-size", 1], "There is no option --bach-size; did you mean --batch-size?"),
        (["study", "--fold", "2/5"], "There is no option --fold; did you mean --folds?"),
        (["report", "--zzz"], "There is no option --zzz; orbitune report --help lists them."),
        (["train", "--no-fst"], "There is no option --no-fst; did you mean --no-fast?"),
        (["train", "--s", 3], "There is no option --s; orbitune train --help-all lists them."),
        (["train", "--l", 3], "There is no option --l; orbitune train --help-all lists them."),
        (["export", "--format", "onnx"], "There is no option --format; did you mean --to?"),
        (["predict", "--model", "x"], "There is no option --model; orbitune predict --help lists them."),
        (["report", "--hepl"], "There is no option --hepl; orbitune report --help lists them."),
        (["adapters", "list", "--x"], "There is no option --x; orbitune adapters list --help lists them."),
        (["report", "--zzz", ""], "There is no option --zzz; orbitune report --help lists them."),
        (["train", "--batch-size", "x"], "--batch-size: must be a whole number, not 'x'."),
        (["study", "--folds", "x"], "--folds: must be a whole number, not 'x'."),
        (["methods", "--classes", 0], "--classes: must be at least 1, not '0'."),
        (["methods", "--classes", 3], "--classes needs --backbone, on which parameters are counted."),
        (["report"], "Missing argument 'folders'."),
        (["train", "--data", ""], "--data is empty: pass a value, or leave it out."),
        (["train", "--data="], "--data is empty: pass a value, or leave it out."),
        (["report", ""], "An argument is empty: pass a value, or leave it out."),
        (["report", "--", ""], "An argument is empty: pass a value, or leave it out."),
        (["train", "--no-fast", ""], "An argument is empty: pass a value, or leave it out."),
        (["train", "--no-fast="], "Option '--no-fast' does not take a value."),
        (["study", "--seeds", ","], "--seeds names nothing: pass a value, or leave it out."),
        (["study", "--seeds", "1,,2"], "--seeds has an empty place between its commas: '1,,2'."),
        (["study", "--split", "random", "--splits", "spatial"], "--split and --splits: pass one of them."),
        (["study", "--seed", "1", "--seeds", "2,3"], "--seed and --seeds: pass one of them."),
        (["plan", "--methods", "lora,lora"], "--methods: lora is given twice."),
        (["study", "--backbones", "a,a"], "--backbones: a is given twice."),
        (["export", "run", "--to", "onnx,onnx"], "--to: onnx is given twice."),
    ],
)  # fmt: skip
def test_a_wrong_use_of_a_command_is_one_line(arguments, message):
    assert message_of(*arguments) == message


def test_a_name_that_no_file_system_takes_is_one_line():
    name = "n" * 256
    assert message_of("study", "--data", "tiles", "--out", name) == f"The name of a file is too long: {name}."


def test_with_json_a_wrong_use_is_json_too():
    done = orbitune("train", "--batch-size", "x", "--json")
    assert done.returncode == 2 and done.stderr == ""
    assert json.loads(done.stdout) == {"error": "--batch-size: must be a whole number, not 'x'."}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working directory, with folders of tiles and runs."""
    for name in ("tiles", "backbone", "runs/lora", "runs/linear"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_text("epochs: 2")
    for name in ("notes.txt", "runs/notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "tilez"], "There is no folder or zip tilez; did you mean tiles?"),
        (["train", "--data", "./tilez"], "There is no folder or zip ./tilez; did you mean ./tiles?"),
        (["methods", "--backbone", "bakbone"], "There is no backbone folder bakbone; did you mean backbone?"),
        (["methods", "--backbone", "./runs/lraa"], "folder ./runs/lraa; did you mean ./runs/lora?"),
        (["methods", "--backbone", "./runz/lora"], "no backbone folder ./runz/lora; did you mean ./runs?"),
        (["train", "--data", "synthetik"], "folder or zip synthetik; did you mean synthetic?"),
        (["train", "--data", "synthetik:200"], "zip synthetik:200; did you mean synthetic?"),
        (["evaluate", "runs/lora", "--data", "synthetik"], "synthetik: check the path (a hub id looks like"),
        (["methods", "--backbone", "dmeo"], "There is no backbone folder dmeo; did you mean demo?"),
        (["methods", "--backbone", "zzz"], "zzz: check it, or pass a hub id (owner/name)."),
        (["train", "--recipe", "recipes.yaml"], "No such file or directory; did you mean recipe.yaml?"),
        (["train", "--recipe", "notes.yaml"], "the recipe notes.yaml: No such file or directory."),
        (["report", "runs/lraa"], "There is no folder runs/lraa; did you mean runs/lora?"),
        (["evaluate", "runs/lraa"], "There is no folder runs/lraa; did you mean runs/lora?"),
        (["adapters", "list", "rums"], "There is no folder rums; did you mean runs?"),
    ],
)  # fmt: skip
def test_a_mistyped_path_names_the_near_ones(place, arguments, message):
    assert message in message_of(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["methods", "--backbone", "notes.txt"],
        ["methods", "--backbone", "runs/notes.txt"],
        ["adapters", "list", "notes.txt"],
        ["report", "notes.txt"],
        ["evaluate", "runs/notes.txt"],
        ["serve", "runs/notes.txt"],
    ],
)
def test_a_file_in_place_of_a_folder_is_named_as_such(place, arguments):
    assert f"{arguments[-1]} is a file, not a folder" in message_of(*arguments)


NAMES = [
    (["train", "--data"], "folder or zip"),
    (["methods", "--backbone"], "backbone folder"),
    (["evaluate", "--data", "tiles"], "folder"),
]


@pytest.mark.parametrize(("command", "what"), NAMES)
def test_a_slip_of_a_path_is_not_asked_of_the_hub(place, command, what):
    assert message_of(*command, "runs/lraa") == f"There is no {what} runs/lraa; did you mean runs/lora?"


@pytest.mark.parametrize(("command", "what"), NAMES)
def test_what_may_be_a_hub_id_is_looked_for_there_too(place, command, what):
    assert message_of(*command, "owner/lraa").startswith("There is no folder owner/lraa. Cannot get ")
