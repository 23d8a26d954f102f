"""Layout of a study's folder: recipes, plans and trials beside the folders of the runs."""

from pathlib import Path

RECIPES, PLANS, TRIALS = "recipes", "plans", "trials"
SETTINGS = "study.json"


def recipe_file(study: Path, run: str) -> Path:
    """Return the file of a run's recipe."""
    return study / RECIPES / f"{run}.yaml"


def plan_file(study: Path, arm: str) -> Path:
    """Return the file of an arm's plan."""
    return study / PLANS / f"{arm}.json"


def trials_folder(study: Path, search: str) -> Path:
    """Return the folder of the trials of a search for a learning rate."""
    return study / TRIALS / search
