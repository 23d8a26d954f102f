"""Names of scenes: files, addresses, members of archives, GDAL's own names."""

import shlex
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
import rasterio
from range_server import serve_folder
from rasterio.control import GroundControlPoint
from scenes import mosaic, write_scene

from orbitune.errors import DataError
from orbitune.mapping.outputs import writer
from orbitune.mapping.pipeline import map_scene
from orbitune.mapping.scene.raster_io import short_name
from orbitune.mapping.scene.reader import Scene


@pytest.fixture
def archive(scene, tmp_path, monkeypatch):
    """scenes.zip in the working folder, with two rasters and a text."""
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "scenes.zip", "w") as packed:
        packed.write(scene, "a.tif")
        packed.write(scene, "in here/b.tif")
        packed.writestr("read me.txt", "hello")
    return tmp_path / "scenes.zip"


@pytest.fixture
def server(scene, tmp_path):
    """The address of a server of the scene's folder."""
    with serve_folder(scene.parent, tmp_path / "served.txt") as address:
        yield address


@pytest.mark.parametrize(
    "name",
    [
        "zip://scenes.zip!a.tif",
        "zip://scenes.zip!/a.tif",
        "zip://{folder}/scenes.zip!in here/b.tif",
        "zip+file://{folder}/scenes.zip!a.tif",
        "/vsizip/scenes.zip/a.tif",
        "/vsizip/{folder}/scenes.zip/in here/b.tif",
        "GTIFF_DIR:1:/vsizip/scenes.zip/a.tif",
    ],
)
def test_a_member_of_an_archive_is_mapped(draw, orbitune, bundle, archive, scene_codes, name):
    name = name.format(folder=archive.parent)
    code, _, error = orbitune("map", bundle.folder, name, "--out", "m.tif", "--quiet", "--grid", "cells")
    assert (code, error) == (0, "")
    with rasterio.open("m.tif") as file:
        assert np.array_equal(file.read(1), scene_codes)


def test_a_scene_on_a_server_is_mapped_and_resumed(draw, server, scene, scene_codes):
    for name in (f"{server}/scene.tif", f"/vsicurl/{server}/scene.tif"):
        assert np.array_equal(draw(name).codes, scene_codes)
    with pytest.raises(DataError, match=r"^Cannot open http://.*/none\.tif: "):
        Scene(f"{server}/none.tif")


def test_an_unreachable_address_is_one_line(orbitune, bundle, tmp_path):
    for name in ("http://127.0.0.1:9/s.tif", "s3://none/s.tif", "zip://none.zip!s.tif", "zip://", "x\0y", ""):
        code, _, error = orbitune("map", bundle.folder, name, "--out", tmp_path / "m.tif", "--quiet")
        assert code == 2 and len(error.splitlines()) == 1, error


@pytest.mark.parametrize("name", ["scenes.zip", "zip://scenes.zip", "/vsizip/scenes.zip", "scenes.tar"])
def test_an_archive_names_its_rasters_to_copy_and_paste(archive, scene, name):
    with tarfile.open("scenes.tar", "w") as packed:
        packed.add(scene, "a.tif")
        packed.add(scene, "b.tif")
    with pytest.raises(DataError, match="holds 2 rasters: name one of them: ") as refused:
        Scene(name)
    named = shlex.split(str(refused.value).partition("of them: ")[2].rstrip(".").replace(",", ""))
    assert len(named) == 2 and not any("read me" in each for each in named)
    for each in named:
        Scene(each).close()


def test_a_folder_names_its_rasters(scene, tmp_path):
    with pytest.raises(DataError, match=rf"holds one raster: name it: {scene}\.$"):
        Scene(scene.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is a folder without a raster: name a file"):
        Scene(tmp_path / "empty")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_an_empty_name_is_not_a_folder(archive, name):
    with pytest.raises(DataError, match=r"^The name of the scene is empty: give a file"):
        Scene(name)


@pytest.mark.parametrize("name", ["x" * 5_000, "zip://" + "x" * 5_000 + ".zip!a.tif", "a\nb.tif"])
def test_a_name_that_cannot_be_opened_is_one_short_line(name):
    with pytest.raises(DataError, match=r"^Cannot open ") as refused:
        Scene(name)
    assert len(str(refused.value)) < 1_200 and "\n" not in str(refused.value)


def test_a_container_names_its_rasters_to_copy_and_paste(tmp_path, monkeypatch):
    from scipy.io import netcdf_file

    with netcdf_file(tmp_path / "two.nc", "w") as file:
        for name, size in (("y", 20), ("x", 30)):
            file.createDimension(name, size)
        for name in ("red", "green"):
            file.createVariable(name, "i2", ("y", "x"))[:] = np.ones((20, 30), "i2")
    with pytest.raises(DataError, match=r"two\.nc holds 2 rasters: name one of them: ") as refused:
        Scene(tmp_path / "two.nc")
    first, second = shlex.split(str(refused.value).partition("of them: ")[2].rstrip(".").replace(",", ""))
    for name in (first, second, f'NETCDF:"{tmp_path}/two.nc":red'):
        with pytest.raises(DataError, match="has no georeference"):
            Scene(name)


def test_the_first_page_of_several_is_mapped_with_a_note(draw, scene_codes, grid, tmp_path):
    name = tmp_path / "pages.tif"
    for page in range(2):
        write_scene(name if not page else tmp_path / "x.tif", mosaic(grid))
    first, second = (name.read_bytes() for _ in range(2))
    # A second directory that is the first again: the offset of the next one is the last thing in it.
    start = int.from_bytes(first[4:8], "little")
    entries = int.from_bytes(first[start : start + 2], "little")
    chained = bytearray(first + first[start : start + 2 + 12 * entries] + bytes(4))
    chained[start + 2 + 12 * entries : start + 6 + 12 * entries] = len(second).to_bytes(4, "little")
    name.write_bytes(chained)
    drawn = draw(name)
    assert np.array_equal(drawn.codes, scene_codes)
    assert any(
        f"several rasters, and this is the first; another is GTIFF_DIR:2:{name}" in line
        for line in drawn.said
    )


@pytest.mark.parametrize("name", ["a#b.tif", "what?.tif", "a:b.tif", "a!b.tif", "with space.tif", "zip:.tif"])
def test_a_file_may_be_called_what_it_likes(grid, tmp_path, name, monkeypatch):
    write_scene(tmp_path / name, mosaic(grid))
    monkeypatch.chdir(tmp_path)
    for spelt in (name, str(tmp_path / name), tmp_path / name):
        with Scene(spelt) as scene:
            assert scene.grid.width == 96 and scene.files[0].resolve() == tmp_path / name
    assert short_name(name) == name


def test_secrets_in_an_address_are_not_written_into_the_map():
    assert short_name("https://host.example/a/scene.tif?sig=SECRET#x") == "scene.tif"


def test_control_points_without_a_transform_advise_gdalwarp(tmp_path):
    points = [
        GroundControlPoint(0, 0, 11, 50),
        GroundControlPoint(0, 96, 11.1, 50),
        GroundControlPoint(80, 0, 11, 49),
    ]
    profile = {"driver": "GTiff", "width": 96, "height": 80, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "g.tif", "w", gcps=points, **profile) as file:
        file.write(np.ones((3, 80, 96), np.uint8))
    with pytest.raises(
        DataError, match=r"has ground control points and no transform: .* gdalwarp -tps -t_srs"
    ):
        Scene(tmp_path / "g.tif")


def test_rational_polynomials_without_a_transform_advise_gdalwarp(tmp_path):
    from rasterio.rpc import RPC

    ones = [1.0] + [0.0] * 19
    numbers = dict.fromkeys(("height_off", "lat_off", "line_off", "long_off", "samp_off"), 0.0)
    scales = dict.fromkeys(("height_scale", "lat_scale", "line_scale", "long_scale", "samp_scale"), 1.0)
    names = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")
    rpcs = RPC(**numbers, **scales, **dict.fromkeys(names, ones), err_bias=None, err_rand=None)
    profile = {"driver": "GTiff", "width": 96, "height": 80, "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "r.tif", "w", rpcs=rpcs, **profile) as file:
        file.write(np.ones((3, 80, 96), np.uint8))
    with pytest.raises(
        DataError, match=r"has rational polynomials \(RPCs\) and no transform: .* gdalwarp -rpc"
    ):
        Scene(tmp_path / "r.tif")


def test_a_map_replaces_neither_the_archive_of_its_scene_nor_the_sources_of_a_vrt(
    orbitune, bundle, archive, scene
):
    from rasterio.shutil import copy

    copy(scene, "scene.vrt", driver="VRT")
    for name, out in (("zip://scenes.zip!a.tif", "scenes.zip"), ("scene.vrt", scene)):
        code, _, error = orbitune("map", bundle.folder, name, "--out", out, "--quiet")
        assert code == 2 and "must have different names" in error


def interrupted(bundle, scene, place, monkeypatch):
    """A map that ends when all but its files is done; its folder of parts."""

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_map", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            map_scene(bundle.folder, scene, outputs=place, progress=False)


def go_on(bundle, scene, place):
    said = []
    map_scene(bundle.folder, scene, outputs=place, progress=False, log=said.append)
    assert not place.with_name(f".{place.name}.parts").exists()
    return any(line.startswith("going on after") for line in said)


def test_a_map_resumes_however_the_path_of_its_scene_is_spelt(bundle, scene, archive, tmp_path, monkeypatch):
    """The content decides: an archive's time and size, and a few of the pixels."""
    write_scene(tmp_path / "s.tif", np.full((80, 96, 3), 90, np.uint8))
    for first, then in (
        ("s.tif", f"./{'x'}/../s.tif"),
        ("zip://scenes.zip!a.tif", "/vsizip/scenes.zip/a.tif"),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        interrupted(bundle, first, tmp_path / "m.tif", monkeypatch)
        assert go_on(bundle, then, tmp_path / "m.tif")


def test_a_map_of_another_member_of_the_same_archive_starts_over(
    bundle, grid, scene, archive, tmp_path, monkeypatch
):
    other = write_scene(tmp_path / "other.tif", 255 - mosaic(grid))
    with zipfile.ZipFile(archive, "a") as packed:
        packed.write(other, "c.tif")
    interrupted(bundle, "zip://scenes.zip!a.tif", tmp_path / "m.tif", monkeypatch)
    assert not go_on(bundle, "zip://scenes.zip!c.tif", tmp_path / "m.tif")


def test_what_the_libraries_say_does_not_reach_the_terminal(bundle, grid, tmp_path):
    """A process of its own, as GDAL writes past Python, from other threads too."""
    scene = write_scene(tmp_path / "scene.tif", mosaic(grid), compress="deflate", blockysize=8)
    content = bytearray(scene.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = b"\xff" * 2000
    scene.write_bytes(content)
    code = (
        "import sys, threading\n"
        "from orbitune.mapping.scene.reader import Scene\n"
        "from orbitune.mapping.scene.radiometry import ReflectanceScaling\n"
        "from orbitune.errors import DataError\n"
        "scene = Scene(sys.argv[1])\n"
        "scaling = ReflectanceScaling(low=(0.,) * 3, high=(255.,) * 3, source='')\n"
        "def read():\n"
        "    try:\n"
        "        scene.read_window(0, 0, height=80, width=96, scaling=scaling)\n"
        "    except DataError as error:\n"
        "        print(error)\n"
        "thread = threading.Thread(target=read); thread.start(); thread.join()\n"
        "for name in sys.argv[2:]:\n"
        "    try:\n"
        "        Scene(name)\n"
        "    except DataError as error:\n"
        "        print(error)\n"
    )
    lost = write_scene(tmp_path / "lost.tif", mosaic(grid), crs=None, transform=rasterio.Affine.identity())
    done = subprocess.run(
        [sys.executable, "-c", code, scene, lost, tmp_path / "none.tif"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    damaged, placeless, absent = done.stdout.splitlines()
    assert "is damaged near row" in damaged and "has no georeference" in placeless and "Cannot open" in absent
