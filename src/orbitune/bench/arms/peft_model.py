"""Classifier of transformers with an adapter of PEFT, without Orbitune's code."""

from typing import Any

import torch
from transformers.utils import logging

from orbitune.models.backbones import labelled_config
from orbitune.models.families.classifiers import classifier_class
from orbitune.models.methods import find_method
from orbitune.training.setup import TrainingSetup


def build_peft_model(setup: TrainingSetup, **options: Any) -> Any:
    """Return the recipe's method applied to the backbone, with a new head.

    Args:
        setup: of the training.
        options: for transformers' from_pretrained.
    """
    logging.set_verbosity_error()  # it warns of the new head, which is what we want
    logging.disable_progress_bar()
    torch.manual_seed(setup.recipe.seed)
    model = classifier_class(setup.backbone.family).from_pretrained(
        setup.backbone.folder,
        config=labelled_config(setup.backbone, setup.tiles.classes),
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
        **options,
    )
    return find_method(setup.recipe.method).apply(model, setup.backbone.family, recipe=setup.recipe)
