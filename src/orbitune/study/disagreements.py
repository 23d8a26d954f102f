"""Select and save the test tiles on which the methods of a study disagree most."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbitune.data.preview import rgb_preview
from orbitune.data.tileset import TileSet
from orbitune.files import replacing
from orbitune.study.findings import DisagreementRecord, DisputedTile
from orbitune.study.predictions import load_predictions
from orbitune.study.records import RunRecord

MAX_TILES = 24
_COLUMNS = 8
_SEED = 0
_BACKGROUND = 255


def find_disagreements(
    runs: Sequence[RunRecord], folder: Path, *, split: str, tiles: TileSet
) -> DisagreementRecord | None:
    """Select the most disputed tiles of a split and save them as one PNG image.

    The first seed of each method is compared.

    Args:
        runs: all runs of the study.
        folder: the study's folder; the image is written into its folder `tiles`.
        split: name of the split.
        tiles: tile set that the runs were tested on.

    Returns:
        The tiles with the predictions of each method; None where all methods agree.

    Raises:
        RunError: see `orbitune.study.predictions.load_predictions`.
    """
    predictions = load_predictions(runs, folder, split=split)
    predicted = np.stack([rows[0] for rows in predictions.predicted.values()])
    chosen = select_disputed(predicted, predictions.labels)
    if not len(chosen):
        return None
    rows, image = predictions.indices[chosen], f"tiles/disagreements-{split}.png"
    columns = min(_COLUMNS, len(rows))
    _write_image(folder / image, rgb_preview(tiles.read(rows), tiles.bands), columns=columns)
    labels, answers = predictions.labels[chosen], predicted[:, chosen]
    disputed = [
        DisputedTile(
            name=tiles.names[row],
            label=tiles.classes[labels[place]],
            predicted={
                method: tiles.classes[answers[number, place]]
                for number, method in enumerate(predictions.predicted)
            },
        )
        for place, row in enumerate(rows)
    ]
    size = list(tiles.tiles.shape[1:3])
    return DisagreementRecord(split=split, image=image, columns=columns, tile_size=size, tiles=disputed)


def select_disputed(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Select up to `MAX_TILES` tiles on which methods disagree.

    Those that about half of the runs classify correctly come first.

    Args:
        predicted: predicted classes, int64 (M, N), one row per method.
        labels: true classes, int64 (N,).

    Returns:
        int64, columns of `predicted`; deterministic.
    """
    distance = np.abs(2 * (predicted == labels).sum(0) - len(predicted))
    # Tiles are sorted by class: a random order among equals avoids showing a single class.
    order = np.lexsort((np.random.default_rng(_SEED).permutation(len(labels)), distance))
    return order[(predicted != predicted[0]).any(0)[order]][:MAX_TILES]


def _write_image(path: Path, pixels: np.ndarray, *, columns: int) -> None:
    """Write uint8 tiles (N, H, W, 3) as a grid without gaps, padded with white."""
    from PIL import Image

    count, height, width, channels = pixels.shape
    grid = np.full((-(-count // columns) * columns, height, width, channels), _BACKGROUND, np.uint8)
    grid[:count] = pixels
    rows = grid.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    with replacing(path) as temporary:
        Image.fromarray(rows.reshape(-1, columns * width, channels)).save(temporary, format="PNG")
