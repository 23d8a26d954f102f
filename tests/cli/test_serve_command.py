"""`serve`."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from commands import orbitune

from orbitune import export


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


@pytest.mark.slow
def test_a_run_with_an_exported_graph_is_served_with_a_hint_at_the_engine_that_computes_it(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    export(folder, ["onnx"], progress=False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "orbitune", "serve", str(folder), "--port", port]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    graph = folder / "export" / "model.onnx"
    assert process.stdout.readline() == f"{graph} is an export of it: --engine onnx serves that file\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)


def test_a_login_without_a_password_is_one_line(place):
    done = orbitune("serve", place / "run", "--login", "ann")
    assert (done.returncode, done.stderr.strip()) == (2, "error: --login takes USER:PASSWORD.")


@pytest.mark.slow
def test_sigterm_ends_the_app_and_its_log_is_json_lines_even_of_libraries(place):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "orbitune", "serve", str(place / "run"), "--port", port, "--log-json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert f"described at http://127.0.0.1:{port}/api/docs" in process.stdout.readline()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/health", headers={"X-Request-ID": "a1"})
    with urllib.request.urlopen(request) as answer:
        assert answer.headers["X-Request-ID"] == "a1"
    with socket.create_connection(("127.0.0.1", int(port))) as client:
        client.sendall(b"no request\r\n\r\n")  # uvicorn warns
        client.recv(1)
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines()]
    assert (lines[0]["path"], lines[0]["status"], lines[0]["request_id"]) == ("/api/health", 200, "a1")
    assert [(line["level"], line["message"]) for line in lines[1:]] == [
        ("warning", "Invalid HTTP request received.")
    ]
    assert process.returncode == 143


def test_an_unknown_engine_or_executor_and_a_run_without_an_onnx_file_are_one_line(place):
    done = orbitune("serve", place / "run", "--executor", "rai")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "Did you mean ray?" in done.stderr
    done = orbitune("serve", place / "run", "--engine", "onx")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "Did you mean onnx?" in done.stderr
    done = orbitune("serve", place / "run", "--engine", "onnx")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "There is no ONNX file" in done.stderr
