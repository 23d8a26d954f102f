"""Examine the installation: `doctor`."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from orbitune.cli.help import CommandSet
from orbitune.cli.options import Json
from orbitune.cli.output import print_json

if TYPE_CHECKING:
    from orbitune.cli.doctor.diagnostics import Diagnosis, Machine

app = CommandSet("Installation")


@app.command()
def doctor(as_json: Json = False) -> None:
    """Show the machine, versions, extras, kernels and caches, with advice."""
    from orbitune.cli.doctor.diagnostics import diagnose

    found = diagnose()
    if as_json:
        print_json(asdict(found))
        return
    for heading, lines in _sections(found).items():
        print(heading)
        for line in lines:
            print(f"  {line}")


def _sections(found: "Diagnosis") -> dict[str, list[str]]:
    """Return the lines to print, by heading."""
    kernels: str = found.kernels.state
    if found.kernels.variant:
        kernels += f" for {found.kernels.variant}"
    if found.kernels.reason:
        kernels += f": {found.kernels.reason}"
    return {
        "Versions": [", ".join(f"{name} {number or 'missing'}" for name, number in found.versions.items())],
        "Machine": _machine_lines(found.machine),
        "Compiled kernels": [kernels],
        "Extras": [
            f"{each.name:<9} installed" if each.installed else f"{each.name:<9} missing: {each.install}"
            for each in found.extras
        ],
        "Caches": [
            f"{each.name}: {each.path}, {each.bytes / 1e6:,.0f} MB, {each.free_bytes / 1e9:,.0f} GB free, "
            f"{each.problem or 'permissions safe'}"
            for each in found.caches
        ],
        "Backbones": [
            f"{each.name}{' (default)' if each.is_default else ''}: "
            f"{'on this machine' if each.available else each.how}"
            for each in found.backbones
        ],
        "Advice": list(found.advice) or ["none: this machine is used well"],
    }


def _machine_lines(machine: "Machine") -> list[str]:
    memory = f"{machine.memory_bytes / 1e9:,.0f} GB memory" if machine.memory_bytes else "memory unknown"
    return [
        f"{machine.system}, {machine.processor} ({', '.join(machine.instructions)})",
        f"{machine.cores} of {machine.all_cores} cores, {machine.threads} threads, {memory}",
        f"GPU: {machine.gpu or 'none that torch can use'}",
    ]
