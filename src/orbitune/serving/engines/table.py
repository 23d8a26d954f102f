"""The engines by name: one table."""

from importlib import import_module

from orbitune.errors import OrbituneError
from orbitune.serving.engines.engine import Engine
from orbitune.suggestions import unknown

# Imported when they are chosen: each needs its own libraries.
ENGINES = {"torch": "torch_engine.TorchEngine", "onnx": "onnx_engine.OnnxEngine"}


def find_engine(name: str) -> type[Engine]:
    """Return an engine by its name.

    Raises:
        OrbituneError: there is none.
    """
    if name not in ENGINES:
        raise OrbituneError(unknown("engine", name, known=ENGINES))
    module, found = ENGINES[name].split(".")
    engine: type[Engine] = getattr(import_module(f"orbitune.serving.engines.{module}"), found)
    return engine
