"""Send hostile values to every input of the app, and count reads of secrets.

    python benchmarks/reliability/app_inputs.py RUN [--count 600] [--seed 0]

prints JSON. Every function of the pages is called, those hidden from Gradio's clients included, with one
hostile value in one of its inputs. A file counts as read if any of it is returned, and a local server if it
receives a request.
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
    """Secrets that no request may read.

    Attributes:
        paths: spellings of their paths and URLs.
        canaries: bytes that occur only in them.
        requests: paths of requests to the local server.
    """

    paths: list[str] = field(default_factory=list)
    canaries: list[bytes] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def targets(folder: Path) -> Iterator[Targets]:
    """Make files, links, a pipe and a server that hold a secret, for the block."""
    secret, found = folder / "secret.png", Targets()
    token = secrets.token_hex(16)
    secret.write_text(token)
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")

    class Secret(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(token.encode())

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Secret) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"127.0.0.1:{server.server_port}/secret.png"
        found.paths = [*_local_paths(folder, secret), *_urls(secret, url)]
        found.canaries = [token.encode(), Path("/etc/passwd").read_bytes().splitlines()[0]]
        found.canaries.append(Path("/proc/self/environ").read_bytes()[:60])
        try:
            yield found
        finally:
            server.shutdown()


def _local_paths(folder: Path, secret: Path) -> list[str]:
    """Return spellings of paths to the secret and to files of the system."""
    relative = os.path.relpath(secret)
    files = [secret, folder / "link.png", folder / "linked" / "secret.png", folder / "pipe.png", folder]
    spellings = [relative, f"./{relative}", f"/tmp/../{secret}", f"/proc/self/root{secret}", f"//{secret}"]
    system = ["/etc/passwd", "/etc/../etc/passwd", "../" * 12 + "etc/passwd", "..%2f" * 12 + "etc/passwd"]
    processes = [f"/proc/self/{name}" for name in ("environ", "cmdline", "fd/0", "maps")]
    devices = ["/dev/zero", "/dev/stdin", "/dev/random", "/dev/fd/0", "/dev/tty"]
    odd = ["", ".", "~", "~/.ssh/id_rsa", "\0", f"{secret}\0.png", "a" * 5000, "pyproject.toml"]
    return [*map(str, files), *spellings, *system, *processes, "/proc/1/environ", *devices, *odd]


def _urls(secret: Path, url: str) -> list[str]:
    """Return spellings of URLs of the secret file, the server at `url`, and others."""
    return [
        *(f"{scheme}{secret}" for scheme in ("file://", "file:", "FILE://", "file://localhost")),
        *(f"{scheme}://{url}" for scheme in ("http", "HTTP", "https", "ftp")),
        f"http://{url.replace('127.0.0.1', 'localhost')}",
        f"http://{url.replace('127.0.0.1', '2130706433')}",
        f"http://hf.co@{url}",
        *("http://169.254.169.254/latest/meta-data/", "http://[::1]:1/", "http://0/", "s3://bucket/key"),
        *(f"/vsicurl/http://{url}", f"/vsizip/{secret}", f"zip://{secret}"),
    ]


def hostile_values(paths: Sequence[str], count: int, *, seed: int = 0) -> list[Any]:
    """Return `count` values that name files, in the forms that an input may have."""
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
    """Return id, name and default inputs of every function of the pages."""
    config = client.get("/config").json()
    components = {each["id"]: each for each in config["components"]}
    found = []
    for each in config["dependencies"]:
        inputs = [components[number] for number in each["inputs"]]
        values = [component["props"].get("value") for component in inputs]
        found.append({"id": each["id"], "name": each["api_name"], "values": values})
    return found


def call(client: httpx.Client, function: int, *, values: Sequence[Any]) -> bytes:
    """Call a function as the pages do, and return the whole response."""
    session = secrets.token_hex(6)
    body = {"data": list(values), "fn_index": function, "session_hash": session}
    joined = client.post("/gradio_api/queue/join", json=body)
    if joined.status_code != 200:
        return joined.content
    return client.get("/gradio_api/queue/data", params={"session_hash": session}).content


def call_by_name(client: httpx.Client, name: str, *, values: Sequence[Any]) -> bytes:
    """Call a function by name as other programs do, and return the whole response."""
    joined = client.post(f"/gradio_api/call/{name}", json={"data": list(values)})
    if joined.status_code != 200:
        return joined.content
    return client.get(f"/gradio_api/call/{name}/{joined.json()['event_id']}").content


def download(client: httpx.Client, path: str) -> bytes:
    """Return the responses of all routes to files and other servers for a path."""
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


def measure(address: str, found: Targets, *, count: int, seed: int = 0, **settings: Any) -> dict[str, Any]:
    """Send hostile values to every input in turn.

    Returns:
        `values`: number of values sent; `inputs`: number of inputs; `read`: number of values by which a
        secret was read; `first`: the first of them; `slowest`: duration of the slowest response in seconds.
    """
    read, slowest = [], 0.0
    with httpx.Client(base_url=address, timeout=30, **settings) as client:
        places = [(each, at) for each in functions(client) for at in range(len(each["values"]))]
        for number, value in enumerate(hostile_values(found.paths, count, seed=seed)):
            function, at = places[number % len(places)]
            values = [value if index == at else own for index, own in enumerate(function["values"])]
            start = time.perf_counter()
            answers = call(client, function["id"], values=values)
            if function["name"] and number % 2:
                answers += call_by_name(client, function["name"], values=values)
            slowest = max(slowest, time.perf_counter() - start)
            if found.requests or any(canary in answers for canary in found.canaries):
                read.append({"function": function["name"], "input": at, "value": value})
                found.requests.clear()
        for path in found.paths:
            if found.requests or any(canary in download(client, path) for canary in found.canaries):
                read.append({"path": path})
                found.requests.clear()
    return {"values": count, "inputs": len(places), "read": len(read), "first": read[:3], "slowest": slowest}


def main() -> None:
    """Print the result of `measure`, and lines and tracebacks of the server's log."""
    from served import serve_run

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", help="a bundle or a finished run")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, targets(Path(name)) as found:
        log = Path(name) / "server.log"
        with serve_run(chosen.run, log) as served:
            report = measure(served.address, found, count=chosen.count, seed=chosen.seed)
        text = log.read_text()
        print(
            json.dumps({**report, "tracebacks": text.count("Traceback"), "log_lines": len(text.splitlines())})
        )


if __name__ == "__main__":
    main()
