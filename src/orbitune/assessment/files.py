"""Files of an assessment: what went wrong, as a list and as pictures, and the scores."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from orbitune.assessment.contact_sheet import draw_sheet
from orbitune.assessment.labelled_tiles import LabelledTiles
from orbitune.assessment.outputs import Outputs
from orbitune.assessment.page import build_page
from orbitune.assessment.records import Assessment
from orbitune.data.preview import rgb_preview
from orbitune.errors import RunError
from orbitune.evaluation.details.misclassified import Misclassified
from orbitune.extras import missing_modules
from orbitune.files import replacing, write_text
from orbitune.inference.classifier import Classifier
from orbitune.inference.output_formats import cell
from orbitune.sources.labels.label_sets import join_labels

FILE = "evaluation.json"
SHOWN = 48  # misclassified tiles in the contact sheet


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
    """Write errors.csv, errors.png, evaluation.json, and report.html where its libraries are installed.

    Args:
        folder: created if missing.
        assessment: the scores.
        classifier: the model.
        tiles: what it was assessed on; the worst are read again.
        outputs: what it computed of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).unlink(missing_ok=True)  # until the others are complete
    task, decision = classifier.bundle.task, classifier.bundle.decision
    found = task.misclassified(outputs.logits, outputs.labels, decision=decision)
    names = [str(tiles.image(int(outputs.places[each.place])).name) for each in found]
    _write_list(folder / "errors.csv", found, names=names, sure=outputs.sure, classifier=classifier)
    pictures = [_picture(classifier, tiles, int(outputs.places[each.place])) for each in found[:SHOWN]]
    sheet = folder / "errors.png"
    if found:
        with replacing(sheet) as temporary:
            draw_sheet(found[:SHOWN], pictures, classes=classifier.classes).save(temporary, format="PNG")
    else:
        sheet.unlink(missing_ok=True)  # of an earlier assessment
    if not missing_modules("study"):
        page = build_page(assessment, folder, found=found, names=names, pictures=pictures)
        write_text(folder / "report.html", page.render("html"))
    assessment.write(folder / FILE)


def _write_list(
    file: Path,
    found: list[Misclassified],
    *,
    names: list[str],
    sure: np.ndarray | None,
    classifier: Classifier,
) -> None:
    """Write the misclassified tiles as CSV, the most confident first.

    Of several labels a tile, the probabilities are those of the decision on one of them, `wrong_on`.
    """
    classes, several = classifier.classes, classifier.bundle.task.name == "multi-label"

    def listed(labels: Iterable[int]) -> object:
        return cell(join_labels([classes[label] for label in sorted(labels)]))

    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        sets = ["missing", "wrong", "wrong_on"] if several else []
        lines.writerow(["file", "truth", "prediction", *sets, "probability", "truth_probability", "sure"])
        for name, each in zip(names, found, strict=True):
            true, said = set(each.truth), set(each.predicted)
            of_sets = [listed(true - said), listed(said - true), cell(classes[each.decided])]
            lines.writerow(
                [
                    *[cell(name), listed(true), listed(said)],
                    *(of_sets if several else []),
                    f"{each.confidence:.6f}",
                    f"{each.truth_probability:.6f}",
                    None if sure is None else str(bool(sure[each.place])).lower(),
                ]
            )


def _picture(classifier: Classifier, tiles: LabelledTiles, place: int) -> np.ndarray:
    """Return a tile as the model reads it, in red, green and blue, uint8 (H, W, 3)."""
    tile = classifier.decode(tiles.image(place))
    if isinstance(tile, str):
        raise RunError(f"{tiles.image(place).name} {tile}; it was changed while it was evaluated.")
    return np.asarray(rgb_preview(tile, classifier.bundle.metadata.preprocessing.bands))
