"""Backbones: find a checkpoint, validate its files, and load its weights."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.errors import ModelError, first_line, one_line
from orbitune.integrity import file_hash
from orbitune.models.families.classifiers import (
    classifier_class,
    classifier_config,
    draw_heads,
    empty_classifier,
)
from orbitune.models.families.family import Family, head_names, square_side, vision_config
from orbitune.models.families.known import family_of
from orbitune.models.families.stored_tensors import check_stored, misfit
from orbitune.models.families.timm.layout import in_transformers_layout
from orbitune.models.files.checkpoint_files import (
    CONFIG,
    check_config,
    check_finite,
    checkpoint_shapes,
    hashed_files,
)
from orbitune.models.files.config_files import label_settings
from orbitune.models.files.config_hash import config_hash
from orbitune.models.files.embedded import DEMO_DESCRIPTION, DEMO_LICENCE
from orbitune.models.files.licence import read_licence
from orbitune.models.files.location import checkpoint_folder
from orbitune.models.inputs.widening import widen
from orbitune.models.metadata import BackboneRecord
from orbitune.models.preprocessing import Preprocessing, read_preprocessing
from orbitune.recipe_paths import SCRATCH
from orbitune.sources.band_names import COLOURS
from orbitune.sources.hub_ids import looks_like_path

if TYPE_CHECKING:
    from torch import nn

_LICENCES = {"demo": DEMO_LICENCE, SCRATCH: "MIT"}  # the network from scratch is Orbitune's own


@dataclass(frozen=True)
class Backbone:
    """A checkpoint on disk.

    Attributes:
        name: as the user gave it: hub id, folder or `demo`.
        folder: its files, in the layout of transformers.
        family: names of the parts of its architecture.
        channels: number of bands that it reads.
        width: embedding dimension.
        preprocessing: as its preprocessor_config.json states it, with the side of the input.
        step: pixels that image sizes are multiples of: a patch, or several of a hierarchical model.
        smallest: smallest image size in pixels.
        largest: largest image size in pixels; None for no limit.
        widened_to: names of the bands that its patch embedding is widened to, see
            `orbitune.models.inputs.widening`; empty to read what the checkpoint reads.
    """

    name: str
    folder: Path
    family: Family
    channels: int
    width: int
    preprocessing: Preprocessing
    step: int
    smallest: int
    largest: int | None = None
    widened_to: tuple[str, ...] = ()

    def for_bands(self, bands: tuple[str, ...]) -> "Backbone":
        """Return the checkpoint with as many input channels as there are bands.

        Raises:
            ModelError: it reads another number of bands, and is no RGB checkpoint that could be widened.
        """
        if bands == self.widened_to or len(bands) == self.channels:
            return self
        if self.channels != len(COLOURS):
            raise ModelError(
                f"{self.name} reads {self.channels} bands, and the tiles have {len(bands)} "
                f"({', '.join(bands)}): choose as many with --bands."
            )
        widened = replace(self, widened_to=bands)
        if "weights_hash" in vars(self):
            vars(widened)["weights_hash"] = self.weights_hash  # of the same files, which take long to read
        return widened

    @cached_property
    def config(self) -> Any:
        """Return its configuration, of transformers.

        Raises:
            ModelError: it is damaged.
        """
        return read_config(self.folder)

    @property
    def image_size(self) -> int:
        """Return the side of the input that the checkpoint states, in pixels."""
        return self.preprocessing.image_size

    @property
    def record(self) -> BackboneRecord:
        """Return what a saved model states about its backbone."""
        return BackboneRecord(
            name=self.name,
            reference=self.reference,
            description=self.description,
            weights_sha256=self.weights_hash,
            licence=_LICENCES.get(self.name) or read_licence(self.folder),
        )

    @property
    def reference(self) -> str:
        """Return what finds this checkpoint again: the hub id, or the absolute folder."""
        if self.name == "demo":
            return str(self.folder)
        return str(Path(self.name).expanduser().resolve()) if looks_like_path(self.name) else self.name

    @property
    def _short(self) -> str:
        """Return the hub id, or the name of the folder."""
        return Path(self.name).name if looks_like_path(self.name) else self.name

    @property
    def description(self) -> str:
        """Return a description of these weights in plain words."""
        if self.is_random:
            return "small residual network with random weights"
        return DEMO_DESCRIPTION if self.name == "demo" else f"{self.family.title} checkpoint {self._short}"

    def check_weights(self) -> None:
        """Check that its weight files are whole and finite, without importing transformers.

        Raises:
            ModelError: as `check_stored`.
        """
        if not self.is_random:
            check_stored(self.folder, self.family, name=self.name)

    @property
    def is_random(self) -> bool:
        """Return whether its weights are drawn at random, by the seed of each run."""
        return self.name == SCRATCH

    @cached_property
    def weights_hash(self) -> str:
        """Return the SHA-256 over the weight files, or the architecture of random ones, 64 hex digits."""
        return file_hash(*([self.folder / CONFIG] if self.is_random else hashed_files(self.folder)))

    @cached_property
    def settings_hash(self) -> str:
        """Return the SHA-256 of config and preprocessing, which change outputs too.

        Raises:
            ModelError: transformers cannot read the configuration.
        """
        return config_hash(self.folder / CONFIG, self.preprocessing.settings, read=lambda: self.config)


def find_backbone(name: str, folder: Path | None = None) -> Backbone:
    """Find a checkpoint and read its configuration; no weights are loaded.

    Args:
        name: hub id, folder, or `demo`.
        folder: what `checkpoint_folder` returned for it; None to call it here.

    Raises:
        ModelError: the folder is missing or incomplete, or the architecture is not supported.
        OrbituneError: the hub id cannot be downloaded.
    """
    folder = in_transformers_layout(folder or checkpoint_folder(name))
    config: Any = check_config(folder)
    family = family_of(config.model_type, whose=str(folder))
    if family.why_plain or not config.states("hidden_size", "image_size", "num_channels", "patch_size"):
        config = vision_config(read_config(folder))  # transformers knows the family's defaults
    if family.name_parts:
        family = family.name_parts(family, config)
    try:
        size, step, smallest = square_side(config.image_size), family.step(config), family.smallest(config)
    except ValueError as error:
        raise ModelError(f"{name} states a size that is not supported: {error}.") from None
    return Backbone(
        name=name,
        folder=folder,
        family=family,
        channels=config.num_channels,
        width=config.hidden_size,
        preprocessing=read_preprocessing(
            folder,
            family,
            name=(folder if looks_like_path(name) else Path(name)).name,  # not of the folders around it
            default_size=size,
            channels=config.num_channels,
        ),
        step=step,
        smallest=smallest,
        largest=family.largest(config),
    )


def read_config(folder: Path, **more: Any) -> Any:
    """Read the configuration of a checkpoint with transformers.

    Args:
        folder: of the checkpoint.
        more: settings that override those of the file.

    Raises:
        ModelError: it is missing or damaged, or the architecture is not supported.
    """
    family = family_of(check_config(folder).model_type, whose=str(folder))
    try:
        return classifier_config(folder, family, **more)
    except Exception as error:  # transformers raises any type of error on a damaged value
        raise ModelError(f"The config.json of {folder} cannot be read: {one_line(str(error))}.") from None


def load_weights(
    backbone: Backbone, classes: tuple[str, ...], *, seed: int, keep_head: bool = False
) -> "nn.Module":
    """Load the pretrained weights in fp32, with a new head for these classes; or draw random ones.

    Args:
        backbone: the checkpoint.
        classes: class names, in the order of the logits.
        seed: of the new head's random weights.
        keep_head: keep the head of the checkpoint where it has as many classes.

    Returns:
        A model of transformers for image classification, on the CPU.

    Raises:
        ModelError: there are no safetensors weights, they are damaged, or parts of the backbone have none.
    """
    import torch

    if backbone.is_random:
        torch.manual_seed(seed)
        return _prepare(empty_classifier(labelled_config(backbone, classes), backbone.family), backbone)
    check_fits(backbone, classes)
    torch.manual_seed(seed)
    try:
        model, report = classifier_class(backbone.family).from_pretrained(
            backbone.folder,
            config=labelled_config(backbone, classes),
            dtype=torch.float32,
            attn_implementation=attention(),
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # as in `read_config`
        raise ModelError(f"The weights of {backbone.name} cannot be loaded: {first_line(error)}.") from None
    allowed = (*head_names(model, backbone.family), *backbone.family.unused)
    replaced = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    if lost := sorted(key for key in replaced if not any(part in key for part in allowed)):
        raise misfit(backbone.name, lost)
    if not keep_head:
        draw_heads(model, backbone.family, drawn=replaced)
    check_finite(model.state_dict(), f"The checkpoint {backbone.name}")
    return _prepare(model, backbone)


def _prepare(model: Any, backbone: Backbone) -> Any:
    """Correct faults of transformers in a loaded model, and widen it to the backbone's bands."""
    if backbone.family.prepare:
        backbone.family.prepare(model)
    if backbone.widened_to:
        _widen(model, backbone)
    return model


def check_fits(backbone: Backbone, classes: tuple[str, ...]) -> None:
    """Check that a checkpoint's files have the sizes that its config.json implies.

    Missing weights would be initialised at random, with the sizes that a possibly damaged config.json states.

    Args:
        backbone: checkpoint.
        classes: class names, for a head of the right size.

    Raises:
        ModelError: they hold fewer, or are missing or damaged.
    """
    empty: Any = empty_model(replace(backbone, widened_to=()), classes)
    drawn = (*head_names(empty, backbone.family), *backbone.family.unused)
    needed = sum(
        tensor.numel() for name, tensor in empty.named_parameters() if not any(part in name for part in drawn)
    )
    stored = sum(math.prod(shape) for shape in checkpoint_shapes(backbone.folder).values())
    if stored < needed:
        raise ModelError(
            f"The weights of {backbone.name} do not fit its config.json: its files hold {stored:,} numbers, "
            f"the model has {needed:,} without its head. Download the checkpoint again."
        )


def attention() -> str:
    """Return the attention of transformers to use: on a CPU, `eager` is the faster one for tiles."""
    import torch

    return "sdpa" if torch.cuda.is_available() else "eager"


def empty_model(backbone: Backbone, classes: tuple[str, ...]) -> "nn.Module":
    """Build the architecture on the meta device: names and shapes, without weights.

    Args:
        backbone: checkpoint.
        classes: class names.

    Raises:
        ModelError: the config.json describes no model.
    """
    import torch

    with torch.device("meta"):
        try:
            model = empty_classifier(labelled_config(backbone, classes), backbone.family)
        except Exception as error:  # as in `read_config`
            raise ModelError(
                f"The config.json of {backbone.name} describes no model: {one_line(str(error))}."
            ) from None
    if backbone.widened_to:
        _widen(model, backbone)
    return model


def labelled_config(backbone: Backbone, classes: tuple[str, ...]) -> Any:
    """Return the checkpoint's configuration with these classes in place of its own."""
    return read_config(backbone.folder, **label_settings(classes), num_labels=len(classes))


def _widen(model: Any, backbone: Backbone) -> None:
    """Widen a model's patch projection to the backbone's bands."""
    for projection in backbone.family.projections:
        widen(model, backbone.widened_to, projection=projection)
    backbone.family.configure(model.config, len(backbone.widened_to))
