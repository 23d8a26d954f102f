"""A finished run on small tiles and a tiny backbone with random weights, and a bundle of it; made once."""

import pytest
from samples import backbone_folder, tile_folder

from orbitune.deploy.make import make_bundle
from orbitune.recipe import Recipe
from orbitune.training.loop import train


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    return tile_folder(tmp_path_factory.mktemp("deploy") / "tiles", each=40)


@pytest.fixture(scope="session")
def run(tiles, tmp_path_factory):
    """A LoRA of three epochs, which learns the colours of the classes."""
    place = tmp_path_factory.mktemp("deploy")
    recipe = Recipe.make(
        {
            "data": str(tiles),
            "backbone": str(backbone_folder(place / "backbone")),
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 1e-2,
        }
    )
    train(recipe, place / "run", progress=False)
    return place / "run"


@pytest.fixture(scope="session")
def bundle(run):
    return make_bundle(run, run.parent / "bundle", "float16", progress=False)
