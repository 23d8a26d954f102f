"""Which runs a study is made of: every method with every seed on every split, and sweeps around that.

A sweep changes one setting at a time (training tiles per class, rank, image size) and leaves the others as
the recipe has them, so its cost is a sum and not a product. The names that runs get here are their folders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.recipe import Recipe

ALL = "all"  # as many training tiles per class as there are


@dataclass(frozen=True)
class Axis:
    """A setting that a study varies: its field in the recipe, and how a value shows in a run's name."""

    field: str
    label: str

    def value(self, recipe: Recipe) -> Any:
        """What a recipe says; None for a field that it does not have."""
        return _lookup(recipe.model_dump(), self.field)

    def set(self, recipe: Recipe, value: Any) -> Recipe:
        """The recipe with another value; an OrbituneError of one line where it does not fit."""
        group, _, name = self.field.rpartition(".")
        if not group:
            return recipe.replace(**{name: value})
        return recipe.replace(**{group: {**recipe.model_dump()[group], name: value}})

    def part(self, value: Any) -> str:
        """What a value adds to the name of a run, such as `seed1`."""
        return f"{self.label}{ALL if value is None else value}"


SEED, SPLIT = Axis("seed", "seed"), Axis("split", "")
SWEEPS = {
    "shots": Axis("shots", "shots"),
    "ranks": Axis("lora.rank", "rank"),
    "image_sizes": Axis("image_size", "size"),
}


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes:
        name: readable, unique in the study, and the run's folder.
        group: the name without the seed, which runs that differ in the seed alone share.
        recipe: what the run does, but for the learning rate if that is tuned.
        sweep: which sweep the run is a point of (`shots`, `ranks`, `image_sizes`); None for the comparison.
    """

    name: str
    group: str
    recipe: Recipe
    sweep: str | None = None

    @property
    def split(self) -> str:
        return str(SPLIT.value(self.recipe) or "default")

    @property
    def tuning(self) -> tuple[str, str]:
        """The method and the split: learning rates are tuned once for each pair."""
        return self.recipe.method, self.split

    def facts(self) -> dict[str, Any]:
        """The run as results.json names it."""
        return {
            "name": self.name,
            "group": self.group,
            "method": self.recipe.method,
            "seed": self.recipe.seed,
            "split": self.split,
            "shots": SWEEPS["shots"].value(self.recipe),
            "rank": self.recipe.lora.rank,
            "image_size": self.recipe.image_size,
            "sweep": self.sweep,
        }


@dataclass(frozen=True)
class Grid:
    """The values a study takes; an empty tuple leaves what the recipe says.

    Attributes:
        seeds, splits: every method is run with all of these.
        shots, ranks, image_sizes: sweeps; in `shots`, None stands for all tiles.
    """

    seeds: tuple[int, ...] = ()
    splits: tuple[str, ...] = ()
    shots: tuple[int | None, ...] = ()
    ranks: tuple[int, ...] = ()
    image_sizes: tuple[int, ...] = ()

    @classmethod
    def parse(
        cls,
        seeds: str | None = None,
        splits: str | None = None,
        shots: str | None = None,
        ranks: str | None = None,
        image_sizes: str | None = None,
        first_seed: int = 0,
    ) -> "Grid":
        """Read values as the command line has them, with commas between; one number of seeds is a count.

        Raises:
            OrbituneError: a value is no whole number, or stands twice.
        """
        return cls(
            seeds=_seeds(seeds, first_seed),
            splits=_distinct("--splits", _parts(splits)),
            shots=_distinct("--shots", [None if p == ALL else _number("--shots", p) for p in _parts(shots)]),
            ranks=_numbers("--ranks", ranks),
            image_sizes=_numbers("--image-sizes", image_sizes),
        )

    def to_json(self) -> dict[str, list[Any]]:
        """The values for results.json, where all shots are `all`."""
        values = {name: list(values) for name, values in asdict(self).items()}
        return {**values, "shots": [ALL if count is None else count for count in self.shots]}

    @property
    def varied(self) -> set[str]:
        """The settings of the recipe in which the runs of one method differ, sweeps apart."""
        return {axis.field for axis, values in ((SEED, self.seeds), (SPLIT, self.splits)) if len(values) > 1}

    def runs(self, recipes: Sequence[Recipe]) -> list[RunSpec]:
        """All runs of a study of these recipes, one recipe per method; the comparison first, then the sweeps.

        The rank is swept for the methods whose number of trained parameters depends on it.

        Raises:
            OrbituneError: a recipe does not take a value, or no method has a rank to sweep.
        """
        base = [self._fixed(recipe) for recipe in recipes]
        specs = [spec for recipe in base for spec in self._cross(recipe)]
        for sweep, axis in SWEEPS.items():
            values = getattr(self, sweep)
            if len(values) < 2:
                continue
            swept = [recipe for recipe in base if sweep != "ranks" or _has_rank(recipe)]
            if not swept:
                raise OrbituneError("--ranks: none of the methods has a rank.")
            for recipe in swept:
                for value in values:
                    if value != axis.value(recipe):  # that one is in the comparison
                        specs += self._cross(axis.set(recipe, value), sweep, axis.part(value))
        return specs

    def _fixed(self, recipe: Recipe) -> Recipe:
        """The recipe with each setting for which there is one value only."""
        for name, axis in {"seeds": SEED, "splits": SPLIT, **SWEEPS}.items():
            if len(values := getattr(self, name)) == 1:
                recipe = axis.set(recipe, values[0])
        return recipe

    def _cross(self, recipe: Recipe, sweep: str | None = None, part: str = "") -> Iterator[RunSpec]:
        """The runs of one recipe with every split and seed."""
        for on_split, split in _each(recipe, SPLIT, self.splits):
            for chosen, seed in _each(on_split, SEED, self.seeds):
                name, group = (
                    "-".join(filter(None, parts))
                    for parts in ((recipe.method, split, seed, part), (recipe.method, split, part))
                )
                yield RunSpec(name, group, chosen, sweep)


def _each(recipe: Recipe, axis: Axis, values: Sequence[Any]) -> Iterator[tuple[Recipe, str]]:
    """The recipe with each value, and what that adds to a name; as it is where there is one value or none."""
    if len(values) < 2:
        yield recipe, ""
        return
    for value in values:
        yield axis.set(recipe, value), axis.part(value)


def _has_rank(recipe: Recipe) -> bool:
    """Whether another rank gives the method another number of trained parameters on this backbone."""
    from orbitune.models.backbones import find_backbone
    from orbitune.models.factory import plan_parameters

    backbone, rank = find_backbone(recipe.backbone), SWEEPS["ranks"]
    one, two = (plan_parameters(rank.set(recipe, value), backbone, ("a", "b")) for value in (1, 2))
    return one["trainable"] != two["trainable"]


def _lookup(values: Any, field: str) -> Any:
    for name in field.split("."):
        values = values.get(name)
    return values


def _seeds(text: str | None, first: int) -> tuple[int, ...]:
    listed = _numbers("--seeds", text)
    if not listed or "," in str(text):
        return listed
    if listed == (0,):
        raise OrbituneError("--seeds takes a count of one or more, or the seeds with commas between.")
    return tuple(range(first, first + listed[0]))


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _numbers(option: str, text: str | None) -> tuple[int, ...]:
    return _distinct(option, [_number(option, part) for part in _parts(text)])


def _number(option: str, text: str) -> int:
    if not text.isdecimal():
        raise OrbituneError(f"{option} takes whole numbers with commas between, not {text!r}.")
    return int(text)


def _distinct(option: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise OrbituneError(f"{option}: a value stands there twice.")
    return tuple(values)
