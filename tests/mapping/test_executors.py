"""Maps of killed processes, of Ray and of large scenes."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scenes import read_band, write_scene

from orbitune.mapping.pipeline import map_scene

pytestmark = pytest.mark.slow

FILES = ("map.tif", "map.tif.aux.xml", "confidence.tif", "preview.png", "map.qml")


def command(bundle, scene, place, *more):
    files = ("--out", place / FILES[0], "--confidence", place / FILES[2], "--preview", place / FILES[3])
    return ["map", bundle.folder, scene, *files, "--stride", 2, "--mode", "tiles", *more]


@pytest.fixture(scope="module")
def killed(bundle, scene, tmp_path_factory):
    """The folder of a map whose process was killed when it had a few of its 14 parts."""
    place = tmp_path_factory.mktemp("killed")
    words = [sys.executable, "-m", "orbitune", *map(str, command(bundle, scene, place))]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    parts = place / ".map.tif.parts"
    while len(list(parts.glob("*.npy"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 3 <= len(list(parts.glob("*.npy"))) < 14
    return place


@pytest.fixture
def stopped(killed, tmp_path):
    """Return a copy of it to resume."""
    return shutil.copytree(killed, tmp_path / "stopped")


def test_a_killed_map_resumes_to_the_bytes_of_an_uninterrupted_one(
    stopped, bundle, scene, orbitune, tmp_path
):
    assert not any((stopped / name).exists() for name in FILES)
    # Kernels of attention differ in the last bits, and each process measures which is faster here.
    whole = tmp_path / "whole"
    (whole / ".map.tif.parts").mkdir(parents=True)
    shutil.copy(stopped / ".map.tif.parts" / "plan.json", whole / ".map.tif.parts")
    code, _, error = orbitune(*command(bundle, scene, stopped))
    assert code == 0 and "going on after " in error and " of 14 parts" in error
    code, _, error = orbitune(*command(bundle, scene, whole))
    assert code == 0 and "going on" not in error
    for name in FILES:
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    assert sorted(file.name for file in stopped.iterdir()) == sorted(FILES)  # the parts are gone


def test_with_other_options_a_killed_map_starts_over(stopped, bundle, scene, orbitune):
    code, _, error = orbitune(*command(bundle, scene, stopped, "--no-not-sure"))
    assert code == 0 and "going on" not in error and "other inputs or options: starting anew" in error
    assert set(np.unique(read_band(stopped / "map.tif"))) == {1, 2, 3}


def test_with_a_changed_scene_a_killed_map_starts_over(stopped, bundle, scene, orbitune):
    before = scene.stat().st_mtime_ns
    os.utime(scene, ns=(before + 1, before + 1))
    try:
        assert "starting anew" in orbitune(*command(bundle, scene, stopped))[2]
    finally:
        os.utime(scene, ns=(before, before))


def test_ray_makes_the_files_of_one_process(bundle, scene, tmp_path):
    pytest.importorskip("ray", reason="needs the extra ray")
    for executor in ("local", "ray"):
        outputs = {"map": tmp_path / f"{executor}.tif", "confidence": tmp_path / f"{executor}_confidence.tif"}
        map_scene(bundle.folder, scene, outputs=outputs, stride=8, executor=executor, progress=False)
    for name in ("", "_confidence"):
        local, spread = (tmp_path / f"{executor}{name}.tif" for executor in ("local", "ray"))
        assert local.read_bytes() == spread.read_bytes()


def test_a_large_scene_is_mapped_within_the_stated_memory(bundle, tmp_path):
    """16.8 million pixels of 16 bits, of which a strip is land and the rest nodata."""
    pixels = np.zeros((4096, 4096, 3), np.uint16)
    pixels[:64] = np.random.default_rng(0).integers(1, 2750, (64, 4096, 3))
    scene = write_scene(tmp_path / "s.tif", pixels, nodata=0)
    limit = 2 << 30
    words = ["map", bundle.folder, scene, "--out", tmp_path / "m.tif", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "orbitune", *map(str, words)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
    )
    assert done.returncode == 0, done.stderr
    codes = read_band(tmp_path / "m.tif")
    assert codes.shape == (4096, 4096) and (codes[:64] > 0).all() and (codes[64:] == 0).all()
