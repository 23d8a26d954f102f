"""The app on a free port of this machine."""

import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import uvicorn

from orbitune.serving.app import make_app


@contextmanager
def serving(desk, login=None, hosts=None, root_path="", **settings):
    """The address of an app that runs while the block does; settings are uvicorn's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = make_app(desk, login, hosts, root_path)
        config = uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, **settings)
        server = uvicorn.Server(config)
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
    """What the server answers to these bytes, until it hangs up or `wait` seconds have passed."""
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
