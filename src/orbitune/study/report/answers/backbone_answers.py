"""The answer of a study to "which backbone", with what it costs."""

from dataclasses import dataclass

from orbitune.evaluation.statistics.sentences import corrected, interval_name, signed_range, with_sign
from orbitune.reporting import formatting as fmt
from orbitune.study.arms import split_arm
from orbitune.study.display_names import method_name
from orbitune.study.findings import VerdictRecord
from orbitune.study.report.view_model import MeanCost, ReportView, RunGroup


@dataclass(frozen=True)
class _Answer:
    """The most accurate backbone with one method, and how the others compare with it.

    Attributes:
        method: name of the method.
        best: group of the backbone with the highest mean test accuracy.
        others: the groups of the other backbones with their comparison.
    """

    method: str
    best: RunGroup
    others: list[tuple[RunGroup, VerdictRecord]]

    @property
    def winner(self) -> str | None:
        """Label of the best backbone; None if any other may be as good."""
        return _label(self.best) if all(verdict.differs for _, verdict in self.others) else None

    @property
    def is_explored(self) -> bool:
        """Return whether a comparison was not fixed beforehand."""
        return any(verdict.role == "exploratory" for _, verdict in self.others)

    @property
    def is_tested(self) -> bool:
        """Return whether backbones were compared, not their trained models alone."""
        return any(verdict.tests_methods for _, verdict in self.others)


def which_backbone_is_best(view: ReportView, split: str) -> str:
    """Return which backbone is best on one split, without a full stop; empty where nothing is compared."""
    answers = _answers(view, split)
    where = f"on the {split} split, " if len(view.splits) > 1 else ""
    return f"{where}{_headline(answers)}" if answers else ""


def which_backbone(view: ReportView, split: str) -> str:
    """Return the differences on one split as a paragraph; empty where nothing is compared."""
    answers = _answers(view, split)
    if not answers:
        return ""
    sentences = " ".join(_sentence(view, each) for each in answers)
    return f"On the {split} split: {sentences}" if len(view.splits) > 1 else sentences


def backbone_conditions(view: ReportView) -> list[str]:
    """Return sentences on what the backbones did not share: image sizes and learning rates."""
    if len(view.backbones) < 2:
        return []
    sizes = {row.backbone: row.image_size for row in view.rows}
    if len(set(sizes.values())) > 1:
        each = fmt.listed([f"{label} {size} px" for label, size in sizes.items()])
        sentences = [f"The backbones had images of different sizes, {each}, which is part of the difference."]
    else:
        sentences = [f"All backbones had images of {view.rows[0].image_size} px."]
    if view.results.trials:
        return [*sentences, "Learning rates were tuned for each backbone."]
    return [
        *sentences,
        "Learning rates were not tuned: a method has the same on every backbone, which may suit one better "
        "than another.",
    ]


def _answers(view: ReportView, split: str) -> list[_Answer]:
    """Return the answer with each method that has several backbones with finished runs."""
    verdicts = {
        frozenset((verdict.method, verdict.reference)): verdict
        for verdict in view.results.verdicts
        if verdict.split == split
    }
    answers = []
    for method in dict.fromkeys(split_arm(group.method)[0] for group in view.groups_on(split)):
        own = [group for group in view.groups_on(split) if split_arm(group.method)[0] == method]
        best, *rest = sorted(own, key=lambda group: -group.accuracy[0])
        others = [(other, verdicts[frozenset((best.method, other.method))]) for other in rest]
        if others:
            answers.append(_Answer(method, best, others))
    return answers


def _headline(answers: list[_Answer]) -> str:
    """Return which backbone is better, with which methods."""
    methods: dict[tuple[str | None, bool], list[str]] = {}
    for answer in answers:
        methods.setdefault((answer.winner, answer.is_explored), []).append(method_name(answer.method))
    tested = any(answer.is_tested for answer in answers)
    unclear = "no clear winner on these tiles" if tested else "not tested beyond these trained models"
    parts = []
    for (winner, explored), names in methods.items():
        every = ", with every method" if len(answers) > 1 else ""
        which = every if len(methods) == 1 else f" with {fmt.listed(names)}"
        parts.append((winner or unclear) + which + " (exploratory)" * explored)
    return f"which backbone: {'; '.join(parts)}"


def _sentence(view: ReportView, answer: _Answer) -> str:
    """Return the accuracy of the best backbone, and each difference with its cost."""
    groups: dict[str, list[str]] = {}
    for other in sorted(answer.others, key=lambda other: not other[1].differs):
        groups.setdefault(_claim(other[1]), []).append(_difference(view, answer.best, other))
    found = [f"{claim} {fmt.listed(named)}" for claim, named in groups.items()]
    return (
        f"With {method_name(answer.method)}, {_label(answer.best)} reached "
        f"{fmt.percent(answer.best.accuracy[0], view.digits)} test accuracy (95 % interval "
        f"{fmt.percent_range(answer.best.interval, view.digits)}) and {' and '.join(found)}."
    )


def _difference(view: ReportView, best: RunGroup, other: tuple[RunGroup, VerdictRecord]) -> str:
    """Return a backbone with what the best one gains on it, and at what cost."""
    group, verdict = other
    sign = 1 if verdict.method == best.method else -1
    tested = verdict.equal if verdict.tests_methods else None
    p = fmt.p_value(verdict.differ if tested is None else tested)
    p = (p if p[0] == "<" else f"= {p}") + corrected(verdict)
    models = "McNemar of these trained models " if tested is None else ""
    mine, theirs = MeanCost.over(best.runs), MeanCost.over(group.runs)
    costs = (
        f"; with {fmt.ratio(mine.cpu_seconds, theirs.cpu_seconds)} the CPU time and "
        f"{fmt.ratio(mine.peak_memory, theirs.peak_memory)} the peak memory"
    )
    return (
        f"{_label(group)} ({with_sign(sign * verdict.difference)} points, {intervals(verdict, sign=sign)}, "
        f"{models}p {p}{role(verdict)}{costs if view.costs_comparable else ''})"
    )


def intervals(verdict: VerdictRecord, *, sign: int = 1) -> str:
    """Return the intervals that an outcome rests on: of the pooled tiles, and over folds.

    Args:
        verdict: of the comparison.
        sign: -1 for the difference the other way round.
    """
    pooled, *folds = (
        signed_range(*sorted((sign * low, sign * high)))
        for low, high in (verdict.interval, *filter(None, [verdict.over_folds]))
    )
    return f"{interval_name(verdict)} {pooled}" + "".join(f", over folds {each}" for each in folds)


def role(verdict: VerdictRecord) -> str:
    """Return the role of a comparison after a comma; empty for a primary one, and without a design."""
    return "" if verdict.role in (None, "primary") else f", {verdict.role}"


def _claim(verdict: VerdictRecord) -> str:
    """Return what is claimed of the more accurate of two backbones."""
    if verdict.differs:
        return "did better than"
    if verdict.tests_methods:
        return "is not shown to differ from"
    return "was not tested beyond these trained models against"


def _label(group: RunGroup) -> str:
    return str(split_arm(group.method)[1])
