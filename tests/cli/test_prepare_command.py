"""`prepare`, and where backbones come from."""

import json
import os
import subprocess
import sys

import pytest
from commands import orbitune
from samples import backbone_folder, tile_folder

from orbitune.recipe_settings import DEFAULT_BACKBONE


def started(*arguments, **environment):
    """The command line in a process that is started with these variables.

    Libraries read them when they are loaded.
    """
    return subprocess.run(
        [sys.executable, "-m", "orbitune", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def test_leaks_are_searched_only_on_request(inputs, tmp_path):
    tiles = tile_folder(tmp_path / "tiles")
    for row in range(20):  # so many copies that some lie in another split than their original
        source = tiles / "class_0" / f"tile_0_{row}.png"
        (tiles / "class_0" / f"copy_{row}.png").write_bytes(source.read_bytes())
    asked = ["prepare", *inputs, "--data", tiles, "--check-leaks"]
    assert "test tiles are near-duplicates of train tiles" in orbitune(*asked).stdout
    leaks = json.loads(orbitune(*asked, "--json").stdout)["leaks"]
    assert [leak["splits"] for leak in leaks][1] == ["train", "test"] and leaks[1]["identical"] > 0
    assert "leaks" not in json.loads(orbitune(*asked[:-1], "--json").stdout)


def test_the_tiles_of_each_class_are_counted_by_split(inputs, tmp_path):
    asked = ["prepare", *inputs, "--data", tile_folder(tmp_path / "tiles")]
    found = json.loads(orbitune(*asked, "--json").stdout)
    sizes, counts = found["data"]["sizes"], found["class_counts"]
    assert list(counts) == found["data"]["classes"]
    for split, size in sizes.items():
        assert sum(each[split] for each in counts.values()) == size
    lines = [line.split() for line in orbitune(*asked).stdout.splitlines()]
    assert ["class", "train", "validation", "test"] in lines
    assert ["class_0", *(str(counts["class_0"][split]) for split in sizes)] in lines


def test_a_real_folder_is_not_called_synthetic_for_its_name(tmp_path, inputs):
    tile_folder(tmp_path / "synthetic_aperture")
    done = orbitune("prepare", *inputs, "--data", tmp_path / "synthetic_aperture", "--json")
    assert json.loads(done.stdout)["data"]["synthetic"] is False


def test_a_hub_id_without_a_network_says_what_to_do_instead(inputs, tmp_path):
    done = started("prepare", *inputs, "--backbone", "owner/name", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2
    assert "HF_HUB_OFFLINE is set" in done.stderr and "pass the folder" in done.stderr


def test_the_default_backbone_without_a_network_names_one_that_needs_none(tmp_path):
    done = started("plan", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert DEFAULT_BACKBONE in done.stderr
    assert "--backbone demo, after pip install 'orbitune[demo]'" in done.stderr


@pytest.mark.slow
def test_a_backbone_in_the_hubs_cache_is_used_without_a_network(inputs, tmp_path):
    cached = tmp_path / "hub" / "models--owner--name"
    backbone_folder(cached / "snapshots" / ("a" * 40))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("a" * 40)
    done = started(
        "prepare", *inputs, "--backbone", "owner/name", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(tmp_path / "hub")
    )
    assert done.returncode == 0, done.stderr
    assert "ViT checkpoint owner/name" in done.stdout
