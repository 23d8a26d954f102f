"""The Trainer of transformers with PEFT, on decoded tiles, with the flags that a search found fastest."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from orbitune.bench.arms.plain import plain_model
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.data.augment import random_dihedral
from orbitune.files import scratch
from orbitune.models.backbones import attention
from orbitune.training.setup import TrainingSetup

_FOREVER = 10**9  # steps


class TileNumbers(Dataset):
    """The numbers of the training tiles: their pixels are read for a batch at once."""

    def __init__(self, indices: np.ndarray) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: list[int]) -> np.ndarray:
        return self.indices[positions]


class Timed(TrainerCallback):
    """Tells the stopwatch of each step, and the Trainer when to stop."""

    def __init__(self, watch: Stopwatch, batch_size: int) -> None:
        self.watch = watch
        self.batch_size = batch_size

    def on_step_end(self, args, state, control, **rest):  # type: ignore[no-untyped-def]
        control.should_training_stop = not self.watch.step(self.batch_size)


def work(job: TrainingSetup, watch: Stopwatch) -> dict[str, Any]:
    """Let the Trainer take steps until the stopwatch has seen enough, and say how."""
    recipe = job.recipe
    assert recipe.learning_rate is not None
    # What a search found fastest on a CPU, with ViT-Tiny at 112 pixels: plain attention (with sdpa a step
    # takes 1.4 times as long) under autocast over fp32 weights. As fast: bf16 weights under autocast, a batch
    # in two parts. Slower: loader processes, torch.compile, bf16 weights with fp32 adapters without autocast.
    # Adapters in bf16 gain another 4 %, but AdamW then adds its small steps to numbers of eight bits.
    model = plain_model(job, attn_implementation=attention())

    def collate(indices: Any) -> dict[str, Any]:
        tiles = torch.from_numpy(job.tiles.read(indices))
        if recipe.augment == "flips":
            tiles = random_dihedral(tiles)
        labels = torch.from_numpy(job.tiles.labels[indices])
        return {"pixel_values": job.transform(tiles), "labels": labels, **job.backbone.family.forward}

    with scratch() as temporary:
        arguments = TrainingArguments(
            output_dir=str(temporary),
            per_device_train_batch_size=recipe.batch_size,
            max_steps=_FOREVER,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=recipe.weight_decay,
            max_grad_norm=0.0,  # as ours: gradients are not clipped
            use_cpu=not torch.cuda.is_available(),
            bf16=recipe.precision == "bf16",
            fp16=recipe.precision == "fp16",
            dataloader_drop_last=True,  # so that every step is a whole batch
            remove_unused_columns=False,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
        )
        callback = Timed(watch, recipe.batch_size)
        trainer = Trainer(model, arguments, collate, TileNumbers(job.splits["train"]), callbacks=[callback])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"precision": recipe.precision, "attention": model.config._attn_implementation}
