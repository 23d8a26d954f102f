"""Functions of Gradio's API: one tile, many tiles, map, model comparison."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError, one_line, printable
from orbitune.extras import missing_modules
from orbitune.inference.output_formats import cell
from orbitune.inference.prediction import Prediction
from orbitune.serving.error_handling import as_gradio_errors, hide_folders
from orbitune.serving.images import overlay_attribution
from orbitune.serving.map_function import add_map_function
from orbitune.serving.served_model import NoAttributionError, ServedModel
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.timed_prediction import TimedPrediction
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import read_file
from orbitune.sources.labels.label_sets import SEPARATORS, join_labels

if TYPE_CHECKING:
    from orbitune.serving.security.restricted_blocks import RestrictedBlocks

_MARKUP = re.compile(r"[\\`*\[\]<>#!|&~^$]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")
_MAX_ROWS = 200  # of the table; the CSV file has all rows
_TOP_CLASSES, _BARS = 3, 20  # classes of a tile with their probabilities: with one label, and with several
_HEADER = ["file", "label", "probability", "sure", "problem"]


def build_functions(service: PredictionService, storage: Storage) -> "RestrictedBlocks":
    """Return Gradio blocks with the functions that `gradio_client` can call.

    Their components state the types of inputs and outputs; the app's own page shows none of them.

    Args:
        service: the models.
        storage: where uploads and results are kept.
    """
    import gradio as gr

    from orbitune.serving.security.restricted_blocks import RestrictedBlocks

    names = list(service.models)
    with RestrictedBlocks(title="Orbitune", analytics_enabled=False) as functions:
        model = gr.Dropdown(names, value=names[0], label="Model")
        _add_predict(service, model)
        _add_predict_many(service, model, storage=storage)
        if not missing_modules("geo") and all(each.bundle for each in service.models.values()):
            add_map_function(service, model, storage=storage)
        if len(names) > 1:
            _add_compare(service, model)
    functions.use_storage(storage)
    return functions


def _add_predict(service: PredictionService, model: Any) -> None:
    import gradio as gr

    inputs = [_image_input(), model]
    attribution = gr.Image(label="Attribution")
    outputs = [gr.Markdown(label="Verdict"), gr.Label(label="Calibrated probability"), attribution]

    def show(path: str | None, name: str | None) -> tuple[Any, ...]:
        return _predict_tile(service, path, name=name)

    gr.Button().click(show, inputs, outputs, api_name="predict")


def _image_input() -> Any:
    import gradio as gr

    # `filepath` passes the file on as sent: Gradio would decode it without limits and reduce 16 bits to 8.
    return gr.Image(type="filepath", image_mode=None, label="Tile")


def _predict_tile(service: PredictionService, path: str | None, *, name: str | None) -> tuple[Any, ...]:
    """Return verdict, probabilities and attribution overlay of an uploaded tile."""
    if path is None:
        return "", None, None
    with as_gradio_errors():
        data, model = _read_upload(path), service.get_model(name)
        answer = _predict_or_raise(model, data)
        best, several = answer.classes[0], answer.several_labels
        overlay, remark = _explain(model, data, best.label)
        verdict = "\n\n".join(filter(None, [_describe(answer), remark]))
        shown = answer.classes[: _BARS if several else _TOP_CLASSES]
        return verdict, {each.label: each.probability for each in shown}, overlay


def _explain(model: ServedModel, data: bytes, label: str) -> tuple[Any, str]:
    """Return a tile's attribution overlay, None where there is none, and a remark on it as Markdown."""
    try:
        explained = model.compute_attribution(data, label)
    except NoAttributionError as error:
        return None, escape_markdown(hide_folders(str(error)))
    remark = f"The attribution is that of {escape_markdown(label)}." if model.several_labels else ""
    return overlay_attribution(*explained), remark


def _predict_or_raise(model: ServedModel, data: bytes) -> TimedPrediction:
    answer = model.predict_image(data)
    if answer.prediction.error:
        raise OrbituneError(f"This cannot be classified: the image {answer.prediction.error}.")
    return answer


def _read_upload(path: str) -> bytes:
    try:
        return read_file(Path(path))
    except BadImageError as error:
        raise OrbituneError(f"The image {error}.") from None


def _describe(answer: TimedPrediction) -> str:
    """Return the label, or the labels, with probability and the latency as Markdown."""
    latency = f"{1000 * answer.seconds:.0f} ms"
    if answer.several_labels:
        return _describe_labels(answer, latency)
    label, probability = answer.prediction.labels[0]
    if answer.prediction.sure is False:
        nearest = f"nearest class: {escape_markdown(label)}"
        return f"**Not sure.** This tile differs from all training tiles; {nearest}. ({latency})"
    return f"**{escape_markdown(label)}**, {probability:.1%}. ({latency})"


def _describe_labels(answer: TimedPrediction, latency: str) -> str:
    """Return the labels that reach their thresholds as Markdown."""
    labels = [f"{escape_markdown(label)}, {value:.1%}" for label, value in answer.prediction.labels]
    if answer.prediction.sure is False:
        reached = "; ".join(labels) or "none"
        return (
            "**Not sure.** This tile differs from all training tiles; labels that reach their thresholds: "
            f"{reached}. ({latency})"
        )
    if not labels:
        return f"**No label.** No class reaches its threshold. ({latency})"
    return f"**{'; '.join(labels)}.** ({latency})"


def _add_predict_many(service: PredictionService, model: Any, *, storage: Storage) -> None:
    import gradio as gr

    files = gr.File(file_count="multiple", label="Images, or a zip of images")
    table = gr.Dataframe(headers=_HEADER)
    outputs = [gr.Markdown(label="Summary"), table, gr.DownloadButton("Table (CSV)")]

    def classify(paths: list[str] | None, name: str | None) -> Iterator[Any]:
        with as_gradio_errors():
            yield from _classify_files(
                service, [Path(path) for path in paths or []], storage=storage, name=name
            )

    gr.Button().click(classify, [files, model], outputs, api_name="predict_many")


def _classify_files(
    service: PredictionService, paths: list[Path], *, storage: Storage, name: str | None
) -> Iterator[Any]:
    """Yield summary, first rows and download button; the button only at the end."""
    import gradio as gr

    rows: list[list[Any]] = []
    counts = {"images": 0, "unsure": 0, "errors": 0}
    output = storage.new_result_path("classes.csv")
    with storage.in_use(output, *paths), output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for found in service.predict_files(name, paths):
            label, probability = _label_cells(found)
            source, error = cell(printable(str(found.input))), cell(printable(found.error or ""))
            row = [source, label, probability, found.sure, error]
            writer.writerow(row)
            counts["images"] += 1
            counts["unsure"] += found.sure is False
            counts["errors"] += found.error is not None
            if len(rows) < _MAX_ROWS:
                rows.append(row)
            if counts["images"] % 256 == 0:
                yield _summarise(counts), rows, gr.skip()
    yield _summarise(counts), rows, gr.DownloadButton(value=str(output), visible=True)


def _label_cells(found: Prediction) -> tuple[str, str | float]:
    """Return label and probability; of several labels, or none, all of them in one text each."""
    if found.error:
        return "", 0.0
    if len(found.labels) == 1:
        label, probability = found.labels[0]
        return str(cell(label)), round(probability, 4)
    probabilities = SEPARATORS[0].join(f"{probability:.4f}" for _, probability in found.labels)
    return str(cell(join_labels([label for label, _ in found.labels]))), probabilities


def escape_markdown(text: str) -> str:
    """Return text as one line, with Markdown and HTML escaped."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line(text, limit=10_000))


def _summarise(counts: dict[str, int]) -> str:
    more = f" The table shows the first {_MAX_ROWS}." if counts["images"] > _MAX_ROWS else ""
    return (
        f"{counts['images']:,} images: {counts['unsure']:,} not sure, {counts['errors']:,} could not be "
        f"read.{more}"
    )


def _add_compare(service: PredictionService, model: Any) -> None:
    import gradio as gr

    table = gr.Dataframe(headers=["model", "label", "probability", "time, ms", "on disk, MB", "test score"])

    def compare(path: str | None, name: str | None) -> list[list[Any]]:
        if path is None:
            return []
        with as_gradio_errors():
            data = _read_upload(path)
            models = service.models_with_same_classes(name)
            return [_comparison_row(other, each, data=data) for other, each in models.items()]

    gr.Button().click(compare, [_image_input(), model], table, api_name="compare")


def _comparison_row(name: str, model: ServedModel, *, data: bytes) -> list[Any]:
    answer = _predict_or_raise(model, data)
    labels = answer.prediction.labels[: None if answer.several_labels else 1]
    label = join_labels([label for label, _ in labels])
    probability = SEPARATORS[0].join(f"{each:.1%}" for _, each in labels)
    latency = f"{1000 * answer.seconds:.0f}"
    return [name, label, probability, latency, f"{model.engine.size / 1e6:.2f}", model.score or ""]
