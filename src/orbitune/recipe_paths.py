"""Paths in a recipe: which settings are paths, and how they are resolved."""

from pathlib import Path
from typing import Any

from orbitune.class_weights import BALANCED
from orbitune.errors import OrbituneError

PATH_FIELDS = ("data", "split_files", "backbone")  # fields that may name files and folders
SYNTHETIC, DEMO = "synthetic", "demo"  # built-in data and backbone
SCRATCH = "scratch"  # built-in small network with random weights
_FILE_FIELDS = ("class_weights",)  # fields that may name a file, whose content the recipe keeps


def anchor(values: dict[str, Any], file_folder: Path | None = None) -> dict[str, Any]:
    """Return values with absolute paths in place of relative ones that exist.

    Hub ids, built-in names and paths that do not exist are unchanged.

    Args:
        file_folder: of the file that the values are from, which paths are relative to; the working directory
            where None.

    Raises:
        OrbituneError: a path in a file means something in the working directory, and nothing in its folder.
    """
    names = [name for name in (*PATH_FIELDS, *_FILE_FIELDS) if isinstance(values.get(name), str)]
    return {
        **values,
        **{name: _anchored(name, values[name], file_folder=file_folder) for name in names},
    }


def _anchored(name: str, text: str, *, file_folder: Path | None) -> str:
    if name == "split_files" and "=" in text:
        parts = [part.partition("=") for part in text.split(",")]
        return ",".join(
            f"{split.strip()}={anchor_path(path.strip(), file_folder)}" for split, _, path in parts
        )
    words = {"backbone": (DEMO, SCRATCH), "class_weights": (BALANCED,)}
    if text in words.get(name, ()) or (name == "data" and is_synthetic(text)):
        return text
    return anchor_path(text, file_folder)


def anchor_path(text: str, file_folder: Path | None = None) -> str:
    """Return an existing path as absolute, see `anchor`; other text unchanged.

    Raises:
        OrbituneError: a relative path exists in the working directory but not beside the recipe file.
    """
    folder = Path.cwd() if file_folder is None else file_folder.absolute()
    path = folder / Path(text).expanduser()
    if _exists(path):
        # The name that a link has is kept, as outputs are named after it.
        named = path.name not in ("", "..")
        return str(path.parent.resolve() / path.name if named else path.resolve())
    if file_folder is not None and _exists(here := Path.cwd() / text):
        raise OrbituneError(
            f"Paths in a file are relative to its folder, and {folder} has no {text}, but the working "
            f"directory has: write {here} there, or pass it as an option."
        )
    return text


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def is_local(text: str) -> bool:
    """Return whether a setting is a path on this machine, and no hub id."""
    return text.startswith((".", "~")) or Path(text.partition("=")[2] or text).is_absolute()


def is_there(text: str) -> bool:
    """Return whether every path of a field that may name files exists.

    Hub ids are not paths.
    """
    paths = [part.partition("=")[2] for part in text.split(",")] if "=" in text else [text]
    return all(is_local(path) and _exists(Path(path).expanduser()) for path in paths)


def data_name(data: str) -> str:
    """Return the short name of a data set: the last part of its path or id."""
    return "synthetic tiles" if is_synthetic(data) else Path(data).stem


def is_synthetic(data: str) -> bool:
    """Return whether `data` names synthetic tiles: synthetic or synthetic:COUNT."""
    return data.partition(":")[0] == SYNTHETIC
