"""PEFT's mixed batches: one adapter per image by name (`adapter_names`)."""

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from orbitune.bench.arms.prediction_inputs import assign_tasks, batches
from orbitune.bench.arms.stopwatch import Stopwatch
from orbitune.models.backbones import attention, labelled_config
from orbitune.training.setup import TrainingSetup

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def run_arm(setup: TrainingSetup, watch: Stopwatch, *, run: str, tasks: int) -> dict[str, Any]:
    """Measure predictions of batches that are spread over `tasks` adapters.

    All adapters are copies of the run's.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dtype, folder = _DTYPES[str(setup.recipe.precision)], Path(run) / "adapter"
    base = AutoModelForImageClassification.from_pretrained(
        setup.backbone.folder,
        config=labelled_config(setup.backbone, setup.tiles.classes),
        ignore_mismatched_sizes=True,
        attn_implementation=attention(),
        trust_remote_code=False,
        use_safetensors=True,
        dtype=dtype,
    )
    first, *others = assign_tasks(tasks, tasks)
    model = PeftModel.from_pretrained(base, folder, adapter_name=first)
    for name in others:
        model.load_adapter(folder, name)
    model = model.eval().to(dtype)
    for tiles in batches(setup):
        pixels = setup.transform(torch.from_numpy(tiles)).to(dtype)
        names = assign_tasks(tasks, len(tiles))
        with torch.inference_mode():
            logits = model(pixel_values=pixels, adapter_names=names, **setup.backbone.family.forward).logits
            logits.float().softmax(1).numpy()
        if not watch.step(len(tiles)):
            break
    return {"precision": setup.recipe.precision, "attention": base.config._attn_implementation}
