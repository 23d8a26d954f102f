"""Tiles to model input, a batch at a time on the batch's device: random flips, resizing, normalisation.

Tiles stay uint8 until here, so nothing is decoded, resized or copied per image.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orbitune.errors import ModelError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Transform:
    """Scale pixels to 0..1, resize to `size` x `size`, then (x - mean) / std per channel.

    Attributes:
        folds: whether a patch embedding may take it in, as a matrix for each place.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str
    folds: bool = True

    def __post_init__(self) -> None:
        """Check the values, which come out of files.

        Raises:
            ModelError: with them no pixel would become a number.
        """
        numbers = (*self.mean, *self.std)
        sound = (
            isinstance(self.size, int)
            and self.size > 0
            and len(self.mean) == len(self.std) == 3
            and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and all(self.std)
            and self.resample in ("bilinear", "bicubic")
        )
        if not sound:
            raise ModelError(
                f"The preprocessing is damaged: size {self.size!r}, mean {self.mean!r}, std {self.std!r} "
                f"and resizing {self.resample!r} make no pixels. Download the model's files again."
            )

    def __call__(self, tiles: "Tensor") -> "Tensor":
        """uint8 (B, H, W, 3) to float32 (B, 3, size, size)."""
        import torch

        pixels = tiles.permute(0, 3, 1, 2).float() / 255
        if pixels.shape[2:] != (self.size, self.size):
            down, across = (
                _kept_matrix(side, self.size, self.resample, tiles.device) for side in pixels.shape[2:]
            )
            pixels = (down @ (pixels @ across.T)).clamp(0, 1)  # bicubic resizing may overshoot
        mean, std = (torch.tensor(v, device=tiles.device).view(3, 1, 1) for v in (self.mean, self.std))
        return torch.addcmul(-mean / std, pixels, 1 / std)

    def at(self, size: int) -> "Transform":
        """The same transform to another size."""
        return self if size == self.size else replace(self, size=size)


def resize_matrix(side: int, size: int, resample: str) -> "Tensor":
    """What resizing does along one axis, float32 (size, side): `matrix @ pixels` is the resized axis.

    Two products resize in half of the time of torch's own way, and alike in every runtime.
    """
    import torch
    from torch.nn import functional as F

    image = torch.eye(side)[None, None]  # each column has one bright pixel
    return F.interpolate(image, (size, side), mode=resample, align_corners=False, antialias=True)[0, 0]


@functools.cache
def _kept_matrix(side: int, size: int, resample: str, device: "torch.device") -> "Tensor":
    """The same, kept from the first call: what traces a later one finds a constant."""
    return resize_matrix(side, size, resample).to(device)


def symmetries(tiles: "Tensor") -> "list[Tensor]":
    """The tiles (B, H, W, C) as they lie and turned and flipped: 8 ways, or 4 where they are oblong."""
    views = [tiles, tiles.flip(1), tiles.flip(2), tiles.flip(1, 2)]
    return views + [v.transpose(1, 2) for v in views] if tiles.shape[1] == tiles.shape[2] else views


def mixup(tiles: "Tensor", targets: "Tensor", alpha: float) -> "tuple[Tensor, Tensor]":
    """Mix each tile and its target with another of the batch (Zhang et al. 2018, arXiv:1710.09412).

    Draws from torch's global generator: one share for the batch, from Beta(alpha, alpha), and the partners.

    Args:
        tiles: uint8 (B, H, W, C); what comes back is rounded to uint8 again.
        targets: class probabilities, float (B, C).
    """
    import torch

    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(len(tiles)).to(tiles.device)
    mixed = torch.lerp(tiles[partner].float(), tiles.float(), share).round().to(tiles.dtype)
    return mixed, torch.lerp(targets[partner], targets, share)


def flips_and_turns(tiles: "Tensor") -> "Tensor":
    """Give each tile one of the square's eight symmetries at random: what lies below has no upright.

    Draws from torch's global generator. Tiles that are not square are only flipped.

    Args:
        tiles: (B, H, W, C), any dtype.
    """
    import torch

    def sometimes(tiles: "Tensor", change: Callable[["Tensor"], "Tensor"]) -> "Tensor":
        drawn = (torch.rand(len(tiles)) < 0.5).nonzero()[:, 0].to(tiles.device)
        return tiles.index_copy(0, drawn, change(tiles.index_select(0, drawn)))

    tiles = sometimes(tiles, lambda some: some.flip(1))
    tiles = sometimes(tiles, lambda some: some.flip(2))
    if tiles.shape[1] == tiles.shape[2]:
        tiles = sometimes(tiles, lambda some: some.transpose(1, 2))
    return tiles
