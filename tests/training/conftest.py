"""Small tiles, a tiny random backbone, and a finished run; made once."""

import pytest
from samples import backbone_folder, tile_folder

from orbitune import Recipe, train


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    return str(tile_folder(tmp_path_factory.mktemp("tiles") / "t"))


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    return str(backbone_folder(tmp_path_factory.mktemp("backbone") / "b"))


@pytest.fixture(scope="session")
def finished(tiles, backbone, tmp_path_factory):
    """A run that was never interrupted, and its recipe."""
    out = tmp_path_factory.mktemp("runs") / "run"
    recipe = Recipe(data=tiles, backbone=backbone, epochs=2, batch_size=8)
    train(recipe, out, progress=False)
    return recipe, out
