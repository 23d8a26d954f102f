"""Options of the recipe: one for each of its fields."""

import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args

import typer
from pydantic.fields import FieldInfo

from orbitune.cli.help import ADVANCED, show_all_options
from orbitune.cli.presets import PRESETS, preset
from orbitune.errors import OrbituneError
from orbitune.models.methods import METHODS, find_method
from orbitune.recipe import Recipe
from orbitune.recipe_paths import anchor, data_name
from orbitune.recipe_settings import LoraSettings, option_of
from orbitune.settings_errors import InvalidSettingsError
from orbitune.yaml_files import read_yaml


class MakeRecipe(Protocol):
    """A function that makes the recipe of a command from its options."""

    def __call__(self, *, method: str | None = None) -> Recipe:
        """Return the recipe, with `method` in place of its own unless that is None."""


COMMON = {
    "data",
    "split",
    "split_files",
    "shots",
    "backbone",
    "image_size",
    "method",
    "lora_rank",
    "epochs",
    "batch_size",
    "learning_rate",
    "seed",
    "precision",
}
"""Fields of the recipe that `--help` lists; `--help-all` lists all."""

_LORA = "lora_"  # begins the names of options for LoRA settings


def recipe_options(*leave_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of the recipe.

    The command receives `make_recipe`, a function of an optional method name that returns the recipe. Options
    override a recipe file, which overrides a preset.

    Args:
        leave_out: fields without an option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        parameters = _recipe_parameters(leave_out)

        @functools.wraps(command)
        def wrapped(
            recipe: Path | None, preset: str | None, fast_recipe: bool | None, help_all: bool, **given: Any
        ) -> None:
            if preset and fast_recipe:
                raise OrbituneError("--fast-recipe is the preset fast: leave out --preset, or --fast-recipe.")
            values = {name: v for name in parameters if (v := given.pop(name)) is not None}
            lora = {
                name.removeprefix(_LORA): values.pop(name) for name in [*values] if name.startswith(_LORA)
            }
            command(
                make_recipe=functools.partial(
                    make_recipe, recipe, "fast" if fast_recipe else preset, values=values, lora=lora
                ),
                **given,
            )

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "make_recipe"]
        wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*own, *_SOURCES, *parameters.values(), _HELP_ALL]
        )
        return wrapped

    return decorate


def _recipe_parameters(leave_out: Sequence[str]) -> dict[str, inspect.Parameter]:
    """Return a parameter for each field of the recipe and each LoRA setting, by name."""
    parameters = {}
    for group, fields in Recipe.groups().items():
        for name, field in fields.items():
            if name == "lora":
                for setting, its_field in LoraSettings.model_fields.items():
                    parameters[_LORA + setting] = _option(_LORA + setting, its_field, group=group)
            elif name not in leave_out:
                parameters[name] = _option(name, field, group=group)
    ADVANCED.update(parameters.keys() - COMMON)
    return parameters


def make_recipe(
    file: Path | None,
    preset_name: str | None,
    *,
    values: dict[str, Any],
    lora: dict[str, Any],
    method: str | None = None,
) -> Recipe:
    """Return the recipe of a preset, a recipe file and options.

    Each overrides the one before.

    Args:
        file: recipe file (YAML), or None.
        preset_name: name of a preset, or None.
        values: options that were given, by field.
        lora: LoRA settings that were given.
        method: overrides the method of all three.

    Raises:
        OrbituneError: the file cannot be read, or the settings are invalid.
    """
    read = {name: value for name, value in (read_yaml(file) if file else {}).items() if name not in values}
    read = anchor(read, file.parent) if file else {}
    stated = method or values.get("method") or read.get("method")
    chosen = stated or Recipe.model_fields["method"].default
    if isinstance(chosen, str):
        find_method(chosen)  # before anything is imported to train it
    if read.get("method", chosen) != chosen:
        read.pop("learning_rate", None)  # it was found for the file's method, not for this one
    asked = preset(preset_name, chosen) if preset_name else {}
    if {"sizes", "image_size"} & {*read, *values}:  # sizes end with their own
        asked = {field: value for field, value in asked.items() if field not in ("sizes", "image_size")}
    base = {**asked, **read, **anchor(values), **({"method": stated} if stated else {})}
    if lora and isinstance(kept := base.get("lora", {}), dict):
        base["lora"] = {**kept, **lora}

    def name(setting: str) -> str:
        field, _, part = setting.partition(".")
        if part not in lora and field not in values and field in read and file:
            return f"{setting} of {file.name}"
        if field in asked and field not in {*read, *values}:
            return f"{setting} of the preset {preset_name}"
        option = option_of(setting)
        return option.replace("--", "--no-", 1) if values.get(field) is False else option

    try:
        return Recipe.make(base)
    except InvalidSettingsError as error:
        raise error.renamed(name) from None


def _parameter(name: str, kind: Any, *, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _option(name: str, field: FieldInfo, *, group: str) -> inspect.Parameter:
    """Return an option that is None unless given.

    Its type is a plain one: pydantic validates the value.
    """
    flag = option_of(name)
    if field.annotation is bool:
        text = f"{field.description} [default: {'on' if field.default else 'off'}]"
        pair = f"{flag}/--no-{flag.removeprefix('--')}"
        return _parameter(
            name, bool, option=typer.Option(pair, help=text, show_default=False, rich_help_panel=group)
        )
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind in (int, float)]
    choices = list(METHODS) if name == "method" else _literals(field)
    shown = field.get_default(call_default_factory=True)
    shown = ",".join(shown) if isinstance(shown, tuple) else shown
    text = (field.description or name) + (f" ({', '.join(choices)})" if choices and not kinds else "")
    text += f" [default: {shown}]" if shown is not None else ""
    complete = _completer(choices) if choices else None
    option = typer.Option(flag, help=text, show_default=False, rich_help_panel=group, autocompletion=complete)
    return _parameter(name, kinds[0] if kinds and not choices else str, option=option)


def _completer(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Return what completes these words in a shell."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _literals(field: FieldInfo) -> list[str]:
    """Return the words that a field takes."""
    kinds = (field.annotation, *get_args(field.annotation))
    return [choice for kind in kinds for choice in get_args(kind) if isinstance(choice, str)]


_SOURCES = [
    _parameter(
        "recipe",
        Path,
        option=typer.Option(
            "--recipe", help="Recipe file (YAML); options override it", rich_help_panel="Recipe"
        ),
    ),
    _parameter(
        "preset",
        str,
        option=typer.Option(
            "--preset",
            help=f"Named settings: {', '.join(PRESETS)}; original: those of the published study",
            rich_help_panel="Recipe",
        ),
    ),
    _parameter(
        "fast_recipe",
        bool,
        option=typer.Option(
            "--fast-recipe",
            help="The preset fast: small images, and no views of other sensors",
            rich_help_panel="Recipe",
        ),
    ),
]
_HELP_ALL = inspect.Parameter(
    "help_all",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option(
            "--help-all", is_eager=True, callback=show_all_options, help="Show all options and exit"
        ),
    ],
)


def default_out(recipe: Recipe, *more: str, backbones: Sequence[str] = ()) -> Path:
    """Return a folder below runs/ named after the data, the backbone and `more`.

    Args:
        recipe: names the data and the backbone.
        more: further parts of the name.
        backbones: in place of the recipe's.
    """
    data = data_name(recipe.data).replace(" ", "-")
    names = [Path(name).name for name in backbones or [recipe.backbone]]
    return Path("runs") / "-".join([data, *names, *more])
