"""`serve`."""

import signal
import socket
import subprocess
import sys

import pytest
from commands import orbitune


def test_serving_on_a_port_that_is_taken_is_one_line(place):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = orbitune("serve", place / "run", "--port", port)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        f"error: Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port."
    )


@pytest.mark.slow
def test_sigint_stops_the_app_and_does_not_ask_to_continue(place):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "orbitune", "serve", str(place / "run"), "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert f"127.0.0.1:{port}" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert (process.returncode, message.strip().splitlines()[-1]) == (130, "Stopped.")


def test_a_login_without_a_password_is_one_line(place):
    done = orbitune("serve", place / "run", "--login", "ann")
    assert (done.returncode, done.stderr.strip()) == (2, "error: --login takes USER:PASSWORD.")
