"""Variability of runs that is stated, in place of that of a pilot or of parts of it."""

from dataclasses import asdict, dataclass

from orbitune.errors import OrbituneError
from orbitune.evaluation.statistics.variability import Variability


@dataclass(frozen=True)
class StatedVariability:
    """What is stated; None for what is not.

    Attributes:
        accuracy: of the reference, in percent.
        spread: standard deviation of accuracies between seeds, in points.
        discordant: test images on which a run of one of two methods alone is correct, in percent; two seeds
            of one method are assumed to disagree as often.

    Raises:
        OrbituneError: a value means nothing.
    """

    accuracy: float | None = None
    spread: float | None = None
    discordant: float | None = None

    def __post_init__(self) -> None:
        if self.accuracy is not None and 0 < self.accuracy < 1:
            raise OrbituneError(
                f"--accuracy takes percent, such as {100 * self.accuracy:g}, not {self.accuracy:g}."
            )
        for name, value in self._given.items():
            if not 0 <= value < 100 or (value == 0 and name != "spread"):
                raise OrbituneError(f"--{name} takes a number above 0 and below 100.")

    @property
    def _given(self) -> dict[str, float]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def options(self) -> str:
        """Return the options that were given, with their values."""
        return " ".join(f"--{name} {value:g}" for name, value in self._given.items())

    def over(self, observed: Variability | None) -> Variability:
        """Return what is observed with what is stated in its place.

        At another accuracy other numbers of images are discordant, see `Variability.with_accuracy`.

        Raises:
            OrbituneError: something is neither observed nor stated, or the values contradict each other.
        """
        if observed is None and len(self._given) < len(asdict(self)):
            raise OrbituneError(
                "--power needs to know how runs vary: pass a finished study of two seeds or more as --pilot, "
                "or all of --accuracy, --spread and --discordant."
            )
        if observed and self.accuracy is not None:
            observed = observed.with_accuracy(self.accuracy / 100)
        values = observed.to_json() if observed else {}
        if self.spread is not None:
            values["observed_spread"] = None
        values |= {name: value / 100 for name, value in self._given.items()}
        if self.discordant is not None:
            values["repeated"] = values["discordant"]
        found = Variability.model_validate(values)
        most = 2 * found.accuracy * (1 - found.accuracy)
        if self.discordant is not None and found.discordant > most:
            raise OrbituneError(
                f"Two methods of {100 * found.accuracy:.4g} % accuracy disagree on {100 * most:.2g} % of the "
                f"tiles at most, if they err independently, not on {100 * found.discordant:.2g} %: see "
                "--accuracy and --discordant."
            )
        return found
