"""The tiles that a model was trained on, to find copies of them among new tiles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orbitune.data.band_statistics import to_grey_levels
from orbitune.data.leakage.near_duplicates import Fingerprints, find_copies
from orbitune.data.tileset import TileSet, find_tiles
from orbitune.evaluation.run_result import FILE, RunResult
from orbitune.evaluation.run_tiles import find_run_tiles
from orbitune.evaluation.saved_outputs import read_predictions
from orbitune.inference.bundle import Bundle
from orbitune.models.lineage.seen_file import read_seen
from orbitune.models.lineage.seen_tiles import find_in

_SEEN = "training and validation tiles of the {}"


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


def find_training_tiles(bundle: Bundle, *, progress: bool) -> TrainingTiles | str:
    """Return the training tiles of a run or bundle, or why they cannot be compared.

    They are known by their checksums; of models of earlier versions, as the tiles that were not held out.

    Args:
        bundle: the model.
        progress: show progress on stderr, where tiles have to be decoded again.
    """
    place, fingerprint = bundle.place, bundle.metadata.data.fingerprint
    if (place / FILE).is_file():
        return _of_run(place, progress)
    tiles = find_tiles(fingerprint) if fingerprint else None
    if tiles is None:
        return (
            "the bundle holds no training tiles, so changed copies of them among these tiles cannot be "
            "found: evaluate the run that it was made of where its data is"
        )
    if (seen := read_seen(place)) is None:
        return TrainingTiles(tiles, np.arange(len(tiles.labels)), "tiles of the training data, all splits")
    title = "training tiles of the model" if seen.validated is None else _SEEN.format("model")
    return TrainingTiles(tiles, find_in(tiles, seen), title)


def _of_run(run: Path, progress: bool) -> TrainingTiles | str:
    """Return the training and validation tiles of a run; its weights were chosen on the latter.

    Runs of earlier versions do not record which tiles they left out, such as those beyond `shots`.
    """
    tiles = find_run_tiles(RunResult.load(run), progress)
    if tiles is None:
        return "the data of the run is gone or has changed, so copies of its training tiles cannot be found"
    validation, test = (read_predictions(run, split).indices for split in ("validation", "test"))
    if (seen := read_seen(run)) is None:
        rows = np.setdiff1d(np.arange(len(tiles.labels)), test)
        return TrainingTiles(tiles, rows, "the run's tiles outside its test split")
    rows = np.union1d(find_in(tiles, seen), validation)  # earlier versions list the training tiles alone
    return TrainingTiles(tiles, rows, _SEEN.format("run"))
