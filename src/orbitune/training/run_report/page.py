"""The page of a run's report."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import yaml

from orbitune.data.preview import rgb_preview
from orbitune.data.tileset import TileSet
from orbitune.evaluation.details.score_details import ScoreDetails
from orbitune.evaluation.run_result import RunResult
from orbitune.evaluation.saved_outputs import Predictions
from orbitune.evaluation.tasks.known import find_task
from orbitune.evaluation.tasks.task import Decision, Task
from orbitune.machine.environment import Environment
from orbitune.models.methods import find_method
from orbitune.recipe_paths import data_name
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import (
    BulletList,
    CodeBlock,
    Collapsible,
    Component,
    DescriptionList,
    Section,
    Table,
)
from orbitune.reporting.drawing import report_style
from orbitune.reporting.page import WARNING, Page
from orbitune.reporting.run_sentences import (
    COST_NOTE,
    criterion_title,
    describe_computation,
    describe_duration,
    describe_restarts,
)
from orbitune.reporting.tile_gallery import SHOWN, misclassified_gallery, misclassified_table
from orbitune.reporting.views.choose import view_scores
from orbitune.reporting.views.score_view import ScoreView
from orbitune.training.run_report import details
from orbitune.training.run_report.curves import curve_figure


@dataclass(frozen=True)
class RunView:
    """A finished run as its report shows it.

    Attributes:
        name: of its folder.
        result: its result.json.
        environment: software and hardware.
        decision: calibration and thresholds of its model.
        test: its predictions of the test tiles.
        tiles: the tiles that it was trained on; None where the data is gone.
    """

    name: str
    result: RunResult
    environment: Environment
    decision: Decision
    test: Predictions
    tiles: TileSet | None

    @property
    def test_tiles(self) -> str:
        """Return what the test tiles are called, with the split that they are of."""
        return f"test tiles of the {self.result.split_name}"

    @property
    def task(self) -> Task:
        """Return the task: one label a tile, or several."""
        return find_task(self.result.recipe.task)

    @cached_property
    def scores(self) -> ScoreView:
        """Return the scores on the test tiles."""
        details = ScoreDetails.measure(
            self.task,
            self.test.logits,
            labels=self.test.labels,
            classes=self.result.data.classes,
            decision=self.decision,
        )
        return view_scores(details, self.test_tiles, synthetic=bool(self.result.data.synthetic))


def build_page(view: RunView) -> Page:
    """Return the content of the report of a run."""
    result, scores = view.result, view.scores
    again = [
        ["orbitune", "train", "--recipe", f"{view.name}/recipe.yaml", "--out", f"{view.name}-again"],
        ["orbitune", "report", view.name],
    ]
    with report_style():
        return Page(
            subject="run",
            title=f"{find_method(result.recipe.method).title} on {data_name(result.recipe.data)}",
            stamp=f"recipe {result.recipe_hash}",
            subtitle=f"Backbone: {result.backbone.description}, {result.parameters.backbone:,} parameters",
            warning=WARNING if result.data.synthetic else "",
            headline=[scores.headline()],
            cautions=_cautions(result),
            conclusions=[
                *scores.conclusions(),
                f"{_epoch_sentence(result)} {_reads_sentence(result.test_reads)}",
            ],
            comparison=_score_table(view),
            notes=[
                "Accuracies have Wilson intervals, F1 and average precision bootstrap intervals over the "
                "tiles. They cover other tiles of the same kind, but not another training run.",
                *(f"{fmt.capital(note)}." for note in result.data.notes),
            ],
            picture=scores.picture(),
            sections=[*_sections(view)],
            reproduction=(
                "Train the recipe again, or write this report, from the folder above that of the run"
            ),
            commands=[shlex.join(words) for words in again],
        )


def _cautions(result: RunResult) -> list[str]:
    """Return how many of the scored tiles the runs of the backbone have seen."""
    return [
        f"{line}."
        for split, scores in (("test", result.test), ("validation", result.validation))
        if (line := scores.describe_seen(split, result.backbone.runs))
    ]


def _epoch_sentence(result: RunResult) -> str:
    epochs = len(result.history)
    if epochs == 1:
        return "Training took one epoch."
    best = f"epoch {result.best_epoch} had the best validation {criterion_title(result.recipe)}"
    return f"Of {epochs} epochs, {best}; its weights were kept.{describe_restarts(result.recipe)}"


def _reads_sentence(reads: int) -> str:
    if reads == 1:
        return "The test split was read once, after all choices had been made."
    return f"The test split was read {reads} times: choices made after the first time may depend on it."


def _score_table(view: RunView) -> Table:
    """Return the scores on validation and test tiles."""
    splits = {"Validation": view.result.validation, "Test": view.result.test}
    cells = {split: view.scores.cells(scores) for split, scores in splits.items()}
    rows = [[split, f"{splits[split].count:,}", *row.values()] for split, row in cells.items()]
    header = ["Split", "Tiles", *cells["Test"]]
    return Table(f"Scores of the kept weights, {view.result.split_name}", header, rows)


def _sections(view: RunView) -> Iterator[Section]:
    """Yield the sections in order."""
    result, scores = view.result, view.scores
    yield _section("Classes", scores.class_table())
    yield _section("Most confident errors", *_errors(view))
    yield _section("Calibration", *scores.calibration())
    epochs = details.epoch_table(result, scores.digits)
    yield _section("Training curves", curve_figure(result), Collapsible("Numbers", [epochs]))
    computed = describe_computation(result.compute) + describe_duration(result.cost.run_seconds)
    notes = [COST_NOTE, *([computed.strip()] if computed else [])]
    yield _section("Cost", DescriptionList(details.cost_pairs(result)), BulletList(notes))
    yield _section("Data", DescriptionList(details.data_pairs(result)))
    recipe = yaml.safe_dump(details.public_recipe(result.recipe), sort_keys=False, allow_unicode=True)
    yield _section("Recipe", Collapsible("All settings", [CodeBlock(recipe, "yaml")]))
    environment = DescriptionList(view.environment.describe())
    yield _section("Environment", Collapsible("Versions and hardware", [environment]))


def _section(title: str, *components: Component) -> Section:
    return Section(title, [*components], measured=False)


def _errors(view: RunView) -> list[Component]:
    """Return the most confident errors on the test tiles."""
    found = view.task.misclassified(view.test.logits, view.test.labels, decision=view.decision)
    if not found:
        return [BulletList([f"No error on {len(view.test.labels):,} {view.test_tiles}."])]
    shown, tiles = found[:SHOWN], view.tiles
    rows = view.test.indices[[each.place for each in shown]]
    caption = (
        f"{len(shown)} of the {len(found):,} misclassified {view.test_tiles}, the most confident first"
        if len(shown) < len(found)
        else f"All {len(found):,} misclassified {view.test_tiles}, the most confident first"
    )
    if tiles is None:
        names = [f"tile {row}" for row in rows]
        caption += "; the data is no longer there, so that their pictures and names are missing"
        return [misclassified_table(caption, shown, view=view.scores, names=names)]
    names = [tiles.names[row] for row in rows]
    pictures = list(rgb_preview(tiles.read(rows), tiles.bands))
    return [misclassified_gallery(caption, shown, view=view.scores, names=names, pictures=pictures)]
