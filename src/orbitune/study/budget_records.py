"""Limits of a run in memory and time, and the recipe that was fitted into them."""

from dataclasses import dataclass
from typing import Any, ClassVar

from orbitune.recipe import Recipe, upgrade
from orbitune.records import JsonTuple, StoredRecord
from orbitune.resources import parse_bytes, parse_seconds


@dataclass(frozen=True)
class Budget:
    """Limits of a run; None where there is no limit.

    Attributes:
        memory_bytes: peak memory of the process, or of the GPU where there is one.
        seconds: total duration, with evaluation.
    """

    memory_bytes: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, memory: str | None, duration: str | None) -> "Budget":
        """Return the budget in text such as "1.5GB" and "30min".

        Args:
            memory: such as "1.5GB", or None.
            duration: such as "30min", or None.

        Returns:
            The budget in bytes and seconds.

        Raises:
            OrbituneError: the text cannot be read.
        """
        return cls(
            None if memory is None else parse_bytes(memory),
            None if duration is None else parse_seconds(duration),
        )

    def differences(self, other: "Budget") -> list[str]:
        """Return the limits in which two budgets differ, as `--option: mine, not theirs`."""
        limits = [
            ("--memory-budget", self.memory_bytes, other.memory_bytes, "bytes"),
            ("--time-budget", self.seconds, other.seconds, "s"),
        ]
        return [
            f"{option}: {_shown(mine, unit)}, not {_shown(theirs, unit)}"
            for option, mine, theirs, unit in limits
            if mine != theirs
        ]

    def __bool__(self) -> bool:
        return self.memory_bytes is not None or self.seconds is not None


def _shown(limit: float | None, unit: str) -> str:
    return "none" if limit is None else f"{limit:,.0f} {unit}"


class StoredFit(StoredRecord):
    """A recipe that was fitted into a budget, the content of budget.json.

    Attributes:
        requested: the recipe as requested.
        memory_bytes, seconds: the budget, see `Budget`.
        fitted: the recipe that fits.
        choices: changes and their reasons, one sentence each.
    """

    FORMAT: ClassVar[int] = 2
    UNVERSIONED: ClassVar[int | None] = 1

    requested: Recipe
    memory_bytes: int | None
    seconds: float | None
    fitted: Recipe
    choices: JsonTuple[str]

    @property
    def budget(self) -> Budget:
        """Return the limits that the recipe was fitted into."""
        return Budget(self.memory_bytes, self.seconds)

    @classmethod
    def upgrade(cls, values: dict[str, Any], version: int) -> dict[str, Any]:
        """Convert a file of version 0.1, which had the request in one object."""
        if isinstance(asked := values.pop("asked", None), dict):
            values |= asked
        recipes = {"recipe": "requested", "chosen": "fitted"}
        return {
            recipes.get(name, name): upgrade(value) if name in recipes and isinstance(value, dict) else value
            for name, value in values.items()
        }
