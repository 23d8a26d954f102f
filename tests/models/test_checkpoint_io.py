import json
import shutil

import pytest
import torch
from samples import backbone_folder, saved_model

from orbitune.errors import ModelError, RunError
from orbitune.models.backbones import find_backbone
from orbitune.models.checkpoint_io import load_saved, verify_saved
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")
PIXELS = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def saved(tmp_path, method):
    backbone = find_backbone(str(backbone_folder(tmp_path / "backbone")))
    model = saved_model(tmp_path / "saved", backbone, Recipe(method=method), CLASSES)
    with torch.inference_mode():
        logits = model(pixel_values=PIXELS, **backbone.family.forward).logits
    return backbone, logits


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_reload")
def test_what_is_saved_gives_the_same_logits_in_a_fresh_process(tmp_path):
    backbone, logits = saved(tmp_path, "lora")
    assert verify_saved(tmp_path / "saved", backbone, pixels=PIXELS, logits=logits) < 1e-5


@pytest.mark.parametrize("method", ["full", "linear", "lora"])
def test_what_is_saved_gives_the_same_logits(tmp_path, method):
    backbone, logits = saved(tmp_path, method)
    model = load_saved(tmp_path / "saved", backbone)
    with torch.inference_mode():
        again = model(pixel_values=PIXELS, **backbone.family.forward).logits
    assert (again - logits).abs().max() < 1e-5


def test_plain_peft_opens_an_adapter(tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForImageClassification

    backbone, logits = saved(tmp_path, "lora")
    base = AutoModelForImageClassification.from_pretrained(
        backbone.folder, num_labels=3, ignore_mismatched_sizes=True
    )
    model = PeftModel.from_pretrained(base, tmp_path / "saved").eval()
    with torch.inference_mode():
        again = model(pixel_values=PIXELS, **backbone.family.forward).logits
    assert torch.allclose(again, logits, atol=1e-5)
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(backbone.folder)


def test_an_image_processor_of_transformers_reads_what_tiles_went_through(tmp_path):
    saved(tmp_path, "full")
    stated = json.loads((tmp_path / "saved" / "preprocessor_config.json").read_text())
    assert stated["image_mean"] == [0.4, 0.5, 0.6]
    assert stated["size"] == {"height": 32, "width": 32}


def test_only_safetensors_and_json_are_written(tmp_path):
    saved(tmp_path, "lora")
    assert {p.suffix for p in (tmp_path / "saved").iterdir()} == {".safetensors", ".json"}


def test_other_outputs_after_reloading_are_an_error(tmp_path):
    backbone, logits = saved(tmp_path, "lora")
    with pytest.raises(RunError, match="gives other outputs"):
        verify_saved(tmp_path / "saved", backbone, pixels=PIXELS, logits=logits + 0.01)


def test_a_truncated_adapter_does_not_pass(tmp_path):
    backbone, logits = saved(tmp_path, "lora")
    file = tmp_path / "saved" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(RunError, match="does not load again"):
        verify_saved(tmp_path / "saved", backbone, pixels=PIXELS, logits=logits)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_saved(tmp_path / "saved", backbone)


def test_other_base_weights_are_an_error_and_not_a_bad_prediction(tmp_path):
    backbone, _ = saved(tmp_path, "lora")
    shutil.rmtree(tmp_path / "backbone")
    torch.manual_seed(1)
    backbone_folder(tmp_path / "backbone", layers=3)
    with pytest.raises(ModelError, match="other weights"):
        load_saved(tmp_path / "saved", find_backbone(backbone.name))
