"""The engines and the executors by name: two tables."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from orbitune.errors import OrbituneError
from orbitune.serving.engines.engine import Engine
from orbitune.serving.engines.model_copies import Workers
from orbitune.suggestions import unknown

# Imported when they are chosen: each needs its own libraries.
ENGINES = {"torch": "torch_engine.TorchEngine", "onnx": "onnx_engine.OnnxEngine"}
# Where the workers of `--workers` run.
EXECUTORS = {"local": "worker_processes.WorkerProcesses", "ray": "ray_workers.RayWorkers"}


def find_engine(name: str) -> type[Engine]:
    """Return an engine by its name.

    Raises:
        OrbituneError: there is none.
    """
    engine: type[Engine] = _find("engine", name, table=ENGINES)
    return engine


def start_workers(executor: str, engines: Mapping[str, Engine], *, count: int) -> Workers | None:
    """Start the workers of an executor; None if this process is to compute.

    Args:
        executor: key of EXECUTORS.
        engines: the models by name, opened.
        count: number of workers.

    Raises:
        OrbituneError: there is no such executor, it does not start, or weights cannot be loaded.
    """
    start = _find("executor", executor, table=EXECUTORS)
    if executor == "local" and count == 1:
        return None
    workers: Workers = start(engines, count)
    return workers


def _find(what: str, name: str, *, table: Mapping[str, str]) -> Any:
    """Import what a table has of this name."""
    if name not in table:
        raise OrbituneError(unknown(what, name, known=table))
    module, found = table[name].split(".")
    return getattr(import_module(f"orbitune.serving.engines.{module}"), found)
