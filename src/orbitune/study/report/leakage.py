"""Leakage checks of a split as a report shows them; those of folds are pooled, and listed fold by fold."""

from collections.abc import Sequence
from dataclasses import dataclass

from orbitune.data.leakage.near_duplicates import DuplicatePair, NearDuplicates
from orbitune.errors import counted
from orbitune.evaluation.baselines import describe_baseline
from orbitune.evaluation.statistics.intervals import pool_accuracies
from orbitune.fold import Fold
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import BulletList, Component, Table
from orbitune.study.findings import LeakageRecord, LeakRecord
from orbitune.study.report.split_origins import scored_on
from orbitune.study.report.view_model import ReportView


@dataclass(frozen=True)
class PooledBaseline:
    """A baseline on the test tiles of a split, or of all its folds.

    Attributes:
        name: what it classifies by.
        accuracy, chance: 0..1.
        interval: 95 % Wilson interval of the accuracy.
        count: number of test tiles.
    """

    name: str
    accuracy: float
    interval: tuple[float, float]
    chance: float
    count: int


def baselines_on(view: ReportView, split: str) -> list[PooledBaseline]:
    """Return the baselines of a split, over all its folds; those that lack a fold are left out."""
    records = _records_on(view, split)
    pooled = []
    for name in dict.fromkeys(each.name for record in records for each in record.baselines):
        own = [each for record in records for each in record.baselines if each.name == name]
        if len(own) < len(records):
            continue
        counts = [each.test.count for each in own]
        accuracy, interval = pool_accuracies([each.test.accuracy for each in own], counts)
        chance = sum(each.chance * count for each, count in zip(own, counts, strict=True)) / sum(counts)
        pooled.append(PooledBaseline(name, accuracy, interval, chance, sum(counts)))
    return pooled


def leakage_components(view: ReportView) -> list[Component]:
    """Return the results of the leakage checks: sentences, and of a cross-validation a table of its folds."""
    lines: list[str] = []
    tables: list[Component] = []
    splits = list(dict.fromkeys(record.split for record in view.results.leakage_checks))
    for split in splits:
        records = _records_on(view, split)
        fold = view.checked_folds if view.checks_first_fold else ""
        names = [view.split_name(split) if len(splits) > 1 else "", fold]
        where = f"{fmt.capital(', '.join(filter(None, names)))}. " if any(names) else ""
        sentences = _sentences(records[0]) if records[0].fold is None else _pooled_sentences(view, split)
        lines += [f"{where}{each}" for each in sentences]
        if records[0].fold is not None:
            tables.append(_fold_table(view, split))
    return [BulletList(lines), *tables] if lines else []


def _records_on(view: ReportView, split: str) -> list[LeakageRecord]:
    return [record for record in view.results.leakage_checks if record.split == split]


def _sentences(record: LeakageRecord) -> list[str]:
    """Return the results of one split."""
    lines = [f"{fmt.capital(' and '.join(leak.splits))} tiles: {leak.sentence}." for leak in record.leaks]
    lines += [
        _with_interval(baseline.sentence, baseline.test.count, baseline.test.interval)
        for baseline in record.baselines
    ]
    if record.no_coordinates is not None:
        lines += [f"No coordinate baseline: {record.no_coordinates}"]
    return lines


def _pooled_sentences(view: ReportView, split: str) -> list[str]:
    """Return the results over all folds of a split."""
    records = _records_on(view, split)
    folds = f"over {len(records)} folds"
    lines = [
        f"{fmt.capital(' and '.join(leaks[0].splits))} tiles, {folds}: {_pool_leaks(leaks).describe()}."
        for leaks in zip(*(record.leaks for record in records), strict=True)
    ]
    for baseline in baselines_on(view, split):
        low, _ = baseline.interval
        clause = describe_baseline(baseline.name, baseline.accuracy, low=low, chance=baseline.chance)
        lines.append(_with_interval(f"{folds}, {clause}", baseline.count, baseline.interval))
    reasons = dict.fromkeys(record.no_coordinates for record in records if record.no_coordinates)
    return [*lines, *(f"No coordinate baseline: {reason}" for reason in reasons)]


def _with_interval(sentence: str, count: int, interval: Sequence[float]) -> str:
    ends = fmt.percent_range(interval, 1)
    return f"{fmt.capital(sentence)}. On {counted(count, 'test tile')}, 95 % interval {ends} %."


def _pool_leaks(leaks: Sequence[LeakRecord]) -> NearDuplicates:
    """Return the near-duplicates of one pair of splits in all folds together."""
    first, second = leaks[0].splits
    pairs = sorted((pair for leak in leaks for pair in leak.pairs), key=lambda pair: pair[2])
    return NearDuplicates(
        splits=(first, second),
        tiles=sum(leak.tiles for leak in leaks),
        count=sum(leak.count for leak in leaks),
        identical=sum(leak.identical for leak in leaks),
        pairs=[DuplicatePair(*pair) for pair in pairs],
    )


def _fold_table(view: ReportView, split: str) -> Table:
    """Return the checks of each fold of a split."""
    records = _records_on(view, split)
    names = [each.name for each in baselines_on(view, split)]
    header = [
        "Fold",
        *(f"Near-duplicates, {' and '.join(leak.splits)}" for leak in records[0].leaks),
        *(f"{fmt.capital(name)}, %" for name in names),
        "Chance, %",
    ]
    rows = []
    for record in records:
        assert record.fold
        reached = {each.name: each for each in record.baselines}
        rows.append(
            [
                f"{Fold.parse(record.fold).number}",
                *(f"{leak.count:,} of {leak.tiles:,}" for leak in record.leaks),
                *(fmt.percent(reached[name].test.accuracy, 1) for name in names),
                fmt.percent(record.baselines[0].chance, 1),
            ]
        )
    return Table(f"Leakage checks of each fold, baselines on {scored_on(view, split)}", header, rows)
