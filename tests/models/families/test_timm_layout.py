"""Checkpoints in timm's layout give the outputs of the same weights in the layout of transformers."""

import dataclasses
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import backbone_folder

from orbitune.errors import ModelError
from orbitune.extras import MissingExtraError
from orbitune.models.backbones import find_backbone, load_weights

CLASSES = ("a", "b", "c")
PRETRAINED = {
    "input_size": [3, 48, 48],
    "interpolation": "bicubic",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.5, 0.5],
    "crop_pct": 0.9,
    "num_classes": 1000,
    "first_conv": "patch_embed.proj",
    "classifier": "head",
}
ARCHITECTURES = {
    "vit": "vit_tiny_patch16_224",
    "dinov2": "vit_small_patch14_dinov2",
    "dinov2_with_registers": "vit_small_patch14_reg4_dinov2",
}


def in_timm_layout(folder, place, architecture, **more):
    """Write a checkpoint of transformers in timm's layout, with the names of timm's VisionTransformer."""
    backbone = find_backbone(str(folder))
    family, config = backbone.family, backbone.config
    body = f"{family.body}."
    tensors = {}
    # of the model, whose names do not depend on how transformers saves them
    model = load_weights(backbone, CLASSES, seed=0)
    old = {name.removeprefix(body): t for name, t in model.state_dict().items() if name.startswith(body)}
    tensors["cls_token"] = old["embeddings.cls_token"]
    tensors["pos_embed"] = old["embeddings.position_embeddings"]
    if "embeddings.register_tokens" in old:  # timm adds the position of the class token to it
        tensors["reg_token"] = old["embeddings.register_tokens"]
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    for kind in ("weight", "bias"):
        tensors[f"patch_embed.proj.{kind}"] = old[f"{family.projection}.{kind}"]
        tensors[f"norm.{kind}"] = old[f"layernorm.{kind}"]
        tensors[f"head.{kind}"] = torch.randn((9, 32) if kind == "weight" else 9)
    for number in range(config.num_hidden_layers):
        layer, block = f"{family.layers}.{number}.", f"blocks.{number}."
        for kind in ("weight", "bias"):
            qkv = [old[f"{layer}attention.{role}_proj.{kind}"] for role in "qkv"]
            tensors[f"{block}attn.qkv.{kind}"] = torch.cat(qkv)
            tensors[f"{block}attn.proj.{kind}"] = old[f"{layer}attention.o_proj.{kind}"]
            for new, name in zip(("norm1", "norm2"), family.norms, strict=True):
                tensors[f"{block}{new}.{kind}"] = old[f"{layer}{name}.{kind}"]
            for name in ("fc1", "fc2"):
                tensors[f"{block}mlp.{name}.{kind}"] = old[f"{layer}mlp.{name}.{kind}"]
        for name in ("1", "2") if family.model_type != "vit" else ():
            tensors[f"{block}ls{name}.gamma"] = old[f"{layer}layer_scale{name}.lambda1"]
    place.mkdir()
    save_file({name: t.contiguous() for name, t in tensors.items()}, place / "model.safetensors")
    stated = {
        "architecture": architecture,
        "num_classes": 9,
        "num_features": 32,
        "global_pool": "token",
        "pretrained_cfg": PRETRAINED,
        "model_args": {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32, **more},
    }
    (place / "config.json").write_text(json.dumps(stated))
    (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    return place


@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_outputs_are_those_of_the_same_weights_in_transformers(tmp_path, model_type):
    folder = backbone_folder(tmp_path / "hf", model_type)
    stated = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(stated | {"layer_norm_eps": 1e-6}))
    timm = in_timm_layout(folder, tmp_path / "timm", ARCHITECTURES[model_type])
    backbone = find_backbone(str(timm))
    assert backbone.family.model_type == model_type
    pixels = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    logits = []
    for each in (backbone, find_backbone(str(folder))):
        model = load_weights(each, CLASSES, seed=0).eval()
        with torch.inference_mode():
            model.classifier.weight.copy_(torch.ones_like(model.classifier.weight))
            model.classifier.weight[0] = torch.linspace(-1, 1, model.classifier.in_features)
            logits.append(model(pixel_values=pixels, **each.family.forward).logits)
    torch.testing.assert_close(*logits, atol=1e-6, rtol=1e-6)


def test_size_normalisation_resampling_and_licence_are_timms(tmp_path):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "deit_tiny_patch16_224")
    backbone = find_backbone(str(timm))
    assert (backbone.image_size, backbone.step, backbone.width) == (48, 8, 32)
    assert backbone.preprocessing.mean == (0.1, 0.2, 0.3)
    assert backbone.preprocessing.stated_by == "the pretrained_cfg of the checkpoint's config.json"
    assert backbone.preprocessing.resample == "bicubic"
    assert (backbone.record.licence, backbone.reference) == ("apache-2.0", str(timm))


def test_the_conversion_is_kept_and_gives_the_same_bytes(tmp_path, monkeypatch):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "vit_tiny_patch16_224")
    first = find_backbone(str(timm))
    assert find_backbone(str(timm)).folder == first.folder
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "other"))
    again = find_backbone(str(timm))
    assert again.folder != first.folder and again.weights_hash == first.weights_hash
    (again.folder / "model.safetensors").write_bytes(b"damaged")
    assert find_backbone(str(timm)).weights_hash == first.weights_hash


def test_a_run_of_an_earlier_version_knows_its_backbone_again(tmp_path):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "vit_tiny_patch16_224")
    backbone = find_backbone(str(timm))
    was = backbone.preprocessing.model_copy(
        update={"stated_by": "the checkpoint's preprocessor_config.json"}
    )  # which such runs named, and have in the hash of their inputs
    assert backbone.settings_hash == dataclasses.replace(backbone, preprocessing=was).settings_hash


def test_normalisation_that_a_checkpoint_does_not_state_is_named_as_timms_default(tmp_path):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "vit_tiny_patch16_224")
    stated = json.loads((timm / "config.json").read_text())
    stated["pretrained_cfg"].pop("std")
    (timm / "config.json").write_text(json.dumps(stated))
    used = find_backbone(str(timm)).preprocessing
    assert used.std == (0.229, 0.224, 0.225)
    assert used.stated_by == "timm's defaults (the pretrained_cfg of the checkpoint's config.json has no std)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architecture": "vit_tny_patch16_224"},
            "'vit_tny_patch16_224', which timm computes: it is no plain",
        ),
        (
            {"model_args": {"embed_dim": 32, "num_heads": 2, "patch_size": 8}},
            "its tensors have images of 32, and one of this name 224",
        ),
        (
            {"model_args": {"num_heads": 2, "patch_size": 8, "img_size": 32}},
            "its tensors have a width of 32, and one of this name 192",
        ),
        ({"architecture": "convnext_tiny"}, "timm's architecture 'convnext_tiny'.* it is no plain ViT"),
        ({"model_args": {"act_layer": "gelu_tanh"}}, "its model_args set act_layer"),
        ({"model_args": {}}, "its number of heads is not known at a width of 32"),
        ({"pretrained_cfg": {"interpolation": "lanczos"}}, "its images are resized by lanczos"),
        ({"pretrained_cfg": {"mean": 3}}, r"cannot be read: pretrained_cfg\.mean"),
    ],
)
def test_other_architectures_and_settings_are_one_line(tmp_path, without_timm, change, message):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "vit_tiny_patch16_224")
    stated = json.loads((timm / "config.json").read_text())
    (timm / "config.json").write_text(json.dumps(stated | change))
    with pytest.raises((ModelError, MissingExtraError), match=message) as caught:
        find_backbone(str(timm))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.weight": None}, "it has no norm.weight; without timm, plain ViTs are read"),
        ({"dist_token": (1, 1, 32)}, "dist_token has no place in one"),
        ({"norm_pre.weight": (32,)}, "norm_pre.weight has no place in one"),
        ({"blocks.0.attn.q_norm.weight": (16,)}, "q_norm.weight has no place in one"),
        ({"reg_token": (1, 4, 32)}, "it has registers"),
        ({"blocks.0.ls1.gamma": (32,)}, "DINOv2, and no other of them, has layer scales"),
        ({"pos_embed": (1, 21, 32)}, "its 21 positions are no square grid"),
        ({"blocks.0.mlp.fc1.weight": (128, 32)}, "its MLP is gated"),
    ],
)
def test_what_no_plain_vit_has_is_named(tmp_path, without_timm, changes, message):
    timm = in_timm_layout(backbone_folder(tmp_path / "hf"), tmp_path / "timm", "vit_tiny_patch16_224")
    tensors = load_file(timm / "model.safetensors")
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape:
            tensors[name] = torch.zeros(shape)
    save_file(tensors, timm / "model.safetensors")
    with pytest.raises(MissingExtraError, match=message):
        find_backbone(str(timm))


def test_a_checkpoint_is_hashed_once_a_process_unless_its_files_change(tmp_path):
    place = in_timm_layout(backbone_folder(tmp_path / "hf", "vit"), tmp_path / "timm", ARCHITECTURES["vit"])
    weights = find_backbone(str(place)).folder / "model.safetensors"
    find_backbone(str(place))  # now the copy's own hash is known too
    whole, stat = weights.read_bytes(), weights.stat()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    find_backbone(str(place))
    assert weights.read_bytes() != whole
    os.utime(weights)
    find_backbone(str(place))
    assert weights.read_bytes() == whole
