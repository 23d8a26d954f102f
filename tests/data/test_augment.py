import torch

from orbitune.data.augment import dihedral_views, mixup, random_dihedral

TILES = torch.randint(0, 256, (16, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_each_tile_gets_one_of_its_eight_flips_and_quarter_turns():
    torch.manual_seed(0)
    turned = random_dihedral(TILES)
    kinds = set()
    for tile, out in zip(TILES, turned, strict=True):
        square = [torch.rot90(t, k) for t in (tile, tile.flip(0)) for k in range(4)]
        matches = [kind for kind, candidate in enumerate(square) if torch.equal(candidate, out)]
        assert matches
        kinds.add(matches[0])
    assert len(kinds) >= 5


def test_random_flips_follow_the_seed():
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(random_dihedral(TILES))
    assert torch.equal(*outs)


def test_tiles_that_are_not_square_keep_their_shape():
    assert random_dihedral(TILES[:, :4]).shape == (16, 4, 8, 3)


def test_a_square_has_eight_views_and_an_oblong_four():
    assert len({v.numpy().tobytes() for v in dihedral_views(TILES[:1, :5, :5])}) == 8
    assert len({v.numpy().tobytes() for v in dihedral_views(TILES[:1, :5, :6])}) == 4


def test_mixup_mixes_tiles_and_targets_with_the_same_weight():
    torch.manual_seed(0)
    tiles = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
    tiles[1] = 200
    mixed, targets = mixup(tiles, torch.eye(2), alpha=1.0)
    assert torch.allclose(targets.sum(1), torch.ones(2))
    assert torch.allclose(mixed[:, 0, 0, 0].float(), 200 * targets[:, 1], atol=0.51)
