"""What the frozen layers below the adapters make of each tile, computed once and kept on disk.

Where only the last layers are trained, the layers before them give the same for a tile in every epoch. With
their states kept an epoch costs the last layers alone, for one pass over all views and for disk space.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbitune.data.augment import dihedral_views
from orbitune.data.checksummed_rows import ChecksummedRows, DamagedRowError, checksums
from orbitune.data.loader import TileLoader
from orbitune.data.transform import Transform
from orbitune.errors import DataError, RunError
from orbitune.fastpath.classifier import FastClassifier
from orbitune.files import cache_folder

CODE_VERSION = 1  # raise it when the fast path computes other states from the same inputs
TOLERANCE = 2**-5  # of the largest state: a few roundings of half precision
_CHECKED = 16  # tiles
_SUM_BYTES = 4


@dataclass(frozen=True)
class ActivationCacheKey:
    """All that the states depend on.

    Attributes:
        weights, tiles, splits: hashes of the backbone's weights, the decoded tiles, and their splits.
        precision: and what computes products in it, as another processor rounds otherwise.
        depth: how many blocks lie below the first that is trained.
        views: how many symmetries of a training tile are kept; others are kept upright.
    """

    weights: str
    tiles: str
    splits: str
    transform: Transform
    precision: str
    attention: str
    depth: int
    views: int

    @property
    def folder(self) -> Path:
        text = json.dumps([CODE_VERSION, asdict(self)], sort_keys=True)
        return cache_folder("prefix") / hashlib.sha256(text.encode()).hexdigest()


class ActivationLoader:
    """States in place of tiles, with the methods of `TileLoader`.

    Args:
        feed: the tiles.
        network: on its device; its frozen part is what is kept.
        splits: indices of the tiles by split; those of `train` are kept in all views.
        device: where batches are wanted.
        folder: where the states are kept, if not in the cache.

    Attributes:
        rows: how many states are kept, each view of a tile counted.
        row_bytes: what one takes on disk.
    """

    def __init__(
        self,
        key: ActivationCacheKey,
        feed: TileLoader,
        network: FastClassifier,
        splits: dict[str, np.ndarray],
        device: torch.device,
        folder: Path | None = None,
    ) -> None:
        self.key, self._feed, self._network, self._device = key, feed, network, device
        self._folder = folder or key.folder
        self._file = self._folder / "states.bin"
        # The CRC-32 of each state, uint32; beside the folder, which holds the states alone.
        self._sums = self._folder.with_name(f"{self._folder.name}.sums")
        self._order = [(name, index) for name, indices in splits.items() for index in indices.tolist()]
        views = [key.views if name == "train" else 1 for name, _ in self._order]
        self.rows = int(sum(views))
        self._opened: ChecksummedRows | None = None
        self._first = dict(
            zip((index for _, index in self._order), np.cumsum([0, *views[:-1]]).tolist(), strict=True)
        )
        sample = self._compute(feed.tiles(splits["train"][:1]))
        self._shape, self._dtype = sample.shape[1:], sample.dtype
        self.row_bytes = sample[0].numel() * sample.element_size()

    def labels(self, indices: np.ndarray) -> Tensor:
        """int64 (len(indices),)."""
        return self._feed.labels(indices)

    def tiles(self, indices: np.ndarray) -> Tensor:
        """States of upright tiles, (len(indices), N, D)."""
        return self._read([self._first[index] for index in indices.tolist()])

    def augmented(self, indices: np.ndarray, augment: str) -> Tensor:
        """States of training tiles, each in a view drawn from torch's generator; (len(indices), N, D)."""
        views = torch.randint(self.key.views, (len(indices),)).tolist()
        return self._read([self._first[i] + v for i, v in zip(indices.tolist(), views, strict=True)])

    @property
    def complete(self) -> bool:
        """Return whether all states are on disk, with the checksums that are quick to compare."""
        return len(self._kept.sums) == self.rows and self._kept.whole

    @property
    def _kept(self) -> ChecksummedRows:
        sums = np.fromfile(self._sums, np.uint32) if self._sums.is_file() else np.empty(0, np.uint32)
        return ChecksummedRows(self._file, 0, self.row_bytes, sums[: self.rows])

    def build(self, batch: int, after_batch: Callable[[int], None] = lambda count: None) -> None:
        """Compute and keep all states; a build that was stopped goes on where it was.

        Where another process is at it, this one waits and then finds the states.

        Args:
            batch: tiles at a time.
            after_batch: called with the number of tiles that are done since the last call.

        Raises:
            DataError: the disk is full or cannot be written.
        """
        from filelock import FileLock

        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._folder.with_name(f".{self._folder.name}.lock")):
                if not self.complete:
                    self._file.unlink(missing_ok=True)  # a damaged one
                    self._build(self._file.with_suffix(".part"), batch, after_batch)
        except OSError as error:
            needed = self.rows * self.row_bytes / 1e9
            raise DataError(
                f"Cannot keep the prefix in {self._folder}: {error.strerror or error}. It takes "
                f"{needed:.1f} GB; free space, set ORBITUNE_CACHE elsewhere, or leave the prefix off."
            ) from None

    def _build(self, part: Path, batch: int, after_batch: Callable[[int], None]) -> None:
        with part.open("ab") as file, self._sums.open("ab") as sums:
            start = self._whole_tiles(min(file.tell() // self.row_bytes, sums.tell() // _SUM_BYTES))
            file.truncate(self._row_of(start) * self.row_bytes)
            sums.truncate(self._row_of(start) * _SUM_BYTES)
            after_batch(start)
            for position in range(start, len(self._order), batch):
                part_of_order = self._order[position : position + batch]
                states = self._states(part_of_order)
                file.write(states)
                sums.write(np.fromiter(checksums(states, self.row_bytes), np.uint32).tobytes())
                after_batch(len(part_of_order))
        part.replace(self._file)

    def check(self, indices: np.ndarray) -> None:
        """Compute the states of a few of these tiles again and compare.

        Raises:
            RunError: the kept ones differ by more than rounding.
        """
        self._opened = None
        some = np.random.default_rng(0).choice(indices, min(_CHECKED, len(indices)), replace=False)
        kept, fresh = self.tiles(some).float(), self._compute(self._feed.tiles(some)).float()
        if not (kept - fresh).abs().max() <= TOLERANCE * fresh.abs().max():
            raise RunError(f"The states kept in {self._folder} are damaged; remove that folder.")

    def _whole_tiles(self, rows: int) -> int:
        """How many tiles of the order have all their rows among so many."""
        firsts = np.fromiter(self._first.values(), np.int64)
        return max(0, int(np.searchsorted(firsts, rows, side="right")) - 1)

    def _row_of(self, position: int) -> int:
        return self._first[self._order[position][1]] if position < len(self._order) else self.rows

    def _states(self, part: list[tuple[str, int]]) -> bytes:
        """The states of some tiles of the order, a row for each view of each."""
        tiles = self._feed.tiles(np.array([index for _, index in part]))
        upright = self._compute(tiles)
        several = np.array([name == "train" and self.key.views > 1 for name, _ in part])
        rows = [[state] for state in upright]
        if several.any():
            chosen = torch.from_numpy(several.nonzero()[0]).to(tiles.device)
            for view in dihedral_views(tiles[chosen])[1:]:
                for position, state in zip(chosen.tolist(), self._compute(view), strict=True):
                    rows[position].append(state)
        flat = torch.stack([state for states in rows for state in states])
        return flat.cpu().contiguous().view(torch.uint8).numpy().tobytes()

    def _compute(self, tiles: Tensor) -> Tensor:
        self._network.eval()
        with torch.inference_mode():
            return self._network.states(tiles, self.key.depth)

    def _read(self, rows: list[int]) -> Tensor:
        out = torch.empty((len(rows), *self._shape), dtype=self._dtype)
        raw: Any = out.view(torch.uint8).numpy().reshape(len(rows), -1)
        if self._opened is None:
            self._opened = self._kept
        try:
            self._opened.read(rows, raw)
        except (DamagedRowError, OSError, LookupError):
            self._file.unlink(missing_ok=True)
            raise RunError(
                f"The states kept in {self._folder} are damaged; remove that folder, or run the same command "
                "again, which recomputes them."
            ) from None
        return out.to(self._device)
