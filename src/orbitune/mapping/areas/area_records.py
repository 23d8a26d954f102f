"""Records of areas: of the map, from the test tiles, and from a reference sample."""

from typing import Any

from orbitune.records import JsonTuple, Record


class ClassArea(Record):
    """Mapped area of one class, with an estimate from the test tiles' confusion.

    Attributes:
        name: of the class, or `not sure`.
        hectares: on the map.
        fraction: of all pixels with data, 0..1.
        estimated_hectares: see `calibrated`; None if it cannot be estimated.
        low_hectares, high_hectares: its 95 % interval.
    """

    name: str
    hectares: float
    fraction: float
    estimated_hectares: float | None = None
    low_hectares: float | None = None
    high_hectares: float | None = None


class ReferenceClass(Record):
    """Estimates for one class from a reference sample.

    Attributes:
        name: of the class.
        points: number of reference points of the class.
        estimated_hectares, standard_error: the area, and its standard error in hectares.
        low_hectares, high_hectares: 95 % interval; None if the points show no error at all, which leaves the
            interval unknown.
        users_accuracy, users_error: fraction of the mapped area of the class that is right, 0..1, and its
            standard error; None for a class without points on the map.
        producers_accuracy, producers_error: fraction of the true area of the class that is mapped as it, and
            its standard error; None for a class without reference points.
    """

    name: str
    points: int
    estimated_hectares: float
    standard_error: float
    low_hectares: float | None = None
    high_hectares: float | None = None
    users_accuracy: float | None = None
    users_error: float | None = None
    producers_accuracy: float | None = None
    producers_error: float | None = None


class ReferenceEstimate(Record):
    """Stratified estimates from a reference sample (doi:10.1016/j.rse.2014.02.015).

    Attributes:
        points: number of labelled points that were used.
        unlabelled, repeated, outside: number of points without a class, of those at the place of another, and
            of those where the map has no data.
        not_sure: number of the used points where the map is not sure; no accuracy counts them.
        hectares: area that the estimates cover.
        overall_accuracy, overall_error: fraction of the classified area that is right, 0..1, and its standard
            error.
        classes: estimates of each class.
    """

    points: int
    unlabelled: int = 0
    repeated: int = 0
    outside: int = 0
    not_sure: int = 0
    hectares: float
    overall_accuracy: float
    overall_error: float
    classes: JsonTuple[ReferenceClass]


class AreaReport(Record):
    """Areas of a map by every estimator that applies.

    Attributes:
        areas: one record per class, and one for `not sure`.
        reference: estimates from a reference sample, if one was given.
        notes: what the estimates assume and leave out.
        warnings: what may make the map, or the estimates, wrong.
    """

    areas: JsonTuple[ClassArea]
    reference: ReferenceEstimate | None = None
    notes: JsonTuple[str] = ()
    warnings: JsonTuple[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the report for JSON; what could not be estimated has no entry."""
        return self.model_dump(mode="json", exclude_none=True)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the table of areas, with a column per estimate."""
        columns = {
            "class": [area.name for area in self.areas],
            "hectares": [f"{area.hectares:,.0f}" for area in self.areas],
            "percentage": [f"{area.fraction:.1%}" for area in self.areas],
            "estimate from test tiles (95 % interval)": [
                _interval(area.estimated_hectares, low=area.low_hectares, high=area.high_hectares)
                for area in self.areas
            ],
        }
        if self.reference:
            known = {each.name: each for each in self.reference.classes}
            rows = [known.get(area.name) for area in self.areas]
            columns |= {
                "estimate from reference points (95 % interval)": [
                    _interval(row.estimated_hectares, low=row.low_hectares, high=row.high_hectares)
                    if row
                    else ""
                    for row in rows
                ],
                "user's accuracy": [
                    _percentage(row.users_accuracy, row.users_error) if row else "" for row in rows
                ],
                "producer's accuracy": [
                    _percentage(row.producers_accuracy, row.producers_error) if row else "" for row in rows
                ],
            }
        filled = {name: cells for name, cells in columns.items() if any(cells)}
        return [*filled], [list(row) for row in zip(*filled.values(), strict=True)]

    def remarks(self) -> list[str]:
        """Return lines about the accuracy that the reference points show, and the notes."""
        if (sample := self.reference) is None:
            return [*self.notes]
        accuracy = _percentage(sample.overall_accuracy, sample.overall_error)
        used = sample.points - sample.not_sure
        line = f"overall accuracy {accuracy} (standard error), from {used:,} reference points"
        if sample.not_sure:
            line += f"; {sample.not_sure:,} more, where the map is not sure, count for the areas alone"
        return [line, *self.notes]


class ChangeReport(Record):
    """Areas from classes of one map to those of a later one, where both have data.

    Attributes:
        before, after: names of the rows and columns of `hectares`, *not sure* last.
        hectares: from the class of the row to that of the column.
        changed_hectares, unchanged_hectares: sums where both maps have a class.
        expected_false_hectares: what two independent maps would show as change if nothing had changed, by the
            confusion of the test tiles; None if it cannot be told.
    """

    before: JsonTuple[str]
    after: JsonTuple[str]
    hectares: JsonTuple[JsonTuple[float]]
    changed_hectares: float
    unchanged_hectares: float
    expected_false_hectares: float | None = None

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows of the from-to table, in hectares."""
        header = ["before, after (hectares)", *self.after]
        pairs = zip(self.before, self.hectares, strict=True)
        return header, [[name, *(f"{value:,.0f}" for value in row)] for name, row in pairs]

    def remarks(self) -> list[str]:
        """Return lines about the change, and how sure it is."""
        lines = [f"changed {self.changed_hectares:,.0f} ha, unchanged {self.unchanged_hectares:,.0f} ha"]
        if self.expected_false_hectares is not None:
            lines.append(
                f"about {self.expected_false_hectares:,.0f} ha would seem to change if nothing had, should "
                "both maps err independently and as often as on the test tiles"
            )
        lines.append(
            "the errors of both maps are in this table; for areas with intervals, label a sample of "
            "the map of change (orbitune map-sample, orbitune map-areas)"
        )
        return lines


def _interval(middle: float | None, *, low: float | None, high: float | None) -> str:
    """Return an estimate in hectares with its interval; blank for None."""
    if middle is None:
        return ""
    return f"{middle:,.0f}" if low is None else f"{middle:,.0f} ({low:,.0f} to {high:,.0f})"


def _percentage(value: float | None, error: float | None) -> str:
    """Return a fraction with its standard error in percent; blank for None."""
    return "" if value is None else f"{value:.1%} ± {error:.1%}"
