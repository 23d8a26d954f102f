import pytest
from samples import backbone_folder, tile_folder

from orbitune.recipe import Recipe
from orbitune.training.loop import train


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Tiles, a backbone, and finished runs on them: two of LoRA, `lora` and `other`, and one of `full`."""
    folder = tmp_path_factory.mktemp("runs")
    tiles, backbone = tile_folder(folder / "tiles"), backbone_folder(folder / "backbone")
    for name, method, seed in (("lora", "lora", 0), ("other", "lora", 1), ("full", "full", 0)):
        recipe = Recipe(data=str(tiles), backbone=str(backbone), method=method, seed=seed, epochs=2)
        train(recipe, folder / name, progress=False)
    return folder
