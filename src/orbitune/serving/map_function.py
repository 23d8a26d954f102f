"""The map of an uploaded scene: the viewer, its areas, and the files."""

import re
import tempfile
import zipfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.mapping.areas.class_map import ClassMap
from orbitune.mapping.areas.estimation import add_reference
from orbitune.mapping.areas.reference_points import ReferencePoints
from orbitune.mapping.grid import NOT_SURE
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
from orbitune.serving.uploads import SCENE_DRIVER, check_scene
from orbitune.sources.band_names import parse_bands

_CAMEL = re.compile("(?<=[a-z])(?=[A-Z])")  # where a name such as SeaLake may wrap
_PAGE_LABELS = {  # command-line options in messages -> labels of the page
    "--bands": "Bands",
    "--scale": "Scale",
    "--stride": "The stride",
    "use --mode tiles": "choose a larger stride",
    ", or use --no-not-sure": "",
    " Name one with --field.": "",
}


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

    def viewer(self) -> str:
        """Return the viewer of the map as HTML, a frame and a link to it alone, below the app's address."""
        address = f"map/{self.archive.parent.name}/"
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
            f'<th scope="row">{_colour_sample(table[code])}'
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


def _colour_sample(colour: tuple[int, int, int]) -> str:
    """Return a square of a colour; a style would need an exception in the page's policy."""
    return f'<svg viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" fill="rgb{colour}"/></svg>'


def add_map_function(service: PredictionService, model: Any, *, storage: Storage) -> None:
    """Add the function that maps a scene.

    Args:
        service: the models.
        model: the dropdown with the model's name.
        storage: where uploads and results are kept.
    """
    import gradio as gr

    scene, points = gr.File(label="Scene"), gr.File(label="Reference points (GeoPackage)")
    bands, scale = gr.Textbox("", label="Bands"), gr.Textbox("", label="Scale")  # optional in calls
    strides = service.get_model(None).map_strides
    stride = gr.Number(next(iter(strides), None), precision=0, label="Stride")
    table = gr.Markdown(label="Areas (HTML)")
    outputs = [gr.Markdown(label="Viewer (HTML)"), gr.Markdown(label="Notes"), table]

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
            chosen = service.get_model(name)
            strides = chosen.map_strides
            if strides and options.stride not in (None, *strides):  # finer ones take the server's time
                raise OrbituneError(f"The stride must be one of {', '.join(map(str, sorted(strides)))}.")
            done = map_upload(
                chosen,
                Path(path),
                options=options,
                points=Path(points) if points else None,
                storage=storage,
                on_progress=lambda done, parts: progress((done, parts), desc="Mapping", unit="parts"),
            )
        return done.viewer(), done.notes(), done.area_table(), done.archive

    gr.Button().click(
        show,
        [scene, bands, scale, stride, model, points],
        [*outputs, gr.DownloadButton("Files (zip)")],
        api_name="map",
        concurrency_limit=1,
    )


def parse_options(bands: str | None, scale: str | None, *, stride: int | None) -> MapOptions:
    """Return the options of a map from the inputs of the page.

    Raises:
        OrbituneError: one cannot be read; the message has the labels of the page.
    """
    try:
        chosen = parse_bands(bands) if bands and bands.strip() else None
        return MapOptions(bands=chosen, stride=stride, scale=(scale or "").strip() or MATCH)
    except OrbituneError as error:
        raise OrbituneError(_use_page_labels(str(error))) from None
