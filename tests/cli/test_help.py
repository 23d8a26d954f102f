"""Help texts: options in groups, common ones first, and hints for typing errors."""

import os
import subprocess
import sys
from importlib import import_module

import pytest
import typer
from commands import orbitune

from orbitune.cli.main import COMMANDS, app
from orbitune.recipe import Recipe


def headings(text):
    return [line.removesuffix(":") for line in text.splitlines() if line.endswith(":") and line[0] != " "]


def test_commands_are_listed_by_what_they_are_for():
    text = orbitune("--help").stdout
    assert headings(text) == [
        "Options",
        "Data and training",
        "Comparison",
        "Bundles and adapters",
        "Trained models",
        "Maps",
        "Installation",
    ]
    assert "trial" not in text


@pytest.mark.parametrize("words", [(), ("adapters",)])
def test_without_a_command_the_help_is_printed_and_the_exit_code_is_that_of_a_mistake(words):
    done = orbitune(*words)
    assert (done.returncode, done.stderr) == (2, "") and done.stdout == orbitune(*words, "--help").stdout


@pytest.mark.parametrize("module", COMMANDS)
def test_the_table_of_commands_has_those_of_each_module(module):
    assert set(COMMANDS[module]) == typer.main.get_group(import_module(module).app).commands.keys()


def test_a_command_that_is_registered_on_the_app_itself_is_there_too(monkeypatch):
    monkeypatch.setattr(app, "registered_commands", [])
    app.command("extra")(lambda: None)
    names = [name for listed in COMMANDS.values() for name in listed]
    assert [*typer.main.get_group(app).commands] == [*names, "extra"]


@pytest.mark.parametrize("command", ["train", "study", "plan", "prepare"])
def test_options_are_listed_in_the_groups_of_the_recipe(command):
    found = headings(orbitune(command, "--help").stdout)
    groups = [name for name in found if name in Recipe.groups()]
    assert groups == [*Recipe.groups()]
    assert found[-2:] == ["Output", "Options"]


def test_help_lists_common_options_and_help_all_the_rest():
    common, everything = (orbitune("train", word).stdout for word in ("--help", "--help-all"))
    for option in ("--data", "--backbone", "--method", "--epochs", "--out"):
        assert f" {option} " in common
    for option in ("--mixup", "--lora-plus-ratio", "--label-column"):
        assert f" {option} " not in common and f" {option} " in everything
    assert "more options: " in common and "more options: " not in everything


@pytest.mark.parametrize("command", ["predict", "map", "adapt"])
def test_a_command_without_help_all_lists_every_option(command):
    """Even one that has the name of a setting of the recipe."""
    text = orbitune(command, "--help").stdout
    assert " --bands " in text and "--help-all" not in text


def test_a_mistyped_command_lists_public_names():
    done = orbitune("trail")
    assert done.returncode == 2
    assert "Did you mean 'train'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("orbitune ser", ["serve"]),
        ("orbitune tri", []),
        ("orbitune train --method lo", ["lora", "loraall", "loraplus"]),
    ],
)
def test_a_shell_completes_commands_and_values(words, completed):
    variables = {
        "_ORBITUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    code = "import sys; sys.argv = ['orbitune']; from orbitune.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert done.stdout.split() == completed
