"""Patch embedding with resizing and normalisation in one matrix where exact."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from orbitune.data.transform import LARGEST, Transform, resize_matrix
from orbitune.fastpath.dispatch import can_fold_resizing, visible_pixels
from orbitune.models.inputs.positions import interpolate_positions, leading_tokens, position_embeddings
from orbitune.models.precision import baddbmm, linear

T = TypeVar("T")

# Subtracted from pixels: -128 to 127 is exact in half precision, and close to zero for typical tiles.
_PIXEL_OFFSET = 128
_COLOURS = 3


class PatchEmbedding:
    """The embeddings module of a backbone, reading tiles of integers.

    Bilinear upsampling, normalisation and the projection are linear. For the patch at a given position they
    are one matrix over the few pixels of the tile that it depends on.

    Args:
        embeddings: embeddings module of transformers.
        transform: resizing and normalisation.
        projection: convolution from pixels to patch embeddings.
        dtype: dtype of the tokens.
        antialias: whether position embeddings are interpolated with antialiasing.

    Attributes:
        projection: convolution from pixels to patch embeddings.
        prefix_tokens: number of tokens before those of the patches (class, distillation, registers).
        trained: whether any of its parameters is trained.
    """

    def __init__(
        self,
        embeddings: Any,
        transform: Transform,
        *,
        projection: Any,
        dtype: torch.dtype,
        antialias: bool = False,
    ) -> None:
        self.projection = projection
        self.trained = any(p.requires_grad for p in embeddings.parameters())
        self._positions, self._antialias = position_embeddings(embeddings), antialias
        self._transform, self._dtype = transform, dtype
        self._leading = leading_tokens(embeddings)
        self._registers = getattr(embeddings, "register_tokens", None)
        registers = 0 if self._registers is None else self._registers.shape[1]
        self.prefix_tokens = len(self._leading) + registers
        self._cache: dict[Any, Any] = {}

    def __call__(self, tiles: Tensor, size: int | None = None) -> Tensor:
        """Return tokens (B, N, D) of integer tiles (B, H, W, C), see `Transform`.

        Args:
            size: side in pixels to resize to, if not the transform's own.
        """
        transform = self._transform.with_size(size or self._transform.size)
        first, positions = self._cached(self._constant, transform.size)
        if self._folds(tiles, transform):
            normalised = tiles.dtype != torch.uint8
            height, width = tiles.shape[1:3]
            windows, weight, bias = self._cached(
                self._folded, transform, height=height, width=width, normalised=normalised
            )
            pixels = windows(self._centred(tiles, transform))
            patches = baddbmm((bias + positions).to(self._dtype)[:, None], pixels, weight).transpose(0, 1)
        else:
            pixels = transform(tiles).to(self._dtype)
            weight, bias = self._cached(self._matrix)
            projected = linear(self._to_patches(pixels), weight, bias)
            patches = projected.view(tiles.shape[0], len(positions), -1) + positions.to(self._dtype)
        return torch.cat([first.to(self._dtype).expand(tiles.shape[0], -1, -1), patches], 1)

    def _to_patches(self, pixels: Tensor) -> Tensor:
        """Flatten the patches of (B, C, size, size) to (B * P, C * side * side)."""
        side = self.projection.kernel_size[0]
        rows = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        return rows.permute(0, 2, 4, 1, 3, 5).reshape(-1, pixels.shape[1] * side * side)

    def _cached(self, make: Callable[..., T], *arguments: Any, **settings: Any) -> T:
        """Return what `make` returns, cached unless something in it is trained."""
        if self.trained:
            return make(*arguments, **settings)
        key = (make.__name__, *arguments, *settings.values())
        if key not in self._cache:
            with torch.no_grad():
                self._cache[key] = make(*arguments, **settings)
        return self._cache[key]

    def _matrix(self) -> tuple[Tensor, Tensor]:
        """Return the projection over `_to_patches` as a matrix, and its bias (D,)."""
        weight, bias = (p.to(self._dtype) for p in (self.projection.weight, self.projection.bias))
        return weight.flatten(1), bias

    def _constant(self, size: int) -> tuple[Tensor, Tensor]:
        """Return prefix tokens (1, S, D) and position embeddings of patches (P, D)."""
        side, count = size // self.projection.kernel_size[0], len(self._leading)
        if self._positions is None:  # positions rotate queries and keys instead
            first, patches = torch.cat(self._leading, 1), self.projection.weight.new_zeros(side**2, 1)
        else:
            before, patches = self._positions.split([count, self._positions.shape[1] - count], 1)
            patches = interpolate_positions(patches, side, antialias=self._antialias)[0]
            first = torch.cat(self._leading, 1) + before if count else before
        return first if self._registers is None else torch.cat([first, self._registers], 1), patches

    def _folds(self, tiles: Tensor, transform: Transform) -> bool:
        if self.trained and tiles.shape[3] != _COLOURS:
            return False  # the matrices of many bands cost more than they save, if rebuilt in every step
        patch, width = self.projection.kernel_size[0], self.projection.out_channels
        sides, bands = tiles.shape[1:3], tiles.shape[3]
        return can_fold_resizing(transform, sides, patch=patch, width=width, dtype=self._dtype, bands=bands)

    def _centred(self, tiles: Tensor, transform: Transform) -> Tensor:
        """Return pixels close to zero, as half precision needs; see `_normalisation`."""
        if tiles.dtype == torch.uint8:
            return tiles.to(self._dtype) - _PIXEL_OFFSET
        scale, offset = self._cached(self._normalisation, transform)
        return (tiles.float() * scale - offset).to(self._dtype)

    def _normalisation(self, transform: Transform) -> tuple[Tensor, Tensor]:
        """Return scale and offset (C,) that normalise pixels of 16 bits."""
        mean, std = (each.flatten() for each in transform.statistics(self.projection.weight.device))
        return 1 / (std * LARGEST["uint16"]), mean / std

    def _folded(
        self, transform: Transform, *, height: int, width: int, normalised: bool
    ) -> "tuple[Windows, Tensor, Tensor]":
        """Return each patch's pixel window, matrices (P, pixels, D), and the bias (D,).

        Args:
            normalised: whether the pixels are, so that the matrices only resize and project them.
        """
        device, patch = self.projection.weight.device, self.projection.kernel_size[0]
        (rows, high, down), (columns, wide, across) = (
            _cached_axis(side, patch, size=transform.size, resample=transform.resample, device=device)
            for side in (height, width)
        )
        weight, bias = self.projection.weight, self.projection.bias
        if not normalised:
            mean, std = transform.statistics(device)
            bias = bias + (weight / std * (_PIXEL_OFFSET / 255 - mean)).sum((1, 2, 3))
            weight = weight / std / 255
        folded = torch.einsum("dcuv,iuy,jvx->ijyxcd", weight, down, across).flatten(2, 4).flatten(0, 1)
        return Windows(rows, columns, height=high, width=wide), folded.to(self._dtype), bias


@functools.cache
def _cached_axis(
    side: int, patch: int, *, size: int, resample: str, device: torch.device
) -> tuple[list[int], int, Tensor]:
    """Return how the patches along one axis read its pixels, cached for training the projection.

    Args:
        side: pixels of the axis.
        patch: side of a patch in pixels of the model's input.
        size: input size in pixels.
        resample: interpolation, see `resize_matrix`.
        device: of the weights.

    Returns:
        The first pixel of each patch's window, the window's length, and the weights of its pixels, float32
        (patches, patch, length).
    """
    span = visible_pixels(side, patch, size=size)
    with torch.inference_mode(False):  # training after an evaluation saves the weights for the backward pass
        parts = resize_matrix(side, size, resample=resample).view(-1, patch, side)
        first = (parts.sum(1) > 0).int().argmax(1).clamp(max=side - span)
        index = first[:, None] + torch.arange(span)
        weights = parts.gather(2, index[:, None].expand(-1, patch, -1))
        return first.tolist(), span, weights.to(device)


class Windows:
    """The overlapping windows of a tile that the patches depend on.

    Args:
        rows, columns: first pixel of each window, (I,) and (J,).
        height, width: size of a window in pixels.
    """

    def __init__(self, rows: list[int], columns: list[int], *, height: int, width: int) -> None:
        self._rows, self._columns, self._height, self._width = rows, columns, height, width

    def __call__(self, tiles: Tensor) -> Tensor:
        """Return window pixels (I * J, B, height * width * C) of tiles (B, H, W, C)."""
        strips = torch.stack([tiles[:, row : row + self._height] for row in self._rows])
        parts = [strips[:, :, :, column : column + self._width] for column in self._columns]
        return torch.stack(parts, 1).flatten(3).flatten(0, 1)
