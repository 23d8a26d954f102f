"""Where backbones lie on this machine."""

import shutil

import pytest
from samples import backbone_folder

from orbitune.models.backbones import find_backbone
from orbitune.models.lineage.places import recall, remember


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Nine copies of one backbone."""
    monkeypatch.setenv("ORBITUNE_CACHE", str(tmp_path / "cache"))
    first = backbone_folder(tmp_path / "0")
    return [first, *(shutil.copytree(first, tmp_path / str(number)) for number in range(1, 9))]


def test_the_last_eight_folders_of_a_backbone_are_known_the_last_one_first(places):
    for place in [*places, places[3]]:
        remember(backbone := find_backbone(str(place)))
    order = [3, 8, 7, 6, 5, 4, 2, 1]
    assert recall(backbone.weights_hash) == [places[number] for number in order]


def test_a_folder_that_is_away_for_a_while_stays_known(places, tmp_path):
    remember(find_backbone(str(places[0])))
    places[0].rename(tmp_path / "away")
    remember(backbone := find_backbone(str(places[1])))
    assert recall(backbone.weights_hash) == [places[1], places[0]]
