"""Comparison table: accuracy and cost of every method over all its runs."""

from collections.abc import Callable

from orbitune.machine.energy import describe_cost
from orbitune.reporting import formatting as fmt
from orbitune.study.display_names import run_name
from orbitune.study.records import StudyResults
from orbitune.study.report.run_origins import run_origins
from orbitune.study.report.split_origins import scored_on_each, split_origins
from orbitune.study.report.tables import macro_f1_cell
from orbitune.study.report.view_model import MeanCost, MethodRow, ReportView

Cell = Callable[[MethodRow], str]
Column = tuple[str, Cell]


def comparison_columns(view: ReportView) -> list[Column]:
    """Return the head of each column and the function that formats its cell."""
    return [
        *[column(view, split) for split in view.splits for column in (_accuracy_column, _macro_f1_column)],
        *([("Image size", _image_size)] if view.backbones else []),
        ("Trainable parameters", _parameters),
        *_cost_columns(view),
        *([("Energy of a run", _energy)] if _measured_energy(view) else []),
    ]


def table_caption(view: ReportView) -> str:
    """Return the caption of the comparison table."""
    means = (
        (", one seed" if view.seed_counts == [1] else f", means of {_seeds(view)} seeds") if view.rows else ""
    )
    means += " on each split" * (len(view.splits) > 1)
    means += f", each tile tested once over {view.folds} folds" if view.folds else ""
    compared = view.costs_comparable and len(view.rows) > 1 and any(row.is_full for row in view.rows)
    same = " on the same backbone" if view.backbones else ""
    several_runs = any(len(row.runs) > 1 for row in view.rows)
    spread = "; beside a cost the lowest and the highest of the runs" if several_runs else ""
    ratios = f"{spread}; {fmt.TIMES} marks the ratio to full fine-tuning{same}" if compared else spread
    arm = "each method on each backbone" if view.backbones else "each method"
    arm = view.rows[0].title if len(view.rows) == 1 else arm
    tiles = f", on {scored_on_each(view)}" if view.rows else ""
    machine = ", measured on this machine" if view.costs_comparable else "; costs are not compared"
    return f"Accuracy and cost of {arm}{tiles}{means}{machine}{ratios}"


def table_notes(view: ReportView) -> list[str]:
    """Return notes that are needed to read the table."""
    lines = [*split_origins(view), *run_origins(view.results)]
    if view.shared_machine:
        cpu = " CPU times, summed over all cores for a whole run, are comparable."
        lines += [
            "Several runs shared the machine, so their wall-clock times are not comparable: this table "
            "leaves them out, and the tables below that list them say so." + cpu * view.costs_comparable
        ]
    if _measured_energy(view):
        source = view.results.done[0].finished.cost.energy_source
        lines += [f"Energy is that of one run, in {source}."]
    return lines


def name_head(view: ReportView) -> str:
    """Return the head of the first column, the names of the rows."""
    return "Method and backbone" if view.backbones else "Method"


def failures(results: StudyResults) -> list[tuple[str, str]]:
    """Return the names of the runs that are not finished, and the error that they share."""
    reasons: dict[str, list[str]] = {}
    for run in results.failed:
        reasons.setdefault(f"{run.status}: {fmt.single_line(run.error)}", []).append(run_name(run))
    return [(fmt.listed(names), reason) for reason, names in reasons.items()]


def comparison_rows(view: ReportView, columns: list[Column]) -> list[list[str]]:
    """Return one row per method in the order of the study, then one per reason for failed runs."""
    rows = [[row.title, *(cell(row) for _, cell in columns)] for row in view.rows]
    return [*rows, *map(list, failures(view.results))]


def terminal_rows(view: ReportView) -> tuple[list[str], list[list[str]]]:
    """Return header and rows for 100 characters with two splits: macro-F1 is below the accuracy."""
    costs: list[Column] = [
        ("trained", lambda row: f"{row.parameters.trainable:,}"),
        ("memory", lambda row: fmt.size(row.cost.peak_memory)),
        ("on disk", lambda row: fmt.size(row.cost.artefact_bytes)),
        ("CPU time", lambda row: fmt.seconds(row.cost.cpu_seconds)),
    ]
    named = [f"accuracy, {split}, %" if len(view.splits) > 1 else "accuracy, %" for split in view.splits]
    lines = []
    for row in view.rows:
        scores = [
            [column(view, split)[1](row).replace(" %", "") for split in view.splits]
            for column in (_accuracy_column, _macro_f1_column)
        ]
        lines += [
            [row.title, *scores[0], *(cell(row) for _, cell in costs)],
            ["  macro-F1, %", *scores[1], *("" for _ in costs)],
        ]
    return [name_head(view).lower(), *named, *(head for head, _ in costs)], lines


def _seeds(view: ReportView) -> str:
    """Return the number of seeds, or its range."""
    counts = view.seed_counts
    return f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _accuracy_column(view: ReportView, split: str) -> Column:
    def cell(row: MethodRow) -> str:
        if split not in row.groups:
            return fmt.NOTHING
        return fmt.with_interval(row.groups[split].accuracy, view.digits)

    return f"{view.with_split('Test accuracy', split)} (95 % interval)", cell


def _macro_f1_column(view: ReportView, split: str) -> Column:
    def cell(row: MethodRow) -> str:
        if split not in row.groups:
            return fmt.NOTHING
        return macro_f1_cell(row.groups[split], view.digits)

    return f"{view.with_split('Macro-F1', split)} (95 % interval)", cell


def _image_size(row: MethodRow) -> str:
    return f"{row.image_size} px"


def _measured_energy(view: ReportView) -> bool:
    """Return whether the energy of every run is known."""
    return bool(view.rows) and all(row.cost.energy_joules is not None for row in view.rows)


def _energy(row: MethodRow) -> str:
    return describe_cost(row.cost.cpu_seconds, row.cost.energy_joules)


def _parameters(row: MethodRow) -> str:
    return f"{row.parameters.trainable:,} ({fmt.trained_percentage(row.parameters)})"


def _cost_columns(view: ReportView) -> list[Column]:
    """Return the columns of costs; wall-clock times only where they are comparable."""
    columns: list[tuple[str, Callable[[MeanCost], float | None], Callable[[float], str]]] = []
    if view.timings_comparable:
        columns += [("Train time per epoch", lambda cost: cost.seconds_per_epoch, fmt.seconds)]
    columns += [("Peak memory", lambda cost: cost.peak_rss_bytes, fmt.size)]
    if any(row.cost.peak_cuda_bytes for row in view.rows):
        columns += [("Peak GPU memory", lambda cost: cost.peak_cuda_bytes, fmt.size)]
    columns += [
        ("Size on disk", lambda cost: cost.artefact_bytes, fmt.size),
        ("CPU time of a run", lambda cost: cost.cpu_seconds, fmt.seconds),
    ]
    return [(head, _cost_cell(view, read, write=write)) for head, read, write in columns]


def _cost_cell(
    view: ReportView, read: Callable[[MeanCost], float | None], *, write: Callable[[float], str]
) -> Cell:
    """Return the function that formats one cost, with its spread and its ratio to full fine-tuning."""

    def cell(row: MethodRow) -> str:
        full = view.full_on(row.backbone) if view.costs_comparable else None
        value, reference = read(row.cost), read(full.cost) if full else None
        if value is None:
            return fmt.NOTHING
        known = [each for run in row.runs if (each := read(MeanCost.over([run]))) is not None]
        low, high = (write(each) for each in (min(known), max(known)))
        unit = high.rpartition(" ")[2]
        notes = [f"{low.removesuffix(f' {unit}')}\N{EN DASH}{high}"] if low != high else []
        notes += [fmt.ratio(value, reference)] if reference and row is not full else []
        return f"{write(value)} ({'; '.join(notes)})" if notes else write(value)

    return cell
