"""Adapters that share a backbone give the outputs of each adapter alone."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from samples import FAMILIES, backbone_folder, saved_model

from orbitune.adapters.adapter_bank import AdapterBank
from orbitune.data.transform import Transform
from orbitune.errors import DataError, ModelError
from orbitune.evaluation.calibration import probabilities
from orbitune.models.backbones import find_backbone
from orbitune.models.checkpoint_io import load_saved
from orbitune.recipe import Recipe

TILES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
CLASSES = {"crops": ("wheat", "rice"), "water": ("sea", "lake", "river", "none"), "roofs": ("yes", "no", "?")}
RECIPES = {
    "crops": Recipe(method="lora"),
    "water": Recipe(method="rslora", lora={"rank": 3, "targets": ("q", "fc1", "fc2")}),
    "roofs": Recipe(method="linear"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def tasks(request, tmp_path_factory):
    """A backbone, and a folder for each of three tasks that differ.

    They have classes, ranks and adapted layers of their own.
    """
    folder = tmp_path_factory.mktemp(request.param)
    backbone = find_backbone(str(backbone_folder(folder / "backbone", request.param)))
    for seed, (name, recipe) in enumerate(RECIPES.items()):
        saved_model(folder / name, backbone, recipe, CLASSES[name], seed)
    return backbone, {name: folder / name for name in RECIPES}


@pytest.fixture
def vit(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone")))
    saved_model(tmp_path / "a", backbone, Recipe(method="lora"))
    return backbone, tmp_path / "a"


def bank_of(backbone, folders, **settings):
    bank = AdapterBank(backbone.name, 32, precision="fp32", **settings)
    for name, folder in folders.items():
        bank.add(name, folder)
    return bank


def alone(backbone, folder):
    """The logits of an adapter by plain transformers and PEFT."""
    stated = backbone.preprocessing
    pixels = Transform(32, stated.mean, stated.std, stated.resample)(torch.from_numpy(TILES))
    with torch.inference_mode():
        return load_saved(folder, backbone)(pixel_values=pixels, **backbone.family.forward).logits.numpy()


def test_a_batch_of_several_tasks_gives_what_each_adapter_gives_alone(tasks):
    backbone, folders = tasks
    mixed = ["roofs", "crops", "water", "crops", "roofs", "water"]
    logits = bank_of(backbone, folders).logits(TILES, mixed)
    for place, name in enumerate(mixed):
        assert np.allclose(logits[place], alone(backbone, folders[name])[place], atol=1e-4)


def test_probabilities_are_over_the_classes_of_the_task_and_calibrated(vit):
    backbone, folder = vit
    metadata = folder / "orbitune.json"
    metadata.write_text(metadata.read_text().replace('"classes"', '"temperature": 2.0,\n "classes"'))
    bank = bank_of(backbone, {"a": folder})
    assert bank.classes("a") == ("a", "b", "c")
    expected = probabilities(alone(backbone, folder), 2.0)
    assert np.allclose(bank.predict(TILES, ["a"] * 6), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("tiles", "names", "message"),
    [
        (TILES / np.float32(255), 6, r"Expected tiles uint8 \(B, H, W, 3\), not float32"),
        (TILES.astype(np.uint16), 6, "not uint16"),
        (TILES[..., :2], 6, r"not uint8 \(6, 16, 16, 2\)"),
        (TILES, 1, "an adapter for each of the 6 tiles, not 1 names"),
    ],
)
def test_tiles_of_another_type_and_missing_names_are_refused(vit, tiles, names, message):
    backbone, folder = vit
    with pytest.raises(DataError, match=message):
        bank_of(backbone, {"a": folder}).predict(tiles, ["a"] * names)


@pytest.mark.slow
def test_half_precision_names_the_same_classes(vit):
    backbone, folder = vit
    bank = AdapterBank(backbone.name, 32, precision="bf16")
    bank.add("a", folder)
    assert np.allclose(bank.logits(TILES, ["a"] * 6), alone(backbone, folder), atol=0.05)


def test_a_task_is_replaced_and_removed_while_the_bank_serves(vit, tmp_path):
    backbone, first = vit
    saved_model(tmp_path / "b", backbone, Recipe(method="lora"), seed=1)
    bank, known = bank_of(backbone, {"a": first}), [alone(backbone, f) for f in (first, tmp_path / "b")]

    def ask(_):
        return np.stack(bank.logits(TILES, ["a"] * 6))

    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(ask, range(40))
        for number in range(20):
            bank.add("a", tmp_path / "b" if number % 2 else first)
        # An answer is wholly by one adapter or wholly by the other.
        assert all(any(np.allclose(answer, k, atol=1e-4) for k in known) for answer in answers)
    bank.remove("a")
    assert "a" not in bank
    with pytest.raises(ModelError, match=r"Unknown adapter 'a'\. The bank has: none"):
        bank.predict(TILES, ["a"] * 6)


def test_over_the_limit_the_adapter_used_longest_ago_leaves_memory_and_comes_back_from_its_folder(vit):
    backbone, folder = vit
    one = bank_of(backbone, {"a": folder}).bytes
    bank = bank_of(backbone, {name: folder for name in "abcd"}, memory_limit=2 * one)
    assert bank.bytes == 2 * one
    assert bank.names == list("abcd")
    logits = bank.logits(TILES, list("abcdab"))  # the batch at hand is held whole
    assert np.allclose(logits, alone(backbone, folder), atol=1e-4)
    assert bank.bytes <= 4 * one
    shutil.rmtree(folder)
    bank.logits(TILES[:1], ["b"])  # still in memory


def test_a_larger_adapter_changes_nothing_for_those_before_it(tasks):
    backbone, folders = tasks
    bank = bank_of(backbone, {"roofs": folders["roofs"]})
    before = bank.logits(TILES, ["roofs"] * 6)
    bank.add("crops", folders["crops"])
    bank.add("water", folders["water"])
    assert np.allclose(bank.logits(TILES, ["roofs"] * 6), before, atol=1e-5)


def test_an_adapter_of_other_weights_is_refused_and_the_bank_stays_as_it_was(vit, tmp_path):
    backbone, folder = vit
    other = find_backbone(str(backbone_folder(tmp_path / "other", layers=3)))
    saved_model(tmp_path / "o", other, Recipe(method="lora"))
    bank = bank_of(backbone, {"a": folder})
    with pytest.raises(ModelError, match="trained on other weights"):
        bank.add("a", tmp_path / "o")
    assert np.allclose(bank.logits(TILES, ["a"] * 6), alone(backbone, folder), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "reason"), [("dora", "it has use_dora"), ("ia3", "type is IA3"), ("bitfit", "plain low-rank")]
)
def test_other_adapters_than_low_rank_are_refused_with_an_alternative(vit, tmp_path, method, reason):
    backbone, _ = vit
    saved_model(tmp_path / method, backbone, Recipe(method=method))
    with pytest.raises(ModelError, match=f"{reason}.*export --to merged"):
        bank_of(backbone, {method: tmp_path / method})


def test_an_adapter_for_another_image_size_is_refused(vit):
    backbone, folder = vit
    with pytest.raises(ModelError, match="image_size 32, but the adapter bank uses 16"):
        AdapterBank(backbone.name, 16).add("a", folder)


def test_a_truncated_adapter_is_one_clear_error(vit):
    backbone, folder = vit
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(ModelError, match="cannot be read as an adapter"):
        bank_of(backbone, {"a": folder})
