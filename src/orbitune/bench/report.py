"""Markdown report of a benchmark: ratios, arms, environment and method."""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from orbitune.bench.ratios import FEWEST_ROUNDS
from orbitune.bench.records import ArmRecord, BenchResults, FigureRecord, RatioRecord, RatioValues
from orbitune.bench.suites import TRAINING
from orbitune.errors import counted
from orbitune.files import write_text
from orbitune.reporting.formatting import markdown

_NUMBER = re.compile(r"-?\d|none$")
_TIMES, _DASH = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"

Table = tuple[list[str], list[list[str]]]


def write_bench_report(results: BenchResults, path: Path) -> None:
    """Write the Markdown report from the results alone."""
    parts = [
        f"# Benchmark {markdown(results.suite.name)}",
        _summary(results),
        *(f"> **Warning:** {markdown(line)}" for line in warnings(results)),
        *(_ratios(results) if results.arms else []),
        *(["## Figures", _table(*figure_table(results))] if results.figures else []),
        *(_arms(results) if results.arms else []),
        "## How it was measured",
        _list(_procedure(results)),
        "## Environment",
        _list([f"{name}: {value}" for name, value in results.environment.describe()]),
        "## Reproduce",
        f"```sh\n{results.command}\n```",
    ]
    write_text(path, "\n\n".join(parts) + "\n")


def _ratios(results: BenchResults) -> list[str]:
    return ["## Ratios", "Above 1, the first arm is better.", _table(*ratio_table(results))]


def _arms(results: BenchResults) -> list[str]:
    words = "Medians over the rounds, with the lowest and the highest value in brackets."
    return ["## Arms", words, _table(*arm_table(results))]


def warnings(results: BenchResults) -> list[str]:
    """Return reasons not to trust the figures, one sentence each."""
    load, cores = results.load.before, results.environment.cores or 1
    lines = []
    if load > cores:
        lines.append(
            f"The load average was {load:.1f} on {cores} cores before the first process: the machine was "
            "busy with other work, and times and memory are not to be published."
        )
    if results.arms and results.suite.rounds < FEWEST_ROUNDS:
        lines.append(
            f"{results.suite.rounds} rounds show that everything works; a figure to publish takes at least "
            f"{FEWEST_ROUNDS}, as does a 95 % interval."
        )
    return lines


def ratio_table(results: BenchResults) -> Table:
    """Return header and rows; each row is a comparison with its targets and verdict."""
    head = "Ratio (95 % interval)" if _has_intervals(results) else "Ratio (lowest to highest round)"
    header = ["Comparison", "Arms", "Measure", head, "Required", "Target", "Verdict"]
    rows = [
        [
            each.title,
            " / ".join(each.arms),
            _measure_title(each),
            format_ratio(each),
            *("none" if bound is None else f"{bound:g}{_TIMES}" for bound in (each.at_least, each.aim)),
            each.verdict,
        ]
        for each in results.comparisons
    ]
    return header, rows


UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{1000 * value:.0f} ms" if value < 10 else f"{value:.0f} s",
    "bytes": lambda value: f"{value / 1e6:.0f} MB",
    "times": lambda value: f"1/{value:.0f}",
    "ratio": lambda value: f"{value:.1f}{_TIMES}",
    "fraction": lambda value: f"{100 * value:.1f} %",
    "points": lambda value: f"{value:.2f} points",
}


def figure_table(results: BenchResults) -> Table:
    """Return header and rows: one figure each, with its targets and verdict."""
    rows = []
    for each in results.figures:
        write = UNITS[each.unit]
        required = each.at_most if each.at_most is not None else each.at_least
        bounds = ("none" if value is None else write(value) for value in (required, each.aim))
        details = "; ".join(f"{name}: {words}" for name, words in each.details)
        rows.append([each.title, format_figure(each), *bounds, each.verdict, details])
    return ["Figure", "Measured", "Required", "Target", "Verdict", "Details"], rows


def format_figure(figure: FigureRecord) -> str:
    """Return the value of a figure with its unit."""
    return UNITS[figure.unit](figure.value)


def format_ratio(comparison: RatioRecord) -> str:
    """Return the ratio of a comparison with its interval, and that of the whole processes."""
    words = _format_values(comparison)
    if comparison.whole_process:
        words += f"; {_format_values(comparison.whole_process)} of the whole process"
    return words


def _format_values(ratio: RatioValues) -> str:
    return f"{ratio.median:.2f}{_TIMES} ({ratio.low:.2f}{_DASH}{ratio.high:.2f})"


def _measure_title(comparison: RatioRecord) -> str:
    """Return what a comparison measures, for people."""
    above = " above the imports" if comparison.whole_process else ""
    return comparison.measure.replace("_", " ") + above


def _has_intervals(results: BenchResults) -> bool:
    """Return whether there are enough rounds for 95 % intervals."""
    return results.suite.rounds >= FEWEST_ROUNDS


def arm_table(results: BenchResults) -> Table:
    """Return header and rows: one arm each, with its cost."""
    columns: list[tuple[str, Callable[[ArmRecord], str]]] = [
        ("Arm", lambda arm: arm.name),
        ("Images per second", lambda arm: _spread(arm, "images_per_second")),
        ("CPU seconds per 1,000 images", lambda arm: f"{1000 * _median(arm, 'cpu_seconds_per_image'):.1f}"),
        (
            "Peak memory above the imports",
            lambda arm: _size(_median(arm, "peak_rss_bytes") - _median(arm, "imports_rss_bytes")),
        ),
        ("Peak memory", lambda arm: _size(_median(arm, "peak_rss_bytes"))),
        ("Fraction of the matmul ceiling", lambda arm: f"{100 * _ceiling_fraction(arm):.0f} %"),
    ]
    if results.environment.gpu:
        columns[3] = ("Peak GPU memory", lambda arm: _size(_median(arm, "peak_cuda_bytes")))
    if _predicts(results):
        columns.insert(2, ("Latency of a batch (p50 / p99)", _latency))
    return [name for name, _ in columns], [[cell(arm) for _, cell in columns] for arm in results.arms]


def _summary(results: BenchResults) -> str:
    work = "Prediction" if _predicts(results) else "Training"
    arms = f"{work} in batches of {results.suite.batch_size}. " if results.arms else ""
    return markdown(
        f"{results.created[:16].replace('T', ' ')} UTC. {arms}Data: {results.data.source}. Backbone: "
        f"{results.backbone.description}" + _describe_run(results)
    )


def _describe_run(results: BenchResults) -> str:
    """Return what the figures of a finished run are of: its main settings and its split."""
    if not (recipe := results.run):
        return ""
    sizes = " then ".join(str(size) for size, _ in recipe.sizes or ((recipe.image_size, 1.0),))
    settings = [
        recipe.method,
        f"{sizes} px",
        counted(recipe.max_epochs, "epoch"),
        f"learning rate {recipe.learning_rate:g}",
    ]
    return f". Run: {', '.join([*settings, str(recipe.precision), results.data.split_name])}"


def _procedure(results: BenchResults) -> list[str]:
    load = results.load
    figures = ["Each figure was measured in its own process."] if results.figures else []
    return [
        *(_arms_procedure(results) if results.arms else []),
        *figures,
        f"Load average of the machine: {load.before:.2f} before the first process, "
        f"{load.highest:.2f} at most before the others, {load.after:.2f} after the last.",
    ]


def _arms_procedure(results: BenchResults) -> list[str]:
    suite = results.suite
    steps = [m.steps for arm in results.arms for m in arm.measured]
    if results.environment.gpu:
        own = "process of its own"
        memory = ", on Linux a fork without the pages of libraries that it never read."
    else:
        own = "fresh process"
        memory = (
            ". Above the imports: without the memory that was resident before data and weights were opened."
        )
    return [
        f"{suite.rounds} rounds ran every arm, each in a {own}; every other round ran the arms in "
        f"reverse order. After {counted(suite.warmup, 'warm-up step')}, {suite.seconds:g} s and at least "
        f"3 steps were measured ({min(steps)} to {max(steps)} steps).",
        _describe_interval(results),
        "Images per second cover everything from the stored tile to "
        + ("the probabilities." if _predicts(results) else "the updated weights: whole training steps."),
        "Peak memory is the largest resident set of the process" + memory,
        "The matmul ceiling is the fastest plain matrix product at the arm's precision, on all threads, in "
        "the same process. The fraction counts the operations that the method needs, so an arm that leaves "
        "some of them out can exceed 100 %.",
    ]


def _describe_interval(results: BenchResults) -> str:
    """Say how the intervals of the ratios were computed."""
    rounds, coverage = results.suite.rounds, results.comparisons[0].coverage
    if not _has_intervals(results):
        return (
            "A ratio is the median over the rounds, with the lowest and the highest. They contain the median "
            f"of further rounds with {100 * coverage:.0f} %: a 95 % interval takes {FEWEST_ROUNDS} rounds."
        )
    return (
        f"A ratio is the median over the rounds. Its interval lies between two of the {rounds} sorted ratios "
        f"and contains the median of further rounds with {100 * coverage:.1f} %, whatever their distribution "
        "(order statistics, Thompson 1936)."
    )


def _predicts(results: BenchResults) -> bool:
    return not any(arm.kind in TRAINING for arm in results.arms)


def _median(arm: ArmRecord, key: str) -> float:
    return statistics.median(getattr(measured, key) for measured in arm.measured)


def _spread(arm: ArmRecord, key: str) -> str:
    values = [getattr(measured, key) for measured in arm.measured]
    return f"{_median(arm, key):,.1f} ({min(values):,.1f}{_DASH}{max(values):,.1f})"


def _ceiling_fraction(arm: ArmRecord) -> float:
    return arm.flop_per_image * _median(arm, "images_per_second") / _median(arm, "ceiling")


def _latency(arm: ArmRecord) -> str:
    """Return the medians over the rounds of the percentiles of an arm's steps."""
    measured = [each.latency for each in arm.measured if each.latency]
    if not measured:
        return "not measured"
    p50, p99 = (statistics.median(getattr(each, name) for each in measured) for name in ("p50", "p99"))
    return f"{p50:,.1f} / {p99:,.1f} ms"


def _size(count: float) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    columns = zip(*rows, strict=True)
    rule = ["---:" if all(_NUMBER.match(cell) for cell in column) else "---" for column in columns]
    return "\n".join(f"| {' | '.join(map(markdown, line))} |" for line in (header, rule, *rows))


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)
