"""Pages of the app: one tile, many tiles, map, model comparison, model card."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError, one_line, printable
from orbitune.inference.output_formats import cell
from orbitune.serving.error_handling import as_gradio_errors
from orbitune.serving.images import overlay_attribution, write_example_tiles
from orbitune.serving.map_page import add_map_tab, has_map_dependencies
from orbitune.serving.service import PredictionService, ServedModel, TimedPrediction
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_FILES_AT_ONCE
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import read_file

if TYPE_CHECKING:
    from orbitune.serving.security.restricted_blocks import RestrictedBlocks

_MARKUP = re.compile(r"[\\`*\[\]<>#!|&~^$]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")
_MAX_ROWS = 200  # of the table on the batch page; the CSV file has all rows
_HEADER = ["file", "label", "probability", "sure", "problem"]


def build_pages(service: PredictionService, storage: Storage, *, root_path: str = "") -> "RestrictedBlocks":
    """Return the Gradio blocks with all tabs.

    Args:
        service: the models.
        storage: where uploads and results are kept.
        root_path: path under which a proxy serves the app.
    """
    import gradio as gr

    from orbitune.serving.security.restricted_blocks import RestrictedBlocks

    names = list(service.models)
    with RestrictedBlocks(title="Orbitune", analytics_enabled=False) as pages:
        gr.Markdown("# Orbitune\nClassify satellite image tiles.")
        model = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, interactive=True)
        with gr.Tab("One tile"):
            _add_tile_tab(service, model, storage=storage)
        with gr.Tab("Batch"):
            _add_batch_tab(service, model, storage=storage)
        if has_map_dependencies():
            with gr.Tab("Map"):
                add_map_tab(service, model, root_path=root_path, storage=storage)
        if len(names) > 1:
            with gr.Tab("Compare"):
                _add_compare_tab(service, model)
        with gr.Tab("Model card"):
            card = gr.Markdown(service.get_model(None).card)
            model.change(lambda name: service.get_model(name).card, model, card, api_visibility="private")
    pages.use_storage(storage)
    return pages


def _add_tile_tab(service: PredictionService, model: Any, *, storage: Storage) -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(min_width=280):
            image = _image_input()
        with gr.Column(min_width=280):
            verdict = gr.Markdown(elem_id="verdict")
            probabilities = gr.Label(num_top_classes=3, label="Calibrated probability", show_label=True)
            attribution = gr.Image(label="Attribution", interactive=False, buttons=[], height=256)
    if examples := write_example_tiles(service.get_model(None).bundle, storage.examples):
        gr.Examples([[str(file)] for file in examples], [image], label="Examples from validation")

    def show(path: str | None, name: str | None) -> tuple[Any, ...]:
        return _predict_tile(service, path, name=name)

    inputs, outputs = [image, model], [verdict, probabilities, attribution]
    image.change(show, inputs, outputs, api_name="predict")
    model.change(show, inputs, outputs, api_visibility="private")


def _image_input() -> Any:
    import gradio as gr

    # `filepath` passes the file on as sent: Gradio would decode it without limits and reduce 16 bits to 8.
    return gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="Tile",
        height=256,
        buttons=[],
    )


def _predict_tile(service: PredictionService, path: str | None, *, name: str | None) -> tuple[Any, ...]:
    """Return verdict, probabilities and attribution overlay of an uploaded tile."""
    if path is None:
        return "", None, None
    with as_gradio_errors():
        data, model = _read_upload(path), service.get_model(name)
        answer = _predict_or_raise(model, data)
        best = answer.prediction.labels[0][0]
        explained, verdict = model.compute_attribution(data, best), _describe(answer)
        if explained is None:
            verdict += "\n\nThis model's backbone has no attribution map."
        overlay = overlay_attribution(*explained) if explained else None
        return verdict, dict(answer.prediction.labels), overlay


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
    """Return the label, its probability and the latency as Markdown."""
    label, probability = answer.prediction.labels[0]
    latency = f"{1000 * answer.seconds:.0f} ms"
    if answer.prediction.sure is False:
        nearest = f"nearest class: {escape_markdown(label)}"
        return f"**Not sure.** This tile differs from all training tiles; {nearest}. ({latency})"
    return f"**{escape_markdown(label)}**, {probability:.1%}. ({latency})"


def _add_batch_tab(service: PredictionService, model: Any, *, storage: Storage) -> None:
    import gradio as gr

    label = f"Images (at most {MAX_FILES_AT_ONCE:,}), or a zip of images"
    files = gr.File(file_count="multiple", label=label)
    start = gr.Button("Classify", variant="primary")
    summary = gr.Markdown()
    table = gr.Dataframe(headers=_HEADER, interactive=False, wrap=True)
    download = gr.DownloadButton("Download the table (CSV)", visible=False)

    def classify(paths: list[str] | None, name: str | None) -> Iterator[Any]:
        with as_gradio_errors():
            yield from _classify_files(
                service, [Path(path) for path in paths or []], storage=storage, name=name
            )

    start.click(classify, [files, model], [summary, table, download], api_name="predict_many")


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
            label, probability = found.labels[0] if found.labels else ("", 0.0)
            source, error = cell(printable(str(found.input))), cell(printable(found.error or ""))
            row = [source, label, round(probability, 4), found.sure, error]
            writer.writerow(row)
            counts["images"] += 1
            counts["unsure"] += found.sure is False
            counts["errors"] += found.error is not None
            if len(rows) < _MAX_ROWS:
                rows.append(row)
            if counts["images"] % 256 == 0:
                yield _summarise(counts), rows, gr.skip()
    yield _summarise(counts), rows, gr.DownloadButton(value=str(output), visible=True)


def escape_markdown(text: str) -> str:
    """Return text as one line, with Markdown and HTML escaped."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", one_line(text, limit=10_000))


def _summarise(counts: dict[str, int]) -> str:
    more = f" The table shows the first {_MAX_ROWS}." if counts["images"] > _MAX_ROWS else ""
    return (
        f"{counts['images']:,} images: {counts['unsure']:,} not sure, {counts['errors']:,} could not be "
        f"read.{more}"
    )


def _add_compare_tab(service: PredictionService, model: Any) -> None:
    import gradio as gr

    gr.Markdown("Classify one tile with every model that has the same classes.")
    image = _image_input()
    header = ["model", "label", "probability", "time, ms", "on disk, MB", "test accuracy"]
    table = gr.Dataframe(headers=header, interactive=False, wrap=True)

    def compare(path: str | None, name: str | None) -> list[list[Any]]:
        if path is None:
            return []
        with as_gradio_errors():
            data = _read_upload(path)
            models = service.models_with_same_classes(name)
            return [_comparison_row(other, each, data=data) for other, each in models.items()]

    image.change(compare, [image, model], table, api_name="compare")


def _comparison_row(name: str, model: ServedModel, *, data: bytes) -> list[Any]:
    answer, scores = _predict_or_raise(model, data), model.bundle.metadata.scores
    label, probability = answer.prediction.labels[0]
    size = model.bundle.bytes
    accuracy = f"{scores['test'].accuracy:.2%}" if "test" in scores else ""
    latency = f"{1000 * answer.seconds:.0f}"
    return [name, label, f"{probability:.1%}", latency, f"{size / 1e6:.2f}", accuracy]
