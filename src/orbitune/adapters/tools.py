"""Adapters on disk: what there is, whether they are whole, how they differ, and two of them made one."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, OrbituneError, RunError
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.models.adapter_files import read_adapter_config
from orbitune.models.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.metadata import MergeAccuracies, MergeParent
from orbitune.models.preprocessing import write_preprocessing
from orbitune.training.run_integrity import check_run

if TYPE_CHECKING:
    from torch import Tensor

    from orbitune.adapters.batched_lora import Factors

_DEPTH = 4  # folders below the one that is listed


def find(folder: str | Path) -> list[dict[str, Any]]:
    """Every bundle and finished run in a folder or below it, ready for JSON, sorted by path.

    Returns:
        Of each: path, method, classes (how many), image_size, backbone, bytes, test accuracy or None; or, of
        one that is damaged, path and error.

    Raises:
        RunError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise RunError(f"There is no folder {folder}.")
    return [_described(place) for place in _places(Path(folder), _DEPTH)]


def _places(folder: Path, depth: int) -> Iterator[Path]:
    """Runs and bundles; what lies inside of one is part of it."""
    if (folder / "result.json").is_file() or (folder / "orbitune.json").is_file():
        yield folder
    elif depth:
        for below in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _places(below, depth - 1)


def _described(place: Path) -> dict[str, Any]:
    try:
        bundle = Bundle.open(place)
    except OrbituneError as error:
        return {"path": str(place), "error": str(error)}
    metadata = bundle.metadata
    return {
        "path": str(place),
        "method": metadata.method,
        "classes": len(bundle.classes),
        "image_size": metadata.preprocessing.image_size,
        "backbone": metadata.backbone.name,
        "bytes": sum(file.stat().st_size for file in bundle.folder.iterdir() if file.is_file()),
        "test_accuracy": metadata.scores["test"].accuracy if "test" in metadata.scores else None,
    }


def verify(source: str | Path, backbone: str | None = None) -> dict[str, str]:
    """Open a bundle or run, compare its files' and its backbone's hashes, and load it.

    Of a run, every other file is checked too.

    Returns:
        What was compared, each with its outcome in words.

    Raises:
        OrbituneError: the first thing that is not as it should be.
    """
    bundle = Bundle.open(source)
    hashed = {**bundle.metadata.files, **bundle.metadata.settings}
    if (Path(source) / "result.json").is_file():
        check_run(Path(source))
    found = bundle.backbone(backbone)
    bundle.model(found)
    return {
        "files": f"{len(hashed)} as when they were written" if hashed else "no hashes were kept",
        "backbone": f"{found.name}, the weights of the training ({found.weights_hash[:12]})",
        "model": f"loads, {len(bundle.classes)} classes",
        "tiles": "known" if bundle.ood_detector else "what the training tiles are like is not known",
    }


def compare(one: str | Path, other: str | Path) -> list[dict[str, Any]]:
    """How far two low-rank adapters of one backbone change each layer, and how much they agree.

    Returns:
        For each layer: layer; one and other, the Frobenius norms of their updates; cosine, of the updates
        as vectors, from -1 to 1.

    Raises:
        ModelError: one is no low-rank adapter, or they belong to different backbones.
    """
    _check_alike(one, other)
    first, second = _updates(one), _updates(other)
    rows = []
    for layer in sorted(first.keys() | second.keys(), key=_in_order):
        pair = [updates.get(layer) for updates in (first, second)]
        if pair[0] is not None and pair[1] is not None and pair[0].shape != pair[1].shape:
            raise ModelError(f"The updates of {layer} have other shapes: one of the adapters is damaged.")
        norms = [0.0 if each is None else float(each.norm()) for each in pair]
        product = float((pair[0] * pair[1]).sum()) if pair[0] is not None and pair[1] is not None else 0.0
        cosine = product / (norms[0] * norms[1]) if all(norms) else 0.0
        rows.append({"layer": layer, "one": norms[0], "other": norms[1], "cosine": cosine})
    return rows


def merge(
    one: str | Path, other: str | Path, out: str | Path, share: float = 0.5, progress: bool = True
) -> list[dict[str, Any]]:
    """Make one adapter whose update is the weighted mean of two, and score all three on both validations.

    The mean of the updates is exact: their factors lie side by side, so the ranks add up (PEFT's `cat`).
    Heads are averaged. No test split is read.

    Args:
        one, other: finished runs with the same classes, on the same backbone, at the same size.
        out: the folder to make; it must not exist.
        share: the weight of `one`, 0..1.

    Returns:
        For each of the two validation splits: tiles, whose they are; and accuracies of one, other and merged.

    Raises:
        OrbituneError: they cannot be merged, or a run's tiles are no longer the same.
    """
    from safetensors.torch import save_file

    from orbitune.adapters.batched_lora import PREFIX

    out = Path(out)
    if out.exists():
        raise ModelError(f"{out} exists; choose another --out, or remove it.")
    if not 0 <= share <= 1:
        raise ModelError("The share of the first adapter lies between 0 and 1.")
    _check_alike(one, other)
    first, second = Bundle.open(one), Bundle.open(other)
    if first.classes != second.classes:
        raise ModelError(f"{one} and {other} have different classes.")
    tensors, rank = _mean(first.folder, second.folder, share)
    config = read_adapter_config(first.folder)
    used = sorted({name.split(".lora_")[0].removeprefix(PREFIX) for name in tensors if ".lora_" in name})
    config |= {"r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": used}
    parents = (
        MergeParent(path=str(one), weight=share),
        MergeParent(path=str(other), weight=1 - share),
    )
    metadata = first.metadata.model_copy(
        update={"scores": {}, "merged_from": parents, "temperature": None, "ood_detector": None}
    )
    with replacing(out) as folder:
        folder.mkdir()
        save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})
        write_json(folder / ADAPTER_CONFIG, config)
        write_preprocessing(folder, metadata.preprocessing)
        write_metadata(folder, metadata)
        scores = _scores([Path(one), Path(other)], [first, second, replace(first, folder=folder)], progress)
        write_metadata(
            folder,
            metadata.model_copy(
                update={"validations": tuple(MergeAccuracies.model_validate(row) for row in scores)}
            ),
        )
    return scores


def _mean(one: Path, other: Path, share: float) -> "tuple[dict[str, Tensor], int]":
    """The tensors of the weighted mean as PEFT names them, and the rank of its updates."""
    import torch

    from orbitune.adapters.batched_lora import DOWN, PREFIX, UP, rank_of, read_low_rank

    (first, head), (second, other_head) = read_low_rank(one), read_low_rank(other)
    if {name: t.shape for name, t in head.items()} != {name: t.shape for name, t in other_head.items()}:
        raise ModelError(f"{one} and {other} change other tensors than each other beside their updates.")
    _check_shapes(first, second)
    ranks = rank_of(first), rank_of(second)
    merged = {name: share * head[name] + (1 - share) * other_head[name] for name in head}
    for layer in sorted(first.keys() | second.keys()):
        like = first.get(layer) or second[layer]
        downs, ups = [], []
        for factors, part, rank in ((first, share, ranks[0]), (second, 1 - share, ranks[1])):
            down = like.down.new_zeros(rank, like.down.shape[1])
            up = like.up.new_zeros(len(like.up), rank)
            if layer in factors:  # else the other alone adapts it
                own = len(factors[layer].down)
                down[:own], up[:, :own] = factors[layer].down, part * factors[layer].up
            downs.append(down)
            ups.append(up)
        merged[layer + DOWN], merged[layer + UP] = torch.cat(downs), torch.cat(ups, 1)
    return {PREFIX + name: tensor.contiguous() for name, tensor in merged.items()}, sum(ranks)


def _check_shapes(first: "Mapping[str, Factors]", second: "Mapping[str, Factors]") -> None:
    """Check that the updates of both have the shapes of the same layers."""
    for layer in first.keys() & second.keys():
        one, other = first[layer], second[layer]
        if (len(one.up), one.down.shape[1]) != (len(other.up), other.down.shape[1]):
            raise ModelError(f"The updates of {layer} have other shapes: one of the adapters is damaged.")


def _scores(runs: list[Path], bundles: list[Bundle], progress: bool) -> list[dict[str, Any]]:
    """Accuracy of each bundle on the validation tiles of each run."""
    from orbitune.inference.bundle_model import BundleModel
    from orbitune.training.evaluate import reopen

    rows = []
    for run in runs:
        _, job = reopen(run, progress)
        indices = job.splits["validation"]
        tiles, labels = job.tiles.read(indices), job.tiles.labels[indices]
        accuracies = [
            float((BundleModel(bundle, job.recipe.backbone).compute(tiles)[0].argmax(1) == labels).mean())
            for bundle in bundles
        ]
        rows.append({"tiles": str(run), **dict(zip(("one", "other", "merged"), accuracies, strict=True))})
    return rows


def _check_alike(one: str | Path, other: str | Path) -> None:
    first, second = (Bundle.open(place).metadata for place in (one, other))
    if first.backbone.weights_sha256 != second.backbone.weights_sha256:
        raise ModelError(f"{one} and {other} belong to different backbones.")
    if first.preprocessing.image_size != second.preprocessing.image_size:
        raise ModelError(f"{one} and {other} were trained at different image sizes.")


def _updates(place: str | Path) -> "dict[str, Tensor]":
    """The update B A of each layer, scaled, by the layer's name."""
    from orbitune.adapters.batched_lora import read_low_rank

    factors, _ = read_low_rank(Bundle.open(place).folder)
    return {name: each.up @ each.down for name, each in factors.items()}


def _in_order(layer: str) -> list[tuple[int, str]]:
    """Layer 10 comes after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in layer.split(".")]
