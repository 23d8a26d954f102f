"""The page of an assessment."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbitune.assessment.records import Assessment
from orbitune.errors import counted
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import BulletList, Component, Section
from orbitune.reporting.drawing import report_style
from orbitune.reporting.page import WARNING, Page
from orbitune.reporting.tile_gallery import SHOWN, misclassified_gallery
from orbitune.reporting.views.choose import view_scores


def build_page(
    assessment: Assessment,
    folder: Path,
    *,
    found: Sequence[Misclassified],
    names: Sequence[str],
    pictures: Sequence[np.ndarray],
) -> Page:
    """Return the content of the report of an assessment.

    Args:
        assessment: the scores.
        folder: that the report is written into.
        found: all misclassified tiles, the most confident first.
        names: of these tiles.
        pictures: uint8 (H, W, 3) of the first of them.
    """
    which = f"new tiles (the {assessment.split_name})"
    data, warnings = assessment.data, assessment.warnings()
    scores = view_scores(assessment, which, synthetic=assessment.synthetic)
    shown = found[: min(SHOWN, len(pictures))]
    errors: list[Component] = (
        [
            misclassified_gallery(
                _caption(len(shown), len(found), which),
                shown,
                view=scores,
                names=names[: len(shown)],
                pictures=pictures[: len(shown)],
            )
        ]
        if found
        else [BulletList([f"No error on {assessment.scores.count:,} {which}."])]
    )
    command = ["orbitune", "evaluate", assessment.model, "--data", data, "--out", folder.resolve().name]
    with report_style():
        return Page(
            subject="evaluation",
            title=f"{assessment.model} on {data}",
            stamp=f"recipe {assessment.recipe_hash}" if assessment.recipe_hash else "a model without recipe",
            subtitle=f"Data: {data}, {assessment.source}, {counted(assessment.scores.count, 'tile')}",
            warning=WARNING if assessment.synthetic else "",
            headline=[scores.headline()],
            cautions=[f"{fmt.capital(line)}." for line in warnings],
            conclusions=scores.conclusions(),
            comparison=scores.class_table(),
            notes=[f"{fmt.capital(line)}." for line in assessment.remarks()[len(warnings) :]],
            picture=scores.picture(),
            sections=[
                Section("Most confident errors", errors, measured=False),
                Section("Calibration", scores.calibration(), measured=False),
            ],
            reproduction="Evaluate the model on these tiles again",
            commands=[shlex.join(command)],
        )


def _caption(shown: int, count: int, which: str) -> str:
    """Return the caption of the misclassified tiles, with where the others are."""
    numbered = "The numbers are those of errors.csv and of the contact sheet errors.png"
    if shown == count:
        every = f"All {count:,}" if count > 1 else "The one"
        return f"{every} misclassified {which if count > 1 else 'tile'}, the most confident first. {numbered}"
    rest = f"; errors.csv lists all {count:,}"
    return f"The {shown} most confident of {count:,} misclassified {which}. {numbered}{rest}"
