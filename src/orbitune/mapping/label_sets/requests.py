"""Check of what is asked of a map against the labels of its model."""

from collections.abc import Iterable

from orbitune.errors import DataError
from orbitune.inference.bundle import Bundle
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.table import OUTPUTS

# What needs one label a cell, by option.
_SINGLE = {
    "min_area": "Patches of a minimum area (--min-area)",
    "reference": "Estimates from reference points (--reference)",
    "compare": "Comparisons of maps (--compare)",
    "zones": "Hectares in zones (--zones)",
}


def check_request(bundle: Bundle, options: MapOptions, *, outputs: Iterable[str]) -> None:
    """Check that outputs and options suit the model's number of labels a tile.

    Args:
        outputs: names of the outputs.

    Raises:
        OrbituneError: one needs one label a tile, and the model gives several, or the other way round.
    """
    for name in outputs:
        if bundle.task.name not in OUTPUTS[name].tasks:
            if bundle.task.name == "single-label":
                raise DataError(
                    f"--{name} is for models that give a tile several labels; {bundle.name} gives one, and "
                    "--out has it."
                )
            bundle.require_single_label(f"Files of --{name}")
    for option, feature in _SINGLE.items():
        if getattr(options, option) is not None:
            bundle.require_single_label(feature)
    if options.mode == "dense":
        bundle.require_single_label("Dense maps (--mode dense)")
