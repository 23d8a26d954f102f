"""A recipe's choice of data reaches the training setup and identifies the run."""

import json

import pytest
from samples import backbone_folder, tile_folder

from orbitune.errors import DataError, ModelError
from orbitune.recipe import Recipe
from orbitune.training import setup
from orbitune.training.setup import prepare_training


def test_the_label_column_of_a_recipe_decides_the_classes(tmp_path):
    tiles, backbone = tile_folder(tmp_path / "tiles", each=4), backbone_folder(tmp_path / "backbone")
    names = [path.relative_to(tiles).as_posix() for path in sorted(tiles.rglob("*.png"))]
    rows = [f"{name},{'dry' if 'class_0' in name else 'wet'}" for name in names]
    (tiles / "metadata.csv").write_text("\n".join(["file_name,cover", *rows]))
    values = {"data": str(tiles), "backbone": str(backbone)}
    with pytest.raises(DataError, match="no column label among file_name, cover"):
        prepare_training(Recipe.make(values), progress=False)
    job = prepare_training(Recipe.make({**values, "label_column": "cover"}), progress=False)
    assert job.tiles.classes == ("dry", "wet")
    assert job.recipe.label_column == "cover"


def test_a_config_that_transformers_refuses_is_found_before_tiles_are_decoded(tmp_path, monkeypatch):
    tiles, folder = tile_folder(tmp_path / "tiles", each=4), backbone_folder(tmp_path / "backbone")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": "small"}))
    loaded = []
    monkeypatch.setattr(setup, "load_recipe_tiles", lambda *arguments, **settings: loaded.append(arguments))
    with pytest.raises(ModelError, match=r"config\.json .* cannot be read"):
        prepare_training(Recipe.make({"data": str(tiles), "backbone": str(folder)}), progress=False)
    assert not loaded
