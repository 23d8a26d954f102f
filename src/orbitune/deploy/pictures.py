"""Pictures for the app: example tiles of a run, and where a prediction looked, laid over its tile."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from orbitune.deploy.bundle import Bundle
from orbitune.errors import OrbituneError

_SIDE = 384  # pixels that a tile is shown at
_WARM = np.array([255.0, 176.0, 0.0])


def overlay(tile: np.ndarray, relevance: np.ndarray) -> np.ndarray:
    """The tile in grey where nothing speaks for the label, in colour and warm where much does.

    Args:
        tile: uint8 (H, W, 3).
        relevance: float32 (h, w), 0..1.

    Returns:
        uint8 (S, S, 3).
    """
    size = (_SIDE, _SIDE)
    low, high = np.percentile(tile, (1, 99))  # tiles are often dark
    bright = np.clip((tile - low) * (230 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(bright).resize(size, Image.Resampling.NEAREST), float)
    grey = pixels.mean(2, keepdims=True)
    smooth = Image.fromarray((255 * relevance).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    weight = np.asarray(smooth, float)[..., None] / 255
    warm = 0.6 * pixels + 0.4 * _WARM
    return np.clip((1 - weight) * 0.7 * grey + weight * warm, 0, 255).astype(np.uint8)


def example_tiles(bundle: Bundle) -> list[Path]:
    """A validation tile of each class, as PNG; none where the tiles are no longer at hand."""
    from orbitune.recipe import Recipe
    from orbitune.training.job import prepare_job
    from orbitune.training.result import RunResult

    try:
        result = RunResult.load(bundle.folder.parent)
        job = prepare_job(Recipe.make(result.recipe), progress=False)
    except OrbituneError:
        return []
    folder = Path(tempfile.mkdtemp(prefix="orbitune-examples-"))
    files = []
    validation = job.splits["validation"]
    for label, name in enumerate(job.tiles.classes):
        mine = validation[job.tiles.labels[validation] == label]
        if len(mine):
            files.append(folder / f"{name.replace('/', '_')}.png")
            Image.fromarray(job.tiles.read(mine[:1])[0]).save(files[-1])
    return files
