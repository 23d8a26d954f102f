"""Fine-tuned runs and bundles as backbones of others.

An adapter is merged into the weights that it was trained on. The merged folder lies in the cache; bundles of
models that were trained on it carry it as `backbone`, see `orbitune.models.lineage.carrying`.
"""

import hashlib
import warnings
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.cache import cache_folder
from orbitune.errors import ModelError, OrbituneError
from orbitune.files import replacing
from orbitune.hub import snapshot
from orbitune.integrity import file_hash
from orbitune.models.backbones import Backbone, find_backbone
from orbitune.models.checkpoint_io import is_adapter, load_saved, open_saved, save_model, write_metadata
from orbitune.models.files.checkpoint_files import ADAPTER_WEIGHTS, hashed_files
from orbitune.models.files.location import checkpoint_folder
from orbitune.models.files.run_weights import FOLDERS, describe_missing, holds_weights
from orbitune.models.lineage.ancestors import Ancestor
from orbitune.models.lineage.places import recall
from orbitune.models.lineage.seen_file import FILE as SEEN_FILE
from orbitune.models.lineage.seen_file import copy_seen
from orbitune.models.metadata import FILE, HUB_FILES, BackboneRecord, ModelMetadata
from orbitune.sources.band_names import COLOURS
from orbitune.sources.hub_ids import looks_like_path

if TYPE_CHECKING:
    from torch import nn

CARRIED = "backbone"  # folder of the backbone that a bundle carries
_RUN_FILES = ("recipe.yaml", "result.json")


@dataclass(frozen=True)
class FineTuned(Backbone):
    """A fine-tuned model as a backbone; its folder holds all weights.

    Attributes:
        parent: metadata of the model.
        link: of the model in the chain.
    """

    parent: ModelMetadata | None = None
    link: Ancestor | None = None

    def for_bands(self, bands: tuple[str, ...]) -> Backbone:
        """Return the checkpoint for these bands, see `Backbone.for_bands`.

        Raises:
            ModelError: they are the bands of its training in another order; or of another number, and it was
                not trained on red, green and blue, which could be widened.
        """
        own = self.preprocessing.bands
        reordered = bands != own and sorted(bands) == sorted(own)
        if reordered or (len(bands) != len(own) and own != COLOURS):
            raise ModelError(
                f"{self.name} was trained on the bands {','.join(own)}, in this order, and the tiles have "
                f"{','.join(bands)}: choose them with --bands {','.join(own)}."
            )
        return super().for_bands(bands)

    @property
    def ancestors(self) -> tuple[Ancestor, ...]:
        """Return the chain that led to it, the oldest first, with itself."""
        assert self.parent and self.link
        return (*self.parent.backbone.ancestors, self.link)

    @property
    def record(self) -> BackboneRecord:
        """Return what a saved model states about its backbone."""
        assert self.parent
        known = {"licence": self.parent.backbone.licence, "ancestors": self.ancestors}
        return super().record.model_copy(update=known)

    @property
    def reference(self) -> str:
        """Return the folder of its weights, which transformers opens."""
        return str(self.folder)

    @property
    def description(self) -> str:
        """Return a description of these weights in plain words."""
        runs = ", then ".join(f"{link.name} ({link.method})" for link in self.ancestors)
        return f"{self.family.title} fine-tuned in {runs}"


def open_backbone(name: str) -> Backbone:
    """Find a backbone: a checkpoint, or a fine-tuned model, whose adapter is merged on its first use.

    Args:
        name: hub id of a checkpoint or of a bundle, `demo`, folder of a checkpoint, or a finished run or
            bundle of Orbitune.

    Raises:
        ModelError: there is none, its architecture is not supported, its run is not finished, its files are
            damaged, or the weights that its adapter was trained on are missing or have changed.
        OrbituneError: the hub id cannot be downloaded.
    """
    folder = checkpoint_folder(name)
    saved = _saved_folder(folder) if looks_like_path(name) else _hub_bundle(name, folder)
    if saved is None:
        return find_backbone(name, folder)
    try:
        metadata = open_saved(saved)
    except ModelError:
        raise
    except OrbituneError as error:
        raise ModelError(f"{name} cannot be used as a backbone: {error}") from None
    if not is_adapter(saved):
        return _as_backbone(name, saved, metadata=metadata)
    folder, hashes = _merged(saved, metadata)
    link = _link(name, saved, metadata=metadata, saved=hashes.saved_sha256, merged=hashes.merged_sha256)
    return _as_backbone(name, folder, metadata=metadata.model_copy(update={"merged_link": link}))


def _saved_folder(place: Path) -> Path | None:
    """Return the folder of the saved model of a run or bundle; None for all else.

    Raises:
        ModelError: it is a run that is not finished.
    """
    if any((place / name).is_file() for name in _RUN_FILES):
        found = [place / name for name in FOLDERS if (place / name / FILE).is_file()]
        if (place / "result.json").is_file() and not holds_weights(place):
            raise ModelError(describe_missing(place))
        if not found or not (place / "result.json").is_file():
            raise ModelError(f"{place} is a run that is not finished: finish it before others start from it.")
        return found[0]
    return place if (place / FILE).is_file() else None


def _hub_bundle(repo_id: str, folder: Path) -> Path | None:
    """Return the folder of a bundle of the hub with all its files; None if it is a plain checkpoint.

    Args:
        repo_id: owner/name.
        folder: its files that a checkpoint has.
    """
    return snapshot(repo_id, "model", patterns=HUB_FILES) if (folder / FILE).is_file() else None


def saved_hash(place: Path) -> str | None:
    """Return `Ancestor.saved_sha256` of a run or bundle; None where there is none."""
    try:
        saved = _saved_folder(place)
    except ModelError:
        return None
    if saved is None:
        return None
    return file_hash(*([saved / ADAPTER_WEIGHTS] if is_adapter(saved) else hashed_files(saved)))


def place_of(saved: Path) -> Path:
    """Return the folder of a saved model, or that of the run that it is part of."""
    folder = saved.resolve()
    return folder.parent if (folder.parent / "result.json").is_file() else folder


def _as_backbone(name: str, folder: Path, *, metadata: ModelMetadata) -> FineTuned:
    """Return a folder with all weights as a backbone.

    Raises:
        ModelError: it holds other weights than those of its link, or is damaged.
    """
    found = find_backbone(str(folder.resolve()))
    own = {each.name: getattr(found, each.name) for each in fields(found)} | {"name": name}
    if not metadata.preprocessing.is_rgb:  # the preprocessor's file names no bands
        own["preprocessing"] = metadata.preprocessing.model_copy(
            update={"stated_by": "the fine-tuned backbone"}
        )
    if link := metadata.merged_link:
        if link.merged_sha256 != found.weights_hash:
            raise ModelError(
                f"The weights of {folder} are not those of its link in the chain, {link.name} "
                f"({link.method}): their SHA-256 is {found.weights_hash[:12]}, not "
                f"{link.merged_sha256[:12]}. Restore it."
            )
    else:
        digest = found.weights_hash
        link = _link(name, folder, metadata=metadata, saved=digest, merged=digest)
    return FineTuned(**own, parent=metadata, link=link)


def _link(name: str, folder: Path, *, metadata: ModelMetadata, saved: str, merged: str) -> Ancestor:
    """Return the link of a saved model in a chain, with the hashes of its files and its merged weights.

    Args:
        name: hub id, or path of its folder or run.
        folder: of the saved model.
        metadata: of the saved model.
        saved, merged: hashes, see `Ancestor`.
    """
    base, place, local = metadata.backbone, place_of(folder), looks_like_path(name)
    return Ancestor(
        name=place.name if local else name,
        folder=str(place) if local else None,
        method=metadata.method,
        base=base.name if base.name == "demo" or base.is_hashed else base.reference,
        base_sha256=base.weights_sha256,
        saved_sha256=saved,
        merged_sha256=merged,
        data=metadata.data.name,
        fingerprint=metadata.data.fingerprint,
    )


def _merged(saved: Path, metadata: ModelMetadata) -> tuple[Path, Ancestor]:
    """Return the cached folder of a model with its adapter merged, and its link; made where missing.

    Several models may have the same weights: of the link, the hashes alone are those of all.
    """
    from filelock import FileLock

    adapter = file_hash(saved / ADAPTER_WEIGHTS)
    identity = (metadata.backbone.weights_sha256, adapter, *metadata.classes, *metadata.settings.values())
    key = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:16]
    folder = cache_folder("backbones") / f"merged-{key}"
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        try:
            link = open_saved(folder).merged_link
        except OrbituneError:  # missing or damaged
            link = None
        link = link or _write_merged(folder, saved, metadata=metadata, adapter=adapter)
        if not (folder / SEEN_FILE).exists():
            copy_seen(place_of(saved), folder)
        return folder, link


def _write_merged(folder: Path, saved: Path, *, metadata: ModelMetadata, adapter: str) -> Ancestor:
    """Merge an adapter into the weights that it was trained on, and save all of them; return the link."""
    try:
        base = _find(saved, metadata)
    except OrbituneError as error:
        raise ModelError(
            f"{saved} cannot be merged, as the weights that it was trained on are missing: {error}"
        ) from None
    model = merge_adapter(load_saved(saved, base, metadata=metadata))
    metadata = metadata.model_copy(update={"storage": None, "ood_detector": None})
    with replacing(folder) as temporary:
        save_model(model, temporary, backbone=base, metadata=metadata)
        merged = file_hash(*sorted(temporary.glob("*.safetensors")))
        link = _link(str(saved), saved, metadata=metadata, saved=adapter, merged=merged)
        write_metadata(temporary, metadata.model_copy(update={"merged_link": link}))
    return link


def merge_adapter(model: "nn.Module") -> "nn.Module":
    """Return the classifier in a PEFT model, with the adapter merged into its weights.

    Products are summed in float64 and rounded once, so that the order of sums, which depends on threads and
    processor, hardly ever changes a bit.

    Args:
        model: of PEFT, in float32 on the CPU; is changed.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [each for each in model.modules() if isinstance(each, BaseTunerLayer)]
    for layer in layers:
        layer.double()
        layer.merge(safe_merge=True)
        layer.float()
    wrapped: Any = model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All adapters are already merged")
        merged: nn.Module = wrapped.merge_and_unload()
    return merged.eval()


def backbone_of(folder: Path, metadata: ModelMetadata, *, name: str | None = None) -> Backbone:
    """Find the backbone of a saved model.

    Args:
        folder: of the saved model.
        metadata: of the saved model.
        name: hub id or folder, where it no longer lies where it did.

    Returns:
        The backbone, whose weights are not compared yet; of a folder with all weights, the folder itself.

    Raises:
        OrbituneError: it cannot be found.
    """
    if not is_adapter(folder):
        return find_backbone(str(folder.resolve()))
    if name:
        return open_backbone(name)
    try:
        return _find(folder, metadata)
    except ModelError as error:
        raise ModelError(f"{error} {folder} was trained on it: say where it is with --backbone.") from None


def _find(folder: Path, metadata: ModelMetadata) -> Backbone:
    """Find the backbone of an adapter where it lay in training, or in the adapter's folder.

    Raises:
        OrbituneError: it cannot be found.
    """
    stated = metadata.backbone
    if stated.ancestors:
        return open_backbone(_fine_tuned_place(folder, stated))
    if stated.is_hashed:
        return _find_by_hash(stated)
    return open_backbone("demo" if stated.name == "demo" else stated.reference)


def _find_by_hash(stated: BackboneRecord) -> Backbone:
    """Find a backbone where it was used on this machine.

    Raises:
        ModelError: it was not, is no longer there, or has changed.
    """
    for place in recall(stated.weights_sha256):
        with suppress(OrbituneError, OSError):
            found = open_backbone(str(place))
            if found.weights_hash == stated.weights_sha256:
                return found
    raise ModelError(
        f"The backbone {stated.name}, whose weights have the SHA-256 {stated.weights_sha256[:12]}, is "
        "not known on this machine."
    )


def _fine_tuned_place(folder: Path, stated: BackboneRecord) -> str:
    """Return where the fine-tuned backbone of a saved model lies.

    Raises:
        ModelError: nowhere where it is looked for.
    """
    last = stated.ancestors[-1]
    for place in (str(folder / CARRIED), stated.reference, last.folder):
        if place and Path(place).is_dir():
            return place
    if last.folder is None and "/" in last.name:
        return last.name  # of the hub
    there = f"neither at {last.folder} nor in the cache" if last.folder else "not beside it"
    raise ModelError(
        f"The backbone of {folder}, the run or bundle {last.name} ({last.method}), is {there}; a bundle "
        "(orbitune bundle) carries its own."
    )
