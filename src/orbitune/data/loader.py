"""Batches of tiles on the device that trains."""

from typing import TYPE_CHECKING

import numpy as np

from orbitune.data.augment import random_dihedral
from orbitune.data.tileset import TileSet
from orbitune.data.transform import to_tensor

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
        # On the device, values of 16 bits take 32.
        size = tiles.tiles.nbytes * (1 if tiles.tiles.dtype == np.uint8 else 2)
        if device.type == "cuda" and size <= _MAX_FRACTION * torch.cuda.mem_get_info(device)[0]:
            self._resident = to_tensor(tiles.read(np.arange(len(tiles.tiles))), device)

    def tiles(self, indices: np.ndarray) -> "Tensor":
        """Return the tiles at these indices, uint8 or int32 (len(indices), H, W, C)."""
        import torch

        if self._resident is not None:
            return self._resident[torch.from_numpy(indices).to(self._device)]
        return to_tensor(self._tiles.read(indices), self._device)

    def augmented(self, indices: np.ndarray, augment: str) -> "Tensor":
        """Return the tiles, flipped and turned at random unless `augment` is "none".

        Args:
            indices: tiles to load, int (N,).
            augment: as in the recipe.

        Returns:
            uint8 or int32 (N, H, W, C), on the loader's device.
        """
        tiles = self.tiles(indices)
        return tiles if augment == "none" else random_dihedral(tiles)

    def labels(self, indices: np.ndarray) -> "Tensor":
        """Return the labels at these indices, int64 (len(indices),)."""
        import torch

        return torch.from_numpy(self._tiles.labels[indices]).to(self._device)
