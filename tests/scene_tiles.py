"""Tiles without pixels, cut from scenes that their names state."""

import numpy as np

from orbitune.data.tileset import TileSet

SCENES, EACH, CLASSES = 20, 3, 2


def tile_set(scenes=SCENES, each=EACH, classes=CLASSES):
    """Tiles named class/sceneNN_k.png; every scene has tiles of all classes."""
    rows = [(label, scene, k) for label in range(classes) for scene in range(scenes) for k in range(each)]
    return TileSet(
        tiles=np.zeros((len(rows), 1, 1, 3), np.uint8),
        labels=np.array([label for label, _, _ in rows]),
        names=tuple(f"c{label}/scene{scene:02d}_{k}.png" for label, scene, k in rows),
        classes=tuple(f"c{label}" for label in range(classes)),
        own_splits={},
        fingerprint="",
        source="",
        notes=(),
        skipped=(),
    )
