"""Peak memory of a process that maps a whole Sentinel-2 tile."""

import subprocess
import sys
from typing import Any

from orbitune.bench.figures.scenes import SIDE, describe_scene, temporary_bundle, write_scene

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


def measure(run: str, *, stride: int | None = None, bands: int = 3, pixels: int = SIDE) -> dict[str, Any]:
    """Return the peak resident bytes of `orbitune map` in its own process.

    Args:
        run, stride, bands, pixels: as in `orbitune.bench.figures.scene_time`.
    """
    with temporary_bundle(run) as folder:
        scene = write_scene(run, folder / "scene.tif", pixels=pixels, bands=bands)
        places = [str(folder / "bundle"), str(scene), "--out", str(folder / "map.tif")]
        asked = [] if stride is None else ["--stride", str(stride)]
        command = [sys.executable, "-c", _CHILD, *places, *asked, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        details = [["budget", "2GB, the default"], ["scene", describe_scene(scene)]]
    return {"value": int(done.stdout.split()[-1]), "details": details}
