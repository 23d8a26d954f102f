"""What a study fixes before it reads the test split, and what is changed later.

The design is stored in study.json with its time. After the test split has been read, another margin or
another primary comparison is refused, and references stay. Further methods, splits and seeds are recorded as
changes before one of their runs reads it, and what they show is exploratory; a session whose further runs
have not read it changes nothing, and part of what was fixed is no change.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Strict

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.statistics.comparison import MARGIN
from orbitune.machine.timestamps import format_time, timestamp
from orbitune.records import JsonTuple, Record
from orbitune.study.arms import comparisons
from orbitune.study.grid import RunSpec
from orbitune.suggestions import unknown

_LOGGER = logging.getLogger(__name__)
Role = Literal["primary", "secondary", "exploratory"]
Pair = Annotated[tuple[str, str], Strict(False)]
"""A method and its reference."""


class DesignChange(Record):
    """What was added to a study after its test split had been read.

    Attributes:
        made: ISO 8601 time.
        comparisons, seeds: that were added.
        margins: of the splits that were added, in points.
    """

    made: str
    comparisons: JsonTuple[Pair]
    margins: dict[str, float]
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
        "score test over seeds and test images, one-sided 2.5 %; on each split the primary comparisons are "
        "corrected together, and the others together, so 5 % is the error of each split and family"
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
        stored: "Design | None" = None,
    ) -> "Design":
        """Return the design of a study, fixed now.

        Args:
            specs: all runs.
            margin: points, of all splits or of each.
            primary: METHOD:REFERENCE.
            difference: points.
            stored: that of an earlier session, whose references stay.

        Raises:
            OrbituneError: a margin or the difference means nothing, a split has no margin, or the study has
                no such comparison.
        """
        compared = [spec for spec in specs if spec.sweep is None]
        arms = list(dict.fromkeys(spec.arm for spec in compared))
        pairs = comparisons(arms, stored.all_comparisons if stored else ())
        splits = list(dict.fromkeys(spec.split for spec in compared))
        margins = _margins(margin, splits)
        if not -100 < difference < 100 or difference in [-each for each in margins.values()]:
            raise OrbituneError("--difference takes points between -100 and 100, but not minus the margin.")
        return cls(
            fixed=timestamp(),
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
        if stored.before_test_read and {*self.seeds} != {*stored.seeds}:
            _LOGGER.warning(
                "With other seeds than those that were fixed (%s) all comparisons are exploratory",
                ", ".join(map(str, stored.seeds)),
            )
        return stored

    def with_added(self, session: "Design") -> "Design":
        """Return the design with what a session added to it, whose runs have read the test split."""
        margins = self._all_margins
        change = DesignChange(
            made=session.fixed,
            comparisons=tuple(pair for pair in session.comparisons if pair not in self.all_comparisons),
            margins={split: margin for split, margin in session.margins.items() if split not in margins},
            seeds=tuple(seed for seed in session.seeds if seed not in self.all_seeds),
        )
        if not (change.comparisons or change.margins or change.seeds):
            return self
        return self.model_copy(update={"changes": (*self.changes, change)})

    def covers(self, spec: RunSpec) -> bool:
        """Return whether a run is of what was fixed or added; a design does not fix points of a sweep."""
        arms = {arm for pair in self.all_comparisons for arm in pair}
        known = spec.recipe.seed in self.all_seeds and spec.split in self._all_margins and spec.arm in arms
        return known or spec.sweep is not None

    @property
    def _settings(self) -> dict[str, Any]:
        """Return what was fixed, without when."""
        return self.model_dump(exclude={"fixed", "before_test_read", "changes"})

    @property
    def all_comparisons(self) -> tuple[tuple[str, str], ...]:
        """Return the comparisons that were fixed, then those that were added."""
        return (*self.comparisons, *(pair for change in self.changes for pair in change.comparisons))

    @property
    def all_seeds(self) -> set[int]:
        """Return the seeds that were fixed, and those that were added."""
        return {*self.seeds, *(seed for change in self.changes for seed in change.seeds)}

    @property
    def _all_margins(self) -> dict[str, float]:
        added = {split: margin for change in self.changes for split, margin in change.margins.items()}
        return {**added, **self.margins}

    def margin(self, split: str) -> float:
        """Return the margin of a split in points, fixed or added.

        Raises:
            RunError: the split has none.
        """
        if split not in (margins := self._all_margins):
            raise RunError(f"study.json has no margin for split {split}, only for {', '.join(margins)}.")
        return margins[split]

    @property
    def _primary_name(self) -> str:
        """Return the comparison that was named as primary; `none` where all are."""
        return ":".join(self.primary[0]) if len(self.primary) < len(self.comparisons) else "none"

    def _expect_fixed(self, stored: "Design") -> None:
        """Raise a RunError if a margin, the primary comparison, the difference or the folds were changed."""
        pairs = [
            (f"--margin {split}", f"{margin:g}", f"{self.margins.get(split, margin):g}")
            for split, margin in stored._all_margins.items()
        ]
        if self._contradicts_primary(stored):
            pairs.append(("--primary", stored._primary_name, self._primary_name))
        pairs += [
            ("--difference", f"{stored.difference:g}", f"{self.difference:g}"),
            ("--folds", str(stored.folds).lower(), str(self.folds).lower()),
        ]
        wrong = [f"{name} {then}, not {now}" for name, then, now in pairs if then != now]
        if wrong:
            raise RunError(
                f"The test split was read with what was fixed at {format_time(stored.fixed)}: "
                f"{'; '.join(wrong)}. Keep it, or choose another --out."
            )

    def _contradicts_primary(self, stored: "Design") -> bool:
        """Return whether other comparisons of those that were fixed are primary now.

        A session that has none of the primary comparisons and names none is about the others alone.
        """
        now = {*self.primary} & {*stored.comparisons}
        then = {*stored.primary} & {*self.comparisons}
        return now != then and (bool(then) or self._primary_name != "none")

    def role(self, pair: tuple[str, str], split: str, *, seeds: Iterable[int]) -> Role:
        """Return whether a comparison was fixed beforehand as primary or secondary.

        Args:
            pair: method and reference.
            split: on which they are compared.
            seeds: those that were run: with more or fewer than were fixed, it is exploratory.
        """
        fixed = self.before_test_read and {*seeds} == {*self.seeds}
        if not fixed or split not in self.margins or pair not in self.comparisons:
            return "exploratory"
        return "primary" if pair in self.primary else "secondary"

    def family_sizes(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Return for each comparison the number of those that it is judged together with on a split.

        There are three families: primary, secondary, and what was added later. The first two are as large as
        they were fixed, so that a method which fails corrects the others no less.
        """
        pairs = list(pairs)
        families = [
            {*self.primary},
            {*self.comparisons} - {*self.primary},
            {*pairs, *self.all_comparisons} - {*self.comparisons},
        ]
        return {pair: next(len(family) for family in families if pair in family) for pair in pairs}


def _margins(margin: float | Mapping[str, float], splits: Sequence[str]) -> dict[str, float]:
    """Return the margin of each split."""
    margins = dict.fromkeys(splits, margin) if isinstance(margin, int | float) else dict(margin)
    if wrong := [name for name in margins if name not in splits]:
        raise OrbituneError(f"--margin: {unknown('split', wrong[0], known=splits)}")
    if missing := [split for split in splits if split not in margins]:
        raise OrbituneError(f"--margin names none for split {missing[0]}.")
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
