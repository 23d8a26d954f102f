"""Whether a finished run holds its weights: a study may keep its results alone."""

from pathlib import Path

FOLDERS = ("adapter", "model")  # of the saved model; a method writes one of them


def holds_weights(run: Path) -> bool:
    """Return whether the folder of a finished run holds a saved model, damaged or not."""
    return any((run / name).is_dir() for name in FOLDERS)


def describe_missing(run: Path) -> str:
    """Return the error of a command that needs the weights of a run without them."""
    return (
        f"{run} holds the results of a run without its weights, as `orbitune study --keep records` leaves "
        f"it. Train it again for them: orbitune train --recipe {run / 'recipe.yaml'} --out FOLDER"
    )
