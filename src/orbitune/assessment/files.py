"""Files of an assessment: what went wrong, as a list and as pictures, and the scores."""

import csv
import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from orbitune.assessment.contact_sheet import draw_sheet
from orbitune.assessment.labelled_tiles import LabelledTiles
from orbitune.assessment.outputs import Outputs
from orbitune.assessment.page import build_page
from orbitune.assessment.records import Assessment
from orbitune.data.preview import rgb_preview
from orbitune.errors import RunError, first_line
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.extras import missing_modules
from orbitune.files import replacing, write_text
from orbitune.inference.classifier import Classifier
from orbitune.inference.output_formats import cell
from orbitune.sources.labels.label_sets import join_labels

FILE = "evaluation.json"
SHOWN = 48  # misclassified tiles in the contact sheet
_LIST, _SHEET, _PAGE = "errors.csv", "errors.png", "report.html"
_LOGGER = logging.getLogger(__name__)


def written_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of an assessment by what they hold: scores, errors, report.

    Those that could not be written, or that need an extra that is missing, are left out.
    """
    names = {"scores": [FILE], "errors": [_LIST, _SHEET], "report": [_PAGE]}
    found = {
        kind: [folder / name for name in each if (folder / name).is_file()] for kind, each in names.items()
    }
    return {kind: files for kind, files in found.items() if files}


def check_folder(folder: Path) -> None:
    """Check that a folder is new, empty, or of an earlier assessment.

    Raises:
        RunError: it holds other files.
    """
    if not folder.exists() or (folder / FILE).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise RunError(f"{folder} exists and is no evaluation of Orbitune. Choose another --out.")


def write_files(
    folder: Path, assessment: Assessment, *, classifier: Classifier, tiles: LabelledTiles, outputs: Outputs
) -> None:
    """Write evaluation.json, errors.csv, errors.png, and report.html where its libraries are installed.

    The scores come first: what prevents pictures or page is a warning.

    Args:
        folder: created if missing.
        assessment: the scores.
        classifier: the model.
        tiles: what it was assessed on; the worst are read again.
        outputs: what it computed of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    assessment.write(folder / FILE)
    for name in (_LIST, _SHEET, _PAGE):  # of an earlier assessment
        (folder / name).unlink(missing_ok=True)
    task, decision = classifier.bundle.task, classifier.bundle.decision
    found = task.misclassified(outputs.logits, outputs.labels, decision=decision)
    names = [str(tiles.image(int(outputs.places[each.place])).name) for each in found]
    _write_list(folder / _LIST, found, names=names, sure=outputs.sure, classifier=classifier)
    try:
        pictures = [_picture(classifier, tiles, int(outputs.places[each.place])) for each in found[:SHOWN]]
        if found:
            with replacing(folder / _SHEET) as temporary:
                draw_sheet(found[:SHOWN], pictures, classes=classifier.classes).save(temporary, format="PNG")
        if not missing_modules("study"):
            page = build_page(assessment, folder, found=found, names=names, pictures=pictures)
            write_text(folder / _PAGE, page.render("html"))
    except Exception as error:  # the libraries that draw raise many types
        _LOGGER.warning("the errors are not drawn in %s: %s", folder, first_line(error))


def _write_list(
    file: Path,
    found: list[Misclassified],
    *,
    names: list[str],
    sure: np.ndarray | None,
    classifier: Classifier,
) -> None:
    """Write the misclassified tiles as CSV, the most confident first, with the numbers of the contact sheet.

    Of several labels a tile, `worst_class` is the one that is missing or wrong most clearly, with the
    probability that the model gave it.
    """
    classes, thresholds = classifier.classes, classifier.bundle.decision.thresholds

    def listed(labels: Iterable[int]) -> object:
        return cell(join_labels([classes[label] for label in sorted(labels)]))

    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        worst = ["worst_class", "worst_class_probability", "worst_class_threshold"]
        more = ["missing", "wrong", *worst] if thresholds else ["probability", "truth_probability"]
        lines.writerow(["number", "file", "truth", "prediction", *more, "sure"])
        for number, (name, each) in enumerate(zip(names, found, strict=True), 1):
            true, said = set(each.truth), set(each.predicted)
            probabilities = [each.confidence, each.truth_probability]
            of_sets: list[object] = []
            if thresholds:
                of_sets = [listed(true - said), listed(said - true), cell(classes[each.decided])]
                probabilities = [each.probability, thresholds[each.decided]]
            lines.writerow(
                [
                    *[number, cell(name), listed(true), listed(said)],
                    *of_sets,
                    *(f"{probability:.6f}" for probability in probabilities),
                    None if sure is None else str(bool(sure[each.place])).lower(),
                ]
            )


def _picture(classifier: Classifier, tiles: LabelledTiles, place: int) -> np.ndarray:
    """Return a tile as the model reads it, in red, green and blue, uint8 (H, W, 3)."""
    tile = classifier.decode(tiles.image(place))
    if isinstance(tile, str):
        raise RunError(f"{tiles.image(place).name} {tile}; it was changed while it was evaluated.")
    return np.asarray(rgb_preview(tile, classifier.bundle.metadata.preprocessing.bands))
