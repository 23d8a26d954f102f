"""Paths of this machine in files that are shipped."""

import os
import tempfile
from pathlib import Path


def files_with_paths(folder, *others):
    """Names of the files of a folder that hold a path of this machine: of the tests, the cache, or others."""
    machine = {tempfile.gettempdir(), os.environ["ORBITUNE_CACHE"], str(Path.cwd()), *map(str, others)}
    return [
        str(file.relative_to(folder))
        for file in sorted(folder.rglob("*"))
        if file.is_file() and any(path.encode() in file.read_bytes() for path in machine)
    ]
