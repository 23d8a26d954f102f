"""The training loop: steps, epochs with their validation, checkpoints.

Each step draws its randomness from the seed and its own number, so a run that was killed resumes from its
last checkpoint and reaches the same result, bit for bit on a CPU.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.loader import TileLoader
from orbitune.errors import CONTINUE, Interrupted
from orbitune.evaluation.run_result import Computation, EpochMetrics, best_epoch, describe_fall
from orbitune.machine.energy import EnergyMeter
from orbitune.models.factory import build
from orbitune.models.methods import find_method, parameter_groups
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.training.batches import batch_indices, batch_length, load_batch, step_seed
from orbitune.training.callbacks import Callback, CallbackList
from orbitune.training.checkpoint import TrainingState, load_checkpoint, save_best, save_checkpoint
from orbitune.training.checks import check_gradients, check_loss, check_outputs
from orbitune.training.duration.early_stopping import cool_down, describe_stop, last_epoch
from orbitune.training.gradients.accumulation import sum_over_processes
from orbitune.training.interruption import InterruptFlag
from orbitune.training.meter import Meter, peak_rss_bytes
from orbitune.training.run_folder import RunFolder, epoch_line
from orbitune.training.schedule import learning_rate, step_frozen_layers, step_image_size, step_merges
from orbitune.training.setup import TrainingSetup

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer

    from orbitune.fastpath.activation_cache import ActivationLoader
    from orbitune.models.adalora import RankSchedule

CHECKPOINT_SECONDS = 60.0


@dataclass
class Trainer:
    """A run in training: the model, its optimizer, and the training state.

    Under torchrun each process holds all of this and computes its part of every batch; the first one writes.

    Attributes:
        network: computes the model; `replica` is the network, or averages its gradients over processes.
        rank_schedule: of AdaLoRA; None for other methods.
        gradients: adds those of a batch, see `accumulate_gradients`.
        loader: gives tiles, or the cached activations of the frozen layers.
        interrupt: set by SIGINT.
    """

    setup: TrainingSetup
    folder: RunFolder
    accelerator: "Accelerator"
    model: "nn.Module"
    network: Any
    replica: Any
    optimizer: "Optimizer"
    rank_schedule: "RankSchedule | None"
    scaler: "GradScaler"
    gradients: "Callable[..., Tensor]"
    loader: "TileLoader | ActivationLoader"
    state: TrainingState
    meter: Meter
    display: ProgressDisplay
    callbacks: Callback
    interrupt: InterruptFlag = field(default_factory=InterruptFlag)

    @classmethod
    def build(
        cls,
        setup: TrainingSetup,
        folder: RunFolder,
        *,
        accelerator: "Accelerator",
        display: ProgressDisplay | None = None,
        callbacks: Callback | None = None,
    ) -> "Trainer":
        """Build the model and the optimizer, and load the last checkpoint if any."""
        import torch
        from torch.nn.parallel import DistributedDataParallel

        from orbitune.training.gradients.cuda_graph import gradient_function

        recipe, device = setup.recipe, accelerator.device
        model = build(recipe, setup.backbone, classes=setup.tiles.classes).to(device)
        groups = parameter_groups(model, recipe)
        optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
        make_schedule = find_method(recipe.method).schedule
        rank_schedule = make_schedule(model, setup.steps) if make_schedule else None
        state = _load_state(folder, model, optimizer=optimizer, schedule=rank_schedule)
        network: Any = setup.network(model, state.attention)
        state.attention = str(network.plan.attention)
        replica = network
        if accelerator.num_processes > 1:
            replica = DistributedDataParallel(network, find_unused_parameters=bool(recipe.freeze_layers))
        replica.train()
        # Small gradients of fp16 would round to zero; the scale starts anew where a run resumes.
        scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
        return cls(
            setup=setup,
            folder=folder,
            accelerator=accelerator,
            model=model,
            network=network,
            replica=replica,
            optimizer=optimizer,
            rank_schedule=rank_schedule,
            scaler=scaler,
            gradients=gradient_function(
                replica,
                recipe,
                task=setup.task,
                device=device,
                scaler=scaler,
                class_weights=setup.class_weights,
                changes=rank_schedule is not None,
            ),
            loader=TileLoader(setup.tiles, device),
            state=state,
            meter=Meter(state.totals, EnergyMeter(on_gpu=device.type == "cuda")),
            display=display or ProgressDisplay(False),
            callbacks=callbacks or CallbackList(),
        )

    def fit(self, epochs: int | None = None) -> None:
        """Train to the last epoch or `epochs`; validate and keep the best weights.

        Raises:
            DivergedError: see `step`.
            Interrupted: SIGINT arrived; the state is saved.
        """
        state = self.state
        if state.step:
            self.display.print(f"resumed after step {state.step} of {self.setup.steps}")
        last_save = time.monotonic()
        with self.display.task("training", self.setup.steps, done=state.step) as task:
            while len(state.history) < self._last_epoch(epochs):
                if state.step == (len(state.history) + 1) * self.setup.steps_per_epoch:
                    self.end_epoch()
                else:
                    self._train_step(task)
                stopping = sum_over_processes(self.accelerator, [self.interrupt.is_set])[0] > 0
                if stopping or time.monotonic() - last_save > CHECKPOINT_SECONDS:
                    self.save()
                    last_save = time.monotonic()
                if stopping:
                    raise Interrupted(f"Stopped after step {state.step} of {self.setup.steps}. {CONTINUE}")
        if not epochs and (line := describe_stop(self.setup.recipe, state.history)):
            self.display.print(line)

    def _last_epoch(self, epochs: int | None) -> int:
        """Return the last epoch to train, at most `epochs`."""
        last = last_epoch(self.setup.recipe, self.state.history, steps=self.setup.steps)
        return min(epochs or last, last)

    def _train_step(self, task: ProgressTask) -> None:
        with self.meter.phase("train"):
            loss = self.step()
        state = self.state
        task.advance(1, f"loss {loss:.3f}  accuracy {state.correct / state.seen:.1%}")
        with self._saving_on_error():
            self.callbacks.on_step_end(state.step, loss, learning_rate=self.learning_rate(state.step - 1))

    def step(self) -> float:
        """Take one optimizer step on the next batch; return its mean loss.

        Raises:
            DivergedError: the loss is not finite, or beyond `LARGEST_LOSS`.
            RunError: a trainable tensor received no gradient.
        """
        state, setup = self.state, self.setup
        chosen = batch_indices(setup, state.step)
        tiles, targets, weight = self.local_batch(chosen)
        seen = batch_length(setup.recipe, len(chosen))
        if not self.network.training:  # after an evaluation; setting hundreds of modules takes a while
            self.replica.train()
        size = step_image_size(setup.recipe, state.step, steps=setup.steps)
        self.network.frozen_layers = step_frozen_layers(setup.recipe, state.step, steps=setup.steps)
        self.network.merging = step_merges(setup.recipe, state.step, steps=setup.steps)
        sums = self.gradients(tiles, targets=targets, weight=weight, size=size)
        loss_sum, correct = sum_over_processes(self.accelerator, sums.tolist() if weight else [0.0, 0.0])
        loss = loss_sum / seen
        check_loss(loss, state.step + 1)
        self.update_weights()
        state.loss_sum += loss_sum
        state.correct += int(correct)
        state.seen += seen
        return loss

    def local_batch(self, chosen: np.ndarray) -> "tuple[Tensor, Tensor, float]":
        """Return this process's tiles, targets (B, C) and weight of their loss.

        Every process augments the whole batch alike and takes its part. Where a short batch leaves nothing,
        it takes one tile with weight zero. Gradients are averaged over the processes, whose parts of the last
        batch may differ in size.
        """
        import torch

        seed, step = self.setup.recipe.seed, self.state.step
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(step_seed(seed, step))
        count = batch_length(self.setup.recipe, len(chosen))
        has_part = count > rank
        own = slice(rank, None, ranks) if has_part else slice(0, 1)
        tiles, targets = (part[own] for part in load_batch(self.setup, chosen, loader=self.loader))
        if rank:
            torch.manual_seed(step_seed(seed, step, rank=rank))  # for a dropout of its own
        return tiles, targets, ranks / count if has_part else 0.0

    def update_weights(self) -> None:
        """Take the optimizer's step with the accumulated gradients, and clear them."""
        state = self.state
        if self.rank_schedule:
            self.rank_schedule.add_penalty(self.scaler.get_scale())
        if state.step == 0:
            check_gradients(self.model)
        for number, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.learning_rate(state.step, number)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        state.step += 1
        if self.rank_schedule:
            self.rank_schedule.after_step(state.step)
        self.optimizer.zero_grad()

    def learning_rate(self, step: int, group: int = 0) -> float:
        """Return the learning rate of a step, from 0, for a group of parameters."""
        factor = float(self.optimizer.param_groups[group]["factor"])
        setup = self.setup
        epochs = cool_down(setup.recipe, self.state.history, steps=setup.steps)
        cooling = epochs and range(*(setup.steps_per_epoch * end for end in (epochs.start, epochs.stop)))
        return factor * learning_rate(setup.recipe, step, steps=setup.steps, cooling=cooling)

    def end_epoch(self) -> None:
        """Score the validation split, log the epoch, and keep the best weights."""
        state = self.state
        before = self.meter.totals.get("evaluation_seconds", 0.0)
        with self.meter.phase("evaluation"):
            logits, labels = self.logits("validation"), self.labels("validation")
            scores = self.setup.task.epoch_scores(logits, labels, classes=self.setup.tiles.classes)
        trained = sum(entry.train_seconds for entry in state.history)
        metrics = EpochMetrics(
            epoch=len(state.history) + 1,
            train_loss=state.loss_sum / state.seen,
            train_accuracy=state.correct / state.seen,
            **scores,
            learning_rate=self.learning_rate(state.step - 1),
            train_seconds=self.meter.totals["train_seconds"] - trained,
            evaluation_seconds=self.meter.totals["evaluation_seconds"] - before,
        )
        state.history.append(metrics)
        state.loss_sum, state.correct, state.seen = 0.0, 0, 0
        if self.accelerator.is_main_process:
            if self.best_epoch == len(state.history):
                save_best(self.folder.best, self.model, epoch=self.best_epoch)
            self.folder.write_log(state.history)
        with self._saving_on_error():
            self.callbacks.on_epoch_end(metrics.epoch, metrics.to_json())
        self.save()
        self.display.print(epoch_line(metrics, self.setup.recipe.max_epochs))
        if fall := describe_fall(state.history):
            self.display.print(fall)

    @property
    def best_epoch(self) -> int:
        """Return the epoch, from 1, whose weights are kept."""
        return best_epoch(self.state.history, self.setup.recipe.criterion).epoch

    def labels(self, split: str) -> np.ndarray:
        """Return the labels of one split, int64 (N,), or uint8 (N, C) with several a tile."""
        return self.setup.tiles.labels[self.setup.splits[split]]

    def logits(self, split: str, tta: str = "none") -> np.ndarray:
        """Return the logits of one split, float32 (N, C), see `TrainingSetup.predict`.

        Raises:
            DivergedError: they are not finite.
        """
        indices = self.setup.splits[split]
        with self.display.task(split, len(indices)) as task:
            logits = self.setup.predict(
                self.network,
                self.loader,
                accelerator=self.accelerator,
                indices=indices,
                tta=tta,
                after_batch=task.advance,
            )
        check_outputs(logits)
        return logits

    def computation(self) -> Computation:
        """Return how this run computes, which other machines may do differently."""
        recipe = self.setup.recipe
        return Computation(
            **self.network.plan.to_json(),
            precision=recipe.precision,
            micro_batch=recipe.micro_batch,
            processes=self.accelerator.num_processes,
        )

    def save(self) -> None:
        """Write the checkpoint, from which a killed run resumes."""
        if not self.accelerator.is_main_process:
            return
        self.meter.update_totals()
        self.state.totals = self.meter.totals
        self.state.peak_rss_bytes = max(self.state.peak_rss_bytes, peak_rss_bytes())
        try:
            self.callbacks.on_checkpoint(self.state.step)
        finally:
            save_checkpoint(
                self.folder.checkpoint,
                self.model,
                optimizer=self.optimizer,
                schedule=self.rank_schedule,
                state=self.state,
            )

    @contextmanager
    def _saving_on_error(self) -> Iterator[None]:
        """Save the checkpoint if a callback fails."""
        try:
            yield
        except Exception:
            self.save()
            raise


def _load_state(
    folder: RunFolder, model: "nn.Module", *, optimizer: "Optimizer", schedule: "RankSchedule | None"
) -> TrainingState:
    """Return the state of the last checkpoint, which is loaded, or that of a new run."""
    if not folder.checkpoint.exists():
        return TrainingState()
    state = load_checkpoint(folder.checkpoint, model, optimizer=optimizer, schedule=schedule)
    state.resumed += 1
    return state
