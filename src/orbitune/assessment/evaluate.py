"""Score a model again on its own data, or on labelled data that it has not seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

from orbitune.assessment.records import Assessment
from orbitune.errors import DataError, RunError
from orbitune.evaluation.metrics import SplitScores
from orbitune.extras import require
from orbitune.recipe_paths import is_synthetic
from orbitune.sources.manifest import ColumnSelection
from orbitune.suggestions import unknown

_SPLITS = ("train", "validation", "test")
_ON_BAD_IMAGE = ("stop", "skip")


@overload
def evaluate(run: str | Path, split: str = "test", *, progress: bool = True) -> SplitScores: ...


@overload
def evaluate(
    run: str | Path,
    split: str | None = None,
    *,
    data: str | Path,
    out: str | Path | None = None,
    backbone: str | Path | None = None,
    bands: Sequence[str | int] | None = None,
    selection: ColumnSelection | None = None,
    on_bad_image: str = "stop",
    progress: bool = True,
) -> Assessment: ...


@overload
def evaluate(
    run: str | Path,
    split: str | None = None,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    backbone: str | Path | None = None,
    bands: Sequence[str | int] | None = None,
    selection: ColumnSelection | None = None,
    on_bad_image: str = "stop",
    progress: bool = True,
) -> SplitScores | Assessment: ...


def evaluate(
    run: str | Path,
    split: str | None = None,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    backbone: str | Path | None = None,
    bands: Sequence[str | int] | None = None,
    selection: ColumnSelection | None = None,
    on_bad_image: str = "stop",
    progress: bool = True,
) -> SplitScores | Assessment:
    """Score a saved model on a split of its run's own data, or on new labelled data.

    Reading the run's own test split is counted in its result.json. New tiles are compared with the training
    tiles, as copies of them say nothing about new ones.

    Examples:
        >>> from orbitune import evaluate
        >>> scores = evaluate("runs/lora", "validation")
        >>> scores.accuracy, scores.macro_f1
        >>> new = evaluate("runs/lora", data="tiles/", out="runs/lora-new")
        >>> new.accuracy, new.interval, new.copies.count

    Args:
        run: folder of a finished run; with `data` also of a bundle, or the hub id of one.
        split: train, validation or test (the default) of the run's data; with `data`, the split of that data,
            all its tiles by default.
        data: new data, in any form that a recipe's `data` takes, but not synthetic. Its classes must be among
            those of the model.
        out: folder for evaluation.json, errors.csv and errors.png, and report.html if the extra `study` is
            installed; new, or of an earlier evaluation. With several labels a tile without pictures and
            report.
        backbone: hub id or folder of the backbone, where it no longer lies where the model says.
        bands: names or numbers of the data's bands that the model's bands are read from, in their order.
        selection: configuration and columns to read, where the data has several.
        on_bad_image: "stop" at a file that is not a labelled tile, or "skip" such files.
        progress: whether to show progress on stderr.

    Returns:
        Accuracy with its interval, macro-F1 and scores per class, or with several labels a tile mean average
        precision and F1; of new data also intervals per class, calibration, the tiles that are *not sure*,
        and copies of training tiles.

    Raises:
        OrbituneError: the model cannot be read; the run's data is no longer the same; or the new data has
            classes that the model does not know.
    """
    if split is not None and split not in _SPLITS:
        raise RunError(unknown("split", split, known=_SPLITS))
    if on_bad_image not in _ON_BAD_IMAGE:
        raise RunError(unknown("--on-bad-image", on_bad_image, known=_ON_BAD_IMAGE))
    if data is None:
        from orbitune.training.evaluate import evaluate as evaluate_split

        if out is not None or backbone or bands or selection or on_bad_image != "stop":
            raise RunError("Options for new data need --data.")
        return evaluate_split(run, split or "test", progress=progress)
    if is_synthetic(str(data)):
        raise DataError("Synthetic tiles are no new data: pass labelled tiles as --data.")
    require("train", "scipy", "sklearn", purpose="scoring")
    from orbitune.assessment.assess import Request, assess

    request = Request(
        model=run,
        data=str(data),
        split=split,
        backbone=backbone,
        bands=bands,
        selection=selection,
        stop=on_bad_image == "stop",
        progress=progress,
    )
    return assess(request, None if out is None else Path(out))
