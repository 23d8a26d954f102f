"""A server that is stopped answers the requests that it has."""

import threading
import time

import httpx
import pytest
from served_app import serving, wait_until

from orbitune.serving import graceful_server


@pytest.fixture
def model(service):
    return service.get_model(None)


def ask(address, tile_bytes, answers):
    """Start to send an image; its response is appended to `answers`."""

    def post():
        answers.append(httpx.post(f"{address}/api/predict", content=tile_bytes, timeout=60))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def test_requests_in_flight_are_answered_and_new_connections_refused(service, model, tile_bytes):
    answers, ended = [], threading.Event()
    with model.lock:
        app = serving(service, timeout_graceful_shutdown=60)
        address = app.__enter__()
        asking = [ask(address, tile_bytes, answers) for _ in range(3)]
        wait_until(lambda: model.batcher.waiting == 3)
        stopping = threading.Thread(target=lambda: [app.__exit__(None, None, None), ended.set()])
        stopping.start()

        def refuses():
            try:
                return httpx.get(f"{address}/api/health", timeout=5) is None
            except httpx.TransportError:
                return True

        wait_until(refuses)
        assert not ended.is_set() and not answers
    for thread in (*asking, stopping):
        thread.join(60)
    assert [answer.status_code for answer in answers] == [200] * 3


def test_an_open_page_does_not_delay_the_end(service, monkeypatch):
    monkeypatch.setattr(graceful_server, "STREAM_SECONDS", 0.2)
    with serving(service, timeout_graceful_shutdown=60) as address:
        stream = httpx.Client(timeout=60)
        beat = stream.build_request("GET", f"{address}/gradio_api/heartbeat/abc")
        response = stream.send(beat, stream=True)
        assert response.status_code == 200
        start = time.monotonic()
    assert time.monotonic() - start < 10
    assert "ALIVE" in response.read().decode()  # ended properly: no error of a cut connection
    stream.close()


def test_a_request_that_takes_too_long_is_told_to_try_again(service, model, tile_bytes):
    answers = []
    with model.lock:
        with serving(service, timeout_graceful_shutdown=1) as address:
            asking = ask(address, tile_bytes, answers)
            wait_until(lambda: model.batcher.waiting == 1)
        asking.join(60)
    assert (answers[0].status_code, answers[0].json()["kind"]) == (503, "shutting_down")
    wait_until(lambda: model.batcher.waiting == 0)
