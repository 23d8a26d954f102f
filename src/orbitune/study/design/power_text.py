"""Power of a study as a table and notes."""

from orbitune.errors import counted
from orbitune.evaluation.statistics.sentences import format_points
from orbitune.evaluation.statistics.variability import SPREAD_LIMIT, Variability
from orbitune.reporting import formatting as fmt
from orbitune.study.design.power_plan import Chance, ComparisonPower, PowerPlan
from orbitune.study.display_names import pair_name

_NONE = "none"


def power_table(plan: PowerPlan) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: one for each comparison, split and true difference."""
    for_power = f"for {fmt.percent(plan.power, 0)}"
    splits = len(plan.design.margins) > 1
    header = [
        *(["split"] if splits else []),
        "comparison",
        "if truly",
        "called",
        "chance",
        f"seeds {for_power}",
        f"test images {for_power}",
    ]
    rows = [
        [
            *([each.split] if splits else []),
            pair_name(each.method, each.reference),
            *_cells(each, chance),
        ]
        for each in plan.comparisons
        for chance in each.chances
    ]
    return header, rows


def _cells(comparison: ComparisonPower, chance: Chance) -> list[str]:
    truth = f"{format_points(abs(chance.difference))} {'worse' if chance.difference < 0 else 'better'}"
    called = "within" if chance.outcome == "within margin" else "worse by more than"
    return [
        truth if chance.difference else "equal",
        f"{called} {format_points(comparison.margin)}",
        f"{100 * chance.chance:.0f} %",
        _NONE if chance.seeds_needed is None else f"{chance.seeds_needed:,}",
        _NONE if chance.images_needed is None else f"{chance.images_needed:,}",
    ]


def _limit(assumed: Variability) -> str:
    """Return that a spread is the limit of one that was observed."""
    if assumed.observed_spread is None:
        return ""
    return f" (upper {100 * SPREAD_LIMIT:.0f} % limit; observed {100 * assumed.observed_spread:.2f})"


def power_notes(plan: PowerPlan) -> list[str]:
    """Return what the chances rest on, a line each."""
    lines = []
    for each in plan.comparisons:
        assumed = each.variability
        where = f" on the {each.split} split" if len(plan.design.margins) > 1 else ""
        line = (
            f"{pair_name(each.method, each.reference)}{where} ({each.role}, "
            f"{'judged alone' if each.family == 1 else f'one of {each.family} judged together'}): "
            f"{each.images:,} test images, {counted(each.seeds, 'seed')}. "
            f"Assumed ({each.source}): accuracy {100 * assumed.accuracy:.1f} %, "
            f"spread between seeds {100 * assumed.spread:.2f} points{_limit(assumed)}, methods disagree on "
            f"{100 * assumed.discordant:.2g} % of the images and seeds of one method on "
            f"{100 * assumed.repeated:.2g} %."
        )
        lines.append(line)
    lines.append(
        f"Each chance is that of {plan.draws:,} simulated studies, judged by the test that judges the "
        "finished one. The seeds are for these test images, and the images for these seeds; none: no number "
        "is enough, up to 1,000 seeds and 10 million images."
    )
    if len(plan.design.seeds) == 1:
        lines.append("With one seed a verdict is about the trained models, not about the methods.")
    return lines
