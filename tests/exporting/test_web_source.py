"""The built pages in the package are those of the source in web/, whose own tests pass."""

import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from filelock import FileLock

import orbitune
from orbitune.exporting.web.web_export import PAGE

APP_PAGE = Path(orbitune.__file__).parent / "serving" / "assets" / "page"
SOURCE = Path(__file__).parent.parent.parent / "web"
SKIPPED = ("node_modules", "tests")


def source_hash():
    """As web/build.mjs computes it."""
    digest = hashlib.sha256()
    files = {path.relative_to(SOURCE).as_posix(): path for path in SOURCE.rglob("*") if path.is_file()}
    for name in sorted(files):
        if name.partition("/")[0] not in SKIPPED:
            digest.update(name.encode() + b"\0" + files[name].read_bytes() + b"\0")
    return digest.hexdigest()


def test_the_page_was_built_from_this_source():
    assert PAGE.with_suffix(".sha256").read_text().strip() == source_hash(), "make web builds it anew"


def test_the_lock_file_names_no_registry_but_the_public_one():
    lines = (SOURCE / "package-lock.json").read_text().splitlines()
    addresses = [line.split('"')[3] for line in lines if '"resolved"' in line]
    assert all(address.startswith("https://registry.npmjs.org/") for address in addresses)


def is_too_old(stated, needed):
    """Whether a version of Node such as v20.20.2 is older than `>=20.19`."""
    numbers = [int(part) for part in stated.strip().lstrip("v").split(".")]
    return numbers < [int(part) for part in needed.removeprefix(">=").split(".")]


@pytest.mark.parametrize(("stated", "old"), [("v18.20.4\n", True), ("v20.19.0", False), ("v22.1.0", False)])
def test_an_older_node_is_known(stated, old):
    assert is_too_old(stated, ">=20.19") == old


def is_installed():
    """Whether npm has installed what the lock file states, to the end."""
    listed = SOURCE / "node_modules" / ".package-lock.json"
    return listed.exists() and listed.stat().st_mtime >= (SOURCE / "package-lock.json").stat().st_mtime


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
    """A function that runs npm in the folder of the source, with its packages."""
    needed = json.loads((SOURCE / "package.json").read_text())["engines"]["node"]
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip(f"needs Node {needed} with npm")
    if is_too_old(subprocess.run(["node", "--version"], capture_output=True, text=True).stdout, needed):
        pytest.skip(f"needs Node {needed}")  # Debian's may be older

    def run(*words):
        return subprocess.run(["npm", *words], cwd=SOURCE, capture_output=True, text=True)

    # The tests of this file may run in several processes.
    with FileLock(tmp_path_factory.getbasetemp().parent / "npm.lock"):
        if not is_installed():
            installed = run("ci", "--no-audit", "--no-fund")
            assert installed.returncode == 0, installed.stderr
    return run


@pytest.mark.install
@pytest.mark.parametrize("script", ["check", "test"])
def test_types_and_tests_of_the_source_pass(npm, script):
    done = npm("run", script)
    assert done.returncode == 0, done.stdout + done.stderr


def content(path):
    """Unpacked: versions of zlib compress differently."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.mark.install
def test_a_new_build_gives_the_same_files(npm, tmp_path):
    done = npm("run", "build", "--", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for built, committed in ((tmp_path / "page", PAGE), (tmp_path / "app", APP_PAGE)):
        names = {path.relative_to(committed) for path in committed.rglob("*") if path.is_file()}
        assert {path.relative_to(built) for path in built.rglob("*") if path.is_file()} == names
        assert [name for name in names if content(built / name) != content(committed / name)] == []
