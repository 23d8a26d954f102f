"""An app that makes maps with one bundle."""

import pytest
import torch
from served_app import serving

from orbitune.serving.service import PredictionService


@pytest.fixture(autouse=True, scope="module")
def threads():
    """Restore the number of threads, of which a map takes all."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def service(bundle):
    return PredictionService({"bundle": bundle.folder})


@pytest.fixture(scope="session")
def address(service):
    with serving(service) as address:
        yield address
