"""A classifier as transformers loads it and PEFT adapts it, with nothing of ours in its computation."""

from typing import Any

import torch
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from orbitune.models.backbones import labelled_config
from orbitune.models.methods import find_method
from orbitune.training.setup import TrainingSetup


def plain_model(job: TrainingSetup, **options: Any) -> Any:
    """The recipe's method on the job's backbone, under a new head.

    Args:
        options: for transformers' from_pretrained.
    """
    logging.set_verbosity_error()  # it warns of the new head, which is what we want
    logging.disable_progress_bar()
    torch.manual_seed(job.recipe.seed)
    model = AutoModelForImageClassification.from_pretrained(
        job.backbone.folder,
        config=labelled_config(job.backbone, job.tiles.classes),
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
        **options,
    )
    return find_method(job.recipe.method).apply(model, job.backbone.family, job.recipe)
