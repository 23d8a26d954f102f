"""Tiles with several labels: mosaics of tiles with one label each."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

REAL = ("Forest", "Industrial", "SeaLake", "Highway")


def write_mosaics(folder: Path, parts: dict[str, list[np.ndarray]], *, count: int, seed: int = 0) -> Path:
    """Write mosaics of 2 x 2 tiles and tiles.csv, whose labels are the classes of the four.

    One of a mosaic's classes is drawn for each quarter from one to three classes of it.

    Args:
        folder: is created.
        parts: tiles, uint8 (S, S, 3), by class.
        count: number of mosaics.
        seed: of the draw.

    Returns:
        The CSV file.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    lines, names = ["file_name,labels"], list(parts)
    for number in range(count):
        palette = random.choice(names, random.integers(1, 4), replace=False)
        chosen = random.choice(palette, 4)
        tiles = [parts[name][random.integers(len(parts[name]))] for name in chosen]
        pixels = np.concatenate([np.concatenate(tiles[:2], 1), np.concatenate(tiles[2:], 1)])
        Image.fromarray(pixels).save(folder / f"mosaic_{number:03d}.png")
        lines.append(f"mosaic_{number:03d}.png,{'|'.join(sorted(set(chosen)))}")
    (folder / "tiles.csv").write_text("\n".join(lines) + "\n")
    return folder / "tiles.csv"


def drawn_parts(classes: int = 3, each: int = 20, side: int = 16) -> dict[str, list[np.ndarray]]:
    """Tiles of a colour of their own under noise, by class."""
    random = np.random.default_rng(0)
    return {
        f"class_{label}": [
            np.clip(random.normal(np.eye(3)[label % 3] * 120 + 60, 40, (side, side, 3)), 0, 255).astype(
                np.uint8
            )
            for _ in range(each)
        ]
        for label in range(classes)
    }


def real_parts(shared: Path, each: int = 60, side: int = 32) -> dict[str, list[np.ndarray]]:
    """Tiles of EuroSAT, halved to `side` pixels, by class."""
    import json

    import pyarrow.parquet as pq

    file = pq.ParquetFile(sorted((shared / "eurosat").rglob("validation-*.parquet"))[0])
    stated = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    rows = file.read(columns=["image", "label"]).slice(0, 2000)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in REAL}
    for image, label in zip(rows["image"].to_pylist(), rows["label"].to_pylist(), strict=True):
        name = stated[label].replace(" ", "")
        kept = next((real for real in REAL if real in name), None)
        if kept and len(parts[kept]) < each:
            opened = Image.open(io.BytesIO(image["bytes"])).convert("RGB")
            parts[kept].append(np.asarray(opened.resize((side, side))))
    return parts
