"""Generate the reference pages: command line, methods, file formats, imports.

Run by the mkdocs plugin gen-files. `pages` returns the same text to the tests.
"""

import ast
import importlib.util
import inspect
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import BaseModel

FILES = [  # file, model, what the file is
    ("recipe.yaml", "orbitune.recipe:Recipe", "The settings of a run. Every field is also an option."),
    ("result.json", "orbitune.evaluation.run_result:RunResult", "Everything measured in a run."),
    (
        "orbitune.json",
        "orbitune.models.metadata:ModelMetadata",
        "Metadata of a saved model, in `adapter/` or `model/` of a run and in a bundle.",
    ),
    (
        "Tags of a map",
        "orbitune.mapping.map_report:MapMetadata",
        "How a map was made, as JSON in the tag `ORBITUNE` of the GeoTIFF.",
    ),
]


def command_line_page() -> str:
    """Return the reference of all commands as Markdown."""
    import typer

    from orbitune.cli.main import app

    root = typer.main.get_command(app)
    commands = dict(_commands(root, "orbitune"))
    lines = [
        "# Command line",
        "",
        "Generated from the options. `orbitune COMMAND --help-all` prints the same in a terminal.",
        "",
    ]
    for name, command in commands.items():
        lines += _command_section(name, command)
    lines += ["## Recipe options", ""]
    lines += [
        "Every setting of a [recipe](files.md#recipeyaml) is an option of the commands above that say so.",
        "",
    ]
    options = {each.name: each for each in commands["orbitune train"].params}
    for title, names in _recipe_groups().items():
        rows = [(_flags(options[name]), _help(options[name])) for name in names if name in options]
        lines += [f"### {title}", "", *_table(("Option", "Meaning"), rows)]
    return "\n".join(lines)


def _recipe_groups() -> dict[str, list[str]]:
    """Return group title -> names of the options of that group."""
    from orbitune.recipe import Recipe
    from orbitune.recipe_settings import LoraSettings

    groups = {title: [name for name in fields if name != "lora"] for title, fields in Recipe.groups().items()}
    method = next(names for names in groups.values() if "method" in names)
    method += [f"lora_{name}" for name in LoraSettings.model_fields]
    return groups


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _command_section(name: str, command: Any) -> list[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    names = {each.name: each.name.upper() + ("..." if each.nargs == -1 else "") for each in arguments}
    usage = " ".join([name, *names.values(), "[OPTIONS]"])
    lines = [f"## {name}", "", _escape(command.help or ""), "", "```text", usage, "```", ""]
    rows = [(f"`{names[each.name]}`", _help(each)) for each in arguments]
    lines += _table(("Argument", "Meaning"), rows)
    of_recipe = {name for names in _recipe_groups().values() for name in names}
    own = [each for each in options if each.name not in of_recipe]
    lines += _table(("Option", "Meaning"), [(_flags(each), _help(each)) for each in own])
    if len(options) - len(own) > 5:
        lines += ["Also takes the [recipe options](#recipe-options).", ""]
    return lines


def _flags(option: Any) -> str:
    return ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))


def _help(parameter: Any) -> str:
    text = getattr(parameter, "help", None) or ""
    default = parameter.default
    shown = getattr(parameter, "show_default", False)
    if (
        shown
        and default not in (None, "", False, True, ())
        and "default" not in text
        and not callable(default)
    ):
        text += f" [default: {default}]"
    return _escape(" ".join(text.split()))


def file_formats_page() -> str:
    """Return the fields of every stored file as Markdown."""
    lines = [
        "# File formats",
        "",
        "Generated from the pydantic models that read and write the files. Files of older versions are read "
        "too. A type that several files have is described once.",
        "",
    ]
    shown: set[type[BaseModel]] = set()
    for file, path, text in FILES:
        module, _, name = path.partition(":")
        model = getattr(import_module(module), name)
        lines += [f"## {file}", "", f"{text} Model: `{module}.{name}`.", ""]
        lines += _model_tables(model, shown)
    return "\n".join(lines)


def _model_tables(model: type[BaseModel], shown: set[type[BaseModel]]) -> list[str]:
    """Return a table of the fields, and one per nested model not in `shown` yet."""
    lines: list[str] = []
    left = [model]
    shown.add(model)
    while left:
        each = left.pop(0)
        if each is not model:
            lines += [f"**{each.__name__}**: {_escape(_first_line(each))}", ""]
        rows, described = [], _attributes(each)
        for name, field in each.model_fields.items():
            inside = _models_in(field.annotation)
            text = field.description or described.get(name) or " ".join(map(_first_line, inside))
            code = [f"`{field.alias or name}`", f"`{_type_name(field.annotation)}`"]
            rows.append((*code, _field_help(field, text)))
            nested = [kind for kind in inside if kind not in shown]
            shown.update(nested)
            left += nested
        lines += _table(("Field", "Type", "Meaning"), rows)
    return lines


def _field_help(field: Any, text: str) -> str:
    """Return the text about a field with its default, escaped."""
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if isinstance(default, bool | int | float | str) and default != "" and "default" not in text:
        text += f" [default: {str(default).lower() if isinstance(default, bool) else default}]"
    return _escape(text.strip())


def _attributes(model: type) -> dict[str, str]:
    """Return the texts of attributes in the docstrings of a model and its bases."""
    texts: dict[str, str] = {}
    for each in reversed(model.__mro__):
        section = (inspect.cleandoc(each.__doc__ or "") + "\n\n").partition("Attributes:\n")[2]
        for names, text in re.findall(r"^    (\w[\w, ]*): (.+(?:\n {5,}.+)*)", section, re.MULTILINE):
            texts.update(dict.fromkeys(names.split(", "), " ".join(text.split())))
    return texts


def _models_in(kind: Any) -> list[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in typing.get_args(kind) for model in _models_in(part)]


def _type_name(kind: Any) -> str:
    if kind is type(None):
        return "null"
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return " | ".join(repr(value).replace("'", '"') for value in arguments)
    if typing.get_origin(kind) is typing.Annotated:
        return _type_name(arguments[0])
    if arguments and typing.get_origin(kind) in (tuple, list, dict):
        inner = ", ".join("..." if each is ... else _type_name(each) for each in arguments)
        return f"{typing.get_origin(kind).__name__}[{inner}]"
    if arguments:
        return " | ".join(_type_name(each) for each in arguments)
    return getattr(kind, "__name__", str(kind))


def _first_line(model: type) -> str:
    return (model.__doc__ or "").strip().split("\n")[0]


def _table(header: tuple[str, ...], rows: list[Any]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return [*lines, ""]


def _escape(text: str) -> str:
    """Escape what Markdown would read as markup, outside of code; emphasis stays."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([_<\[\]])", r"\\\1", part) for part in parts)


def methods_page() -> str:
    """Return the table of fine-tuning methods as Markdown."""
    from orbitune.models.methods import METHODS

    rows = [
        (f"`{each.name}`", _escape(each.summary), f"{each.learning_rate:g}", _linked(each.paper))
        for each in METHODS.values()
    ]
    header = ("Method", "What is trained", "Default learning rate", "Source")
    lines = ["# Methods", "", "Choose one with `--method`. All methods also train the head.", ""]
    return "\n".join([*lines, *_table(header, rows)])


def _linked(text: str) -> str:
    """Link arXiv numbers."""
    return re.sub(r"arXiv:([0-9.]+[0-9])", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def imports_page() -> str:
    """Return the table of imports between folders as Markdown."""
    root = Path(importlib.util.find_spec("orbitune").origin).parent  # type: ignore[union-attr,arg-type]
    found: dict[str, set[str]] = {}
    for path in sorted(root.glob("*/**/*.py")):
        folder = path.relative_to(root).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
        names = {module.split(".")[1] for module in modules if module.startswith("orbitune.")}
        inside = {name for name in names if (root / name / "__init__.py").is_file()}
        found.setdefault(folder, set()).update(inside - {folder})
    rows = [
        (f"`{name}/`", ", ".join(f"`{each}/`" for each in sorted(inside)) or "none")
        for name, inside in found.items()
    ]
    lines = [
        "# Imports between folders",
        "",
        "Generated from the source; modules beside the folders are left out.",
        "",
    ]
    return "\n".join([*lines, *_table(("Folder", "Imports from"), rows)])


def pages() -> dict[str, str]:
    """Return path -> Markdown of all generated pages."""
    return {
        "reference/cli.md": command_line_page(),
        "reference/files.md": file_formats_page(),
        "reference/imports.md": imports_page(),
        "reference/methods.md": methods_page(),
    }


if __name__ == "<run_path>":  # as the plugin gen-files runs it
    import mkdocs_gen_files

    for path, text in pages().items():
        with mkdocs_gen_files.open(path, "w") as file:
            file.write(text)
