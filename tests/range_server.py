"""A web server of a folder that answers range requests, as object stores do.

Run as a process of its own, `python range_server.py FOLDER LOG`: GDAL waits for answers with Python's lock
held. It prints its port, and writes path and bytes of each answer into the log.
"""

import http.server
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self, body: bool = True) -> None:
        folder, log = map(Path, sys.argv[1:])
        file = folder / self.path.lstrip("/")
        if not file.is_file():
            return self.send_error(404)
        data = file.read_bytes()
        asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(data) - 1)) if asked else (0, len(data) - 1)
        part = data[first : last + 1]
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.end_headers()
        if body:
            with log.open("a") as lines:
                lines.write(f"{self.path} {len(part)}\n")
            self.wfile.write(part)

    def do_HEAD(self) -> None:
        self.do_GET(body=False)


@contextmanager
def serve_folder(folder: Path, log: Path) -> Iterator[str]:
    """Serve a folder on this machine; yields its address."""
    process = subprocess.Popen(
        [sys.executable, __file__, folder, log],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
