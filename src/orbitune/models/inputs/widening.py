"""Widening of a backbone's patch embedding from RGB to other bands.

Each colour's kernel is divided among the bands, with fractions that sum to 1, so that a tile whose bands are
all alike gives the embeddings of a grey image: activations keep their scale. timm's `adapt_input_conv`
repeats and rescales the kernels to the same end, as the inflation of Carreira and Zisserman (2017,
arXiv:1705.07750) does. Here the division goes by wavelength: a colour's own band keeps most of its kernel,
and the bands nearest to it share the rest. The widened embedding is trained with the head.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from orbitune.sources.band_names import COLOURS, canonical_name, wavelength

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

OWN_FRACTION = 0.9  # of a colour's kernel that its own band keeps, where other bands are near
_MARK = "is_widened"  # attribute of a widened projection


def widen(model: "nn.Module", bands: Sequence[str], *, projection: str) -> None:
    """Replace the patch projection of an RGB classifier by one for these bands.

    Args:
        model: classifier of transformers, not wrapped by PEFT; is changed.
        bands: names of the bands, in their order.
        projection: name of the convolution from pixels to patch embeddings.
    """
    import torch
    from torch import nn

    old: Any = model.get_submodule(projection)
    new = copy.deepcopy(old)  # some are subclasses with a padding of their own
    new.in_channels = len(bands)
    fractions = torch.from_numpy(colour_fractions(bands)).to(old.weight)
    with torch.no_grad():
        new.weight = nn.Parameter(torch.einsum("bc,dcyx->dbyx", fractions, old.weight))
    setattr(new, _MARK, True)
    model.set_submodule(projection, new)
    parts = projection.split(".")
    for depth in range(1, len(parts)):
        around: Any = model.get_submodule(".".join(parts[:depth]))
        if hasattr(around, "num_channels"):  # which its forward pass compares with the pixels
            around.num_channels = len(bands)


def is_widened(projection: "nn.Module") -> bool:
    """Return whether a patch projection is one that `widen` made."""
    return bool(getattr(projection, _MARK, False))


def colour_fractions(bands: Sequence[str]) -> "np.ndarray":
    """Return the fraction of each colour's kernel that each band receives.

    Args:
        bands: names of the bands.

    Returns:
        float32 (bands, 3), for red, green and blue; columns sum to 1.
    """
    import numpy as np

    centres = np.array([wavelength(colour) for colour in COLOURS], float)
    own = np.array([[canonical_name(band) == canonical_name(colour) for colour in COLOURS] for band in bands])
    near = np.zeros_like(own)
    for row, band in enumerate(bands):
        length = wavelength(band)
        if length is None:
            near[row] = True  # of unknown wavelength: near all colours
        else:
            near[row, np.abs(centres - length).argmin()] = True
    near &= ~own.any(1, keepdims=True)
    fractions = np.zeros(own.shape, np.float32)
    for colour in range(len(COLOURS)):
        mine, others = own[:, colour], near[:, colour]
        if mine.any():
            fractions[mine, colour] = (OWN_FRACTION if others.any() else 1.0) / mine.sum()
            fractions[others, colour] = (1 - OWN_FRACTION) / max(1, others.sum())
        else:
            everywhere = others if others.any() else np.ones(len(bands), bool)
            fractions[everywhere, colour] = 1 / everywhere.sum()
    return fractions
