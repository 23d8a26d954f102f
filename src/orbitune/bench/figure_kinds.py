"""Kinds of single figures: one table.

To add a figure, add one entry to FIGURES and a module of its name, `_` for `-`, to `orbitune.bench.figures`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FigureKind:
    """What a figure is measured in, and on what.

    Attributes:
        unit: key of `orbitune.bench.report.UNITS`.
        needs: inputs of the suite that it needs, keys of INPUTS.
        any_of: inputs of which it needs at least one.
    """

    unit: str
    needs: tuple[str, ...] = ("run",)
    any_of: tuple[str, ...] = ()

    def missing(self, given: set[str]) -> tuple[str, ...]:
        """Return an input that is missing, or alternatives to choose from; else nothing."""
        absent = next((name for name in self.needs if name not in given), None)
        if absent:
            return (absent,)
        return self.any_of if self.any_of and not given & {*self.any_of} else ()


# Inputs of a suite: what each is, and how it is given.
INPUTS = {
    "run": ("a finished run", "--run"),
    "reference_run": ("a finished run to compare with", "--reference-run"),
    "scene": ("a scene", "--scene"),
    "labelled_scenes": ("a folder of labelled scenes", "--labelled-scenes"),
    "groups": ("groups of classes", "`groups` in the suite"),
}
_ON_LABELS = ("run", "labelled_scenes", "groups")
_ON_BOTH_RUNS = ("run", "reference_run")

FIGURES = {
    "accuracy-at-cpu-seconds": FigureKind("fraction"),
    "accuracy-in-time": FigureKind("fraction"),
    "accuracy-loss": FigureKind("points", _ON_BOTH_RUNS),
    "adapt-gain": FigureKind("points", _ON_LABELS),
    "app-latency": FigureKind("s"),
    "app-load": FigureKind("s"),
    "bank-memory": FigureKind("bytes"),
    "bytes-per-task": FigureKind("times", ()),
    "command-time": FigureKind("s"),
    "corrupted-accuracy": FigureKind("fraction"),
    "corrupted-errors-gone": FigureKind("fraction", _ON_BOTH_RUNS),
    "dense-agreement": FigureKind("fraction", any_of=("scene", "labelled_scenes")),
    "dense-speedup": FigureKind("ratio"),
    "int8-loss": FigureKind("points"),
    "scene-accuracy": FigureKind("fraction", _ON_LABELS),
    "scene-memory": FigureKind("bytes"),
    "scene-risk": FigureKind("fraction", _ON_LABELS),
    "scene-time": FigureKind("s"),
    "test-accuracy": FigureKind("fraction"),
    "time-to-accuracy": FigureKind("s"),
}


def describe_missing(names: tuple[str, ...]) -> str:
    """Return a sentence that asks for an input, or for one of several."""
    things, options = zip(*(INPUTS[name] for name in names), strict=True)
    return f"This suite needs {' or '.join(things)}: give {' or '.join(options)}."
