"""Tools for saved adapters: list, verify, compare and merge them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.adapters.merge_scores import score_merged
from orbitune.errors import ModelError, OrbituneError, RunError, counted
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import Bundle
from orbitune.inference.output_places import check_place
from orbitune.models.checkpoint_io import write_metadata
from orbitune.models.files.adapter_files import DOWN, PREFIX, UP, read_adapter_config
from orbitune.models.files.checkpoint_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from orbitune.models.lineage.ancestors import Ancestor
from orbitune.models.lineage.carrying import carry_backbone
from orbitune.models.lineage.merging import MergeParent, MergeScore
from orbitune.models.lineage.seen_file import merge_seen
from orbitune.models.lineage.shipping import strip_paths
from orbitune.models.preprocessing import write_preprocessing
from orbitune.suggestions import missing, taken
from orbitune.training.stored.integrity import check_run

if TYPE_CHECKING:
    from torch import Tensor

    from orbitune.adapters.batched_lora import Factors

_MAX_DEPTH = 4  # of folders to search for adapters


@dataclass(frozen=True)
class AdapterSummary:
    """Summary of a bundle or run.

    Attributes:
        path: its folder.
        method: name of the fine-tuning method; None, like all that follows, if the folder is damaged.
        classes: number of classes.
        image_size: in pixels.
        backbone: name of the backbone.
        bytes: size on disk.
        test_accuracy: 0..1; None if unknown, and with several labels a tile.
        test_mean_average_precision: 0..1, with several labels a tile; else None.
        test_macro_f1: 0..1; None if unknown.
        test_tiles: number of test tiles; None if unknown.
        split: what their split is called; None if there are no scores.
        error: why it cannot be opened; None if it can.
    """

    path: str
    method: str | None = None
    classes: int | None = None
    image_size: int | None = None
    backbone: str | None = None
    bytes: int | None = None
    test_accuracy: float | None = None
    test_mean_average_precision: float | None = None
    test_macro_f1: float | None = None
    test_tiles: int | None = None
    split: str | None = None
    error: str | None = None

    @property
    def test_score(self) -> str:
        """Return the main scores on the test tiles with their names; empty if unknown."""
        accuracy = [] if self.test_accuracy is None else [f"accuracy {self.test_accuracy:.2%}"]
        others = {"mAP": self.test_mean_average_precision, "macro-F1": self.test_macro_f1}
        return ", ".join(
            accuracy + [f"{name} {value:.4f}" for name, value in others.items() if value is not None]
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields for JSON; of a damaged folder only path and error."""
        if self.error:
            return {"path": self.path, "error": self.error}
        return {name: value for name, value in asdict(self).items() if name != "error"}


@dataclass(frozen=True)
class LayerComparison:
    """The updates of two adapters to one layer.

    Attributes:
        layer: name of the layer.
        one, other: Frobenius norms of the updates.
        cosine: cosine similarity of the updates as vectors, -1..1.
    """

    layer: str
    one: float
    other: float
    cosine: float


def list_adapters(folder: str | Path) -> list[AdapterSummary]:
    """Summarise every bundle and finished run below a folder.

    Raises:
        RunError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise RunError(missing("folder", folder))
    return [_summarise(place) for place in _find_folders(Path(folder), _MAX_DEPTH)]


def _find_folders(folder: Path, depth: int) -> Iterator[Path]:
    """Yield folders of runs and bundles, without searching inside them."""
    if (folder / "result.json").is_file() or (folder / "orbitune.json").is_file():
        yield folder
    elif depth:
        for below in sorted(path for path in folder.iterdir() if path.is_dir()):
            yield from _find_folders(below, depth - 1)


def _summarise(folder: Path) -> AdapterSummary:
    """Return the summary of one folder; of a damaged one, its error."""
    try:
        bundle = Bundle.open(folder)
    except OrbituneError as error:
        return AdapterSummary(path=str(folder), error=str(error))
    metadata = bundle.metadata
    test = metadata.scores.get("test")
    scores = test.headline() if test else {}
    return AdapterSummary(
        path=str(folder),
        method=metadata.method,
        classes=len(bundle.classes),
        image_size=metadata.preprocessing.image_size,
        backbone=metadata.backbone.name,
        bytes=bundle.bytes,
        test_accuracy=scores.get("accuracy"),
        test_mean_average_precision=scores.get("mAP"),
        test_macro_f1=scores.get("macro-F1"),
        test_tiles=test.count if test else None,
        split=metadata.data.split_name if test else None,
    )


def verify(source: str | Path, backbone: str | None = None) -> dict[str, str]:
    """Verify the files and the backbone of a bundle or run, and load it.

    Of a run, the recipe, environment and log are verified too.

    Args:
        source: folder of a bundle or a finished run.
        backbone: hub id or folder, if the backbone was moved.

    Returns:
        The result of each check, as text.

    Raises:
        OrbituneError: a check failed.
    """
    bundle = Bundle.open(source)
    hashed = {**bundle.metadata.files, **bundle.metadata.settings}
    if (Path(source) / "result.json").is_file():
        check_run(Path(source))
    found = bundle.backbone(backbone)
    bundle.model(found)
    return {
        "files": f"{len(hashed)} match their hashes" if hashed else "no hashes are stored",
        "backbone": f"{found.name}, with the weights of the training ({found.weights_hash[:12]})",
        **_verify_chain(bundle.metadata.backbone.ancestors),
        "model": f"loads, {counted(len(bundle.classes), 'class')}",
        "ood_detector": "stored" if bundle.ood_detector else "none",
    }


def _verify_chain(ancestors: Sequence[Ancestor]) -> dict[str, str]:
    """Return the chain of a backbone that was fine-tuned, whose hashes were compared when it was opened."""
    if not ancestors:
        return {}
    links = " -> ".join(f"{link.name} ({link.method}) {link.merged_sha256[:12]}" for link in ancestors)
    return {"chain": f"{ancestors[0].base} {ancestors[0].base_sha256[:12]} -> {links}"}


def compare(one: str | Path, other: str | Path) -> list[LayerComparison]:
    """Compare the updates of two low-rank adapters of one backbone, layer by layer.

    Args:
        one: folder of a bundle or a finished run.
        other: another one on the same backbone.

    Returns:
        One comparison per adapted layer.

    Raises:
        ModelError: one of them is not a low-rank adapter, or they belong to different backbones.
    """
    _check_compatible(one, other)
    first, second = _updates(one), _updates(other)
    rows = []
    for layer in sorted(first.keys() | second.keys(), key=_natural_order):
        pair = [updates.get(layer) for updates in (first, second)]
        if pair[0] is not None and pair[1] is not None and pair[0].shape != pair[1].shape:
            raise ModelError(f"The updates of {layer} have different shapes: one of the adapters is damaged.")
        norms = [0.0 if each is None else float(each.norm()) for each in pair]
        product = float((pair[0] * pair[1]).sum()) if pair[0] is not None and pair[1] is not None else 0.0
        cosine = product / (norms[0] * norms[1]) if all(norms) else 0.0
        rows.append(LayerComparison(layer=layer, one=norms[0], other=norms[1], cosine=cosine))
    return rows


def merge(
    one: str | Path, other: str | Path, *, out: str | Path, weight: float = 0.5, progress: bool = True
) -> list[MergeScore]:
    """Merge two adapters into their weighted mean, and score all three.

    The mean is exact: the factors are concatenated, so the ranks add up (`combination_type="cat"` of PEFT).
    Heads are averaged. Scores are on the validation tiles of both runs; no test split is read.

    Args:
        one, other: finished runs with the same classes, backbone and image size.
        out: folder of the merged adapter; it must not exist.
        weight: of `one`, 0..1; that of `other` is 1 - weight.
        progress: whether to show progress on stderr.

    Returns:
        Accuracy and macro-F1 on the validation tiles of each run.

    Raises:
        OrbituneError: they cannot be merged, or the tiles of a run have changed.
    """
    out = Path(out)
    check_place(out)
    if out.exists():
        raise ModelError(taken(out))
    if not 0 <= weight <= 1:
        raise ModelError(f"The weight of the first adapter is between 0 and 1, not {weight:g}.")
    _check_compatible(one, other)
    first, second = Bundle.open(one), Bundle.open(other)
    for bundle in (first, second):
        bundle.require_single_label("Merged adapters")
    if first.classes != second.classes:
        raise ModelError(f"{one} and {other} have different classes.")
    from safetensors.torch import save_file

    tensors, rank = _weighted_mean(first.folder, second.folder, weight=weight)
    config = read_adapter_config(first.folder)
    used = sorted({name.split(".lora_")[0].removeprefix(PREFIX) for name in tensors if ".lora_" in name})
    config |= {"r": rank, "lora_alpha": rank, "use_rslora": False, "target_modules": used}
    parents = (
        MergeParent(path=first.name, weight=weight),
        MergeParent(path=second.name, weight=1 - weight),
    )
    metadata = first.metadata.model_copy(
        update={"scores": {}, "merged_from": parents, "temperature": None, "ood_detector": None}
    )
    with replacing(out) as folder:
        folder.mkdir()
        save_file(tensors, folder / ADAPTER_WEIGHTS, {"format": "pt"})
        write_json(folder / ADAPTER_CONFIG, config)
        write_preprocessing(folder, metadata.preprocessing)
        backbone = first.backbone()
        metadata = strip_paths(folder, metadata, backbone=backbone)
        merge_seen(folder, first.place, second.place)
        write_metadata(folder, metadata)
        carry_backbone(folder, backbone)
        bundles = [first, second, replace(first, folder=folder)]
        scores = score_merged([Path(one), Path(other)], bundles, progress=progress)
        write_metadata(folder, metadata.model_copy(update={"validations": tuple(scores)}))
    return scores


def _weighted_mean(one: Path, other: Path, *, weight: float) -> "tuple[dict[str, Tensor], int]":
    """Return the weighted mean of the tensors by PEFT's names, and its rank."""
    import torch

    from orbitune.adapters.batched_lora import rank_of, read_low_rank

    (first, head), (second, other_head) = read_low_rank(one), read_low_rank(other)
    if {name: t.shape for name, t in head.items()} != {name: t.shape for name, t in other_head.items()}:
        raise ModelError(f"{one} and {other} differ in the tensors they change besides low-rank updates.")
    _check_shapes(first, second)
    ranks = rank_of(first), rank_of(second)
    merged = {name: weight * head[name] + (1 - weight) * other_head[name] for name in head}
    for layer in sorted(first.keys() | second.keys()):
        like = first.get(layer) or second[layer]
        downs, ups = [], []
        for factors, part, rank in ((first, weight, ranks[0]), (second, 1 - weight, ranks[1])):
            down = like.down.new_zeros(rank, like.down.shape[1])
            up = like.up.new_zeros(len(like.up), rank)
            if layer in factors:  # otherwise its update is zero
                own = len(factors[layer].down)
                down[:own], up[:, :own] = factors[layer].down, part * factors[layer].up
            downs.append(down)
            ups.append(up)
        merged[layer + DOWN], merged[layer + UP] = torch.cat(downs), torch.cat(ups, 1)
    return {PREFIX + name: tensor.contiguous() for name, tensor in merged.items()}, sum(ranks)


def _check_shapes(first: "Mapping[str, Factors]", second: "Mapping[str, Factors]") -> None:
    """Raise a ModelError if updates of the same layer differ in shape."""
    for layer in first.keys() & second.keys():
        one, other = first[layer], second[layer]
        if (len(one.up), one.down.shape[1]) != (len(other.up), other.down.shape[1]):
            raise ModelError(f"The updates of {layer} have different shapes: one of the adapters is damaged.")


def _check_compatible(one: str | Path, other: str | Path) -> None:
    """Raise a ModelError if two adapters differ in backbone or image size."""
    first, second = (Bundle.open(place).metadata for place in (one, other))
    if first.backbone.weights_sha256 != second.backbone.weights_sha256:
        raise ModelError(f"{one} and {other} belong to different backbones.")
    if first.preprocessing.image_size != second.preprocessing.image_size:
        raise ModelError(f"{one} and {other} were trained at different image sizes.")


def _updates(place: str | Path) -> "dict[str, Tensor]":
    """Return the scaled update B A of each layer, by the layer's name."""
    from orbitune.adapters.batched_lora import read_low_rank

    factors, _ = read_low_rank(Bundle.open(place).folder)
    return {name: each.up @ each.down for name, each in factors.items()}


def _natural_order(layer: str) -> list[tuple[int, str]]:
    """Return a sort key that puts layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in layer.split(".")]
