"""Command-line options made from the fields of Recipe: a new field is an option without a second list."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from orbitune.models.methods import METHODS
from orbitune.presets import PRESETS, preset
from orbitune.recipe import LoraSettings, Recipe, read_yaml
from orbitune.recipe_paths import anchor, data_name

MakeRecipe = Callable[..., Recipe]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress")]
BundleOut = Annotated[Path, typer.Option("--out", help="Folder of the bundle; it must not exist")]
BackboneOption = Annotated[
    str | None, typer.Option("--backbone", help="The backbone, where it no longer lies where it did")
]
MemoryBudget = Annotated[
    str | None, typer.Option("--memory-budget", help="Change the recipe to fit into this, such as 1.5GB")
]
TimeBudget = Annotated[
    str | None, typer.Option("--time-budget", help="Change the recipe to end in this, such as 30min")
]
OUT_HELP = "the same command goes on in it [default: runs/DATA-BACKBONE"


def recipe_options(*leave_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for every field of the recipe but those left out.

    The command receives `make_recipe`, a function of an optional method name that returns the recipe:
    first a preset, then a recipe file, then the options that were given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {
            name: field for name, field in Recipe.model_fields.items() if name not in (*leave_out, "lora")
        }
        options = {name: _option(name, field) for name, field in fields.items()}
        nested = {f"lora_{name}": _option(f"lora_{name}", f) for name, f in LoraSettings.model_fields.items()}

        @functools.wraps(command)
        def wrapped(recipe: Path | None, preset: str | None, **given: Any) -> None:
            values = {name: v for name in options if (v := given.pop(name)) is not None}
            lora = {name.removeprefix("lora_"): v for name in nested if (v := given.pop(name)) is not None}
            command(make_recipe=functools.partial(_make, recipe, preset, values, lora), **given)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "make_recipe"]
        wrapped.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*own, *_SOURCES, *options.values(), *nested.values()]
        )
        return wrapped

    return decorate


def _make(
    file: Path | None,
    preset_name: str | None,
    values: dict[str, Any],
    lora: dict[str, Any],
    method: str | None = None,
) -> Recipe:
    read = {name: value for name, value in (read_yaml(file) if file else {}).items() if name not in values}
    read = anchor(read, file.parent) if file else {}
    chosen = method or values.get("method") or read.get("method") or Recipe.model_fields["method"].default
    if read.get("method", chosen) != chosen:
        read.pop("learning_rate", None)  # it was found for the file's method, not for this one
    asked = preset(preset_name, chosen) if preset_name else {}
    base = {**asked, **read, **anchor(values), "method": chosen}
    if lora:
        base["lora"] = {**(base.get("lora") or {}), **lora}
    return Recipe.make(base)


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """An option that is None unless given; pydantic judges the value, so types are only the plain ones."""
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        text = f"{field.description} [default: {'on' if field.default else 'off'}]"
        pair = f"{flag}/--no-{flag.removeprefix('--')}"
        return _parameter(name, bool, typer.Option(pair, help=text, show_default=False))
    kinds = [kind for kind in (field.annotation, *get_args(field.annotation)) if kind in (int, float)]
    choices = list(METHODS) if name == "method" else [] if kinds else _literals(field)
    shown = field.get_default(call_default_factory=True)
    shown = ",".join(shown) if isinstance(shown, tuple) else shown
    text = (field.description or name) + (f" ({', '.join(choices)})" if choices else "")
    text += f" [default: {shown}]" if shown is not None else ""
    option = typer.Option(flag, help=text, show_default=False)
    return _parameter(name, kinds[0] if kinds and not _literals(field) else str, option)


def _literals(field: FieldInfo) -> list[str]:
    kinds = (field.annotation, *get_args(field.annotation))
    return [choice for kind in kinds for choice in get_args(kind) if isinstance(choice, str)]


_SOURCES = [
    _parameter(
        "recipe", Path, typer.Option("--recipe", help="A recipe file (YAML); options given here go before it")
    ),
    _parameter(
        "preset", str, typer.Option("--preset", help=f"Start from a known study: {', '.join(PRESETS)}")
    ),
]


def default_out(recipe: Recipe, *more: str) -> Path:
    """A folder under runs/ that is named after the data and the backbone."""
    data = data_name(recipe.data).replace(" ", "-")
    return Path("runs") / "-".join([data, Path(recipe.backbone).name, *more])


def split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
