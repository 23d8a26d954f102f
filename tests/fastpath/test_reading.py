"""Saved models are read without transformers and PEFT, and computed to the same bytes."""

import json
import shutil
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
from orbitune.fastpath.reading import saved_model as saved_model_module
from orbitune.models import backbones
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import load_saved, read_metadata, trained_backbone, write_metadata
from orbitune.models.factory import resolve
from orbitune.models.families.family import TRANSFORMERS_4
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c")
READ = ("full", "linear", "lora", "rslora", "loraall", "pissa", "loraplus", "bitfit", "norm", "topk")


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


PREFIX = "base_model.model."
LAYER = f"{PREFIX}vit.layers.1.attention.q_proj"


def change_adapter(folder, *, add=(), drop=(), **settings):
    """Change an adapter's settings and tensors, and store the new hashes."""
    change_json(folder / "adapter_config.json", **settings)
    change_tensors(
        folder / "adapter_model.safetensors",
        lambda tensors: {
            **{name: tensor for name, tensor in tensors.items() if not any(part in name for part in drop)},
            **dict(add),
        },
    )
    write_metadata(folder, read_metadata(folder))


def assert_refused(folder, backbone):
    """Assert that the adapter is left to PEFT, and is one clear error there."""
    assert read(folder, backbone) is None
    with pytest.raises(ModelError) as refused:
        load_saved(folder, backbone)
    assert "\n" not in str(refused.value)


def test_lora_inside_a_module_that_is_saved_whole_is_refused(vit, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    width = load_file(vit.folder / "model.safetensors")["classifier.weight"].shape[1]
    whole = load_weights(vit, CLASSES, seed=0).state_dict()
    layer = {PREFIX + name: tensor for name, tensor in whole.items() if "layers.1." in name}
    config = json.loads((tmp_path / "m" / "adapter_config.json").read_text())
    head = {
        f"{PREFIX}classifier.lora_A.weight": torch.ones(config["r"], width),
        f"{PREFIX}classifier.lora_B.weight": torch.ones(len(CLASSES), config["r"]),
    }
    changes = {
        "head": {"target_modules": [*config["target_modules"], "classifier"], "add": head},
        "layer": {"modules_to_save": ["classifier", "layers.1"], "add": layer},
    }
    for name, change in changes.items():
        shutil.copytree(tmp_path / "m", tmp_path / name)
        change_adapter(tmp_path / name, **change)
        assert_refused(tmp_path / name, vit)


@pytest.mark.parametrize(
    "change",
    [
        {"lora_alpha": 10**400},
        {"r": 10**400, "use_rslora": True},
        {"r": 10**400, "lora_alpha": 8.5},
        {"target_modules": ["nothing"], "drop": ["lora_"]},
        {"target_modules": [], "drop": ["lora_"]},
        {"layers_to_transform": [], "drop": ["lora_"]},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "layernorm_before"]},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "projection"]},
        {"target_modules": ["q_proj", "k_proj", "v_proj", "dropout"]},
        {"modules_to_save": ["classifier", "q.proj"]},
        {"add": {f"{PREFIX}classifier.original_module.weight": torch.zeros(3, 32)}},
        {"add": {f"{PREFIX}classifier.original_module.bias": torch.zeros(3)}},
        {"add": {f"{PREFIX}classifier.modules_to_save.weight": torch.zeros(3, 32)}},
        {"add": {f"{LAYER}.lora_A.default.weight": torch.zeros(16, 32)}},
    ],
)
def test_a_hostile_adapter_is_refused_in_one_line(vit, change, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    change_adapter(tmp_path / "m", **change)
    assert_refused(tmp_path / "m", vit)


def test_a_bias_under_two_names_is_refused(vit, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(lora={"bias": "all"}), CLASSES)
    bias = load_file(tmp_path / "m" / "adapter_model.safetensors")[f"{LAYER}.base_layer.bias"]
    change_adapter(tmp_path / "m", add={f"{LAYER}.bias": bias + 1})
    assert_refused(tmp_path / "m", vit)


def test_copies_of_a_trained_bias_are_ignored_as_peft_does(vit, tmp_path):
    saved_model(tmp_path / "m", vit, Recipe(lora={"bias": "all"}), CLASSES)
    copies = [f"{PREFIX}classifier.{name}.bias" for name in ("modules_to_save", "original_module")]
    assert copies[0] in load_file(tmp_path / "m" / "adapter_model.safetensors")
    change_adapter(tmp_path / "m", add={name: torch.full((3,), 9.0) for name in copies})
    assert_equal(tmp_path / "m", vit)


def test_a_scalar_that_the_model_does_not_use_changes_nothing(vit, tmp_path):
    unused = {"vit.encoder.layer.0.unused": torch.tensor(1.0), "vit.unused": torch.tensor(1.0)}
    change_tensors(vit.folder / "model.safetensors", lambda tensors: {**tensors, **unused})
    vit = find_backbone(vit.name)
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    assert_equal(tmp_path / "m", vit)


def test_a_checkpoint_that_holds_a_tensor_under_two_names_is_left_to_transformers(vit, tmp_path):
    old, new = "vit.encoder.layer.0.intermediate.dense.bias", "vit.layers.0.mlp.fc1.bias"
    change_tensors(vit.folder / "model.safetensors", lambda tensors: {**tensors, new: tensors[old] + 1})
    vit = find_backbone(vit.name)
    saved_model(tmp_path / "m", vit, Recipe(), CLASSES)
    assert read(tmp_path / "m", vit) is None


def test_a_method_that_is_left_to_peft_does_not_read_the_checkpoint_first(vit, tmp_path, monkeypatch):
    saved_model(tmp_path / "m", vit, Recipe(method="dora"), CLASSES)
    opened = []
    monkeypatch.setattr(saved_model_module, "read_tensors", opened.append)
    assert read(tmp_path / "m", vit) is None
    assert not opened


def test_a_widened_backbone_is_hashed_once(band_bundle, monkeypatch):
    hashed, file_hash = [], backbones.file_hash
    monkeypatch.setattr(backbones, "file_hash", lambda *files: hashed.append(files) or file_hash(*files))
    monkeypatch.setattr(dispatch, "read_saved", lambda *arguments, **settings: None)
    found = band_bundle.backbone()
    recipe = resolve(Recipe(image_size=32), found)
    load_model(band_bundle.folder, recipe, backbone=found, metadata=band_bundle.metadata)
    assert len(hashed) == 1


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
