"""Fine-tuned backbones in the folders of the adapters that were trained on them."""

import shutil
from pathlib import Path

from orbitune.models.backbones import Backbone
from orbitune.models.checkpoint_io import is_adapter, write_metadata
from orbitune.models.files.checkpoint_files import hashed_files
from orbitune.models.lineage.fine_tuned import CARRIED, FineTuned, place_of
from orbitune.models.lineage.seen_file import FILE as SEEN_FILE
from orbitune.models.lineage.seen_file import copy_seen
from orbitune.models.lineage.shipping import without_paths


def copy_saved(source: Path, folder: Path) -> None:
    """Copy the weights and the JSON files of a saved model into a folder, but not its patch head.

    The copy gets another head, and a backbone has none.
    """
    for file in (*source.glob("*.json"), *hashed_files(source)):
        shutil.copyfile(file, folder / file.name)


def carry_backbone(folder: Path, backbone: Backbone) -> None:
    """Copy a fine-tuned backbone into the folder of an adapter, which then needs no other.

    The list of the tiles that it was trained on goes with it. A backbone of another kind is left where it is.

    Args:
        folder: of a saved model that was trained on it.
        backbone: its backbone.
    """
    if not (isinstance(backbone, FineTuned) and is_adapter(folder)):
        return
    assert backbone.parent
    carried = folder / CARRIED
    carried.mkdir()
    copy_saved(backbone.folder, carried)
    if not (carried / SEEN_FILE).exists():
        copy_seen(place_of(backbone.folder), carried)
    write_metadata(carried, without_paths(backbone.parent.model_copy(update={"merged_link": backbone.link})))
