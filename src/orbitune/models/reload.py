"""Reload a saved model with transformers and PEFT alone.

Run as a program in a process of its own, it prints the largest difference from the logits it is given:
python -m orbitune.models.reload FOLDER BASE BATCH.safetensors FORWARD_ARGUMENTS_AS_JSON
"""

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from orbitune.models.families.classifiers import classifier_class, classifier_config
from orbitune.models.families.family import Family
from orbitune.models.families.table import FAMILIES

_SAFE: dict[str, Any] = {"trust_remote_code": False, "use_safetensors": True}


def load(folder: str, base: str) -> Any:
    """Load a saved model in fp32 and evaluation mode.

    Raises:
        ValueError: the files of `folder` leave weights without a value.
    """
    import torch
    from transformers.utils import logging

    logging.set_verbosity_error()  # it would warn of the head that the adapter is about to replace
    logging.disable_progress_bar()
    if not (Path(folder) / "adapter_config.json").exists():
        return load_whole(folder)
    from peft import PeftModel

    stated = json.loads((Path(folder) / "orbitune.json").read_text())
    # With other than three bands, the adapter holds the patch projection, which replaces a random one.
    family, channels = _family(base), len(stated["preprocessing"]["mean"])
    model = classifier_class(family).from_pretrained(
        base,
        config=classifier_config(base, family, channels=channels, num_labels=len(stated["classes"])),
        ignore_mismatched_sizes=True,
        dtype=torch.float32,
        **_SAFE,
    )
    return PeftModel.from_pretrained(model, folder, torch_device="cpu").eval()  # where the logits are from


def load_whole(folder: str) -> Any:
    """Load a folder that holds all weights, in fp32 and evaluation mode.

    Raises:
        ValueError: some are missing, which transformers would draw at random.
    """
    import torch

    model, report = classifier_class(_family(folder)).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, **_SAFE
    )
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} tensors are missing, such as {missing[0]}")
    return model.eval()


def _family(folder: str) -> Family:
    """Return the family of a checkpoint."""
    return FAMILIES[json.loads((Path(folder) / "config.json").read_text())["model_type"]]


def main(folder: str, base: str, *, batch: str, forward: str) -> None:
    """Print the largest difference of a logit, see the module."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(batch)
    with torch.inference_mode():
        logits = load(folder, base)(pixel_values=tensors["pixels"], **json.loads(forward)).logits
    print((logits - tensors["logits"]).abs().max().item())


def _end_with_parent() -> None:
    """End this process when its parent is killed (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit()


if __name__ == "__main__":
    _end_with_parent()
    gc.disable()  # it soon ends, and a seventh of its time went into looking for cycles
    folder, base, batch, forward = sys.argv[1:]
    main(folder, base, batch=batch, forward=forward)
