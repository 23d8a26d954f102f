"""Activation cache: stored hidden states of the frozen layers below trained ones.

Where only the last layers are trained, the hidden states before them are the same in every epoch. With these
stored, an epoch costs the last layers alone, at the price of one pass over all views and of disk space.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orbitune.cache import ACTIVATIONS, cache_folder
from orbitune.data.augment import dihedral_views
from orbitune.data.checksummed_rows import ChecksummedRows, DamagedRowError, checksums
from orbitune.data.loader import TileLoader
from orbitune.data.transform import Transform
from orbitune.errors import DataError, RunError
from orbitune.fastpath.classifier import FastClassifier
from orbitune.fastpath.state_encoding import state_encoding

CODE_VERSION = 1  # increment when the fast path computes other states from the same inputs
TOLERANCE = 2**-5  # relative to the largest state: a few roundings of half precision
_CHECKED = 16  # tiles
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class ActivationCacheKey:
    """All that the stored states depend on.

    Attributes:
        weights, tiles, splits: hashes of the backbone's weights, of the decoded tiles and of their splits.
        transform: resizing and normalisation of tiles.
        precision: precision, and what computes products in it, as processors round differently.
        attention: attention kernel.
        depth: number of layers below the first trained one.
        views: number of symmetries stored of each training tile; other tiles are stored as they are.
        bits: of a number, see `orbitune.fastpath.state_encoding`; None for those of the precision.
    """

    weights: str
    tiles: str
    splits: str
    transform: Transform
    precision: str
    attention: str
    depth: int
    views: int
    bits: int | None = None

    @property
    def folder(self) -> Path:
        """Folder of the states in the cache."""
        values = {name: value for name, value in asdict(self).items() if name != "bits" or value}
        text = json.dumps([CODE_VERSION, values], sort_keys=True)
        return cache_folder(ACTIVATIONS) / hashlib.sha256(text.encode()).hexdigest()


class ActivationLoader:
    """Loader of hidden states in place of tiles, with the methods of `TileLoader`.

    Args:
        key: what the states depend on.
        tiles: loader of the tiles.
        network: network on its device, whose frozen layers compute the states.
        splits: tile indices by split; those of `train` are stored in all views.
        device: device of the batches.
        folder: folder of the states, if not in the cache.

    Attributes:
        rows: number of states, counting each view of a tile.
        row_bytes: size of one on disk in bytes.
    """

    def __init__(
        self,
        key: ActivationCacheKey,
        tiles: TileLoader,
        *,
        network: FastClassifier,
        splits: dict[str, np.ndarray],
        device: torch.device,
        folder: Path | None = None,
    ) -> None:
        self.key, self._tiles, self._network, self._device = key, tiles, network, device
        self._folder = folder or key.folder
        self._file = self._folder / "states.bin"
        # CRC-32 of each state, uint32; beside the folder, which holds only the states.
        self._sums = self._folder.with_name(f"{self._folder.name}.sums")
        self._order = [(name, index) for name, indices in splits.items() for index in indices.tolist()]
        views = [key.views if name == "train" else 1 for name, _ in self._order]
        self.rows = int(sum(views))
        self._opened: ChecksummedRows | None = None
        self._first = dict(
            zip((index for _, index in self._order), np.cumsum([0, *views[:-1]]).tolist(), strict=True)
        )
        self._encoding = state_encoding(self._compute(tiles.tiles(splits["train"][:1])), key.bits)
        self.row_bytes = self._encoding.row_bytes

    def labels(self, indices: np.ndarray) -> Tensor:
        """Return the labels, int64 (len(indices),)."""
        return self._tiles.labels(indices)

    def tiles(self, indices: np.ndarray) -> Tensor:
        """Return the states of tiles as they are, (len(indices), N, D)."""
        return self._read([self._first[index] for index in indices.tolist()])

    def augmented(self, indices: np.ndarray, augment: str) -> Tensor:
        """Return states of training tiles, each in a random view: (len(indices), N, D).

        Views are drawn from torch's generator.

        Args:
            indices: training tiles, int (N,).
            augment: not used: the cache holds the views that the recipe's augmentation draws from.

        Returns:
            Hidden states (N, tokens, D).
        """
        views = torch.randint(self.key.views, (len(indices),)).tolist()
        return self._read([self._first[i] + v for i, v in zip(indices.tolist(), views, strict=True)])

    @property
    def complete(self) -> bool:
        """Return whether all states and their checksums are stored."""
        return len(self._stored.sums) == self.rows and self._stored.whole

    @property
    def _stored(self) -> ChecksummedRows:
        sums = np.fromfile(self._sums, np.uint32) if self._sums.is_file() else np.empty(0, np.uint32)
        return ChecksummedRows(self._file, 0, self.row_bytes, sums[: self.rows])

    def build(self, batch: int, after_batch: Callable[[int], None] = lambda count: None) -> None:
        """Compute and store all states; an interrupted build is resumed.

        If another process builds them, wait and use its result.

        Args:
            batch: batch size in tiles.
            after_batch: called with the number of tiles done since the last call.

        Raises:
            DataError: the disk is full or read-only.
        """
        from filelock import FileLock

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._folder.with_name(f".{self._folder.name}.lock")):
                if not self.complete:
                    self._file.unlink(missing_ok=True)  # a damaged one
                    self._build(self._file.with_suffix(".part"), batch, after_batch=after_batch)
        except OSError as error:
            needed = self.rows * self.row_bytes / 1e9
            raise DataError(
                f"Cannot store the activation cache in {self._folder}: {error.strerror or error}. It takes "
                f"{needed:.1f} GB; free space, set ORBITUNE_CACHE elsewhere, or train without --cache-frozen."
            ) from None

    def _build(self, part: Path, batch: int, *, after_batch: Callable[[int], None]) -> None:
        with part.open("ab") as file, self._sums.open("ab") as sums:
            start = self._whole_tiles(min(file.tell() // self.row_bytes, sums.tell() // _CHECKSUM_BYTES))
            file.truncate(self._row_of(start) * self.row_bytes)
            sums.truncate(self._row_of(start) * _CHECKSUM_BYTES)
            after_batch(start)
            for position in range(start, len(self._order), batch):
                part_of_order = self._order[position : position + batch]
                states = self._states(part_of_order)
                file.write(states)
                sums.write(np.fromiter(checksums(states, self.row_bytes), np.uint32).tobytes())
                after_batch(len(part_of_order))
        part.replace(self._file)

    def check(self, indices: np.ndarray) -> None:
        """Recompute the states of a few of these tiles and compare.

        Raises:
            RunError: the stored ones differ by more than rounding.
        """
        self._opened = None
        some = np.random.default_rng(0).choice(indices, min(_CHECKED, len(indices)), replace=False)
        stored, fresh = self.tiles(some).float(), self._compute(self._tiles.tiles(some)).float()
        if not (stored - fresh).abs().max() <= TOLERANCE * fresh.abs().max():
            raise RunError(f"The cached activations in {self._folder} are damaged; remove that folder.")

    def _whole_tiles(self, rows: int) -> int:
        """Return how many tiles of the order have all their rows among the first `rows`."""
        firsts = np.fromiter(self._first.values(), np.int64)
        return max(0, int(np.searchsorted(firsts, rows, side="right")) - 1)

    def _row_of(self, position: int) -> int:
        return self._first[self._order[position][1]] if position < len(self._order) else self.rows

    def _states(self, part: list[tuple[str, int]]) -> bytes:
        """Return the states of some tiles of the order as bytes, a row for each view."""
        tiles = self._tiles.tiles(np.array([index for _, index in part]))
        upright = self._compute(tiles)
        several = np.array([name == "train" and self.key.views > 1 for name, _ in part])
        rows = [[state] for state in upright]
        if several.any():
            chosen = torch.from_numpy(several.nonzero()[0]).to(tiles.device)
            for view in dihedral_views(tiles[chosen])[1:]:
                for position, state in zip(chosen.tolist(), self._compute(view), strict=True):
                    rows[position].append(state)
        flat = torch.stack([state for states in rows for state in states])
        return self._encoding.encode(flat.cpu()).numpy().tobytes()

    def _compute(self, tiles: Tensor) -> Tensor:
        self._network.eval()
        with torch.inference_mode():
            return self._network.states(tiles, self.key.depth)

    def _read(self, rows: list[int]) -> Tensor:
        raw = np.empty((len(rows), self.row_bytes), np.uint8)
        if self._opened is None:
            self._opened = self._stored
        try:
            self._opened.read(rows, raw)
        except (DamagedRowError, OSError, LookupError):
            self._file.unlink(missing_ok=True)
            raise RunError(
                f"The cached activations in {self._folder} are damaged; remove that folder, or run the same "
                "command again, which recomputes them."
            ) from None
        return self._encoding.decode(torch.from_numpy(raw)).to(self._device)
