"""Errors in the use of a command as one line: unknown options, missing arguments, empty or wrong values."""

from collections.abc import Sequence
from typing import Any

import typer

from orbitune.errors import OrbituneError
from orbitune.suggestions import ask, nearest

# Typer brings Click along, or needs it, depending on its version: this is the class of either.
UsageError: type[Exception] = typer.BadParameter.__bases__[0]


_MEANT = {"format": "to", "formats": "to"}  # options that other tools have, in the words of ours


def describe_usage(error: Any) -> str:
    """Describe an error of Click as one line, such as "--epochs: must be a whole number, not 'x'."."""
    cause = error.__cause__
    if isinstance(error, typer.BadParameter) and cause is not None and error.param:
        from pydantic import ValidationError  # most commands start without it

        from orbitune.settings_errors import describe_value

        if isinstance(cause, ValidationError):
            return f"{_name_of(error.param)}: {describe_value(cause)}."
    if hasattr(error, "possibilities"):
        return _unknown_option(error.option_name, error)
    return str(error.format_message())


def _unknown_option(option: str, error: Any) -> str:
    """Return the message for an option that a command does not have."""
    parameters = error.ctx.command.get_params(error.ctx)
    known = [
        each.removeprefix("--")
        for parameter in parameters
        if not getattr(parameter, "hidden", False)
        for each in (*parameter.opts, *parameter.secondary_opts)
        if each.startswith("--")
    ]
    helps = [each for each in known if each.startswith("help")]
    words, typed = [each for each in known if each not in helps], option.lstrip("-")
    near = [each for each in words if len(typed) > 1 and _initials(each) == typed]
    near = near or [each for each in words if each == _MEANT.get(typed)] or nearest(typed, words)
    question = ask([f"--{each}" for each in near])
    command = error.ctx.command_path.removeprefix(error.ctx.find_root().command_path)
    advice = question or f"orbitune{command} --{max(helps, key=len)} lists them."
    return f"There is no option {option}; {advice}"


def _initials(option: str) -> str:
    """Return the first letters of an option's words, such as lr of learning-rate."""
    return "".join(word[:1] for word in option.split("-"))


def _name_of(parameter: Any) -> str:
    """Return a parameter as the user writes it."""
    return (
        str(max(parameter.opts, key=len)) if parameter.param_type_name == "option" else parameter.name.upper()
    )


def expect_values(arguments: Sequence[str], parameters: Sequence[Any]) -> None:
    """Check that no value on a command line is empty, as that of a variable that is not set.

    Args:
        arguments: of the command.
        parameters: of the command. Options that it lacks, and values of switches, are left to Click.

    Raises:
        OrbituneError: one is.
    """
    is_switch = {
        name: parameter.is_flag
        for parameter in parameters
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, mark, value = argument.partition("=")
        if argument.startswith("--") and option not in ("--", *is_switch):
            return
        if argument == "":
            named = before if is_switch.get(before) is False else "An argument"
            raise OrbituneError(f"{named} is empty: pass a value, or leave it out.")
        if mark and not value and is_switch.get(option) is False:
            raise OrbituneError(f"{option} is empty: pass a value, or leave it out.")
