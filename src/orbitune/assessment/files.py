"""Files of an assessment: what went wrong, as a list and as pictures, and the scores."""

import csv
from pathlib import Path

import numpy as np

from orbitune.assessment.contact_sheet import draw_sheet
from orbitune.assessment.labelled_tiles import LabelledTiles
from orbitune.assessment.outputs import Outputs
from orbitune.assessment.page import build_page
from orbitune.assessment.records import Assessment
from orbitune.data.preview import rgb_preview
from orbitune.errors import RunError
from orbitune.evaluation.calibration import probabilities
from orbitune.evaluation.misclassified import Misclassified, find_misclassified
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

    With several labels a tile there are errors.csv and evaluation.json alone.

    Args:
        folder: created if missing.
        assessment: the scores.
        classifier: the model.
        tiles: what it was assessed on; the worst are read again.
        outputs: what it computed of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).unlink(missing_ok=True)  # until the others are complete
    if classifier.bundle.task.name == "multi-label":
        _write_wrong_sets(folder / "errors.csv", classifier, tiles, outputs=outputs)
        assessment.write(folder / FILE)
        return
    confidences = probabilities(outputs.logits, classifier.bundle.temperature)
    found = find_misclassified(confidences, outputs.labels)
    names = [str(tiles.image(int(outputs.places[each.place])).name) for each in found]
    _write_list(folder / "errors.csv", found, names=names, sure=outputs.sure, classes=classifier.classes)
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
    classes: tuple[str, ...],
) -> None:
    """Write the misclassified tiles as CSV, the most confident first."""
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["file", "truth", "prediction", "probability", "truth_probability", "sure"])
        for name, each in zip(names, found, strict=True):
            is_sure = None if sure is None else str(bool(sure[each.place])).lower()
            values = [name, classes[each.label], classes[each.predicted]]
            numbers = [f"{each.confidence:.6f}", f"{each.label_probability:.6f}"]
            lines.writerow([*map(cell, values), *numbers, is_sure])


def _write_wrong_sets(file: Path, classifier: Classifier, tiles: LabelledTiles, *, outputs: Outputs) -> None:
    """Write the tiles with a missing or a wrong label as CSV, those with most of them first."""
    bundle = classifier.bundle
    decided = bundle.task.decide(outputs.logits, bundle.decision)
    faults = (decided != outputs.labels).sum(1)
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream)
        lines.writerow(["file", "truth", "prediction", "missing", "wrong", "sure"])
        for row in np.argsort(-faults, kind="stable")[: np.count_nonzero(faults)].tolist():
            true, predicted = outputs.labels[row] > 0, decided[row] > 0
            sets = (true, predicted, true & ~predicted, predicted & ~true)
            name = str(tiles.image(int(outputs.places[row])).name)
            is_sure = None if outputs.sure is None else str(bool(outputs.sure[row])).lower()
            texts = [join_labels([classifier.classes[c] for c in np.flatnonzero(each)]) for each in sets]
            lines.writerow([*map(cell, [name, *texts]), is_sure])


def _picture(classifier: Classifier, tiles: LabelledTiles, place: int) -> np.ndarray:
    """Return a tile as the model reads it, in red, green and blue, uint8 (H, W, 3)."""
    tile = classifier.decode(tiles.image(place))
    if isinstance(tile, str):
        raise RunError(f"{tiles.image(place).name} {tile}; it was changed while it was evaluated.")
    return np.asarray(rgb_preview(tile, classifier.bundle.metadata.preprocessing.bands))
