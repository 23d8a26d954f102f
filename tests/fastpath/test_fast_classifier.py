"""The fast path computes what transformers and PEFT compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from orbitune.data.transform import Transform
from orbitune.evaluation.network import PlainClassifier, fast_network, make_network, plain_network
from orbitune.fastpath.attention import KERNELS
from orbitune.fastpath.dispatch import kind_of_linear
from orbitune.fastpath.linear import FusedLinear
from orbitune.fastpath.operations import Dropout, Operations
from orbitune.models.factory import build, resolve
from orbitune.models.methods import METHODS
from orbitune.recipe import Recipe

CLASSES = ("a", "b", "c", "d")
TRANSFORM = Transform(32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def both_paths(backbone, dtype=torch.float32, attention="plain", resample="bilinear", **recipe):
    """The same model twice, all trained values non-zero: plain, and fast."""
    recipe = resolve(Recipe(**recipe), backbone)
    stated = backbone.preprocessing
    transform = Transform(recipe.image_size, stated.mean, stated.std, resample)
    models = [build(recipe, backbone, classes=CLASSES) for _ in range(2)]
    for model in models:
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    plain = plain_network(models[0], backbone.family, transform=transform)
    fast = fast_network(models[1], backbone.family, transform=transform, dtype=dtype, attention=attention)
    return plain, fast


def tiles(side, count=5):
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)


def gradients(network, batch):
    labels = torch.arange(len(batch)) % len(CLASSES)
    F.cross_entropy(network(batch), labels).backward()
    return {name: p.grad for name, p in network.model.named_parameters() if p.requires_grad}


# A gradient of RandLoRA sums over random matrices, in an order that differs between processors: the error
# was 1.1e-5, and 0.092 in bfloat16, on one with AMX.
LOOSER = {"randlora": 2}


def assert_alike(plain, fast, batch, tolerance):
    """Logits and gradients, the latter in units of the largest of all."""
    with torch.inference_mode():
        difference = (plain.eval()(batch) - fast.eval()(batch)).abs().max().item()
    assert difference <= tolerance
    expected, found = (gradients(network.train(), batch) for network in (plain, fast))
    assert expected.keys() == found.keys()
    largest = max(g.abs().max() for g in expected.values())
    for name, gradient in expected.items():
        assert (gradient - found[name]).abs().max() <= tolerance * largest, name


@pytest.mark.parametrize("method", METHODS)
def test_logits_and_gradients_are_those_of_the_plain_path(backbone, method):
    plain, fast = both_paths(backbone, method=method, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(side=20), tolerance=1e-5 * LOOSER.get(method, 1))


@pytest.mark.parametrize("targets", ["q,v", "k", "o", "fc1,fc2", "q,k,v,o,fc1,fc2"])
def test_any_layers_may_be_adapted(vit, targets):
    plain, fast = both_paths(vit, lora={"dropout": 0, "targets": targets})
    assert_alike(plain, fast, tiles(side=20), tolerance=1e-5)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_biases_may_be_trained(vit, bias):
    plain, fast = both_paths(vit, lora={"dropout": 0, "bias": bias})
    assert_alike(plain, fast, tiles(side=20), tolerance=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=() if name in ("full", "linear", "lora", "dora") else pytest.mark.slow)
        for name in METHODS
    ],
)
def test_bfloat16_differs_by_its_rounding_only(backbone, method):
    plain, fast = both_paths(backbone, torch.bfloat16, method=method, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(side=20), tolerance=0.05 * LOOSER.get(method, 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", ["full", "lora", "linear"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.usefixtures("without_half_precision")
def test_a_processor_without_half_precision_differs_by_its_rounding_only(vit, kernel, method, dtype):
    plain, fast = both_paths(vit, dtype, kernel, method=method, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(side=20), tolerance=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_so_between_widened_products(vit, without_half_precision, dtype):
    _, fast = both_paths(vit, dtype, method="lora")
    with torch.inference_mode():
        assert fast.eval().states(tiles(20), 2).dtype == dtype


def test_the_compiled_kernels_differ_by_their_rounding_only(vit, dtype):
    plain, fast = both_paths(vit, dtype, method="lora", lora={"dropout": 0})
    assert fast.plan.compiled
    assert_alike(plain, fast, tiles(side=20), tolerance=0.05 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_computes_in_half_precision_without_the_fast_path_too(vit, method):
    plain, fast = both_paths(vit, method=method, lora={"dropout": 0})
    half = plain_network(fast.model, vit.family, transform=plain.transform, dtype=torch.bfloat16)
    assert_alike(plain, half, tiles(side=20), tolerance=0.05 * LOOSER.get(method, 1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_attention_kernel_gives_the_same(vit, kernel):
    plain, fast = both_paths(vit, attention=kernel, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(side=20), tolerance=1e-5)


@pytest.mark.parametrize("side", [8, 20, 32, 48])
def test_tiles_that_are_enlarged_kept_or_reduced_give_the_same(vit, side):
    plain, fast = both_paths(vit, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(side), tolerance=1e-5)


def test_tiles_that_are_not_square_give_the_same(vit):
    plain, fast = both_paths(vit, lora={"dropout": 0})
    assert_alike(plain, fast, tiles(24)[:, :, 3:19], tolerance=1e-5)


def test_bicubic_resizing_which_clips_gives_the_same(vit):
    plain, fast = both_paths(vit, resample="bicubic", lora={"dropout": 0})
    assert_alike(plain, fast, tiles(20), tolerance=1e-5)


def test_a_trained_patch_embedding_is_not_kept_from_an_earlier_step(vit):
    plain, fast = both_paths(vit, method="full")
    batch = tiles(20)
    fast(batch)
    for network in (plain, fast):
        weight = network.model.vit.embeddings.patch_embeddings.projection.weight
        weight.data *= 1.5
    assert_alike(plain, fast, batch, tolerance=1e-5)


@pytest.mark.parametrize("size", [16, 48])
def test_another_size_can_be_asked_for(vit, size):
    plain, fast = both_paths(vit, lora={"dropout": 0})
    with torch.inference_mode():
        assert torch.allclose(plain(tiles(20), size), fast(tiles(20), size), atol=1e-5)


def test_checkpointing_gives_the_same_gradients(vit):
    recipe = {"method": "lora", "lora": {"dropout": 0}}
    (_, kept), (_, again) = both_paths(vit, **recipe), both_paths(vit, **recipe)
    again.checkpointing = True
    expected, found = (gradients(network.train(), tiles(20)) for network in (kept, again))
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_layer_that_peft_adapts_in_another_way_is_left_to_peft(vit):
    from peft import LoraConfig, get_peft_model

    from orbitune.models.backbones import load_weights

    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, modules_to_save=["classifier"])
    models = [get_peft_model(load_weights(vit, CLASSES, seed=0), config) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    plain = plain_network(models[0], vit.family, transform=TRANSFORM)
    fast = fast_network(models[1], vit.family, transform=TRANSFORM, dtype=torch.float32)
    assert_alike(plain, fast, tiles(20), tolerance=1e-5)


def test_frozen_weights_take_no_more_memory_than_half(vit):
    model = build(resolve(Recipe(method="lora"), vit), vit, classes=CLASSES)
    layers = model.get_base_model().vit.layers
    before = sum(p.untyped_storage().nbytes() for p in layers.parameters() if not p.requires_grad)
    fast_network(model, vit.family, transform=TRANSFORM, dtype=torch.bfloat16)
    frozen = [p for p in layers.parameters() if not p.requires_grad]
    storages = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in frozen}
    assert sum(storages.values()) == before / 2


def test_trained_tensors_stay_in_fp32(vit):
    _, fast = both_paths(vit, torch.bfloat16)
    assert {p.dtype for p in fast.model.parameters() if p.requires_grad} == {torch.float32}


def test_a_backbone_with_dropout_of_its_own_is_left_to_transformers(vit):
    recipe = resolve(Recipe(method="lora"), vit)
    model = build(recipe, vit, classes=CLASSES)
    model.get_base_model().config.hidden_dropout_prob = 0.1
    network = make_network(model, recipe, backbone=vit, transform=TRANSFORM)
    assert isinstance(network, PlainClassifier)
    assert "hidden_dropout_prob" in network.plan.why_not_fast


def test_fast_off_is_the_plain_path(vit):
    recipe = resolve(Recipe(method="lora", fast=False), vit)
    network = make_network(build(recipe, vit, classes=CLASSES), recipe, backbone=vit, transform=TRANSFORM)
    assert isinstance(network, PlainClassifier)


def test_the_gradients_of_dropped_inputs_are_those_of_autograd():
    """Dropout draws other masks than the plain path; compare with autograd's product."""
    from peft import LoraConfig, inject_adapter_in_model

    torch.manual_seed(0)
    parts = nn.ModuleDict({name: nn.Linear(6, out) for name, out in (("q", 4), ("k", 1), ("v", 5))})
    parts.requires_grad_(False)
    config = LoraConfig(r=2, lora_alpha=1, lora_dropout=0.4, target_modules=["q", "v"])
    parts = inject_adapter_in_model(config, parts)
    factors = [p for p in parts.parameters() if p.requires_grad]
    for factor in factors:
        nn.init.normal_(factor)
    kinds = [kind_of_linear(layer) for layer in parts.values()]
    assert kinds == ["lora", "plain", "lora"]
    linear = FusedLinear(list(parts.values()), kinds, dtype=torch.float32, operations=Operations())
    ours, theirs = (torch.randn(7, 6, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    torch.manual_seed(7)
    y = linear(ours.requires_grad_(), training=True)
    torch.manual_seed(7)
    kept = Dropout(theirs.shape, 0.4, device=theirs.device).apply(torch.ones(7, 6))
    expected = torch.cat([written_out(layer, theirs.requires_grad_(), kept) for layer in parts.values()], 1)
    assert torch.allclose(y, expected, atol=1e-5)
    found = torch.autograd.grad((y**2).sum(), [ours, *factors])
    wanted = torch.autograd.grad((expected**2).sum(), [theirs, *factors])
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def written_out(layer, x, kept):
    if isinstance(layer, nn.Linear):
        return layer(x)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    update = F.linear(F.linear(x * kept / (1 - 0.4), down), up)
    return layer.base_layer(x) + layer.scaling["default"] * update


def test_dropped_patches_leave_the_gradients_of_the_plain_path(backbone):
    recipe = resolve(Recipe(patch_dropout=0.5, precision="fp32", lora={"dropout": 0}), backbone)
    batch, found = tiles(side=20), []
    for fast in (False, True):
        model = build(recipe, backbone, classes=CLASSES)
        network = make_network(model, recipe.replace(fast=fast), backbone=backbone, transform=TRANSFORM)
        torch.manual_seed(3)
        found.append(gradients(network.train(), batch))
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-5), name


@pytest.mark.parametrize("fast", [True, False])
def test_patches_are_dropped_in_training_alone(vit, fast):
    recipe = resolve(Recipe(precision="fp32", fast=fast, lora={"dropout": 0}), vit)
    model = build(recipe, vit, classes=CLASSES)
    some, all_of_them = (
        make_network(model, recipe.replace(patch_dropout=each), backbone=vit, transform=TRANSFORM)
        for each in (0.5, 0.0)
    )
    batch = tiles(side=20)
    assert not torch.allclose(some.train()(batch), all_of_them.train()(batch), atol=1e-3)
    with torch.inference_mode():
        assert torch.equal(some.eval()(batch), all_of_them.eval()(batch))
