"""A study: the same recipe with several methods, each run in a process of its own, then one report.

A process per run makes its peak memory its own. A study that was stopped is started again with the same
command: finished runs are not repeated, and the one under way goes on from its checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError, RunError
from orbitune.files import write_json
from orbitune.recipe import Recipe, data_name
from orbitune.study.process import run_in_process
from orbitune.study.report import write_report
from orbitune.training.result import RunResult


@dataclass(frozen=True)
class Study:
    """Several recipes that differ in the method, and the folder that holds their runs and the report.

    Attributes:
        recipes: one per method, in the order of the report.
        folder: each run is in the folder of its method's name below it.
        command: what reproduces the study, for the report.
    """

    recipes: tuple[Recipe, ...]
    folder: Path
    command: str

    def __post_init__(self) -> None:
        methods = [recipe.method for recipe in self.recipes]
        if not methods or len(set(methods)) < len(methods):
            raise OrbituneError("A study needs one or more different methods.")

    def run(self, say: Callable[[str], None] = print) -> dict[str, Any]:
        """Do every run that is not finished, then write results.json, report.html and report.md.

        A run that fails is reported as failed and does not stop the others.

        Args:
            say: receives a line about each run.

        Returns:
            The results, as results.json has them.

        Raises:
            RunError: the folder holds a study of another recipe; or no run succeeded.
            Interrupted: SIGINT arrived; the run under way has saved its state.
        """
        self._claim()
        runs = []
        for number, recipe in enumerate(self.recipes, 1):
            say(f"[{number}/{len(self.recipes)}] {recipe.method}")
            runs.append(self._run_one(recipe, say))
        results = self.collect(runs)
        write_json(self.folder / "results.json", results)
        write_report(results, self.folder)
        return results

    def _recipe_file(self, method: str) -> Path:
        return self.folder / "recipes" / f"{method}.yaml"

    def _plan_file(self, method: str) -> Path:
        return self.folder / "plans" / f"{method}.json"

    def _claim(self) -> None:
        """Keep the recipes in the folder, unless it has runs of others: those must not be written over."""
        for recipe in self.recipes:
            file = self._recipe_file(recipe.method)
            if file.is_file() and (differences := recipe.differences(Recipe.load(file))):
                if (self.folder / recipe.method).exists():
                    raise RunError(
                        f"{self.folder} holds a study of another recipe ({'; '.join(differences)}). Choose "
                        "another --out, or remove the folder."
                    )
                self._plan_file(recipe.method).unlink(missing_ok=True)
        for recipe in self.recipes:
            recipe.save(self._recipe_file(recipe.method))

    def _run_one(self, recipe: Recipe, say: Callable[[str], None]) -> dict[str, Any]:
        out = self.folder / recipe.method
        entry: dict[str, Any] = {"method": recipe.method, "plan": None}
        try:
            recipe_file = self._recipe_file(recipe.method)
            entry["plan"] = self._plan(recipe.method, recipe_file, say)
            run_in_process("train", recipe_file, "--out", str(out))
            result = RunResult.load(out)
            say(f"  test accuracy {result.test['accuracy']:.2%}")
            return {**entry, "status": "done", "result": asdict(result)}
        except OrbituneError as error:
            say(f"  failed: {error}")
            return {**entry, "status": "failed", "error": str(error)}

    def _plan(self, method: str, recipe_file: Path, say: Callable[[str], None]) -> dict[str, Any]:
        """Plan a run in a process of its own, once; the report puts the plan beside what was measured."""
        file = self._plan_file(method)
        if not file.is_file():
            write_json(file, run_in_process("plan", recipe_file, "--methods", method)["plans"][0])
        plan = json.loads(file.read_text())
        minutes = (plan["train_seconds"] + plan["evaluation_seconds"]) / 60
        say(
            f"  plan: {plan['parameters']['trainable']:,} parameters to train, about {minutes:.1f} min, "
            f"{plan['peak_rss_bytes'] / 1e9:.1f} GB of memory"
        )
        return plan

    def collect(self, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Everything the report needs, from the runs alone."""
        done = [run["result"] for run in runs if run["status"] == "done"]
        if not done:
            raise RunError("No run of the study succeeded: " + "; ".join(run["error"] for run in runs))
        first = done[0]
        environment = json.loads((self.folder / first["recipe"]["method"] / "environment.json").read_text())
        return {
            "format": 1,
            "command": self.command,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "environment": environment,
            "data": {"name": data_name(first["recipe"]["data"]), **first["data"]},
            "backbone": {**first["backbone"], "parameters": first["parameters"]["backbone"]},
            "recipe": {n: v for n, v in first["recipe"].items() if n not in ("method", "learning_rate")},
            "runs": list(runs),
        }
