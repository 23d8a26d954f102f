"""Our own training loop, as `orbitune train` runs it."""

from typing import Any

import orbitune.fastpath.classifier  # noqa: F401  imported here, so that it counts among the imports
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.files import scratch
from orbitune.resources import make_accelerator
from orbitune.training.run_folder import RunFolder
from orbitune.training.setup import TrainingSetup
from orbitune.training.trainer import Trainer


def work(job: TrainingSetup, watch: Stopwatch) -> dict[str, Any]:
    """Take steps until the stopwatch has seen enough, and say how; nothing is kept."""
    with scratch() as temporary:
        folder = RunFolder(temporary / "run", job.recipe, job.inputs())
        trainer = Trainer.build(job, folder, make_accelerator())
        wanted = True
        while wanted:
            seen = trainer.progress.seen
            trainer.step()
            wanted = watch.step(trainer.progress.seen - seen)
        return trainer.computation().to_json()
