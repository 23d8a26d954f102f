import getpass
import mmap
import platform
import subprocess
import sys
import time

import pytest
import torch

from orbitune.machine.environment import Environment
from orbitune.training.meter import Meter, peak_rss_bytes, reset_peak_rss

PEAK = "from orbitune.training.meter import peak_rss_bytes; print(peak_rss_bytes())"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux starts the peak anew with a program")
def test_the_peak_memory_of_a_process_is_its_own_and_not_its_parents():
    ballast = bytearray(600_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    child = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert peak_rss_bytes() > 600e6
    assert int(child.stdout) < 300e6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_memory_that_was_given_back_does_not_count_after_a_reset():
    ballast = mmap.mmap(-1, 400_000_000)  # memory of a bytearray may stay with the process
    ballast[::4096] = b"x" * len(ballast[::4096])
    high = peak_rss_bytes()
    ballast.close()
    reset_peak_rss()
    assert peak_rss_bytes() < high - 300e6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when a process was started")
def test_a_run_is_counted_from_the_start_of_its_process():
    program = (
        "import time; time.sleep(0.5); from orbitune.training.meter import Meter; "
        "first = Meter(); first.update_totals(); second = Meter(); second.update_totals(); "
        "print(first.totals['run_seconds'], second.totals['run_seconds'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = map(float, done.stdout.split())
    assert first >= 0.5
    assert second < 0.1


def test_phases_add_up_over_a_resumed_run():
    first = Meter()
    with first.phase("train"):
        time.sleep(0.02)
    second = Meter(first.totals)
    with second.phase("train"):
        time.sleep(0.02)
    assert second.totals["train_seconds"] >= first.totals["train_seconds"] + 0.02


def test_the_environment_names_versions_and_hardware_but_no_machine():
    environment = Environment.measure()
    assert environment.torch == torch.__version__
    assert environment.threads == torch.get_num_threads()
    written = str(environment.to_json())
    assert platform.node() not in written and getpass.getuser() not in written
