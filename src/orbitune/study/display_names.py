"""What methods and runs are called in sentences, tables and figures."""

from typing import Any

from orbitune.models.methods import METHODS


def method_name(method: str) -> str:
    """What a method is called in a sentence: "lora" is LoRA, unknown names stand as they are."""
    return METHODS[method].title if method in METHODS else method


def run_name(run: dict[str, Any]) -> str:
    """What a run is called: its method, and what else its name says where a study has several of that."""
    # Results of format 1 have one run for each method.
    rest = run.get("name", run["method"]).removeprefix(run["method"]).strip("-")
    return f"{method_name(run['method'])} {rest}".strip()
