"""The web app: its page, the JSON API and Gradio's API, behind security middleware."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError
from orbitune.extras import require
from orbitune.serving.api.request_log import RequestLogMiddleware
from orbitune.serving.api.routes import PATHS, add_api_routes
from orbitune.serving.endpoints import add_file_routes, add_json_error_handlers
from orbitune.serving.front_page import add_page_routes
from orbitune.serving.gradio_functions import build_functions
from orbitune.serving.map_viewer import add_map_routes
from orbitune.serving.security.allowed_hosts import AllowedHosts
from orbitune.serving.security.authentication import AuthenticationMiddleware, Authenticator
from orbitune.serving.security.body_limits import BodyLimitMiddleware
from orbitune.serving.security.request_checks import RequestCheckMiddleware
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_IMAGE_BYTES, MAX_UPLOAD_BYTES

if TYPE_CHECKING:
    from fastapi import FastAPI

MAX_QUEUE = 64  # calls of Gradio's functions that wait; further ones are refused
_CLEANUP_INTERVAL = 60  # seconds


def parse_login(text: str | None) -> tuple[str, str] | None:
    """Return user and password from USER:PASSWORD; None for None.

    Raises:
        OrbituneError: one of them is missing, or Gradio is not installed.
    """
    require("app", purpose="the app")
    user, _, password = (text or "").partition(":")
    if text is not None and not (user and password):
        raise OrbituneError("--login takes USER:PASSWORD.")
    return (user, password) if text else None


def create_app(
    service: PredictionService,
    *,
    login: tuple[str, str] | None = None,
    hosts: AllowedHosts | None = None,
    root_path: str = "",
) -> "FastAPI":
    """Create the app: the page at /, the JSON API below /api, Gradio's below /gradio_api.

    Args:
        service: the models to serve.
        login: user and password that every request must bring; None for none.
        hosts: host names to answer to; this machine's loopback names by default.
        root_path: path under which a proxy serves the app, such as /tiles.
    """
    from fastapi import FastAPI

    storage = Storage()
    authenticator = Authenticator(*login) if login else None
    lifespan = _lifespan(storage)
    app = FastAPI(title="Orbitune", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    add_api_routes(app, service, root_path=root_path)
    add_file_routes(app, storage)
    add_map_routes(app, storage)
    add_page_routes(app, service, root_path=root_path)
    with storage.as_gradio_cache():
        gradio = _mount_gradio(
            app, service, storage=storage, authenticator=authenticator, root_path=root_path
        )
    if authenticator:
        authenticator.pages = gradio
    guard(app, service, hosts=hosts or AllowedHosts(), authenticator=authenticator, root_path=root_path)
    return app


def guard(
    app: "FastAPI",
    service: PredictionService,
    *,
    hosts: AllowedHosts,
    authenticator: Authenticator | None = None,
    root_path: str = "",
) -> None:
    """Put the security middleware before an app, and the log of its requests.

    Args:
        app: the app.
        service: its models.
        hosts: host names to answer to.
        authenticator: of the users; None without a sign-in.
        root_path: path under which a proxy serves the app.
    """
    # The middleware added last sees a request first.
    image = min(MAX_IMAGE_BYTES, MAX_UPLOAD_BYTES)
    app.add_middleware(BodyLimitMiddleware, max_image_bytes=image, max_upload_bytes=MAX_UPLOAD_BYTES)
    if authenticator:
        app.add_middleware(AuthenticationMiddleware, authenticator=authenticator)
    app.add_middleware(RequestCheckMiddleware, hosts=hosts, root_path=root_path)
    app.add_middleware(RequestLogMiddleware, metrics=service.metrics, paths=PATHS, root_path=root_path)


def _mount_gradio(
    app: "FastAPI",
    service: PredictionService,
    *,
    storage: Storage,
    authenticator: Authenticator | None,
    root_path: str,
) -> Any:
    """Mount Gradio for its clients, below the app's own routes; return Gradio's app."""
    import gradio as gr

    functions = build_functions(service, storage)
    functions.queue(max_size=MAX_QUEUE, default_concurrency_limit=2)
    gr.mount_gradio_app(
        app,
        functions,
        path="/",
        auth=authenticator.check_form if authenticator else None,
        root_path=root_path or None,
        allowed_paths=[str(storage.folder)],
        max_file_size=MAX_UPLOAD_BYTES,
        footer_links=["api"],
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        run_history=False,
    )
    mounted = app.routes[-1].app  # type: ignore[attr-defined]
    add_json_error_handlers(mounted)
    return mounted


def _lifespan(storage: Storage) -> Any:
    """Return a lifespan that deletes expired files, and all files at its end."""
    import anyio

    async def clean_up() -> None:
        while True:
            await anyio.sleep(_CLEANUP_INTERVAL)
            await anyio.to_thread.run_sync(storage.delete_expired)

    @asynccontextmanager
    async def running(_: "FastAPI") -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(clean_up)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                storage.close()

    return running
