import gc
import os
from pathlib import Path

import pytest

# Tests run side by side, and threads that wait for each other would make tiny models slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_worker_niceness", "0")  # else its workers get what other programs leave
gc.set_threshold(50_000)  # the libraries make a million objects that stay

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory):
    """Decoded tiles and converted weights go to a folder of this test session, all its processes share it."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("ORBITUNE_CACHE")
    os.environ["ORBITUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["ORBITUNE_CACHE"]
    else:
        os.environ["ORBITUNE_CACHE"] = before


@pytest.fixture(scope="session")
def shared():
    """The folder with the real tiles and weights; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("ORBITUNE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared tiles and weights ({folder})")
    return folder
