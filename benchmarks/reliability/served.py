"""Runs the web app in a separate process, for measurements over HTTP."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


@dataclass(frozen=True)
class Served:
    """A running `orbitune serve`.

    Attributes:
        address: URL of the app.
        pid: process id.
        log: file with its output.
    """

    address: str
    pid: int
    log: Path

    def peak_memory(self) -> int:
        """Return the peak memory of the process in bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
        return 0


@contextmanager
def serve_run(source: Path | str, log: Path, *options: str) -> Iterator[Served]:
    """Serve a bundle or run on a free port while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "orbitune", "serve", str(source), "--port", str(port), *options]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ})
    served = Served(f"http://127.0.0.1:{port}", process.pid, log)
    try:
        for _ in range(600):
            try:
                httpx.get(f"{served.address}/api/health")
                break
            except httpx.TransportError:
                if process.poll() is not None:
                    raise RuntimeError(log.read_text()) from None
                time.sleep(0.1)
        yield served
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
