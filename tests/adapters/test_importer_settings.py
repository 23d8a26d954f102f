"""Every LoRA folder that plain PEFT opens is imported, and predicts as PEFT does."""

import json

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from samples import backbone_folder
from transformers import AutoModelForImageClassification

from orbitune.adapters.batched_lora import read_low_rank
from orbitune.adapters.importer import import_adapter
from orbitune.errors import ModelError
from orbitune.inference.bundle_model import BundleModel
from orbitune.models.backbones import find_backbone

LABELS = ("a", "b", "c")
TILES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
HEAD = {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["classifier"]}

SETTINGS = {
    "bias all": {"bias": "all"},
    "bias lora_only": {"bias": "lora_only"},
    "rslora": {"use_rslora": True},
    "dora with biases": {"use_dora": True, "bias": "all"},
    "patterns": {"rank_pattern": {r"layers.0.attention.q_proj": 4}, "alpha_pattern": {"v_proj": 32}},
    "one layer": {"layers_to_transform": [1], "layers_pattern": ["layer", "layers"]},
    "regex": {"target_modules": r".*attention\.(q|v)_proj"},
    "all-linear": {"target_modules": "all-linear"},
    "excluded": {"target_modules": ["q_proj", "fc1", "fc2"], "exclude_modules": ["fc2"]},
    "norms saved": {"modules_to_save": ["classifier", "layernorm", "layernorm_before"], "bias": "all"},
    "mlp saved": {"modules_to_save": ["classifier", "mlp"]},
    "lora_bias": {"lora_bias": True},
    "patches": {"target_modules": ["q_proj", "projection"]},
    "patches with dora": {"target_modules": ["q_proj", "projection"], "use_dora": True},
    "head adapted and saved": {"target_modules": ["q_proj", "classifier"]},
    "parameters": {"target_modules": [], "target_parameters": ["q_proj.weight"]},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "eva": {"init_lora_weights": "eva"},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "tied": {"ensure_weight_tying": True},
    "task": {"task_type": "SEQ_CLS", "modules_to_save": None},
}


def base(folder, labels=3):
    torch.manual_seed(3)
    return AutoModelForImageClassification.from_pretrained(
        folder, num_labels=labels, ignore_mismatched_sizes=True
    )


def trained(folder, out, labels=3, **settings):
    """Save an adapter as if it had been trained over a backbone."""
    model = get_peft_model(base(folder, labels), LoraConfig(r=2, **{**HEAD, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(out)
    return out


def plain_logits(folder, adapter, labels=3):
    """Return the logits of TILES by plain PEFT."""
    model = PeftModel.from_pretrained(base(folder, labels), adapter).eval()
    stated = find_backbone(str(folder)).preprocessing
    pixels = ((torch.from_numpy(TILES) / 255 - torch.tensor(stated.mean)) / torch.tensor(stated.std)).float()
    with torch.inference_mode():
        return model(pixel_values=pixels.permute(0, 3, 1, 2)).logits.numpy()


def logits(adapter, folder, out, labels=LABELS):
    return BundleModel(
        import_adapter(adapter, str(folder), labels=labels, out=out), precision="fp32"
    ).compute(TILES)[0]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return backbone_folder(tmp_path_factory.mktemp("vit") / "backbone")


@pytest.mark.parametrize("name", SETTINGS)
def test_an_adapter_of_any_settings_predicts_as_plain_peft_does(vit, tmp_path, name):
    adapter = trained(vit, tmp_path / "adapter", **SETTINGS[name])
    expected = plain_logits(vit, adapter)
    assert np.allclose(logits(adapter, vit, tmp_path / "bundle"), expected, atol=1e-4)


@pytest.mark.parametrize("model_type", ["deit", "dinov2", "dinov2_with_registers"])
@pytest.mark.parametrize("name", ["bias all", "patches", "norms saved"])
def test_the_other_families_do_as_well(tmp_path, model_type, name):
    folder = backbone_folder(tmp_path / "backbone", model_type)
    settings = {"bias all": {"bias": "all"}, "patches": SETTINGS["patches"]}.get(
        name, {"modules_to_save": ["classifier", "norm1", "layernorm"], "bias": "all"}
    )
    adapter = trained(folder, tmp_path / "adapter", **settings)
    expected = plain_logits(folder, adapter)
    assert np.allclose(logits(adapter, folder, tmp_path / "bundle"), expected, atol=1e-4)


def test_parameters_that_are_adapted_outside_of_linear_layers_are_computed_by_the_model_itself(tmp_path):
    folder = backbone_folder(tmp_path / "backbone", "dinov2")
    adapter = trained(folder, tmp_path / "adapter", target_parameters=["embeddings.position_embeddings"])
    made = import_adapter(adapter, str(folder), labels=LABELS, out=tmp_path / "bundle")
    network = BundleModel(made, precision="fp32")
    assert not network.plan.fast
    assert np.allclose(network.compute(TILES)[0], plain_logits(folder, adapter), atol=1e-4)


def test_a_head_of_the_backbones_own_is_used_where_the_adapter_saved_none(vit, tmp_path):
    adapter = trained(
        vit, tmp_path / "adapter", 7, target_modules=["q_proj", "classifier"], modules_to_save=None
    )
    names = tuple("abcdefg")
    expected = plain_logits(vit, adapter, 7)
    assert np.allclose(logits(adapter, vit, tmp_path / "bundle", names), expected, atol=1e-4)
    with pytest.raises(ModelError, match="holds no classification head"):
        import_adapter(adapter, str(vit), labels=LABELS, out=tmp_path / "other")


OF_4 = {"vit.layers.": "vit.encoder.layer.", "q_proj": "attention.query", "v_proj": "attention.value"}


@pytest.mark.parametrize("name", ["bias all", "patterns", "pissa"])
def test_settings_are_carried_over_from_the_names_of_transformers_4(vit, tmp_path, name):
    adapter = trained(vit, tmp_path / "adapter", **SETTINGS[name])
    expected = plain_logits(vit, adapter)
    file, config = adapter / "adapter_model.safetensors", adapter / "adapter_config.json"
    tensors, text = load_file(file), config.read_text()
    for ours, theirs in OF_4.items():
        tensors = {key.replace(ours, theirs): tensor for key, tensor in tensors.items()}
        text = text.replace(ours.removeprefix("vit."), theirs.removeprefix("vit."))
    save_file(tensors, file)
    config.write_text(text.replace("q_proj", "query").replace("v_proj", "value"))
    assert np.allclose(logits(adapter, vit, tmp_path / "bundle"), expected, atol=1e-4)


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_changed_the_frozen_weights_is_not_a_plain_update(vit, tmp_path, start):
    adapter = trained(vit, tmp_path / "adapter", init_lora_weights=start)
    with pytest.raises(ModelError, match=f"initialised by {start}"):
        read_low_rank(adapter)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"r": 10**9}, "states rank 1000000000"),
        ({"r": -1}, "r: Input should be"),
        ({"r": "8"}, "r: Input should be a valid integer"),
        ({"lora_alpha": None}, "lora_alpha.int: Input"),
        ({"peft_type": "XLORA"}, "peft_type: Input should be"),
        ({"peft_type": "IA3"}, "only LORA can be imported"),
        ({"init_lora_weights": "pissa_niter_1000000000"}, "was initialised by 'pissa_niter_1000000000'"),
        ({"init_lora_weights": "corda"}, "was initialised by 'corda'"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
        ({"target_modules": "(("}, "is not a regex"),
        ({"target_modules": ["nothing"]}, "cannot be loaded"),
        ({"rank_pattern": []}, "rank_pattern: Input"),
        ({"auto_mapping": "x"}, "auto_mapping: Input"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_one_line(vit, tmp_path, setting, message):
    adapter = trained(vit, tmp_path / "adapter")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **setting}))
    with pytest.raises(ModelError) as error:
        import_adapter(adapter, str(vit), labels=LABELS, out=tmp_path / "bundle")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "bundle").exists()


def add(tensors):
    tensors["base_model.model.vit.layernorm.bias"] = torch.zeros(32)


def turn(tensors):
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = tensors[name].T.contiguous()


def whole_numbers(tensors):
    name = next(name for name in tensors if "lora_A" in name)
    tensors[name] = tensors[name].long()


def not_a_number(tensors):
    tensors["base_model.model.classifier.bias"][1] = torch.nan


def infinite(tensors):
    tensors["base_model.model.classifier.weight"][0, 0] = torch.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (not_a_number, "not finite"),
        (infinite, "not finite"),
        (whole_numbers, "holds whole numbers"),
        (turn, "cannot be loaded"),
        (add, "have no place in the model"),
    ],
)
def test_tensors_that_cannot_be_meant_are_one_line(vit, tmp_path, change, message):
    adapter = trained(vit, tmp_path / "adapter")
    tensors = load_file(adapter / "adapter_model.safetensors")
    change(tensors)
    save_file(tensors, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError) as error:
        import_adapter(adapter, str(vit), labels=LABELS, out=tmp_path / "bundle")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_folder_below_that_holds_the_adapter_is_named(vit, tmp_path):
    trained(vit, tmp_path / "saved" / "mine")
    with pytest.raises(ModelError, match=r"there is one in .*saved/mine, pass that"):
        import_adapter(tmp_path / "saved", str(vit), labels=LABELS, out=tmp_path / "bundle")
