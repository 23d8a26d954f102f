"""Figures of the service under load."""

import pytest

from orbitune.bench.figures import app_load
from orbitune.errors import OrbituneError


@pytest.mark.slow
def test_the_figure_of_many_clients_is_the_slowest_hundredth_of_real_answers(run):
    found = app_load.measure(str(run), engine="torch", clients=5, seconds=1.0)
    details = dict(found["details"])
    answers = details["answers"].partition(", ")[0].replace(",", "")
    assert details["clients"] == "5" and int(answers) >= 5
    assert float(details["50 % within"].split()[0]) <= found["value"] + 5e-4
    assert found["value"] <= float(details["slowest"].split()[0]) + 5e-4


@pytest.mark.slow
def test_a_service_that_does_not_start_is_one_line(run):
    with pytest.raises(OrbituneError, match="does not start"):
        app_load.measure(str(run), engine="onnx", clients=1, seconds=1.0)
