"""Arm of the Trainer of transformers with PEFT, on decoded tiles.

Its settings are the fastest that a search found.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from orbitune.bench.arms.peft_model import build_peft_model
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.data.augment import random_dihedral
from orbitune.data.transform import to_tensor
from orbitune.files import scratch
from orbitune.models.backbones import attention
from orbitune.training.setup import TrainingSetup

_FOREVER = 10**9  # steps


class TileIndices(Dataset):
    """Indices of the training tiles; their pixels are read for a whole batch at once."""

    def __init__(self, indices: np.ndarray) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: list[int]) -> np.ndarray:
        return self.indices[positions]


class StopCallback(TrainerCallback):
    """Callback that times each step and stops the Trainer."""

    def __init__(self, watch: Stopwatch, batch_size: int) -> None:
        self.watch = watch
        self.batch_size = batch_size

    def on_step_end(self, args, state, control, **rest):  # type: ignore[no-untyped-def]
        """Time a step and stop the Trainer when enough were measured."""
        control.should_training_stop = not self.watch.step(self.batch_size)


def run_arm(setup: TrainingSetup, watch: Stopwatch) -> dict[str, Any]:
    """Let the Trainer take steps until the stopwatch has seen enough, and say how."""
    recipe = setup.recipe
    assert recipe.learning_rate is not None
    # What a search found fastest on a CPU, with ViT-Tiny at 112 pixels: plain attention (with sdpa a step
    # takes 1.4 times as long) under autocast over fp32 weights. As fast: bf16 weights under autocast, a batch
    # in two parts. Slower: loader processes, torch.compile, bf16 weights with fp32 adapters without autocast.
    # Adapters in bf16 gain another 4 %, but AdamW then adds its small steps to numbers of eight bits.
    model = build_peft_model(setup, attn_implementation=attention())
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def collate(indices: Any) -> dict[str, Any]:
        # On a GPU pixels are resized there, which is faster.
        tiles = to_tensor(setup.tiles.read(indices), device)
        if recipe.augment != "none":  # suites compare training without views of other sensors
            tiles = random_dihedral(tiles)
        labels = torch.from_numpy(setup.tiles.labels[indices])
        return {"pixel_values": setup.transform(tiles), "labels": labels, **setup.backbone.family.forward}

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
            tf32={"tf32": True, "fp32": False}.get(str(recipe.precision)),  # None: the Trainer's own choice
            dataloader_drop_last=True,  # so that every step is a whole batch
            dataloader_pin_memory=False,  # batches are on the device
            remove_unused_columns=False,
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
        )
        callback = StopCallback(watch, recipe.batch_size)
        trainer = Trainer(model, arguments, collate, TileIndices(setup.splits["train"]), callbacks=[callback])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return {"precision": recipe.precision, "attention": model.config._attn_implementation}
