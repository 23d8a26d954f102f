"""Preprocessing of tiles: rescaling, resizing and normalisation.

Whole batches are transformed on the device they lie on. Tiles stay uint8 until then, so that nothing is
decoded, resized or copied image by image.
"""

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from orbitune.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

TileDtype = Literal["uint8", "uint16"]
LARGEST = {"uint8": 255, "uint16": 65535}  # by dtype of the tiles; becomes 1


@dataclass(frozen=True)
class Transform:
    """Rescale pixels to 0..1, resize to `size` x `size`, then normalise each band.

    Attributes:
        size: side of the model input in pixels.
        mean: subtracted from each band, in units of 0..1.
        std: each band is then divided by it.
        resample: interpolation, "bilinear" or "bicubic", with antialiasing.
        foldable: whether the fast path may fold the transform into the patch embedding.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str
    foldable: bool = True

    def __post_init__(self) -> None:
        """Validate the values, which are read from files.

        Raises:
            ModelError: a value is missing, not finite, zero where it divides, or not known.
        """
        numbers = (*self.mean, *self.std)
        sound = (
            isinstance(self.size, int)
            and self.size > 0
            and len(self.mean) == len(self.std) > 0
            and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            and all(self.std)
            and self.resample in ("bilinear", "bicubic")
        )
        if not sound:
            raise ModelError(
                f"The preprocessing is damaged: size {self.size!r}, mean {self.mean!r}, std {self.std!r} "
                f"and resizing {self.resample!r} are not usable. Download the model's files again."
            )

    def __call__(self, tiles: "Tensor") -> "Tensor":
        """Transform a batch.

        Args:
            tiles: integers (B, H, W, C): uint8, or another type for 16 bits, see `to_tensor`.

        Returns:
            float32 (B, C, size, size).
        """
        import torch

        pixels = tiles.permute(0, 3, 1, 2).float() / largest_value(tiles)
        if pixels.shape[2:] != (self.size, self.size):
            down, across = (
                _cached_resize_matrix(side, self.size, resample=self.resample, device=tiles.device)
                for side in pixels.shape[2:]
            )
            pixels = (down @ (pixels @ across.T)).clamp(0, 1)  # bicubic resizing may overshoot
        mean, std = self.statistics(tiles.device)
        return torch.addcmul(-mean / std, pixels, 1 / std)

    def statistics(self, device: "torch.device") -> "tuple[Tensor, Tensor]":
        """Return mean and standard deviation of each band, float32 (C, 1, 1)."""
        return _cached_column(self.mean, device=device), _cached_column(self.std, device=device)

    def with_size(self, size: int) -> "Transform":
        """Return this transform with another output size in pixels."""
        return self if size == self.size else replace(self, size=size)


def largest_value(tiles: "Tensor") -> int:
    """Return the value of integer tiles that becomes 1: 255 for uint8, else 65535."""
    import torch

    return LARGEST["uint8" if tiles.dtype == torch.uint8 else "uint16"]


def to_tensor(tiles: "np.ndarray", device: "torch.device | str" = "cpu") -> "Tensor":
    """Return tiles as a tensor; uint16 becomes int32, which torch supports better.

    Args:
        tiles: uint8 or uint16 (B, H, W, C).
        device: of the tensor.
    """
    import torch

    tensor = torch.from_numpy(tiles).to(device)
    return tensor if tensor.dtype == torch.uint8 else tensor.to(torch.int32)


def resize_matrix(side: int, size: int, *, resample: str) -> "Tensor":
    """Return the matrix that resizes one axis: `matrix @ pixels`.

    It is that of `torch.nn.functional.interpolate` with antialiasing. Two matrix products take half of the
    time of `interpolate`, and give the same pixels in every runtime.

    Args:
        side: pixels of the axis before.
        size: pixels after.
        resample: "bilinear" or "bicubic".

    Returns:
        float32 (size, side).
    """
    import torch
    from torch.nn import functional as F

    image = torch.eye(side)[None, None]  # one unit impulse in each column
    return F.interpolate(image, (size, side), mode=resample, align_corners=False, antialias=True)[0, 0]


@functools.cache
def _cached_column(values: tuple[float, ...], *, device: "torch.device") -> "Tensor":
    """Return values as float32 (C, 1, 1), cached, so that a GPU need not wait for the copy in every step."""
    import torch

    with torch.inference_mode(False):  # training after an evaluation saves it for the backward pass
        return torch.tensor(values, device=device).view(-1, 1, 1)


@functools.cache
def _cached_resize_matrix(side: int, size: int, *, resample: str, device: "torch.device") -> "Tensor":
    """Return the cached `resize_matrix`, so that tracing sees a constant."""
    return resize_matrix(side, size, resample=resample).to(device)
