"""Export formats: one table.

To add a format, add one entry to FORMATS: the command line, `export` and the tests pick it up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orbitune.exporting.merged_export import open_merged, write_merged
from orbitune.exporting.onnx_export import open_onnx, write_fp16, write_int8, write_onnx
from orbitune.exporting.openvino_export import open_openvino, write_openvino
from orbitune.exporting.qgis.deepness_export import open_deepness, why_not_deepness, write_deepness
from orbitune.exporting.validation import FP16_DIFFERENCE, FP32_DIFFERENCE
from orbitune.exporting.web.web_export import open_web, why_no_page, write_web
from orbitune.extras import install_command, is_installed

if TYPE_CHECKING:
    from orbitune.exporting.reference import Predict, ReferenceModel


@dataclass(frozen=True)
class ExportFormat:
    """A format that a trained model can be exported to.

    Attributes:
        name: as given to `export` and on the command line.
        title: for messages.
        path: file or folder, relative to the export folder.
        write: writes the reference model to a path, below a folder that exists.
        open: loads what `write` wrote, to validate it; returns a function from tiles, uint8 (N, H, W, 3), to
            probabilities, float32 (N, C).
        largest_difference: what a probability may differ by from the reference model's; None for a format
            that may lose as much accuracy as the user allows.
        why_not: returns why the format cannot hold a model, to follow a colon; None where it can.
        needs: modules that must be installed.
        extra: the extra of Orbitune that installs them.
    """

    name: str
    title: str
    path: str
    write: "Callable[[ReferenceModel, Path], None]"
    open: "Callable[[Path, ReferenceModel], Predict]"
    largest_difference: float | None = FP32_DIFFERENCE
    why_not: "Callable[[ReferenceModel], str | None]" = lambda reference: None
    needs: tuple[str, ...] = ()
    extra: str = "export"

    @property
    def holds_any_family(self) -> bool:
        """Return whether it holds models that `orbitune.exporting.vit_graph` cannot write too.

        It writes the layers itself in fewer bits; in fp32 PyTorch's exporter stands in for it.
        """
        return self.largest_difference == FP32_DIFFERENCE

    @property
    def noun(self) -> str:
        """Return the title as it stands inside a sentence."""
        return f"a {self.title[2:]}" if self.title.startswith("A ") else self.title

    @property
    def missing(self) -> list[str]:
        """Return the modules that are needed and not installed."""
        return [module for module in self.needs if not is_installed(module)]

    @property
    def install(self) -> str:
        """Return the command that installs what is needed."""
        return install_command(self.extra)


_ONNX = ("onnx", "onnxruntime")
_OPENVINO = (*_ONNX, "openvino")

FORMATS = {
    each.name: each
    for each in (
        ExportFormat("merged", "A transformers folder", "merged", write_merged, open_merged),
        ExportFormat("onnx", "ONNX in fp32", "model.onnx", write_onnx, open_onnx, needs=_ONNX),
        ExportFormat(
            "onnx-fp16",
            "ONNX in fp16",
            "model-fp16.onnx",
            write_fp16,
            open_onnx,
            largest_difference=FP16_DIFFERENCE,
            needs=_ONNX,
        ),
        ExportFormat(
            "onnx-int8",
            "ONNX in int8",
            "model-int8.onnx",
            write_int8,
            open_onnx,
            largest_difference=None,
            needs=_ONNX,
        ),
        ExportFormat(
            "openvino",
            "OpenVINO in fp32",
            "openvino",
            write_openvino,
            open_openvino,
            needs=_OPENVINO,
            extra="openvino",
        ),
        ExportFormat(
            "openvino-int8",
            "OpenVINO in int8",
            "openvino-int8",
            partial(write_openvino, write=write_int8),
            partial(open_openvino, exact=False),
            largest_difference=None,
            needs=_OPENVINO,
            extra="openvino",
        ),
        ExportFormat(
            "web",
            "A web page",
            "web",
            write_web,
            open_web,
            largest_difference=FP16_DIFFERENCE,
            why_not=why_no_page,
            needs=_ONNX,
        ),
        ExportFormat(
            "deepness",
            "A file for QGIS's Deepness",
            "model-deepness.onnx",
            write_deepness,
            open_deepness,
            why_not=why_not_deepness,
            needs=_ONNX,
        ),
    )
}
