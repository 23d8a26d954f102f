"""Views of tiles as other sensors and finer ground would show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.sensor.atmosphere import Atmosphere

if TYPE_CHECKING:
    from torch import Tensor, dtype

_SMALLEST = 0.25  # side of the smallest window, as a fraction of the tile's side
_WHOLE = 0.25  # fraction of the views that show the whole tile
_RADIOMETRY = 0.8  # fraction of the views with another radiometry
_UNDIVIDED = 0.5  # fraction of the mosaics that show a single window
# Half widths of uniform distributions: logarithms of gains and gamma, the rest as fractions of white.
_GAIN, _BAND_GAIN, _OFFSET, _BAND_OFFSET, _GAMMA = 0.2, 0.06, 0.04, 0.03, 0.12
_HAZE = (-0.24, 0.16)  # in the bluest band: what an atmospheric correction takes, and what haze adds
_NOISE = 0.012  # largest standard deviation of the noise
_DEGRADED = 0.3  # fraction of the views with noise, and with blur

# Three kinds of `corruptions`, with strengths drawn from ranges, of whole tiles: the rest of a small window
# would often not tell its class.
_HAZY, _NOISY, _STRIPED = 0.1, 0.12, 0.06  # fraction of the views with each
_LOST = 0.75  # largest fraction of the ground's light that thick haze takes
_AIRLIGHT = (0.75, 1.0)  # brightness of thick haze: droplets scatter all bands much alike
# At white: a signal-to-noise ratio of 5 to 32, and less in the shade. That of Sentinel-2 is about 150 at its
# reference radiance (Drusch et al. 2012, doi:10.1016/j.rse.2011.11.026).
_ELECTRONS = (25, 1000)
_READ_NOISE = 2  # electrons
# Largest width of a stripe, as a fraction of the tile. Gaps of Landsat 7 without its line corrector are up
# to 14 of 64 pixels wide; a missing detector or the edge of the swath takes more.
_STRIPE_WIDTH = 0.35


def smallest_window(tile: int) -> int:
    """Return the side of the smallest window of tiles of `tile` pixels, in pixels."""
    return max(1, round(_SMALLEST * tile))


@dataclass(frozen=True)
class SensorAugmentation:
    """Views of tiles through other sensors, atmospheres and smaller windows.

    The side of a window is log-uniform between a quarter of the tile and the whole tile; the window is
    resized to the tile's size. Gain, offset and gamma of the image and of each band, haze, noise and blur are
    drawn from what differs between the products of one sensor, and between similar sensors. In training, some
    views are instead the whole tile with thick haze, with strong noise, or with a stripe without data.

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
        """Return the relative effect of haze at wavelengths in nm; 0 for unknown ones."""
        path = Atmosphere.at([each or np.inf for each in wavelengths]).path
        return tuple((path / max(path.max(), 1e-9)).tolist())

    def __call__(self, tiles: "Tensor") -> "Tensor":
        """Return a view of each tile to train on, some of them corrupted.

        Draws from torch's global generator.

        Args:
            tiles: uint8 or int32 (B, H, W, C).

        Returns:
            The same shape and dtype.
        """
        ground = self._reflectances(tiles)
        return self._values(_corrupt_some(self._random_views(ground), ground), tiles.dtype)

    def usable_views(self, tiles: "Tensor") -> "Tensor":
        """Return a view of each tile as in training, but none corrupted."""
        return self._values(self._random_views(self._reflectances(tiles)), tiles.dtype)

    def usable_mosaics(self, tiles: "Tensor", patches: int) -> "tuple[Tensor, Tensor]":
        """Return views of ground of several classes, and what each of their patches shows.

        Windows of four tiles are put together, two by two. A part of the size of a tile is cut out: at
        random, or a single window. The radiometry is that of views, none is corrupted.

        Args:
            tiles: uint8 or int32 (4 * V, H, W, C).
            patches: number of patches along a side of a view.

        Returns:
            Views (V, H, W, C) of the same dtype; and the fraction of each patch's area that shows each of the
            four tiles, float32 (V, patches * patches, 4).
        """
        mosaics, fractions = _random_mosaics(_random_windows(self._reflectances(tiles)), patches)
        return self._values(self._other_radiometry(mosaics), tiles.dtype), fractions

    def _reflectances(self, tiles: "Tensor") -> "Tensor":
        """Return tiles as float32 (B, C, H, W) with 1 for white."""
        return tiles.permute(0, 3, 1, 2).float() / self.white

    def _values(self, pixels: "Tensor", dtype: "dtype") -> "Tensor":
        """Return float32 (B, C, H, W) with 1 for white as tiles of a dtype."""
        values = (pixels * self.white).clamp(0, self.largest).round()
        return values.to(dtype).permute(0, 2, 3, 1).contiguous()

    def _random_views(self, ground: "Tensor") -> "Tensor":
        """Return a window of each image, most of them with another radiometry."""
        return self._other_radiometry(_random_windows(ground))

    def _other_radiometry(self, windows: "Tensor") -> "Tensor":
        """Change the radiometry of most windows."""
        import torch

        changed = _draw(windows) < _RADIOMETRY
        haze = torch.tensor(self.haze, device=windows.device).view(-1, 1, 1)
        return torch.where(changed, _random_radiometry(windows, haze), windows)


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


def _random_mosaics(windows: "Tensor", patches: int) -> "tuple[Tensor, Tensor]":
    """Cut parts of one window's size out of mosaics of four windows each, see `usable_mosaics`.

    Args:
        windows: (4 * V, C, H, W).
        patches: along a side of a part.
    """
    import torch

    count, bands, height, width = windows.shape
    mosaics = windows.view(count // 4, 2, 2, bands, height, width).permute(0, 3, 1, 4, 2, 5)
    mosaics = mosaics.reshape(-1, bands, 2 * height, 2 * width)
    whole = torch.rand(len(mosaics), 1) < _UNDIVIDED
    origins = torch.where(whole, torch.randint(2, (len(mosaics), 2)).float(), torch.rand(len(mosaics), 2))
    starts = (origins * torch.tensor([height, width])).round().long()
    parts = [
        mosaic[:, y : y + height, x : x + width]
        for mosaic, (y, x) in zip(mosaics, starts.tolist(), strict=True)
    ]
    # Along each axis, the fractions of each patch in the first window and in the second.
    ends = starts[..., None] * patches / torch.tensor([[height], [width]]) + torch.arange(1, patches + 1)
    second = (ends - patches).clamp(0, 1)
    rows, columns = torch.stack([1 - second, second], -1).unbind(1)
    fractions = torch.einsum("vri,vcj->vrcij", rows, columns).reshape(len(mosaics), patches**2, 4)
    return torch.stack(parts), fractions.to(windows.device)


def _random_radiometry(pixels: "Tensor", haze: "Tensor") -> "Tensor":
    """Change the radiometry of each image, (B, C, H, W) with 1 for white."""
    import torch
    from torch.nn import functional as F

    bands = pixels.shape[1]
    draw = partial(_draw, pixels)
    gain = torch.exp(draw((-_GAIN, _GAIN)) + draw((-_BAND_GAIN, _BAND_GAIN), channels=bands))
    offset = draw((-_OFFSET, _OFFSET)) + draw((-_BAND_OFFSET, _BAND_OFFSET), channels=bands)
    offset = offset + draw(_HAZE) * haze
    pixels = ((pixels + offset) * gain).clamp(min=0) ** torch.exp(draw((-_GAMMA, _GAMMA)))
    noise = torch.randn(pixels.shape).to(pixels.device) * draw((0, _NOISE))
    pixels = pixels + noise * (draw() < _DEGRADED)
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return torch.where(draw() < _DEGRADED, blurred, pixels)


def _corrupt_some(views: "Tensor", ground: "Tensor") -> "Tensor":
    """Replace some views by corrupted images of the ground, both (B, C, H, W)."""
    import torch

    kind, bound = _draw(ground), 0.0
    for fraction, corrupt in ((_HAZY, _thick_haze), (_NOISY, _shot_noise), (_STRIPED, _stripe)):
        chosen = (kind >= bound) & (kind < bound + fraction)
        views, bound = torch.where(chosen, corrupt(ground), views), bound + fraction
    return views


def _thick_haze(pixels: "Tensor") -> "Tensor":
    """Add thick haze, whose airlight replaces a fraction of the ground's light.

    Koschmieder's law as in Narasimhan and Nayar (2002, doi:10.1023/A:1016328200723).
    """
    lost = _draw(pixels, (0, _LOST))
    return pixels * (1 - lost) + _draw(pixels, _AIRLIGHT) * lost


def _shot_noise(pixels: "Tensor") -> "Tensor":
    """Add the noise of a sensor that counts few electrons.

    The Gaussian approximation of the model of Foi et al. (2008, doi:10.1109/TIP.2008.2001399).
    """
    import torch

    electrons = torch.exp(_draw(pixels, (math.log(_ELECTRONS[0]), math.log(_ELECTRONS[1]))))
    variance = pixels / electrons + (_READ_NOISE / electrons) ** 2
    return pixels + torch.randn(pixels.shape).to(pixels.device) * variance.sqrt()


def _stripe(pixels: "Tensor") -> "Tensor":
    """Set a random stripe of rows or columns of each image to zero."""
    import torch

    rows, columns = ((torch.arange(side) + 0.5).to(pixels.device) / side for side in pixels.shape[2:])
    place = torch.where(_draw(pixels) < 0.5, rows.view(-1, 1), columns)
    width = _draw(pixels, (0, _STRIPE_WIDTH))
    first = _draw(pixels) * (1 - width)
    return pixels.masked_fill((place >= first) & (place < first + width), 0)


def _draw(pixels: "Tensor", bounds: tuple[float, float] = (0, 1), *, channels: int = 1) -> "Tensor":
    """Draw uniform numbers per image and channel, float32 (B, channels, 1, 1)."""
    import torch

    low, high = bounds
    return (low + (high - low) * torch.rand(len(pixels), channels, 1, 1)).to(pixels.device)
