"""Sentences about the accuracy that methods lose by corruptions."""

from orbitune.evaluation.statistics.sentences import signed_range
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import method_name
from orbitune.study.findings import RobustnessRecord
from orbitune.study.report.view_model import FEW, ReportView


def write_losses(view: ReportView) -> str:
    """Return a sentence per split on what each method, or the extremes, lose."""
    return " ".join(_split_losses(view, split) for split in view.splits if view.robustness_on(split))


def loss_sentences(view: ReportView, split: str) -> list[str]:
    """Return what each method loses, then how that compares with the reference.

    Losses whose 95 % intervals overlap are never called different. All methods are scored on the same tiles,
    so an interval of the difference would be narrower.
    """
    records = view.robustness_on(split)
    sentences = [f"{method_name(each.method)} loses {_loss(view, each)}." for each in records]
    reference = next((r for r in records if view.reference and r.method == view.reference.method), None)
    sentences += [_comparison(each, reference) for each in records if reference and each is not reference]
    return [fmt.capital(each) for each in sentences]


def _split_losses(view: ReportView, split: str) -> str:
    records = sorted(view.robustness_on(split), key=lambda record: record.loss)
    where = f"on the {split} split " if len(view.splits) > 1 else ""
    cost = f"{where}corruptions, {len(records[0].corruptions)} kinds in five severities, cost"
    if len(records) > FEW:
        least, most = (f"{100 * r.loss:.1f} ({method_name(r.method)})" for r in (records[0], records[-1]))
        return f"{fmt.capital(cost)} {least} to {most} points of accuracy."
    each = fmt.listed([f"{method_name(r.method)} {100 * r.loss:.1f}" for r in records])
    return f"{fmt.capital(cost)} {each} points of accuracy."


def _loss(view: ReportView, record: RobustnessRecord) -> str:
    """Return a loss in points with its interval, and the accuracies around it."""
    interval = ""
    if record.loss_interval:
        low, high = (100 * end for end in record.loss_interval)
        interval = f" (95 % interval {signed_range(low, high, spec='+.1f')})"
    clean, corrupted = (fmt.percent(value, view.digits) for value in (record.clean.accuracy, record.mean))
    return f"{100 * record.loss:.1f} points{interval} by corruptions, from {clean} to {corrupted}"


def _comparison(record: RobustnessRecord, reference: RobustnessRecord) -> str:
    """Compare the loss of a method with that of the reference by their intervals."""
    method, other = method_name(record.method), method_name(reference.method)
    if not (record.loss_interval and reference.loss_interval):
        return f"The losses of {method} and {other} have no interval, so they are not compared."
    (low, high), (other_low, other_high) = record.loss_interval, reference.loss_interval
    if low <= other_high and other_low <= high:
        return f"The intervals of {method} and {other} overlap, so these runs cannot tell which loses less."
    points, more = 100 * abs(record.loss - reference.loss), "less" if record.loss < reference.loss else "more"
    trained = f"{method}, as trained with seed {record.seed},"  # other seeds may differ
    return f"{trained} loses {points:.1f} points {more} than {other}, and their intervals do not overlap."
