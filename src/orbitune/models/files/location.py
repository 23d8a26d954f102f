"""Where the files of a checkpoint are."""

from pathlib import Path

from orbitune.errors import ModelError, OrbituneError
from orbitune.extras import install_command
from orbitune.hub import looks_like_path, snapshot
from orbitune.models.embedded import demo_backbone
from orbitune.models.files.licence import CARD
from orbitune.recipe_settings import DEFAULT_BACKBONE


def folder_of(name: str) -> Path:
    """Return the folder of a checkpoint; one of the hub is downloaded.

    Args:
        name: hub id, folder, or `demo`.

    Raises:
        ModelError: there is no such folder.
        OrbituneError: the hub id cannot be downloaded.
    """
    if name == "demo":
        return demo_backbone()
    if looks_like_path(name):
        folder = Path(name).expanduser().resolve()
        if not folder.is_dir():
            raise ModelError(f"There is no backbone folder {name}; check the path, or pass a hub id.")
        return folder
    try:
        files = ["*config.json", "model*.safetensors*", CARD]
        return snapshot(name, "model", patterns=files)
    except OrbituneError as error:
        if name != DEFAULT_BACKBONE:
            raise
        raise ModelError(
            f"{error} This is the default backbone; one that needs no hub is --backbone demo, after "
            f"{install_command('demo')}."
        ) from None
