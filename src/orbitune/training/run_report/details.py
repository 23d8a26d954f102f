"""Details of a run: its epochs, cost, data, recipe and environment."""

from pathlib import Path
from typing import Any

from orbitune.evaluation.run_result import EpochMetrics, RunResult
from orbitune.recipe import Recipe
from orbitune.recipe_paths import PATH_FIELDS, is_local
from orbitune.reporting import formatting as fmt
from orbitune.reporting.components import Table


def epoch_table(result: RunResult, digits: int) -> Table:
    """Return the metrics of each epoch; the one whose weights were kept is marked."""

    def cells(row: EpochMetrics) -> list[str]:
        kept, macro_f1 = row.epoch == result.best_epoch, row.validation_macro_f1
        return [
            f"{row.epoch}{', kept' if kept else ''}",
            f"{row.train_loss:.4f}",
            fmt.percent(row.train_accuracy, digits),
            f"{row.validation_loss:.4f}",
            fmt.percent(row.validation_accuracy, digits),
            fmt.NOTHING if macro_f1 is None else fmt.percent(macro_f1, digits),
            f"{row.learning_rate:.2g}",
            fmt.seconds(row.train_seconds),
        ]

    header = [
        "Epoch",
        "Train loss",
        "Train accuracy",
        "Validation loss",
        "Validation accuracy",
        "Validation macro-F1",
        "Last learning rate",
        "Train time",
    ]
    sizes = result.data.sizes
    tiles = f"{sizes['train']:,} training and {sizes['validation']:,} validation tiles"
    caption = f"Each epoch, on {tiles} of the {result.split_name}"
    if result.recipe.augment not in (None, "none"):
        caption += "; training figures are of augmented tiles"
    return Table(caption, header, [*map(cells, result.history)])


def cost_pairs(result: RunResult) -> list[tuple[str, str]]:
    """Return names and values of what the run cost, as far as they were measured."""
    cost, parameters = result.cost, result.parameters
    trained = f"{parameters.trainable:,} of {parameters.total:,} ({fmt.trained_percentage(parameters)})"
    pairs = [
        ("Training", f"{fmt.seconds(cost.train_seconds)}, {fmt.seconds(cost.seconds_per_epoch)} an epoch"),
        ("Epochs", f"{len(result.history)}"),
        ("Training speed", f"{fmt.three_digits(cost.images_per_second)} tiles per second"),
        ("Evaluation", fmt.seconds(cost.evaluation_seconds)),
        ("CPU time", fmt.seconds(cost.cpu_seconds)),
        ("Peak memory", fmt.size(cost.peak_rss_bytes)),
        ("Saved model", fmt.size(cost.artefact_bytes)),
        ("Trained parameters", trained),
    ]
    if cost.cache_seconds:
        pairs.append(("Cached activations", fmt.seconds(cost.cache_seconds)))
    if cost.energy_joules is not None:
        pairs.append(("Energy", f"{cost.energy_joules / 3600:.2f} Wh ({cost.energy_source})"))
    if cost.peak_cuda_bytes is not None:
        pairs.append(("Peak GPU memory", fmt.size(cost.peak_cuda_bytes)))
    if cost.resumed:
        pairs.append(("Resumed", f"{cost.resumed}{fmt.TIMES}: times are less exact"))
    return pairs


def data_pairs(result: RunResult) -> list[tuple[str, str]]:
    """Return names and values that describe the tiles and their split."""
    data = result.data
    size = f" {fmt.TIMES} ".join(map(str, data.tile_size or ()))
    return [
        ("Source", data.source),
        ("Split", result.split_name),
        ("Tiles", ", ".join(f"{count:,} {split}" for split, count in data.sizes.items())),
        ("Classes", f"{len(data.classes)}: {', '.join(data.classes)}"),
        *([("Tile size", f"{size} pixels")] if size else []),
        *([("Skipped images", f"{data.skipped:,}")] if data.skipped else []),
        *([("Fingerprint", data.fingerprint)] if data.fingerprint else []),
    ]


def public_recipe(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of a recipe as plain values, paths cut to their names."""
    values = recipe.model_dump(mode="json", exclude_unset=True)
    local = {name: values[name] for name in PATH_FIELDS if isinstance(values.get(name), str)}
    return values | {name: _names_only(text) for name, text in local.items() if is_local(text)}


def _names_only(text: str) -> str:
    """Cut the paths of a setting, such as train=a/b.txt,test=a/c.txt, to their names."""
    parts = [part.rpartition("=") for part in text.split(",")] if "=" in text else [("", "", text)]
    return ",".join(f"{key}{equals}{Path(path).name}" for key, equals, path in parts)
