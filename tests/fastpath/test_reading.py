"""Saved models are read without transformers and PEFT, and computed to the same bytes."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from samples import backbone_folder, saved_model
from scenes import small_scene

from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.network import load_model, make_network
from orbitune.fastpath import dispatch
from orbitune.models.backbones import find_backbone
from orbitune.models.checkpoint_io import load_saved, read_metadata, trained_backbone
from orbitune.models.factory import resolve
from orbitune.models.families import TRANSFORMERS_4
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")
FAMILIES = {
    "ViT": {"model_type": "vit"},
    "DeiT": {"model_type": "deit"},
    "distilled DeiT": {"model_type": "deit", "distilled": True},
    "DINOv2": {"model_type": "dinov2"},
    "DINOv2 with registers": {"model_type": "dinov2_with_registers"},
}
READ = ("full", "linear", "lora", "rslora", "pissa", "loraplus", "bitfit", "norm", "topk")


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    return find_backbone(str(backbone_folder(folder / "b", **FAMILIES[request.param])))


@pytest.fixture
def vit(tmp_path):
    """A backbone whose files may be changed."""
    return find_backbone(str(backbone_folder(tmp_path / "vit")))


def read(folder, backbone):
    return dispatch.read_saved(folder, backbone, classes=len(CLASSES))


def logits(model, backbone, precision, size):
    """Logits of random tiles, of another size than the input."""
    recipe = resolve(Recipe(precision=precision, image_size=size), backbone)
    channels = len(backbone.widened_to) or 3
    transform = Transform(size, (0.5,) * channels, (0.5,) * channels, "bilinear")
    network = make_network(model.requires_grad_(False), recipe, backbone=backbone, transform=transform).eval()
    assert network.plan.fast
    generator = torch.Generator().manual_seed(2)
    tiles = torch.randint(0, 256, (3, 24, 24, channels), dtype=torch.uint8, generator=generator)
    with torch.inference_mode():
        return network(tiles)


def assert_equal(folder, backbone):
    """Assert that both ways of loading give the same bytes, at the checkpoint's size and at another."""
    for precision, size in (("bf16", 32), ("fp32", 48)):
        models = read(folder, backbone), load_saved(folder, backbone)
        ours, plain = (logits(model, backbone, precision, size) for model in models)
        assert torch.equal(ours, plain)


def change_json(file, **settings):
    """Change settings of a JSON file; None removes one."""
    values = {**json.loads(file.read_text()), **settings}
    file.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


def change_tensors(file, change):
    save_file(change(load_file(file)), file, {"format": "pt"})


@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_family_gives_the_same_logits(backbone, method, tmp_path):
    saved_model(tmp_path / "m", backbone, Recipe(method=method), CLASSES)
    assert_equal(tmp_path / "m", backbone)


@pytest.mark.parametrize("method", [method for method in READ if method not in ("full", "lora")])
def test_every_method_that_is_read_gives_the_same_logits(vit, method, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(method=method), CLASSES)
    assert_equal(tmp_path / "m", vit)


@pytest.mark.parametrize(
    "lora",
    [
        {"targets": ("all",), "rank": 4},
        {"targets": ("q", "fc2"), "top_layers": 1},
        {"bias": "all", "alpha": 3},
    ],
)
def test_lora_of_other_layers_gives_the_same_logits(vit, lora, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(lora=lora), CLASSES)
    assert_equal(tmp_path / "m", vit)


def test_a_model_of_other_bands_gives_the_same_logits(band_bundle):
    backbone = trained_backbone(band_bundle.folder, band_bundle.backbone(), metadata=band_bundle.metadata)
    models = read(band_bundle.folder, backbone), band_bundle.model(backbone)
    assert torch.equal(*(logits(model, backbone, "bf16", 32) for model in models))


def test_a_gated_mlp_gives_the_same_logits(tmp_path):
    from transformers import AutoModelForImageClassification, Dinov2Config

    place = backbone_folder(tmp_path / "b", "dinov2")
    config = Dinov2Config.from_pretrained(place, use_swiglu_ffn=True)
    AutoModelForImageClassification.from_config(config).save_pretrained(place)
    backbone = find_backbone(str(place))
    saved_model(tmp_path / "m", backbone, Recipe(lora={"targets": ("all",)}), CLASSES)
    assert_equal(tmp_path / "m", backbone)


def as_in_transformers_5(tensors):
    """Return the tensors under their present names, which checkpoints of the hub do not have."""
    named = {}
    for name, tensor in tensors.items():
        for old, (new,) in list(TRANSFORMERS_4.items())[:6]:
            name = name.replace(f".{old}.", f".{new}.") if old in name else name
        named[name.replace("encoder.layer.", "layers.")] = tensor
    return named


def without_a_head(tensors):
    body = {name: tensor for name, tensor in tensors.items() if name.startswith("vit.")}
    return {name.removeprefix("vit."): tensor for name, tensor in body.items()}


def in_halves(tensors):
    return {name: tensor.half() for name, tensor in tensors.items()}


@pytest.mark.parametrize("form", [as_in_transformers_5, without_a_head, in_halves])
def test_other_forms_of_a_checkpoint_give_the_same_logits(vit, form, tmp_path):
    change_tensors(vit.folder / "model.safetensors", form)
    vit = find_backbone(vit.name)
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    assert_equal(tmp_path / "m", vit)


def test_a_checkpoint_of_several_files_gives_the_same_logits(vit, tmp_path):
    from transformers import AutoModelForImageClassification

    whole = AutoModelForImageClassification.from_pretrained(vit.folder)
    (vit.folder / "model.safetensors").unlink()
    whole.save_pretrained(vit.folder, max_shard_size="40KB")
    assert len(list(vit.folder.glob("model-*.safetensors"))) > 1
    vit = find_backbone(vit.name)
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    assert_equal(tmp_path / "m", vit)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in READ])
def test_other_methods_are_left_to_peft(vit, method, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(method=method), CLASSES)
    assert read(tmp_path / "m", vit) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"alpha_pattern": {"q_proj": 3}},
        {"init_lora_weights": "pissa"},
        {"target_modules": ["q_proj", "k_proj"]},
        {"target_modules": ".*q_proj"},
        {"modules_to_save": None},
        {"modules_to_save": ["classifier", "layernorm"]},
        {"bias": "all"},
        {"r": 4},
    ],
)
def test_an_adapter_with_other_settings_or_tensors_is_left_to_peft(vit, settings, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    assert read(tmp_path / "m", vit) is not None
    change_json(tmp_path / "m" / "adapter_config.json", **settings)
    assert read(tmp_path / "m", vit) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_act": "relu"},
        {"layer_norm_eps": None},
        {"num_hidden_layers": 3},
        {"intermediate_size": 32},
        {"head_dim": 8},
        {"image_size": 64},
        {"hidden_dropout_prob": 0.1},
    ],
)
def test_a_checkpoint_with_other_settings_is_left_to_transformers(vit, settings, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    change_json(vit.folder / "config.json", **settings)
    assert read(tmp_path / "m", vit) is None


@pytest.mark.parametrize("method", ["full", "lora"])
def test_damaged_tensors_are_left_to_transformers_and_peft(vit, method, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(method=method), CLASSES)
    [file] = (tmp_path / "m").glob("*.safetensors")
    whole = file.read_bytes()
    name = next(name for name in load_file(file) if name.endswith("classifier.weight"))
    changes = [
        lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name},
        lambda tensors: {**tensors, name: tensors[name][:2].clone()},
        lambda tensors: {**tensors, name: tensors[name] * float("nan")},
    ]
    for change in changes:
        change_tensors(file, change)
        assert read(tmp_path / "m", vit) is None
        file.write_bytes(whole)
    assert read(tmp_path / "m", vit) is not None


def test_another_backbone_is_one_clear_error(vit, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    metadata = read_metadata(tmp_path / "m")
    change_tensors(vit.folder / "model.safetensors", in_halves)
    other, recipe = find_backbone(vit.name), resolve(Recipe(), vit)
    with pytest.raises(ModelError, match="was trained on other weights"):
        load_model(tmp_path / "m", recipe, backbone=other, metadata=metadata)


CODE = """
import sys
from orbitune.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code, sorted({"transformers", "peft", "torch._dynamo"} & set(sys.modules)))
"""


@pytest.mark.parametrize("command", ["predict", "evaluate", "map"])
def test_commands_that_predict_import_neither_transformers_nor_peft(command, bundle, run, tiles, tmp_path):
    if command == "predict":
        arguments = [bundle.folder, next(tiles.rglob("*.png"))]
    elif command == "evaluate":
        arguments = [run, "--split", "validation"]
    else:
        pytest.importorskip("rasterio")
        arguments = [bundle.folder, small_scene(tmp_path), "--out", tmp_path / "map.tif"]
    words = [sys.executable, "-c", CODE, command, *map(str, arguments)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
