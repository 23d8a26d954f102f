import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from shipped import files_with_paths

from orbitune.adapters.tools import compare, list_adapters, merge, verify
from orbitune.errors import ModelError, OrbituneError, RunError
from orbitune.inference.bundle import Bundle
from orbitune.integrity import read_checksummed_json, write_checksummed_json
from orbitune.models.lineage.seen_file import read_seen
from orbitune.recipe import Recipe


def test_runs_below_a_folder_are_listed_and_a_damaged_one_has_its_reason(runs, tmp_path):
    for name in ("run", "full"):
        shutil.copytree(runs / name, tmp_path / "below" / name)
    (tmp_path / "below" / "full" / "model" / "orbitune.json").write_text("{")
    damaged, whole = list_adapters(tmp_path)
    assert "orbitune.json" in damaged.error
    assert (whole.method, whole.classes, whole.image_size) == ("lora", 3, 32)
    assert whole.bytes > 1000
    scores = Bundle.open(tmp_path / "below" / "run").metadata.scores["test"]
    assert whole.test_score == f"accuracy {scores.accuracy:.2%}, macro-F1 {scores.macro_f1:.4f}"


def test_a_whole_run_is_verified_and_one_on_other_weights_is_not(runs, tmp_path):
    assert verify(runs / "run")["model"] == "loads, 3 classes"
    shutil.copytree(runs / "backbone", tmp_path / "backbone")
    weights = tmp_path / "backbone" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(ModelError, match="trained on other weights"):
        verify(runs / "run", str(tmp_path / "backbone"))


SPOILT = {
    "recipe.yaml": [
        ("seed: ", "seed: 1"),
        ("epochs: 3", "epochs: 4"),
        ("data: /", "data: /x"),
        ("\n", "\n#"),
    ],
    "environment.json": [("python", "pithon"), ("{", "[")],
    "log.jsonl": [("train_loss", "train_lose"), ("0.", "1."), ("{", "")],
}


@pytest.mark.parametrize(("name", "old", "new"), [(name, *pair) for name in SPOILT for pair in SPOILT[name]])
def test_a_run_with_a_changed_file_is_refused_by_the_name_of_the_file(runs, tmp_path, name, old, new):
    shutil.copytree(runs / "run", tmp_path / "run")
    file = tmp_path / "run" / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(OrbituneError, match=name):
        verify(tmp_path / "run")


@pytest.mark.parametrize("name", SPOILT)
def test_a_run_without_one_of_its_files_is_refused_by_the_name_of_the_file(runs, tmp_path, name):
    shutil.copytree(runs / "run", tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    with pytest.raises(OrbituneError, match=name):
        verify(tmp_path / "run")


def test_a_run_whose_data_was_moved_is_whole(runs, tmp_path):
    shutil.copytree(runs / "run", tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    recipe = Recipe.load(tmp_path / "run" / "recipe.yaml")
    recipe.replace(data=str(tmp_path / "elsewhere")).save(tmp_path / "run" / "recipe.yaml")
    assert verify(tmp_path / "run")["model"] == "loads, 3 classes"


def test_a_model_of_other_data_than_the_result_says_is_refused(runs, tmp_path):
    shutil.copytree(runs / "run", tmp_path / "run")
    file = tmp_path / "run" / "adapter" / "orbitune.json"
    facts = read_checksummed_json(file)
    write_checksummed_json(file, {**facts, "data": {**facts["data"], "fingerprint": "0" * 64}})
    with pytest.raises(RunError, match="trained on other data"):
        Bundle.open(tmp_path / "run")


def test_an_adapter_agrees_with_itself_wholly_and_with_another_a_little(runs):
    own, others = compare(runs / "run", runs / "run"), compare(runs / "run", runs / "other")
    assert [row.layer for row in own] == [
        f"vit.layers.{layer}.attention.{part}_proj" for layer in (0, 1) for part in "kqv"
    ]
    assert [row.cosine for row in own] == pytest.approx([1] * 6)
    assert all(abs(row.cosine) < 0.9 and row.one > 0 < row.other for row in others)


def updates(folder, scaling):
    tensors = load_file(folder / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in tensors if name.endswith("lora_A.weight")]
    return {n: scaling * tensors[f"{n}.lora_B.weight"] @ tensors[f"{n}.lora_A.weight"] for n in names}


def test_the_update_of_a_merger_is_the_weighted_mean_and_is_scored_beside_its_parents(runs, tmp_path):
    scores = merge(runs / "run", runs / "other", out=tmp_path / "merged", weight=0.75, progress=False)
    one, other = (updates(runs / name / "adapter", 2.0) for name in ("run", "other"))
    merged = updates(tmp_path / "merged", 1.0)
    for name, update in merged.items():
        assert torch.allclose(update, 0.75 * one[name] + 0.25 * other[name], atol=1e-6)
    assert [row.tiles for row in scores] == ["run", "other"]
    assert [parent.path for parent in Bundle.open(tmp_path / "merged").metadata.merged_from] == [
        "run",
        "other",
    ]
    assert files_with_paths(tmp_path / "merged") == []
    seen = [
        set(read_seen(place).trained.tolist())
        for place in (runs / "run", runs / "other", tmp_path / "merged")
    ]
    assert seen[2] == seen[0] | seen[1]
    assert all(0 <= getattr(row, name) <= 1 for row in scores for name in ("one", "other", "merged"))
    own = [Bundle.open(runs / name).metadata.scores["validation"] for name in ("run", "other")]
    measured = [(scores[0].one, scores[0].macro_f1[0]), (scores[1].other, scores[1].macro_f1[1])]
    assert measured == [pytest.approx((each.accuracy, each.macro_f1), abs=1e-9) for each in own]
    model = Bundle.open(tmp_path / "merged").model(Bundle.open(runs / "run").backbone())
    with torch.inference_mode():
        assert np.isfinite(model(pixel_values=torch.zeros(1, 3, 32, 32)).logits.numpy()).all()


def test_other_adapters_than_low_rank_are_not_merged(runs, tmp_path):
    with pytest.raises(ModelError, match="cannot be read as an adapter"):
        merge(runs / "run", runs / "full", out=tmp_path / "merged", progress=False)
    assert not (tmp_path / "merged").exists()
