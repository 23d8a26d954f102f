import pytest

from orbitune.exporting import validation


@pytest.fixture(scope="module")
def short_timing():
    """Measure latency for a moment only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validation, "TIMING_SECONDS", 0.0)
        yield
