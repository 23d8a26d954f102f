"""Fields of results.json that are read off the runs of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError, RunError
from orbitune.evaluation.run_result import RunResult
from orbitune.recipe import Recipe
from orbitune.recipe_paths import data_name
from orbitune.study.arms import split_arm
from orbitune.study.executor import Outcome
from orbitune.study.grid import RunSpec
from orbitune.study.records import Plan, RunRecord, StudyBackbone
from orbitune.training.run_folder import read_environment


def record_run(spec: RunSpec, plan: Plan | OrbituneError, *, outcome: Outcome, folder: Path) -> RunRecord:
    """Return a run as results.json stores it; the points of a sweep have no plan.

    Args:
        spec: the run.
        plan: its plan, or why there is none.
        outcome: how it ended.
        folder: the study's folder.

    Raises:
        RunError: the environment of a finished run is missing or damaged.
    """
    fields = {
        **spec.fields(),
        "plan": plan if isinstance(plan, Plan) and not spec.sweep else None,
        "status": outcome.status,
        "error": outcome.message,
        "result": outcome.value,
    }
    if outcome.value is not None:
        fields["image_size"] = outcome.value["recipe"]["image_size"]  # resolved
        fields["environment"] = read_environment(folder / spec.name)
    return RunRecord.model_validate(fields)


def shared_fields(runs: Sequence[RunRecord], folder: Path, *, varied: set[str]) -> dict[str, Any]:
    """Return what all runs share: environment, data, backbone and recipe.

    Args:
        runs: all runs of the study.
        folder: the study's folder.
        varied: recipe fields in which the runs differ.

    Raises:
        RunError: no run is done, or two of them were trained on different tiles.
    """
    done = [run for run in runs if run.status == "done"]
    if not done:
        raise RunError(
            "No run of the study succeeded: " + "; ".join(dict.fromkeys(str(r.error) for r in runs))
        )
    first = done[0].finished
    for run in done:
        if run.finished.data.fingerprint != first.data.fingerprint:
            raise RunError(
                f"{done[0].name} and {run.name} of {folder} saw other tiles: the data was changed "
                "while the study went on. Restore it, or remove the folder of one of them."
            )
    backbones: dict[str | None, RunResult] = {}
    for run in done:
        backbones.setdefault(split_arm(run.method)[1], run.finished)
    if len({run.finished.backbone.weights_sha256 for run in done}) > 1:
        # Settings that each backbone resolves in its own way, such as the image size.
        recipes = [run.finished.recipe for run in done if not run.sweep]
        varied = varied | {
            name
            for name in Recipe.model_fields
            if any(getattr(each, name) != getattr(first.recipe, name) for each in recipes)
        }
    return {
        "environment": read_environment(folder / done[0].name),
        "data": {**first.data.to_json(), "name": data_name(first.recipe.data)},
        "backbone": _backbone(first),
        "backbones": {label: _backbone(run) for label, run in backbones.items() if label},
        "recipe": first.recipe,
        "varied": [name for name in Recipe.model_fields if name in varied],
    }


def _backbone(result: RunResult) -> StudyBackbone:
    return StudyBackbone(**result.backbone.to_json(), parameters=result.parameters.backbone)
