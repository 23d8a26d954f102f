"""What transformers' ResNets (He et al. 2016, arXiv:1512.03385) do not state themselves."""

from typing import Any

from orbitune.models.families.family import set_channels

STEP = 32  # pixels of a side that become one of the last features
SMALLEST = 64  # batch normalisation needs several features of an image in training
_IMAGE_SIZE = 224


def configure(config: Any, channels: int | None) -> None:
    """Complete a configuration: number of bands, number of features, side of the images."""
    set_channels(config, channels)
    config.hidden_size = config.hidden_sizes[-1]
    config.image_size = getattr(config, "image_size", _IMAGE_SIZE)
