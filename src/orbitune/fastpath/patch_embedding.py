"""Tiles to tokens: resizing, normalisation and patch embedding, as one product where that is exact."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from orbitune.data.transform import Transform, resize_matrix
from orbitune.models.precision import linear, sum_of

T = TypeVar("T")

_LARGEST_FOLD = 64 << 20  # bytes; a larger folded matrix would cost more than the resizing it saves
_MIDDLE = 128  # taken off the pixels: -128 to 127 is exact in half precision, and small where tiles are grey


class PatchEmbedding:
    """The embeddings module of a backbone, reading uint8 tiles.

    Bilinear upsampling, normalisation and the projection are linear, so for the patch at a given place they
    are one matrix over the few pixels of the tile that it sees. Bicubic resizing is not linear here, as what
    overshoots is clipped.

    Attributes:
        specials: how many tokens come before those of the patches.
        trained: whether any of its parameters is.
    """

    def __init__(self, embeddings: Any, transform: Transform, dtype: torch.dtype) -> None:
        self.embeddings = embeddings
        self.transform = transform
        self.dtype = dtype
        self.projection = embeddings.patch_embeddings.projection
        names = ("cls_token", "distillation_token")
        self.leading = [t for name in names if (t := getattr(embeddings, name, None)) is not None]
        self.registers = getattr(embeddings, "register_tokens", None)
        self.specials = len(self.leading) + (0 if self.registers is None else self.registers.shape[1])
        self.trained = any(p.requires_grad for p in embeddings.parameters())
        self._kept: dict[Any, Any] = {}

    def __call__(self, tiles: Tensor, size: int | None = None) -> Tensor:
        """uint8 (B, H, W, 3), resized to `size` pixels if not to the transform's, to tokens (B, N, D)."""
        transform = self.transform.with_size(size or self.transform.size)
        first, places = self._once(self._constant, transform.size)
        if self._folds(tiles, transform):
            windows, weight, bias = self._once(self._folded, transform, *tiles.shape[1:3])
            pixels = windows(tiles.to(self.dtype) - _MIDDLE)
            patches = sum_of((bias + places).to(self.dtype)[:, None], pixels, weight).transpose(0, 1)
        else:
            pixels = transform(tiles).to(self.dtype)
            weight, bias = self._once(self._matrix)
            projected = linear(self._cut(pixels), weight, bias)
            patches = projected.view(tiles.shape[0], len(places), -1) + places.to(self.dtype)
        return torch.cat([first.to(self.dtype).expand(tiles.shape[0], -1, -1), patches], 1)

    def _cut(self, pixels: Tensor) -> Tensor:
        """(B, 3, size, size) to the pixels of each patch (B * P, 3 * side * side), row by row."""
        side = self.projection.kernel_size[0]
        rows = pixels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        return rows.permute(0, 2, 4, 1, 3, 5).reshape(-1, pixels.shape[1] * side * side)

    def _once(self, make: Callable[..., T], *arguments: Any) -> T:
        """What `make` gives, kept where nothing in it is trained."""
        if self.trained:
            return make(*arguments)
        key = (make.__name__, *arguments)
        if key not in self._kept:
            with torch.no_grad():
                self._kept[key] = make(*arguments)
        return self._kept[key]

    def _matrix(self) -> tuple[Tensor, Tensor]:
        """The projection as a matrix (D, 3 * side * side) over what `_cut` gives, and its bias (D,)."""
        weight, bias = (p.to(self.dtype) for p in (self.projection.weight, self.projection.bias))
        return weight.flatten(1), bias

    def _constant(self, size: int) -> tuple[Tensor, Tensor]:
        """The first tokens (1, S, D), and what is added to each patch (P, D) for its place."""
        patch, width = self.projection.kernel_size[0], self.projection.out_channels
        count = len(self.leading) + (size // patch) ** 2
        shape_only = torch.empty(1, count, width, device="meta")
        places = self.embeddings.interpolate_pos_encoding(shape_only, size, size)
        before, patches = places[:, : len(self.leading)], places[0, len(self.leading) :]
        first = torch.cat(self.leading, 1) + before
        return first if self.registers is None else torch.cat([first, self.registers], 1), patches

    def _folds(self, tiles: Tensor, transform: Transform) -> bool:
        grows = transform.size > max(tiles.shape[1:3]) and transform.resample == "bilinear"
        if not (grows and transform.foldable):
            return False
        seen = [self._span(side, transform) for side in tiles.shape[1:3]]
        count = (transform.size // self.projection.kernel_size[0]) ** 2
        entries = count * seen[0] * seen[1] * 3 * self.projection.out_channels
        return entries * self.dtype.itemsize <= _LARGEST_FOLD

    def _span(self, side: int, transform: Transform) -> int:
        """Pixels of a tile's side that one patch sees: its share, and a neighbour on each end."""
        return min(side, -(-self.projection.kernel_size[0] * side // transform.size) + 2)

    def _folded(self, transform: Transform, height: int, width: int) -> "tuple[Windows, Tensor, Tensor]":
        """The windows that the patches see, their matrices (P, pixels, D) and bias (D,)."""
        device, patch = self.projection.weight.device, self.projection.kernel_size[0]
        axes = []
        for side in (height, width):
            matrix = resize_matrix(side, transform.size, transform.resample).to(device)
            span = self._span(side, transform)
            parts = matrix.view(-1, patch, side)
            first = (parts.sum(1) > 0).int().argmax(1).clamp(max=side - span)
            index = first[:, None] + torch.arange(span, device=device)
            axes.append((first.tolist(), span, parts.gather(2, index[:, None].expand(-1, patch, -1))))
        (rows, high, down), (columns, wide, across) = axes
        mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (transform.mean, transform.std))
        weight = self.projection.weight / std
        folded = torch.einsum("dcuv,iuy,jvx->ijyxcd", weight / 255, down, across).flatten(2, 4).flatten(0, 1)
        bias = self.projection.bias + (weight * (_MIDDLE / 255 - mean)).sum((1, 2, 3))
        return Windows(rows, columns, high, wide), folded.to(self.dtype), bias


class Windows:
    """The overlapping parts of a tile that the patches see, (height, width) each.

    Args:
        rows, columns: where they begin, (I,) and (J,).
    """

    def __init__(self, rows: list[int], columns: list[int], height: int, width: int) -> None:
        self.rows, self.columns, self.height, self.width = rows, columns, height, width

    def __call__(self, tiles: Tensor) -> Tensor:
        """(B, H, W, 3) to (I * J, B, h * w * 3)."""
        strips = torch.stack([tiles[:, row : row + self.height] for row in self.rows])
        parts = torch.stack([strips[:, :, :, column : column + self.width] for column in self.columns], 1)
        return parts.flatten(3).flatten(0, 1)
