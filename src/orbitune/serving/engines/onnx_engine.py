"""Engine `onnx`: an exported ONNX file, computed by ONNX Runtime.

The graph of a web page has an OOD detector. Others have none: `sure` and `distance` are None then.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from orbitune.errors import RunError, first_line, printable
from orbitune.evaluation.tasks.known import TASKS
from orbitune.evaluation.tasks.task import Decision
from orbitune.exporting.formats import FORMATS
from orbitune.exporting.onnx_export import open_session
from orbitune.exporting.vit_graph import INPUT, OOD_SCORE, OUTPUT
from orbitune.exporting.web.web_export import GRAPH
from orbitune.extras import require
from orbitune.inference.bundle import Bundle, holds_model
from orbitune.inference.image_inputs import TileSpec
from orbitune.inference.prediction import PredictionRule
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.micro_batches import Compute
from orbitune.suggestions import missing

# Of several, the first one is taken.
_FILES = (f"web/{GRAPH}", GRAPH, *(FORMATS[name].path for name in ("onnx-int8", "onnx", "onnx-fp16")))


class OnnxEngine(Engine):
    """An ONNX file, or a folder with one: an export, or a run or bundle with its export."""

    def open(self) -> None:
        """Find the file and read its metadata; the bundle is that of the folder, if it is one."""
        require("export", "onnxruntime", purpose="serving ONNX files")
        self.file = find_graph(Path(self.source))
        folder = Path(self.source)
        self.bundle = Bundle.open(folder) if holds_model(folder) else None
        session = _open(self.file, optimised=False)  # dropped: another process may compute
        stated = session.get_modelmeta().custom_metadata_map
        try:
            classes = tuple(json.loads(stated["labels"]))
            height, width = json.loads(stated["tile_size"])
            thresholds = json.loads(stated.get("thresholds", "null"))
            task = TASKS[stated["task"]]
            bands = tuple(json.loads(stated["bands"]))
            scale_max = json.loads(stated.get("scale_max", "null"))
            threshold = json.loads(stated.get("ood_threshold", "null"))
            (dtype,) = (
                kind
                for kind in ("uint8", "uint16")
                if [each.type for each in session.get_inputs()] == [f"tensor({kind})"]
            )
        except (KeyError, TypeError, ValueError):
            raise RunError(
                f"{self.file} is no ONNX file of Orbitune that takes tiles: it does not state its labels, or "
                "its input is another."
            ) from None
        if self.bundle and self._is_of_another_model(classes, stated.get("recipe_hash")):
            raise RunError(f"{self.file} was exported from another model than {folder}: export it again.")
        decision = Decision(thresholds=thresholds and tuple(thresholds))
        self.rule = PredictionRule(classes, task, decision, threshold)
        self.spec = TileSpec(bands, dtype, (width, height), scale_max)

    def load(self) -> Compute:
        """Return the function that runs a session."""
        session = _open(self.file, threads=self.threads)
        wanted = [OUTPUT] if self.rule.ood_threshold is None else [OUTPUT, OOD_SCORE]

        def compute(tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            probabilities, *scores = session.run(wanted, {INPUT: tiles})
            return probabilities, scores[0] if scores else None

        return compute

    @property
    def size(self) -> int:
        """Return the size of the file."""
        return self.file.stat().st_size

    @property
    def summary(self) -> str:
        """Return classes, file and whether it has an OOD detector, as Markdown."""
        has = "without" if self.rule.ood_threshold is None else "with"
        return f"{super().summary}\n\n{self.file.name}, exported {has} an OOD detector."

    def _is_of_another_model(self, classes: tuple[str, ...], recipe_hash: str | None) -> bool:
        assert self.bundle
        known = self.bundle.metadata.recipe_hash
        return classes != self.bundle.classes or (known or recipe_hash) != (recipe_hash or known)


def find_graph(source: Path) -> Path:
    """Return an ONNX file, or the one that a folder or its folder `export` holds.

    Of several, that of a web page is taken, which has an OOD detector, else that in int8, in fp32 or fp16.

    Raises:
        RunError: there is none.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise RunError(missing("file or folder", str(source)))
    for folder in (source, source / "export"):
        if found := [folder / name for name in _FILES if (folder / name).is_file()]:
            return found[0]
    raise RunError(
        f"There is no ONNX file ({', '.join(_FILES)}) in {printable(str(source))}, nor in its folder "
        "export: write one with `orbitune export RUN --to onnx-int8`."
    )


def exported_graph(source: str) -> Path | None:
    """Return the ONNX file that a run or bundle holds; None where it holds none."""
    try:
        return find_graph(Path(source)) if holds_model(Path(source)) else None
    except RunError:
        return None


def _open(file: Path, *, threads: int = 0, optimised: bool = True) -> Any:
    """Open a session, see `open_session`; a damaged file is a user error."""
    from onnxruntime.capi import onnxruntime_pybind11_state as ort

    refused: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    refused += (ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf)
    refused += (ort.NotImplemented, ort.RuntimeException)
    try:
        return open_session(file, threads=threads, optimised=optimised)
    except refused as error:
        raise RunError(f"{file} cannot be opened by ONNX Runtime ({first_line(error)}).") from None
