"""The API as an application of Ray Serve, on a local Ray."""

import socket

import httpx
import pytest
from pydantic import ValidationError

from orbitune.serving.api.ray_serve import Settings, build
from orbitune.serving.api.schemas import HealthBody


def test_lists_may_be_text_with_commas_as_the_command_line_gives_them():
    settings = Settings(models="runs/a,runs/b", hosts="ray-head", replicas="2")
    assert (settings.models, settings.hosts, settings.replicas) == (["runs/a", "runs/b"], ["ray-head"], 2)
    with pytest.raises(ValidationError, match="replica\n"):
        Settings(models="runs/a", replica=2)
    with pytest.raises(ValidationError, match="at least 1 item"):
        Settings(models="")


@pytest.fixture(scope="module")
def api(run):
    """The address of two replicas."""
    ray = pytest.importorskip("ray", reason="needs ray[serve]")
    serve = pytest.importorskip("ray.serve", reason="needs ray[serve]", exc_type=ImportError)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(build(Settings(models=[str(run)], replicas=2)))
        yield f"http://127.0.0.1:{port}"
        serve.shutdown()
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_replicas_answer_as_the_app_does(api, address, tile_bytes):
    expected = httpx.post(f"{address}/api/predict", content=tile_bytes).json()["labels"]
    for _ in range(6):
        found = httpx.post(f"{api}/api/predict", content=tile_bytes, timeout=60).json()["labels"]
        for mine, theirs in zip(found, expected, strict=True):
            assert mine["label"] == theirs["label"]
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-4)


@pytest.mark.slow
def test_replicas_check_requests_and_describe_themselves_as_the_app_does(api, tile_bytes):
    assert HealthBody.model_validate(httpx.get(f"{api}/api/health").json()).status == "ok"
    assert "Orbitune API" in httpx.get(f"{api}/api/docs").text
    foreign = httpx.post(f"{api}/api/predict", content=tile_bytes, headers={"host": "evil.example"})
    assert (foreign.status_code, foreign.json()["kind"]) == (421, "foreign_host")
    unknown = httpx.post(f"{api}/api/predict?topk=1", content=tile_bytes)
    assert (unknown.status_code, unknown.json()["kind"]) == (422, "invalid_parameter")
    assert httpx.get(f"{api}/").status_code == 404  # no pages
