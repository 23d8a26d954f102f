"""Random patches are left out while training."""

import pytest
import torch

from orbitune.data.augment import drop_patches

TOKENS = torch.arange(2 * 10, dtype=torch.float32).view(2, 10, 1)  # two images, of one prefix token each


def test_the_prefix_and_the_wanted_fraction_of_patches_are_kept_in_order():
    kept = drop_patches(TOKENS, 0.4, prefix_tokens=1)
    assert kept.shape == (2, 1 + 5, 1)  # 5.4 of 9 patches
    assert torch.equal(kept[:, 0], TOKENS[:, 0])
    assert (kept.diff(dim=1) > 0).all()


def test_each_image_and_each_call_draws_its_own_patches():
    torch.manual_seed(0)
    many = torch.arange(65.0).view(1, 65, 1).expand(2, -1, -1)
    first, second = (drop_patches(many, 0.5, prefix_tokens=1) for _ in range(2))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, second)


def test_the_seed_of_torch_fixes_the_draw():
    drawn = []
    for _ in range(2):
        torch.manual_seed(1)
        drawn.append(drop_patches(TOKENS, 0.5, prefix_tokens=1))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("fraction", [0.95, 0.999])
def test_at_least_one_patch_is_kept(fraction):
    assert drop_patches(TOKENS, fraction, prefix_tokens=1).shape == (2, 2, 1)
