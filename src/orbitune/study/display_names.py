"""Names of arms and runs in sentences, tables and figures."""

from collections.abc import Mapping

from orbitune.evaluation.statistics.comparison import Outcome
from orbitune.evaluation.statistics.sentences import format_points
from orbitune.fold import Fold
from orbitune.models.methods import METHODS
from orbitune.recipe_paths import SCRATCH
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import split_arm
from orbitune.study.records import RunRecord

_TITLES = {SCRATCH: "small network from scratch", **{name: each.title for name, each in METHODS.items()}}

OUTCOMES: dict[Outcome, str] = {
    "better": "better",
    "within margin": "within the margin",
    "worse than margin": "worse (by more than the margin)",
    "worse": "worse (by how much is open)",
    "open": "open",
}


def method_name(arm: str) -> str:
    """Return the title of an arm: "lora" is LoRA, "lora@dinov2-small" LoRA on dinov2-small.

    Unknown names of methods are returned unchanged.
    """
    method, backbone = split_arm(arm)
    title = _TITLES.get(method, method)
    return title if backbone is None else f"{title} on {backbone}"


def pair_name(method: str, reference: str) -> str:
    """Return the title of a comparison of two arms, such as "LoRA against full fine-tuning"."""
    return f"{method_name(method)} against {method_name(reference)}"


def describe_margins(margins: Mapping[str, float]) -> str:
    """Return the margins of splits in points, such as "0.5 points"; of each split where they differ."""
    if len(values := set(margins.values())) == 1:
        return format_points(values.pop())
    return fmt.listed([f"{format_points(margin)} on the {split} split" for split, margin in margins.items()])


def run_name(run: RunRecord) -> str:
    """Return the title of a run: its method, and what else tells it apart."""
    rest = run.name.removeprefix(run.method).strip("-")
    return f"{method_name(run.method)} {rest}".strip()


def fold_name(fold: str) -> str:
    """Return the title of a fold of a recipe: "2/5" is fold 2 of 5."""
    parsed = Fold.parse(fold)
    return f"fold {parsed.number} of {parsed.count}"
