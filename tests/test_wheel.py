"""The wheel alone predicts, with kernels and no compiler; other commands name the extra they need."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from orbitune.fastpath.native import build
from orbitune.fastpath.native.variants import VARIANTS, can_run

ROOT = Path(__file__).parent.parent
STORED = Path(__file__).parent / "stored" / "0.1"
pytestmark = pytest.mark.install


FILES = ("pyproject.toml", "README.md", "LICENSE", "CMakeLists.txt")


def copy_sources(target):
    """Copy what is built: a build leaves files in its folder, which the next one would pack."""
    shutil.copytree(ROOT / "src", target / "src", ignore=shutil.ignore_patterns("*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, target / name)


def test_the_sdist_has_the_package_alone_whatever_lies_beside_it(tmp_path):
    pytest.importorskip("build", reason="needs build")
    copy_sources(tmp_path / "copy")
    for other in ("tests/test_a.py", "runs/model.bin", "notes.txt", "src/orbitune/__pycache__/a.pyc"):
        (tmp_path / "copy" / other).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / other).write_text("")
    command = [sys.executable, "-m", "build", "--sdist", "-o", tmp_path, tmp_path / "copy"]
    subprocess.run(command, check=True, capture_output=True)
    [archive] = tmp_path.glob("orbitune-*.tar.gz")
    with tarfile.open(archive) as packed:
        names = [Path(each).parts[1:] for each in packed.getnames()]
    assert {parts[0] for parts in names} == {*FILES, "PKG-INFO", "src"}
    assert not [parts for parts in names if "__pycache__" in parts]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A function that runs programs of an environment with the wheel, no extras and no compiler."""
    place = tmp_path_factory.mktemp("wheel")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def start(*words, **more):
        return subprocess.run(list(map(str, words)), **{"text": True, "env": clean, "cwd": place, **more})

    copy_sources(place / "copy")
    start(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "./copy", check=True)
    [wheel] = place.glob("orbitune-*.whl")
    start(sys.executable, "-m", "venv", "environment", check=True)
    programs = place / "environment" / "bin"
    start(programs / "python", "-m", "pip", "install", "-q", wheel, check=True)
    alone = {**clean, "PATH": str(programs), "CC": "/nonexistent", "ORBITUNE_CACHE": str(place / "cache")}
    return lambda name, *words: start(programs / name, *words, env=alone, capture_output=True)


@pytest.fixture(scope="module")
def orbitune(environment):
    """The command line of the environment."""
    return lambda *words: environment("orbitune", *words)


KERNELS = """
import torch
from torch.nn import functional as F
from orbitune.cache import cache_dir
from orbitune.fastpath import kernels
from orbitune.fastpath.native import library, variants

for variant in filter(variants.can_run, variants.VARIANTS):
    x = torch.linspace(-3, 3, 100).to(variant.dtype)
    assert library.open_library(variant.dtype).why_not is None
    assert torch.allclose(kernels.gelu(x).float(), F.gelu(x.float()), atol=1e-2 if x.itemsize == 2 else 1e-6)
    print(variant.name)
assert not (cache_dir() / "kernels").exists()
"""


@pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler to build the wheel with")
def test_the_kernels_of_the_wheel_run_without_a_compiler(environment):
    done = environment("python", "-c", KERNELS)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [each.name for each in VARIANTS if can_run(each)]


@pytest.mark.skipif(build.compiler() is None, reason="needs a C compiler to build the wheel with")
def test_doctor_names_the_kernels_of_the_wheel(orbitune):
    found = json.loads(orbitune("doctor", "--json").stdout)["kernels"]
    if any(map(can_run, VARIANTS)):
        assert found["state"] == "compiled" and found["variant"] in [each.name for each in VARIANTS]


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
