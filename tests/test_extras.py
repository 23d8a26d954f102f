"""Optional dependencies are pyproject's; a missing one names its extra."""

import re
import sys
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import pytest

from orbitune.extras import EXTRAS, MissingExtraError, explain, missing_modules, require

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
OF_TOOLS = {"all", "dev", "docs"}  # no module of the package needs them


def distributions(extra):
    """Names of what an extra installs, with what it includes of other extras."""
    for line in PROJECT["optional-dependencies"][extra]:
        if included := re.match(r"orbitune\[(.*)\]", line):
            for name in included[1].split(","):
                yield from distributions(name)
        else:
            yield re.match(r"[\w.-]+", line)[0]


def test_the_table_has_every_extra():
    assert EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - OF_TOOLS


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_module_of_an_extra_is_installed_by_it(extra):
    if missing_modules(extra):
        pytest.skip(f"needs orbitune[{extra}]")
    installers = packages_distributions()
    for module in EXTRAS[extra]:
        names = {name.lower() for name in installers[module]}
        assert names & set(distributions(extra)), f"{module} is not installed by {extra}"


@pytest.mark.parametrize("extra", sorted(PROJECT["optional-dependencies"].keys() - {"all", "dev"}))
def test_all_and_dev_include_every_extra(extra):
    everything = set(distributions("all")) | set(distributions("dev"))
    assert set(distributions(extra)) <= everything


def test_a_missing_module_is_one_line_that_names_its_extra(monkeypatch):
    require("geo", "rasterio", purpose="maps")
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingExtraError) as caught:
        require("train", purpose="training")
    assert str(caught.value) == "Missing scikit-learn, needed for training: pip install 'orbitune[train]'."


def test_a_failed_import_is_explained_if_an_extra_has_the_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError) as caught:
        import gradio.routes  # noqa: F401
    assert "pip install 'orbitune[app]'" in str(explain(caught.value))
    assert explain(ModuleNotFoundError("No module named 'colour'", name="colour")) is None


def test_the_version_is_that_of_the_project():
    import orbitune

    assert PROJECT["version"] == metadata("orbitune")["Version"] == getattr(orbitune, "__version__", "0.2.0")
