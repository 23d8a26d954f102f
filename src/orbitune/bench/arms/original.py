"""Arm of the original study's training loop, with two repairs.

The head is trained, and layers have today's names. Each image is decoded, resized by Pillow and normalised
when it is needed, in the training process; everything is fp32, and the learning rate is constant.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from orbitune.bench.arms.peft_model import build_peft_model
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.files import scratch
from orbitune.training.meter import reset_peak_rss
from orbitune.training.setup import TrainingSetup

OpenImage = Callable[[int], Image.Image]


class LazyTiles(Dataset):
    """Training tiles that are opened one at a time."""

    def __init__(self, setup: TrainingSetup, open_image: OpenImage) -> None:
        self.indices = setup.splits["train"]
        self.labels = setup.tiles.labels
        self.size = setup.transform.size
        stated = setup.backbone.preprocessing
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (stated.mean, stated.std))
        self.open_image = open_image

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        index = int(self.indices[position])
        image = (
            self.open_image(index).convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        )
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (pixels - self.mean) / self.std, int(self.labels[index])


@contextmanager
def open_tiles(setup: TrainingSetup) -> Iterator[OpenImage]:
    """Yield a function that opens a tile by its index.

    The tile comes from its file or from its synthetic pixels.
    """
    if setup.tiles.origin is None:  # drawn by a program
        yield lambda index: Image.fromarray(setup.tiles.tiles[index])
        return
    with (
        scratch() as copies,
        setup.tiles.origin.open(copies) as opened,
    ):
        place = {name: number for number, name in enumerate(opened.names)}
        yield lambda index: Image.open(io.BytesIO(opened.read(place[setup.tiles.names[index]])))


def run_arm(setup: TrainingSetup, watch: Stopwatch) -> dict[str, Any]:
    """Take steps until the stopwatch has seen enough, and say how."""
    recipe = setup.recipe
    assert recipe.learning_rate is not None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with open_tiles(setup) as open_image:
        reset_peak_rss()  # opening a data set belongs to no arm
        model = build_peft_model(setup).to(device).train()
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], recipe.learning_rate
        )
        loader = DataLoader(LazyTiles(setup, open_image), recipe.batch_size, shuffle=True)
        for pixels, labels in chain.from_iterable(repeat(loader)):
            optimizer.zero_grad()
            logits = model(pixel_values=pixels.to(device), **setup.backbone.family.forward).logits
            loss = F.cross_entropy(logits, labels.to(device))
            loss.backward()
            optimizer.step()
            loss.item()
            if not watch.step(len(labels)):
                break
        return {"precision": "fp32", "attention": model.config._attn_implementation}
