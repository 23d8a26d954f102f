"""Exported pages, served and driven in a browser."""

import csv
import io
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

STARTED = "#app:not([hidden])"  # files given to the page before are lost
READY = "body[data-ready]"
OFFLINE = "body[data-offline]"


class QuietHandler(SimpleHTTPRequestHandler):
    """As `python -m http.server`, without its log."""

    def log_message(self, *_):
        pass


@contextmanager
def served(folder, handler=QuietHandler):
    """Serve a folder; yield its address and a function that ends the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    thread = Thread(target=server.serve_forever)
    thread.start()

    def stop():
        server.shutdown()
        server.server_close()
        thread.join()

    try:
        yield f"http://localhost:{server.server_port}/", stop
    finally:
        stop()


def visit(page, address):
    """Open the page until it takes files; return its list of errors, to which later ones are added."""
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector(STARTED)
    return errors


def classify(page, files):
    """Give files to the page; return the rows of its CSV file by name."""
    page.set_input_files("#files", files)
    page.wait_for_selector("#session:not([hidden]) #batch[hidden]", state="attached")
    with page.expect_download() as saving:
        page.click("#save")
    text = Path(saving.value.path()).read_text()
    return {row["input"]: row for row in csv.DictReader(io.StringIO(text))}
