"""Energy is read from the machine's counters, summed, and never guessed."""

import sys
from pathlib import Path

import pytest

from orbitune.machine.energy import NOTHING, PACKAGE, PARTLY, EnergyMeter, describe_cost, gpu_counters
from orbitune.training.meter import Meter

RANGE = 262143328850  # microjoules, as processors state it

# NVML as nvidia-ml-py offers it, for two GPUs whose counters a test can move.
NVML = """
class NVMLError(Exception): pass
millijoules = {"GPU-a": 5_000, "GPU-b": 7_000}
def nvmlInit(): pass
def nvmlDeviceGetHandleByUUID(uuid):
    if uuid not in millijoules: raise NVMLError("Not Found")
    return uuid
def nvmlDeviceGetTotalEnergyConsumption(handle):
    if millijoules[handle] is None: raise NVMLError("GPU is lost")
    return millijoules[handle]
"""


class Packages:
    """A folder of counters as Linux shows them, one for each processor package."""

    def __init__(self, root: Path, *microjoules: int) -> None:
        self.root = root
        for number, value in enumerate(microjoules):
            self.zone(f"intel-rapl:{number}", f"package-{number}", value)

    def zone(self, folder: str, name: str, value: int) -> None:
        (self.root / folder).mkdir(parents=True)
        (self.root / folder / "name").write_text(f"{name}\n")
        (self.root / folder / "max_energy_range_uj").write_text(f"{RANGE}\n")
        self.set(folder, value)

    def set(self, folder: str, value: int) -> None:
        (self.root / folder / "energy_uj").write_text(f"{value}\n")


def test_the_joules_of_all_packages_are_added(tmp_path):
    packages = Packages(tmp_path, 5_000_000, 7_000_000)
    meter = EnergyMeter(on_gpu=False, rapl=tmp_path)
    packages.set("intel-rapl:0", 6_000_000)
    packages.set("intel-rapl:1", 9_500_000)
    assert meter.source == PACKAGE
    assert meter.joules() == pytest.approx(3.5)
    assert meter.joules() == 0  # nothing since


def test_what_is_part_of_a_package_or_more_than_it_is_not_counted_twice(tmp_path):
    packages = Packages(tmp_path, 1_000_000)
    packages.zone("intel-rapl:0/intel-rapl:0:0", "core", 0)
    packages.zone("intel-rapl:1", "psys", 0)
    meter = EnergyMeter(on_gpu=False, rapl=tmp_path)
    for folder in ("intel-rapl:0", "intel-rapl:0/intel-rapl:0:0", "intel-rapl:1"):
        packages.set(folder, 3_000_000)
    assert meter.joules() == pytest.approx(2)


def test_a_counter_that_started_again_is_still_added_up(tmp_path):
    packages = Packages(tmp_path, RANGE - 999_999)
    meter = EnergyMeter(on_gpu=False, rapl=tmp_path)
    packages.set("intel-rapl:0", 2_000_000)
    assert meter.joules() == pytest.approx(3)


def test_a_machine_without_counters_shows_no_energy(tmp_path):
    meter = EnergyMeter(on_gpu=False, rapl=tmp_path / "none")
    assert meter.joules() is None
    assert meter.source == NOTHING


@pytest.mark.parametrize("spoil", ["missing", "nonsense"])
def test_one_package_that_cannot_be_read_makes_all_of_it_unknown(tmp_path, spoil):
    Packages(tmp_path, 1_000_000, 1_000_000)
    file = tmp_path / "intel-rapl:1" / "energy_uj"
    file.unlink()
    if spoil == "nonsense":
        file.mkdir()  # reading it is an error for root too
    assert EnergyMeter(on_gpu=False, rapl=tmp_path).source == NOTHING


def test_a_counter_that_is_lost_on_the_way_makes_the_energy_unknown(tmp_path):
    packages = Packages(tmp_path, 1_000_000)
    meter = Meter(energy=EnergyMeter(on_gpu=False, rapl=tmp_path))
    meter.update_totals()
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    meter.update_totals()
    packages.set("intel-rapl:0", 9_000_000)
    meter.update_totals()
    assert meter.energy() == {"energy_joules": None, "energy_source": NOTHING}
    assert meter.totals.keys() == {"run_seconds"}


def test_the_joules_of_the_gpus_that_compute_are_added(tmp_path, monkeypatch):
    (tmp_path / "pynvml.py").write_text(NVML)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    counters = gpu_counters(["GPU-a", "GPU-b"])
    assert [counter.read() for counter in counters] == [5.0, 7.0]
    import pynvml

    pynvml.millijoules["GPU-b"] = None
    with pytest.raises(OSError, match="lost"):
        counters[1].read()
    assert gpu_counters(["GPU-a", "GPU-b"]) == []
    assert gpu_counters(["GPU-c"]) == []


def test_a_resumed_run_adds_its_joules_to_those_before(tmp_path):
    packages = Packages(tmp_path, 0)
    first = Meter(energy=EnergyMeter(on_gpu=False, rapl=tmp_path))
    packages.set("intel-rapl:0", 2_000_000)
    first.update_totals()
    packages.set("intel-rapl:0", 50_000_000)  # between the two, for somebody else
    second = Meter(first.totals, EnergyMeter(on_gpu=False, rapl=tmp_path))
    packages.set("intel-rapl:0", 53_000_000)
    second.update_totals()
    assert second.energy() == {"energy_joules": pytest.approx(5), "energy_source": PACKAGE}
    assert second.seconds().keys() == {"run_seconds"}


@pytest.mark.parametrize("before", [{"run_seconds": 5.0}, {"run_seconds": 5.0, "gpu_joules": 9.0}])
def test_joules_are_not_added_to_a_run_whose_first_part_was_measured_otherwise(tmp_path, before):
    Packages(tmp_path, 0)
    meter = Meter(before, EnergyMeter(on_gpu=False, rapl=tmp_path))
    meter.update_totals()
    assert meter.energy() == {"energy_joules": None, "energy_source": PARTLY}
    again = Meter(meter.totals, EnergyMeter(on_gpu=False, rapl=tmp_path))
    again.update_totals()
    assert again.energy()["energy_joules"] is None
    assert again.totals.keys() == {"run_seconds"}


def test_a_run_resumed_where_nothing_is_shown_has_no_joules(tmp_path):
    before = {"run_seconds": 5.0, "package_joules": 9.0}
    meter = Meter(before, EnergyMeter(on_gpu=False, rapl=tmp_path))
    assert meter.energy() == {"energy_joules": None, "energy_source": NOTHING}


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ((60.0, 1800.0), "like a 10 W lamp for 3.0 min"),
        ((60.0, 420_000.0), "like a 10 W lamp for 12 h"),
        ((60.0, 50.0), "like a 10 W lamp for 5.0 s"),
        ((252.0, None), "4.2 core-minutes"),
        ((41.0, None), "41 core-seconds"),
        ((7200.0, None), "2.0 core-hours"),
    ],
)
def test_a_cost_is_worded_as_something_a_person_can_picture(cost, words):
    assert describe_cost(*cost) == words
