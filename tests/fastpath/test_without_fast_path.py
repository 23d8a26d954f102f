"""The fast path is optional: without its folder everything works, more slowly."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from samples import backbone_folder, saved_model, tile_folder

import orbitune
from orbitune.adapters.adapter_bank import AdapterBank
from orbitune.models.backbones import find_backbone
from orbitune.recipe import Recipe

pytestmark = pytest.mark.slow

TILES = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
CODE = """
import json, sys
from pathlib import Path

import numpy as np

import orbitune
from orbitune import AdapterBank, Classifier, OrbituneError, Recipe, build_bundle, export, train

place = Path(sys.argv[1])
assert Path(orbitune.__file__).is_relative_to(place)
found = {}


def error_of(call):
    try:
        call()
    except OrbituneError as error:
        return str(error)


recipe = Recipe(data=str(place / "tiles"), backbone=str(place / "backbone"), epochs=1, batch_size=4)
train(recipe, place / "run", progress=False)
found["compute"] = json.loads((place / "run" / "result.json").read_text())["compute"]
tiles = np.load(place / "tiles.npy")
build_bundle(place / "run", place / "bundle", progress=False)
found["probabilities"] = Classifier.from_pretrained(place / "bundle").predict_proba(tiles).tolist()
export(place / "run", [sys.argv[2]], out=place / "exported", progress=False)
found["exported"] = sorted(str(p.relative_to(place)) for p in (place / "exported").rglob("*"))
bank = AdapterBank(place / "backbone", 32, precision="fp32")
for name in ("a", "b"):
    bank.add(name, place / name)
found["bank"] = [row.tolist() for row in bank.logits(tiles, ["a", "b", "b", "a"])]
linear = recipe.replace(method="linear", cache_frozen=True)
found["cache"] = error_of(lambda: train(linear, place / "cached", progress=False))
found["merging"] = error_of(
    lambda: export(place / "run", ["onnx-int8"], out=place / "int8", merge_tokens=(1,))
)
found["fast modules"] = [name for name in sys.modules if name.startswith("orbitune.fastpath")]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The package without its fast path, tiles, a backbone and two adapters."""
    place = tmp_path_factory.mktemp("without")
    ignored = shutil.ignore_patterns("fastpath", "__pycache__")
    shutil.copytree(Path(orbitune.__file__).parent, place / "src" / "orbitune", ignore=ignored)
    tile_folder(place / "tiles", each=5)
    backbone = find_backbone(str(backbone_folder(place / "backbone")))
    saved_model(place / "a", backbone, Recipe(method="lora"))
    saved_model(place / "b", backbone, Recipe(method="rslora", lora={"targets": ("q", "fc1")}), ("x", "y"), 1)
    np.save(place / "tiles.npy", TILES)
    return place


@pytest.fixture(scope="module")
def found(place):
    environment = {**os.environ, "PYTHONPATH": str(place / "src")}
    command = [sys.executable, "-c", CODE, str(place), "merged"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_run_trains_and_records_why_it_is_not_fast(found):
    compute = found["compute"]
    assert not compute["fast"] and compute["attention"] == "transformers"
    assert compute["why_not_fast"] == "the package orbitune.fastpath is not installed"
    assert found["fast modules"] == []


def test_it_predicts_and_exports(found):
    assert np.allclose(np.sum(found["probabilities"], 1), 1, atol=1e-5)
    assert {"model.safetensors", "config.json"} <= {Path(name).name for name in found["exported"]}


def test_the_bank_gives_what_the_fast_path_gives(found, place):
    bank = AdapterBank(place / "backbone", 32, precision="fp32")
    for name in ("a", "b"):
        bank.add(name, place / name)
    expected = bank.logits(TILES, ["a", "b", "b", "a"])
    assert [len(row) for row in found["bank"]] == [3, 2, 2, 3]
    assert all(np.allclose(*pair, atol=1e-4) for pair in zip(found["bank"], expected, strict=True))


@pytest.mark.parametrize(
    ("feature", "said"), [("cache", "The activation cache (--cache-frozen)"), ("merging", "Merging tokens")]
)
def test_what_needs_it_is_one_line_of_error(found, feature, said):
    message = found[feature]
    assert message.startswith(said) and message.endswith("orbitune.fastpath is not installed.")
    assert "\n" not in message
