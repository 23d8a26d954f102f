"""The classes of transformers, and of ours, that classify with the families' architectures."""

from collections.abc import Collection
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from orbitune.models.families.family import Family, head_names, vision_config


def classifier_class(family: Family) -> Any:
    """Return the class whose `from_pretrained` loads a classifier of a family."""
    return resolve_name(family.classifier or "transformers:AutoModelForImageClassification")


def classifier_config(
    folder: str | Path, family: Family, *, channels: int | None = None, **settings: Any
) -> Any:
    """Read the configuration of a family's classifier with transformers.

    Args:
        folder: of the checkpoint.
        family: of the checkpoint.
        channels: number of bands to read, where it is not the checkpoint's.
        settings: override those of the file.

    Raises:
        Exception: of any type, where a value is damaged.
    """
    from transformers import AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # it warns of a config of another model type, which some families intend
    logging.disable_progress_bar()  # of weights that are loaded or saved, beside our own
    own = getattr(classifier_class(family), "config_class", None)
    config = (own or AutoConfig).from_pretrained(folder, trust_remote_code=False, **settings)
    family.configure(config, channels)
    encoder = vision_config(config)
    if hasattr(encoder, "vision_use_head"):  # attention pooling, which classifiers of transformers leave out
        encoder.vision_use_head = False
    config.architectures = config.architectures or []  # transformers iterates over it
    return config


def empty_classifier(config: Any, family: Family) -> Any:
    """Build a family's classifier without weights, on torch's default device.

    Args:
        config: what `classifier_config` returned.
        family: of the checkpoint.
    """
    loaded = classifier_class(family)
    if family.classifier:
        return loaded._from_config(config)
    return loaded.from_config(config, trust_remote_code=False)


def draw_heads(model: Any, family: Family, *, drawn: Collection[str]) -> None:
    """Replace the heads of a checkpoint by random ones, but those that are `drawn` already."""
    for name in head_names(model, family):
        if f"{name}.weight" not in drawn:
            old = model.get_submodule(name)
            new = type(old)(old.in_features, old.out_features)
            model._init_weights(new)
            model.set_submodule(name, new)
