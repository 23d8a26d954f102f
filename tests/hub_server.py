"""A stand-in for the hub's API for uploads and downloads of a small repository."""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def _send(self, value, status=200, headers=()):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (("Content-Length", str(len(data))), ("X-Repo-Commit", COMMIT), *headers):
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Authorization") != "Bearer secret":
            return self._send({"error": "Invalid credentials"}, 401)
        if self.path == "/api/repos/create":
            repo = json.loads(body)
            name = f"{repo.get('organization') or 'ann'}/{repo['name']}"
            return self._send({"url": f"{self.server.address}/{name}", "name": name})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self._send({"files": files})
        if "/commit/" in self.path:
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/ann/model/commit/{COMMIT}"
            return self._send({"commitOid": COMMIT, "commitUrl": url, "success": True})
        if self.path == "/api/validate-yaml":
            return self._send({"errors": [], "warnings": []})
        return self._send({"error": self.path}, 404)

    def do_GET(self):
        files = self.server.files
        if "/resolve/" in self.path:
            name = self.path.split("?")[0].split("/resolve/")[1].split("/", 1)[1]
            if name not in files:
                return self._send({"error": "none"}, 404, [("X-Error-Code", "EntryNotFound")])
            tag = hashlib.sha256(files[name]).hexdigest()
            return self._send(files[name], headers=[("ETag", f'"{tag}"')])
        if self.path.startswith("/api/models/ann/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            return self._send(tree)
        if self.path.startswith("/api/models/ann/model"):
            listed = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            return self._send({"id": "ann/model", "sha": COMMIT, "siblings": listed})
        return self._send({"error": "none"}, 404, [("X-Error-Code", "RepoNotFound")])

    do_HEAD = do_GET  # noqa: N815


@contextmanager
def hub():
    """A server with its address and the files of its one repository, ann/model."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.address, server.files = f"http://127.0.0.1:{server.server_address[1]}", {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
