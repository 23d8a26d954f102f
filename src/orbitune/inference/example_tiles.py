"""Example tiles: one validation tile of each class, to try a model on."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from orbitune.errors import RunError

if TYPE_CHECKING:
    from orbitune.data.tileset import TileSet

EXAMPLES = "examples"  # folder in a bundle
ONLY_RGB = "Tiles can be examples with 8-bit red, green and blue, and no other bands."


class NoExamplesError(RunError):
    """Tiles cannot be shown as examples."""


def choose_examples(tiles: "TileSet", validation: np.ndarray) -> dict[str, np.ndarray]:
    """Return a validation tile of each class, uint8 (H, W, 3).

    A tile with several labels is that of one of them. Classes without a validation tile of their own are left
    out.

    Args:
        tiles: the data.
        validation: indices of the validation tiles, int64 (n,).

    Raises:
        NoExamplesError: the tiles have other bands than red, green and blue.
    """
    if not tiles.is_rgb:
        raise NoExamplesError(ONLY_RGB)
    members = tiles.membership[validation]
    taken: set[int] = set()  # indices in the data
    examples: dict[str, np.ndarray] = {}
    for label, name in enumerate(tiles.classes):
        if other := [index for index in validation[members[:, label]].tolist() if index not in taken]:
            examples[name] = tiles.read(np.array(other[:1]))[0]
            taken.add(other[0])
    return examples


def write_examples(bundle: Path, tiles: "TileSet", *, validation: np.ndarray) -> None:
    """Write `choose_examples` into the folder of a bundle, as PNG files named by the number of the class.

    Args:
        bundle: folder of the bundle.
        tiles, validation: as for `choose_examples`.

    Raises:
        NoExamplesError: as `choose_examples`.
    """
    examples = choose_examples(tiles, validation)
    (bundle / EXAMPLES).mkdir()
    for number, name in enumerate(tiles.classes):
        if name in examples:
            Image.fromarray(examples[name]).save(bundle / EXAMPLES / f"{number}.png")
