import gc
import os
from pathlib import Path

import pytest
from environment import seal

pytest_plugins = ["small_tiles", "trained"]

seal(os.environ)
os.umask(0o022)
gc.set_threshold(50_000)  # the libraries make a million objects that stay

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Decoded tiles and converted weights go to one folder of this test session."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    before = os.environ.get("ORBITUNE_CACHE")
    os.environ["ORBITUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["ORBITUNE_CACHE"]
    else:
        os.environ["ORBITUNE_CACHE"] = before


@pytest.fixture(autouse=True, scope="session")
def forked_reload():
    """Saved models are checked in forks of one process."""
    from commands import fork_server

    from orbitune.processes.launcher import ForkServer

    ForkServer.current = fork_server()
    yield
    ForkServer.current = None


@pytest.fixture
def fresh_reload(monkeypatch):
    """Saved models are checked in new interpreters."""
    from orbitune.processes.launcher import ForkServer

    monkeypatch.setattr(ForkServer, "current", None)


@pytest.fixture(scope="session")
def shared():
    """The folder with the real tiles and weights; skips where it is absent."""
    folder = Path(os.environ.get("ORBITUNE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared tiles and weights ({folder})")
    return folder


@pytest.fixture
def without_half_precision(monkeypatch):
    """A processor that has no instructions for half precision."""
    from orbitune.fastpath import dispatch
    from orbitune.fastpath.native import library
    from orbitune.models import precision

    for module in (precision, dispatch):
        monkeypatch.setattr(module, "has_instructions", lambda dtype: False)
    closed = library.OpenedLibrary(None, "switched off by a test")
    monkeypatch.setattr(library, "open_library", lambda dtype: closed)
