"""What of a finished run must be bit-identical however it was reached."""

import json

import numpy as np
from safetensors.torch import load_file


def outcome(out):
    """Return scores, history without times, logits, weights and best epoch of a run; not its test reads."""
    result = json.loads((out / "result.json").read_text())
    history = [{k: v for k, v in e.items() if "seconds" not in k} for e in result["history"]]
    with np.load(out / "predictions.npz") as arrays:
        logits = {name: arrays[name].tobytes() for name in arrays}
    weights = {
        n: t.numpy().tobytes() for n, t in load_file(out / "adapter/adapter_model.safetensors").items()
    }
    return result["validation"], result["test"], history, logits, weights, result["best_epoch"]
