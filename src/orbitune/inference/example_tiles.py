"""Example tiles: one validation tile of each class, to try a model on."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from orbitune.errors import RunError

if TYPE_CHECKING:
    from orbitune.training.setup import TrainingSetup

EXAMPLES = "examples"  # folder in a bundle


class NoExamplesError(RunError):
    """Tiles cannot be shown as examples."""


def choose_examples(setup: "TrainingSetup") -> dict[str, np.ndarray]:
    """Return a validation tile of each class, uint8 (H, W, 3).

    A tile with several labels is that of one of them. Classes without a validation tile of their own are left
    out.

    Args:
        setup: of the run.

    Raises:
        NoExamplesError: the tiles have other bands than red, green and blue.
    """
    tiles = setup.tiles
    if not tiles.is_rgb:
        raise NoExamplesError("Tiles can be examples with 8-bit red, green and blue, and no other bands.")
    validation = setup.splits["validation"]
    members = tiles.membership[validation]
    taken: set[int] = set()  # indices in the data
    examples: dict[str, np.ndarray] = {}
    for label, name in enumerate(tiles.classes):
        if other := [index for index in validation[members[:, label]].tolist() if index not in taken]:
            examples[name] = tiles.read(np.array(other[:1]))[0]
            taken.add(other[0])
    return examples


def write_examples(setup: "TrainingSetup", bundle: Path) -> None:
    """Write `choose_examples` into the folder of a bundle, as PNG files named by the number of the class.

    Args:
        setup: of the run.
        bundle: folder of the bundle.

    Raises:
        NoExamplesError: as `choose_examples`.
    """
    examples = choose_examples(setup)
    (bundle / EXAMPLES).mkdir()
    for number, name in enumerate(setup.tiles.classes):
        if name in examples:
            Image.fromarray(examples[name]).save(bundle / EXAMPLES / f"{number}.png")
