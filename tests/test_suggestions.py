"""Suggestions for mistyped names and paths."""

import pytest

from orbitune.errors import OrbituneError
from orbitune.suggestions import did_you_mean, did_you_mean_path, missing, unknown
from orbitune.yaml_files import read_yaml


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


def test_the_names_beside_a_missing_path_are_compared(tmp_path):
    for name in ("lora", "lora-2", "linear", ".lor"):
        (tmp_path / name).mkdir()
    assert did_you_mean_path(tmp_path / "lorra", folders=True) == f"did you mean {tmp_path}/lora?"
    assert did_you_mean_path(tmp_path / "lin" / "x.csv") == f"did you mean {tmp_path}/linear?"
    assert did_you_mean_path(tmp_path / "zzz") is None
    assert (
        missing("file", f"{tmp_path}/zzz", advice="pass one") == f"There is no file {tmp_path}/zzz: pass one."
    )


@pytest.mark.parametrize(
    ("what", "typed", "meant"),
    [
        ("file", "tilez.csv", "tiles.csv"),
        ("file", "tilez.TIF", "tiles.tif"),
        ("file", "tilez.yaml", None),  # neither another kind of file nor a folder
        ("folder", "scenez.csv", "scenes"),
        ("folder", "tilez.csv", None),
        ("folder or zip", "tilez", "tiles.zip"),
        ("folder or zip", "scenez.zip", "scenes"),
        ("folder or zip", "tilez.yaml", "tiles.zip"),
        ("folder", "tiles.csv/x", None),  # a file contains nothing
    ],
)
def test_a_suggestion_is_of_the_kind_that_is_looked_for(tmp_path, monkeypatch, what, typed, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").mkdir()
    for name in ("tiles.csv", "tiles.tif", "tiles.zip"):
        (tmp_path / name).touch()
    question = f"; did you mean {meant}?" if meant else "."
    assert missing(what, typed) == f"There is no {what} {typed}{question}"


def test_a_file_in_place_of_a_folder_is_named_as_such_and_never_suggested(tmp_path):
    file = tmp_path / "notes.txt"
    file.touch()
    assert did_you_mean_path(file) is None
    assert missing("folder", file) == f"{file} is a file, not a folder."
    assert missing("folder", f"{file}/") == f"{file}/ is a file, not a folder."
    assert missing("folder", file, advice="pass a run") == f"{file} is a file, not a folder: pass a run."


def test_a_link_to_nowhere_is_not_suggested_for_itself(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    assert missing("folder", tmp_path / "run") == f"There is no folder {tmp_path}/run."


def test_a_word_that_may_replace_a_path_is_suggested(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert missing("folder", "dmeo", names=["demo"]) == "There is no folder dmeo; did you mean demo?"
    (tmp_path / "demos").mkdir()
    assert missing("folder", "dmeo", names=["demo"]).endswith("; did you mean demo or demos?")


def test_an_unknown_name_is_answered_with_those_there_are():
    assert unknown("method", "lorra", known=["full", "lora"]) == (
        "Unknown method 'lorra'. Did you mean lora? Choose from: full, lora."
    )
    assert unknown("kind", None, known=["a"]) == "Unknown kind null. Choose from: a."


def test_a_name_that_is_too_long_for_the_disk_is_one_line():
    with pytest.raises(OrbituneError, match=r"^Cannot read the recipe a+\.yaml: File name too long\.$"):
        read_yaml("a" * 300 + ".yaml", "recipe")
