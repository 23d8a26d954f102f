"""Bundle builder: stored weights, OOD detector and model card of a run."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np

from orbitune.errors import RunError, counted
from orbitune.evaluation.run_result import RunResult
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.inference.bundle_model import BundleModel
from orbitune.inference.example_tiles import write_examples
from orbitune.inference.model_card import write_model_card
from orbitune.inference.ood_fitting import BATCH, SAMPLE, choose_rate, compute_outputs, fit_detector
from orbitune.inference.output_places import check_place
from orbitune.inference.patch_fitting import fit_patch_head
from orbitune.integrity import read_json
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.lineage.carrying import carry_backbone
from orbitune.models.lineage.overlap import describe_trained
from orbitune.models.lineage.seen_file import copy_seen
from orbitune.models.lineage.shipping import strip_paths
from orbitune.models.lineage.training_data import Brightness, TrainingData
from orbitune.models.metadata import (
    ModelMetadata,
    StorageType,
    WeightStorage,
)
from orbitune.progress import ProgressDisplay
from orbitune.suggestions import taken, unknown
from orbitune.training.evaluate import reopen
from orbitune.training.setup import TrainingSetup

_LOGGER = logging.getLogger(__name__)


def build_bundle(
    run: str | Path,
    out: str | Path,
    *,
    dtype: StorageType = "float32",
    false_alarm_rate: float | None = None,
    examples: bool = False,
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
        false_alarm_rate: fraction of tiles like the training tiles, in 0..0.5, that are *not sure*, at most;
            the threshold is set on validation tiles, of which the rate must allow five beyond. None for 0.01,
            or the smallest rate that the validation tiles hold. Fewer than 20 of them give no detector then.
        examples: put a validation tile of each class in it, for the app to offer. Whether these may be passed
            on is for the licence of the data to say.
        progress: show a progress bar on stderr.

    Returns:
        The bundle in `out`.

    Raises:
        OrbituneError: the run is not finished, its tiles or backbone are no longer the same, the place is
            taken, the validation tiles are too few for the false-alarm rate, the weights do not fit into 16
            bits, or the tiles have other bands than examples may have.
    """
    run, out = Path(run), Path(out)
    if dtype not in get_args(StorageType):
        raise RunError(unknown("storage type", dtype, known=get_args(StorageType)))
    if false_alarm_rate is not None and not 0 < false_alarm_rate < 0.5:
        raise RunError("The false-alarm rate must be between 0 and 0.5, such as 0.01.")
    check_place(out)
    if out.exists():
        raise RunError(taken(out))
    source = Bundle.open(run)
    result, setup = reopen(run, progress)
    rate = choose_rate(false_alarm_rate, len(setup.splits["validation"]))
    _warn_seen(setup)
    with replacing(out) as folder, ProgressDisplay(progress) as display:
        copy_weights(source.folder, folder, dtype=dtype)
        if examples:
            write_examples(folder, setup.tiles, validation=setup.splits["validation"])
        carry_backbone(folder, setup.backbone)
        copy_seen(run, folder)
        metadata = _complete_metadata(source.metadata, result, setup=setup).model_copy(
            update={"storage": WeightStorage(dtype=dtype)}
        )
        metadata = strip_paths(folder, metadata, backbone=setup.backbone)
        write_metadata(folder, metadata)
        if dtype != "float32":
            storage = _storage_loss(
                source, Bundle(folder, metadata), setup=setup, display=display, dtype=dtype
            )
            metadata = metadata.model_copy(update={"storage": storage})
        if head := fit_patch_head(Bundle(folder, metadata), setup, display=display):
            head.save(folder)
        if rate is not None:
            detector = fit_detector(Bundle(folder, metadata), setup, rate=rate, display=display)
            metadata = metadata.model_copy(update={"ood_detector": detector})
        write_metadata(folder, metadata)
        write_model_card(folder, metadata, result=result, family=setup.backbone.family)
    return Bundle.open(out)


def _warn_seen(setup: TrainingSetup) -> None:
    """Warn that the runs of the backbone were trained on tiles that the bundle is measured on."""
    tiles = counted(len(setup.splits["validation"]), "validation tile")
    found = setup.trained_before("validation")
    count = None if found is None else int(found.sum())
    if line := describe_trained(tiles, count, whose=setup.backbone.record.runs):
        _LOGGER.warning("%s%s", line, ": *not sure* and the loss by storage rest on them" if count else "")


def _complete_metadata(metadata: ModelMetadata, result: RunResult, *, setup: TrainingSetup) -> ModelMetadata:
    """Return the metadata with what a run stores outside of its saved model."""
    data = TrainingData(
        name=setup.recipe.data,
        source=setup.data.source,
        fingerprint=setup.tiles.fingerprint,
        split=setup.data.split,
        split_origin=setup.data.split_origin,
        fold=setup.data.fold,
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
        compute_outputs(
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
    trained, stored = (
        task.main_scores(task.probabilities(each, decision), labels=labels, decision=decision)
        for each in logits
    )
    scores = {name: (trained[name], stored[name]) for name in trained}
    accuracy = scores.pop("accuracy", (None, None))
    return WeightStorage(
        dtype=dtype,
        tiles=len(indices),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
        label_scores=scores,
        largest_logit_difference=float(np.abs(logits[1] - logits[0]).max()),
    )


def _brightness(setup: TrainingSetup) -> Brightness:
    """Return mean and standard deviation of each band's brightness, 0..255."""
    some = np.random.default_rng(0).permutation(setup.splits["train"])[:SAMPLE]
    means = np.concatenate(
        [setup.tiles.read(some[start : start + BATCH]).mean((1, 2)) for start in range(0, len(some), BATCH)]
    )
    return Brightness(mean=tuple(means.mean(0).tolist()), deviation=tuple(means.std(0).tolist()))
