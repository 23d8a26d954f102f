"""The commands and snippets of the documentation run."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from band_tiles import band_tile_folder
from commands import orbitune as run_command
from hub_server import hub
from label_sets import drawn_parts, write_mosaics
from pages import PAGES, STUDY, page_name
from PIL import Image
from safe_products import write_safe
from samples import tile_folder
from scenes import label_cells, mosaic, write_scene


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    """The commands of a page, each as a list of words."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("orbitune ")]


ALL = [(page_name(page), words) for page in PAGES for words in commands(page)]
TRAINS = {"train", "prepare", "plan"}  # take a recipe
RUN = TRAINS | {
    *(
        "evaluate",
        "predict",
        "bundle",
        "export",
        "adapters",
        "import",
        "doctor",
        "methods",
        "backbones",
        "report",
    ),
    *("map", "map-sample", "map-areas", "map-compare", "map-zones", "adapt"),
}
# What is trained or needed in one page by a name that another page makes.
TINY = {
    "/(scene[0-9]+)_": "_([0-9]+)[.]",  # the tiny tiles are of no scenes
    "google/vit-base-patch16-224": "backbone",
    "num_labels=10": "num_labels=3",
    "Forest,River,Lake": "class_0,class_1,class_2",
}


@pytest.mark.parametrize(("page", "words"), ALL, ids=[" ".join(words[:4]) for _, words in ALL])
def test_a_command_of_the_docs_has_these_options(page, words):
    import typer

    from orbitune.cli.main import app

    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(words[1], list(rest))


def scene_files(folder, tiles):
    """Write 64 x 64 pixels of tiles as GeoTIFFs and a Sentinel-2 product."""
    import rasterio
    from rasterio.transform import from_origin

    files = sorted(tiles.rglob("*.png"))  # by class
    chosen = [files[number] for number in np.linspace(0, len(files) - 1, 16).astype(int)]
    pixels = mosaic(np.stack([np.asarray(Image.open(file)) for file in chosen]).reshape(4, 4, 16, 16, 3))
    write_scene(folder / "scene.tif", pixels)
    bands = (1000 + pixels.transpose(2, 0, 1)[::-1] * (2750 / 255)).round().astype(np.uint16)
    four = write_scene(folder / "sentinel.tif", np.stack([*bands, bands[-1]], axis=-1))
    with rasterio.open(four, "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
    place = {"crs": "EPSG:32632", "transform": from_origin(600_000, 5_500_000, 10, 10)}
    named = dict(zip(("B02", "B03", "B04"), bands, strict=True))
    product = write_safe(folder / "products", named, level="L2A", offset=-1000, **place)
    shutil.make_archive(str(folder / product.name), "zip", product.parent)


def area_files(folder):
    """Write a polygon within the scene, as an area of interest and as a zone."""
    import pyogrio
    import shapely

    area = shapely.box(600_100, 5_499_500, 600_500, 5_499_900)
    shape = shapely.to_wkb(np.array([area], object))
    for name in ("area.gpkg", "fields.gpkg"):
        pyogrio.raw.write(
            folder / name, shape, [], [], geometry_type="Polygon", crs="EPSG:32632", driver="GPKG"
        )


def label_points(path):
    """Label points with the map's class, or the first where it is not sure."""
    import pyogrio

    meta, _, places, values = pyogrio.raw.read(path, layer="points")
    fields = list(meta["fields"])
    mapped = values[fields.index("map_class")]
    known = [name for name in mapped if name != "not sure"]
    values[fields.index("true_class")] = np.where(mapped == "not sure", known[0], mapped)
    pyogrio.raw.write(
        path, places, values, fields, layer="points", geometry_type="Point", crs=meta["crs"], append=False
    )


@pytest.fixture
def workplace(runs, bundle, label_set_bundle, tmp_path, monkeypatch):
    """A folder with all that the pages name: tiles, a scene, runs, a study."""
    shutil.copytree(runs / "backbone", tmp_path / "backbone")
    tile_folder(tmp_path / "tiles", each=12)
    band_tile_folder(tmp_path / "sentinel-tiles")
    shutil.copytree(tmp_path / "tiles" / "class_0", tmp_path / "new-tiles")
    write_mosaics(tmp_path / "patches", drawn_parts(), count=60).rename(tmp_path / "patches" / "labels.csv")
    shutil.copytree(tmp_path / "tiles", tmp_path / "labelled-tiles")
    rows = [f"tiles/class_{k % 3}/tile_{k % 3}_{k // 3}.png,class_{k % 3},{k // 6}" for k in range(36)]
    (tmp_path / "scenes.csv").write_text("\n".join(["file_name,label,scene", *rows]))
    (tmp_path / "tiles" / "splits").mkdir()
    for split, numbers in (("train", range(7)), ("val", range(7, 9)), ("test", range(9, 12))):
        names = [f"tile_{label}_{number}.png" for label in range(3) for number in numbers]
        (tmp_path / "tiles" / "splits" / f"spatial-{split}.txt").write_text("\n".join(names))
    shutil.copytree(
        runs / "run" / "adapter", tmp_path / "other-adapter", ignore=shutil.ignore_patterns("orbitune.json")
    )
    for name, run in (
        ("mine", "run"),
        ("crops", "run"),
        ("roofs", "other"),
        ("base", "run"),
        ("python", "run"),
    ):
        shutil.copytree(runs / run, tmp_path / "runs" / name)
    for name in ("land-cover", "crops"):
        shutil.copytree(bundle.folder, tmp_path / name)
    shutil.copytree(label_set_bundle.folder, tmp_path / "patches-model")
    (tmp_path / "runs" / "study").mkdir()
    shutil.copy(STUDY / "results.json", tmp_path / "runs" / "study")
    scene_files(tmp_path, runs / "tiles")
    for name in ("west.tif", "east.tif"):
        shutil.copy(tmp_path / "scene.tif", tmp_path / name)
    area_files(tmp_path)
    label_cells(tmp_path / "teach.gpkg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on_tiny_inputs(words):
    """The command with a tiny backbone, and with short training."""
    words = [TINY.get(word, word) for word in words]
    if words[1] in TRAINS and not {"--recipe", "--backbone"} & set(words):
        words += ["--backbone", "backbone"]
    if words[1] == "export" and "onnx-int8" in words:
        words += ["--tolerance", "100"]  # a few tiles do not show that it loses less
    if words[1] in TRAINS and "--recipe" not in words:
        words += ["--epochs", "1", "--batch-size", "8"]
    return words


def runnable(page):
    budget = {"--memory-budget", "--time-budget"}  # measured in processes of their own; tested elsewhere
    return [words for words in commands(page) if words[1] in RUN and not budget & set(words)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=page_name)
def test_the_commands_of_a_page_run_one_after_the_other(page, workplace):
    for words in runnable(page):
        words = on_tiny_inputs(words)
        if words[1] == "map-compare":  # with the earlier map of another scene, such as this one
            shutil.copy("landcover.tif", "before.tif")
        if "--out" in words and words[1] in ("train", "bundle"):
            shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
        if words[1] == "map-sample":  # it never writes over points, which may have labels
            Path(words[words.index("--out") + 1]).unlink(missing_ok=True)
        done = run_command(*words[1:])
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
        if words[1] == "map-sample":
            label_points(words[words.index("--out") + 1])


def commands_of(name):
    """The different commands of all pages with this name."""
    return [list(words) for words in dict.fromkeys(tuple(words) for _, words in ALL if words[1] == name)]


@pytest.mark.slow
@pytest.mark.parametrize("words", commands_of("serve"), ids=" ".join)
def test_the_apps_of_the_pages_start_answer_and_stop(words, workplace):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", *words, "--port", str(port)])
    health, until = f"http://127.0.0.1:{port}/api/health", time.monotonic() + 300
    answer = None
    while answer is None and process.poll() is None and time.monotonic() < until:
        try:
            answer = json.load(urllib.request.urlopen(health))
        except OSError:
            time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert list(answer["models"]) == [word for word in words[2:] if Path(word).is_dir()]


@pytest.mark.slow
def test_what_the_pages_push_is_what_they_pull(workplace):
    [push], [pull] = commands_of("push"), commands_of("pull")
    with hub() as server:
        environment = {name: text for name, text in os.environ.items() if name != "HF_HUB_OFFLINE"}
        environment |= {"HF_ENDPOINT": server.address, "HF_TOKEN": "secret", "HF_HUB_DISABLE_XET": "1"}
        for words in (push, pull):
            done = subprocess.run([sys.executable, "-m", *words], env={**environment, "HF_HOME": "hub"})
            assert done.returncode == 0
    assert {file.name for file in Path("downloaded").iterdir()} == {
        file.name for file in Path("land-cover").iterdir()
    }


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=page_name)
def test_the_python_of_a_page_runs(page, workplace):
    code = "\n".join(blocks(page, "python"))
    for name, value in TINY.items():
        code = code.replace(name, value)
    code = code.replace("image_size=112", "image_size=32")
    if "backbone=" not in code:
        code = re.sub(r'Recipe\(data="([^"]+)"', r'Recipe(data="\1", backbone="backbone"', code)
    shutil.rmtree("runs/python")
    exec(compile(code.replace("Recipe(", "Recipe(epochs=1, batch_size=8, "), page_name(page), "exec"), {})
