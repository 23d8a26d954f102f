"""Training, as one page: load, build, step, evaluate, keep the best, save, prove.

Each step draws its randomness from the seed and its own number, so a run that was killed goes on from its
last checkpoint to the same result, bit for bit on a CPU.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from orbitune.data.augment import mixup
from orbitune.data.loader import TileLoader
from orbitune.errors import DivergedError, Interrupted, RunError
from orbitune.evaluation.metrics import SplitScores, score
from orbitune.evaluation.run_result import Computation
from orbitune.models.factory import build
from orbitune.models.methods import find_method, parameter_groups
from orbitune.progress import ProgressDisplay, ProgressTask
from orbitune.training.checkpoint import (
    Progress,
    load_checkpoint,
    save_best,
    save_checkpoint,
)
from orbitune.training.energy import EnergyMeter
from orbitune.training.meter import Meter, peak_rss_bytes
from orbitune.training.run_folder import RunFolder
from orbitune.training.schedule import image_size, learning_rate
from orbitune.training.setup import TrainingSetup

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn
    from torch.amp import GradScaler
    from torch.optim import Optimizer

    from orbitune.fastpath.activation_cache import ActivationLoader
    from orbitune.models.adalora import RankSchedule

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
LARGEST_LOSS = 1e4  # nats a tile; chance is ln(classes), and from here no run has come back


@dataclass
class Trainer:
    """A job under way: the model, its optimizer, and how far they have come.

    Under torchrun each process holds all of this and computes its share of every batch; the first one writes.
    """

    job: TrainingSetup
    folder: RunFolder
    accelerator: "Accelerator"
    model: "nn.Module"
    network: Any  # computes the model: `FastClassifier` or `PlainClassifier`
    replica: Any  # the network, or what averages its gradients over the processes
    optimizer: "Optimizer"
    schedule: "RankSchedule | None"  # what the method does beside the optimizer
    scaler: "GradScaler"
    feed: "TileLoader | ActivationLoader"
    progress: Progress
    meter: Meter
    interrupted: bool = False

    @classmethod
    def build(cls, job: TrainingSetup, folder: RunFolder, accelerator: "Accelerator") -> "Trainer":
        """Build the model and the optimizer, and put the last checkpoint into them if there is one."""
        import torch
        from torch.nn.parallel import DistributedDataParallel

        model = build(job.recipe, job.backbone, job.tiles.classes).to(accelerator.device)
        optimizer = torch.optim.AdamW(
            parameter_groups(model, job.recipe), weight_decay=job.recipe.weight_decay, fused=True
        )
        make_schedule = find_method(job.recipe.method).schedule
        schedule = make_schedule(model, job.recipe.epochs * job.steps_per_epoch) if make_schedule else None
        progress = Progress()
        if folder.checkpoint.exists():
            progress = load_checkpoint(folder.checkpoint, model, optimizer, schedule)
            progress.resumed += 1
        network: Any = job.network(model, progress.attention)
        progress.attention = str(network.plan.attention)
        replica = DistributedDataParallel(network) if accelerator.num_processes > 1 else network
        replica.train()
        return cls(
            job=job,
            folder=folder,
            accelerator=accelerator,
            model=model,
            network=network,
            replica=replica,
            optimizer=optimizer,
            schedule=schedule,
            # Small gradients of fp16 would round to zero; the scale starts anew where a run goes on.
            scaler=torch.amp.GradScaler(accelerator.device.type, enabled=job.recipe.precision == "fp16"),
            feed=TileLoader(job.tiles, accelerator.device),
            progress=progress,
            meter=Meter(progress.totals, EnergyMeter(on_gpu=accelerator.device.type == "cuda")),
        )

    def keep_prefix(self, display: ProgressDisplay) -> None:
        """Take the states below the first trained layer from disk, where they are computed first if need be.

        Raises:
            ModelError: there is nothing frozen below the trained layers, or no fast path.
        """

        assert isinstance(self.feed, TileLoader)
        feed = self.job.state_feed(self.network, self.feed, self.accelerator.device)
        with self.meter.phase("prefix"), self.accelerator.main_process_first():
            if not feed.complete:
                total = sum(map(len, self.job.splits.values()))
                with display.task("caching frozen layers", total) as task:
                    feed.build(self.job.recipe.micro_batch or 1, partial(self._after_cached, task))
                self.progress.prefix_built = True
            feed.check(self.job.splits["train"])
        self.feed = feed

    def _after_cached(self, task: ProgressTask, count: int) -> None:
        task.advance(count)
        if self.interrupted:
            raise Interrupted(
                "Stopped while the activations of the frozen layers were cached. The same command resumes it."
            )

    def fit(self, display: ProgressDisplay, epochs: int | None = None) -> None:
        """Train to the last epoch, or to an earlier one; evaluate on validation after each, keep the best."""
        state, recipe = self.progress, self.job.recipe
        total = recipe.epochs * self.job.steps_per_epoch
        if state.step:
            display.print(f"resumed after step {state.step} of {total}")
        last_save = time.monotonic()
        with display.task("training", total, done=state.step) as task:
            while len(state.history) < (epochs or recipe.epochs):
                if state.step == (len(state.history) + 1) * self.job.steps_per_epoch:
                    self.end_epoch(display)
                else:
                    with self.meter.phase("train"):
                        loss = self.step()
                    task.advance(1, f"loss {loss:.3f}  accuracy {state.correct / state.seen:.1%}")
                stopping = self.summed([self.interrupted])[0] > 0
                if stopping or time.monotonic() - last_save > CHECKPOINT_SECONDS:
                    self.save()
                    last_save = time.monotonic()
                if stopping:
                    raise Interrupted(
                        f"Stopped after step {state.step} of {total}. The same command goes on from there."
                    )

    def step(self) -> float:
        """One optimizer step on the next batch; returns its mean loss.

        Raises:
            DivergedError: the loss is not finite, or beyond `LARGEST_LOSS`.
            RunError: a trainable tensor received no gradient.
        """
        import torch

        recipe, state = self.job.recipe, self.progress
        total = recipe.epochs * self.job.steps_per_epoch
        epoch, position = divmod(state.step, self.job.steps_per_epoch)
        turn, place = divmod(position, self.job.steps_per_pass)
        chosen = self.order(epoch, turn)[place * recipe.batch_size : (place + 1) * recipe.batch_size]
        torch.manual_seed(_mixed(recipe.seed, 1, state.step))
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        # Every process turns the whole batch alike, and takes its share of it.
        # Where a short batch leaves nothing, it takes one tile with weight zero.
        share = len(chosen[rank::ranks])
        own = slice(rank, None, ranks) if share else slice(0, 1)
        tiles, targets = (part[own] for part in self.batch(chosen))
        if rank:
            torch.manual_seed(_mixed(recipe.seed, 1, state.step, rank))  # for a dropout of its own
        if not self.network.training:  # after an evaluation; telling hundreds of modules takes a while
            self.replica.train()
        # Gradients are averaged over the processes, whose shares of the last batch may differ in size.
        weight = ranks / len(chosen) if share else 0.0
        loss_sum, correct_sum = self.summed(
            self.gradients(tiles, targets, weight, image_size(recipe, state.step, total))
        )
        if not loss_sum / len(chosen) <= LARGEST_LOSS:
            reached = f"{loss_sum / len(chosen):.3g}" if np.isfinite(loss_sum) else "not finite"
            raise DivergedError(
                f"Training diverged: the loss of step {state.step + 1} is {reached}. Lower --learning-rate."
            )
        if self.schedule:
            self.schedule.add_penalty(self.scaler.get_scale())
        if state.step == 0:
            check_gradients(self.model)
        for number, group in enumerate(self.optimizer.param_groups):
            group["lr"] = self.learning_rate(state.step, number)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        state.step += 1
        if self.schedule:
            self.schedule.after_step(state.step)
        self.optimizer.zero_grad()
        state.loss_sum += loss_sum
        state.correct += int(correct_sum)
        state.seen += len(chosen)
        return loss_sum / len(chosen)

    def gradients(self, tiles: "Tensor", targets: "Tensor", weight: float, size: int) -> list[float]:
        """Add the gradients of `weight` times the summed loss, a micro-batch at a time.

        Args:
            targets: class probabilities (B, C).

        Returns:
            The summed loss and the number of tiles classified rightly; zeros where the weight is zero.
        """
        import torch
        from torch.nn import functional as F

        loss_sum, correct = torch.zeros((), device=tiles.device), torch.zeros((), device=tiles.device)
        recipe, ranks = self.job.recipe, self.replica is not self.network
        parts = list(zip(*(t.split(recipe.micro_batch) for t in (tiles, targets)), strict=True))
        for number, (part, truth) in enumerate(parts, 1):
            # Processes exchange their gradients once, with the last part.
            with self.replica.no_sync() if ranks and number < len(parts) else nullcontext():
                logits = self.replica(part, size)
                loss = F.cross_entropy(logits, truth, reduction="sum", label_smoothing=recipe.label_smoothing)
                self.scaler.scale(loss * weight).backward()
            loss_sum += loss.detach()
            correct += (logits.detach().argmax(1) == truth.argmax(1)).sum()
        return [loss_sum.item(), correct.item()] if weight else [0.0, 0.0]

    def learning_rate(self, step: int, group: int = 0) -> float:
        """Return the rate of a step for a group of parameters; a resumed run has it before its next step."""
        total = self.job.recipe.epochs * self.job.steps_per_epoch
        factor = float(self.optimizer.param_groups[group]["factor"])
        return factor * learning_rate(self.job.recipe, step, total)

    def summed(self, values: Sequence[float]) -> list[float]:
        """Each value summed over the processes."""
        import torch

        if self.accelerator.num_processes == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.accelerator.device)
        return self.accelerator.reduce(tensor, "sum").tolist()

    def order(self, epoch: int, turn: int) -> np.ndarray:
        """The training indices in the order of one pass, the `turn`-th (from 0) of this epoch."""
        generator = np.random.default_rng([self.job.recipe.seed, 0, epoch])
        orders = [generator.permutation(self.job.splits["train"]) for _ in range(turn + 1)]
        return orders[turn]

    def batch(self, indices: np.ndarray) -> "tuple[Tensor, Tensor]":
        """Tiles uint8 (B, H, W, 3), turned and mixed as the recipe says, and their targets (B, C)."""
        from torch.nn import functional as F

        recipe = self.job.recipe
        tiles = self.feed.augmented(indices, recipe.augment)
        targets = F.one_hot(self.feed.labels(indices), len(self.job.tiles.classes)).float()
        return mixup(tiles, targets, alpha=recipe.mixup) if recipe.mixup else (tiles, targets)

    def end_epoch(self, display: ProgressDisplay) -> None:
        """Evaluate on validation, log the epoch, keep its weights if they are the best so far."""
        state = self.progress
        before = self.meter.totals.get("evaluation_seconds", 0.0)
        with self.meter.phase("evaluation"):
            validation = self.evaluate("validation", display)
        trained = sum(entry["train_seconds"] for entry in state.history)
        state.history.append(
            {
                "epoch": len(state.history) + 1,
                "train_loss": state.loss_sum / state.seen,
                "train_accuracy": state.correct / state.seen,
                "validation_loss": validation.loss,
                "validation_accuracy": validation.accuracy,
                "learning_rate": self.learning_rate(state.step - 1),
                "train_seconds": self.meter.totals["train_seconds"] - trained,
                "evaluation_seconds": self.meter.totals["evaluation_seconds"] - before,
            }
        )
        state.loss_sum, state.correct, state.seen = 0.0, 0, 0
        if self.accelerator.is_main_process:
            if state.best_epoch == len(state.history):
                save_best(self.folder.best, self.model, state.best_epoch)
            self.folder.write_log(state.history)
        self.save()
        display.print(epoch_line(state.history[-1], self.job.recipe.epochs))

    def evaluate(self, split: str, display: ProgressDisplay) -> SplitScores:
        """Scores on one split."""
        return score(self.logits(split, display), self.labels(split), self.job.tiles.classes)

    def labels(self, split: str) -> np.ndarray:
        return self.job.tiles.labels[self.job.splits[split]]

    def logits(self, split: str, display: ProgressDisplay, tta: str = "none") -> np.ndarray:
        """Logits of one split, float32 (N, C), see `TrainingSetup.predict`.

        Raises:
            DivergedError: they are not finite.
        """
        indices = self.job.splits[split]
        with display.task(split, len(indices)) as task:
            logits = self.job.predict(self.network, self.feed, self.accelerator, indices, tta, task.advance)
        check_outputs(logits)
        return logits

    def computation(self) -> Computation:
        """Return how this run computes: what another machine or setting may do in another way."""
        recipe = self.job.recipe
        return Computation(
            **self.network.plan.to_json(),
            precision=recipe.precision,
            micro_batch=recipe.micro_batch,
            processes=self.accelerator.num_processes,
        )

    def save(self) -> None:
        """Write the checkpoint; after a kill at any moment the run goes on from the last one."""
        if not self.accelerator.is_main_process:
            return
        self.meter.count_run()
        self.progress.totals = self.meter.totals
        self.progress.peak_rss_bytes = max(self.progress.peak_rss_bytes, peak_rss_bytes())
        save_checkpoint(self.folder.checkpoint, self.model, self.optimizer, self.schedule, self.progress)

    @contextmanager
    def stop_on_sigint(self) -> Iterator[None]:
        """Let SIGINT finish the step under way; a second one stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)
            logger.info("Stopping after this step ...")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def check_gradients(model: "nn.Module") -> None:
    """After the first backward pass every trainable tensor must have received a gradient.

    Raises:
        RunError: one did not; it would stay as it is, and be saved as if it were trained.
    """
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if without:
        raise RunError(
            f"{len(without)} trainable tensors received no gradient, such as {without[0]}; the method does "
            f"not fit this backbone."
        )


def _mixed(*numbers: int) -> int:
    """One seed out of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def check_outputs(logits: np.ndarray) -> None:
    """Check that a model's logits are finite.

    Raises:
        DivergedError: one is not.
    """
    if not np.isfinite(logits).all():
        raise DivergedError("Training diverged: the model's outputs are not finite. Lower --learning-rate.")


def epoch_line(metrics: dict[str, float], epochs: int) -> str:
    """Return the metrics of an epoch as a line for people."""
    return (
        f"epoch {metrics['epoch']}/{epochs}  "
        f"train loss {metrics['train_loss']:.4f}, accuracy {metrics['train_accuracy']:.2%}  "
        f"validation loss {metrics['validation_loss']:.4f}, accuracy {metrics['validation_accuracy']:.2%}  "
        f"({metrics['train_seconds']:.0f} s)"
    )
