"""The wheel alone predicts; other commands name the extra they need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STORED = Path(__file__).parent / "stored" / "0.1"
pytestmark = pytest.mark.install


@pytest.fixture(scope="module")
def orbitune(tmp_path_factory):
    """The command line of an environment with the wheel and no extras."""
    place = tmp_path_factory.mktemp("wheel")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def start(*words, **more):
        return subprocess.run(list(map(str, words)), text=True, env=clean, cwd=place, **more)

    # Of a copy: a build leaves files in its folder, which the next one would pack.
    shutil.copytree(ROOT / "src", place / "copy" / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place / "copy" / name)
    start(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "./copy", check=True)
    [wheel] = place.glob("orbitune-*.whl")
    start(sys.executable, "-m", "venv", "environment", check=True)
    programs = place / "environment" / "bin"
    start(programs / "python", "-m", "pip", "install", "-q", wheel, check=True)
    return lambda *words: start(programs / "orbitune", *words, capture_output=True)


def test_a_bundle_predicts_what_it_did_when_it_was_made(orbitune):
    expected = json.loads((STORED / "predictions.json").read_text())["bundle"]
    tiles = [STORED / before["input"] for before in expected]
    done = orbitune(
        "predict", STORED / "bundle", *tiles, "--json", "--top-k", 3, "--backbone", STORED / "backbone"
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row, before in zip(rows, expected, strict=True):
        labels, probabilities = zip(*before["labels"], strict=True)
        assert tuple(each["label"] for each in row["labels"]) == labels
        assert [each["probability"] for each in row["labels"]] == pytest.approx(probabilities, abs=0.01)


def test_the_base_install_has_no_extra_and_gives_the_command_for_each(orbitune):
    found = json.loads(orbitune("doctor", "--json").stdout)
    assert not any(extra["installed"] for extra in found["extras"])
    assert found["versions"]["orbitune"]


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["train", "--data", STORED / "tiles", "--backbone", STORED / "backbone"], "train"),
        (["report", STORED / "study"], "study"),
        (["serve", STORED / "bundle", "--backbone", STORED / "backbone"], "app"),
        (["map", STORED / "bundle", "scene.tif", "-o", "map.tif", "--backbone", STORED / "backbone"], "geo"),
        (["methods", "--backbone", "demo"], "demo"),
    ],
)
def test_a_command_that_needs_an_extra_names_it_in_one_line(orbitune, words, extra):
    done = orbitune(*words)
    assert done.returncode == 2
    assert f"pip install 'orbitune[{extra}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_and_version_of_the_wheel(orbitune):
    assert orbitune("--version").stdout.startswith("0.")
    assert "Usage: orbitune" in orbitune("train", "--help").stdout
