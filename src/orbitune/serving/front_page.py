"""The app's page at /: its files, examples and model cards. It is built from web/app in the repository."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from orbitune.serving.api.routes import PATHS
from orbitune.serving.examples import ExampleFinder
from orbitune.serving.service import PredictionService, UnknownModelError

if TYPE_CHECKING:
    from fastapi import FastAPI

_TYPES = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_BASE = '<base href="/" />'  # of the page; behind a proxy its path


def add_page_routes(app: "FastAPI", service: PredictionService, *, root_path: str = "") -> None:
    """Add the routes of the page: itself, its files, and what only the page needs.

    Args:
        app: the app to extend.
        service: the models.
        root_path: path under which a proxy serves the app.
    """
    from fastapi import HTTPException, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response

    examples = ExampleFinder(service)
    page = _read_asset("index.html").decode().replace(_BASE, f'<base href="{root_path}/" />')

    @app.head("/", include_in_schema=False)
    @app.get("/", include_in_schema=False)
    def index(request: Request) -> Response:
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"name": "Orbitune", "api": [f"{root_path}{path}" for path in PATHS]})
        return HTMLResponse(page, headers={"cache-control": "no-cache"})

    @app.get("/app/examples", include_in_schema=False)
    async def list_examples(model: str | None = None) -> dict[str, Any]:
        with _unknown_models_told():
            found = await examples.find(model)
        return {"labels": list(found.tiles), "reason": found.reason, "model": found.model}

    @app.get("/app/example", include_in_schema=False)
    async def example(label: str, model: str | None = None) -> Response:
        with _unknown_models_told():
            tile = (await examples.find(model)).tiles.get(label)
        if tile is None:
            raise HTTPException(404, "No such example.")
        return Response(tile, media_type="image/png", headers={"cache-control": "no-store"})

    @app.get("/app/card", include_in_schema=False)
    def card(model: str | None = None) -> HTMLResponse:
        with _unknown_models_told():
            return HTMLResponse(_render_card(service.get_model(model).card))

    @app.get("/app/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        kind = _TYPES.get(name.rpartition(".")[2])
        try:
            content = _read_asset(f"app/{name}") if kind else None
        except OSError:
            content = None
        if content is None:
            raise HTTPException(404, "Not found.")
        return Response(content, media_type=kind, headers={"cache-control": "no-cache"})


@contextmanager
def _unknown_models_told() -> Iterator[None]:
    """Answer 404 for a name of a model that is not served."""
    from fastapi import HTTPException

    try:
        yield
    except UnknownModelError as error:
        raise HTTPException(404, str(error)) from None


@cache
def _read_asset(name: str) -> bytes:
    """Return a file of the built page."""
    return files("orbitune.serving").joinpath("assets").joinpath("page").joinpath(name).read_bytes()


@cache
def _render_card(text: str) -> str:
    """Return a model card as HTML; HTML in it stays text."""
    from markdown_it import MarkdownIt

    return MarkdownIt("js-default", {"html": False}).render(text)
