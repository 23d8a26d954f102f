"""Small inputs for the reliability scripts: a ViT, recipes, tiles, a scene."""

import json
from pathlib import Path
from typing import Any

import numpy as np

TILES = "synthetic:120"
SIDE = 32


def write_backbone(folder: Path) -> Path:
    """Write a ViT of three layers with random weights, in the hub's layout."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=SIDE,
        patch_size=8,
        id2label={number: str(number) for number in range(7)},
    )
    torch.manual_seed(0)
    ViTForImageClassification(config).save_pretrained(folder)
    stated = {"size": {"height": SIDE, "width": SIDE}, "resample": 2}
    stated |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return folder


def recipe_values(backbone: Path, **more: Any) -> dict[str, Any]:
    """Return the settings of a recipe that trains in seconds."""
    return {
        "data": TILES,
        "backbone": str(backbone),
        "epochs": 3,
        "batch_size": 16,
        "image_size": SIDE,
        "precision": "fp32",
        **more,
    }


def write_tiles(folder: Path, count: int = 40) -> Path:
    """Write synthetic tiles as PNG files."""
    from PIL import Image

    from orbitune.data.synthetic import generate

    folder.mkdir(parents=True)
    for number, pixels in enumerate(generate(count)[0]):
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    return folder


def write_scene(file: Path, *, rows: int = 8, columns: int = 8) -> Path:
    """Write a GeoTIFF mosaic of synthetic tiles at 10 m per pixel in UTM."""
    import rasterio
    from rasterio.transform import from_origin

    from orbitune.data.synthetic import generate

    tiles = generate(rows * columns)[0]
    side = tiles.shape[1]
    pixels = (
        tiles.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    )
    profile = {"driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": 3}
    profile |= {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_500_000, 10, 10)}
    with rasterio.open(file, "w", dtype=np.uint8, **profile) as written:
        written.write(pixels.transpose(2, 0, 1))
    return file
