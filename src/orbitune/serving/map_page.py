"""The map page: upload a scene, get the map over it, its areas, and the files."""

import re
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from orbitune.data.georeference import RESOLUTION
from orbitune.errors import OrbituneError
from orbitune.extras import missing_modules
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import add_reference
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.grid import NOT_SURE, valid_strides
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.table import OUTPUTS
from orbitune.mapping.scene.radiometry import MATCH
from orbitune.progress import OnProgress
from orbitune.serving.error_handling import as_gradio_errors, hide_folders
from orbitune.serving.map_viewer import write_view
from orbitune.serving.point_uploads import copy_points
from orbitune.serving.served_model import ServedModel
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_SCENE_SIDE, SCENE_DRIVER, check_scene
from orbitune.sources.band_names import parse_bands

_MAX_STRIDES = 5  # offered; finer ones cost much and show little more
_CAMEL = re.compile("(?<=[a-z])(?=[A-Z])")  # where a name such as SeaLake may wrap
_PAGE_LABELS = {  # command-line options in messages -> labels of the page
    "--bands": "Bands",
    "--scale": "Scale",
    "--stride": "The stride",
    "use --mode tiles": "choose a larger stride",
    ", or use --no-not-sure": "",
    " Name one with --field.": "",
}
CSS = """
#viewer iframe { display: block; width: 100%; height: min(560px, 75vh);
  border: 1px solid var(--border-color-primary); border-radius: 6px; }
#viewer a { font-size: 0.85rem; }
#areas { overflow-x: auto; }
#areas table { width: 100%; margin: 0; border: 0; border-collapse: collapse; font-size: 0.9rem; }
#areas tr { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#areas thead th { overflow-wrap: normal; word-break: normal; }
#areas th, #areas td { border: 0; padding: 0.25rem 0.35rem; text-align: right; font-weight: normal; }
#areas th:first-child { min-width: 8.5em; text-align: left; overflow-wrap: break-word; }
#areas tbody th { position: relative; padding-left: 1.8em; }
#areas td { white-space: nowrap; font-variant-numeric: tabular-nums; }
#areas small { display: block; color: var(--body-text-color-subdued); }
#areas .absent { opacity: 0.45; }
#areas i { position: absolute; left: 0.35em; top: calc(50% - 0.45em); width: 0.9em; height: 0.9em;
  border: 1px solid var(--body-text-color-subdued); border-radius: 2px; }
"""


def has_map_dependencies() -> bool:
    """Return whether the packages of the extra `geo` are installed."""
    return not missing_modules("geo")


@dataclass(frozen=True)
class MapResult:
    """A finished map.

    Attributes:
        report: see `MapReport`.
        log: lines that say how it was made.
        archive: a zip of all files, in a folder with what the viewer shows, see `map_viewer.write_view`.
    """

    report: MapReport
    log: tuple[str, ...]
    archive: Path

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.report.metadata.classes

    def viewer(self, root_path: str) -> str:
        """Return the viewer of the map as HTML, a frame and a link to it alone."""
        address = escape(f"{root_path}/map/{self.archive.parent.name}/")
        return (
            f'<iframe src="{address}" title="Map" loading="lazy"></iframe>'
            f'<a href="{address}" target="_blank" rel="noopener">Open the map in a tab of its own</a>'
        )

    def area_table(self) -> str:
        """Return the area of each class with its colour, as HTML.

        Absent classes are faint.
        """
        header, rows = self.report.table()
        codes = [*range(1, len(self.classes) + 1), NOT_SURE]
        table = class_colours(self.classes)
        body = [
            f"<tr{'' if area.hectares else ' class=absent'}>"
            f'<th scope="row"><i style="background:rgb{table[code]}"></i>'
            f"{_CAMEL.sub('<wbr>', escape(name))}</th>"
            + "".join(f"<td>{_two_lines(text)}</td>" for text in (f"{hectares} ({percentage})", *estimates))
            + "</tr>"
            for code, area, (name, hectares, percentage, *estimates) in zip(
                codes, self.report.areas, rows, strict=True
            )
        ]
        names = ("class", "hectares (%)", *header[3:])
        head = "".join(f'<th scope="col">{_two_lines(name)}</th>' for name in names)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"

    def notes(self) -> str:
        """Return warnings, log and agreement of the dense mode as Markdown."""
        lines = [f"- **Warning:** {_use_page_labels(warning)}" for warning in self.report.warnings]
        lines += [f"- {line}" for line in (*self.log, *self.report.remarks())]
        agreement = self.report.agreement
        if agreement and agreement.fraction is not None:
            same, cells = agreement.fraction, agreement.cells
            lines.append(f"- same label as tile by tile at {same:.1%} of {cells:,} cells")
        return "\n".join(lines)


def map_upload(
    model: ServedModel,
    scene: Path,
    *,
    options: MapOptions,
    points: Path | None = None,
    storage: Storage,
    on_progress: OnProgress,
) -> MapResult:
    """Map an uploaded scene; files and viewer remain in the storage.

    Reference points that do not fit the finished map are a warning, so that the map is not lost.

    Args:
        model: the model to map with.
        scene: the uploaded GeoTIFF.
        options: bands, stride and scaling.
        points: uploaded reference points to estimate areas and accuracies from; None for none.
        storage: where these files are written.
        on_progress: called with the number of finished parts and of all.

    Raises:
        OrbituneError: the scene cannot be mapped; the message names no folder of the server.
    """
    assert model.bundle  # the page is left out without one
    model.bundle.require_single_label("Maps in the app")  # its viewer draws one class a pixel
    log: list[str] = []
    options = replace(options, driver=SCENE_DRIVER)
    uploads = [scene, *([points] if points else [])]
    with storage.in_use(*uploads), tempfile.TemporaryDirectory(dir=storage.work) as name:
        folder = Path(name)
        files = {name: each for name, each in OUTPUTS.items() if model.bundle.task.name in each.tasks}
        outputs = {name: folder / output.filename for name, output in files.items()}
        try:
            check_scene(scene)
            reference = points and _read_points(points, folder, classes=model.bundle.classes)
            report = model.map_scene(scene, outputs, options=options, log=log.append, on_progress=on_progress)
            if reference:
                report = _estimate_from(reference, outputs["map"], report=report)
            archive = storage.new_result_path("landcover.zip")
            write_view(archive.parent, scene, outputs=outputs, report=report, driver=SCENE_DRIVER)
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in sorted(folder.iterdir()):
                    packed.write(file, file.name)
        except OrbituneError as error:
            raise OrbituneError(_use_page_labels(hide_folders(str(error)))) from None
    return MapResult(report, tuple(log), archive)


def _read_points(path: Path, folder: Path, *, classes: Collection[str]) -> ReferencePoints:
    """Return the reference points of an uploaded file, read from a copy in a folder.

    Raises:
        OrbituneError: they cannot be used.
    """
    copy = folder / path.name
    try:
        copy_points(path, copy)
        points = ReferencePoints.read(copy)
    finally:
        copy.unlink(missing_ok=True)  # what lies in the folder is downloaded
    points.check_classes(classes)
    return points


def _estimate_from(points: ReferencePoints, map_file: Path, *, report: MapReport) -> MapReport:
    """Return a map's report with estimates from reference points, or a warning."""
    try:  # `map_scene(reference=...)` would raise, and the finished map would be lost
        return add_reference(report, ClassMap.open(map_file), points=points)
    except OrbituneError as error:
        return report.model_copy(update={"warnings": (*report.warnings, hide_folders(str(error)))})


def _use_page_labels(message: str) -> str:
    """Replace command-line options in a message by the labels of the page."""
    for option, label in _PAGE_LABELS.items():
        message = message.replace(option, label)
    return message


def _two_lines(value: str) -> str:
    """Return HTML with the part in brackets on a second line."""
    return value.replace(" (", "<small>").replace(")", "</small>")


def add_map_tab(service: PredictionService, model: Any, *, storage: Storage, root_path: str = "") -> None:
    """Add the components of the map page and connect them.

    Args:
        service: the models.
        model: the dropdown with the model's name.
        storage: where uploads and results are kept.
        root_path: path under which a proxy serves the app.
    """
    import gradio as gr

    inputs, points, start = _add_inputs(service.get_model(None))
    notes = gr.Markdown(min_height=72)
    result, viewer, table, download = _add_outputs()

    def show(
        path: str | None,
        bands: str | None,
        scale: str | None,
        stride: int | None,
        name: str | None,
        points: str | None = None,
        progress: Any = gr.Progress(),  # noqa: B008, which is how Gradio passes it
    ) -> tuple[Any, ...]:
        with as_gradio_errors():
            options = parse_options(bands, scale, stride=stride)
            if path is None:
                raise OrbituneError("Choose a GeoTIFF first.")

            done = map_upload(
                service.get_model(name),
                Path(path),
                options=options,
                points=Path(points) if points else None,
                storage=storage,
                on_progress=_progress_bar(progress),
            )
        return gr.Column(visible=True), done.viewer(root_path), done.notes(), done.area_table(), done.archive

    start.click(
        show,
        [*inputs, model, points],
        [result, viewer, notes, table, download],
        api_name="map",
        show_progress_on=notes,
        concurrency_limit=1,
    )
    _, bands, _, stride = inputs
    model.change(
        lambda name: _inputs_of_model(service, name), model, [bands, stride], api_visibility="private"
    )


def _progress_bar(progress: Any) -> OnProgress:
    """Return what shows the finished parts of a map in Gradio's progress bar."""
    return lambda done, parts: progress((done, parts), desc="Mapping", unit="parts")


def _inputs_of_model(service: PredictionService, name: str | None) -> tuple[Any, Any]:
    """Return the inputs that depend on the model: bands and stride."""
    chosen = service.get_model(name)
    return _bands_input(chosen), _stride_input(chosen)


def _add_outputs() -> tuple[Any, ...]:
    """Add the row of results.

    Return it with viewer, area table and download button.
    """
    import gradio as gr

    with gr.Column(visible=False) as result:
        # Not gr.HTML, which evaluates its content as JavaScript: the pages forbid that.
        viewer = gr.Markdown(elem_id="viewer", sanitize_html=False)
        table = gr.Markdown(elem_id="areas", sanitize_html=False)
        download = gr.DownloadButton("Download the files (zip)")
    return result, viewer, table, download


def _add_inputs(model: ServedModel) -> tuple[list[Any], Any, Any]:
    """Add the inputs of the page; return them, the reference points and the button."""
    import gradio as gr

    gr.Markdown(
        f"A georeferenced GeoTIFF of at most {MAX_SCENE_SIDE} x {MAX_SCENE_SIDE} pixels at {RESOLUTION:g} m."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            file = gr.File(label="Scene", file_types=[".tif", ".tiff"], height=140)
            with gr.Accordion("Reference points (optional)", open=False):
                points = gr.File(label="GeoPackage", file_types=[".gpkg"], height=140)
        with gr.Column(min_width=280):
            with gr.Row():
                bands = _bands_input(model)
                scale = gr.Textbox(
                    "", label="Scale", info="match, none, LOW:HIGH", placeholder=MATCH, min_width=120
                )
                stride = _stride_input(model)
            start = gr.Button("Map", variant="primary")
    return [file, bands, scale, stride], points, start


def parse_options(bands: str | None, scale: str | None, *, stride: int | None) -> MapOptions:
    """Return the options of a map from the inputs of the page.

    Raises:
        OrbituneError: one cannot be read; the message has the labels of the page.
    """
    try:
        whole = None if stride is None else int(stride)
        chosen = parse_bands(bands) if bands and bands.strip() else None
        return MapOptions(bands=chosen, stride=whole, scale=(scale or "").strip() or MATCH)
    except OrbituneError as error:
        raise OrbituneError(_use_page_labels(str(error))) from None


def _bands_input(model: ServedModel) -> Any:
    import gradio as gr

    read = ", ".join(model.engine.spec.bands)
    return gr.Textbox("", label="Bands", info=read, placeholder="from tags", min_width=120)


def _stride_input(model: ServedModel) -> Any:
    import gradio as gr

    assert model.bundle
    tile = model.bundle.tile_size[0]
    return gr.Dropdown(
        valid_strides(tile)[:_MAX_STRIDES],
        value=model.bundle.metadata.data.window or tile,  # as `orbitune map`
        label="Stride",
        info="pixels per label",
        min_width=120,
    )
