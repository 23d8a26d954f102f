"""Bundle builder: stored weights, OOD detector and model card of a run."""

from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np

from orbitune.data.labels.membership import kinds
from orbitune.data.transform import to_tensor
from orbitune.errors import RunError
from orbitune.evaluation.calibration import probabilities
from orbitune.evaluation.ood import MEASURE, OODDetector
from orbitune.evaluation.run_result import RunResult
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import OOD_DETECTOR_FILE, Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.model_card import write_model_card
from orbitune.integrity import read_json
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.lineage.fine_tuned import carry_backbone
from orbitune.models.lineage.seen_tiles import copy_seen
from orbitune.models.metadata import (
    Brightness,
    ModelMetadata,
    OODThreshold,
    StorageType,
    TrainingData,
    WeightStorage,
)
from orbitune.progress import ProgressDisplay
from orbitune.training.evaluate import reopen
from orbitune.training.setup import TrainingSetup

SAMPLE = 2000  # training tiles that are measured, and validation tiles; more changed nothing on EuroSAT
BATCH = 256  # tiles read at a time
# Fraction of the views of tiles beyond each limit for cells of a map, see `OODThreshold`. The limit of whole
# tiles, set on tiles as they are, would give most cells of another scene no class.
VIEW_ALARM_RATE = 0.03


def build_bundle(
    run: str | Path,
    out: str | Path,
    *,
    dtype: StorageType = "float32",
    false_alarm_rate: float = 0.01,
    progress: bool = True,
) -> Bundle:
    """Build a bundle from a finished run, with the run's own tiles.

    Examples:
        >>> from orbitune import build_bundle
        >>> bundle = build_bundle("runs/lora", "land-cover")
        >>> bundle.ood_detector.threshold

    Args:
        run: the run folder.
        out: the folder to make; it must not exist.
        dtype: of the stored weights. For 16 bits, the change of the validation scores is measured, in
            fp32 arithmetic, and stored.
        false_alarm_rate: fraction of tiles like the training tiles, in 0..0.5, that are *not sure*;
            the threshold is set on validation tiles.
        progress: show a progress bar on stderr.

    Returns:
        The bundle in `out`.

    Raises:
        OrbituneError: the run is not finished, its tiles or backbone are no longer the same, the place is
            taken, or the weights do not fit into 16 bits.
    """
    run, out = Path(run), Path(out)
    if dtype not in get_args(StorageType):
        raise RunError(f"Unknown storage type {dtype!r}. Choose from: {', '.join(get_args(StorageType))}.")
    if not 0 < false_alarm_rate < 0.5:
        raise RunError("The false-alarm rate must be between 0 and 0.5, such as 0.01.")
    if out.exists():
        raise RunError(f"{out} exists; choose another --out, or remove it.")
    source = Bundle.open(run)
    result, setup = reopen(run, progress)
    with replacing(out) as folder, ProgressDisplay(progress) as display:
        copy_weights(source.folder, folder, dtype=dtype)
        carry_backbone(folder, setup.backbone)
        copy_seen(run, folder)
        metadata = _complete_metadata(source.metadata, result, setup=setup).model_copy(
            update={"storage": WeightStorage(dtype=dtype)}
        )
        write_metadata(folder, metadata)
        if dtype != "float32":
            storage = _storage_loss(
                source, Bundle(folder, metadata), setup=setup, display=display, dtype=dtype
            )
            metadata = metadata.model_copy(update={"storage": storage})
        detector = _fit_detector(Bundle(folder, metadata), setup, rate=false_alarm_rate, display=display)
        metadata = metadata.model_copy(update={"ood_detector": detector})
        write_metadata(folder, metadata)
        write_model_card(folder, metadata, result=result, family=setup.backbone.family)
    return Bundle.open(out)


def _complete_metadata(metadata: ModelMetadata, result: RunResult, *, setup: TrainingSetup) -> ModelMetadata:
    """Return the metadata with what a run stores outside of its saved model."""
    data = TrainingData(
        name=setup.recipe.data,
        source=setup.data.source,
        fingerprint=setup.tiles.fingerprint,
        split=setup.recipe.split,
        splits_sha256=setup.inputs().splits,  # as in inputs.json, or the run would not have been opened
        tile_size=setup.data.tile_size,
        scale_max=setup.data.scale_max,
        synthetic=setup.data.synthetic,
        sizes=setup.data.sizes,
        notes=setup.data.notes,
        brightness=_brightness(setup),
        statistics=setup.data.statistics,
        window=setup.data.window,
    )
    made_by = f"orbitune {version('orbitune')}"
    return metadata.model_copy(update={"made_by": made_by, "parameters": result.parameters, "data": data})


def copy_weights(saved: Path, folder: Path, *, dtype: str) -> None:
    """Copy a saved model into a new folder, with its weights cast to `dtype`.

    Args:
        saved: folder of the saved model.
        folder: folder to create.
        dtype: float32, float16 or bfloat16.

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


def _storage_loss(
    before: Bundle, after: Bundle, *, setup: TrainingSetup, display: ProgressDisplay, dtype: StorageType
) -> WeightStorage:
    """Measure how 16-bit storage changes validation outputs, in fp32 arithmetic."""
    indices = setup.splits["validation"]
    logits = [
        _compute_outputs(
            BundleModel(bundle, setup.recipe.backbone, precision="fp32"),
            setup,
            indices=indices,
            title=f"validation, {title}",
            display=display,
        )[0]
        for bundle, title in ((before, "before"), (after, "after"))
    ]
    labels = setup.tiles.labels[indices]
    task, decision = setup.task, before.decision
    stored, trained = (task.probabilities(each, decision) for each in reversed(logits))
    losses = task.lost_scores(stored, trained, labels=labels, decision=decision)
    scores = {each.score: (each.reference, each.found) for each in losses}
    accuracy = scores.pop("accuracy", (None, None))
    return WeightStorage(
        dtype=dtype,
        tiles=len(indices),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
        label_scores=scores,
        largest_logit_difference=float(np.abs(logits[1] - logits[0]).max()),
    )


def _fit_detector(
    bundle: Bundle, setup: TrainingSetup, *, rate: float, display: ProgressDisplay
) -> OODThreshold:
    """Fit the OOD detector on training tiles; set its threshold on validation tiles."""
    random = np.random.default_rng(0)
    groups = kinds(setup.tiles.labels)
    train = _sample(setup.splits["train"], groups, random=random)
    held_out = random.permutation(setup.splits["validation"])[:SAMPLE]
    model = BundleModel(bundle, setup.recipe.backbone)
    features = _compute_outputs(model, setup, indices=train, title="training tiles", display=display)[1]
    new = _compute_outputs(model, setup, indices=held_out, title="validation tiles", display=display)[1]
    detector = OODDetector.fit(features, groups[train], held_out=new, false_alarm_rate=rate)
    detector.save(bundle.folder / OOD_DETECTOR_FILE)
    return OODThreshold(
        **_map_limits(
            model,
            setup,
            detector=detector,
            held_out=held_out,
            temperature=bundle.decision.temperature,
            display=display,
        ),
        measure=MEASURE,
        threshold=detector.threshold,
        false_alarm_rate=rate,
        training_tiles=len(train),
        validation_tiles=len(held_out),
        bytes=(bundle.folder / OOD_DETECTOR_FILE).stat().st_size,
    )


def _map_limits(
    model: BundleModel,
    setup: TrainingSetup,
    *,
    detector: OODDetector,
    held_out: np.ndarray,
    temperature: float,
    display: ProgressDisplay,
) -> dict[str, float]:
    """Return the limits for cells of a map, from views of held-out tiles.

    They are empty where the model was trained without views.
    """
    if setup.recipe.augment != "sensor":
        return {}
    logits, features = _compute_outputs(
        model, setup, indices=held_out, title="views of validation tiles", display=display, views=True
    )
    predicted = probabilities(logits, temperature)
    correct = predicted.argmax(1) == setup.tiles.labels[held_out]
    confidence = predicted.max(1)
    lowest = float(np.quantile(confidence, VIEW_ALARM_RATE, method="lower"))
    return {
        "view_threshold": float(np.quantile(detector.scores(features), 1 - VIEW_ALARM_RATE, method="higher")),
        "min_confidence": lowest,
        "risk": float((~correct[confidence >= lowest]).mean()),
    }


def _brightness(setup: TrainingSetup) -> Brightness:
    """Return mean and standard deviation of each band's brightness, 0..255."""
    some = np.random.default_rng(0).permutation(setup.splits["train"])[:SAMPLE]
    means = np.concatenate(
        [setup.tiles.read(some[start : start + BATCH]).mean((1, 2)) for start in range(0, len(some), BATCH)]
    )
    return Brightness(mean=tuple(means.mean(0).tolist()), deviation=tuple(means.std(0).tolist()))


def _sample(indices: np.ndarray, labels: np.ndarray, *, random: np.random.Generator) -> np.ndarray:
    """Draw at most SAMPLE indices, balanced over the classes where possible."""
    indices = random.permutation(indices)
    present = np.unique(labels[indices])
    per_class = max(1, SAMPLE // len(present))
    return np.concatenate([indices[labels[indices] == label][:per_class] for label in present])


def _compute_outputs(
    model: BundleModel,
    setup: TrainingSetup,
    *,
    indices: np.ndarray,
    title: str,
    display: ProgressDisplay,
    views: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute logits and features of some of the run's tiles, or of their views."""
    parts = []
    with display.task(title, len(indices)) as task:
        for start in range(0, len(indices), BATCH):
            batch = indices[start : start + BATCH]
            tiles = setup.tiles.read(batch)
            parts.append(model.compute(_views(tiles, setup, seed=start) if views else tiles))
            task.advance(len(batch))
    logits, features = (np.concatenate(part) for part in zip(*parts, strict=True))
    return logits, features


def _views(tiles: np.ndarray, setup: TrainingSetup, *, seed: int) -> np.ndarray:
    """Return a view of each tile, none of them corrupted, see `SensorAugmentation`."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        views = setup.sensor_augmentation.usable_views(to_tensor(tiles, torch.device("cpu")))
    return views.numpy().astype(tiles.dtype)
