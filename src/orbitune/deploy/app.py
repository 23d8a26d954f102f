"""The app: pages of Gradio over a `Desk`, a JSON endpoint beside them, and the server of both."""

import csv
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitune.deploy.desk import Answer, Desk, Model
from orbitune.deploy.map_tab import CSS, can_map, map_tab
from orbitune.deploy.pictures import example_tiles, overlay
from orbitune.deploy.told import told
from orbitune.deploy.uploads import MAX_UPLOAD
from orbitune.errors import OrbituneError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from gradio import Blocks

WAITING = 64  # requests that may wait; more are told to come back
_ROWS = 200  # of the batch tab's table on the page; the file has them all
_CSS = """
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
.gradio-container main, .gradio-container .wrap, .gradio-container .column { width: 100%; }
footer { display: none !important; }
#verdict p { font-size: 1.05rem; }
"""


def parse_login(text: str | None) -> tuple[str, str] | None:
    """User and password of USER:PASSWORD.

    Raises:
        OrbituneError: one of them is missing, or Gradio is not installed.
    """
    from importlib.util import find_spec

    if find_spec("gradio") is None:
        raise OrbituneError("The app needs Gradio: pip install 'orbitune[app]'.")
    user, _, password = (text or "").partition(":")
    if text is not None and not (user and password):
        raise OrbituneError("--login takes USER:PASSWORD.")
    return (user, password) if text else None


def make_app(desk: Desk, login: tuple[str, str] | None = None) -> "FastAPI":
    """Pages at /, the JSON endpoint at /api/predict, and a check of health at /api/health.

    Args:
        login: user and password that every request must bring; None asks for none.
    """
    import gradio as gr
    from fastapi import FastAPI

    app = FastAPI(title="Orbitune", docs_url=None, redoc_url=None, openapi_url=None)
    _add_endpoints(app, desk, login)
    pages = _pages(desk)
    pages.queue(max_size=WAITING, default_concurrency_limit=2)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(
        app,
        pages,
        path="/",
        auth=login,
        theme=theme,
        css=_CSS + CSS,
        max_file_size=MAX_UPLOAD,
        footer_links=["api"],
        show_error=True,
        enable_monitoring=False,
        run_history=False,
    )


def serve(desk: Desk, host: str, port: int, login: tuple[str, str] | None = None) -> None:
    """Serve until interrupted.

    Raises:
        OrbituneError: the port is taken, or the address is none of this machine.
    """
    import socket

    import uvicorn

    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise OrbituneError(
            f"Cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}. Choose another --port."
        ) from None
    # A page that is open keeps a connection, and must not keep the app from ending.
    uvicorn.run(make_app(desk, login), host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)


# The JSON endpoint


def _add_endpoints(app: "FastAPI", desk: Desk, login: tuple[str, str] | None) -> None:
    from fastapi import Depends, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from fastapi.security import HTTPBasic, HTTPBasicCredentials

    waiting = threading.Semaphore(WAITING)

    def checked(given: HTTPBasicCredentials | None = Depends(HTTPBasic(auto_error=False))) -> None:  # noqa: B008
        if login and not (given and _same(given.username, login[0]) & _same(given.password, login[1])):
            raise HTTPException(401, "User and password are needed.", {"WWW-Authenticate": "Basic"})

    @app.get("/api/health", dependencies=[Depends(checked)])
    def health() -> dict[str, Any]:
        return {"models": {name: list(model.bundle.classes) for name, model in desk.models.items()}}

    @app.post("/api/predict", dependencies=[Depends(checked)])
    async def predict(request: Request, model: str | None = None, top_k: int = 3) -> dict[str, Any]:
        """The body is the image's file."""
        if not waiting.acquire(blocking=False):
            raise HTTPException(503, "Too many requests are waiting; try again.", {"Retry-After": "1"})
        try:
            data = bytearray()
            async for part in request.stream():
                data += part
                if len(data) > MAX_UPLOAD:
                    raise HTTPException(413, f"An image may have at most {MAX_UPLOAD // 2**20} MB.")
            try:
                answer = await run_in_threadpool(desk.model(model).answer, bytes(data), top_k)
            except OrbituneError as error:
                raise HTTPException(400, str(error)) from None
        finally:
            waiting.release()
        if answer.prediction.error:
            raise HTTPException(422, answer.to_json()["error"])
        return answer.to_json()


def _same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


# The pages


def _pages(desk: Desk) -> "Blocks":
    import gradio as gr

    names = list(desk.models)
    with gr.Blocks(title="Orbitune", analytics_enabled=False, delete_cache=(600, 3600)) as pages:
        gr.Markdown("# Orbitune\nWhat does a satellite tile show?")
        task = gr.Dropdown(names, value=names[0], label="Model", visible=len(names) > 1, interactive=True)
        with gr.Tab("One tile"):
            _tile_tab(desk, task)
        with gr.Tab("Many"):
            _table_tab(desk, task)
        if can_map():
            with gr.Tab("Map"):
                map_tab(desk, task)
        if len(names) > 1:
            with gr.Tab("Compare"):
                _compare_tab(desk, task)
        with gr.Tab("About"):
            card = gr.Markdown(desk.model(None).card)
            task.change(lambda name: desk.model(name).card, task, card, api_visibility="private")
    return pages


def _tile_tab(desk: Desk, task: Any) -> None:
    import gradio as gr

    with gr.Row():
        with gr.Column(min_width=280):
            image = _image_input()
        with gr.Column(min_width=280):
            verdict = gr.Markdown(elem_id="verdict")
            shares = gr.Label(num_top_classes=3, label="Probability, calibrated", show_label=True)
            looked = gr.Image(label="What speaks for the first", interactive=False, buttons=[], height=256)
    if examples := example_tiles(desk.model(None).bundle):
        gr.Examples([[str(file)] for file in examples], [image], label="Examples from validation")

    def show(path: str | None, name: str | None) -> tuple[Any, ...]:
        return _show_answer(desk, path, name)

    asked, shown = [image, task], [verdict, shares, looked]
    image.change(show, asked, shown, api_name="predict")
    task.change(show, asked, shown, api_visibility="private")


def _image_input() -> Any:
    import gradio as gr

    # The file as it was sent: Gradio would decode it without limits, and turn 16 bits into 8.
    return gr.Image(
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        label="A tile",
        height=256,
        buttons=[],
    )


def _show_answer(desk: Desk, path: str | None, name: str | None) -> tuple[Any, ...]:
    if path is None:
        return "", None, None
    with told():
        data, model = Path(path).read_bytes(), desk.model(name)
        answer = model.answer(data)
        if answer.prediction.error:
            return f"**No answer.** The image {answer.prediction.error}.", None, None
        best = answer.prediction.labels[0][0]
        return _words(answer), dict(answer.prediction.labels), overlay(*model.where(data, best))


def _words(answer: Answer) -> str:
    label, share = answer.prediction.labels[0]
    took = f"{1000 * answer.seconds:.0f} ms"
    if answer.prediction.sure is False:
        return f"**Not sure.** This is not like the training tiles; the nearest class is {label}. ({took})"
    return f"**{label}**, {share:.1%}. ({took})"


def _table_tab(desk: Desk, task: Any) -> None:
    import gradio as gr

    files = gr.File(file_count="multiple", label="Images, or a zip of images")
    start = gr.Button("Classify", variant="primary")
    summary = gr.Markdown()
    table = gr.Dataframe(headers=_HEADER, interactive=False, wrap=True)
    download = gr.DownloadButton("Download the table (CSV)", visible=False)

    def classify(paths: list[str] | None, name: str | None) -> Iterator[Any]:
        with told():
            yield from _classify_files(desk, name, [Path(path) for path in paths or []])

    start.click(classify, [files, task], [summary, table, download], api_name="predict_many")


_HEADER = ["file", "label", "probability", "sure", "problem"]


def _classify_files(desk: Desk, name: str | None, paths: list[Path]) -> Iterator[Any]:
    """Summary, the first rows and the file with all of them; a summary alone while it works."""
    import gradio as gr

    shown: list[list[Any]] = []
    counts = {"images": 0, "unsure": 0, "problems": 0}
    with tempfile.NamedTemporaryFile(
        "w", prefix="orbitune-", suffix=".csv", delete=False, newline="", encoding="utf-8"
    ) as file:
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for found in desk.table(name, paths):
            label, share = found.labels[0] if found.labels else ("", 0.0)
            row = [_plain(str(found.input)), label, round(share, 4), found.sure, found.error or ""]
            writer.writerow(row)
            counts["images"] += 1
            counts["unsure"] += found.sure is False
            counts["problems"] += found.error is not None
            if len(shown) < _ROWS:
                shown.append(row)
            if counts["images"] % 256 == 0:
                yield _summary(counts), shown, gr.skip()
    yield _summary(counts), shown, gr.DownloadButton(value=file.name, visible=True)


def _plain(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@\t\r" else name


def _summary(counts: dict[str, int]) -> str:
    more = f" The table shows the first {_ROWS}." if counts["images"] > _ROWS else ""
    return (
        f"{counts['images']:,} images: {counts['unsure']:,} not sure, {counts['problems']:,} could not be "
        f"read.{more}"
    )


def _compare_tab(desk: Desk, task: Any) -> None:
    import gradio as gr

    gr.Markdown("The same tile by every model that has these classes.")
    image = _image_input()
    header = ["model", "label", "probability", "time, ms", "on disk, MB", "test accuracy"]
    table = gr.Dataframe(headers=header, interactive=False, wrap=True)

    def compare(path: str | None, name: str | None) -> list[list[Any]]:
        if path is None:
            return []
        with told():
            data = Path(path).read_bytes()
            return [_compared(other, model, data) for other, model in desk.alike(name).items()]

    image.change(compare, [image, task], table, api_name="compare")


def _compared(name: str, model: Model, data: bytes) -> list[Any]:
    answer, scores = model.answer(data), model.bundle.facts["scores"]
    if answer.prediction.error:
        raise OrbituneError(f"The image {answer.prediction.error}.")
    label, share = answer.prediction.labels[0]
    size = sum(file.stat().st_size for file in model.bundle.folder.iterdir() if file.is_file())
    test = scores.get("test", {}).get("accuracy")
    accuracy = "" if test is None else f"{test:.2%}"
    return [name, label, f"{share:.1%}", f"{1000 * answer.seconds:.0f}", f"{size / 1e6:.2f}", accuracy]
