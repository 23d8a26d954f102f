"""Where backbones lie on this machine, by the hash of their weights.

What is shipped names a backbone that is in no hub by its hash, as a path says nothing elsewhere. The cache
keeps where those with this hash were used here, the last one first: a copy may be gone while another is not.
"""

from pathlib import Path

from orbitune.cache import cache_dir, cache_folder
from orbitune.errors import OrbituneError
from orbitune.files import write_text
from orbitune.models.backbones import Backbone
from orbitune.sources.hub_ids import looks_like_path

_FOLDER = "places"
_MOST = 8  # places of one backbone


def remember(backbone: Backbone) -> None:
    """Keep where a backbone lies, if its name is a path; nothing is kept without a cache to write to."""
    if not looks_like_path(backbone.name):
        return
    place, known = backbone.folder.resolve(), recall(backbone.weights_hash)
    if known[:1] == [place]:
        return
    places = [place, *(other for other in known if other != place)][:_MOST]
    try:
        write_text(cache_folder(_FOLDER) / backbone.weights_hash, "\n".join(map(str, places)))
    except (OSError, OrbituneError):
        return


def recall(weights_sha256: str) -> list[Path]:
    """Return the folders that held the backbone with these weights, last used first; some may be gone."""
    try:
        lines = (cache_dir() / _FOLDER / weights_sha256).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    return [Path(line) for line in lines]
