"""What methods lose from one split to another, as it is and at one mix of classes."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from orbitune.evaluation.statistics.sentences import signed_range, with_sign
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Table
from orbitune.study.display_names import method_name
from orbitune.study.findings import SplitGap, StandardisedGap
from orbitune.study.report.view_model import ReportView


def gap_sentences(view: ReportView) -> list[str]:
    """Describe the accuracy that methods lose from one split to another, then at one mix of classes."""
    decides = 2 not in view.seed_counts  # two that differ much make the intervals too narrow for a claim
    return [
        sentence
        for own in _by_pair(view)
        for sentence in _sentences(own, digits=view.digits, decides=decides)
    ]


def gap_tables(view: ReportView) -> list[Table]:
    """Return a table of the gaps of every method for each pair of splits."""
    return [_table(own) for own in _by_pair(view)]


def gap_notes(view: ReportView) -> list[str]:
    """Return notes that are needed to read the tables; none without gaps."""
    if not view.results.gaps:
        return []
    notes = [
        "Splits have other mixes of classes, and classes are not equally hard. At one mix each class has the "
        "same weight on both splits (direct standardisation), so what remains is not the mix. The intervals "
        "there are a bootstrap over seeds and, within each class, tiles."
    ]
    if lost := list(dict.fromkeys(name for gap in view.results.gaps for name in gap.left_out)):
        notes += [f"Left out there, without test tiles on one of the splits: {fmt.listed(lost)}."]
    if any(gap.standardised and not gap.standardised.interval for gap in view.results.gaps):
        notes += ["Without intervals there: an earlier version wrote these results."]
    return notes


def _by_pair(view: ReportView) -> Iterator[list[SplitGap]]:
    """Yield the gaps of each pair of splits."""
    gaps = view.results.gaps
    for pair in dict.fromkeys(tuple(gap.splits) for gap in gaps):
        yield [gap for gap in gaps if tuple(gap.splits) == pair]


def _sentences(gaps: Sequence[SplitGap], *, digits: int, decides: bool) -> Iterator[str]:
    """Yield the loss of one pair of splits, then that at one mix of classes."""
    first, second = gaps[0].splits
    losses = {gap.method: gap.difference for gap in gaps}
    gained = _all_gain(losses)
    lost, verb = _extremes(losses, gained=gained, digits=digits), "gain" if gained else "lose"
    if decides and len(gaps) > 1 and all(gap.is_loss for gap in gaps):
        yield f"Every method is less accurate on the {second} split, by {lost}."
    elif len(gaps) > 1:
        yield f"From the {first} to the {second} split methods {verb} {lost}."
    else:
        yield f"From the {first} to the {second} split it {verb}s {lost}."
    mixed = {gap.method: gap.standardised.difference for gap in gaps if gap.standardised}
    balanced = {gap.method: gap.balanced.difference for gap in gaps if gap.balanced}
    if mixed and balanced and gaps[0].standardised:
        gained = _all_gain(mixed) and _all_gain(balanced)
        yield (
            f"At the class mix of the {gaps[0].standardised.mix} split's test tiles the "
            f"{'gain' if gained else 'loss'} is {_extremes(mixed, gained=gained, digits=digits)}, and at "
            f"equal weights of the classes {_extremes(balanced, gained=gained, digits=digits)}."
        )


def _all_gain(losses: Mapping[str, float]) -> bool:
    """Return whether no method loses and one gains."""
    return max(losses.values()) <= 0 > min(losses.values())


def _extremes(losses: Mapping[str, float], *, gained: bool, digits: int) -> str:
    """Return the smallest and the largest loss, or gain, with their methods, or the only one, in points."""
    points = {each: -100 * loss if gained else 100 * loss for each, loss in losses.items()}
    least, *rest = sorted(points, key=lambda method: points[method])
    texts = {each: with_sign(value, f"+.{digits}f").removeprefix("+") for each, value in points.items()}
    if not rest:
        return f"{texts[least]} points"
    ends = [f"{texts[each]} ({method_name(each)})" for each in (least, rest[-1])]
    return f"{' to '.join(ends)} points"


def _table(gaps: Sequence[SplitGap]) -> Table:
    """Return the gaps of one pair of splits."""
    first, second = gaps[0].splits
    columns: list[tuple[str, Callable[[SplitGap], str]]] = [("Accuracy as it is (95 % interval)", _as_it_is)]
    if gaps[0].standardised:
        mix = f"At the class mix of the {gaps[0].standardised.mix} split's test tiles (95 % interval)"
        columns += [
            (mix, lambda gap: _mixed(gap.standardised)),
            ("At equal weights of the classes (95 % interval)", lambda gap: _mixed(gap.balanced)),
        ]
    return Table(
        f"Accuracy on the {first} split minus that on the {second} split, points",
        ["Method", *(head for head, _ in columns)],
        [[method_name(gap.method), *(cell(gap) for _, cell in columns)] for gap in gaps],
    )


def _as_it_is(gap: SplitGap) -> str:
    folds = f", over folds {_range(gap.over_folds)}" if gap.over_folds else ""
    return f"{with_sign(100 * gap.difference)} ({_range((gap.low, gap.high))}{folds})"


def _mixed(gap: StandardisedGap | None) -> str:
    if gap is None:
        return fmt.NOTHING
    difference = with_sign(100 * gap.difference)
    return difference if gap.interval is None else f"{difference} ({_range(gap.interval)})"


def _range(ends: Sequence[float]) -> str:
    """Return an interval in points."""
    low, high = (100 * end for end in ends)
    return signed_range(low, high)
