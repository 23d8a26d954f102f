"""Recipe: the settings that determine the result of one run.

A recipe is a small YAML file. What is left open (`null`) is resolved from the backbone and the
method before training; the run folder keeps the resolved recipe.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError, model_validator
from pydantic.fields import FieldInfo

from orbitune.errors import OrbituneError, one_line
from orbitune.recipe_paths import PATH_FIELDS, SCRATCH, anchor, is_local
from orbitune.recipe_settings import (
    GROUPS,
    DataSettings,
    MethodSettings,
    ModelSettings,
    OptimisationSettings,
    RuntimeSettings,
    option_of,
)
from orbitune.settings_errors import ContradictionError, InvalidSettingsError, find_faults
from orbitune.yaml_files import read_yaml

DEFAULT_EPOCHS = 3
SCRATCH_EPOCHS = 40  # of random weights
LONGEST_AUTO = 30  # epochs of `auto`, at most
# Settings without which the activations of frozen layers are the same in every step.
UNCACHED: dict[str, Any] = {"sizes": None, "freeze_layers": None, "patch_dropout": 0.0, "merge_tokens": None}
# What was left open in the recipe of an earlier version, which resolved it in this way.
_IMPLIED = {"task": "single-label", "loss": "cross-entropy", "best_by": "accuracy"}


# Pydantic lists the fields of the last base first.
class Recipe(RuntimeSettings, OptimisationSettings, MethodSettings, ModelSettings, DataSettings):
    """Settings of one run, validated and immutable.

    Fields that are None are resolved later: `image_size` and the normalisation by the checkpoint,
    `learning_rate` by the method, `precision` by the processor.

    Raises:
        OrbituneError: a setting is unknown, out of range or contradicts another.
    """

    @model_validator(mode="after")
    def _check_together(self) -> "Recipe":
        if self.cache_frozen:
            fixed = {"fast": True, **UNCACHED, "mixup": 0.0, "tta": "none"}
            bad = [name for name, value in fixed.items() if getattr(self, name) != value]
            others = [f"{{{name}}}" for name in bad] + ["{augment} sensor"] * (self.augment == "sensor")
            if others:
                raise ContradictionError(f"{{cache_frozen}} cannot be combined with {' or '.join(others)}")
        if self.cache_bits not in (None, 8):
            raise ContradictionError("{cache_bits} must be 8, not {given}", given=self.cache_bits)
        if self.cache_bits and not self.cache_frozen:
            raise ContradictionError("{cache_bits} needs {cache_frozen}")
        if self.sampling == "balanced" and self.class_weights:
            raise ContradictionError(
                "{sampling} balanced and {class_weights} both even out the classes: choose one"
            )
        if self.freeze_layers and self.method in ("linear", "adalora"):
            why = (
                "trains no layer" if self.method == "linear" else "ranks the updates of all layers to the end"
            )
            raise ContradictionError(
                f"{{freeze_layers}} cannot be combined with {{method}} {self.method}, which {why}"
            )
        if self.epochs == "auto" and (self.sizes or self.restarts or self.freeze_layers or self.merge_tokens):
            raise ContradictionError(
                "{epochs} auto cannot be combined with {sizes}, {freeze_layers}, {merge_tokens} or "
                "{restarts}: pass a number of epochs"
            )
        ends = [0, *(self.restarts or ()), self.max_epochs]
        if any(later <= earlier for earlier, later in pairwise(ends)):
            raise ContradictionError(
                "{restarts} must rise, from 1 to below {epochs} ({number}{default}), not {given}",
                number=self.max_epochs,
                default="" if self.epochs else ", the default",
                given=",".join(map(str, ends[1:-1])),
            )
        if self.split in ("random", "group") and self.split_files:
            raise ContradictionError(
                f"{{split}} {self.split} draws from all tiles: leave {{split_files}} out, or take another"
            )
        if self.fold and (self.split == "default" or self.split_files):
            raise ContradictionError("{fold} needs {split} random, spatial or group, and no {split_files}")
        groups = [name for name in ("group_pattern", "group_column") if getattr(self, name) is not None]
        if self.split == "group" and len(groups) != 1:
            raise ContradictionError(
                "{split} group needs {group_pattern}, which finds the group in a tile's name, or "
                "{group_column}" + (", not both" if groups else "")
            )
        if self.split != "group" and groups:
            raise ContradictionError(f"{{{groups[0]}}} needs {{split}} group")
        if self.sizes and self.image_size not in (None, self.sizes[-1][0]):
            raise ContradictionError(
                f"{{sizes}} end at {self.sizes[-1][0]}, {{image_size}} is {self.image_size}"
            )
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_plain_words(cls, values: Any, validate: Callable[[Any], "Recipe"]) -> "Recipe":
        try:
            return validate(values)
        except ValidationError as error:
            raise InvalidSettingsError.of("recipe", find_faults(error, cls)) from None

    @classmethod
    def groups(cls) -> dict[str, dict[str, FieldInfo]]:
        """Return the fields by group, in the order of documentation and help."""
        return {
            title: {name: cls.model_fields[name] for name in group.model_fields}
            for title, group in GROUPS.items()
        }

    @classmethod
    def make(cls, values: dict[str, Any]) -> "Recipe":
        """Return the recipe of plain values, as a file or a stored result holds them.

        Values of earlier versions are read too, see `upgrade`.

        Args:
            values: settings by name; those left out have their defaults.

        Raises:
            OrbituneError: they are no valid recipe.
        """
        return cls.model_validate(upgrade(values))

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Return the recipe in a YAML file; its paths are relative to its folder.

        Args:
            path: the file.

        Raises:
            OrbituneError: it cannot be read, does not fit, or names what lies in the working directory alone.
        """
        return cls.make(anchor(read_yaml(path), Path(path).parent))

    def anchored(self) -> "Recipe":
        """Return the recipe with absolute paths, valid from every working directory."""
        return self.model_copy(update=anchor({name: getattr(self, name) for name in PATH_FIELDS}))

    def save(self, path: str | Path) -> None:
        """Write the complete recipe as YAML, with absolute paths.

        Args:
            path: the file; one that is there is replaced.
        """
        from orbitune.files import write_text

        write_text(path, yaml.safe_dump(self.anchored().model_dump(mode="json"), sort_keys=False))

    def replace(self, **changes: Any) -> "Recipe":
        """Return a copy with some fields changed, validated again.

        Args:
            **changes: new values by name.

        Raises:
            OrbituneError: a setting is unknown, out of range or contradicts another.
        """
        return type(self).make({**self.model_dump(), **changes})

    @property
    def has_unused_block_size(self) -> bool:
        """Return whether it states a size of blocks that its split does not read."""
        return self.block_size is not None and (self.split != "spatial" or self.split_files is not None)

    def expect_used(self) -> None:
        """Check that no setting is without effect; older versions stored runs with such a block_size.

        Raises:
            OrbituneError: a setting does not apply to the split.
        """
        if self.has_unused_block_size:
            raise OrbituneError("--block-size needs --split spatial, and no --split-files.")

    @property
    def max_epochs(self) -> int:
        """Return the number of epochs; the largest possible one if the run may stop early."""
        if self.epochs == "auto":
            return LONGEST_AUTO
        return self.epochs or (SCRATCH_EPOCHS if self.backbone == SCRATCH else DEFAULT_EPOCHS)

    @property
    def criterion(self) -> str:
        """Return the validation score that chooses the epoch; that of one label a tile if it is open."""
        return self.best_by or _IMPLIED["best_by"]

    @property
    def hash(self) -> str:
        """Return twelve hex digits, equal for equal recipes on any machine.

        Paths are left out: contents of files are compared by their own hashes, see `TrainingSetup.inputs`.
        """
        values = self.anchored().model_dump(mode="json")
        local = {name: None for name in PATH_FIELDS if values[name] and is_local(values[name])}
        text = json.dumps(values | local, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def differences(self, other: "Recipe") -> "list[Difference]":
        """Return the settings in which two recipes differ.

        Equal recipes have none. Paths of data, split files and backbone are left out: a run compares their
        content by hash. Open settings do not differ from what older versions stored, or meant, for them.

        Args:
            other: recipe to compare with.
        """
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        if self.epochs is None and other.epochs == DEFAULT_EPOCHS:
            mine["epochs"] = DEFAULT_EPOCHS
        for name, value in _IMPLIED.items():
            if None in (mine[name], theirs[name]):
                mine[name], theirs[name] = mine[name] or value, theirs[name] or value
        for recipe, values in ((self, mine), (other, theirs)):
            if recipe.has_unused_block_size:
                values["block_size"] = None
        settings = [name for name in mine if name not in PATH_FIELDS and mine[name] != theirs[name]]
        return [each for name in settings for each in _differences(name, mine[name], theirs=theirs[name])]

    @property
    def path_fields(self) -> dict[str, str | None]:
        """Return the settings that may be paths: data, split files and backbone."""
        return {name: getattr(self, name) for name in PATH_FIELDS}


class Difference(NamedTuple):
    """A setting in which two recipes differ; as text `--option: mine, not theirs`."""

    setting: str
    mine: Any
    theirs: Any

    def __str__(self) -> str:
        return f"{option_of(self.setting)}: {_shown(self.mine)}, not {_shown(self.theirs)}"

    @property
    def option_of_theirs(self) -> str:
        """Return the option with the value of the other recipe, such as --epochs 4."""
        option = option_of(self.setting)
        if isinstance(self.theirs, bool):
            return option if self.theirs else option.replace("--", "--no-", 1)
        return f"{option} {_shown(self.theirs)}"


def _differences(name: str, mine: Any, *, theirs: Any) -> Iterator[Difference]:
    """Yield how two values of a setting differ; those of a group of settings one by one."""
    if name == "lora":
        for part in mine:
            if mine[part] != theirs[part]:
                yield from _differences(f"{name}.{part}", mine[part], theirs=theirs[part])
        return
    yield Difference(name, mine, theirs)


def _shown(value: Any) -> str:
    """Return a value as one writes it on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict):
        value = [f"{name}={each:g}" for name, each in value.items()]
    if isinstance(value, list):
        pairs = [":".join(map(_shown, each)) if isinstance(each, list) else _shown(each) for each in value]
        return one_line(",".join(pairs), 80)
    return "none" if value is None else str(value)


def upgrade(values: dict[str, Any]) -> dict[str, Any]:
    """Convert a recipe's values of version 0.1 to the fields of this version.

    The hash differs from that of version 0.1. Hashes that a run folder stores are compared only with each
    other.
    """
    renamed = {"cache_frozen" if name == "prefix" else name: value for name, value in values.items()}
    switches = {"fast", "cache_frozen", "checkpointing"} & renamed.keys()
    words = {"on": True, "off": False}
    return renamed | {
        name: words.get(value, value) for name in switches if isinstance(value := renamed[name], str)
    }
