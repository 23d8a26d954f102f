import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from samples import backbone_folder
from shipped import files_with_paths

from orbitune.adapters.importer import import_adapter
from orbitune.errors import ModelError
from orbitune.inference.bundle_model import BundleModel
from orbitune.models.backbones import find_backbone, load_weights

LABELS = ("a", "b", "c")
TILES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
OF_4 = {
    "vit.layers.": "vit.encoder.layer.",
    "q_proj": "attention.query",
    "v_proj": "attention.value",
}


@pytest.fixture
def adapter(tmp_path):
    """Return a backbone, an adapter folder written by PEFT, and its logits of TILES."""
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone")))
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"])
    model = get_peft_model(load_weights(backbone, LABELS, seed=0), config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "adapter")
    stated = backbone.preprocessing
    mean, std = torch.tensor(stated.mean), torch.tensor(stated.std)
    pixels = ((torch.from_numpy(TILES) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return backbone, tmp_path / "adapter", model(pixel_values=pixels).logits.numpy()


def rename(folder, table, targets):
    tensors = load_file(folder / "adapter_model.safetensors")
    for ours, theirs in table.items():
        tensors = {name.replace(ours, theirs): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": targets}))


@pytest.mark.parametrize("table", [{}, OF_4], ids=["transformers 5", "transformers 4"])
def test_an_adapter_of_either_transformers_predicts_as_it_did(adapter, tmp_path, table):
    backbone, folder, logits = adapter
    if table:
        rename(folder, table, ["query", "value"])
    bundle = import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle")
    ours, _ = BundleModel(bundle, precision="fp32").compute(TILES)
    assert np.allclose(ours, logits, atol=1e-4)
    assert bundle.classes == LABELS and bundle.temperature == 1 and bundle.ood_detector is None
    assert files_with_paths(bundle.folder) == []


def test_an_adapter_without_a_head_is_refused(adapter, tmp_path):
    backbone, folder, _ = adapter
    file = folder / "adapter_model.safetensors"
    save_file({name: t for name, t in load_file(file).items() if "classifier" not in name}, file)
    with pytest.raises(ModelError, match="holds no classification head"):
        import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle")


def test_there_is_a_label_for_each_class(adapter, tmp_path):
    backbone, folder, _ = adapter
    with pytest.raises(ModelError, match="has 3 classes; --labels has 2"):
        import_adapter(folder, backbone.name, labels=LABELS[:2], out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_pickle_is_refused(adapter, tmp_path):
    backbone, folder, _ = adapter
    (folder / "adapter_model.safetensors").unlink()
    (folder / "adapter_model.bin").touch()
    with pytest.raises(ModelError, match="holds a pickle"):
        import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (("a", "b", "a"), "two classes are named 'a'"),
        (("a", "b", " a"), "two classes are named 'a'"),
        (("a", "", "c"), "class 2 has no name"),
        (("a", "b", "\t"), "class 3 has no name"),
        (("a", "b\nc", "d"), "control character"),
        ((), "there are no classes"),
    ],
)
def test_ambiguous_class_names_are_refused(adapter, tmp_path, labels, message):
    backbone, folder, _ = adapter
    with pytest.raises(ModelError, match=f"Invalid class names .*: .*{message}"):
        import_adapter(folder, backbone.name, labels=labels, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def name_base(folder, name):
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": name}))


def test_an_adapter_that_names_another_base_is_one_line(adapter, tmp_path, caplog):
    backbone, folder, _ = adapter
    name_base(folder, "google/vit-large-patch16-224")
    said = []
    bundle = import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle", log=said.append)
    [line] = said
    assert "trained on google/vit-large-patch16-224, not on " in line and "\n" not in line
    assert bundle.metadata.imported == {"base_model": "google/vit-large-patch16-224"}
    import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "again")
    assert "trained on google/vit-large" in caplog.text


@pytest.mark.parametrize(
    "name", [None, "", "somebody/backbone", "C:\\models\\Backbone", "/elsewhere/backbone/"]
)
def test_the_same_base_at_another_place_needs_no_word(adapter, tmp_path, name):
    backbone, folder, _ = adapter
    name_base(folder, name)
    said = []
    import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle", log=said.append)
    assert said == []


def test_an_adapter_that_keeps_its_bases_hash_is_not_put_on_another(adapter, tmp_path):
    backbone, folder, _ = adapter
    facts = {"backbone": {"weights_sha256": "0" * 64}}
    (folder / "orbitune.json").write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="with other weights than"):
        import_adapter(folder, backbone.name, labels=LABELS, out=tmp_path / "bundle")
