"""Images for the app: example tiles and attribution overlays."""

from pathlib import Path

import numpy as np
from PIL import Image

from orbitune.errors import OrbituneError
from orbitune.inference.bundle import Bundle
from orbitune.serving.storage import safe_name

_DISPLAY_SIZE = 384  # pixels
_HIGHLIGHT = np.array([255.0, 176.0, 0.0])


def overlay_attribution(tile: np.ndarray, attribution: np.ndarray) -> np.ndarray:
    """Return a grey tile, tinted orange where the attribution is high.

    Args:
        tile: uint8 (H, W, 3).
        attribution: float32 (h, w), 0..1.

    Returns:
        uint8 (S, S, 3).
    """
    size = (_DISPLAY_SIZE, _DISPLAY_SIZE)
    pixels = np.asarray(Image.fromarray(stretch_contrast(tile)).resize(size, Image.Resampling.NEAREST), float)
    grey = pixels.mean(2, keepdims=True)
    smooth = Image.fromarray((255 * attribution).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    weight = np.asarray(smooth, float)[..., None] / 255
    tinted = 0.6 * pixels + 0.4 * _HIGHLIGHT
    return np.clip((1 - weight) * 0.7 * grey + weight * tinted, 0, 255).astype(np.uint8)


def stretch_contrast(pixels: np.ndarray) -> np.ndarray:
    """Stretch pixels from their 1st and 99th percentile to 0..230, uint8."""
    low, high = np.percentile(pixels, (1, 99))
    return np.clip((pixels - low) * (230 / max(high - low, 1.0)), 0, 255).astype(np.uint8)


def write_example_tiles(bundle: Bundle | None, folder: Path) -> list[Path]:
    """Write one validation tile per class as PNG; a tile with several labels is that of one of them.

    Return no paths if there is no bundle, the data set is gone, or a PNG cannot hold its bands.

    Args:
        bundle: the served model.
        folder: folder for the PNG files.

    Returns:
        Paths of the files.
    """
    from orbitune.evaluation.run_result import RunResult
    from orbitune.training.setup import prepare_training

    if bundle is None:
        return []
    try:
        result = RunResult.load(bundle.folder.parent)
        setup = prepare_training(result.data_recipe, progress=False)
    except OrbituneError:
        return []
    if not setup.tiles.is_rgb:
        return []
    files: dict[int, Path] = {}
    validation = setup.splits["validation"]
    members = setup.tiles.membership[validation]
    for label, name in enumerate(setup.tiles.classes):
        if other := [index for index in validation[members[:, label]].tolist() if index not in files]:
            files[other[0]] = folder / safe_name(f"{label} {name}.png")
            Image.fromarray(setup.tiles.read(np.array(other[:1]))[0]).save(files[other[0]])
    return list(files.values())
