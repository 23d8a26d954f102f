"""Latency of the service while many clients ask at once, over HTTP."""

import http.client
import socket
import subprocess
import sys
import threading
import time
from itertools import cycle
from typing import Any

import numpy as np

from orbitune.bench.figures.app_latency import encode_tiles
from orbitune.errors import OrbituneError

_TILES = 200  # validation tiles that the clients send in turn
_WARMUP = 2.0  # seconds


def measure(run: str, *, engine: str = "onnx", clients: int = 50, seconds: float = 15.0) -> dict[str, Any]:
    """Return the 99th percentile of the seconds of an answer.

    `orbitune serve` runs in a process of its own. Each client sends a validation tile as PNG over its own
    connection, waits for the answer, and sends the next. Clients and server share the cores.

    Args:
        run: folder of the run; for the engine onnx with its exports.
        engine: as for `orbitune serve`.
        clients: number of clients.
        seconds: of the measurement, after two of warm-up.
    """
    bodies = encode_tiles(run, _TILES)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "orbitune", "serve", run, "--engine", engine, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            if "http" not in server.stdout.readline():
                raise OrbituneError(f"The service of {run} does not start.")
            _ask(port, bodies, clients=1, seconds=_WARMUP)
            taken = _ask(port, bodies, clients=clients, seconds=seconds)
        finally:
            server.terminate()
    p50, p99 = np.percentile(taken, [50, 99], method="higher")
    details = [
        ["clients", str(clients)],
        ["engine", engine],
        ["answers", f"{len(taken):,}, {len(taken) / seconds:.0f}/s"],
        ["50 % within", f"{p50:.3f} s"],
        ["slowest", f"{max(taken):.3f} s"],
    ]
    return {"value": float(p99), "details": details}


def _ask(port: int, bodies: list[bytes], *, clients: int, seconds: float) -> list[float]:
    """Return the seconds of all answers within some seconds, after all clients have had one."""
    taken: list[float] = []
    failed: list[str] = []
    connected = threading.Barrier(clients)

    def run(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        rotated = cycle(bodies[number % len(bodies) :] + bodies[: number % len(bodies)])
        try:
            _request(connection, next(rotated))
            connected.wait(60)
            until = time.perf_counter() + seconds
            while (start := time.perf_counter()) < until:
                _request(connection, next(rotated))
                taken.append(time.perf_counter() - start)
        except (OSError, http.client.HTTPException, threading.BrokenBarrierError) as error:
            failed.append(str(error))
            connected.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise OrbituneError(f"{len(failed)} of {clients} clients failed: {failed[0]}.")
    return taken


def _request(connection: http.client.HTTPConnection, body: bytes) -> None:
    connection.request("POST", "/api/predict", body)
    response = connection.getresponse()
    content = response.read()
    if response.status != http.client.OK:
        raise http.client.HTTPException(f"status {response.status}, {content[:200]!r}")
