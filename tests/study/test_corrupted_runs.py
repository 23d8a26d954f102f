"""The first seed of each method is scored on corrupted tiles."""

from study_tasks import ForkedExecutor, RecordingObserver

from orbitune import Recipe
from orbitune.errors import RunError
from orbitune.study.corrupted_runs import may_be_scored, score_corrupted
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


def test_only_runs_that_may_still_be_scored_keep_their_weights_while_others_are_trained():
    specs = Grid(seeds=(0, 1, 2), image_sizes=(24, 32)).runs(
        [Recipe(method=name) for name in ("full", "lora")]
    )
    outcomes = {}
    every = {spec.name for spec in specs if spec.sweep is None}
    assert may_be_scored(specs, outcomes) == every
    outcomes["full-seed0"] = Outcome({})
    assert may_be_scored(specs, outcomes) == every - {"full-seed1", "full-seed2"}
    outcomes |= {"lora-seed0": Outcome(error=RunError("it failed")), "lora-seed1": Outcome({})}
    assert may_be_scored(specs, outcomes) == {"full-seed0", "lora-seed0", "lora-seed1"}
