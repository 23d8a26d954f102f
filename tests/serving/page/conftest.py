"""An app whose page has a model with an OOD detector, and examples."""

import pytest
from served_app import serving

from orbitune.serving.service import PredictionService


@pytest.fixture(scope="session")
def service(bundle, runs):
    """The first model has an OOD detector, the second is a run whose tiles are the examples."""
    return PredictionService({"bundle": bundle.folder, "lora": runs / "run"})


@pytest.fixture(scope="session")
def address(service):
    with serving(service) as address:
        yield address
