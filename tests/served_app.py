"""Run the app on a free port of this machine, and talk to it over plain sockets."""

import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import uvicorn

from orbitune.serving.app import create_app
from orbitune.serving.graceful_server import GracefulServer


@contextmanager
def serving(service, login=None, hosts=None, root_path="", **settings):
    """Run an app and yield its address; `settings` are passed to uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = create_app(service, login=login, hosts=hosts, root_path=root_path)
        config = uvicorn.Config(app, **{"log_level": "error", "timeout_graceful_shutdown": 1, **settings})
        server = GracefulServer(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def raw(address, request, wait=5.0):
    """Return the response to raw bytes, read until its end or for `wait` seconds."""
    parts = urlsplit(address)
    answer = b""
    with socket.create_connection((parts.hostname, parts.port), timeout=wait) as connection:
        connection.sendall(request)
        try:
            while part := connection.recv(65536):
                answer += part
        except (TimeoutError, ConnectionResetError):
            pass
    return answer


def wait_until(reached, seconds=30.0):
    """Wait until a function returns something true."""
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it is never reached"
        time.sleep(0.01)
