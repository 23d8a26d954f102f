import pytest


@pytest.fixture
def without_timm(monkeypatch):
    """An environment without timm."""
    from orbitune.models.families.timm import installed

    monkeypatch.setattr(installed, "is_installed", lambda module: False)
