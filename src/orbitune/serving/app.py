"""The app: Gradio pages and a JSON endpoint over a `PredictionService`, and what guards both."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from orbitune.errors import OrbituneError
from orbitune.extras import require
from orbitune.serving.endpoints import add_files, add_predictions, answer_in_json
from orbitune.serving.map_page import CSS
from orbitune.serving.pages import make_pages
from orbitune.serving.security.allowed_hosts import Hosts
from orbitune.serving.security.authentication import SignedIn, SignIn
from orbitune.serving.security.body_limits import Bodies
from orbitune.serving.security.request_checks import Guard
from orbitune.serving.service import PredictionService
from orbitune.serving.storage import Storage
from orbitune.serving.uploads import MAX_UPLOAD

if TYPE_CHECKING:
    from fastapi import FastAPI

WAITING = 64  # requests that may wait; more are told to come back
MAX_IMAGE = 32 * 2**20  # bytes of an image that is sent to the JSON endpoint
_TIDIED = 60  # seconds between two looks for files that are kept no longer
_CSS = """
.gradio-container { width: 100% !important; max-width: 1080px !important; margin: 0 auto !important; }
.gradio-container main, .gradio-container .wrap, .gradio-container .column { width: 100%; min-width: 0; }
.gradio-container .prose { max-width: 100%; overflow-x: auto; }
footer { display: none !important; }
#verdict p { font-size: 1.05rem; }
"""


def parse_login(text: str | None) -> tuple[str, str] | None:
    """User and password of USER:PASSWORD.

    Raises:
        OrbituneError: one of them is missing, or Gradio is not installed.
    """
    require("app", purpose="the app")
    user, _, password = (text or "").partition(":")
    if text is not None and not (user and password):
        raise OrbituneError("--login takes USER:PASSWORD.")
    return (user, password) if text else None


def make_app(
    desk: PredictionService,
    login: tuple[str, str] | None = None,
    hosts: Hosts | None = None,
    root_path: str = "",
) -> "FastAPI":
    """Return pages at /, the JSON endpoint at /api/predict, and a check of health at /api/health.

    Args:
        login: user and password that every request must bring; None asks for none.
        hosts: the names that it answers to; by default those of this machine alone.
        root_path: the path that a proxy in front serves it below, such as /tiles.
    """
    from fastapi import FastAPI

    storage = Storage()
    sign_in = SignIn(*login) if login else None
    app = FastAPI(
        title="Orbitune", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan(storage)
    )
    add_predictions(app, desk, WAITING)
    add_files(app, storage)
    with storage.for_gradio():
        pages = _mount(app, desk, storage, sign_in, root_path)
    # What is added last is asked first.
    app.add_middleware(Bodies, image=min(MAX_IMAGE, MAX_UPLOAD), upload=MAX_UPLOAD)
    if sign_in:
        sign_in.pages = pages
        app.add_middleware(SignedIn, sign_in=sign_in)
    app.add_middleware(Guard, hosts=hosts or Hosts(), root_path=root_path)
    return app


def _mount(
    app: "FastAPI", desk: PredictionService, storage: Storage, sign_in: SignIn | None, root_path: str
) -> Any:
    """Add Gradio's pages; return the app that Gradio makes of them."""
    import gradio as gr

    pages = make_pages(desk, storage)
    pages.queue(max_size=WAITING, default_concurrency_limit=2)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    gr.mount_gradio_app(
        app,
        pages,
        path="/",
        auth=sign_in.check_form if sign_in else None,
        root_path=root_path or None,
        allowed_paths=[str(storage.folder)],
        theme=theme,
        css=_CSS + CSS,
        max_file_size=MAX_UPLOAD,
        footer_links=["api"],
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        run_history=False,
    )
    mounted = app.routes[-1].app  # type: ignore[attr-defined]
    answer_in_json(mounted)
    return mounted


def _lifespan(storage: Storage) -> Any:
    """Delete old files while the server runs, and all of them when it ends."""
    import anyio

    async def tidy() -> None:
        while True:
            await anyio.sleep(_TIDIED)
            await anyio.to_thread.run_sync(storage.tidy)

    @asynccontextmanager
    async def running(_: "FastAPI") -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tidy)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()
                storage.close()

    return running
