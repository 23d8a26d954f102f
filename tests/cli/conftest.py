"""Inputs that the tests of several commands share."""

import pytest
from commands import orbitune
from samples import backbone_folder, tile_folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Options that name a small data set and a small backbone."""
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    return ["--data", str(tiles), "--backbone", str(backbone), "--epochs", "1", "--batch-size", "16"]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with tiles, one of them damaged, and a finished run."""
    place = tmp_path_factory.mktemp("place")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    inputs = ["--data", tiles, "--backbone", backbone, "--epochs", 1, "--batch-size", 16]
    assert orbitune("train", *inputs, "--out", place / "run").returncode == 0
    (tiles / "class_0" / "tile_0_3.png").write_bytes(b"damaged")
    (place / "empty").mkdir()
    return place
