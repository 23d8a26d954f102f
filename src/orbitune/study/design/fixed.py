"""What a study fixes before it reads the test split, and what is changed later.

The design is stored in study.json with its time. After the test split has been read, another margin or
another primary comparison is refused; further methods, splits and seeds are recorded as changes, and what
they alone show is exploratory.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import Strict

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.statistics.comparison import MARGIN
from orbitune.records import JsonTuple, Record
from orbitune.study.arms import comparisons
from orbitune.study.grid import RunSpec
from orbitune.suggestions import unknown

Role = Literal["primary", "secondary", "exploratory"]
Pair = Annotated[tuple[str, str], Strict(False)]
"""A method and its reference."""


class DesignChange(Record):
    """A change of a study after its test split had been read.

    Attributes:
        made: ISO 8601 time.
        comparisons, splits, seeds: of the study from then on.
    """

    made: str
    comparisons: JsonTuple[Pair]
    splits: JsonTuple[str]
    seeds: JsonTuple[int]


class Design(Record):
    """What is fixed beforehand.

    Attributes:
        fixed: ISO 8601 time.
        before_test_read: whether no run had read the test split then.
        primary: the comparisons that the study is for, judged together: the one that was named, else all.
        comparisons: all of them; those that are not primary are secondary, and judged together.
        margins: of each split, in points.
        seeds: of each method.
        folds: of a cross-validation; None for ordinary splits.
        difference: true difference in points that the study is planned for, see `least_sizes`.
        analysis: the test and its level.
        changes: made after the test split had been read.
    """

    fixed: str
    before_test_read: bool = True
    primary: JsonTuple[Pair]
    comparisons: JsonTuple[Pair]
    margins: dict[str, float]
    seeds: JsonTuple[int]
    folds: int | None = None
    difference: float = 0.0
    analysis: str = (
        "score test over seeds and test images, one-sided 2.5 %, on each split; the primary comparisons are "
        "corrected together, and the others together"
    )
    changes: JsonTuple[DesignChange] = ()

    @classmethod
    def of(
        cls,
        specs: Sequence[RunSpec],
        *,
        margin: float | Mapping[str, float] = MARGIN,
        primary: str | None = None,
        difference: float = 0.0,
    ) -> "Design":
        """Return the design of a study, fixed now.

        Args:
            specs: all runs.
            margin: points, of all splits or of each.
            primary: METHOD:REFERENCE.
            difference: points.

        Raises:
            OrbituneError: a margin or the difference means nothing, a split has no margin, or the study has
                no such comparison.
        """
        compared = [spec for spec in specs if spec.sweep is None]
        pairs = comparisons(list(dict.fromkeys(spec.arm for spec in compared)))
        splits = list(dict.fromkeys(spec.split for spec in compared))
        margins = _margins(margin, splits)
        if not -100 < difference < 100 or difference in [-each for each in margins.values()]:
            raise OrbituneError("--difference takes points between -100 and 100, but not minus the margin.")
        return cls(
            fixed=_now(),
            primary=tuple(pairs if primary is None else [_find(primary, pairs)]),
            comparisons=tuple(pairs),
            margins=margins,
            seeds=tuple(dict.fromkeys(spec.recipe.seed for spec in compared)),
            folds=len({spec.fold for spec in compared}) if compared[0].fold else None,
            difference=difference,
        )

    def after(self, stored: "Design | None", *, test_was_read: bool) -> "Design":
        """Return the design to store where a folder holds that of an earlier session.

        Args:
            stored: the earlier one.
            test_was_read: whether a run of the folder has read its test split.

        Raises:
            RunError: what must not change any more differs.
        """
        if stored is None:
            return self.model_copy(update={"before_test_read": not test_was_read})
        if not test_was_read:
            return stored if self._settings == stored._settings else self
        self._expect_fixed(stored)
        change = self._state
        if change.model_copy(update={"made": stored._state.made}) == stored._state:
            return stored
        return stored.model_copy(update={"changes": (*stored.changes, change)})

    @property
    def _settings(self) -> dict[str, Any]:
        """Return what was fixed, without when."""
        return self.model_dump(exclude={"fixed", "before_test_read", "changes"})

    @property
    def _state(self) -> DesignChange:
        """Return the comparisons, splits and seeds of the last session."""
        if self.changes:
            return self.changes[-1]
        return DesignChange(
            made=self.fixed, comparisons=self.comparisons, splits=tuple(self.margins), seeds=self.seeds
        )

    @property
    def _primary_name(self) -> str:
        """Return the comparison that was named as primary; `none` where all are."""
        return ":".join(self.primary[0]) if len(self.primary) < len(self.comparisons) else "none"

    def _expect_fixed(self, stored: "Design") -> None:
        """Raise a RunError if a margin, the primary comparison, the difference or the folds were changed."""
        pairs = [
            (f"--margin {split}", f"{margin:g}", f"{self.margins.get(split, margin):g}")
            for split, margin in stored.margins.items()
        ]
        pairs += [
            ("--primary", stored._primary_name, self._primary_name),
            ("--difference", f"{stored.difference:g}", f"{self.difference:g}"),
            ("--folds", str(stored.folds).lower(), str(self.folds).lower()),
        ]
        wrong = [f"{name} {then}, not {now}" for name, then, now in pairs if then != now]
        if wrong:
            raise RunError(
                f"The test split was read with what was fixed at {format_time(stored.fixed)}: "
                f"{'; '.join(wrong)}. Keep it, or choose another --out."
            )

    @property
    def reopened(self) -> bool:
        """Return whether seeds were changed, or comparisons left out, after the test split had been read."""
        return any(
            each.seeds != self.seeds or not {*self.comparisons} <= {*each.comparisons}
            for each in self.changes
        )

    def role(self, pair: tuple[str, str], split: str) -> Role:
        """Return whether a comparison on a split is primary or secondary, or was not fixed beforehand."""
        fixed = self.before_test_read and not self.reopened
        if not fixed or split not in self.margins or pair not in self.comparisons:
            return "exploratory"
        return "primary" if pair in self.primary else "secondary"

    def families(self, pairs: Sequence[tuple[str, str]]) -> list[list[tuple[str, str]]]:
        """Return the comparisons that are judged together: the primary ones, and the others."""
        primary = [pair for pair in pairs if pair in self.primary]
        return [own for own in (primary, [pair for pair in pairs if pair not in primary]) if own]


def _margins(margin: float | Mapping[str, float], splits: Sequence[str]) -> dict[str, float]:
    """Return the margin of each split."""
    margins = dict.fromkeys(splits, margin) if isinstance(margin, int | float) else dict(margin)
    if wrong := [name for name in margins if name not in splits]:
        raise OrbituneError(f"--margin: {unknown('split', wrong[0], known=splits)}")
    if missing := [split for split in splits if split not in margins]:
        raise OrbituneError(f"--margin names none for the {missing[0]} split.")
    if not all(0 < each < 100 for each in margins.values()):
        raise OrbituneError("--margin takes points above 0 and below 100.")
    return {split: float(margins[split]) for split in splits}


def design_words(margin: float | Mapping[str, float], *, primary: str | None, difference: float) -> list[str]:
    """Return the words of the command line for what differs from the defaults, see `Design.of`."""
    words = []
    if margin != MARGIN:
        margins = {"": margin} if isinstance(margin, int | float) else margin
        parts = [f"{split}={points:g}".removeprefix("=") for split, points in margins.items()]
        words += ["--margin", ",".join(parts)]
    words += ["--primary", primary] if primary else []
    return words + (["--difference", f"{difference:g}"] if difference else [])


def _find(primary: str, pairs: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Return the comparison of this name."""
    if not pairs:
        raise OrbituneError(f"--primary {primary}: one method makes no comparison, name both in --methods.")
    named = {":".join(pair): pair for pair in pairs}
    if primary not in named:
        raise OrbituneError(f"--primary: {unknown('comparison', primary, known=named)}")
    return named[primary]


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def format_time(stamp: str) -> str:
    """Return an ISO 8601 time as text, such as 2026-11-27 10:15 UTC."""
    return f"{datetime.fromisoformat(stamp).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
