"""Checkpoints that timm computes: what is read of them, which sizes and layers they have, what is refused."""

import json
import sys
import types
from dataclasses import replace

import pytest
import torch
from commands import orbitune
from samples import model_metadata, tile_folder
from timm_models import import_timm, timm_folder

from orbitune.errors import ModelError
from orbitune.extras import MissingExtraError
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import save_model
from orbitune.models.factory import build, describe_methods, resolve
from orbitune.models.families.family import resolve_targets
from orbitune.models.families.table import FAMILIES
from orbitune.models.families.timm import installed
from orbitune.models.families.timm.architecture import describe
from orbitune.models.files.head_tensors import read_head
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe
from orbitune.recipe_settings import ATTENTION

CLASSES = ("a", "b", "c")
SIGLIP, BEIT = "vit_base_patch16_siglip_224", "beit_base_patch16_224"


def stated(folder, **changes):
    """Change the config.json of a checkpoint."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


@pytest.mark.parametrize("architecture", [SIGLIP, "swin_tiny_patch4_window7_224", "test_resnet"])
def test_features_are_those_of_timm(tmp_path, architecture):
    timm = import_timm()
    from safetensors.torch import load_file

    folder = timm_folder(tmp_path / "b", architecture)
    backbone = find_backbone(str(folder))
    config = json.loads((folder / "config.json").read_text())
    own = timm.create_model(architecture, num_classes=5, **config["model_args"]).eval()
    own.load_state_dict(load_file(folder / "model.safetensors"))
    own.reset_classifier(0)
    pixels = torch.randn(2, 3, backbone.image_size, backbone.image_size)
    read = []
    model = load_weights(backbone, CLASSES, seed=0).eval()
    [head] = backbone.family.heads
    model.get_submodule(head).register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.inference_mode():
        model(pixel_values=pixels)
        torch.testing.assert_close(read[0], own(pixels))


def test_size_normalisation_resampling_and_licence_are_timms(tmp_path):
    folder = timm_folder(tmp_path / "b", SIGLIP)
    backbone = find_backbone(str(folder))
    assert (backbone.image_size, backbone.step, backbone.smallest, backbone.width) == (32, 8, 8, 64)
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.preprocessing.resample == "bicubic"
    assert (backbone.record.licence, backbone.reference) == ("apache-2.0", str(folder))
    assert find_backbone(str(folder)).folder == backbone.folder


def test_weights_are_linked_and_hashed_where_they_are(tmp_path):
    folder = timm_folder(tmp_path / "b", SIGLIP)
    first = find_backbone(str(folder))
    before = first.weights_hash
    assert (first.folder / "model.safetensors").is_symlink()
    timm_folder(tmp_path / "other", SIGLIP, depth=1)
    (tmp_path / "other" / "model.safetensors").replace(folder / "model.safetensors")
    assert find_backbone(str(folder)).weights_hash != before


def test_a_checkpoint_that_transformers_saved_is_read_too(tmp_path):
    import_timm()
    from transformers import AutoModelForImageClassification

    folder = timm_folder(tmp_path / "b", SIGLIP)
    saved = AutoModelForImageClassification.from_pretrained(folder)
    saved.save_pretrained(tmp_path / "saved")
    pixels = torch.randn(2, 3, 32, 32)
    logits = []
    for each in (folder, tmp_path / "saved"):
        backbone = find_backbone(str(each))
        assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
        with torch.inference_mode():
            logits.append(load_weights(backbone, CLASSES, seed=0).eval()(pixel_values=pixels).logits)
    assert torch.equal(*logits)


def test_plain_transformers_opens_a_folder_with_all_weights(tmp_path):
    import_timm()
    from transformers import AutoModelForImageClassification, ViTImageProcessor

    backbone = find_backbone(str(timm_folder(tmp_path / "b", SIGLIP)))
    model = build(Recipe(method="full"), backbone, classes=CLASSES).eval()
    save_model(model, tmp_path / "saved", backbone=backbone, metadata=model_metadata(backbone, CLASSES))
    again = AutoModelForImageClassification.from_pretrained(tmp_path / "saved").eval()
    assert again.config.id2label == dict(enumerate(CLASSES))
    pixels = torch.randn(2, 3, 48, 48)  # of another size than the checkpoint's
    with torch.inference_mode():
        assert torch.equal(again(pixels).logits, model(pixel_values=pixels).logits)
    processor = ViTImageProcessor.from_pretrained(tmp_path / "saved")
    assert list(processor.image_mean) == [0.1, 0.2, 0.3]


def test_frozen_batch_normalisations_keep_their_statistics(tmp_path):
    backbone = find_backbone(str(timm_folder(tmp_path / "b", "test_resnet")))
    for method, changed in (("lora", False), ("bitfit", False), ("full", True)):
        model = build(Recipe(method=method), backbone, classes=CLASSES).train()
        before = {name: b.clone() for name, b in model.named_buffers() if "running_mean" in name}
        model(pixel_values=torch.randn(2, 3, 64, 64))
        after = dict(model.named_buffers())
        assert any(not torch.equal(after[name], before[name]) for name in before) == changed, method


def test_a_folder_with_all_weights_is_a_backbone_again(tmp_path):
    backbone = find_backbone(str(timm_folder(tmp_path / "b", "test_resnet")))  # 96 features, not of 12 heads
    model = build(Recipe(method="full"), backbone, classes=CLASSES).eval()
    metadata = model_metadata(backbone, CLASSES)
    save_model(model, tmp_path / "saved", backbone=backbone, metadata=metadata)
    again = find_backbone(str(tmp_path / "saved"))
    kept = load_weights(again, CLASSES, seed=1, keep_head=True).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(kept(pixel_values=pixels).logits, model(pixel_values=pixels).logits)
    assert again.config.id2label == dict(enumerate(CLASSES))
    weight, bias = read_head(tmp_path / "saved", again.family)
    assert (weight.shape, bias.shape) == ((3, 96), (3,))


def test_the_methods_of_a_convolutional_network_leave_out_those_of_linear_layers(tmp_path):
    folder = timm_folder(tmp_path / "b", "test_resnet")
    described = {each.name for each in describe_methods(str(folder), 3)}
    assert METHODS.keys() - described == {"pissa", "vera", "randlora", "fourierft", "oft"}


# Which layers are adapted


def adapted(model):
    """Return the names of the layers that an adapter changes, without numbers."""
    names = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    return {".".join(part for part in name.split(".")[3:] if not part.isdigit()) for name in names}


@pytest.mark.parametrize(
    ("architecture", "targets", "layers"),
    [
        (SIGLIP, {}, {"blocks.attn.qkv"}),
        (SIGLIP, {"targets": ("o", "fc1")}, {"blocks.attn.proj", "blocks.mlp.fc1"}),
        # Its attention reads the weight of qkv, and does not call it: PEFT would change nothing.
        (BEIT, {}, {"blocks.attn.proj", "blocks.mlp.fc1", "blocks.mlp.fc2"}),
        ("test_convnext", {}, {"stages.blocks.mlp.fc1", "stages.blocks.mlp.fc2"}),
        (
            "test_resnet",
            {"targets": ("conv2",)},
            {"layer1.conv2", "layer2.conv2", "layer3.conv2", "layer4.conv2"},
        ),
    ],
)
def test_attention_is_adapted_or_where_there_is_none_all_layers(tmp_path, architecture, targets, layers):
    backbone = find_backbone(str(timm_folder(tmp_path / "b", architecture)))
    assert adapted(build(Recipe(lora=targets), backbone, classes=CLASSES)) == layers


def test_without_any_layer_to_adapt_one_line_names_other_methods():
    family = replace(FAMILIES["timm_wrapper"], roles={})
    with pytest.raises(ModelError, match=r"no plain convolution to adapt outside its head, .* norm or full"):
        resolve_targets(torch.nn.Sequential(), family, targets=ATTENTION)


def test_an_unknown_layer_names_those_that_there_are(tmp_path):
    backbone = find_backbone(str(timm_folder(tmp_path / "b", BEIT)))
    with pytest.raises(ModelError, match=r"no layer 'q' to adapt. Choose from: o \(attn.proj\), fc1"):
        build(Recipe(lora={"targets": ("q",)}), backbone, classes=CLASSES)


# Image sizes


@pytest.mark.parametrize(
    ("architecture", "size", "message"),
    [
        (BEIT, 64, "which reads 32 pixels alone; use 32"),
        (SIGLIP, 36, "patches are 8 pixels wide; use 32 or 40"),
        ("test_resnet", 32, "32 pixels wide and whose smallest size is 64; use 64"),
        ("maxvit_rmlp_nano_rw_256", 96, "64 pixels wide; use 64 or 128"),
    ],
)
def test_other_image_sizes_are_refused_by_name_of_those_that_fit(tmp_path, architecture, size, message):
    backbone = find_backbone(str(timm_folder(tmp_path / "b", architecture)))
    with pytest.raises(ModelError, match=message):
        resolve(Recipe(image_size=size), backbone)


# What is refused


def test_without_timm_one_line_says_what_to_install(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "config.json").write_text(json.dumps({"architecture": "resnet50"}))
    tiles = tile_folder(tmp_path / "tiles", each=3)
    if installed.is_installed("timm"):
        pytest.skip("timm is installed")
    done = orbitune("train", "--data", tiles, "--backbone", tmp_path / "b", "--out", tmp_path / "run")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "architecture 'resnet50', which timm computes: it is no plain ViT" in done.stderr
    assert "Install timm and torchvision: pip install 'timm>=1.0.23' 'torchvision==0." in done.stderr


@pytest.mark.parametrize(
    ("torch_version", "command"),
    [
        ("2.13.0+cpu", "'torchvision==0.28.*' --extra-index-url https://download.pytorch.org/whl/cpu"),
        ("2.11.0+cu130", "'torchvision==0.26.*' --extra-index-url https://download.pytorch.org/whl/cu130"),
        ("2.9.1", "'torchvision==0.24.*'"),
    ],
)
def test_the_torchvision_is_that_of_the_installed_torch(monkeypatch, torch_version, command):
    monkeypatch.setattr(installed, "version", lambda name: torch_version)
    assert installed.install_timm() == f"pip install 'timm>=1.0.23' {command}"


def test_an_old_timm_is_named(monkeypatch):
    monkeypatch.setattr(installed, "is_installed", lambda name: True)
    monkeypatch.setattr(installed, "version", lambda name: "1.0.9" if name == "timm" else "2.13.0")
    with pytest.raises(MissingExtraError, match=r"timm 1\.0\.9 is too old: pip install"):
        installed.require_timm("b.")


def test_a_torchvision_of_another_torch_is_one_line(monkeypatch):
    monkeypatch.setattr(installed, "require_timm", lambda whose: None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match=r"timm cannot be imported \(import of timm halted.*\): pip install"):
        installed.import_timm()


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("hf-hub:someone/model", {}, "is not known to the installed timm"),
        ("resnet5000", {}, "is not known to the installed timm"),
        ("resnet18", {"checkpoint_path": "evil.pth"}, "set checkpoint_path, which is not supported"),
        ("resnet18", {"pretrained_cfg": {"file": "evil.pth"}}, "set pretrained_cfg, which is not supported"),
        ("resnet18", {"features_only": True}, "set features_only, which is not supported"),
        ("vit_tiny_patch16_224", {"depth": 10**9}, "set depth to 1000000000"),
        ("resnet18", {"nonsense": 3}, "cannot be built: .*nonsense"),
        ("resnetv2_50x1_bit", {}, r"its head is no linear layer \(Conv2d\)"),
        ("volo_d1_224", {}, "its head reads more than one vector an image"),
    ],
)
def test_what_cannot_be_computed_or_trusted_is_one_line(architecture, arguments, message):
    import_timm()
    config = types.SimpleNamespace(architecture=architecture, model_args=arguments, pretrained_cfg=None)
    with pytest.raises(ModelError, match=message) as caught:
        describe(config)
    assert "\n" not in str(caught.value)


def test_images_resized_in_another_way_are_refused(tmp_path):
    folder = timm_folder(tmp_path / "b", "test_resnet")
    with pytest.raises(ModelError, match="are resized by lanczos, which is not supported"):
        find_backbone(str(stated(folder, pretrained_cfg={"interpolation": "lanczos"})))
