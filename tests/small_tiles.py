"""Small real files, written by the tests themselves."""

from collections.abc import Callable
from pathlib import Path

import pytest
from image_files import encode, tile, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of five PNG tiles; red is 10 times the label plus the number."""
    root = tmp_path / "tiles"
    for label, name in enumerate(("Forest", "River", "Sea")):
        for number in range(5):
            write(root / name / f"{name}_{number}.png", encode(tile(10 * label + number)))
    return root


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Points the cache at a new, empty folder."""
    counter = iter(range(1000))

    def renew() -> Path:
        cache = tmp_path / f"cache{next(counter)}"
        monkeypatch.setenv("ORBITUNE_CACHE", str(cache))
        return cache

    return renew
