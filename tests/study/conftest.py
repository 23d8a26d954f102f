"""Inputs and a finished study that the tests of this folder share."""

import pytest
from samples import backbone_folder, tile_folder
from study_tasks import ForkedExecutor

from orbitune import Recipe
from orbitune.study import runner


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    return str(backbone_folder(tmp_path_factory.mktemp("study-backbone") / "backbone"))


@pytest.fixture(scope="session")
def recipe(backbone, tmp_path_factory):
    """One epoch of a tiny backbone on few tiles."""
    tiles = tile_folder(tmp_path_factory.mktemp("study-tiles") / "tiles")
    return Recipe(data=str(tiles), backbone=backbone, epochs=1, batch_size=16)


@pytest.fixture(scope="session")
def forked():
    """Studies run their tasks in forks of a process that has loaded the libraries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner.EXECUTORS, "local", lambda jobs, folder, to_logs: ForkedExecutor())
        yield
