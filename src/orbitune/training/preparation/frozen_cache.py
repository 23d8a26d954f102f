"""Cached activations of the frozen layers in place of tiles, for `--cache-frozen`."""

from orbitune.data.loader import TileLoader
from orbitune.errors import CONTINUE, Interrupted
from orbitune.progress import ProgressTask
from orbitune.training.trainer import Trainer


def cache_frozen_layers(trainer: Trainer) -> None:
    """Load cached activations of the frozen layers; compute them if needed.

    Args:
        trainer: gets a loader of the activations in place of the tiles.

    Raises:
        ModelError: no layer is frozen below the trained ones, or the model is not on the fast path.
        Interrupted: SIGINT arrived while they were computed.
    """
    assert isinstance(trainer.loader, TileLoader)
    setup, device = trainer.setup, trainer.accelerator.device
    loader = setup.activation_loader(trainer.network, trainer.loader, device=device)

    def after_batch(task: ProgressTask, count: int) -> None:
        task.advance(count)
        if trainer.interrupt.is_set:
            raise Interrupted(f"Stopped while the activations of the frozen layers were cached. {CONTINUE}")

    with trainer.meter.phase("cache"), trainer.accelerator.main_process_first():
        if not loader.complete:
            total = sum(map(len, setup.splits.values()))
            with trainer.display.task("caching frozen layers", total) as task:
                loader.build(setup.recipe.micro_batch or 1, lambda count: after_batch(task, count))
            trainer.state.cache_built = True
        loader.check(setup.splits["train"])
    trainer.loader = loader
