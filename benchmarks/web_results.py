"""Results of the benchmarks of the page of `orbitune export --to web`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orbitune.exporting.web.web_export import PAGE
from orbitune.machine.environment import Environment

RESULTS = Path(__file__).parent.parent / "docs" / "results"


def write_results(
    name: str, measured: dict[str, Any], *, arguments: list[str], describe: Callable[[dict[str, Any]], str]
) -> None:
    """Write what was measured to docs/results/NAME.json and .md, and print it.

    Args:
        name: of the files.
        measured: the figures.
        arguments: of the command, without the folders of this machine.
        describe: returns the figures as Markdown.
    """
    environment = Environment.measure()
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    page = PAGE.with_suffix(".sha256").read_text()[:12]
    stated = {"command": command, "environment": environment.model_dump(), "page": page, **measured}
    (RESULTS / f"{name}.json").write_text(json.dumps(stated, indent=1) + "\n")
    software = [*environment.describe(), ("page", page), ("chromium", measured["chromium"])]
    lines = "\n".join(f"- {key}: {value}" for key, value in software)
    text = f"{describe(measured)}\n## Environment\n\n{lines}\n\n## Reproduce\n\n```sh\n{command}\n```\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
