"""The peak memory of a process that maps a whole Sentinel-2 tile."""

import subprocess
import sys
from typing import Any

from orbitune.bench.figures.scenes import lay_out, workshop

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
    """Highest resident set, in bytes, of `orbitune map` in a process of its own."""
    with workshop(run) as folder:
        lay_out(run, folder / "scene.tif")
        places = [str(folder / name) for name in ("bundle", "scene.tif", "map.tif")]
        command = [sys.executable, "-c", _CHILD, *places[:2], "--out", places[2], "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"value": int(done.stdout.split()[-1]), "details": [["budget", "2GB, the default"]]}
