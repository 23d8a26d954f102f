"""The first seed of each method is tried on corrupted tiles, and one that cannot be stops nothing."""

from samples import Notes

from orbitune import Recipe
from orbitune.errors import RunError
from orbitune.study.corrupted_runs import score_corrupted
from orbitune.study.executor import LocalExecutor, Outcome
from orbitune.study.grid import Grid


def test_the_first_finished_seed_of_each_method_is_tried_and_a_failure_is_said_and_left_out(tmp_path):
    recipes = [Recipe(method=method) for method in ("full", "lora")]
    specs = Grid(seeds=(0, 1), image_sizes=(24, 32)).runs(recipes)
    outcomes = {spec.name: Outcome({}) for spec in specs}
    outcomes["lora-seed0"] = Outcome(error=RunError("it failed"))
    notes = Notes()
    engine = LocalExecutor(2, tmp_path / "logs")
    assert (
        score_corrupted(specs, outcomes, tmp_path, 5, engine, notes) == []
    )  # the runs' folders are not there
    assert notes.statuses == {"robustness of full-seed0": "failed", "robustness of lora-seed1": "failed"}


def test_without_tiles_to_try_nothing_is_done(tmp_path):
    specs, notes = Grid().runs([Recipe()]), Notes()
    outcomes = {spec.name: Outcome({}) for spec in specs}
    assert score_corrupted(specs, outcomes, tmp_path, 0, LocalExecutor(1, None), notes) == []
    assert notes.total == 0
