"""The pages of the app: one tile, many tiles, a map, models compared, and the model card."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError, one_line, printable
from orbitune.inference.output_formats import cell
from orbitune.serving.error_handling import told
from orbitune.serving.images import example_tiles, overlay
from orbitune.serving.map_page import can_map, map_tab
from orbitune.serving.service import Answer, Model, PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_LOOSE
from orbitune.sources.decode import BadImageError
from orbitune.sources.image_folder import read_file

if TYPE_CHECKING:
    from orbitune.serving.security.restricted_blocks import ClosedBlocks

_MARKED = re.compile(r"[\\`*\[\]<>#!|&~^$]|:(?=//)|(?<![^\W_])_|_(?![^\W_])")
_ROWS = 200  # of the batch tab's table on the page; the file has them all


def make_pages(desk: PredictionService, storage: Storage) -> "ClosedBlocks":
    """Return all tabs; files that they write go to the storage."""
    import gradio as gr

    from orbitune.serving.security.restricted_blocks import ClosedBlocks

    names = list(desk.models)
    with ClosedBlocks(title="Orbitune", analytics_enabled=False) as pages:
        gr.Markdown("# Orbitune\nWhat does a satellite tile show?")
        task = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, interactive=True)
        with gr.Tab("One tile"):
            _tile_tab(desk, task, storage)
        with gr.Tab("Many"):
            _table_tab(desk, task, storage)
        if can_map():
            with gr.Tab("Map"):
                map_tab(desk, task, storage)
        if len(names) > 1:
            with gr.Tab("Compare"):
                _compare_tab(desk, task)
        with gr.Tab("About"):
            card = gr.Markdown(desk.model(None).card)
            task.change(lambda name: desk.model(name).card, task, card, api_visibility="private")
    pages.take_files_from(storage)
    return pages


def _tile_tab(desk: PredictionService, task: Any, storage: Storage) -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(min_width=280):
            image = _image_input()
        with gr.Column(min_width=280):
            verdict = gr.Markdown(elem_id="verdict")
            shares = gr.Label(num_top_classes=3, label="Probability, calibrated", show_label=True)
            looked = gr.Image(label="What speaks for the first", interactive=False, buttons=[], height=256)
    if examples := example_tiles(desk.model(None).bundle, storage.examples):
        gr.Examples([[str(file)] for file in examples], [image], label="Examples from validation")

    def show(path: str | None, name: str | None) -> tuple[Any, ...]:
        return _show_answer(desk, path, name)

    asked, shown = [image, task], [verdict, shares, looked]
    image.change(show, asked, shown, api_name="predict")
    task.change(show, asked, shown, api_visibility="private")


def _image_input() -> Any:
    import gradio as gr

    # The file as it was sent: Gradio would decode it without limits, and turn 16 bits into 8.
    return gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="A tile",
        height=256,
        buttons=[],
    )


def _show_answer(desk: PredictionService, path: str | None, name: str | None) -> tuple[Any, ...]:
    if path is None:
        return "", None, None
    with told():
        data, model = _read(path), desk.model(name)
        answer = model.answer(data)
        if answer.prediction.error:
            raise OrbituneError(f"This cannot be classified: the image {answer.prediction.error}.")
        best = answer.prediction.labels[0][0]
        return _words(answer), dict(answer.prediction.labels), overlay(*model.where(data, best))


def _read(path: str) -> bytes:
    try:
        return read_file(Path(path))
    except BadImageError as error:
        raise OrbituneError(f"The image {error}.") from None


def _words(answer: Answer) -> str:
    label, share = answer.prediction.labels[0]
    took = f"{1000 * answer.seconds:.0f} ms"
    if answer.prediction.sure is False:
        nearest = f"the nearest class is {in_markdown(label)}"
        return f"**Not sure.** This is not like the training tiles; {nearest}. ({took})"
    return f"**{in_markdown(label)}**, {share:.1%}. ({took})"


def _table_tab(desk: PredictionService, task: Any, storage: Storage) -> None:
    import gradio as gr

    files = gr.File(file_count="multiple", label=f"Images (at most {MAX_LOOSE:,}), or a zip of images")
    start = gr.Button("Classify", variant="primary")
    summary = gr.Markdown()
    table = gr.Dataframe(headers=_HEADER, interactive=False, wrap=True)
    download = gr.DownloadButton("Download the table (CSV)", visible=False)

    def classify(paths: list[str] | None, name: str | None) -> Iterator[Any]:
        with told():
            yield from _classify_files(desk, name, [Path(path) for path in paths or []], storage)

    start.click(classify, [files, task], [summary, table, download], api_name="predict_many")


_HEADER = ["file", "label", "probability", "sure", "problem"]


def _classify_files(
    desk: PredictionService, name: str | None, paths: list[Path], storage: Storage
) -> Iterator[Any]:
    """Summary, the first rows and the file with all of them; a summary alone while it works."""
    import gradio as gr

    shown: list[list[Any]] = []
    counts = {"images": 0, "unsure": 0, "problems": 0}
    made = storage.new_result("classes.csv")
    with storage.in_use(made, *paths), made.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for found in desk.table(name, paths):
            label, share = found.labels[0] if found.labels else ("", 0.0)
            row = [
                cell(printable(str(found.input))),
                label,
                round(share, 4),
                found.sure,
                cell(printable(found.error or "")),
            ]
            writer.writerow(row)
            counts["images"] += 1
            counts["unsure"] += found.sure is False
            counts["problems"] += found.error is not None
            if len(shown) < _ROWS:
                shown.append(row)
            if counts["images"] % 256 == 0:
                yield _summary(counts), shown, gr.skip()
    yield _summary(counts), shown, gr.DownloadButton(value=str(made), visible=True)


def in_markdown(text: str) -> str:
    """Return text as one line, with Markdown and HTML escaped."""
    return _MARKED.sub(lambda found: f"&#{ord(found[0])};", one_line(text, limit=10_000))


def _summary(counts: dict[str, int]) -> str:
    more = f" The table shows the first {_ROWS}." if counts["images"] > _ROWS else ""
    return (
        f"{counts['images']:,} images: {counts['unsure']:,} not sure, {counts['problems']:,} could not be "
        f"read.{more}"
    )


def _compare_tab(desk: PredictionService, task: Any) -> None:
    import gradio as gr

    gr.Markdown("The same tile by every model that has these classes.")
    image = _image_input()
    header = ["model", "label", "probability", "time, ms", "on disk, MB", "test accuracy"]
    table = gr.Dataframe(headers=header, interactive=False, wrap=True)

    def compare(path: str | None, name: str | None) -> list[list[Any]]:
        if path is None:
            return []
        with told():
            data = _read(path)
            return [_compared(other, model, data) for other, model in desk.alike(name).items()]

    image.change(compare, [image, task], table, api_name="compare")


def _compared(name: str, model: Model, data: bytes) -> list[Any]:
    answer, scores = model.answer(data), model.bundle.metadata.scores
    if answer.prediction.error:
        raise OrbituneError(f"This cannot be classified: the image {answer.prediction.error}.")
    label, share = answer.prediction.labels[0]
    size = sum(file.stat().st_size for file in model.bundle.folder.iterdir() if file.is_file())
    accuracy = f"{scores['test'].accuracy:.2%}" if "test" in scores else ""
    return [name, label, f"{share:.1%}", f"{1000 * answer.seconds:.0f}", f"{size / 1e6:.2f}", accuracy]
