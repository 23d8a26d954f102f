"""Compare Orbitune's own code with the libraries that could replace it.

Each comparison needs its library, which Orbitune does not depend on:

    python benchmarks/ecosystem.py statsmodels      # pip install statsmodels
    python benchmarks/ecosystem.py optuna           # pip install optuna
    python benchmarks/ecosystem.py smoothquant      # pip install neural-compressor onnx onnxruntime
    python benchmarks/ecosystem.py graphs           # pip install onnx onnxruntime onnxscript
    python benchmarks/ecosystem.py energy           # pip install zeus codecarbon
    python benchmarks/ecosystem.py captum           # pip install captum
    python benchmarks/ecosystem.py imagehash DATA   # pip install imagehash; DATA is a folder or hub id
    python benchmarks/ecosystem.py flops
    python benchmarks/ecosystem.py schedules
"""

import importlib
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np


def seconds(function: Callable[[], Any]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare_statsmodels() -> None:
    """Compare p values of McNemar's exact test."""
    import scipy.stats  # noqa: F401  # already loaded where p values are computed

    load = seconds(lambda: importlib.import_module("statsmodels.stats.contingency_tables"))
    from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

    from orbitune.evaluation.statistics.mcnemar import mcnemar

    random = np.random.default_rng(0)
    largest = 0.0
    for _ in range(300):
        count = random.integers(10, 5400)
        a, b = random.random(count) < 0.97, random.random(count) < 0.96
        table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        difference = abs(mcnemar(a, b) - reference_mcnemar(table, exact=True).pvalue)
        largest = max(largest, difference)
    print(f"largest difference of McNemar's p values: {largest:.1e}")
    print(f"import of statsmodels after scipy.stats: {load:.2f} s")


def compare_optuna() -> None:
    """Count the epochs of successive halving in every order of five trials."""
    import optuna

    from orbitune.study.tune.search import halving_rungs

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    curves = {  # validation accuracy of five learning rates over nine epochs
        1: [0.80, 0.85, 0.90, 0.93, 0.94, 0.95, 0.95, 0.96, 0.96],
        2: [0.82, 0.86, 0.89, 0.92, 0.935, 0.94, 0.945, 0.95, 0.95],
        3: [0.70, 0.80, 0.85, 0.90, 0.91, 0.92, 0.93, 0.935, 0.94],
        4: [0.60, 0.70, 0.80, 0.84, 0.86, 0.88, 0.90, 0.91, 0.92],
        5: [0.50, 0.60, 0.65, 0.70, 0.75, 0.80, 0.82, 0.84, 0.85],
    }
    spent = []
    for order in itertools.permutations(curves):
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.RandomSampler(0), pruner=pruner
        )
        spent.append(0)
        for rate in order:
            trial = study.ask()
            for epoch, accuracy in enumerate(curves[rate], 1):
                spent[-1] += 1
                trial.report(accuracy, epoch)
                if trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, curves[rate][-1])
    ours, trained = 0, 0
    for trials, epochs in halving_rungs(len(curves), 9):
        ours, trained = ours + trials * (epochs - trained), epochs
    print(
        f"epochs for five trials: Optuna {min(spent)} to {max(spent)}, by order; orbitune.study.tune {ours}"
    )


def compare_smoothquant() -> None:
    """Ask ONNX Runtime's quantizer for SmoothQuant."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class OneBatch(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter([{"x": np.ones((1, 4), np.float32)}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    shape = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", shape[:1], shape[1:], [weight]
    )
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), model)
        try:
            quantize_static(
                model, model.with_name("int8.onnx"), OneBatch(), extra_options={"SmoothQuant": True}
            )
        except Exception as error:
            print(f"ONNX Runtime's SmoothQuant: {type(error).__name__}: {error} ({error.__cause__})")
        else:
            print("ONNX Runtime's SmoothQuant works")


def compare_graphs() -> None:
    """Trace a ViT-Tiny with torch, write its graph, and optimise both for ONNX Runtime."""
    import onnx
    import onnxruntime
    import torch
    from onnxruntime.transformers.optimizer import optimize_model
    from transformers import ViTConfig, ViTForImageClassification

    from orbitune.data.transform import Transform
    from orbitune.exporting.vit_graph import TileFormat, ViTGraph
    from orbitune.exporting.weights import read_weights
    from orbitune.models.families.table import FAMILIES

    torch.manual_seed(0)
    config = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=112)
    model = ViTForImageClassification(config).eval().requires_grad_(False)
    half = (0.5, 0.5, 0.5)

    def write() -> Any:
        weights = read_weights(model, FAMILIES["vit"], grid=7)
        return ViTGraph(weights, Transform(112, half, half, "bilinear"), TileFormat(112, 112), 1.0).write()

    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.onnx") for name in ("traced", "written")}
        example = (torch.zeros(2, 3, 112, 112),)
        batch = ({0: torch.export.Dim("batch")},)
        took = seconds(
            lambda: torch.onnx.export(model, example, files["traced"], dynamic_shapes=batch, verbose=False)
        )
        print(f"traced by torch.onnx in {took:.1f} s")
        print(f"written in {seconds(lambda: onnx.save(write(), files['written'])):.1f} s")
        for name, file in files.items():
            optimised = optimize_model(str(file), "vit", num_heads=3, hidden_size=192, opt_level=0)
            optimised.save_model_to_file(f"{file}.optimised")
            fused = {key: count for key, count in optimised.get_fused_operator_statistics().items() if count}
            for title, path in ((name, file), (f"{name}, optimised, {fused}", f"{file}.optimised")):
                session = onnxruntime.InferenceSession(path)
                asked = session.get_inputs()[0]
                dtype = np.uint8 if asked.type == "tensor(uint8)" else np.float32
                tiles = {asked.name: np.zeros((64, *asked.shape[1:]), dtype)}
                times = [seconds(partial(session.run, None, tiles)) for _ in range(9)]
                print(f"{title}: {1000 * min(times):.0f} ms for 64 tiles")


def compare_energy() -> None:
    """Measure five busy seconds with each meter."""
    from orbitune.machine.energy import EnergyMeter

    def busy() -> None:
        end = time.perf_counter() + 5
        while time.perf_counter() < end:
            sum(range(10_000))

    load = seconds(lambda: importlib.import_module("zeus.monitor"))
    from zeus.monitor import ZeusMonitor

    zeus = ZeusMonitor(gpu_indices=[])
    zeus.begin_window("busy")
    busy()
    print(f"zeus: {zeus.end_window('busy').cpu_energy} (import {load:.1f} s)")
    load = seconds(lambda: importlib.import_module("codecarbon"))
    from codecarbon import OfflineEmissionsTracker

    tracker = OfflineEmissionsTracker(country_iso_code="DEU", save_to_file=False, log_level="critical")
    tracker.start()
    busy()
    tracker.stop()
    joules = tracker.final_emissions_data.energy_consumed * 3.6e6
    print(f"codecarbon: {joules:.0f} J (import {load:.1f} s)")
    meter = EnergyMeter(on_gpu=False)
    busy()
    print(f"orbitune.machine.energy: {meter.joules()} ({meter.source})")


def compare_captum() -> None:
    """Find a bright patch in noise with a small ViT trained to detect one."""
    import torch
    from captum.attr import IntegratedGradients, Occlusion, Saliency
    from transformers import ViTConfig, ViTForImageClassification

    from orbitune.evaluation.attribution import attribution_map
    from orbitune.models.families.table import FAMILIES

    side, patch = 64, 8
    places = side // patch
    torch.manual_seed(0)
    config = ViTConfig(
        image_size=side, patch_size=patch, hidden_size=64, num_hidden_layers=4, num_attention_heads=4
    )
    config.intermediate_size, config.num_labels, config._attn_implementation = 128, 2, "eager"
    model = ViTForImageClassification(config)
    marks = torch.randint(places, (256, 2))
    pixels, labels = 0.3 * torch.randn(256, 3, side, side), torch.arange(256) % 2
    for number in range(1, 256, 2):
        row, column = (patch * marks[number]).tolist()
        pixels[number, :, row : row + patch, column : column + patch] += 2
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(pixels).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    print(f"accuracy {float((model(pixels).logits.argmax(1) == labels).float().mean()):.0%}")

    def logits(batch: torch.Tensor) -> torch.Tensor:
        return model(batch).logits

    def per_patch(values: torch.Tensor) -> np.ndarray:
        return values[0].sum(0).view(places, patch, places, patch).sum((1, 3)).detach().numpy()

    methods: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
        "orbitune.evaluation.attribution": lambda x: attribution_map(
            model, FAMILIES["vit"], pixels=x, label=1
        ),
        "captum Saliency": lambda x: per_patch(Saliency(logits).attribute(x, target=1)),
        "captum IntegratedGradients": lambda x: per_patch(IntegratedGradients(logits).attribute(x, target=1)),
        "captum Occlusion": lambda x: per_patch(
            Occlusion(logits).attribute(x, (3, patch, patch), strides=(3, patch, patch), target=1)
        ),
    }
    tiles = range(1, 81, 2)
    for name, method in methods.items():
        start = time.perf_counter()
        maps = [method(pixels[[tile]].clone()) for tile in tiles]
        elapsed = (time.perf_counter() - start) / len(tiles)
        marked = [tuple(marks[tile].tolist()) for tile in tiles]
        found = [np.unravel_index(m.argmax(), m.shape) == mark for m, mark in zip(maps, marked, strict=True)]
        share = [max(0.0, float(m[mark])) / m.clip(0).sum() for m, mark in zip(maps, marked, strict=True)]
        print(
            f"{name}: {1000 * elapsed:.0f} ms a tile, mark found in {np.mean(found):.0%}, "
            f"{np.mean(share):.0%} of the map on it"
        )


def compare_imagehash(data: str) -> None:
    """Find changed copies among other tiles, at the limit without false alarms."""
    import imagehash
    from PIL import Image

    from orbitune.data.leakage.near_duplicates import find_near_duplicates
    from orbitune.data.tileset import load_tiles

    count, copied = 1000, 300
    tiles = load_tiles(data)
    rows = np.random.default_rng(0).permutation(len(tiles.labels))[: 2 * count]
    pixels = tiles.read(rows)

    def jpeg(tile: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=75)
        return np.asarray(Image.open(file))

    def hashes(images: np.ndarray, function: Any) -> np.ndarray:
        return np.stack([function(Image.fromarray(image)).hash.ravel() for image in images])

    def distances(some: np.ndarray, others: np.ndarray, *, function: Any) -> np.ndarray:
        """Hamming distances, the least over the eight flips and quarter turns of `some`."""
        known, views = hashes(others, function).astype(np.float32), []
        for view in (np.rot90(v, k, (1, 2)) for v in (some, some[:, ::-1]) for k in range(4)):
            own = hashes(view, function).astype(np.float32)
            views.append(own @ (1 - known.T) + (1 - own) @ known.T)
        return np.min(views, 0)

    changes = {
        "turned": lambda tile: np.rot90(tile),
        "5 % brighter": lambda tile: np.clip(tile * 1.05 + 0.5, 0, 255).astype(np.uint8),
        "JPEG 75": jpeg,
    }
    limits = {}
    for name in ("phash", "dhash", "whash"):
        function = getattr(imagehash, name)
        start = time.perf_counter()
        limits[name] = distances(pixels[count:], pixels[:count], function=function).min() - 1
        elapsed = time.perf_counter() - start
        print(f"{name}: {elapsed:.1f} s for {count} x {count} tiles, limit {limits[name]:.0f} of 64 bits")
    plain = replace(
        tiles, tiles=pixels, names=tuple(map(str, rows)), labels=tiles.labels[rows], rows=None, own_splits={}
    )
    splits = {"train": np.arange(count), "test": np.arange(count, 2 * count)}
    start = time.perf_counter()
    [found] = find_near_duplicates(plain, splits)
    elapsed = time.perf_counter() - start
    print(f"orbitune.data.near_duplicates: {elapsed:.1f} s, false alarms: {found.count}")
    for change, apply in changes.items():
        copies = np.stack([apply(tile) for tile in pixels[:copied]])
        planted = replace(
            plain,
            tiles=np.concatenate([pixels[:count], copies]),
            names=(*plain.names[:count], *(f"copy {row}" for row in range(copied))),
            labels=np.concatenate([plain.labels[:count], plain.labels[:copied]]),
        )
        splits = {"train": np.arange(count), "test": np.arange(count, count + copied)}
        [found] = find_near_duplicates(planted, splits)
        shares = [f"orbitune {found.count / copied:.0%}"]
        for name, limit in limits.items():
            function = getattr(imagehash, name)
            near = distances(copies, pixels[:copied], function=function).diagonal() <= limit
            shares.append(f"{name} {near.mean():.0%}")
        print(f"{change}: found {', '.join(shares)}")


def compare_flops() -> None:
    """Count a ViT's operations per image with torch's FlopCounterMode."""
    from orbitune.bench.flops import forward_flops, training_flops
    from orbitune.models.backbones import find_backbone
    from orbitune.models.factory import resolve
    from orbitune.recipe import Recipe

    backbone = find_backbone("demo")
    print(f"forward: {forward_flops(backbone, 112):,.0f}")
    for method in ("full", "linear", "lora", "topk"):
        recipe = resolve(Recipe(method=method, image_size=112), backbone)
        elapsed = seconds(partial(training_flops, recipe, backbone))
        print(f"{method}: {training_flops(recipe, backbone):,.0f} ({elapsed:.1f} s)")


def compare_schedules() -> None:
    """Compare learning rates with those of transformers and torch."""
    import torch
    from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
    from transformers import get_cosine_schedule_with_warmup

    from orbitune.recipe import Recipe
    from orbitune.training.schedule import learning_rate

    steps, warmup, peak = 100, 10, 1e-3
    ours = [learning_rate(Recipe(learning_rate=peak), step, steps=steps) for step in range(steps)]

    def rates(make: Callable[[Any], Any]) -> list[float]:
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=peak)
        scheduler, found = make(optimizer), []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    others = {
        "transformers": lambda o: get_cosine_schedule_with_warmup(o, warmup, steps),
        "torch": lambda o: SequentialLR(
            o,
            [LinearLR(o, 1 / warmup, 1, warmup - 1), CosineAnnealingLR(o, steps - warmup)],
            [warmup],
        ),
    }
    print(f"first rates: {[f'{rate:.1e}' for rate in ours[:3]]}")
    for name, make in others.items():
        found = rates(make)
        largest = max(abs(a - b) for a, b in zip(ours[warmup:], found[warmup:], strict=True))
        equal = sum(a == b for a, b in zip(ours, found, strict=True))
        first = [f"{rate:.1e}" for rate in found[:3]]
        print(f"{name}: {first}, after warm-up up to {largest:.0e} apart; {equal} of {steps} bit-equal")


COMPARISONS: dict[str, Callable[..., None]] = {
    "statsmodels": compare_statsmodels,
    "optuna": compare_optuna,
    "smoothquant": compare_smoothquant,
    "graphs": compare_graphs,
    "energy": compare_energy,
    "captum": compare_captum,
    "imagehash": compare_imagehash,
    "flops": compare_flops,
    "schedules": compare_schedules,
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in COMPARISONS:
        sys.exit(f"usage: python benchmarks/ecosystem.py {'|'.join(COMPARISONS)} [DATA]")
    COMPARISONS[sys.argv[1]](*sys.argv[2:])
