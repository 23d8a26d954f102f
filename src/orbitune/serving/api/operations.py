"""What the operations of the API share: a parameter, examples, and the errors of a model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from orbitune.serving.engines.micro_batches import QueueFullError
from orbitune.serving.error_handling import ApiError
from orbitune.serving.service import UnknownModelError

MODEL = "Name of the model; the first one by default"
"""Description of the parameter."""


def code_samples(*commands: str) -> dict[str, Any]:
    """Return commands of the shell as a part of an OpenAPI operation."""
    return {"x-codeSamples": [{"lang": "Shell", "source": command} for command in commands]}


@contextmanager
def model_errors_told() -> Iterator[None]:
    """Turn errors of choosing a model and of waiting for it into an ApiError within the context."""
    try:
        yield
    except UnknownModelError as error:
        raise ApiError.of(400, error) from None
    except QueueFullError as error:
        raise ApiError.of(503, error, headers={"Retry-After": "1"}) from None
