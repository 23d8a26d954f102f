"""The app's tab of maps: a scene goes in; the map over it, its areas and its files come out."""

import re
import tempfile
import zipfile
from dataclasses import dataclass, replace
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import OrbituneError
from orbitune.mapping.grid import NOT_SURE, valid_strides
from orbitune.mapping.legend import class_colours
from orbitune.mapping.map_report import MapReport
from orbitune.mapping.options import MapOptions, parse_bands
from orbitune.mapping.outputs import OUTPUTS
from orbitune.mapping.preview import colourise, read_overviews
from orbitune.mapping.reader import RESOLUTION
from orbitune.serving.error_handling import told
from orbitune.serving.images import blend, brighten
from orbitune.serving.service import Model, PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import DRIVER, MAX_SCENE, check_scene

_STRIDES = 5  # that are offered: what is finer costs much and shows little more
_SHOWN = 768  # pixels that the longer side of a picture has at least
_HEADER = ("class", "hectares (percentage)", "estimate (95 % interval)")
_CAMEL = re.compile("(?<=[a-z])(?=[A-Z])")  # where a name such as SeaLake may be broken
_KEPT = 3600  # seconds that a session's pictures stay in memory
_FIELDS = {  # what messages call by its name on the command line
    "choose with --bands": "choose other Bands",
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
#areas th:first-child { text-align: left; overflow-wrap: anywhere; }
#areas tbody th { position: relative; padding-left: 1.8em; }
#areas td { white-space: nowrap; font-variant-numeric: tabular-nums; }
#areas small { display: block; color: var(--body-text-color-subdued); }
#areas .absent { opacity: 0.45; }
#areas i { position: absolute; left: 0.35em; top: calc(50% - 0.45em); width: 0.9em; height: 0.9em;
  border: 1px solid var(--body-text-color-subdued); border-radius: 2px; }
"""


def can_map() -> bool:
    """Whether what maps need is installed."""
    return all(find_spec(name) for name in ("rasterio", "pyogrio", "pyproj", "shapely"))


@dataclass(frozen=True)
class Shown:
    """What a session keeps of its map, to lay one over the other again.

    Attributes:
        scene: uint8 (H, W, 3).
        cover: uint8 (H, W, 4).
    """

    scene: np.ndarray
    cover: np.ndarray

    def at(self, percent: float) -> np.ndarray:
        """The map over the scene, uint8 (H, W, 3)."""
        return blend(self.scene, self.cover, min(max(percent, 0), 100) / 100)


@dataclass(frozen=True)
class Mapped:
    """A finished map.

    Attributes:
        report: see `MapReport`.
        lines: how it was made.
        files: a zip of all.
        scene, codes: downsampled, see `read_overviews`.
    """

    report: MapReport
    lines: tuple[str, ...]
    files: Path
    scene: np.ndarray
    codes: np.ndarray

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self.report.metadata.classes

    def shown(self) -> Shown:
        """Scene and map as pictures; of a small scene every pixel is a square."""
        times = max(1, _SHOWN // max(self.codes.shape))
        pair = brighten(self.scene), colourise(self.codes, self.classes)
        return Shown(*(image.repeat(times, 0).repeat(times, 1) for image in pair))

    def table(self) -> str:
        """The areas, with the colour of each class, HTML; what is not on the map is faint."""
        _, rows = self.report.table()
        codes = [*range(1, len(self.classes) + 1), NOT_SURE]
        table = class_colours(self.classes)
        lines = [
            f"<tr{'' if area.hectares else ' class=absent'}>"
            f'<th scope="row"><i style="background:rgb{table[code]}"></i>'
            f"{_CAMEL.sub('<wbr>', escape(name))}</th>"
            f"<td>{_two_lines(f'{hectares} ({share})')}</td><td>{_two_lines(estimate)}</td></tr>"
            for code, area, (name, hectares, share, estimate) in zip(
                codes, self.report.areas, rows, strict=True
            )
        ]
        head = "".join(f'<th scope="col">{_two_lines(name)}</th>' for name in _HEADER)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def words(self) -> str:
        """Warnings, how the map was made, and how far dense answers agree, Markdown."""
        lines = [f"- **Look at this:** {_in_words(warning)}" for warning in self.report.warnings]
        lines += [f"- {line}" for line in self.lines]
        agreement = self.report.agreement
        if agreement and agreement.fraction is not None:
            lines.append(
                f"- agrees with tile-wise labels at {agreement.fraction:.1%} of {agreement.cells:,} cells"
            )
        return "\n".join(lines)


def make(model: Model, scene: Path, request: MapOptions, storage: Storage) -> Mapped:
    """Map an upload. All files go into a zip among the results, and nothing else remains.

    Raises:
        OrbituneError: in words that name no place on the server.
    """
    lines: list[str] = []
    request = replace(request, driver=DRIVER)
    with storage.in_use(scene), tempfile.TemporaryDirectory(dir=storage.work) as name:
        folder = Path(name)
        try:
            check_scene(scene, request.bands)
            outputs = {name: folder / output.filename for name, output in OUTPUTS.items()}
            report = model.map(scene, outputs, request, lines.append)
            overviews = read_overviews(scene, outputs["map"], metadata=report.metadata, driver=DRIVER)
            files = storage.new_result("landcover.zip")
            with zipfile.ZipFile(files, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in sorted(folder.iterdir()):
                    packed.write(file, file.name)
        except OrbituneError as error:
            plain = str(error).replace(f"{scene.parent}/", "").replace(f"{folder}/", "")
            raise OrbituneError(_in_words(plain)) from None
    return Mapped(report, tuple(lines), files, *overviews)


def _in_words(message: str) -> str:
    for option, field in _FIELDS.items():
        message = message.replace(option, field)
    return message


def _two_lines(value: str) -> str:
    """What stands in brackets below the rest, and smaller."""
    return value.replace(" (", "<small>").replace(")", "</small>")


# The page


def map_tab(desk: PredictionService, task: Any, storage: Storage) -> None:
    """Its components and what they do."""
    import gradio as gr

    asked, start = _inputs(desk.model(None))
    stride = asked[-1]
    words = gr.Markdown(min_height=72)
    kept = gr.State(time_to_live=_KEPT)
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

    def show(
        path: str | None,
        bands: str | None,
        scale: str | None,
        stride: int | None,
        name: str | None,
        percent: float | None,
    ) -> tuple[Any, ...]:
        with told():
            request = _request(bands, scale, stride)
            if path is None:
                raise OrbituneError("Choose a GeoTIFF first.")
            done = make(desk.model(name), Path(path), request, storage)
        shown = done.shown()
        return shown, gr.Row(visible=True), shown.at(percent or 0), done.words(), done.table(), done.files

    start.click(
        show,
        [*asked, task, opacity],
        [kept, result, image, words, table, download],
        api_name="map",
        show_progress_on=words,
        concurrency_limit=1,
    )
    opacity.change(
        lambda kept, percent: kept and kept.at(percent or 0),
        [kept, opacity],
        image,
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    task.change(lambda name: _stride_input(desk.model(name)), task, stride, api_visibility="private")


def _inputs(model: Model) -> tuple[list[Any], Any]:
    """File, bands, scale and stride; and the button."""
    import gradio as gr

    gr.Markdown(
        f"A GeoTIFF of at most {MAX_SCENE} x {MAX_SCENE} pixels at {RESOLUTION:g} m, with a coordinate "
        "reference system."
    )
    with gr.Row():
        with gr.Column(min_width=280):
            file = gr.File(label="A scene", file_types=[".tif", ".tiff"], height=140)
        with gr.Column(min_width=280):
            with gr.Row():
                bands = gr.Textbox(
                    "", label="Bands", info="red, green, blue", placeholder="by its tags", min_width=120
                )
                scale = gr.Textbox(
                    "", label="Scale", info="LOW:HIGH", placeholder="by its type", min_width=120
                )
                stride = _stride_input(model)
            start = gr.Button("Map", variant="primary")
    return [file, bands, scale, stride], start


def _request(bands: str | None, scale: str | None, stride: int | None) -> MapOptions:
    try:
        whole = None if stride is None else int(stride)
        return MapOptions(bands=parse_bands(bands or ""), stride=whole, scale=(scale or "").strip() or None)
    except OrbituneError as error:
        raise OrbituneError(_in_words(str(error))) from None


def _stride_input(model: Model) -> Any:
    import gradio as gr

    offered = valid_strides(model.bundle.tile_size[0])[:_STRIDES]
    return gr.Dropdown(
        offered,
        value=offered[min(1, len(offered) - 1)],
        label="Stride",
        info="a label every N pixels",
        min_width=120,
    )
