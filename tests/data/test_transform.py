import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from orbitune.data.transform import Transform, resize_matrix
from orbitune.errors import ModelError

TILES = torch.randint(0, 256, (16, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_pixels_are_scaled_and_normalised_per_channel():
    out = Transform(8, (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), "bilinear")(TILES)
    expected = (TILES[3, 2, 5].float() / 255 - torch.tensor([0.4, 0.5, 0.6])) / torch.tensor([0.1, 0.2, 0.3])
    assert out.shape == (16, 3, 8, 8) and out.dtype == torch.float32
    assert torch.allclose(out[3, :, 2, 5], expected, atol=1e-6)


def test_resizing_agrees_with_pillow_whose_resampling_checkpoints_were_trained_with():
    for size in (20, 5):
        ours = Transform(size, (0, 0, 0), (1, 1, 1), "bilinear")(TILES[:1])[0].permute(1, 2, 0) * 255
        theirs = Image.fromarray(TILES[0].numpy()).resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(ours.numpy() - np.asarray(theirs)).max() <= 1.01  # Pillow rounds twice


def test_resizing_is_torchs_up_and_down_and_what_overshoots_is_clipped():
    tiles = torch.randint(0, 256, (2, 40, 30, 3), dtype=torch.uint8)
    for size in (16, 64):
        for resample in ("bilinear", "bicubic"):
            found = Transform(size, (0, 0, 0), (1, 1, 1), resample)(tiles)
            pixels = tiles.permute(0, 3, 1, 2).float() / 255
            expected = interpolate(pixels, (size, size), mode=resample, antialias=True).clamp(0, 1)
            assert torch.allclose(found, expected, atol=4e-6)


def test_resizing_is_the_product_with_its_matrix():
    tiles = torch.randint(0, 256, (1, 20, 20, 3), dtype=torch.uint8)
    transform = Transform(32, (0.0,) * 3, (1.0,) * 3, "bilinear")
    matrix = resize_matrix(20, 32, resample="bilinear")
    channel = tiles[0, :, :, 0].float() / 255
    assert torch.allclose(matrix @ channel @ matrix.t(), transform(tiles)[0, 0], atol=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        (0, (0.5,) * 3, (0.5,) * 3, "bilinear"),
        (8, (0.5,), (0.5, 0.5), "bilinear"),
        (8, (0.5,) * 3, (0.5, 0.0, 0.5), "bilinear"),
        (8, (float("nan"),) * 3, (0.5,) * 3, "bilinear"),
        (8, ("0.5",) * 3, (0.5,) * 3, "bilinear"),
        (8, (0.5,) * 3, (0.5,) * 3, "lanczos"),
    ],
)
def test_preprocessing_that_makes_no_pixels_is_one_line(values):
    with pytest.raises(ModelError, match=r"^The preprocessing is damaged: .*\.$"):
        Transform(*values)
