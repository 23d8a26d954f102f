"""Latency of the web app for one tile over HTTP, when it is warm."""

import io
import socket
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from PIL import Image

from orbitune.serving.app import create_app
from orbitune.serving.security.connection_limits import LimitedProtocol
from orbitune.serving.service import PredictionService
from orbitune.training.evaluate import reopen

_WARMUP, _REQUESTS = 10, 200


def measure(run: str) -> dict[str, Any]:
    """Return the median seconds of requests, one after another.

    Each request sends another validation tile as PNG.
    """
    bodies = encode_tiles(run, _WARMUP + _REQUESTS)
    service = PredictionService({"run": run})
    app = create_app(service)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=LimitedProtocol, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            taken = _ask(f"http://127.0.0.1:{listening.getsockname()[1]}/api/predict", bodies)
        finally:
            server.should_exit = True
            thread.join()
            service.close()
    slowest = sorted(taken)[int(0.95 * len(taken))]
    details = [["requests", str(len(taken))], ["95 % within", f"{1000 * slowest:.0f} ms"]]
    return {"value": statistics.median(taken), "details": details}


def _ask(url: str, bodies: list[bytes]) -> list[float]:
    taken = []
    with httpx.Client(transport=httpx.HTTPTransport(retries=50), timeout=60) as client:
        for body in bodies:
            start = time.perf_counter()
            client.post(url, content=body).raise_for_status()
            taken.append(time.perf_counter() - start)
    return taken[_WARMUP:]


def encode_tiles(run: str, count: int) -> list[bytes]:
    """Return the first validation tiles of a run, as the contents of PNG files."""
    _, setup = reopen(Path(run), progress=False)
    return [_encode(tile) for tile in setup.tiles.read(setup.splits["validation"][:count])]


def _encode(tile: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(tile).save(file, "PNG")
    return file.getvalue()
