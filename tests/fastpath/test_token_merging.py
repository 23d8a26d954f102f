import pytest
import torch
from samples import backbone_folder
from torch.nn import functional as F

from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.network import fast_network, make_network
from orbitune.fastpath.attention import KERNELS, attend
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.factory import build, resolve
from orbitune.models.token_merging import check_merging, merge
from orbitune.recipe import Recipe

TILES = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TRANSFORM = Transform(32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def network(place, model_type="vit", merge_after=(), layers=3):
    backbone = find_backbone(str(backbone_folder(place / model_type, model_type, layers)))
    model = load_weights(backbone, ("a", "b"), seed=0).eval().requires_grad_(False)
    return fast_network(
        model, backbone.family, transform=TRANSFORM, dtype=torch.float32, merge_after=merge_after
    ).train()


def test_each_merging_halves_the_patches_and_leaves_the_first_tokens():
    x = torch.randn(2, 1 + 9, 8)
    once, sizes = merge(x, None, prefix_tokens=1)
    assert once.shape == (2, 1 + 4, 8) and torch.equal(once[:, 0], x[:, 0])
    twice, sizes = merge(once, sizes, prefix_tokens=1)
    assert twice.shape == (2, 1 + 2, 8)
    assert torch.equal(sizes[:, 0], torch.ones(2)) and torch.equal(sizes[:, 1:].sum(1), torch.full((2,), 9.0))


def test_a_merged_token_is_the_mean_of_its_tokens():
    x = torch.randn(2, 1 + 16, 8)
    merged, sizes = merge(*merge(x, None, prefix_tokens=1), prefix_tokens=1)
    expected = x[:, 1:].sum(1)
    assert torch.allclose((merged[:, 1:] * sizes[:, 1:, None]).sum(1), expected, atol=1e-5)


def test_a_patch_joins_the_one_most_like_it():
    a, b = torch.eye(4)[:2]
    tokens = torch.stack([a, a, b, 3 * b, a, b])[None]  # the first, third and fifth patch go
    merged, sizes = merge(tokens, None, prefix_tokens=1)
    assert sizes[0].tolist() == [1, 3, 2]
    assert torch.allclose(merged[0, 1:] / merged[0, 1:].norm(dim=1, keepdim=True), torch.stack([b, a]))


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_token_counts_as_often_as_its_size_says(kernel):
    first = torch.randn(2, 5, 3, 2, 4)
    doubled = torch.cat([first, first[:, -1:]], 1)
    sizes = torch.tensor([[1.0, 1, 1, 1, 2]]).expand(2, -1)
    expected = attend("plain", [doubled])[:, :5]
    assert torch.allclose(attend(kernel, [first], sizes=sizes), expected, atol=1e-6)


@pytest.mark.parametrize("queries", [5, 1])
@pytest.mark.parametrize("kernel", KERNELS)
def test_gradients_of_attention_to_merged_tokens_are_those_of_autograd(kernel, queries):
    sizes = torch.tensor([[1.0, 1, 3, 1, 2], [1, 4, 1, 1, 1]])
    qkv = [torch.randn(2, n, parts, 3, 4, requires_grad=True) for n, parts in ((queries, 1), (5, 2))]
    q, k, v = (t.transpose(1, 2) for each in qkv for t in each.unbind(2))
    scores = q @ k.transpose(2, 3) / 2 + sizes.log()[:, None, None]
    expected = (scores.softmax(-1) @ v).transpose(1, 2)
    found = attend(kernel, qkv, sizes=sizes)
    assert torch.allclose(found, expected, atol=1e-6)
    pairs = zip(*(torch.autograd.grad(each.square().sum(), qkv) for each in (found, expected)), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_merging_tokens_that_are_equal_changes_nothing(tmp_path):
    exact, merged = (network(tmp_path / str(len(after)), merge_after=after) for after in ((), (1, 2)))
    for each in (exact, merged):
        each.model.vit.embeddings.position_embeddings.data.zero_()
    grey = TILES[:, :1, :1].expand(-1, 32, 32, -1).contiguous()
    assert torch.allclose(exact(grey), merged(grey), atol=1e-5)
    assert not torch.allclose(exact(TILES), merged(TILES), atol=1e-5)


def test_a_distilled_model_keeps_both_of_its_first_tokens(tmp_path):
    assert network(tmp_path, "deit", merge_after=(1,))(TILES).shape == (3, 2)


def test_what_cannot_merge_is_refused_in_one_line(tmp_path):
    vit, dinov2, swin = (
        find_backbone(str(backbone_folder(tmp_path / kind, kind, layers=4)))
        for kind in ("vit", "dinov2", "swin")
    )
    check_merging((), dinov2)
    check_merging((1, 3), vit, patches=4)
    with pytest.raises(ModelError, match=r"of DINOv2 cannot .* reads the patches themselves"):
        check_merging((3,), dinov2)
    with pytest.raises(ModelError, match=r"of Swin cannot be merged .*: it attends within shifted windows"):
        check_merging((1,), swin)
    with pytest.raises(ModelError, match=r"after blocks 1,3 .* 3 patches, too few to halve 2 times"):
        check_merging((1, 3), vit, patches=3)
    for blocks in ((4,), (0,), (3, 1), (3, 3)):
        with pytest.raises(ModelError, match="name blocks from 1 to 3, each once and in order"):
            check_merging(blocks, vit)


def networks(place, model_type="vit", attention="plain", **settings):
    """The same model on the plain and on the fast path, with merging after blocks 1 and 2 of 4."""
    backbone = find_backbone(str(backbone_folder(place / model_type, model_type, layers=4)))
    given = {"precision": "fp32", "merge_tokens": "1,2", "lora": {"dropout": 0}, **settings}
    recipe = resolve(Recipe(**given), backbone)
    for fast in (False, True):
        model = build(recipe, backbone, classes=("a", "b", "c"))
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
        one = recipe.replace(fast=fast)
        yield make_network(model, one, backbone=backbone, transform=TRANSFORM, attention=attention)


def assert_alike(plain, fast, tolerance=1e-5):
    """Logits and gradients of a training step, the latter in units of the largest."""
    found = []
    for network in (plain, fast):
        logits = network.train()(TILES)
        F.cross_entropy(logits, torch.arange(3)).backward()
        named = network.model.named_parameters()
        found.append((logits, {name: p.grad for name, p in named if p.grad is not None}))
    (logits, gradients), (fast_logits, fast_gradients) = found
    assert torch.allclose(logits, fast_logits, atol=tolerance) and gradients.keys() == fast_gradients.keys()
    largest = max(gradient.abs().max() for gradient in gradients.values())
    for name, gradient in gradients.items():
        assert (gradient - fast_gradients[name]).abs().max() <= tolerance * largest, name


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("model_type", ["vit", "deit", "vit_msn"])
@pytest.mark.parametrize("method", ["full", "lora"])
def test_both_paths_merge_alike_forward_and_backward(tmp_path, method, model_type, kernel):
    assert_alike(*networks(tmp_path, model_type, method=method, attention=kernel))


@pytest.mark.parametrize(
    "settings", [{"method": "dora"}, {"method": "bitfit"}, {"method": "topk", "lora": {"top_layers": 2}}]
)
def test_other_methods_train_with_merged_tokens(tmp_path, settings):
    assert_alike(*networks(tmp_path, **settings))


@pytest.mark.parametrize("method", ["full", "lora"])
def test_recomputed_activations_merge_alike(tmp_path, method):
    assert_alike(*networks(tmp_path, method=method, checkpointing=True))


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_frozen_first_layers_hand_the_sizes_of_their_tokens_on(tmp_path, frozen):
    pair = list(networks(tmp_path, method="full"))
    for each in pair:
        each.frozen_layers = frozen
    assert_alike(*pair)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_bfloat16_differs_by_its_rounding_only(tmp_path, method):
    # Where two patches are about equally alike, rounding decides; here it does not.
    assert_alike(*networks(tmp_path, method=method, precision="bf16"), tolerance=0.05)


@pytest.mark.parametrize("fast", [False, True])
def test_training_alone_merges_tokens(tmp_path, fast):
    merging, exact = (list(networks(tmp_path, merge_tokens=blocks))[fast] for blocks in ("1,2", None))
    assert not torch.allclose(merging.train()(TILES), exact.train()(TILES), atol=1e-4)
    with torch.inference_mode():
        assert torch.equal(merging.eval()(TILES), exact.eval()(TILES))
