"""The tiles that a model was trained on, to find copies of them among new tiles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.data.band_statistics import to_grey_levels
from orbitune.data.leakage.near_duplicates import Fingerprints, find_copies
from orbitune.data.tileset import TileSet, find_tiles
from orbitune.evaluation.run_result import FILE, RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.inference.bundle import Bundle
from orbitune.training.setup import split_by_recipe


@dataclass(frozen=True)
class TrainingTiles:
    """Tiles that new tiles are compared with.

    Attributes:
        tiles: the data set of the training.
        rows: the tiles in question, int64 (n,).
        title: what they are, for people.
    """

    tiles: TileSet
    rows: np.ndarray
    title: str

    def fingerprints(self, pixels: np.ndarray) -> Fingerprints:
        """Return the fingerprints of new tiles, (N, H, W, C), as the model reads them."""
        tiles = self.tiles
        grey = pixels if tiles.is_rgb else to_grey_levels(pixels, tiles.statistics(self._all))
        return Fingerprints.compute(pixels, grey, bands=tiles.bands)

    def find_copies(self, new: Fingerprints) -> list[tuple[str, int, bool]]:
        """Return (training tile, new tile, whether they are identical) of near-duplicates."""
        known = Fingerprints.of_tiles(self.tiles, self.rows)
        return [
            (self.tiles.names[self.rows[one]], other, known.digests[one] == new.digests[other])
            for one, other, _ in find_copies(new, known)
        ]

    @property
    def _all(self) -> np.ndarray:
        return np.arange(len(self.tiles.labels))


def find_training_tiles(place: str | Path, bundle: Bundle, *, progress: bool) -> TrainingTiles | str:
    """Return the training tiles of a run or bundle, or why they cannot be compared.

    A bundle does not say which tiles of its data it was trained on, so all of them are compared.

    Args:
        place: folder of a run or bundle, or the hub id of a bundle.
        bundle: what is there.
        progress: show progress on stderr, where tiles have to be decoded again.
    """
    run = Path(place).expanduser()
    if (run / FILE).is_file():
        return _of_run(RunResult.load(run), progress)
    fingerprint = bundle.metadata.data.fingerprint
    tiles = find_tiles(fingerprint) if fingerprint else None
    if tiles is None:
        return (
            "the bundle holds no training tiles, so copies of them among these tiles cannot be found: "
            "evaluate the run that it was made of where its data is"
        )
    title = "tiles that the bundle was made from, all splits"
    return TrainingTiles(tiles, np.arange(len(tiles.labels)), title)


def _of_run(result: RunResult, progress: bool) -> TrainingTiles | str:
    """Return the training tiles of a run."""
    tiles = find_run_tiles(result, progress)
    if tiles is None:
        return "the data of the run is gone or has changed, so copies of its training tiles cannot be found"
    splits, _ = split_by_recipe(result.recipe, tiles)
    # The weights were chosen on the validation tiles.
    rows = np.concatenate([splits["train"], splits["validation"]])
    return TrainingTiles(tiles, rows, "training and validation tiles of the run")
