"""Finished runs on small tiles and a tiny random backbone, and a bundle."""

import pytest
from band_tiles import band_tile_folder
from label_sets import drawn_parts, write_mosaics
from samples import backbone_folder, tile_folder

from orbitune.inference.bundle_builder import build_bundle
from orbitune.models.backbones import find_backbone
from orbitune.recipe import Recipe
from orbitune.training.run import train


@pytest.fixture(scope="session")
def tiles(tmp_path_factory):
    return tile_folder(tmp_path_factory.mktemp("deploy") / "tiles", each=40)


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A tiny ViT with random weights."""
    return find_backbone(str(backbone_folder(tmp_path_factory.mktemp("vit") / "b")))


@pytest.fixture(scope="session")
def run(tiles):
    """A LoRA of three epochs, which learns the colours of the classes."""
    place = tiles.parent
    recipe = Recipe.make(
        {
            "data": str(tiles),
            "backbone": str(backbone_folder(place / "backbone")),
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 1e-2,
            "augment": "flips",  # cells of a map are labelled from whole tiles
            "precision": "bf16",  # the same model on every processor, to rounding
        }
    )
    train(recipe, place / "run", progress=False)
    return place / "run"


@pytest.fixture(scope="session")
def runs(run, tiles):
    """The folder with tiles, a backbone, and the runs `run`, `other` and `full`."""
    recipe = Recipe.load(run / "recipe.yaml").replace(epochs=1, learning_rate=None)
    train(recipe.replace(seed=1), run.parent / "other", progress=False)
    train(recipe.replace(method="full"), run.parent / "full", progress=False)
    return run.parent


@pytest.fixture(scope="session")
def bundle(run):
    return build_bundle(run, run.parent / "bundle", dtype="float16", progress=False)


@pytest.fixture(scope="session")
def sensor_bundle(run):
    """One of a model that was trained with views of quarters of tiles."""
    recipe = Recipe.load(run / "recipe.yaml").replace(augment="sensor")
    train(recipe, run.parent / "sensor", progress=False)
    return build_bundle(run.parent / "sensor", run.parent / "sensor-bundle", progress=False)


@pytest.fixture(scope="session")
def example_bundle(run):
    """One that carries a validation tile of each class."""
    return build_bundle(run, run.parent / "with-examples", examples=True, progress=False)


@pytest.fixture(scope="session")
def band_place(tmp_path_factory):
    """A folder with 16-bit tiles of five bands in `tiles`, and a backbone."""
    pytest.importorskip("rasterio")
    place = tmp_path_factory.mktemp("bands")
    band_tile_folder(place / "tiles", each=30)
    backbone_folder(place / "backbone")
    return place


@pytest.fixture(scope="session")
def band_run(band_place):
    """The result of a run on them, in `run`."""
    recipe = {
        "data": str(band_place / "tiles"),
        "backbone": str(band_place / "backbone"),
        "precision": "fp32",
    }
    recipe |= {"epochs": 4, "batch_size": 16, "learning_rate": 1e-2}
    return train(Recipe.make(recipe), band_place / "run", progress=False)


@pytest.fixture(scope="session")
def band_bundle(band_place, band_run):
    """Its bundle, in `bundle`."""
    return build_bundle(band_place / "run", band_place / "bundle", progress=False)


@pytest.fixture(scope="session")
def label_set_run(tmp_path_factory):
    """A run on mosaics with several labels each, from a CSV file, which learns their colours."""
    place = tmp_path_factory.mktemp("label_sets")
    table = write_mosaics(place / "tiles", drawn_parts(), count=150)
    recipe = {"data": str(table), "backbone": str(backbone_folder(place / "backbone"))}
    recipe |= {"epochs": 4, "batch_size": 8, "learning_rate": 1e-2, "precision": "fp32"}
    train(Recipe.make(recipe), place / "run", progress=False)
    return place / "run"


@pytest.fixture(scope="session")
def label_set_bundle(label_set_run):
    return build_bundle(label_set_run, label_set_run.parent / "bundle", progress=False)
