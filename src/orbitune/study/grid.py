"""Grid of a study: backbones x methods x seeds x splits x folds, and sweeps of single settings.

A sweep changes one setting at a time (training tiles per class, rank, image size) and leaves the others as
the recipe has them, so its cost is a sum and not a product. The names that runs get here are their folders.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import field_serializer, field_validator, model_validator
from typing_extensions import Self

from orbitune.errors import OrbituneError, find_repeated
from orbitune.fold import LEAST, Fold
from orbitune.recipe import Recipe
from orbitune.recipe_paths import SCRATCH, anchor
from orbitune.recipe_settings import option_of
from orbitune.records import JsonTuple, Record
from orbitune.settings_errors import InvalidSettingsError
from orbitune.study.arms import arm_of, backbone_labels
from orbitune.suggestions import unknown

ALL = "all"  # in names and results: all training tiles of each class


@dataclass(frozen=True)
class Axis:
    """A setting that a study varies.

    Attributes:
        field: its recipe field.
        label: its label in run names.
        option: of the command line, with its values.
        clears: a setting that is of another value of the field alone, and left out with each new one.
        only: values, with the settings that apply to each alone; they are left out with the others.
        stands_for: further values, each with that of the recipe that it stands for.
    """

    field: str
    label: str
    option: str
    clears: str | None = None
    only: tuple[tuple[str, tuple[str, ...]], ...] = ()
    stands_for: tuple[tuple[str, str], ...] = ()

    def value(self, recipe: Recipe) -> Any:
        """Return the recipe's value; None for a field that it does not have."""
        return _lookup(recipe.model_dump(), self.field)

    def replace(self, recipe: Recipe, value: Any) -> Recipe:
        """Return the recipe with another value.

        Raises:
            OrbituneError: the value is invalid.
        """
        group, _, name = self.field.rpartition(".")
        value = dict(self.stands_for).get(value, value)
        others = [setting for own, settings in self.only if own != value for setting in settings]
        if self.clears and value != self.value(recipe):
            others.append(self.clears)
        changes = {**dict.fromkeys(others), name: value}
        try:
            return recipe.replace(
                **({group: {**recipe.model_dump()[group], **changes}} if group else changes)
            )
        except InvalidSettingsError as error:
            raise error.renamed(lambda each: self.option if each == self.field else option_of(each)) from None

    def name(self, value: Any) -> str:
        """Return the part that a value adds to the name of a run, such as `seed1`."""
        return f"{self.label}{ALL if value is None else value}"


BACKBONE = Axis("backbone", "", "--backbones")
FOLD, SEED = Axis("fold", "fold", "--folds"), Axis("seed", "seed", "--seeds")
REDRAWN = "redrawn"  # the random split that is drawn although the data come with lists
SPLIT = Axis(
    "split",
    "",
    "--splits",
    only=(("spatial", ("block_size",)), ("group", ("group_pattern", "group_column"))),
    stands_for=((REDRAWN, "random"),),
)
SWEEPS = {
    "shots": Axis("shots", "shots", "--shots"),
    "ranks": Axis("lora.rank", "rank", "--ranks"),
    "image_sizes": Axis("image_size", "size", "--image-sizes", clears="sizes"),
}


TuningKey = tuple[str, str, str | None]  # see `RunSpec.tuning_key`


@dataclass(frozen=True)
class RunSpec:
    """One run of a study.

    Attributes:
        name: unique in the study; the run's folder.
        group: the name without seed and fold, shared by the runs that differ only in these.
        recipe: recipe of the run; a tuned learning rate is filled in later.
        sweep: sweep that the run is a point of (`shots`, `ranks`, `image_sizes`); None for the comparison.
        backbone: label of the backbone; None in a study of one.
        named_split: name of the split where it is not that of the recipe, see `orbitune.study.own_lists`.
    """

    name: str
    group: str
    recipe: Recipe
    sweep: str | None = None
    backbone: str | None = None
    named_split: str | None = None

    @property
    def arm(self) -> str:
        """Name of what is compared: the method, on its backbone where there are several."""
        return arm_of(self.recipe, self.backbone)

    @property
    def split(self) -> str:
        """Name of the split; `default` where the recipe names none."""
        return self.named_split or str(SPLIT.value(self.recipe) or "default")

    @property
    def tuning_key(self) -> TuningKey:
        """Arm, split and fold: learning rates are tuned once for each.

        Each fold has its own search: that of another fold would have seen its test tiles.
        """
        return self.arm, self.split, self.fold

    @property
    def fold(self) -> str | None:
        """Fold of a cross-validation, such as 2/5; None for an ordinary split."""
        return self.recipe.fold

    @property
    def search(self) -> str:
        """Name of its learning-rate search, a folder of trials."""
        return "-".join(filter(None, (self.group, self.fold and FOLD.name(Fold.parse(self.fold).number))))

    def fields(self) -> dict[str, Any]:
        """Return the fields that identify the run in a `RunRecord`."""
        return {
            "name": self.name,
            "group": self.group,
            "method": self.arm,
            "seed": self.recipe.seed,
            "split": self.split,
            "fold": self.fold,
            "shots": SWEEPS["shots"].value(self.recipe),
            "rank": self.recipe.lora.rank,
            "image_size": self.recipe.image_size,
            "sweep": self.sweep,
        }


class Grid(Record):
    """Values that a study varies; an empty tuple keeps the recipe's value.

    Attributes:
        backbones, seeds, splits: every method is run with all of them.
        folds: number of folds of a cross-validation on each split; None for ordinary splits.
        shots, ranks, image_sizes: values of the sweeps; in `shots`, None stands for all tiles, and is stored
            as "all".

    Raises:
        OrbituneError: a value is given twice.
    """

    backbones: JsonTuple[str] = ()
    seeds: JsonTuple[int] = ()
    splits: JsonTuple[str] = ()
    folds: int | None = None
    shots: JsonTuple[int | None] = ()
    ranks: JsonTuple[int] = ()
    image_sizes: JsonTuple[int] = ()

    @field_validator("shots", mode="before")
    @classmethod
    def _shots_from_json(cls, shots: Any) -> Any:
        """Return the stored "all" as None."""
        return [None if count == ALL else count for count in shots] if isinstance(shots, list) else shots

    @field_serializer("shots")
    def _shots_to_json(self, shots: tuple[int | None, ...]) -> list[int | str]:
        """Return None as "all"."""
        return [ALL if count is None else count for count in shots]

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        for name in type(self).model_fields:
            values = getattr(self, name)
            if isinstance(values, tuple) and (twice := find_repeated(values)):
                raise OrbituneError(
                    f"{option_of(name)}: {ALL if twice[0] is None else twice[0]} is given twice."
                )
        if self.folds is not None and self.folds < LEAST:
            raise OrbituneError(f"--folds takes a number of folds of at least {LEAST}.")
        return self

    @classmethod
    def of(
        cls,
        *,
        backbones: Sequence[str] = (),
        seeds: int | Sequence[int] | None = None,
        splits: Sequence[str] = (),
        folds: int | None = None,
        shots: Sequence[int | str | None] = (),
        ranks: Sequence[int] = (),
        image_sizes: Sequence[int] = (),
        first_seed: int = 0,
    ) -> "Grid":
        """Return a grid from plain Python values.

        Args:
            backbones: paths, hub ids or built-in names; existing paths are made absolute.
            seeds: the seeds, or their number; these are counted from `first_seed`.
            splits: names of splits; `redrawn` is a random split that leaves lists of the data aside.
            folds: number of folds, 3 or more, or None.
            shots: training tiles per class; "all" or None for all tiles.
            ranks: ranks of the adapters.
            image_sizes: pixels.
            first_seed: first seed where `seeds` is a number.

        Raises:
            OrbituneError: a value is given twice, the number of seeds or folds is too small, or there is no
                such split.
        """
        known = [*get_args(Recipe.model_fields["split"].annotation), REDRAWN]
        if odd := [name for name in splits if name not in known]:
            raise OrbituneError(f"--splits: {unknown('split', odd[0], known=known)}")
        if isinstance(seeds, int):
            if seeds < 1:
                raise OrbituneError("--seeds takes a number of seeds of at least 1, or a list such as 0,1,2.")
            seeds = range(first_seed, first_seed + seeds)
        if wrong := [count for count in shots if isinstance(count, str) and count != ALL]:
            raise OrbituneError(f"--shots takes whole numbers or {ALL!r}, not {wrong[0]!r}.")
        return cls(
            backbones=tuple(anchor({"backbone": name})["backbone"] for name in backbones),
            seeds=tuple(seeds or ()),
            splits=tuple(splits),
            folds=folds,
            shots=tuple(None if isinstance(count, str) else count for count in shots),
            ranks=tuple(ranks),
            image_sizes=tuple(image_sizes),
        )

    @property
    def varied(self) -> set[str]:
        """Recipe fields in which the runs of one method differ, apart from sweeps."""
        axes = ((BACKBONE, self.backbones), (SEED, self.seeds), (SPLIT, self.splits))
        return {axis.field for axis, values in axes if len(values) > 1} | ({"fold"} if self.folds else set())

    def runs(self, recipes: Sequence[Recipe]) -> list[RunSpec]:
        """Return all runs of a study: the comparison first, then the sweeps.

        They are grouped by backbone. The rank is swept only for methods whose number of trained parameters
        depends on it.

        Args:
            recipes: one per method; relative paths in them are made absolute.

        Raises:
            OrbituneError: a value is invalid in a recipe, a recipe has no split to fold, or no method has a
                rank to sweep.
        """
        fixed = [self._fixed(recipe.anchored()) for recipe in recipes]
        scratch = [recipe for recipe in fixed if recipe.backbone == SCRATCH]  # on no other backbone
        fixed = [recipe for recipe in fixed if recipe not in scratch]
        base = [BACKBONE.replace(recipe, name) for name in self.backbones for recipe in fixed] or fixed
        base += scratch
        specs = [spec for recipe in base for spec in self._cross(recipe)]
        for sweep, axis in SWEEPS.items():
            values = getattr(self, sweep)
            if len(values) < 2:
                continue
            swept = [recipe for recipe in base if sweep == "shots" or recipe not in scratch]
            swept = [recipe for recipe in swept if sweep != "ranks" or _has_rank(recipe)]
            if not swept:
                raise OrbituneError("--ranks: none of the methods has a rank.")
            for recipe in swept:
                for value in values:
                    if value != axis.value(recipe):  # that one is in the comparison
                        specs += self._cross(axis.replace(recipe, value), sweep, part=axis.name(value))
        return specs

    def _fixed(self, recipe: Recipe) -> Recipe:
        """Return the recipe with each setting for which the grid has a single value."""
        if self.folds:
            recipe = FOLD.replace(recipe, None)  # all of them are run
        for name, axis in {"seeds": SEED, "splits": SPLIT, **SWEEPS}.items():
            if name == "image_sizes" and recipe.backbone == SCRATCH:
                continue  # it has a size of its own
            if len(values := getattr(self, name)) == 1:
                recipe = axis.replace(recipe, values[0])
        return recipe

    def _cross(self, recipe: Recipe, sweep: str | None = None, *, part: str = "") -> Iterator[RunSpec]:
        """Yield the runs of one recipe with every split, fold and seed."""
        for on_split, split in _each(recipe, SPLIT, values=self.splits):
            for chosen, fold, seed in self._repeated(on_split):
                backbone = backbone_labels(self.backbones).get(recipe.backbone)
                arm = arm_of(recipe, backbone)
                name, group = (
                    "-".join(filter(None, parts))
                    for parts in ((arm, split, fold, seed, part), (arm, split, part))
                )
                redrawn = split == REDRAWN or tuple(self.splits) == (REDRAWN,)
                yield RunSpec(name, group, chosen, sweep, backbone, REDRAWN if redrawn else None)

    def _repeated(self, recipe: Recipe) -> Iterator[tuple[Recipe, str, str]]:
        """Yield the recipe with every fold and seed, and their labels."""
        if self.folds and (recipe.split == "default" or recipe.split_files):
            raise OrbituneError("--folds needs --split random, spatial or group, and no --split-files.")
        folds = Fold.all_of(self.folds) if self.folds else [None]
        for fold in folds:
            tested = FOLD.replace(recipe, str(fold)) if fold else recipe
            for chosen, seed in _each(tested, SEED, values=self.seeds):
                yield chosen, FOLD.name(fold.number) if fold else "", seed


def _each(recipe: Recipe, axis: Axis, *, values: Sequence[Any]) -> Iterator[tuple[Recipe, str]]:
    """Yield the recipe with each value and its label; unchanged if there is one."""
    if len(values) < 2:
        yield recipe, ""
        return
    for value in values:
        yield axis.replace(recipe, value), axis.name(value)


def _has_rank(recipe: Recipe) -> bool:
    """Return whether the method's number of trained parameters depends on the rank."""
    from orbitune.models.factory import plan_parameters
    from orbitune.models.lineage.fine_tuned import open_backbone

    backbone, rank = open_backbone(recipe.backbone), SWEEPS["ranks"]
    one, two = (
        plan_parameters(rank.replace(recipe, value), backbone, classes=("a", "b")) for value in (1, 2)
    )
    return one.trainable != two.trainable


def _lookup(values: Any, field: str) -> Any:
    for name in field.split("."):
        values = values.get(name)
    return values
