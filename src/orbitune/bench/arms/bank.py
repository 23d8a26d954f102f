"""Our bank: one backbone, and of its adapters another for each image of a batch."""

from pathlib import Path
from typing import Any

from orbitune.adapters.adapter_bank import AdapterBank
from orbitune.bench.arms.served import batches, tasks_of
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.training.setup import TrainingSetup


def work(job: TrainingSetup, watch: Stopwatch, run: str, tasks: int) -> dict[str, Any]:
    """Predict batches over `tasks` adapters, all of them the run's, until the stopwatch has seen enough."""
    recipe = job.recipe
    assert isinstance(recipe.image_size, int)
    bank = AdapterBank(recipe.backbone, recipe.image_size, precision=recipe.precision)
    for name in tasks_of(tasks, tasks):
        bank.add(name, Path(run) / "adapter")
    for tiles in batches(job):
        bank.predict(tiles, tasks_of(tasks, len(tiles)))
        if not watch.step(len(tiles)):
            break
    return {"precision": recipe.precision, "bytes of adapters": bank.bytes}
