"""Saved models: folders that plain transformers and PEFT can open too.

An adapter folder holds PEFT's own files; a model folder those of transformers. Both hold
orbitune.json, see `orbitune.models.metadata`.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, OrbituneError, RunError, one_line
from orbitune.files import replacing, scratch
from orbitune.integrity import file_hash
from orbitune.models import reload
from orbitune.models.backbones import Backbone, attention, check_fits, find_backbone, load_weights
from orbitune.models.files.adapter_files import check_adapter, check_all_used, check_head
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG, check_finite
from orbitune.models.lineage.ancestors import changed_link
from orbitune.models.lineage.places import remember
from orbitune.models.metadata import FILE, ModelMetadata, read_metadata
from orbitune.models.methods import state_to_save
from orbitune.models.preprocessing import write_preprocessing
from orbitune.processes.child_processes import run_captured

if TYPE_CHECKING:
    from torch import Tensor, nn

# What PEFT warns of; RandLoRA's random bases are stored once, and not for every layer that uses them.
_MISSING = "Found missing adapter keys while loading the checkpoint: "
_STORED_ONCE = r"\[('[^']+\.randlora_[AB]\.default'(, )?)+\]"

# Largest difference of a logit between the model in memory and the one reloaded, both in fp32.
TOLERANCE = 1e-4
_ROUNDING = 1e-5  # of the largest logit: beyond 10, sums in another order differ by more than TOLERANCE


def tolerance(logits: "Tensor") -> float:
    """Return the largest allowed difference of a logit after reloading."""
    return max(TOLERANCE, _ROUNDING * logits.abs().max().item())


def save_model(model: "nn.Module", folder: Path, *, backbone: Backbone, metadata: ModelMetadata) -> None:
    """Save an adapter (PEFT model) or all weights, with orbitune.json.

    Args:
        model: with its weights in fp32.
        folder: is replaced if it exists.
        backbone: the checkpoint that the model was trained from.

    Raises:
        OrbituneError: the folder cannot be written.
    """
    with replacing(folder) as temporary:
        saved: Any = model
        if hasattr(saved, "peft_config"):
            # The stored adapter refers to the backbone by name, not by its present folder.
            saved.peft_config["default"].base_model_name_or_path = backbone.reference
            saved.save_pretrained(temporary, state_dict=state_to_save(model))
        else:
            saved.save_pretrained(temporary)
        (temporary / "README.md").unlink(missing_ok=True)  # PEFT's form, with nothing filled in
        write_preprocessing(temporary, metadata.preprocessing)
        write_metadata(temporary, metadata)


def write_metadata(folder: Path, metadata: ModelMetadata) -> None:
    """Write orbitune.json with the hashes of the folder's weights and JSON files."""
    hashes = {"files": _hashes(folder, "*.safetensors"), "settings": _hashes(folder, "*.json")}
    metadata.model_copy(update=hashes).write(folder / FILE)


def _hashes(folder: Path, pattern: str) -> dict[str, str]:
    """Return the SHA-256 of the files that match a pattern, by name."""
    return {path.name: file_hash(path) for path in sorted(folder.glob(pattern)) if path.name != FILE}


def verify_saved(folder: Path, backbone: Backbone, *, pixels: "Tensor", logits: "Tensor") -> float:
    """Reload a saved model in another process and compare its logits.

    The process has not seen the model, and uses transformers and PEFT alone, as any of their users would.

    Args:
        folder: what `save_model` wrote.
        backbone: the checkpoint that the model was trained from.
        pixels: float32 (B, 3, S, S), a normalised batch.
        logits: float32 (B, C), the outputs of the model in memory, in evaluation mode.

    Returns:
        The largest absolute difference of a logit.

    Raises:
        RunError: it does not load, or differs by more than `tolerance` allows.
    """
    from safetensors.torch import save_file

    with scratch() as temporary:
        batch = temporary / "batch.safetensors"
        save_file({"pixels": pixels.contiguous(), "logits": logits.contiguous()}, batch)
        forward = json.dumps(backbone.family.forward)
        words = (str(folder), str(backbone.folder), str(batch), forward)
        done = run_captured("orbitune.models.reload", *words)
    if done.returncode:
        raise RunError(f"{folder} was written but does not load again: {_last_exception(done.stderr)}")
    difference = float(done.stdout)
    if not difference <= (allowed := tolerance(logits)):
        raise RunError(
            f"{folder} was written but gives other outputs when reloaded (by {difference:.2g}, at most "
            f"{allowed:g} is allowed)."
        )
    return difference


def _last_exception(traceback: str) -> str:
    """Return the first line of the exception that a traceback ends with."""
    lines = traceback.strip().splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    message = lines[frames[-1] + 1 :] if frames else lines
    return message[0] if message else "no message"


def load_saved(folder: Path, backbone: Backbone, *, metadata: ModelMetadata | None = None) -> "nn.Module":
    """Load a model that `save_model` wrote, in fp32 and evaluation mode.

    Args:
        backbone: not used where the folder holds all weights.
        metadata: what `open_saved` returned for the folder; None to call it here.

    Raises:
        ModelError: the backbone's weights are not those the adapter was trained on, or files are damaged.
    """
    try:
        metadata = metadata or open_saved(folder)
    except OrbituneError as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from None
    backbone = trained_backbone(folder, backbone, metadata=metadata)
    if is_adapter(folder):
        model = load_adapter(folder, backbone, classes=metadata.classes)
    else:
        model = _load_whole(folder, metadata.classes)
    check_finite(model.state_dict(), str(folder))
    return model


def trained_backbone(folder: Path, backbone: Backbone, *, metadata: ModelMetadata) -> Backbone:
    """Return the backbone with the bands of a saved model.

    Raises:
        ModelError: it reads other bands, or its weights are not those that the adapter was trained on.
    """
    backbone = backbone.for_bands(metadata.preprocessing.bands)
    if is_adapter(folder) and metadata.backbone.weights_sha256 != backbone.weights_hash:
        link = changed_link(metadata.backbone.ancestors, backbone.record.ancestors)
        raise ModelError(
            f"{folder} was trained on other weights than those of {backbone.name}"
            f"{f' ({link})' if link else ''}; its predictions would be wrong."
        )
    if is_adapter(folder) and metadata.backbone.is_hashed:
        remember(backbone)
    return backbone


def _load_whole(folder: Path, classes: tuple[str, ...]) -> Any:
    """Load a folder that holds all weights."""
    own = find_backbone(str(folder.resolve()))
    check_fits(own, classes)
    if (count := own.config.num_labels) != len(classes):
        raise ModelError(
            f"The config.json of {folder} has {count} classes, its {FILE} {len(classes)}. Restore both."
        )
    try:
        model = reload.load_whole(str(folder))
    except Exception as error:  # transformers raises any type of error on a damaged file
        raise ModelError(f"{folder} cannot be loaded: {one_line(str(error))}.") from error
    model.set_attn_implementation(attention())
    return model


def load_adapter(folder: Path, backbone: Backbone, *, classes: tuple[str, ...]) -> "nn.Module":
    """Load a PEFT folder over its backbone, in fp32 and evaluation mode.

    Args:
        folder: PEFT folder.
        backbone: its backbone.
        classes: class names of the head.

    Returns:
        A PEFT model in fp32.

    Raises:
        ModelError: files are damaged, or do not fit each other or the backbone.
    """
    from peft import PeftModel

    shapes = check_adapter(folder)
    check_head(folder, shapes, backbone=backbone, classes=len(classes), named=f"its {FILE}")
    base: Any = load_weights(backbone, classes, seed=0, keep_head=True)  # some adapters have none
    try:
        with warnings.catch_warnings():
            # PEFT only warns of an adapter that lacks tensors, and would leave them at random values.
            warnings.filterwarnings("ignore", f"{_MISSING}{_STORED_ONCE}")
            warnings.filterwarnings("error", f"{_MISSING}(?!{_STORED_ONCE})")
            model = PeftModel.from_pretrained(base, str(folder), torch_device="cpu").eval()
    except Exception as error:  # PEFT raises any type of error on a damaged file
        raise ModelError(f"{folder} cannot be loaded: {one_line(_message(error))}.") from error
    check_all_used(model, shapes, folder=folder)
    return model


def _message(error: Exception) -> str:
    """Return the message of an error; that of a KeyError is the key alone."""
    return f"it lacks {error.args[0]}" if isinstance(error, KeyError) and error.args else str(error)


def is_adapter(folder: Path) -> bool:
    """Return whether a saved folder needs its backbone's weights.

    Other folders hold all weights.
    """
    return (folder / ADAPTER_CONFIG).exists()


def open_saved(folder: Path) -> ModelMetadata:
    """Read the metadata of a saved model and compare its files with their hashes.

    Raises:
        RunError: there is no readable orbitune.json, or it is damaged.
        ModelError: another file is missing or damaged.
    """
    metadata = read_metadata(folder)
    hashes: Mapping[str, str] = {**metadata.files, **metadata.settings}
    for name, digest in hashes.items():
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is incomplete: it lacks {name}. Restore it.")
        if file_hash(folder / name) != digest:
            raise ModelError(
                f"{name} of {folder} is damaged: its hash differs from the stored one. Restore it."
            )
    return metadata
