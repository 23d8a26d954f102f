"""Hostile values to every input of the app's API: how many of them have it read a file that was not uploaded.

    python benchmarks/reliability/app_inputs.py RUN [--count 600] [--seed 0]

prints JSON. Every function of the pages is called, those that Gradio's clients do not see among them, with
one hostile value in one of its inputs. A file counts as read where anything of it comes back, and a server of
our own as read where it is asked.
"""

import argparse
import http.server
import json
import os
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

META = {"_type": "gradio.FileData"}


@dataclass
class Targets:
    """What nobody may read.

    Attributes:
        paths: that name it, in many ways.
        canaries: bytes that are only in there.
        asked: requests that came to the server of our own.
    """

    paths: list[str] = field(default_factory=list)
    canaries: list[bytes] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def targets(folder: Path) -> Iterator[Targets]:
    """Make files, links, a pipe and a server that hold a secret, in a folder."""
    secret, found = folder / "secret.png", Targets()
    token = secrets.token_hex(16)
    secret.write_text(token)
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")

    class Secret(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(token.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Secret) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"127.0.0.1:{server.server_port}/secret.png"
        relative = os.path.relpath(secret)
        files = [secret, folder / "link.png", folder / "linked" / "secret.png", folder / "pipe.png", folder]
        found.paths = [
            *map(str, files),
            relative,
            f"./{relative}",
            f"/tmp/../{secret}",
            f"/proc/self/root{secret}",
            f"//{secret}",
            *("/etc/passwd", "/etc/../etc/passwd", "../" * 12 + "etc/passwd", "..%2f" * 12 + "etc/passwd"),
            *(
                "/proc/self/environ",
                "/proc/self/cmdline",
                "/proc/self/fd/0",
                "/proc/self/maps",
                "/proc/1/environ",
            ),
            *("/dev/zero", "/dev/stdin", "/dev/random", "/dev/fd/0", "/dev/tty"),
            *(f"{scheme}{secret}" for scheme in ("file://", "file:", "FILE://", "file://localhost")),
            *(f"{scheme}://{url}" for scheme in ("http", "HTTP", "https", "ftp")),
            f"http://{url.replace('127.0.0.1', 'localhost')}",
            f"http://{url.replace('127.0.0.1', '2130706433')}",
            f"http://hf.co@{url}",
            *("http://169.254.169.254/latest/meta-data/", "http://[::1]:1/", "http://0/", "s3://bucket/key"),
            *(f"/vsicurl/http://{url}", f"/vsizip/{secret}", f"zip://{secret}"),
            *("", ".", "~", "~/.ssh/id_rsa", "\0", f"{secret}\0.png", "a" * 5000, "pyproject.toml"),
        ]
        found.canaries = [token.encode(), Path("/etc/passwd").read_bytes().splitlines()[0]]
        found.canaries.append(Path("/proc/self/environ").read_bytes()[:60])
        try:
            yield found
        finally:
            server.shutdown()


def hostile_values(paths: Sequence[str], count: int, seed: int = 0) -> list[Any]:
    """Return that many values that name files, in the forms that an input may have."""
    draw = random.Random(seed)
    forms = [
        lambda p: {"path": p, "meta": META},
        lambda p: {"path": p},
        lambda p: p,
        lambda p: [{"path": p, "meta": META}, {"path": p, "meta": META}],
        lambda p: [[{"path": p, "meta": META}]],
        lambda p: {"path": p, "url": p, "orig_name": "../../../a.png", "meta": META},
        lambda p: {"path": None, "url": p, "meta": META},
        lambda p: {"path": p, "is_stream": True, "mime_type": "image/png", "size": 1, "meta": META},
        lambda p: {"path": p, "orig_name": "a.svg", "meta": META},
        lambda p: {"path": {"path": p, "meta": META}, "meta": META},
        lambda p: {"value": {"path": p, "meta": META}, "__type__": "update"},
        lambda p: {"headers": ["a"], "data": [[{"path": p, "meta": META}]]},
        lambda p: {"url": "data:image/png;base64,aGVsbG8=", "path": p, "meta": META},
        lambda p: {"files": [{"path": p, "meta": META}], "text": p},
        lambda p: {"video": {"path": p, "meta": META}, "image": {"path": p, "meta": META}},
    ]
    pairs = [(form, path) for path in paths for form in forms]
    draw.shuffle(pairs)
    return [form(path) for form, path in (pairs[at % len(pairs)] for at in range(count))]


def functions(client: httpx.Client) -> list[dict[str, Any]]:
    """Return number, inputs and defaults of every function of the pages, private ones too."""
    config = client.get("/config").json()
    components = {each["id"]: each for each in config["components"]}
    found = []
    for each in config["dependencies"]:
        inputs = [components[number] for number in each["inputs"]]
        values = [component["props"].get("value") for component in inputs]
        found.append({"id": each["id"], "name": each["api_name"], "values": values})
    return found


def call(client: httpx.Client, function: int, values: Sequence[Any]) -> bytes:
    """Return all that the pages' way of calling a function answers."""
    session = secrets.token_hex(6)
    body = {"data": list(values), "fn_index": function, "session_hash": session}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.content
    return client.get("/gradio_api/queue/data", params={"session_hash": session}).content


def call_by_name(client: httpx.Client, name: str, values: Sequence[Any]) -> bytes:
    """Return all that the way of other programs answers."""
    joined = client.post(f"/gradio_api/call/{name}", json={"data": list(values)})
    if joined.status_code != 200:
        return joined.content
    return client.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}").content


def download(client: httpx.Client, path: str) -> bytes:
    """Return what the ways to files and other servers answer for a path, all of them."""
    quoted = (
        httpx.URL("http://x/").copy_with(path=f"/{path}").raw_path.decode()[1:] if "\0" not in path else "%00"
    )
    routes = (
        "gradio_api/file=",
        "gradio_api/file/",
        "gradio_api/proxy=",
        "file=",
        "file/",
        "static/",
        "assets/",
    )
    return b"".join(client.get(f"/{route}{quoted[:4000]}").content for route in routes)


def measure(address: str, found: Targets, count: int, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """Send hostile values to every input in turn.

    Returns:
        `values`: sent; `inputs`: of how many; `read`: those by which a file or server was read; `slowest`:
        seconds of the slowest answer.
    """
    read, slowest = [], 0.0
    with httpx.Client(base_url=address, timeout=30, **settings) as client:
        places = [(each, at) for each in functions(client) for at in range(len(each["values"]))]
        for number, value in enumerate(hostile_values(found.paths, count, seed)):
            function, at = places[number % len(places)]
            values = [value if index == at else own for index, own in enumerate(function["values"])]
            start = time.perf_counter()
            answers = call(client, function["id"], values)
            if function["name"] and number % 2:
                answers += call_by_name(client, function["name"], values)
            slowest = max(slowest, time.perf_counter() - start)
            if found.asked or any(canary in answers for canary in found.canaries):
                read.append({"function": function["name"], "input": at, "value": value})
                found.asked.clear()
        for path in found.paths:
            if found.asked or any(canary in download(client, path) for canary in found.canaries):
                read.append({"path": path})
                found.asked.clear()
    return {"values": count, "inputs": len(places), "read": len(read), "first": read[:3], "slowest": slowest}


def main() -> None:
    """Print what `measure` finds, and how many lines and tracebacks the server has logged."""
    from served import serve_run

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a bundle or a finished run")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, targets(Path(name)) as found:
        log = Path(name) / "server.log"
        with serve_run(chosen.run, log) as served:
            report = measure(served.address, found, chosen.count, chosen.seed)
        text = log.read_text()
        print(
            json.dumps({**report, "tracebacks": text.count("Traceback"), "log_lines": len(text.splitlines())})
        )


if __name__ == "__main__":
    main()
