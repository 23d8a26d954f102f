import pytest
import torch
from safetensors.torch import load_file
from samples import FAMILIES, backbone_folder, config_only_folder, model_metadata

from orbitune.cli.presets import preset
from orbitune.errors import ModelError
from orbitune.models import reload
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.checkpoint_io import save_model
from orbitune.models.factory import build, plan_parameters
from orbitune.models.methods import METHODS, count_parameters, find_method, parameter_groups
from orbitune.recipe import Recipe

CLASSES = tuple("abcdefghij")


@pytest.mark.parametrize(
    ("method", "part", "count"),
    [("full", "trainable", 85_806_346), ("lora", "adapter", 442_368), ("lora", "head", 7_690)],
)
def test_the_original_preset_has_the_published_parameter_counts(tmp_path, method, part, count):
    folder = str(config_only_folder(tmp_path))
    recipe = Recipe.make({**preset("original", method), "backbone": folder})
    assert plan_parameters(recipe, find_backbone(folder), classes=CLASSES).to_json()[part] == count


def test_the_original_lora_trains_its_adapter_and_its_head(tmp_path):
    folder = str(config_only_folder(tmp_path))
    recipe = Recipe.make({**preset("original", "lora"), "backbone": folder})
    assert plan_parameters(recipe, find_backbone(folder), classes=CLASSES).trainable == 442_368 + 7_690


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_builds_on_every_family_as_planned(tmp_path, model_type, method):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", model_type)))
    recipe = Recipe(method=method)
    model = build(recipe, backbone, classes=CLASSES)
    assert count_parameters(model, backbone.family) == plan_parameters(recipe, backbone, classes=CLASSES)


@pytest.mark.parametrize("method", METHODS)
def test_every_trainable_tensor_receives_a_gradient(tmp_path, method):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b", "dinov2")))
    model = build(Recipe(method=method), backbone, classes=CLASSES)
    model(pixel_values=torch.randn(2, 3, 32, 32)).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


@pytest.fixture(scope="module", params=FAMILIES)
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("backbone")
    return find_backbone(str(backbone_folder(folder / "b", request.param)))


def trained_model(method, backbone):
    """A model whose trained tensors are no longer what they were at the start."""
    model = build(Recipe(method=method), backbone, classes=CLASSES).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def logits(model, backbone):
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(pixel_values=pixels, **backbone.family.forward).logits


def saved_and_reloaded(model, backbone, folder):
    save_model(model, folder / "saved", backbone=backbone, metadata=model_metadata(backbone, CLASSES))
    return reload.load(str(folder / "saved"), str(backbone.folder))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_reloaded_by_plain_peft_or_transformers_on_the_original_weights(
    tmp_path, backbone, method
):
    model = trained_model(method, backbone)
    again = saved_and_reloaded(model, backbone, tmp_path)
    assert (logits(again, backbone) - logits(model, backbone)).abs().max() < 1e-5
    [file] = tmp_path.glob("saved/*.safetensors")
    written = sum(tensor.numel() for tensor in load_file(file).values())
    assert written == count_parameters(model, backbone.family).stored


@pytest.mark.parametrize("method", ["vera", "randlora"])
def test_random_matrices_are_read_from_the_file_and_not_drawn_again(tmp_path, vit, method):
    model = trained_model(method, vit)
    for name in {"vera": ("vera_A", "vera_B"), "randlora": ("randlora_A", "randlora_B")}[method]:
        getattr(model.base_model, name)["default"].mul_(2)  # as another version of torch might draw them
    again = saved_and_reloaded(model, vit, tmp_path)
    assert (logits(again, vit) - logits(model, vit)).abs().max() < 1e-5


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.folder == "adapter"])
def test_every_adapter_merges_into_a_plain_model_of_the_same_outputs(backbone, method):
    model = trained_model(method, backbone)
    expected = logits(model, backbone)
    merged = model.merge_and_unload()
    assert not any("lora" in name or "base_layer" in name for name, _ in merged.named_parameters())
    assert (logits(merged, backbone) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_every_method_starts_from_the_pretrained_function(backbone, method):
    model, plain = (
        build(Recipe(method=method), backbone, classes=CLASSES),
        load_weights(backbone, CLASSES, seed=0),
    )
    assert (logits(model.eval(), backbone) - logits(plain.eval(), backbone)).abs().max() < 1e-5


def test_each_method_trains_what_it_says(vit):
    """Of 2 layers of width 32 with an MLP of 64, and a head of 32 * 10 + 10."""
    head, layers, width, hidden = 330, 2, 32, 64
    trained = {
        "rslora": layers * 3 * 8 * (width + width),
        "loraall": layers * 8 * (4 * (width + width) + 2 * (width + hidden)),
        "dora": layers * 3 * (8 * (width + width) + width),
        "vera": layers * 3 * (256 + width),
        "ia3": layers * (2 * width + hidden),
        "oft": layers * 3 * width * 31 // 2,
        "fourierft": layers * 3 * 1024,
        "bitfit": width + layers * (4 * width + hidden + width + 2 * width) + width,
        "norm": (2 * layers + 1) * 2 * width,
    }
    for method, count in trained.items():
        counts = count_parameters(build(Recipe(method=method), vit, classes=CLASSES), vit.family)
        assert counts.trainable == count + head, method


def test_topk_trains_the_last_layers_whole_and_stores_nothing_else(vit):
    model = build(Recipe(method="topk", lora={"top_layers": 1}), vit, classes=CLASSES)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".modules_to_save")[0].removeprefix("base_model.model.") for name in trained} == {
        "vit.layers.1",
        "vit.layernorm",
        "classifier",
    }


@pytest.mark.parametrize("method", ["lora", "dora", "vera", "randlora", "oft", "fourierft", "ia3", "pissa"])
def test_top_layers_leave_the_others_alone(vit, method):
    model = build(Recipe(method=method, lora={"top_layers": 1}), vit, classes=CLASSES)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert not any("layers.0." in name for name in trained)
    assert any("layers.1." in name for name in trained)


def test_all_targets_are_every_linear_layer_but_the_head(backbone):
    config = build(Recipe(lora={"targets": "all"}), backbone, classes=CLASSES).peft_config["default"]
    names = ("attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.o_proj")
    assert config.target_modules == {*names, "mlp.fc1", "mlp.fc2"}


def test_lora_of_all_layers_with_other_targets_is_one_clear_line(vit):
    with pytest.raises(ModelError, match="leave out --lora-targets, or choose method lora"):
        build(Recipe(method="loraall", lora={"targets": ("q",)}), vit, classes=CLASSES)


def test_b_learns_faster_than_a_with_lora_plus(vit):
    recipe = Recipe(method="loraplus", lora={"plus_ratio": 4})
    model = build(recipe, vit, classes=CLASSES)
    factors = {id(p): group["factor"] for group in parameter_groups(model, recipe) for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert factors[id(parameter)] == (4 if "lora_B" in name else 1), name


def test_pissa_starts_from_the_largest_singular_values(vit):
    layer = (
        build(Recipe(method="pissa"), vit, classes=CLASSES).get_base_model().vit.layers[0].attention.q_proj
    )
    whole = load_weights(vit, CLASSES, seed=0).vit.layers[0].attention.q_proj.weight
    low_rank = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert torch.allclose(torch.linalg.svdvals(low_rank)[:8], torch.linalg.svdvals(whole)[:8], rtol=1e-4)
    assert (low_rank + layer.base_layer.weight - whole).abs().max() < 1e-6


def test_a_saved_pissa_leaves_the_original_weights_to_other_adapters(tmp_path, vit):
    again = saved_and_reloaded(trained_model("pissa", vit), vit, tmp_path)
    layer = again.get_base_model().vit.layers[0].attention.q_proj
    whole = load_weights(vit, CLASSES, seed=0).vit.layers[0].attention.q_proj
    assert torch.equal(layer.base_layer.weight, whole.weight)
    assert layer.r["default"] == 16


def test_a_rank_whose_blocks_do_not_divide_the_width_is_one_clear_line(vit):
    with pytest.raises(ModelError, match="4 \\* rank = 20 inputs, which do not divide a width of 32"):
        build(Recipe(method="oft", lora={"rank": 5}), vit, classes=CLASSES)


def test_more_frequencies_than_a_layer_has_is_one_clear_line(vit):
    with pytest.raises(ModelError, match="PEFT cannot adapt this backbone: `n_frequency` should be"):
        build(Recipe(method="fourierft", lora={"rank": 9}), vit, classes=CLASSES)


def test_linear_trains_the_head_alone(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    counts = count_parameters(build(Recipe(method="linear"), backbone, classes=CLASSES), backbone.family)
    assert counts.trainable == counts.head == 32 * 10 + 10
    assert counts.adapter == 0


def test_lora_settings_reach_peft(tmp_path):
    backbone = find_backbone(str(backbone_folder(tmp_path / "b")))
    lora = {"rank": 3, "alpha": 5, "dropout": 0.2, "targets": ["q", "fc1"], "bias": "lora_only"}
    config = build(Recipe(lora=lora), backbone, classes=CLASSES).peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (3, 5, 0.2, "lora_only")
    assert config.target_modules == {"attention.q_proj", "mlp.fc1"}
    assert config.modules_to_save == ["classifier"]


def test_an_unknown_method_lists_those_there_are():
    with pytest.raises(ModelError, match="full, linear, lora"):
        find_method("lorra")
