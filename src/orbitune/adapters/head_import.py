"""Import of a head that was taught in the browser (`orbitune.exporting.web`), as a bundle."""

import base64
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import PositiveInt, model_validator
from typing_extensions import Self

from orbitune.errors import ModelError
from orbitune.files import replacing, write_json
from orbitune.inference.bundle import OOD_DETECTOR_FILE, Bundle
from orbitune.inference.model_card import write_model_card
from orbitune.inference.output_places import check_place
from orbitune.integrity import file_hash, read_json
from orbitune.models.checkpoint_io import load_saved, write_metadata
from orbitune.models.files.config_files import label_settings
from orbitune.models.files.head_tensors import read_head, write_head
from orbitune.models.lineage.carrying import carry_backbone, copy_saved
from orbitune.models.lineage.seen_file import copy_seen
from orbitune.models.lineage.shipping import strip_paths
from orbitune.models.lineage.taught import HeldOutPictures, TaughtHead
from orbitune.models.metadata import FILE, ClassNames, ParameterCounts, WeightStorage, check_class_names
from orbitune.records import RecordError, StoredRecord
from orbitune.suggestions import taken

LARGEST_NUMBER = 1e6


class HeadFile(StoredRecord):
    """The file that the page saves.

    Attributes:
        kind: tells it from other JSON files.
        name: of the model that was taught.
        hashes: of its recipe, tiles and backbone.
        classes: of the model, then those that were taught.
        width: number of features.
        weight, bias: of the head, float32 (classes, width) and (classes,), little-endian in base64.
        means: of features of length 1, a row for each class with enough pictures, float32 in base64.
        pictures: number of taught pictures of each class.
        held_out: scores of the taught pictures.
        start_bias: of the model's own head, float32 in base64: two trainings of one recipe differ in it.
    """

    kind: Literal["orbitune head"]
    name: str
    hashes: dict[str, str]
    classes: ClassNames
    width: PositiveInt
    weight: str
    bias: str
    means: str
    pictures: dict[str, PositiveInt]
    held_out: HeldOutPictures
    start_bias: str

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        """Check that what is stated of the pictures can be."""
        check_class_names(self.classes)
        held = self.held_out
        if not self.pictures or not self.pictures.keys() <= set(self.classes):
            raise ValueError("pictures are not of its classes")
        if max(held.right_before, held.right_after) > held.pictures:
            raise ValueError("held_out counts more pictures than it has")
        return self


def import_head(
    file: str | Path, source: str | Path, *, out: str | Path, backbone: str | None = None
) -> Bundle:
    """Import a head that was taught in the browser as a bundle.

    All other weights are those of the source, and so is its OOD detector, which also takes pictures like the
    taught ones as known.

    Args:
        file: what the page of `export --to web` saved.
        source: the bundle or finished run that was exported.
        out: folder of the new bundle; it must not exist.
        backbone: hub id or folder of the backbone, where it no longer lies where the source says.

    Returns:
        The new bundle. It has no scores, as those of the source are of its own head.

    Raises:
        ModelError: the file is no such head, is damaged, or is of another model; or the folder exists.
        DataError: the folder cannot be made.
    """
    file, out = Path(file), Path(out)
    check_place(out)
    if out.exists():
        raise ModelError(taken(out))
    taught, parent = _read(file), Bundle.open(source)
    found = parent.backbone(backbone)
    weight, bias, means, start = _arrays(file, taught)
    own = read_head(parent.folder, found.family)
    _check_model(file, taught, parent, width=own[0].shape[1])
    # Stored weights of a bundle may have half the precision.
    if start.shape != own[1].shape or not np.allclose(start, own[1], rtol=0.01, atol=1e-4):
        raise ModelError(f"{file} was taught to another training than {parent.name}: its head differs.")
    with replacing(out) as folder:
        folder.mkdir()
        copy_saved(parent.folder, folder)
        copy_seen(parent.place, folder)
        carry_backbone(folder, found)
        write_head(folder, found.family, weight=weight, bias=bias)
        _name_classes(folder, taught.classes)
        changed: dict[str, Any] = {
            "made_by": f"orbitune {version('orbitune')}",
            "classes": taught.classes,
            "scores": {},
            "confusion": None,
            "storage": parent.metadata.storage and WeightStorage(dtype=parent.metadata.storage.dtype),
            "ood_detector": _extend_detector(folder, parent, means=means),
            "parameters": _count(parent, classes=len(taught.classes), width=taught.width),
            "taught": TaughtHead(
                parent=parent.name,
                parent_sha256=file_hash(parent.folder / FILE),
                pictures=taught.pictures,
                held_out=taught.held_out,
            ),
        }
        metadata = strip_paths(folder, parent.metadata.model_copy(update=changed), backbone=found)
        write_metadata(folder, metadata)
        write_model_card(folder, metadata, family=found.family)
        load_saved(folder, found)  # raises where the head does not fit
    return Bundle.open(out)


def _read(file: Path) -> HeadFile:
    """Read the file that the page saved."""
    values = read_json(file)
    if not isinstance(values, dict) or values.get("kind") != "orbitune head":
        raise ModelError(f"{file} is no head that the page of orbitune export --to web saved.")
    try:
        return HeadFile.from_json(values)
    except RecordError as error:
        raise ModelError(f"{file} {error}") from None


def _arrays(file: Path, taught: HeadFile) -> list[np.ndarray]:
    """Return weight (C, D), bias (C,), means (K, D) and the bias of the start, float32."""
    shapes: dict[str, tuple[int, ...]] = {
        "weight": (len(taught.classes), taught.width),
        "bias": (len(taught.classes),),
        "means": (-1, taught.width),
        "start_bias": (-1,),
    }
    found = []
    for name, shape in shapes.items():
        try:
            values = np.frombuffer(base64.b64decode(getattr(taught, name), validate=True), "<f4")
            found.append(values.reshape(shape).astype(np.float32))
        except ValueError:
            raise ModelError(f"{file} is damaged: {name} has another size. Save it again.") from None
        # No fit comes near; larger ones overflow in the head.
        if not (np.abs(found[-1]) < LARGEST_NUMBER).all():
            raise ModelError(f"{file} is damaged: {name} holds a number that is no weight. Save it again.")
    # A mean that no class was taught would only widen what the detector takes as known.
    if len(found[2]) > len(taught.pictures):
        raise ModelError(f"{file} is damaged: means has another size. Save it again.")
    return found


def _check_model(file: Path, taught: HeadFile, parent: Bundle, *, width: int) -> None:
    """Check that the head was taught to this model."""
    stated = parent.metadata
    parent.require_single_label("Taught heads")
    known = {
        "tiles": stated.data.fingerprint,
        "backbone": stated.backbone.weights_sha256,
        "recipe": stated.recipe_hash,
    }
    other = [name for name, value in known.items() if value and taught.hashes.get(name) != value]
    if other or taught.classes[: len(parent.classes)] != parent.classes or taught.width != width:
        what = f"its {other[0]} differs" if other else "its classes or features differ"
        raise ModelError(f"{file} was taught to another model than {parent.name}: {what}.")


def _count(parent: Bundle, *, classes: int, width: int) -> ParameterCounts | None:
    """Return the numbers of parameters with a head of further classes."""
    if (counts := parent.metadata.parameters) is None:
        return None
    added = (classes - len(parent.classes)) * (width + 1)
    changed = {
        name: value + added
        for name in ("total", "head", "trainable", "stored")
        if (value := getattr(counts, name)) is not None
    }
    return counts.model_copy(update=changed)


def _extend_detector(folder: Path, parent: Bundle, *, means: np.ndarray) -> Any:
    """Write the source's detector with the taught pictures as further classes; return its record."""
    if (detector := parent.ood_detector) is None:
        return None
    whitened = np.concatenate([detector.means, means @ detector.whitening.T])
    replace(detector, means=whitened).save(folder / OOD_DETECTOR_FILE)
    size = (folder / OOD_DETECTOR_FILE).stat().st_size
    assert parent.metadata.ood_detector
    return parent.metadata.ood_detector.model_copy(update={"bytes": size, "risk": None})


def _name_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Write the class names into the config of a model with all weights."""
    if (file := folder / "config.json").is_file():
        write_json(file, {**read_json(file), **label_settings(classes)})
