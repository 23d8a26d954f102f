"""Names of methods and runs in sentences, tables and figures."""

from orbitune.models.methods import METHODS
from orbitune.study.records import RunRecord


def method_name(method: str) -> str:
    """Return the title of a method: "lora" is LoRA.

    Unknown names are returned unchanged.
    """
    return METHODS[method].title if method in METHODS else method


def run_name(run: RunRecord) -> str:
    """Return the title of a run: its method, and what else tells it apart."""
    rest = run.name.removeprefix(run.method).strip("-")
    return f"{method_name(run.method)} {rest}".strip()
