"""Exports: a trained model in forms that need no Orbitune, each compared with it before it takes its name.

To add a form, add one entry to EXPORTS.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from orbitune.errors import RunError
from orbitune.exporting.onnx_export import open_onnx, open_openvino, write_int8, write_onnx, write_openvino
from orbitune.exporting.reference import Predict, ReferenceModel
from orbitune.exporting.validation import TOLERANCE, RefusedError, in_batches, measure
from orbitune.extras import install_command, is_installed
from orbitune.files import replacing, write_json
from orbitune.integrity import read_json
from orbitune.models.checkpoint_io import save_model


@dataclass(frozen=True)
class Form:
    """One form of a trained model.

    Attributes:
        path: its file or folder, below the export folder.
        write, open: make it, and load what was made.
        exact: whether it computes in fp32, and is held to the trained model's probabilities; else it may lose
            as much accuracy as the user allows.
        needs: modules that must be installed, and `install`, how.
    """

    name: str
    title: str
    path: str
    write: Callable[[ReferenceModel, Path], None]
    open: Callable[[Path, ReferenceModel], Predict]
    exact: bool = True
    needs: tuple[str, ...] = ()
    install: str = install_command("export")


def _write_merged(original: ReferenceModel, folder: Path) -> None:
    metadata = original.bundle.metadata.model_copy(update={"method": "full"})
    save_model(original.merged(), folder, original.job.backbone, metadata)


def _open_merged(folder: Path, original: ReferenceModel) -> Predict:
    from orbitune.models.reload import load

    return original.predict(load(str(folder), ""))


_ONNX = ("onnx", "onnxruntime", "onnxscript")
_OPENVINO: dict[str, Any] = {
    "needs": (*_ONNX, "openvino"),
    "install": install_command("openvino"),
}

EXPORTS = {
    form.name: form
    for form in (
        Form("merged", "A folder of plain transformers", "merged", _write_merged, _open_merged),
        Form("onnx", "ONNX in fp32", "model.onnx", write_onnx, open_onnx, needs=_ONNX),
        Form("onnx-int8", "ONNX in int8", "model-int8.onnx", write_int8, open_onnx, False, _ONNX),
        Form("openvino", "OpenVINO in fp32", "openvino", write_openvino, open_openvino, **_OPENVINO),
        Form(
            "openvino-int8",
            "OpenVINO in int8",
            "openvino-int8",
            partial(write_openvino, write=write_int8),
            partial(open_openvino, exact=False),
            False,
            **_OPENVINO,
        ),
    )
}


def export(
    run: str | Path,
    to: str | Sequence[str] = "all",
    out: str | Path | None = None,
    tolerance: float = TOLERANCE,
    merge_tokens: str | Sequence[int] = (),
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Write a finished run's model in other forms; each passes the gate or is not kept.

    The gate is validation: a form in fp32 gives every tile the trained model's probabilities to 1e-3, one in
    int8 loses no more accuracy than is allowed. Beside the forms lie labels.json and gate.json.

    Args:
        to: names from EXPORTS, or `all`: those whose libraries are installed.
        out: the folder; RUN/export if not given.
        tolerance: points of validation accuracy that int8 may lose.
        merge_tokens: blocks, from 1, after which forms in int8 merge half of the patches. What lies above the
            first is tuned to that on training tiles, which takes about as long as two epochs of training; see
            `orbitune.fastpath.token_merging` and `orbitune.exporting.distillation`.
        say: is told what is written and what is left out.

    Returns:
        What gate.json says: `hashes` of the model, and `forms`, what was measured of each that passed.

    Raises:
        RefusedError: a form does not pass; the others are written all the same.
        OrbituneError: the run is not finished, a form is unknown or needs what is not installed, the folder
            holds exports of another model, or tokens of this model or in these forms cannot be merged.
    """
    forms = _chosen(to, say)
    blocks = _blocks(merge_tokens)
    if blocks and all(form.exact for form in forms):
        raise RunError("Only forms in int8 merge tokens, as that is not exact: add onnx-int8 to --to.")
    out = Path(out) if out else Path(run) / "export"
    original = ReferenceModel.open(Path(run), progress, blocks)
    report = _begun(out, original)
    indices, tiles = original.job.splits["validation"], original.job.tiles
    reference = in_batches(original.predict(original.model()), tiles, indices)
    write_json(out / "labels.json", list(original.bundle.classes))
    refused = []
    for form in forms:
        try:
            with replacing(out / form.path) as temporary:
                form.write(original, temporary)
                passage = measure(form.open(temporary, original), temporary, reference, tiles, indices)
                passage.check(form.title, form.exact, tolerance)
        except RefusedError as error:
            refused.append(str(error))
            continue
        merged = [] if form.exact else list(blocks)
        report["forms"][form.name] = {"path": form.path, "merge_tokens": merged, **asdict(passage)}
        write_json(out / "gate.json", report)
        say(f"{form.title}: {out / form.path}")
    if refused:
        raise RefusedError(" ".join(refused))
    return report


def _chosen(to: str | Sequence[str], say: Callable[[str], None]) -> list[Form]:
    """The forms that were asked for; with `all` those that can be made here."""
    if to == "all":
        for form in EXPORTS.values():
            if lacks := _lacking(form):
                say(f"{form.title} is left out: it needs {', '.join(lacks)} ({form.install})")
        return [form for form in EXPORTS.values() if not _lacking(form)]
    names = to.split(",") if isinstance(to, str) else to
    for name in names:
        if name not in EXPORTS:
            raise RunError(f"There is no form {name!r} to export to; there is: {', '.join(EXPORTS)}, all.")
        if lacks := _lacking(EXPORTS[name]):
            raise RunError(f"{EXPORTS[name].title} needs {', '.join(lacks)}: {EXPORTS[name].install}.")
    return [EXPORTS[name] for name in names]


def _blocks(named: str | Sequence[int]) -> tuple[int, ...]:
    """Numbers of blocks, which may be written as text."""
    numbers = [part for part in named.split(",") if part.strip()] if isinstance(named, str) else named
    try:
        return tuple(int(number) for number in numbers)
    except ValueError:
        raise RunError(f"--merge-tokens takes numbers of blocks, such as 3,6, not {named!r}.") from None


def _lacking(form: Form) -> list[str]:
    return [module for module in form.needs if not is_installed(module)]


def _begun(out: Path, original: ReferenceModel) -> dict[str, Any]:
    """The report of the folder, with the forms that it holds already."""
    file = out / "gate.json"
    if not file.is_file():
        return {"hashes": original.hashes, "forms": {}}
    report = read_json(file)
    if not isinstance(report, dict) or not isinstance(report.get("forms"), dict):
        raise RunError(f"{file} is damaged; remove it to export again, or choose another --out.")
    if report.get("hashes") != original.hashes:
        raise RunError(f"{out} holds exports of another model; choose another --out.")
    return dict(report)
