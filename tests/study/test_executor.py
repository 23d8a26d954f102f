"""Tasks run side by side in processes of their own; one that fails stops no other, SIGINT stops all."""

import json

import pytest
from samples import Notes, backbone_folder, tile_folder

from orbitune import Recipe
from orbitune.errors import Interrupted
from orbitune.resources import core_count
from orbitune.study.executor import LocalExecutor, Task, run_tasks


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    place = tmp_path_factory.mktemp("inputs")
    tiles, backbone = tile_folder(place / "tiles"), backbone_folder(place / "backbone")
    return Recipe(data=str(tiles), backbone=str(backbone), method="linear", epochs=9, batch_size=16)


def trial(recipe, folder, name):
    recipe.save(folder / f"{name}.yaml")
    out = folder / name
    options = (
        "--recipe",
        str(folder / f"{name}.yaml"),
        "--stop-after",
        str(recipe.epochs),
        "--out",
        str(out),
    )
    return Task(name, ("trial", *options, "--json"), str, out, recipe.epochs)


def test_tasks_run_side_by_side_and_one_that_fails_stops_no_other(recipe, tmp_path):
    tasks = [
        trial(recipe.replace(method="full", learning_rate=1e30), tmp_path, "hot"),
        trial(recipe.replace(backbone="./nothing"), tmp_path, "lost"),
        trial(recipe.replace(epochs=1), tmp_path, "well"),
    ]
    notes, outcomes = Notes(), {}
    run_tasks(
        LocalExecutor(2, tmp_path / "logs"), tasks, notes, lambda task, end: outcomes.update({task.name: end})
    )
    assert notes.statuses == {"hot": "diverged", "lost": "failed", "well": "done"}
    assert (notes.total, notes.most) == (3, 2)
    assert "no backbone folder" in str(outcomes["lost"].error)
    assert len(outcomes["well"].value["history"]) == 1
    assert json.loads((tmp_path / "well" / "environment.json").read_text())["threads"] == max(
        1, core_count() // 2
    )


def test_an_interrupt_lets_every_running_task_save_its_state(recipe, tmp_path):
    tasks = [trial(recipe.replace(epochs=100_000), tmp_path, name) for name in ("one", "two")]
    states = [task.folder / "checkpoint" / "state.safetensors" for task in tasks]
    engine = LocalExecutor(2, tmp_path / "logs")
    with pytest.raises(Interrupted, match="enough"):
        run_tasks(engine, tasks, Notes(lambda: all(s.exists() for s in states)), lambda task, end: None)
    assert engine.running == []
    for name in ("one", "two"):
        assert "Stopped after step" in (tmp_path / "logs" / f"{name}.log").read_text()
