"""Export of a trained run, validated before a file is kept."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orbitune.errors import RunError, counted
from orbitune.exporting.export_report import ExportedFormat, ExportReport
from orbitune.exporting.formats import FORMATS, ExportFormat
from orbitune.exporting.reference import ReferenceModel
from orbitune.exporting.refusals import ExportRefusedError, ExportUndecidedError, UntraceableError
from orbitune.exporting.validation import TOLERANCE, measure_export
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.inference.output_places import check_name, check_parent
from orbitune.suggestions import unknown

Log = Callable[[str], None]
_LOGGER = logging.getLogger("orbitune")


def export(
    run: str | Path,
    formats: Sequence[str] | None = None,
    *,
    out: str | Path | None = None,
    tolerance: float = TOLERANCE,
    merge_tokens: Sequence[int] = (),
    progress: bool = True,
    log: Log = _LOGGER.info,
) -> ExportReport:
    """Export a finished run, and validate each file against the trained model.

    A format must give the trained model's probabilities of all validation tiles: to 1e-3 in fp32, to 0.02 in
    fp16. One in int8 may lose some accuracy, or with several labels a tile some mAP and micro-F1: the upper
    end of the paired 95 % interval must lie within the tolerance. A file that fails, or of which the tiles
    are too few to tell, is not kept. The class names are written to labels.json, with several labels a tile
    together with their thresholds, and the measures to validation.json.

    Examples:
        >>> from orbitune import export
        >>> report = export("runs/lora", ["merged"])
        >>> report.formats["merged"]

    Args:
        run: a finished run.
        formats: names from FORMATS; None for all whose libraries are installed.
        out: folder of the files; None for RUN/export.
        tolerance: percentage points of validation accuracy, or of mAP and of micro-F1, that formats in int8
            may lose, at the upper end of the interval.
        merge_tokens: blocks, counted from 1, after which formats in int8 merge half of the patch tokens. The
            blocks above the first are tuned to it on training tiles, which takes about as long as two epochs
            of training; see `orbitune.models.token_merging` and `orbitune.exporting.distillation`.
        progress: whether to show a progress bar on stderr.
        log: called with each message, one line without a line break.

    Returns:
        What validation.json holds, with the formats that the folder held before; its table has those that
        this call made.

    Raises:
        ExportRefusedError: a file fails validation, or PyTorch cannot translate the model to a format that
            was asked for; all others are written.
        ExportUndecidedError: the validation tiles are too few to tell of a format that was asked for. Without
            `formats`, what is undecided or cannot be translated is left out with a message.
        OrbituneError: the run is not finished, a format is unknown, lacks a library or cannot hold this
            architecture, the folder holds exports of another model, or tokens cannot be merged in this model
            or these formats.
    """
    chosen = _choose_formats(formats, log)
    if merge_tokens and all(each.largest_difference for each in chosen):
        raise RunError("Token merging is not exact: it needs a format in int8, such as onnx-int8.")
    out = Path(out) if out else Path(run) / "export"
    check_name(out)
    check_parent(out / "labels.json")
    reference = ReferenceModel.open(Path(run), progress=progress, merge_after=merge_tokens)
    chosen = _without_impossible(chosen, reference, asked=formats is not None, log=log)
    report = ExportReport.resume(out, reference.hashes)
    tiles = counted(len(reference.setup.splits["validation"]), "validation tile")
    if chosen:
        log(f"the trained model: computing {tiles}")
        _ = reference.validation_probabilities
    write_json(out / "labels.json", _labels(reference.bundle))
    refused = list[ExportRefusedError]()
    for each in chosen:
        try:
            log(f"{each.title}: writing")
            made = _export_one(each, reference, out=out, tolerance=tolerance, log=log)
            report = report.with_format(each.name, made)
        except ExportRefusedError as error:
            if formats is None and isinstance(error, ExportUndecidedError | UntraceableError):
                log(str(error))
            else:
                refused.append(error)
            continue
        report.save(out)
        log(f"{each.title}: {out / each.path}")
    if refused:
        undecided = all(isinstance(error, ExportUndecidedError) for error in refused)
        raise (ExportUndecidedError if undecided else ExportRefusedError)(" ".join(map(str, refused)))
    return report


def _export_one(
    chosen: ExportFormat, reference: ReferenceModel, *, out: Path, tolerance: float, log: Log
) -> ExportedFormat:
    """Write and validate one format; nothing is left of it if it fails."""
    with replacing(out / chosen.path) as temporary:
        chosen.write(reference, temporary)
        log(f"{chosen.title}: validating")
        measured = measure_export(chosen.open(temporary, reference), temporary, reference=reference)
        if seen := measured.describe_seen(reference.setup.backbone.record.runs):
            _LOGGER.warning("%s: %s", chosen.title, seen)
        measured.check(chosen.title, difference=chosen.largest_difference, tolerance=tolerance)
    merged = () if chosen.largest_difference else reference.merge_after
    return ExportedFormat(
        path=chosen.path,
        merge_tokens=merged,
        tolerance=None if chosen.largest_difference else tolerance,
        **measured.model_dump(),
    )


def _labels(bundle: Bundle) -> list[str] | dict[str, Any]:
    """Return the class names; with several labels a tile an object, as the largest output is no verdict."""
    if bundle.decision.thresholds is None:
        return list(bundle.classes)
    return {
        "task": bundle.task.name,
        "labels": list(bundle.classes),
        "thresholds": list(bundle.decision.thresholds),
    }


def _choose_formats(names: Sequence[str] | None, log: Log) -> list[ExportFormat]:
    """Return the formats of these names.

    Without names, all whose libraries are installed.
    """
    if names is None:
        for each in FORMATS.values():
            if each.missing:
                log(f"{each.title} is left out: it needs {', '.join(each.missing)} ({each.install})")
        return [each for each in FORMATS.values() if not each.missing]
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in FORMATS:
            raise RunError(unknown("export format", name, known=FORMATS))
        if missing := FORMATS[name].missing:
            raise RunError(f"{FORMATS[name].title} needs {', '.join(missing)}: {FORMATS[name].install}.")
    return [FORMATS[name] for name in names]


def _without_impossible(
    chosen: list[ExportFormat], reference: ReferenceModel, *, asked: bool, log: Log
) -> list[ExportFormat]:
    """Leave out the formats that cannot hold the model.

    Raises:
        RunError: they were asked for by name.
    """
    family = reference.setup.backbone.family
    kept = []
    for each in chosen:
        if family.why_plain and not each.holds_any_family:
            what, why = f"a {family.title}", family.why_plain
            instead = " Export the format onnx, openvino or merged."
        elif reason := each.why_not(reference):
            what, why, instead = "this model", reason, ""
        else:
            kept.append(each)
            continue
        if asked:
            raise RunError(f"{what[0].upper()}{what[1:]} cannot be exported as {each.noun}: {why}.{instead}")
        log(f"{each.title} is left out: it cannot hold {what} ({why})")
    return kept
