"""With --workers, other processes compute, here or on a Ray cluster."""

import os
import signal

import httpx
import pytest
from served_app import serving, wait_until

from orbitune.errors import OrbituneError
from orbitune.serving.engines.model_copies import ModelSource
from orbitune.serving.engines.ray_workers import cores_of_worker
from orbitune.serving.engines.torch_engine import TorchEngine
from orbitune.serving.service import PredictionService

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spread(run):
    service = PredictionService({"run": run}, workers=2)
    yield service
    service.close()


def processes(service):
    return list(service._workers._pool._processes)


def post(address, tile_bytes):
    done = httpx.post(f"{address}/api/predict", content=tile_bytes, timeout=60)
    assert done.status_code == 200, done.text
    return done.json()["labels"]


def test_processes_answer_as_one_process_does(spread, address, tile_bytes):
    assert len(processes(spread)) == 2 and os.getpid() not in processes(spread)
    with serving(spread) as other:
        for mine, theirs in zip(post(other, tile_bytes), post(address, tile_bytes), strict=True):
            assert mine["label"] == theirs["label"]
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-4)


def test_a_process_that_is_killed_is_replaced_and_the_request_answered(spread, tile_bytes, caplog):
    killed = processes(spread)
    with serving(spread) as address:
        for process in killed:
            os.kill(process, signal.SIGKILL)
        post(address, tile_bytes)
    assert "a process that computes has died; it is replaced" in caplog.text
    assert not set(killed) & set(processes(spread))


def test_the_health_of_a_service_whose_process_was_killed_is_503_until_another_took_its_place(
    spread, tile_bytes
):
    with serving(spread) as address:
        post(address, tile_bytes)
        os.kill(processes(spread)[0], signal.SIGKILL)
        wait_until(lambda: httpx.get(f"{address}/api/health").status_code == 503)
        done = httpx.get(f"{address}/api/health")  # the new processes load their models first
        assert (done.status_code, done.json()["status"]) == (503, "restarting")
        wait_until(lambda: httpx.get(f"{address}/api/health").status_code == 200)
        assert httpx.get(f"{address}/api/health").json()["status"] == "ok"
        post(address, tile_bytes)


def test_at_the_end_no_process_is_left(run):
    service = PredictionService({"run": run}, workers=2)
    started = processes(service)
    service.close()

    def ended():
        return not any(os.path.exists(f"/proc/{each}/cmdline") for each in started)  # noqa: PTH110

    wait_until(ended)


def test_weights_that_cannot_be_loaded_are_one_line(run, tmp_path):
    with pytest.raises(OrbituneError, match=r"nothing"):
        PredictionService({"run": run}, str(tmp_path / "nothing"), workers=2)


@pytest.fixture(scope="module")
def on_ray(run):
    pytest.importorskip("ray", reason="needs the extra ray")
    service = PredictionService({"run": run}, workers=2, executor="ray")
    yield service
    service.close()


def test_workers_on_ray_answer_as_this_process_does(on_ray, address, tile_bytes):
    with serving(on_ray) as other:
        for mine, theirs in zip(post(other, tile_bytes), post(address, tile_bytes), strict=True):
            assert mine["label"] == theirs["label"]
            assert mine["probability"] == pytest.approx(theirs["probability"], abs=1e-4)


def test_a_worker_on_ray_that_is_killed_is_started_again_however_often_and_the_request_answered(
    on_ray, tile_bytes
):
    import ray

    with serving(on_ray) as address:
        for _ in range(5):
            for worker in on_ray._workers._workers:
                ray.kill(worker, no_restart=False)
            post(address, tile_bytes)


@pytest.mark.parametrize(
    ("cores", "count", "each"),
    [
        ([4], 1, 4),
        ([4], 3, 1),
        ([4], 5, 0),
        ([4, 4], 1, 4),
        ([3, 3, 3], 4, 1),
        ([3, 5], 2, 3),
        ([1, 7], 3, 2),
    ],
)
def test_a_worker_on_ray_has_no_more_cores_than_one_machine_can_give(cores, count, each):
    assert cores_of_worker(cores, count) == each


def test_workers_open_the_models_from_any_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.parent)
    engine = TorchEngine(run.name, "backbone")
    source = ModelSource.of(engine, threads=1)
    assert (source.source, source.backbone) == (str(run), str(run.parent / "backbone"))
    monkeypatch.chdir(tmp_path)
    source.load()
    assert ModelSource.of(TorchEngine(run, "owner/name"), threads=1).backbone == "owner/name"


def test_an_unknown_executor_is_refused_with_the_known_ones(run):
    with pytest.raises(OrbituneError, match=r"Unknown executor 'rai'.*Choose from: local, ray"):
        PredictionService({"run": run}, executor="rai")
