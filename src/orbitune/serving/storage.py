"""The private folder of one server: uploads and results.

Nothing else is served.
"""

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

MAX_AGE = 3600  # seconds since the last use of a file, after which it is deleted
MAX_STORED_BYTES = 4 * 2**30  # of all files; beyond that, the oldest are deleted first
_MAX_NAME_BYTES = 100  # of a file name in UTF-8; file systems limit bytes, not characters
_UNSAFE = re.compile(r"[^\w .,()+-]")


class Storage:
    """Files of one server, readable only by its user.

    Attributes:
        folder: holds `uploads`, `results`, `.work`, and the images that Gradio writes.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=_process_folder()))
        self._used: list[frozenset[Path]] = []
        for folder in self._permanent_folders:
            folder.mkdir(mode=0o700)

    @property
    def results(self) -> Path:
        """Return the folder of downloadable tables and maps."""
        return self.folder / "results"

    @property
    def work(self) -> Path:
        """Return the folder of unfinished results: neither served nor cleaned up."""
        return self.folder / ".work"

    @property
    def _permanent_folders(self) -> tuple[Path, ...]:
        """Return the folders that are never deleted."""
        return self.folder / "uploads", self.results, self.work

    @contextlib.contextmanager
    def in_use(self, *paths: Path) -> Iterator[None]:
        """Protect files from `delete_expired` within the block."""
        used = frozenset(paths)
        self._used.append(used)
        try:
            yield
        finally:
            self._used.remove(used)
            for path in paths:
                with contextlib.suppress(OSError):
                    os.utime(path)

    def new_upload_path(self, name: str) -> Path:
        """Return a path for an upload, in a new folder with an unguessable name."""
        folder = self.folder / "uploads" / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / safe_name(name)

    def new_result_path(self, name: str) -> Path:
        """Return a path for a download, in a new folder with an unguessable name."""
        folder = self.results / secrets.token_hex(16)
        folder.mkdir(mode=0o700)
        return folder / name

    def find_input(self, path: object) -> Path:
        """Return the path of an upload of this server.

        Raises:
            OrbituneError: any other path, not a regular file, or deleted.
        """
        found = self._resolve(path)
        if found is None or found.relative_to(self.folder).parts[0] != "uploads":
            raise OrbituneError(
                "This file was not uploaded to this server, or has been deleted: send it again."
            )
        os.utime(found)
        return found

    def find_download(self, path: str) -> Path | None:
        """Return the path of a downloadable file; None for any other."""
        return self._resolve(path)

    def find_result_folder(self, token: str) -> Path | None:
        """Return the folder of a result by its name, and note its use; or None."""
        folder = self.results / token
        if not re.fullmatch("[0-9a-f]{32}", token) or not folder.is_dir():
            return None
        with contextlib.suppress(OSError):  # it may just be deleted
            for file in folder.iterdir():
                os.utime(file)
        return folder

    def _resolve(self, path: object) -> Path | None:
        """Return the path if it is a visible regular file in the folder."""
        if not isinstance(path, str) or not 0 < len(path) < 1024 or "\0" in path:
            return None
        try:
            candidate = Path(path)
            # Links and `..` are refused anywhere in it: only the exact path that was handed out is valid.
            if str(candidate) != os.path.realpath(path) or not candidate.is_relative_to(self.folder):
                return None
            hidden = any(part.startswith(".") for part in candidate.relative_to(self.folder).parts)
            if hidden or not stat.S_ISREG(candidate.lstat().st_mode):
                return None
        except (OSError, ValueError):
            return None
        return candidate

    def delete_expired(self, incoming: int = 0) -> None:
        """Delete files unused for `MAX_AGE` seconds, then others to fit `incoming` bytes.

        Unfinished results and files in use are kept.
        """
        files = []
        for path in self.folder.rglob("*"):
            if path.is_relative_to(self.work):
                continue
            with contextlib.suppress(OSError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    files.append((found.st_mtime, found.st_size, path))
                elif found.st_mtime < time.time() - MAX_AGE and path not in self._permanent_folders:
                    path.rmdir()  # fails if it is not empty
        total = incoming + sum(size for _, size, _ in files)
        for latest, size, path in sorted(files):
            if latest > time.time() - MAX_AGE and total <= MAX_STORED_BYTES:
                break
            if not any(path in used for used in list(self._used)):
                delete_upload(path)
                total -= size

    def close(self) -> None:
        """Delete the folder with all files."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def as_gradio_cache(self) -> Iterator[None]:
        """Make Gradio keep its files here.

        Import Gradio and build its components within the block.
        """
        before = os.environ.get("GRADIO_TEMP_DIR")
        try:
            os.environ["GRADIO_TEMP_DIR"] = str(_process_folder())  # read when its modules are imported
            import gradio.routes  # noqa: F401

            os.environ["GRADIO_TEMP_DIR"] = str(self.folder)  # read when its components are built
            yield
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def safe_name(name: str) -> str:
    """Return a safe file name of at most 100 bytes with the same ending."""
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, suffix = _UNSAFE.sub("_", last).rpartition(".")
    suffix = (dot + suffix)[-20:]
    room = _MAX_NAME_BYTES - len(suffix.encode())
    return (stem.encode()[:room].decode(errors="ignore") + suffix).lstrip(". ") or "file"


def delete_upload(path: Path) -> None:
    """Delete a file, and its folder if that is then empty."""
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


@functools.cache
def _process_folder() -> Path:
    """Return this process's folder (mode 0700); delete those of killed processes."""
    import atexit

    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(scratch(name="orbitune-app")).resolve()
