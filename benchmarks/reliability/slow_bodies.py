"""Measure response times while unfinished requests hold many connections.

    python benchmarks/reliability/slow_bodies.py RUN TILE [--connections 64]

prints JSON for bodies that stop after one byte, for bodies that stop after many megabytes, and for more
unread event streams than the server allows connections.
"""

import argparse
import contextlib
import json
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

CLAIMED = 31 * 2**20  # Content-Length of each body in bytes, below the limit
IDLE = 600  # event streams, more than the server allows connections
STREAMS = ("/gradio_api/heartbeat/{}", "/gradio_api/upload_progress?upload_id={}")


@contextmanager
def slow_bodies(
    address: str, connections: int, *, sent: int = 1, path: str = "/api/predict"
) -> Iterator[None]:
    """Hold connections open that have sent part of a body, while the block runs.

    Args:
        address: URL of the app.
        connections: number of connections.
        sent: bytes that each sends.
        path: path of the request.
    """
    parts = urlsplit(address)
    where = (parts.hostname or "127.0.0.1", parts.port or 80)
    head = f"POST {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {CLAIMED}\r\n\r\n".encode()

    def send(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the server closes it, as it should
            for start in range(0, sent, 2**20):
                connection.sendall(bytes(min(2**20, sent - start)))

    with contextlib.ExitStack() as stack:
        threads = []
        for _ in range(connections):
            connection = stack.enter_context(socket.create_connection(where))
            connection.settimeout(5)
            connection.sendall(head)
            threads.append(threading.Thread(target=send, args=[connection], daemon=True))
            threads[-1].start()
        if sent < 2**16:
            for thread in threads:
                thread.join()
        yield


@contextmanager
def idle_streams(address: str, connections: int) -> Iterator[None]:
    """Hold connections that read nothing of endless responses, for the block."""
    parts = urlsplit(address)
    where = (parts.hostname or "127.0.0.1", parts.port or 80)
    with contextlib.ExitStack() as stack:
        for number in range(connections):
            path = STREAMS[number % len(STREAMS)].format(number)
            connection = stack.enter_context(socket.create_connection(where))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        yield


def response_times(address: str, tile: bytes, *, requests: int = 20) -> list[float]:
    """Return the durations in seconds of consecutive requests of another client.

    Raises:
        httpx.HTTPStatusError: a request failed.
    """
    taken = []
    for _ in range(requests):
        start = time.perf_counter()
        httpx.post(f"{address}/api/predict", content=tile, timeout=60).raise_for_status()
        taken.append(time.perf_counter() - start)
    return taken


def measure(address: str, tile: bytes, *, connections: int = 64, sent: int = 1) -> dict[str, Any]:
    """Return response times without and with slow bodies, or idle streams (0 sent)."""
    alone = response_times(address, tile)
    with slow_bodies(address, connections, sent=sent) if sent else idle_streams(address, connections):
        beside = response_times(address, tile)
    medians = {"alone": statistics.median(alone), "median": statistics.median(beside), "longest": max(beside)}
    return {"connections": connections, "sent": sent, **medians}


def main() -> None:
    """Print the response times beside each kind of connection, and peak memory."""
    from served import serve_run

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a bundle or a finished run")
    parser.add_argument("tile", type=Path, help="an image")
    parser.add_argument("--connections", type=int, default=64)
    chosen = parser.parse_args()
    tile = chosen.tile.read_bytes()
    with tempfile.TemporaryDirectory() as name, serve_run(chosen.run, Path(name) / "server.log") as served:
        report = {"one byte": measure(served.address, tile, connections=chosen.connections)}
        before = served.peak_memory()
        report["30 MB"] = measure(served.address, tile, connections=chosen.connections, sent=30 * 2**20)
        report["idle streams"] = measure(served.address, tile, connections=IDLE, sent=0)
        report["memory"] = {"before": before, "after": served.peak_memory()}
        print(json.dumps(report))


if __name__ == "__main__":
    main()
