"""Help texts in groups: common options in `--help`, all of them in `--help-all`."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from orbitune.cli.usage_errors import expect_values

SHOW_ALL = "orbitune.cli.help"
"""Key in the context's `meta` that is set while all options are shown."""

OUTPUT = "Output"
LAST = ("Recipe", "Budget", OUTPUT, "Options")  # headings below those of `Recipe.groups()`

ADVANCED: set[str] = set()
"""Names of parameters that `--help` leaves out; `recipe_options` fills it."""


class GroupedCommand(TyperCommand):
    """A command whose options are listed by their `rich_help_panel`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            OrbituneError: one is empty.
        """
        if not ctx.resilient_parsing:  # as while a shell completes them
            expect_values(args, self.get_params(ctx))
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, by heading.

        Options in ADVANCED are shown by `--help-all` only, where a command has it.
        """
        parameters = self.get_params(ctx)
        has_help_all = any(parameter.name == "help_all" for parameter in parameters)
        show_all = not has_help_all or ctx.find_root().meta.get(SHOW_ALL, False)
        sections: dict[str, list[tuple[str, str]]] = defaultdict(list)
        left_out = 0
        for parameter in parameters:
            if parameter.name in ADVANCED and not show_all:
                left_out += 1
            elif record := parameter.get_help_record(ctx):
                is_argument = parameter.param_type_name == "argument"
                heading = getattr(parameter, "rich_help_panel", None) or "Options"
                sections["Arguments" if is_argument else heading].append(record)
        for heading in [*(name for name in sections if name not in LAST), *LAST]:
            if sections[heading]:
                with formatter.section(heading):
                    formatter.write_dl(sections[heading])
        if left_out:
            formatter.write_paragraph()
            formatter.write_text(f"{left_out} more options: {ctx.command_path} --help-all")


class GroupedCommands(TyperGroup):
    """A group whose commands are listed by heading.

    Hidden commands are not suggested for a mistyped one.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help and exit with code 2."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that the arguments name.

        The error for an unknown name suggests visible commands.
        """
        commands = self.commands
        if args[0] not in commands:
            self.commands = {name: each for name, each in commands.items() if not each.hidden}
        try:
            return super().resolve_command(ctx, args)
        finally:
            self.commands = commands

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands with the first sentence of their help, by heading."""
        visible = {name: command for name, command in self.commands.items() if not command.hidden}
        width = max(map(len, visible))
        sections: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, command in visible.items():
            heading = getattr(command, "rich_help_panel", None) or "Commands"
            text = command.get_short_help_str(limit=formatter.width - width - 6)
            sections[heading].append((name.ljust(width), text))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class LazyCommands(Mapping[str, TyperCommand | TyperGroup]):
    """Commands by name; a command's module is imported when the command is looked up.

    Args:
        modules: names of the commands by module, whose `app` has them.
    """

    def __init__(self, modules: Mapping[str, Sequence[str]]) -> None:
        self._modules = {name: module for module, names in modules.items() for name in names}
        self._groups: dict[str, TyperGroup] = {}

    def __getitem__(self, name: str) -> Any:
        module = self._modules[name]
        if module not in self._groups:
            self._groups[module] = typer.main.get_group(import_module(module).app)
        return self._groups[module].commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


class CommandSet(typer.Typer):
    """Commands of one module, listed under one heading of the main help."""

    def __init__(self, heading: str, **settings: Any) -> None:
        super().__init__(**{"cls": GroupedCommands, "rich_markup_mode": None, **settings})
        self._heading = heading

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a function as a command; options are listed in groups."""
        return super().command(name, **{"cls": GroupedCommand, "rich_help_panel": self._heading, **settings})


def show_all_options(ctx: typer.Context, asked: bool) -> None:
    """Print the help with all options and end; the callback of `--help-all`."""
    if asked:
        ctx.find_root().meta[SHOW_ALL] = True
        print(ctx.get_help())
        raise typer.Exit
