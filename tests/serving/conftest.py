"""An app that serves two runs, and a tile to send to it."""

import pytest
from served_app import serving

from orbitune.serving.service import PredictionService


@pytest.fixture(scope="session")
def service(runs):
    return PredictionService({"lora": runs / "run", "full": runs / "full"})


@pytest.fixture(scope="session")
def address(service):
    with serving(service) as address:
        yield address


@pytest.fixture(scope="session")
def tile(runs):
    return runs / "tiles" / "class_1" / "tile_1_3.png"


@pytest.fixture(scope="session")
def tile_bytes(tile):
    return tile.read_bytes()
