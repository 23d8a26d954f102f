"""Peak memory of a process that maps a whole Sentinel-2 tile."""

import subprocess
import sys
from typing import Any

from orbitune.bench.figures.scenes import temporary_bundle, write_scene

_CHILD = """
import sys
from orbitune.cli.main import main
from orbitune.training.meter import peak_rss_bytes
sys.argv = ["orbitune", "map", *sys.argv[1:]]
try:
    main()
finally:
    print(peak_rss_bytes())
"""


def measure(run: str) -> dict[str, Any]:
    """Return the peak resident bytes of `orbitune map` in its own process."""
    with temporary_bundle(run) as folder:
        write_scene(run, folder / "scene.tif")
        places = [str(folder / name) for name in ("bundle", "scene.tif", "map.tif")]
        command = [sys.executable, "-c", _CHILD, *places[:2], "--out", places[2], "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"value": int(done.stdout.split()[-1]), "details": [["budget", "2GB, the default"]]}
