"""Saving a trained model so that plain transformers and PEFT open it, and proving that they do.

An adapter folder holds PEFT's own files; a model folder those of transformers. Both carry
orbitune.json, with all that a prediction needs besides the weights.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, OrbituneError, RunError, first_line
from orbitune.files import (
    file_hash,
    read_sealed_json,
    replacing,
    scratch,
    write_json,
    write_sealed_json,
)
from orbitune.models import reload
from orbitune.models.backbones import Backbone, attention
from orbitune.models.methods import storable

if TYPE_CHECKING:
    from torch import Tensor, nn

# Largest difference of a logit between the model in memory and the one reloaded, both in fp32.
TOLERANCE = 1e-4

FACTS = "orbitune.json"
_HASHED = {"files": "*.safetensors", "settings": "*.json"}  # entries of it, and whose hashes they hold


def save_model(model: "nn.Module", folder: Path, backbone: Backbone, facts: dict[str, Any]) -> None:
    """Write the adapter (a PEFT model) or all weights (any other), and `facts` as orbitune.json."""
    with replacing(folder) as temporary:
        saved: Any = model
        if hasattr(saved, "peft_config"):
            # On disk the adapter names what finds its backbone again, not where the files lie now.
            saved.peft_config["default"].base_model_name_or_path = backbone.reference
            saved.save_pretrained(temporary, state_dict=storable(model))
        else:
            saved.save_pretrained(temporary)
        (temporary / "README.md").unlink(missing_ok=True)  # PEFT's form, with nothing filled in
        write_preprocessor(temporary, facts)
        write_facts(temporary, facts)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write orbitune.json: the facts, with the hashes of the weights and the settings beside it."""
    hashes = {
        entry: {path.name: file_hash(path) for path in sorted(folder.glob(pattern)) if path.name != FACTS}
        for entry, pattern in _HASHED.items()
    }
    write_sealed_json(folder / FACTS, {**facts, **hashes})


def write_preprocessor(folder: Path, facts: dict[str, Any]) -> None:
    """What the tiles went through, as the file that image processors of transformers read."""
    side, used = facts["preprocessing"]["image_size"], facts["preprocessing"]
    stated = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "resample": {"bilinear": 2, "bicubic": 3}[used["resample"]],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": used["mean"],
        "image_std": used["std"],
    }
    write_json(folder / "preprocessor_config.json", stated)


def prove_saved(folder: Path, backbone: Backbone, pixels: "Tensor", logits: "Tensor") -> float:
    """Reload a saved folder in a fresh process with plain transformers and PEFT, and compare logits.

    Args:
        pixels: float32 (B, 3, S, S), the fixed batch.
        logits: float32 (B, C), what the model in memory makes of it in evaluation mode.

    Returns:
        The largest absolute difference.

    Raises:
        RunError: it does not load, or differs by more than TOLERANCE.
    """
    from safetensors.torch import save_file

    with scratch() as temporary:
        batch = temporary / "batch.safetensors"
        save_file({"pixels": pixels.contiguous(), "logits": logits.contiguous()}, batch)
        program = [sys.executable, "-m", "orbitune.models.reload"]
        arguments = [str(folder), str(backbone.folder), str(batch), json.dumps(backbone.family.forward)]
        done = subprocess.run(program + arguments, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RunError(f"{folder} was written but does not load again: {last}")
    difference = float(done.stdout)
    if not difference <= TOLERANCE:
        raise RunError(
            f"{folder} was written but gives other outputs when reloaded (by {difference:.2g}, at most "
            f"{TOLERANCE:g} is allowed)."
        )
    return difference


def load_saved(folder: Path, backbone: Backbone, facts: dict[str, Any] | None = None) -> "nn.Module":
    """Load what `save_model` wrote, in fp32 and evaluation mode.

    Args:
        facts: what `open_saved` gave of the folder; without them it is called here.

    Raises:
        ModelError: the backbone's weights are not those the adapter was trained on, or files are damaged.
    """
    try:
        facts = facts or open_saved(folder)
    except OrbituneError as error:
        raise ModelError(f"{folder} cannot be loaded: {error}") from None
    if facts["backbone"]["weights_sha256"] != backbone.weights_hash and is_adapter(folder):
        raise ModelError(
            f"{folder} was trained on other weights than {backbone.name} holds now; its "
            f"predictions would be wrong."
        )
    try:
        with warnings.catch_warnings():
            # PEFT only warns of an adapter that lacks tensors, and would leave them at random values.
            warnings.filterwarnings("error", "Found missing adapter keys")
            model = reload.load(str(folder), str(backbone.folder))
        (model.get_base_model() if hasattr(model, "peft_config") else model).set_attn_implementation(
            attention()
        )
        return model
    except Exception as error:
        raise ModelError(f"{folder} cannot be loaded: {first_line(error)}.") from error


def is_adapter(folder: Path) -> bool:
    """Whether a saved folder needs its backbone's weights; any other holds all weights."""
    return (folder / "adapter_config.json").exists()


def open_saved(folder: Path) -> dict[str, Any]:
    """Return the facts of a saved folder, whose files are compared with the hashes that these name.

    Raises:
        RunError: there is no readable orbitune.json, or it is damaged.
        ModelError: another file is missing or damaged.
    """
    facts = read_facts(folder)
    hashes = {name: digest for entry in _HASHED for name, digest in facts.get(entry, {}).items()}
    for name, digest in hashes.items():
        file = folder / Path(name).name
        if not file.is_file():
            raise ModelError(f"{folder} is incomplete: it lacks {name}.")
        if file_hash(file) != digest:
            raise ModelError(f"{name} of {folder} is damaged: its hash is not the one that was noted.")
    return facts


def read_facts(folder: Path) -> dict[str, Any]:
    """The orbitune.json of a saved folder."""
    try:
        return read_sealed_json(folder / FACTS)
    except (OSError, ValueError) as error:
        reason = f" ({error})" if str(error).startswith("damaged") else ""
        raise RunError(
            f"{folder} holds no readable orbitune.json{reason}; it is no saved model of Orbitune."
        ) from None
