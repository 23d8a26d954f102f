"""Runs that start from runs: train, predict, export and ship them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import orbitune
from hub_server import COMMIT, hub
from huggingface_hub import constants
from shipped import files_with_paths

from orbitune.adapters.tools import verify
from orbitune.assessment.evaluate import evaluate as score_new_data
from orbitune.errors import OrbituneError
from orbitune.exporting.exporter import export
from orbitune.fastpath.reading.saved_model import read_classifier
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_builder import build_bundle
from orbitune.inference.classifier import Classifier
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.lineage.fine_tuned import open_backbone
from orbitune.models.lineage.seen_file import read_seen
from orbitune.models.lineage.seen_tiles import write_seen
from orbitune.models.metadata import read_metadata
from orbitune.recipe import Recipe
from orbitune.training.evaluate import evaluate
from orbitune.training.run import train
from orbitune.training.setup import prepare_training

TILES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def place(run, tmp_path_factory):
    """A folder with the runs `a` (LoRA), `b` (LoRA on a), `c` (DoRA on b) and `whole` (all weights on a)."""
    place = tmp_path_factory.mktemp("chain")
    shutil.copytree(run, place / "a")
    start = Recipe.load(run / "recipe.yaml").replace(epochs=1, learning_rate=None, image_size=None)
    for name, parent, method in (("b", "a", "lora"), ("c", "b", "dora"), ("whole", "a", "full")):
        recipe = start.replace(backbone=str(place / parent), method=method)
        train(recipe, place / name, progress=False)
    return place


@pytest.fixture(scope="module")
def bundle(place):
    return build_bundle(place / "c", place / "bundle", progress=False)


def test_a_run_records_the_chain_in_result_bundle_and_card(place, bundle):
    result = json.loads((place / "c" / "result.json").read_text())
    links = result["backbone"]["ancestors"]
    assert [(link["name"], link["method"]) for link in links] == [("a", "lora"), ("b", "lora")]
    shipped = [link.model_dump() for link in bundle.metadata.backbone.ancestors]
    assert shipped == [{**link, "folder": None, "base": Path(link["base"]).name} for link in links]
    assert all(Path(link["folder"]).is_dir() for link in links)
    card = (bundle.folder / "README.md").read_text()
    for link in links:
        assert f"{link['name']} ({link['method']}): adapter `{link['saved_sha256']}`" in card
    assert f'"FOLDER/backbone", num_labels={len(bundle.classes)}' in card
    assert "-> a (lora)" in verify(place / "c")["chain"]


def test_what_is_shipped_of_a_chained_run_holds_no_path_of_the_machine(place, bundle, tmp_path):
    assert files_with_paths(bundle.folder) == []
    export(place / "c", ["merged", "onnx"], out=tmp_path / "export", progress=False)
    shipped = shutil.copytree(tmp_path / "export", place / "shipped")
    assert files_with_paths(shipped, tmp_path) == []


def test_the_list_of_seen_tiles_is_beside_carried_merged_and_exported_weights(place, bundle, tmp_path):
    export(place / "c", ["merged"], out=tmp_path / "export", progress=False)
    seen = {
        name: set(read_seen(folder).trained.tolist())
        for name, folder in {
            "b": place / "b",
            "c": place / "c",
            "bundle": bundle.folder,
            "carried": bundle.folder / "backbone",
            "exported": tmp_path / "export" / "merged",
            "in the cache": open_backbone(str(place / "b")).folder,
        }.items()
    }
    assert seen["bundle"] == seen["exported"] == seen["c"] >= seen["b"]
    assert seen["carried"] == seen["in the cache"] == seen["b"]


def test_a_bundle_of_a_chained_run_warns_of_tiles_that_an_ancestor_alone_was_trained_on(place, tmp_path):
    tiles = Recipe.load(place / "a" / "recipe.yaml").data
    recipe = Recipe.load(place / "b" / "recipe.yaml").replace(backbone=str(place / "a"), shots=4)
    train(recipe, tmp_path / "few", progress=False)
    shipped = build_bundle(tmp_path / "few", tmp_path / "bundle", progress=False)
    found = score_new_data(shipped.folder, data=tiles)
    assert found.seen == len(read_seen(place / "a").trained) > 12


def test_the_image_size_of_the_run_before_is_the_default(place):
    sizes = {name: Bundle.open(place / name).metadata.preprocessing.image_size for name in "abc"}
    assert len(set(sizes.values())) == 1


@pytest.mark.parametrize("name", ["c", "whole"])
def test_a_chained_run_is_scored_and_exported_like_any_other(place, name, tmp_path):
    stored = json.loads((place / name / "result.json").read_text())
    assert evaluate(place / name, "validation", progress=False).accuracy == stored["validation"]["accuracy"]
    report = export(place / name, ["merged"], out=tmp_path / "export", progress=False)
    assert report.formats["merged"].agreement == 1


def test_a_bundle_predicts_where_the_runs_before_and_the_cache_are_gone(place, bundle, tmp_path, monkeypatch):
    expected = Classifier.from_pretrained(place / "c", precision="fp32").predict_proba(TILES)
    shutil.copytree(bundle.folder, tmp_path / "bundle")
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    hidden = place.rename(place.with_name("elsewhere"))
    try:
        found = Classifier.from_pretrained(tmp_path / "bundle", precision="fp32").predict_proba(TILES)
        assert set(verify(tmp_path / "bundle")) >= {"chain", "backbone"}
    finally:
        hidden.rename(place)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_bundle_is_a_backbone_too(place, bundle, tmp_path):
    recipe = Recipe.load(place / "b" / "recipe.yaml").replace(backbone=str(bundle.folder), method="linear")
    result = train(recipe, tmp_path / "d", progress=False)
    assert [link.name for link in result.backbone.ancestors] == ["a", "b", "bundle"]


def notes_on(backbone, place, **changes):
    """The notes on seen tiles of a run on another backbone, which is not trained."""
    recipe = Recipe.load(place / "b" / "recipe.yaml").replace(backbone=str(backbone), **changes)
    return [note for note in prepare_training(recipe, progress=False).notes if "the scores are" in note]


@pytest.mark.parametrize("name", ["a", "c", "bundle"])
def test_held_out_tiles_that_an_ancestor_was_trained_on_are_counted(place, bundle, name):
    assert notes_on(place / name, place) == []
    setups = [
        prepare_training(Recipe.load(place / "a" / "recipe.yaml").replace(split_seed=seed), progress=False)
        for seed in (42, 1)
    ]
    seen = {part: set(setups[0].splits[part].tolist()) for part in ("train", "validation")}
    held_out = {split: set(setups[1].splits[split].tolist()) for split in ("validation", "test")}
    counts = {split: len(seen["train"] & rows) for split, rows in held_out.items()}
    validated = len(seen["validation"] & held_out["test"])
    assert min(validated, *counts.values()) > 1
    [note] = notes_on(place / name, place, split_seed=1)
    chain = {"a": "a", "c": "a, b, c", "bundle": "a, b, bundle"}[name]
    assert note == (
        f"{counts['validation']} of 24 validation tiles and {counts['test']} of 24 test tiles were training "
        f"tiles of the backbone's runs ({chain}), and {validated} of 24 test tiles were validation tiles of "
        f"the backbone's runs ({chain}), which choose epochs and fit thresholds: the scores are too high"
    )


def test_a_damaged_list_of_seen_tiles_is_one_line(place, tmp_path, monkeypatch):
    shutil.copytree(place / "a", tmp_path / "a")
    file = tmp_path / "a" / "training-tiles.json"
    file.write_text(file.read_text().replace("A", "B", 1))
    with pytest.raises(OrbituneError, match=r"training-tiles.json is damaged\. Restore it, or remove it"):
        notes_on(tmp_path / "a", place)
    file.unlink()
    assert notes_on(tmp_path / "a", place, split_seed=1)  # the list beside the merged weights is left
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    assert notes_on(tmp_path / "a", place, split_seed=1) == []
    assert unknown_seen(tmp_path / "a", place)


def unknown_seen(backbone, place, run=None):
    """Whether a run on another backbone notes, and records, that seen tiles are not known."""
    setup = prepare_training(
        Recipe.load(place / "c" / "recipe.yaml").replace(backbone=str(backbone)), progress=False
    )
    if run:
        run.mkdir()
        write_seen(run, setup.tiles, splits=setup.splits, backbone=setup.backbone)
        assert not (run / "training-tiles.json").exists()
    return any(
        "training tiles of the backbone's runs" in note and "not known" in note for note in setup.notes
    )


def test_another_run_in_the_folder_of_an_ancestor_says_nothing_about_it(place, bundle, tmp_path):
    assert not unknown_seen(bundle.folder / "backbone", place)
    carried = shutil.copytree(bundle.folder / "backbone", tmp_path / "carried")  # as of an earlier version
    (carried / "training-tiles.json").unlink()
    stated = read_metadata(carried)
    link = stated.merged_link.model_copy(update={"folder": str(place / "b")})
    write_metadata(carried, stated.model_copy(update={"merged_link": link}))
    assert not unknown_seen(carried, place)
    hidden = (place / "b").rename(place / "moved")
    try:
        assert unknown_seen(carried, place, tmp_path / "gone")
        shutil.copytree(place / "a", place / "b")
        assert unknown_seen(carried, place, tmp_path / "other")
    finally:
        shutil.rmtree(place / "b", ignore_errors=True)
        hidden.rename(place / "b")


def test_what_is_pushed_is_pulled_with_its_backbone(bundle, tmp_path):
    with hub() as server:
        environment = {name: text for name, text in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {"HF_ENDPOINT": server.address, "HF_TOKEN": "secret", "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HOME": str(tmp_path)}
        for words in (["push", bundle.folder, "ann/model"], ["pull", "ann/model", "--out", tmp_path / "b"]):
            words = [sys.executable, "-m", "orbitune", *map(str, words)]
            subprocess.run(words, env=environment, check=True)
    found = Bundle.open(tmp_path / "b")
    assert found.backbone().folder == (tmp_path / "b" / "backbone").resolve()
    assert found.backbone().weights_hash == bundle.metadata.backbone.weights_sha256


def test_a_bundle_of_the_hub_is_a_backbone_by_its_id(place, bundle, tmp_path, monkeypatch):
    cached = tmp_path / "hub" / "models--ann--model"
    shutil.copytree(bundle.folder, cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "a, b, ann/model" in notes_on("ann/model", place, split_seed=1)[0]
    recipe = Recipe.load(place / "b" / "recipe.yaml").replace(backbone="ann/model")
    result = train(recipe, tmp_path / "d", progress=False)
    links = result.backbone.ancestors
    assert [(link.name, link.folder) for link in links] == [("a", None), ("b", None), ("ann/model", None)]
    assert links[-1].saved_sha256 == bundle.metadata.files["adapter_model.safetensors"]
    assert evaluate(tmp_path / "d", "validation", progress=False).accuracy == result.validation.accuracy
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))  # without the merged weights
    assert Bundle.open(tmp_path / "d").backbone().weights_hash == result.backbone.weights_sha256


def test_transformers_and_peft_open_the_bundle_without_orbitune(bundle):
    from peft import PeftModel
    from transformers import AutoModelForImageClassification

    base = AutoModelForImageClassification.from_pretrained(
        bundle.folder / "backbone", num_labels=len(bundle.classes), ignore_mismatched_sizes=True
    )
    PeftModel.from_pretrained(base, bundle.folder)


def test_a_chained_lora_is_read_without_transformers_and_peft(place):
    opened = Bundle.open(place / "b")
    assert read_classifier(opened.folder, opened.backbone(), classes=len(opened.classes)) is not None


def test_a_run_whose_ancestor_was_trained_again_names_it(place, run, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(place / name, tmp_path / name)
    recipe = tmp_path / "b" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(place / "a"), str(tmp_path / "a")))
    result = json.loads((tmp_path / "b" / "result.json").read_text())
    del result["digest"]
    result["recipe"]["backbone"] = str(tmp_path / "a")
    (tmp_path / "b" / "result.json").write_text(json.dumps(result))
    assert evaluate(tmp_path / "b", "validation", progress=False)
    shutil.rmtree(tmp_path / "a")
    again = Recipe.load(run / "recipe.yaml").replace(epochs=1, seed=5)
    train(again, tmp_path / "a", progress=False)
    with pytest.raises(OrbituneError, match=r"link 1 of its chain, a \(lora\), has changed: its own weights"):
        evaluate(tmp_path / "b", "validation", progress=False)


def test_the_command_checks_the_data_first_and_refuses_a_run_that_is_not_finished(place, tmp_path):
    shutil.copytree(place / "a", tmp_path / "half")
    (tmp_path / "half" / "result.json").unlink()
    tiles = Recipe.load(place / "b" / "recipe.yaml").data
    for data, said in (("no/such/tiles", "no/such/tiles"), (tiles, "half is a run that is not finished")):
        out = tmp_path / "out"
        done = orbitune("train", "--data", data, "--backbone", tmp_path / "half", "--out", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1) and said in done.stderr
        assert not out.exists()
