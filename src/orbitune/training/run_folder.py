"""The folder of one run: either empty, resumable or finished, and of one recipe only."""

import json
from pathlib import Path
from typing import Any

from orbitune.errors import RunError
from orbitune.files import write_json, write_text
from orbitune.recipe import Recipe


class RunFolder:
    """Paths of a run, and what state it is in.

    Raises:
        RunError: the folder belongs to another recipe, or holds files that are no run.
    """

    def __init__(self, path: str | Path, recipe: Recipe) -> None:
        self.path = Path(path)
        self.checkpoint = self.path / "checkpoint" / "state.safetensors"
        self.best = self.path / "checkpoint" / "best.safetensors"
        kept = self.path / "recipe.yaml"
        if kept.is_file():
            if differences := recipe.differences(Recipe.load(kept)):
                raise RunError(
                    f"{path} holds a run of another recipe ({'; '.join(differences)}). Choose another --out, or "
                    f"remove the folder."
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(f"{path} exists and is not a run of Orbitune. Choose another --out.")
        else:
            recipe.save(kept)

    @property
    def finished(self) -> bool:
        """Whether the run is complete; result.json is the last file written."""
        return (self.path / "result.json").is_file()

    def write_facts(self, environment: dict[str, object], skipped: tuple[tuple[str, str], ...]) -> None:
        """Keep what the run was made on, and which images it left out."""
        write_json(self.path / "environment.json", environment)
        if skipped:
            lines = [{"file": name, "reason": reason} for name, reason in skipped]
            write_json(self.path / "skipped-images.json", lines)

    def write_log(self, history: list[dict[str, Any]]) -> None:
        """log.jsonl: one line per epoch, rewritten whole so that a resumed run leaves no line twice."""
        write_text(self.path / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in history))
