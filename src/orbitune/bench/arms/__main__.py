"""Run one arm and print its cost: python -m orbitune.bench.arms SPEC (JSON)."""

import importlib
import json
import mmap
import sys
from typing import Any

from orbitune.bench.child_process import print_result


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Train or predict as a spec says, and measure the cost.

    Args:
        spec: `kind`, `recipe` and `settings` of an arm, `warmup` in steps and `seconds` to measure.

    Returns:
        Measured images, steps, seconds and latency of a step, and the rates that follow. peak_rss_bytes is
        the peak from before the model was loaded to the last step; imports_rss_bytes is resident before the
        data were opened; peak_cuda_bytes is None without a GPU; memory_bytes is the GPU's peak, or else the
        peak RSS minus that of the imports; compute describes how the arm computed; ceiling is the machine's
        matrix-product speed at the arm's precision, in operations per second.
    """
    arm = importlib.import_module(f"orbitune.bench.arms.{spec['kind'].replace('-', '_')}")
    from orbitune.bench.arms.stopwatch import Stopwatch, matmul_ceiling
    from orbitune.exporting.validation import Latency
    from orbitune.models.factory import plan_parameters
    from orbitune.models.lineage.fine_tuned import open_backbone
    from orbitune.recipe import Recipe
    from orbitune.training.meter import peak_cuda_bytes, peak_rss_bytes, reset_peak_rss
    from orbitune.training.setup import prepare_training

    recipe = Recipe.make(spec["recipe"])
    # A model without weights: transformers and PEFT import its parts when it is built.
    plan_parameters(recipe, open_backbone(recipe.backbone), classes=("one", "other"))
    reset_peak_rss()
    imports = peak_rss_bytes()
    setup = prepare_training(recipe, progress=False)
    reset_peak_rss()
    watch = Stopwatch(spec["warmup"], spec["seconds"])
    compute = arm.run_arm(setup, watch, **spec["settings"])
    peak, peak_cuda = peak_rss_bytes(), peak_cuda_bytes()
    return {
        "images": watch.images,
        "steps": watch.steps,
        "seconds": watch.wall,
        "latency": Latency.of(watch.step_seconds).to_json(),
        "images_per_second": watch.images / watch.wall,
        "cpu_seconds_per_image": watch.cpu / watch.images,
        "peak_rss_bytes": peak,
        "imports_rss_bytes": imports,
        "peak_cuda_bytes": peak_cuda,
        # Growth within pages that were there already counts as one page: ratios divide by it.
        "memory_bytes": max(peak - imports, mmap.PAGESIZE) if peak_cuda is None else peak_cuda,
        "compute": compute,
        "ceiling": matmul_ceiling(str(setup.recipe.precision)),
    }


if __name__ == "__main__":
    sys.exit(print_result(measure, json.loads(sys.argv[1])))
