"""Export to OpenVINO, converted from the ONNX files."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.exporting.onnx_export import write_onnx
from orbitune.files import scratch

if TYPE_CHECKING:
    from orbitune.exporting.reference import Predict, ReferenceModel


def write_openvino(
    reference: "ReferenceModel",
    folder: Path,
    *,
    write: "Callable[[ReferenceModel, Path], None]" = write_onnx,
) -> None:
    """Write model.xml and model.bin, converted from the file that `write` writes.

    Args:
        reference: the model to export.
        folder: folder to write.
        write: writes the ONNX file that is converted.
    """
    import onnx
    import openvino

    with scratch() as temporary:
        source = temporary / "model.onnx"
        write(reference, source)
        model = _core().read_model(source)
        for entry in onnx.load(source).metadata_props:
            model.set_rt_info(entry.value, ["orbitune", entry.key])
        folder.mkdir()
        openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def open_openvino(folder: Path, reference: "ReferenceModel", *, exact: bool = True) -> "Predict":
    """Return a prediction function on the CPU.

    Args:
        exact: whether to compute in fp32; otherwise OpenVINO uses bf16 where the processor has it.
    """
    hints = {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}
    model = _core().compile_model(folder / "model.xml", "CPU", hints)
    request = model.create_infer_request()
    return lambda tiles: request.infer({0: tiles})[0].copy()


@functools.cache
def _core() -> Any:
    """Return OpenVINO's core, one per process.

    Each core replaces the thread's alternate signal stack and restores the previous one at its end. If two
    cores end in the order in which they began, the thread is left with a freed stack, and the next signal
    crashes the process.
    """
    import openvino

    return openvino.Core()
