"""Pictures for the app: example tiles of a run, and where a prediction looked, laid over its tile."""

from pathlib import Path

import numpy as np
from PIL import Image

from orbitune.errors import OrbituneError
from orbitune.inference.bundle import Bundle
from orbitune.serving.storage import safe_name

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
    pixels = np.asarray(Image.fromarray(brighten(tile)).resize(size, Image.Resampling.NEAREST), float)
    grey = pixels.mean(2, keepdims=True)
    smooth = Image.fromarray((255 * relevance).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    weight = np.asarray(smooth, float)[..., None] / 255
    warm = 0.6 * pixels + 0.4 * _WARM
    return np.clip((1 - weight) * 0.7 * grey + weight * warm, 0, 255).astype(np.uint8)


def brighten(pixels: np.ndarray) -> np.ndarray:
    """Uint8 pixels, often dark, with nearly all of the range in use."""
    low, high = np.percentile(pixels, (1, 99))
    return np.clip((pixels - low) * (230 / max(high - low, 1.0)), 0, 255).astype(np.uint8)


def blend(below: np.ndarray, above: np.ndarray, share: float) -> np.ndarray:
    """One picture over another.

    Args:
        below: uint8 (H, W, 3).
        above: uint8 (H, W, 4), the last its own opacity.
        share: 0..1, how much of it is to be seen.

    Returns:
        uint8 (H, W, 3).
    """
    weight = above[..., 3:] * np.float32(share / 255)
    return np.round(below + weight * (above[..., :3] - below.astype(np.float32))).astype(np.uint8)


def example_tiles(bundle: Bundle, folder: Path) -> list[Path]:
    """Write a validation tile of each class as PNG; return no paths if the tiles are gone."""
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.setup import prepare_training

    try:
        result = RunResult.load(bundle.folder.parent)
        job = prepare_training(result.recipe, progress=False)
    except OrbituneError:
        return []
    files = []
    validation = job.splits["validation"]
    for label, name in enumerate(job.tiles.classes):
        mine = validation[job.tiles.labels[validation] == label]
        if len(mine):
            files.append(folder / safe_name(f"{label} {name}.png"))
            Image.fromarray(job.tiles.read(mine[:1])[0]).save(files[-1])
    return files
