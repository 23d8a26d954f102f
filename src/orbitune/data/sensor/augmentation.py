"""Augmentation for other sensors and for finer ground: views of tiles as another scene would show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.sensor.atmosphere import Atmosphere

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 0.25  # side of the smallest window, as a fraction of the tile's side
_WHOLE = 0.25  # fraction of the views that show the whole tile
_RADIOMETRY = 0.8  # fraction of the views with another radiometry
# Half widths of uniform distributions: logarithms of gains and gamma, the rest as fractions of white.
_GAIN, _BAND_GAIN, _OFFSET, _BAND_OFFSET, _GAMMA = 0.2, 0.06, 0.04, 0.03, 0.12
_HAZE = (-0.24, 0.16)  # in the bluest band: what an atmospheric correction takes, and what haze adds
_NOISE = 0.012  # largest standard deviation of the noise
_DEGRADED = 0.3  # fraction of the views with noise, and with blur


def smallest_window(tile: int) -> int:
    """Return the side of the smallest window of tiles of `tile` pixels, in pixels."""
    return max(1, round(_SMALLEST * tile))


@dataclass(frozen=True)
class SensorAugmentation:
    """Views of tiles through other sensors, other air and smaller windows.

    The side of a window is log-uniform between a quarter of the tile and the whole tile; the window is
    resized to the tile's size. Gain, offset and gamma of the image and of each band, haze, noise and blur are
    drawn from what differs between the products of one sensor, and between similar sensors.

    Attributes:
        haze: effect of haze on each band, relative to the band where it is largest, 0..1.
        white: pixel value of the brightest ground.
        largest: largest pixel value of the dtype.
    """

    haze: tuple[float, ...]
    white: float = 255
    largest: float = 255

    @staticmethod
    def haze_of(wavelengths: Sequence[float | None]) -> tuple[float, ...]:
        """Return the relative effect of haze at wavelengths in nanometres; 0 where one is not known."""
        path = Atmosphere.at([each or np.inf for each in wavelengths]).path
        return tuple((path / max(path.max(), 1e-9)).tolist())

    def __call__(self, tiles: "Tensor") -> "Tensor":
        """Return a view of each tile, with draws from torch's global generator.

        Args:
            tiles: uint8 or int32 (B, H, W, C).

        Returns:
            The same shape and dtype.
        """
        import torch

        pixels = _random_windows(tiles.permute(0, 3, 1, 2).float() / self.white)
        changed = torch.rand(len(tiles), 1, 1, 1).to(tiles.device) < _RADIOMETRY
        haze = torch.tensor(self.haze, device=tiles.device).view(-1, 1, 1)
        pixels = torch.where(changed, _random_radiometry(pixels, haze), pixels)
        values = (pixels * self.white).clamp(0, self.largest).round()
        return values.to(tiles.dtype).permute(0, 2, 3, 1).contiguous()


def _random_windows(pixels: "Tensor") -> "Tensor":
    """Cut a random window out of each image (B, C, H, W), and resize it to H x W."""
    import torch
    from torch.nn import functional as F

    count = len(pixels)
    side = torch.exp(torch.rand(count) * math.log(_SMALLEST))
    side[torch.rand(count) < _WHOLE] = 1
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = side
    theta[:, :, 2] = (2 * torch.rand(count, 2) - 1) * (1 - side)[:, None]
    grid = F.affine_grid(theta.to(pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)


def _random_radiometry(pixels: "Tensor", haze: "Tensor") -> "Tensor":
    """Change the radiometry of each image, (B, C, H, W) with 1 for white."""
    import torch
    from torch.nn import functional as F

    count, bands = pixels.shape[:2]

    def draw(low: float, high: float, channels: int = 1) -> "Tensor":
        """Return uniform numbers, one for each image and channel."""
        return (low + (high - low) * torch.rand(count, channels, 1, 1)).to(pixels.device)

    gain = torch.exp(draw(-_GAIN, _GAIN) + draw(-_BAND_GAIN, _BAND_GAIN, bands))
    offset = draw(-_OFFSET, _OFFSET) + draw(-_BAND_OFFSET, _BAND_OFFSET, bands) + draw(*_HAZE) * haze
    pixels = ((pixels + offset) * gain).clamp(min=0) ** torch.exp(draw(-_GAMMA, _GAMMA))
    noise = torch.randn(pixels.shape).to(pixels.device) * draw(0, _NOISE)
    pixels = pixels + noise * (draw(0, 1) < _DEGRADED)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(draw(0, 1) < _DEGRADED, blurred, pixels)
