"""The map page: upload a scene, get the map over it, its areas, and the files."""

import re
import tempfile
import zipfile
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.extras import missing_modules
from orbitune.mapping.grid import NOT_SURE, valid_strides
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.options import MapOptions
from orbitune.mapping.outputs.legend import class_colours
from orbitune.mapping.outputs.preview import colourise, read_overviews
from orbitune.mapping.outputs.table import OUTPUTS
from orbitune.mapping.scene.reader import RESOLUTION
from orbitune.serving.error_handling import as_gradio_errors
from orbitune.serving.images import alpha_blend, stretch_contrast
from orbitune.serving.service import PredictionService, ServedModel
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_SCENE_SIDE, SCENE_DRIVER, check_scene
from orbitune.sources.band_names import parse_bands

_MAX_STRIDES = 5  # offered; finer ones cost much and show little more
_MIN_SIDE = 768  # pixels of the longer side of the displayed map
_HEADER = ("class", "hectares (%)", "estimate (95 % interval)")
_CAMEL = re.compile("(?<=[a-z])(?=[A-Z])")  # where a name such as SeaLake may wrap
_SESSION_SECONDS = 3600  # for which the images of a session stay in memory
_PAGE_LABELS = {  # command-line options in messages -> labels of the page
    "--bands": "Bands",
    "--scale": "Scale",
    "--stride": "The stride",
    "use --mode tiles": "choose a larger stride",
    ", or use --no-not-sure": "",
}
CSS = """
#areas table { width: 100%; margin: 0; border: 0; border-collapse: collapse; font-size: 0.9rem; }
#areas tr { border: 0; border-bottom: 1px solid var(--border-color-primary); }
#areas th, #areas td { border: 0; padding: 0.25rem 0.35rem; text-align: right; font-weight: normal; }
#areas thead th { white-space: nowrap; }
#areas th:first-child { text-align: left; overflow-wrap: anywhere; }
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
class MapOverlay:
    """A scene and its map as images, kept for a session to change the opacity.

    Attributes:
        scene: uint8 (H, W, 3).
        cover: the colours of the classes, uint8 (H, W, 4).
    """

    scene: np.ndarray
    cover: np.ndarray

    def render(self, percent: float) -> np.ndarray:
        """Blend the map over the scene at an opacity of 0..100; uint8 (H, W, 3)."""
        return alpha_blend(self.scene, self.cover, opacity=min(max(percent, 0), 100) / 100)


@dataclass(frozen=True)
class MapResult:
    """A finished map.

    Attributes:
        report: see `MapReport`.
        log: lines that say how it was made.
        archive: a zip of all files.
        scene, codes: downsampled scene and class codes, see `read_overviews`.
    """

    report: MapReport
    log: tuple[str, ...]
    archive: Path
    scene: np.ndarray
    codes: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.report.metadata.classes

    def overlay(self) -> MapOverlay:
        """Return scene and map as images; small scenes are enlarged by whole pixels."""
        factor = max(1, _MIN_SIDE // max(self.codes.shape))
        pair = stretch_contrast(self.scene), colourise(self.codes, self.classes)
        return MapOverlay(*(image.repeat(factor, 0).repeat(factor, 1) for image in pair))

    def area_table(self) -> str:
        """Return the area of each class with its colour, as HTML.

        Absent classes are faint.
        """
        _, rows = self.report.table()
        codes = [*range(1, len(self.classes) + 1), NOT_SURE]
        table = class_colours(self.classes)
        body = [
            f"<tr{'' if area.hectares else ' class=absent'}>"
            f'<th scope="row"><i style="background:rgb{table[code]}"></i>'
            f"{_CAMEL.sub('<wbr>', escape(name))}</th>"
            f"<td>{_two_lines(f'{hectares} ({percentage})')}</td><td>{_two_lines(estimate)}</td></tr>"
            for code, area, (name, hectares, percentage, estimate) in zip(
                codes, self.report.areas, rows, strict=True
            )
        ]
        head = "".join(f'<th scope="col">{_two_lines(name)}</th>' for name in _HEADER)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"

    def notes(self) -> str:
        """Return warnings, log and agreement of the dense mode as Markdown."""
        lines = [f"- **Warning:** {_use_page_labels(warning)}" for warning in self.report.warnings]
        lines += [f"- {line}" for line in self.log]
        agreement = self.report.agreement
        if agreement and agreement.fraction is not None:
            same, cells = agreement.fraction, agreement.cells
            lines.append(f"- same label as tile by tile at {same:.1%} of {cells:,} cells")
        return "\n".join(lines)


def map_upload(model: ServedModel, scene: Path, *, options: MapOptions, storage: Storage) -> MapResult:
    """Map an uploaded scene; only a zip of the files remains in the storage.

    Args:
        model: the model to map with.
        scene: the uploaded GeoTIFF.
        options: bands, stride and scaling.
        storage: where the zip is written.

    Raises:
        OrbituneError: the scene cannot be mapped; the message names no folder of the server.
    """
    log: list[str] = []
    options = replace(options, driver=SCENE_DRIVER)
    with storage.in_use(scene), tempfile.TemporaryDirectory(dir=storage.work) as name:
        folder = Path(name)
        outputs = {name: folder / output.filename for name, output in OUTPUTS.items()}
        try:
            check_scene(scene, options.bands)
            report = model.map_scene(scene, outputs, options=options, log=log.append)
            overviews = read_overviews(scene, outputs["map"], metadata=report.metadata, driver=SCENE_DRIVER)
            archive = storage.new_result_path("landcover.zip")
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in sorted(folder.iterdir()):
                    packed.write(file, file.name)
        except OrbituneError as error:
            message = str(error).replace(f"{scene.parent}/", "").replace(f"{folder}/", "")
            raise OrbituneError(_use_page_labels(message)) from None
    return MapResult(report, tuple(log), archive, *overviews)


def _use_page_labels(message: str) -> str:
    """Replace command-line options in a message by the labels of the page."""
    for option, label in _PAGE_LABELS.items():
        message = message.replace(option, label)
    return message


def _two_lines(value: str) -> str:
    """Return HTML with the part in brackets on a second line."""
    return value.replace(" (", "<small>").replace(")", "</small>")


def add_map_tab(service: PredictionService, model: Any, *, storage: Storage) -> None:
    """Add the components of the map page and connect them.

    Args:
        service: the models.
        model: the dropdown with the model's name.
        storage: where uploads and results are kept.
    """
    import gradio as gr

    inputs, start = _add_inputs(service.get_model(None))
    notes = gr.Markdown(min_height=72)
    session = gr.State(time_to_live=_SESSION_SECONDS)
    result, image, opacity, table, download = _add_outputs()

    def show(
        path: str | None,
        bands: str | None,
        scale: str | None,
        stride: int | None,
        name: str | None,
        percent: float | None,
    ) -> tuple[Any, ...]:
        with as_gradio_errors():
            options = _parse_options(bands, scale, stride=stride)
            if path is None:
                raise OrbituneError("Choose a GeoTIFF first.")
            done = map_upload(service.get_model(name), Path(path), options=options, storage=storage)
        overlay = done.overlay()
        picture = overlay.render(percent or 0)
        return overlay, gr.Row(visible=True), picture, done.notes(), done.area_table(), done.archive

    start.click(
        show,
        [*inputs, model, opacity],
        [session, result, image, notes, table, download],
        api_name="map",
        show_progress_on=notes,
        concurrency_limit=1,
    )
    opacity.change(
        lambda overlay, percent: overlay and overlay.render(percent or 0),
        [session, opacity],
        image,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    stride = inputs[-1]
    model.change(lambda name: _stride_input(service.get_model(name)), model, stride, api_visibility="private")


def _add_outputs() -> tuple[Any, ...]:
    """Add the row of results.

    Return it with image, opacity, area table and download button.
    """
    import gradio as gr

    with gr.Row(visible=False) as result:
        with gr.Column(scale=3, min_width=280):
            image = gr.Image(
                label="Land cover", interactive=False, format="jpeg", buttons=["fullscreen"], elem_id="map"
            )
            opacity = gr.Slider(0, 100, 60, step=5, label="Opacity of the map, %", elem_id="opacity")
        with gr.Column(scale=2, min_width=280):
            # Not gr.HTML, which evaluates its content as JavaScript: the pages forbid that.
            table = gr.Markdown(elem_id="areas", sanitize_html=False)
            download = gr.DownloadButton("Download the files (zip)")
    return result, image, opacity, table, download


def _add_inputs(model: ServedModel) -> tuple[list[Any], Any]:
    """Add file, bands, scale and stride; return them and the button."""
    import gradio as gr

    gr.Markdown(
        f"A georeferenced GeoTIFF of at most {MAX_SCENE_SIDE} x {MAX_SCENE_SIDE} pixels at {RESOLUTION:g} m."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            file = gr.File(label="Scene", file_types=[".tif", ".tiff"], height=140)
        with gr.Column(min_width=280):
            with gr.Row():
                bands = gr.Textbox(
                    "", label="Bands", info="red, green, blue", placeholder="from tags", min_width=120
                )
                scale = gr.Textbox("", label="Scale", info="LOW:HIGH", placeholder="from type", min_width=120)
                stride = _stride_input(model)
            start = gr.Button("Map", variant="primary")
    return [file, bands, scale, stride], start


def _parse_options(bands: str | None, scale: str | None, *, stride: int | None) -> MapOptions:
    try:
        whole = None if stride is None else int(stride)
        chosen = parse_bands(bands) if bands and bands.strip() else None
        return MapOptions(bands=chosen, stride=whole, scale=(scale or "").strip() or None)
    except OrbituneError as error:
        raise OrbituneError(_use_page_labels(str(error))) from None


def _stride_input(model: ServedModel) -> Any:
    import gradio as gr

    offered = valid_strides(model.bundle.tile_size[0])[:_MAX_STRIDES]
    return gr.Dropdown(
        offered,
        value=offered[min(1, len(offered) - 1)],
        label="Stride",
        info="pixels per label",
        min_width=120,
    )
