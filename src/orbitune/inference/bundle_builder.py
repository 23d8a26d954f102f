"""From a finished run to a bundle: what it stored, what its tiles are like, and a card written from both."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from orbitune.errors import RunError
from orbitune.evaluation.ood import MEASURE, OODDetector
from orbitune.evaluation.run_result import RunResult
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import LIKENESS_FILE, Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.model_card import write_card
from orbitune.integrity import read_json
from orbitune.models.checkpoint_io import write_facts
from orbitune.models.metadata import FORMAT
from orbitune.progress import ProgressDisplay
from orbitune.training.evaluate import reopen
from orbitune.training.setup import TrainingSetup

Stored = Literal["float32", "float16", "bfloat16"]

SAMPLE = 2000  # training tiles that are measured, and validation tiles; more changed nothing on EuroSAT
BATCH = 256  # tiles read at a time


def build_bundle(
    run: str | Path,
    out: str | Path,
    dtype: Stored = "float32",
    false_alarm_rate: float = 0.01,
    progress: bool = True,
) -> Bundle:
    """Make a bundle of a finished run, from the run's own tiles.

    Args:
        out: the folder to make; it must not exist.
        dtype: of the stored weights. In 16 bits, what that changes on all validation tiles is measured, in
            fp32 arithmetic, and stated.
        false_alarm_rate: share of tiles like the training tiles, in 0..0.5, that are called unlike them;
            the threshold is set on validation tiles.

    Raises:
        OrbituneError: the run is not finished, its tiles or backbone are no longer the same, the place is
            taken, or the weights do not fit into 16 bits.
    """
    run, out = Path(run), Path(out)
    if dtype not in get_args(Stored):
        raise RunError(f"There is no storage as {dtype!r}; there is: {', '.join(get_args(Stored))}.")
    if not 0 < false_alarm_rate < 0.5:
        raise RunError("The rate of false alarms lies between 0 and 0.5, such as 0.01.")
    if out.exists():
        raise RunError(f"{out} exists; choose another --out, or remove it.")
    source = Bundle.open(run)
    result, job = reopen(run, progress)
    with replacing(out) as folder, ProgressDisplay(progress) as display:
        store(source.folder, folder, dtype)
        facts = {**source.facts, **_facts(run, result, job), "storage": {"dtype": dtype}}
        write_facts(folder, facts)
        if dtype != "float32":
            facts["storage"] |= _loss(source, Bundle(folder, facts), job, display)
        facts["likeness"] = _describe(Bundle(folder, facts), job, false_alarm_rate, display)
        facts["data"]["brightness"] = _brightness(job)
        write_facts(folder, facts)
        write_card(folder, facts, result, job.backbone.family)
    return Bundle.open(out)


def _facts(run: Path, result: RunResult, job: TrainingSetup) -> dict[str, Any]:
    """What a run keeps outside of its saved model, and a bundle needs."""
    splits = job.inputs()["splits"]  # as inputs.json has them, or the job would not have been opened
    kept = ("source", "tile_size", "white", "sizes", "synthetic", "notes")
    return {
        "format": FORMAT,
        "made_by": f"orbitune {version('orbitune')}",
        "parameters": result.parameters,
        "data": {
            "name": job.recipe.data,
            "fingerprint": job.tiles.fingerprint,
            "splits_sha256": splits,
            "split": job.recipe.split,
            **{name: value for name, value in job.data_facts().items() if name in kept},
        },
    }


def store(saved: Path, folder: Path, dtype: str) -> None:
    """Copy a saved model, its weights cast to `dtype`.

    Raises:
        RunError: a weight is too large for it.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    folder.mkdir()
    for file in sorted(saved.iterdir()):
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
        elif file.suffix == ".safetensors":
            with safe_open(file, "pt") as stored:
                kept = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
                metadata = stored.metadata()
            cast = {name: tensor.to(getattr(torch, dtype)) for name, tensor in kept.items()}
            if not all(tensor.isfinite().all() for tensor in cast.values()):
                raise RunError(f"Some weights are too large for {dtype}; store them as bfloat16 or float32.")
            save_file(cast, folder / file.name, metadata or {"format": "pt"})
    if (config := folder / "config.json").is_file():
        write_json(config, {**read_json(config), "dtype": dtype})


def _loss(before: Bundle, after: Bundle, job: TrainingSetup, display: ProgressDisplay) -> dict[str, Any]:
    """What storing in fewer bits changes on the validation tiles, in fp32 arithmetic."""
    indices = job.splits["validation"]
    logits = [
        _measure(bundle, job, indices, f"validation, {words}", display, "fp32")[0]
        for bundle, words in ((before, "before"), (after, "after"))
    ]
    labels = job.tiles.labels[indices]
    was, now = (float((each.argmax(1) == labels).mean()) for each in logits)
    return {
        "tiles": len(indices),
        "accuracy_before": was,
        "accuracy_after": now,
        "largest_logit_difference": float(np.abs(logits[1] - logits[0]).max()),
    }


def _describe(bundle: Bundle, job: TrainingSetup, rate: float, display: ProgressDisplay) -> dict[str, Any]:
    """Write the likeness of the training tiles, and say how it was measured."""
    random = np.random.default_rng(0)
    train = _sample(job.splits["train"], job.tiles.labels, random)
    held_out = random.permutation(job.splits["validation"])[:SAMPLE]
    features = _measure(bundle, job, train, "training tiles", display)[1]
    new = _measure(bundle, job, held_out, "validation tiles", display)[1]
    likeness = OODDetector.fit(features, job.tiles.labels[train], new, rate)
    likeness.save(bundle.folder / LIKENESS_FILE)
    return {
        "measure": MEASURE,
        "threshold": likeness.threshold,
        "false_alarm_rate": rate,
        "training_tiles": len(train),
        "validation_tiles": len(held_out),
        "bytes": (bundle.folder / LIKENESS_FILE).stat().st_size,
    }


def _brightness(job: TrainingSetup) -> dict[str, list[float]]:
    """How bright training tiles are in each band, 0..255, and by how much they differ from each other."""
    some = np.random.default_rng(0).permutation(job.splits["train"])[:SAMPLE]
    means = np.concatenate(
        [job.tiles.read(some[start : start + BATCH]).mean((1, 2)) for start in range(0, len(some), BATCH)]
    )
    return {"mean": means.mean(0).tolist(), "deviation": means.std(0).tolist()}


def _sample(indices: np.ndarray, labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some indices, of each class as many as there are or its share of SAMPLE."""
    indices = random.permutation(indices)
    present = np.unique(labels[indices])
    share = max(1, SAMPLE // len(present))
    return np.concatenate([indices[labels[indices] == label][:share] for label in present])


def _measure(
    bundle: Bundle,
    job: TrainingSetup,
    indices: np.ndarray,
    words: str,
    display: ProgressDisplay,
    precision: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Logits and features of some of the run's tiles."""
    network = BundleModel(bundle, job.recipe.backbone, precision)
    parts = []
    with display.task(words, len(indices)) as task:
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            parts.append(network.compute(job.tiles.read(batch)))
            task.advance(len(batch))
    logits, features = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, features
