"""Where backbones lie on this machine, by the hash of their weights.

What is shipped names a backbone that is in no hub by its hash, as a path says nothing elsewhere. The cache
keeps where one with this hash was last used here.
"""

from pathlib import Path

from orbitune.cache import cache_dir, cache_folder
from orbitune.errors import OrbituneError
from orbitune.files import write_text
from orbitune.models.backbones import Backbone
from orbitune.sources.hub_ids import looks_like_path

_FOLDER = "places"


def remember(backbone: Backbone) -> None:
    """Keep where a backbone lies, if its name is a path; nothing is kept without a cache to write to."""
    if not looks_like_path(backbone.name):
        return
    if recall(backbone.weights_hash) == (place := backbone.folder.resolve()):
        return
    try:
        write_text(cache_folder(_FOLDER) / backbone.weights_hash, str(place))
    except (OSError, OrbituneError):
        return


def recall(weights_sha256: str) -> Path | None:
    """Return the folder of the backbone with these weights; None if it is not known or no longer there."""
    try:
        place = Path((cache_dir() / _FOLDER / weights_sha256).read_text(encoding="utf-8"))
        return place if place.is_dir() else None
    except (OSError, ValueError):
        return None
