"""The test tiles on which the methods of a study disagree most, for its reader to look at."""

from pathlib import Path
from typing import Any

import numpy as np

from orbitune.data.tileset import TileSet
from orbitune.files import replacing
from orbitune.study.results import load_predictions

MAX_TILES = 24
_COLUMNS = 8
_SEED = 0
_BLANK = 255


def find_disagreements(
    results: dict[str, Any], folder: Path, split: str, tiles: TileSet
) -> dict[str, Any] | None:
    """Choose the tiles of one split, by the first seed of each method, and draw them as one PNG sheet.

    Args:
        results: what results.json holds.
        folder: of the study; the sheet is written into its folder tiles.
        tiles: that the runs were tested on.

    Returns:
        split; image, the sheet's place in the folder; columns, how many tiles it has in a row, without gaps;
        tile_size, height and width in pixels; tiles, in the order of the sheet: name, label, and what each
        method predicted, as names of classes. None where no two methods disagree.

    Raises:
        RunError: see `orbitune.study.results.load_predictions`.
    """
    predictions = load_predictions(results, folder, split)
    predicted = np.stack([rows[0] for rows in predictions.predicted.values()])
    chosen = select_tiles(predicted, predictions.labels)
    if not len(chosen):
        return None
    rows, image = predictions.indices[chosen], f"tiles/disagreements-{split}.png"
    columns = min(_COLUMNS, len(rows))
    _write_sheet(folder / image, tiles.read(rows), columns)
    labels, said = predictions.labels[chosen], predicted[:, chosen]
    return {
        "split": split,
        "image": image,
        "columns": columns,
        "tile_size": list(tiles.tiles.shape[1:3]),
        "tiles": [
            {
                "name": tiles.names[row],
                "label": tiles.classes[labels[place]],
                "predicted": {
                    method: tiles.classes[said[number, place]]
                    for number, method in enumerate(predictions.predicted)
                },
            }
            for place, row in enumerate(rows)
        ],
    }


def select_tiles(predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """At most `MAX_TILES` tiles on which not all methods say the same, closest to half of them right first.

    Args:
        predicted: classes, int64 (M, N), a row for each method.
        labels: the true classes, int64 (N,).

    Returns:
        int64, columns of `predicted`; the same at each call.
    """
    far = np.abs(2 * (predicted == labels).sum(0) - len(predicted))
    # Tiles lie by class, so of equals the first would be of one class.
    order = np.lexsort((np.random.default_rng(_SEED).permutation(len(labels)), far))
    return order[(predicted != predicted[0]).any(0)[order]][:MAX_TILES]


def _write_sheet(path: Path, pixels: np.ndarray, columns: int) -> None:
    """uint8 (N, H, W, 3), so many in a row; where the last row is short it ends in white."""
    from PIL import Image

    count, height, width, channels = pixels.shape
    sheet = np.full((-(-count // columns) * columns, height, width, channels), _BLANK, np.uint8)
    sheet[:count] = pixels
    rows = sheet.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    with replacing(path) as temporary:
        Image.fromarray(rows.reshape(-1, columns * width, channels)).save(temporary, format="PNG")
