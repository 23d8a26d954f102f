"""Arm of the adapter bank: each image of a batch uses another adapter."""

from pathlib import Path
from typing import Any

from orbitune.adapters.adapter_bank import AdapterBank
from orbitune.bench.arms.prediction_inputs import assign_tasks, batches
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.training.setup import TrainingSetup


def run_arm(setup: TrainingSetup, watch: Stopwatch, *, run: str, tasks: int) -> dict[str, Any]:
    """Measure predictions of batches that are spread over `tasks` adapters.

    All adapters are copies of the run's.
    """
    recipe = setup.recipe
    assert isinstance(recipe.image_size, int)
    bank = AdapterBank(recipe.backbone, recipe.image_size, precision=recipe.precision)
    for name in assign_tasks(tasks, tasks):
        bank.add(name, Path(run) / "adapter")
    for tiles in batches(setup):
        bank.predict(tiles, assign_tasks(tasks, len(tiles)))
        if not watch.step(len(tiles)):
            break
    return {"precision": recipe.precision, "bytes of adapters": bank.bytes}
