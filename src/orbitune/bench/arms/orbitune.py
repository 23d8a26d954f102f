"""Training loop of Orbitune, as `orbitune train` runs it."""

from typing import Any

from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.evaluation.network import fast_path
from orbitune.files import scratch
from orbitune.resources import make_accelerator
from orbitune.training.run_folder import RunFolder
from orbitune.training.setup import TrainingSetup
from orbitune.training.trainer import Trainer

fast_path()  # its imports count among those of this module


def run_arm(setup: TrainingSetup, watch: Stopwatch) -> dict[str, Any]:
    """Take steps until the stopwatch has seen enough, and say how; nothing is kept."""
    with scratch() as temporary:
        folder = RunFolder(temporary / "run", setup.recipe, inputs=setup.inputs())
        trainer = Trainer.build(setup, folder, accelerator=make_accelerator())
        wanted = True
        while wanted:
            seen = trainer.state.seen
            trainer.step()
            wanted = watch.step(trainer.state.seen - seen)
        return trainer.computation().to_json()
