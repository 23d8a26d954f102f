"""A model whose tokens are merged learns to answer as it did before (Hinton et al. 2015, arXiv:1503.02531).

The blocks above the first merging, and the head, are tuned on training tiles, seen in their eight views. The
labels play no part: what is learnt are the trained model's own answers, so calibration holds too.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orbitune.data.augment import random_dihedral
from orbitune.fastpath.classifier import FastClassifier
from orbitune.progress import ProgressDisplay
from orbitune.training.setup import TrainingSetup

EPOCHS = 3
_BATCH = 64
_RATE, _WARMUP = 2e-4, 0.1
_SOFTER = 2.0  # what logits are divided by, so that small probabilities tell something too


def distil(
    job: TrainingSetup, teacher: nn.Module, student: nn.Module, merge_after: Sequence[int], progress: bool
) -> dict[str, Tensor]:
    """Tune the student to answer with merged tokens as the teacher does with all.

    Args:
        teacher, student: the same classifier of transformers twice, in fp32; both are changed.
        merge_after: blocks, from 1, after which half of the patches are merged.

    Returns:
        The student's tuned tensors, float32, by their names in its state.
    """
    trained = _release(student, job.backbone.family.layers, merge_after[0])
    dtype = torch.float32 if job.recipe.precision == "fp32" else torch.bfloat16
    teaching, learning = (
        FastClassifier(model, job.backbone.family, job.transform, dtype, "plain", merge_after=blocks).eval()
        for model, blocks in ((teacher.requires_grad_(False), ()), (student, merge_after))
    )
    optimizer = torch.optim.AdamW(trained.values(), _RATE, weight_decay=0.0)
    batches = _batches(job.splits["train"])
    with (
        torch.random.fork_rng(),
        ProgressDisplay(progress) as display,
        display.task("tuning to merged tokens", len(batches)) as task,
    ):
        torch.manual_seed(0)
        for number, indices in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = _RATE * _share(number, len(batches))
            tiles = random_dihedral(torch.from_numpy(job.tiles.read(np.sort(indices))))
            with torch.no_grad():
                wanted = teaching(tiles)
            optimizer.zero_grad()
            _divergence(learning(tiles), wanted).backward()
            optimizer.step()
            task.advance()
    return {name: parameter.detach() for name, parameter in trained.items()}


def _release(model: nn.Module, layers: str, first: int) -> dict[str, nn.Parameter]:
    """Let the parameters above some blocks be trained; by their names."""
    model.requires_grad_(False)
    body = getattr(model, str(model.base_model_prefix))
    for part in (*body.get_submodule(layers)[first:], body.layernorm):
        part.requires_grad_()
    for name, part in model.named_children():
        if name != model.base_model_prefix:
            part.requires_grad_()
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _batches(indices: np.ndarray) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    count = max(1, len(indices) // _BATCH)
    return [part for _ in range(EPOCHS) for part in np.array_split(random.permutation(indices), count)]


def _share(step: int, steps: int) -> float:
    """Of the highest rate: a linear rise, then half a cosine down."""
    rise = min(1.0, (step + 1) / (_WARMUP * steps))
    return rise * (1 + math.cos(math.pi * step / steps)) / 2


def _divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    mine, others = (F.log_softmax(each / _SOFTER, 1) for each in (logits, wanted))
    return F.kl_div(mine, others, reduction="batchmean", log_target=True) * _SOFTER**2
