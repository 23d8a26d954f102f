"""The first seed of each method is scored on corrupted tiles."""

from study_tasks import ForkedExecutor, RecordingObserver

from orbitune import Recipe
from orbitune.errors import RunError
from orbitune.study.corrupted_runs import score_corrupted
from orbitune.study.executor import Outcome
from orbitune.study.grid import Grid


def score(specs, outcomes, folder, tiles, observer):
    settings = {"folder": folder, "tiles": tiles, "executor": ForkedExecutor(), "observer": observer}
    return score_corrupted(specs, outcomes, **settings)


def test_the_first_finished_seed_of_each_method_is_tried_and_a_failure_is_reported_and_left_out(tmp_path):
    recipes = [Recipe(method=method) for method in ("full", "lora")]
    specs = Grid(seeds=(0, 1), image_sizes=(24, 32)).runs(recipes)
    outcomes = {spec.name: Outcome({}) for spec in specs}
    outcomes["lora-seed0"] = Outcome(error=RunError("it failed"))
    observer = RecordingObserver()
    assert score(specs, outcomes, tmp_path, 5, observer) == []  # the runs' folders are not there
    assert observer.statuses == {"robustness of full-seed0": "failed", "robustness of lora-seed1": "failed"}


def test_without_tiles_to_try_nothing_is_done(tmp_path):
    specs, observer = Grid().runs([Recipe()]), RecordingObserver()
    outcomes = {spec.name: Outcome({}) for spec in specs}
    assert score(specs, outcomes, tmp_path, 0, observer) == []
    assert observer.total == 0
