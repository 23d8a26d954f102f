"""What is wrong with the options of a command: one line in the words of the command line, and exit code 2."""

import json

import pytest
from commands import orbitune

from orbitune.suggestions import did_you_mean, unknown


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
        (["train", "--batch-size", "x"], "--batch-size: must be a whole number, not 'x'."),
        (["study", "--folds", "x"], "--folds: must be a whole number, not 'x'."),
        (["methods", "--classes", 0], "--classes: must be at least 1, not '0'."),
        (["report"], "Missing argument 'folders'."),
        (["train", "--data", ""], "--data is empty: pass a value, or leave it out."),
        (["train", "--data="], "--data is empty: pass a value, or leave it out."),
        (["report", ""], "An argument is empty: pass a value, or leave it out."),
        (["study", "--seeds", ","], "--seeds names nothing: pass a value, or leave it out."),
        (["plan", "--methods", "lora,lora"], "--methods: lora is given twice."),
        (["study", "--backbones", "a,a"], "--backbones: a is given twice."),
        (["export", "run", "--to", "onnx,onnx"], "--to: onnx is given twice."),
    ],
)  # fmt: skip
def test_a_wrong_use_of_a_command_is_one_line(arguments, message):
    assert message_of(*arguments) == message


def test_with_json_a_wrong_use_is_json_too():
    done = orbitune("train", "--batch-size", "x", "--json")
    assert done.returncode == 2 and done.stderr == ""
    assert json.loads(done.stdout) == {"error": "--batch-size: must be a whole number, not 'x'."}


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("lorra", "did you mean lora?"),
        ("LoRA", "did you mean lora?"),
        ("plus", "did you mean loraplus?"),
        ("swin", None),
        ("l", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_suggested_and_none_where_all_are_far(typed, question):
    assert did_you_mean(typed, ["full", "lora", "loraplus"]) == question


def test_an_unknown_name_is_answered_with_those_there_are():
    assert unknown("method", "lorra", known=["full", "lora"]) == (
        "Unknown method 'lorra'. Did you mean lora? Choose from: full, lora."
    )
    assert unknown("kind", None, known=["a"]) == "Unknown kind None. Choose from: a."
