"""Connections are limited: nobody keeps others out by holding them."""

import contextlib
import logging
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from served_app import raw, serving, wait_until

from orbitune.serving.security.connection_limits import LimitedProtocol

HELD = {
    "nothing": b"",
    "an unfinished body": b"POST /api/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n-",
    "a finished request": b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a heartbeat": b"GET /gradio_api/heartbeat/a HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "progress": b"GET /gradio_api/upload_progress?upload_id=a HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


def limited(**limits):
    """The protocol with other limits."""
    return type("Narrow", (LimitedProtocol,), limits)


@contextlib.contextmanager
def held(address, request, count, client="127.0.0.1"):
    """Connections that send these bytes and then neither send nor read."""
    parts = urlsplit(address)
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            connection = socket.create_connection((parts.hostname, parts.port), source_address=(client, 0))
            opened.append(stack.enter_context(connection))
            connection.sendall(request)
        yield opened


@pytest.fixture(scope="module")
def narrow(service):
    """The address of an app that has 8 connections at most."""
    with serving(service, http=limited(max_connections=8)) as address:
        yield address


@pytest.mark.parametrize("request_", HELD.values(), ids=HELD)
def test_connections_that_are_held_for_anything_keep_nobody_out(narrow, tile_bytes, request_):
    with held(narrow, request_, 40):
        for _ in range(5):
            assert httpx.post(f"{narrow}/api/predict", content=tile_bytes).status_code == 200


def test_downloads_that_are_never_read_keep_nobody_out(narrow, tile_bytes):
    files = {"files": ("big.png", bytes(8 << 20))}
    (path,) = httpx.post(f"{narrow}/gradio_api/upload", files=files).json()
    with held(narrow, f"GET /gradio_api/file={path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 40):
        for _ in range(5):
            assert httpx.post(f"{narrow}/api/predict", content=tile_bytes).status_code == 200


@pytest.mark.slow
def test_a_download_that_is_not_read_is_cut_off(service):
    with serving(service, http=limited(unread_seconds=2)) as address:
        files = {"files": ("big.png", bytes(32 << 20))}
        (path,) = httpx.post(f"{address}/gradio_api/upload", files=files).json()
        get = f"GET /gradio_api/file={path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        assert len(raw(address, get)) > 32 << 20
        with held(address, get, 1) as (connection,):
            time.sleep(4)
            assert len(b"".join(iter(lambda: connection.recv(1 << 20), b""))) < 32 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this machine has one address of its own")
def test_the_client_that_holds_most_connections_makes_room_before_others_do(narrow):
    beat = HELD["a heartbeat"]
    with held(narrow, beat, 1, client="127.0.0.2") as (mine,), held(narrow, beat, 40) as others:
        assert httpx.get(f"{narrow}/api/health").status_code == 200
        for connection in (mine, others[0]):
            connection.settimeout(2)
        assert mine.recv(4096).startswith(b"HTTP/1.1 200")
        mine.setblocking(False)
        with pytest.raises(BlockingIOError):  # it is open: there is nothing to read, not even its end
            while mine.recv(4096):
                pass
        with contextlib.suppress(ConnectionResetError):
            while others[0].recv(4096):
                pass


def test_a_request_in_progress_is_cut_off_last(narrow, service, tile_bytes):
    answers, model = [], service.get_model(None)
    asking = threading.Thread(
        target=lambda: answers.append(httpx.post(f"{narrow}/api/predict", content=tile_bytes, timeout=120))
    )
    with model.lock:
        asking.start()
        wait_until(lambda: model.batcher.waiting)
        with contextlib.ExitStack() as streams:
            for _ in range(40):
                (stream,) = streams.enter_context(held(narrow, HELD["a heartbeat"], 1))
                assert stream.recv(12) == b"HTTP/1.1 200"  # its response has begun
            assert httpx.get(f"{narrow}/api/health").status_code == 200
    asking.join(120)
    assert answers[0].status_code == 200


def test_headers_that_come_too_slowly_and_connections_that_say_nothing_are_cut_off(service, tile_bytes):
    with serving(service, http=limited(max_connections=8, head_seconds=0.5)) as address:
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
            start = time.monotonic()
            assert raw(address, begun) == b"" and time.monotonic() - start < 3
        parts = urlsplit(address)
        idle = [socket.create_connection((parts.hostname, parts.port)) for _ in range(40)]
        assert httpx.post(f"{address}/api/predict", content=tile_bytes).status_code == 200
        for each in idle:
            each.close()


def test_streams_of_events_leave_no_line_however_they_end(service, caplog):
    """By the client, by Gradio, which knows no such session, and with the server."""
    log = logging.getLogger("uvicorn.error")
    with contextlib.ExitStack() as open_ones, serving(service, ws="none") as address:
        log.addHandler(caplog.handler)
        for path in ("queue/data?session_hash=a", "call/predict/nothing"):
            assert "404: Not Found" in httpx.get(f"{address}/gradio_api/{path}").text
        with held(address, HELD["a heartbeat"], 1):
            time.sleep(0.3)
        for name in ("a heartbeat", "progress"):
            open_ones.enter_context(held(address, HELD[name], 1))
        time.sleep(0.3)
    log.removeHandler(caplog.handler)
    said = [record.getMessage() for record in caplog.records]
    assert all(message.startswith("Cancel ") for message in said)  # what a server that is stopped says


def test_a_body_does_not_wait_for_the_acknowledgement_of_its_headers(service):
    """That takes 40 ms."""
    opened = []

    class Noting(LimitedProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            opened.append(transport.get_extra_info("socket"))

    with serving(service, http=Noting) as address, httpx.Client() as client:
        client.get(f"{address}/api/health")
        (connection,) = opened
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
