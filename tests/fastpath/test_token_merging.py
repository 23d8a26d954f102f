import pytest
import torch
from samples import backbone_folder

from orbitune.data.transform import Transform
from orbitune.errors import ModelError
from orbitune.evaluation.network import fast_network
from orbitune.fastpath.attention import attend
from orbitune.fastpath.token_merging import attend_merged, check_merging, merge
from orbitune.models.backbones import find_backbone, load_weights
from orbitune.models.families.table import FAMILIES

TILES = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TRANSFORM = Transform(32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def network(place, model_type="vit", merge_after=(), layers=3):
    backbone = find_backbone(str(backbone_folder(place / model_type, model_type, layers)))
    model = load_weights(backbone, ("a", "b"), seed=0).eval().requires_grad_(False)
    return fast_network(
        model, backbone.family, transform=TRANSFORM, dtype=torch.float32, merge_after=merge_after
    ).eval()


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


def test_a_token_counts_as_often_as_its_size_says():
    first = torch.randn(2, 5, 3, 2, 4)
    doubled = torch.cat([first, first[:, -1:]], 1)
    sizes = torch.tensor([[1.0, 1, 1, 1, 2]]).expand(2, -1)
    expected = attend("plain", [doubled])[:, :5]
    assert torch.allclose(attend_merged(sizes, [first]), expected, atol=1e-6)


def test_merging_tokens_that_are_equal_changes_nothing(tmp_path):
    exact, merged = (network(tmp_path / str(len(after)), merge_after=after) for after in ((), (1, 2)))
    for each in (exact, merged):
        each.model.vit.embeddings.position_embeddings.data.zero_()
    grey = TILES[:, :1, :1].expand(-1, 32, 32, -1).contiguous()
    assert torch.allclose(exact(grey), merged(grey), atol=1e-5)
    assert not torch.allclose(exact(TILES), merged(TILES), atol=1e-5)


def test_a_distilled_model_keeps_both_of_its_first_tokens(tmp_path):
    assert network(tmp_path, "deit", merge_after=(1,))(TILES).shape == (3, 2)


def test_what_cannot_merge_is_refused_in_one_line():
    check_merging((), FAMILIES["dinov2"], depth=12)
    check_merging((3, 6), FAMILIES["vit"], depth=12)
    with pytest.raises(ModelError, match="its head reads the patches themselves"):
        check_merging((3,), FAMILIES["dinov2"], depth=12)
    for blocks in ((12,), (0,), (6, 3), (3, 3)):
        with pytest.raises(ModelError, match="name blocks from 1 to 11, each once and in order"):
            check_merging(blocks, FAMILIES["vit"], depth=12)
