"""The API as an application of Ray Serve, for more than one machine.

    serve run orbitune.serving.api.ray_serve:build models=runs/mine replicas=4

Each replica has the models and a queue of its own; Ray Serve starts them on the machines of its cluster,
spreads requests over them, and replaces those that end. There are no pages: Gradio keeps the state of a
visitor in one process.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from orbitune.serving.api.routes import add_api_routes
from orbitune.serving.app import guard
from orbitune.serving.engines.micro_batches import MAX_WAITING
from orbitune.serving.security.allowed_hosts import AllowedHosts
from orbitune.serving.service import PredictionService, name_models

if TYPE_CHECKING:
    from fastapi import FastAPI


def _split(value: Any) -> Any:
    """Return the parts of text with commas, as the command line states a list."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_split)]


class Settings(BaseModel):
    """Arguments of the application.

    Attributes:
        models: bundles, finished runs, hub ids, or exported files, at paths that all machines have.
        engine: what computes them: torch or onnx.
        backbone: folder or hub id of the base model, if it is no longer where it was during training.
        replicas: number of processes.
        cores: of each.
        hosts: names under which clients reach the cluster; addresses are accepted anyway.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Names = Field(min_length=1)
    engine: str = "torch"
    backbone: str | None = None
    replicas: int = Field(default=1, ge=1)
    cores: int = Field(default=1, ge=1)
    hosts: Names = []


def build(settings: Settings) -> Any:
    """Return the application, a ray.serve.Application.

    Args:
        settings: of `serve run`, or of `args` in a configuration of `serve deploy`.
    """
    from ray import serve

    def build_app() -> "FastAPI":
        return create_api(
            open_service(settings), hosts=AllowedHosts.for_address("0.0.0.0", tuple(settings.hosts))
        )

    deployment = serve.deployment(
        name="orbitune",
        num_replicas=settings.replicas,
        max_ongoing_requests=MAX_WAITING,  # they wait in the queue of the replica, which batches them
        ray_actor_options={"num_cpus": settings.cores},
    )
    return deployment(serve.ingress(build_app)()).bind()


def open_service(settings: Settings) -> PredictionService:
    """Open the models of a replica; a batch has as many threads as Ray reserves cores."""
    return PredictionService(
        name_models(settings.models), settings.backbone, engine=settings.engine, threads=settings.cores
    )


def create_api(service: PredictionService, *, hosts: AllowedHosts) -> "FastAPI":
    """Create an app of the JSON API alone, without pages.

    Args:
        service: the models to serve.
        hosts: host names to answer to.
    """
    from fastapi import FastAPI

    app = FastAPI(title="Orbitune", docs_url=None, redoc_url=None, openapi_url=None)
    add_api_routes(app, service)
    guard(app, service, hosts=hosts)
    return app
