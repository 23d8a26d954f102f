"""Tiles whose labels a table has to state."""

from pathlib import Path

import pytest
from image_files import encode, tile, write


@pytest.fixture
def images(tmp_path) -> Path:
    """a.png, b.png and c.png, whose red is 0, 1 and 2, without class folders."""
    for number, name in enumerate("abc"):
        write(tmp_path / "images" / f"{name}.png", encode(tile(number)))
    return tmp_path / "images"
