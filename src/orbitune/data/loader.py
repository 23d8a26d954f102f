"""Batches of tiles on the device that trains."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.augment import random_dihedral
from orbitune.data.tileset import TileSet

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_MAX_FRACTION = 0.5  # of a GPU's free memory that tiles may take


class TileLoader:
    """Load batches of a tile set onto a device.

    Tiles stay uint8: 12 kB each at 64 x 64 pixels, not the 600 kB of a resized float image.
    """

    def __init__(self, tiles: TileSet, device: "torch.device") -> None:
        import torch

        self._tiles = tiles
        self._device = device
        self._resident: Tensor | None = None
        if device.type == "cuda" and tiles.tiles.nbytes <= _MAX_FRACTION * torch.cuda.mem_get_info(device)[0]:
            self._resident = torch.from_numpy(tiles.read(np.arange(len(tiles.tiles)))).to(device)

    def tiles(self, indices: np.ndarray) -> "Tensor":
        """Return the tiles at these indices, uint8 (len(indices), H, W, 3)."""
        import torch

        if self._resident is not None:
            return self._resident[torch.from_numpy(indices).to(self._device)]
        return torch.from_numpy(self._tiles.read(indices)).to(self._device)

    def augmented(self, indices: np.ndarray, augment: str) -> "Tensor":
        """Return the tiles, with random flips and quarter turns if `augment` is "flips".

        Args:
            indices: tiles to load, int (N,).
            augment: "flips" or "none".

        Returns:
            uint8 (N, H, W, 3), on the loader's device.
        """
        tiles = self.tiles(indices)
        return random_dihedral(tiles) if augment == "flips" else tiles

    def labels(self, indices: np.ndarray) -> "Tensor":
        """Return the labels at these indices, int64 (len(indices),)."""
        import torch

        return torch.from_numpy(self._tiles.labels[indices]).to(self._device)
