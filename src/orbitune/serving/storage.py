"""The private folder of one server: what strangers upload and what is made of it; nothing else is served."""

import contextlib
import functools
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orbitune.errors import OrbituneError
from orbitune.files import scratch

KEPT = 3600  # seconds that a file is kept after it was last used
MAX_STORED = 4 * 2**30  # bytes of all files together; beyond that the oldest go first
_NAME_BYTES = 100  # of an upload's name, in UTF-8: file systems count these
_UNSAFE = re.compile(r"[^\w .,()+-]")


class Storage:
    """Files of one server, readable by its user alone.

    Attributes:
        folder: holds `uploads`, `examples`, `results`, `.work`, and the pictures that Gradio writes.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=_home()))
        self._used: list[frozenset[Path]] = []
        for folder in self._fixed:
            folder.mkdir(mode=0o700)

    @property
    def examples(self) -> Path:
        """Folder of the files that the server offers; they are never deleted while it runs."""
        return self.folder / "examples"

    @property
    def results(self) -> Path:
        """Folder of tables and maps to be downloaded."""
        return self.folder / "results"

    @property
    def work(self) -> Path:
        """Folder for what is not done yet: never served, as its name has a dot, and never tidied."""
        return self.folder / ".work"

    @property
    def _fixed(self) -> tuple[Path, ...]:
        return self.folder / "uploads", self.examples, self.results, self.work

    @contextlib.contextmanager
    def in_use(self, *paths: Path) -> Iterator[None]:
        """Keep files, however old they are and however many there are, while the block runs."""
        used = frozenset(paths)
        self._used.append(used)
        try:
            yield
        finally:
            self._used.remove(used)
            for path in paths:
                with contextlib.suppress(OSError):
                    os.utime(path)

    def new_upload(self, name: str) -> Path:
        """Return a path for an upload, in a new folder that nobody can guess."""
        folder = self.folder / "uploads" / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / safe_name(name)

    def new_result(self, name: str) -> Path:
        """Return a path for a file to be downloaded, in a new folder that nobody can guess."""
        folder = self.results / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / name

    def find_input(self, path: object) -> Path:
        """Return the path of a file that was uploaded to this server or is one of its examples.

        Raises:
            OrbituneError: it is any other file, or no regular file, or it has been deleted.
        """
        found = self._find(path)
        if found is None or found.relative_to(self.folder).parts[0] not in ("uploads", "examples"):
            raise OrbituneError(
                "This file was not uploaded to this server, or is kept no longer: send it again."
            )
        os.utime(found)
        return found

    def find_served(self, path: str) -> Path | None:
        """Return the path of a file that may be downloaded; None for any other."""
        return self._find(path)

    def _find(self, path: object) -> Path | None:
        if not isinstance(path, str) or not 0 < len(path) < 1024 or "\0" in path:
            return None
        try:
            wanted = Path(path)
            # Neither links nor `..` anywhere in it: it is the very path that was given out.
            if str(wanted) != os.path.realpath(path) or not wanted.is_relative_to(self.folder):
                return None
            hidden = any(part.startswith(".") for part in wanted.relative_to(self.folder).parts)
            if hidden or not stat.S_ISREG(wanted.lstat().st_mode):
                return None
        except (OSError, ValueError):
            return None
        return wanted

    def tidy(self, incoming: int = 0) -> None:
        """Delete what was not used for `KEPT` seconds, and the oldest files until `incoming` bytes fit.

        Examples, and files that are worked on or in use, stay.
        """
        files = []
        for path in self.folder.rglob("*"):
            if path.is_relative_to(self.examples) or path.is_relative_to(self.work):
                continue
            with contextlib.suppress(OSError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    files.append((found.st_mtime, found.st_size, path))
                elif found.st_mtime < time.time() - KEPT and path not in self._fixed:
                    path.rmdir()  # fails where it is not empty
        total = incoming + sum(size for _, size, _ in files)
        for latest, size, path in sorted(files):
            if latest > time.time() - KEPT and total <= MAX_STORED:
                break
            if not any(path in used for used in list(self._used)):
                remove_upload(path)
                total -= size

    def close(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def for_gradio(self) -> Iterator[None]:
        """Have Gradio keep its files here, where the block imports it and makes its components."""
        before = os.environ.get("GRADIO_TEMP_DIR")
        try:
            os.environ["GRADIO_TEMP_DIR"] = str(_home())  # its modules note where when they are imported
            import gradio.routes  # noqa: F401

            os.environ["GRADIO_TEMP_DIR"] = str(self.folder)  # and its components when they are made
            yield
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def safe_name(name: str) -> str:
    """Return a file name of harmless characters, of at most 100 bytes, with the same ending."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = _UNSAFE.sub("_", last).rpartition(".")
    suffix = (dot + suffix)[-20:]
    room = _NAME_BYTES - len(suffix.encode())
    return (stem.encode()[:room].decode(errors="ignore") + suffix).lstrip(". ") or "file"


def remove_upload(path: Path) -> None:
    """Delete a file, and its folder where that holds no other."""
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


@functools.cache
def _home() -> Path:
    """The folder of this process, mode 0700; what killed processes left is deleted first."""
    import atexit

    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch(name="orbitune-app")).resolve()
