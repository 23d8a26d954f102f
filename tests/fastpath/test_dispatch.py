"""The plan states what the fast path computes, how, and the reasons."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from samples import backbone_folder

from orbitune.data.transform import Transform
from orbitune.evaluation.network import make_network
from orbitune.fastpath import dispatch
from orbitune.fastpath.native import library, variants
from orbitune.models.backbones import find_backbone
from orbitune.models.factory import build, resolve
from orbitune.recipe import Recipe

CPU = torch.device("cpu")
TRANSFORM = Transform(32, (0.5,) * 3, (0.5,) * 3, "bilinear")


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("vit") / "b", layers=2)))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("dinov2") / "b", "dinov2", layers=2)))


@pytest.fixture
def with_kernels(monkeypatch):
    """A machine that has kernels, without AMX; they are not called here."""

    def opened(dtype):
        variant = next(each for each in variants.VARIANTS if each.dtype == dtype)
        return library.OpenedLibrary(SimpleNamespace(variant=variant), None)

    monkeypatch.setattr(library, "open_library", opened)
    monkeypatch.setattr(variants, "has_amx", lambda: False)


def model_of(backbone, **recipe):
    return build(resolve(Recipe(**recipe), backbone), backbone, classes=("a", "b"))


def plan_of(backbone, model, dtype=torch.bfloat16, attention="plain"):
    return dispatch.plan_compute(model, backbone.family, dtype=dtype, tokens=17, attention=attention)


def test_frozen_layers_are_one_pass_and_the_last_computes_the_class_token_alone(vit, with_kernels):
    plan = plan_of(vit, model_of(vit, method="lora"))
    assert plan.fast and plan.compiled and plan.kernels.products
    assert [layer.one_pass for layer in plan.layers] == [True, False]
    assert [layer.output_tokens for layer in plan.layers] == [None, 1]
    assert plan.layers[0].linear["q_proj"] == "lora" and plan.layers[0].linear["o_proj"] == "plain"


def test_where_the_head_reads_the_patches_every_layer_is_one_pass(dinov2, with_kernels):
    plan = plan_of(dinov2, model_of(dinov2, method="lora"))
    assert [layer.one_pass for layer in plan.layers] == [True, True]


@pytest.mark.parametrize("part", ["attention.q_proj.weight", "attention.o_proj.bias", "mlp.fc1.weight"])
def test_a_trained_linear_layer_ends_the_single_pass(dinov2, with_kernels, part):
    model = model_of(dinov2, method="linear")
    model.get_parameter(f"dinov2.encoder.layer.0.{part}").requires_grad_()
    first, second = plan_of(dinov2, model).layers
    assert not first.one_pass and second.one_pass
    assert first.fused_mlp == ("mlp" not in part)


@pytest.mark.parametrize(
    ("part", "compiled_norms"),
    [("norm1.weight", (False, True)), ("norm2.bias", (True, False)), ("layer_scale1.lambda1", (True, False))],
)
def test_a_trained_norm_or_scale_is_computed_by_torch(dinov2, with_kernels, part, compiled_norms):
    model = model_of(dinov2, method="linear")
    model.get_parameter(f"dinov2.encoder.layer.0.{part}").requires_grad_()
    layer = plan_of(dinov2, model).layers[0]
    assert not layer.one_pass and layer.compiled_norms == compiled_norms


def test_a_trained_scale_at_the_end_of_a_layer_belongs_to_the_next_norm(dinov2, with_kernels):
    model = model_of(dinov2, method="linear")
    model.get_parameter("dinov2.encoder.layer.0.layer_scale2.lambda1").requires_grad_()
    assert plan_of(dinov2, model).layers[1].compiled_norms == (False, True)


def test_layers_adapted_in_other_ways_are_left_to_peft(vit, with_kernels):
    layer = plan_of(vit, model_of(vit, method="dora")).layers[0]
    assert layer.linear["q_proj"] == "peft" and layer.linear["fc1"] == "plain"
    assert not layer.one_pass and layer.fused_mlp


def test_fused_attention_of_torch_ends_the_single_pass(dinov2, with_kernels):
    plan = plan_of(dinov2, model_of(dinov2, method="lora"), attention="sdpa")
    assert plan.attention == "sdpa" and not plan.layers[0].one_pass


def test_with_matrix_instructions_products_are_onednns(dinov2, with_kernels, monkeypatch):
    monkeypatch.setattr(variants, "has_amx", lambda: True)
    plan = plan_of(dinov2, model_of(dinov2, method="lora"))
    assert plan.compiled and not plan.kernels.products
    assert not any(layer.one_pass or layer.fused_mlp for layer in plan.layers)
    assert plan.layers[0].compiled_norms == (True, True)


def test_fp32_is_compiled_as_half_precision_is_whatever_the_matrix_instructions(
    vit, with_kernels, monkeypatch
):
    monkeypatch.setattr(variants, "has_amx", lambda: True)
    plan = plan_of(vit, model_of(vit, method="lora"), torch.float32, attention=None)
    assert plan.attention == "plain" and plan.layers[0].one_pass
    assert plan.products.startswith(f"compiled for {plan.kernels.variant}, float32 on ")


@pytest.mark.parametrize(
    ("device", "dtype", "reason"),
    [("cpu", torch.float16, "not in float16"), ("cuda", torch.bfloat16, "CPUs")],
)
def test_it_says_why_nothing_is_compiled(device, dtype, reason):
    assert reason in dispatch.why_not_compiled(torch.device(device), dtype)


def test_a_machine_without_kernels_says_why(vit, monkeypatch):
    closed = library.OpenedLibrary(None, "there is no C compiler")
    monkeypatch.setattr(library, "open_library", lambda dtype: closed)
    plan = plan_of(vit, model_of(vit, method="lora"))
    assert plan.fast and not plan.compiled and plan.why_not_compiled == "there is no C compiler"
    assert not any(layer.one_pass or any(layer.compiled_norms) for layer in plan.layers)


def test_the_plan_is_what_result_json_states(vit):
    facts = plan_of(vit, model_of(vit, method="lora"), dtype=torch.float16).to_json()
    assert facts.keys() >= {"fast", "why_not_fast", "attention", "compiled_kernels", "products"}
    assert facts["fast"] and facts["attention"] == "plain" and not facts["compiled_kernels"]
    assert " on " in facts["products"]


def test_switched_off_is_not_given_as_a_reason(vit):
    recipe = resolve(Recipe(method="lora", fast=False), vit)
    network = make_network(build(recipe, vit, classes=("a", "b")), recipe, backbone=vit, transform=TRANSFORM)
    assert not network.plan.fast and network.plan.why_not_fast is None
    assert network.plan.attention == "transformers"


@pytest.mark.parametrize(
    ("size", "sides", "foldable"), [(32, (20, 20), True), (32, (20, 48), False), (16, (20, 20), False)]
)
def test_resizing_is_folded_where_it_enlarges(size, sides, foldable):
    shape = {"patch": 8, "width": 32, "dtype": torch.float32}
    assert dispatch.can_fold_resizing(TRANSFORM.with_size(size), sides, **shape) == foldable
    for other in (replace(TRANSFORM, resample="bicubic"), replace(TRANSFORM, foldable=False)):
        assert not dispatch.can_fold_resizing(other.with_size(size), sides, **shape)


def test_large_matrices_are_not_folded():
    assert not dispatch.can_fold_resizing(
        TRANSFORM.with_size(2048), (1024, 1024), patch=16, width=768, dtype=torch.float32
    )
