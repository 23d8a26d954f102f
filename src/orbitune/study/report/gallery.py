"""The tiles on which methods disagree most, cut from the one image that the study keeps of them."""

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orbitune.study.display_names import method_name
from orbitune.study.report import formatting as fmt
from orbitune.study.report.components import Gallery, GalleryTile


def disagreement_gallery(entry: Mapping[str, Any], folder: Path) -> Gallery:
    """The tiles of one split with what each method took them for.

    Args:
        entry: as results.json has it.
        folder: that holds its image; where that is not there, words are shown alone.
    """
    file = folder / entry["image"]
    sources = _cut(file, entry) if file.is_file() else [None] * len(entry["tiles"])
    tiles = [
        GalleryTile(source, tile["name"], tile["label"], _said(tile))
        for source, tile in zip(sources, entry["tiles"], strict=True)
    ]
    caption = f"{len(tiles)} test tiles of the {entry['split']} split on which the methods disagree"
    return Gallery(caption, entry["image"] if file.is_file() else None, tiles)


def _cut(file: Path, entry: Mapping[str, Any]) -> list[str | None]:
    """Each tile of the image as a data URI."""
    from PIL import Image

    height, width = entry["tile_size"]
    sources: list[str | None] = []
    with Image.open(file) as image:
        for place in range(len(entry["tiles"])):
            row, column = divmod(place, entry["columns"])
            corner = column * width, row * height
            part = io.BytesIO()
            image.crop((*corner, corner[0] + width, corner[1] + height)).save(part, "PNG", optimize=True)
            sources.append(f"data:image/png;base64,{base64.b64encode(part.getvalue()).decode()}")
    return sources


def _said(tile: Mapping[str, Any]) -> list[str]:
    """Who was right, then each wrong answer with those who gave it."""
    answers: dict[str, list[str]] = {}
    for method, answer in tile["predicted"].items():
        answers.setdefault(answer, []).append(method_name(method))
    right = answers.pop(tile["label"], [])
    lines = [f"right: {fmt.listed(right) if right else 'none'}"]
    return [*lines, *(f"{answer}: {fmt.listed(names)}" for answer, names in answers.items())]
